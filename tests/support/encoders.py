"""A tiny encoder, and a tiny reward model."""

from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from tests.support import tiny


def bert():
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    return tiny.seeded(BertModel(config))


def gpt2_reward(labels=1):
    config = GPT2Config(
        vocab_size=tiny.VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=128, num_labels=labels,
        bos_token_id=tiny.BOS, eos_token_id=tiny.EOS,
    )  # fmt: skip
    return tiny.seeded(GPT2ForSequenceClassification(config))
