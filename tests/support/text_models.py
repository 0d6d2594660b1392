"""Small models that read texts, with their tokenizer; and what they say of one text alone."""

import torch
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from tests.support import tiny

WORDS = tiny.tokenizer()


def bert():
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    return tiny.seeded(BertModel(config))


def t5():
    config = T5Config(
        vocab_size=tiny.VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return tiny.seeded(T5ForConditionalGeneration(config))


MODELS = {"gpt2": tiny.gpt2(), "llama": tiny.llama(), "bert": bert(), "t5": t5()}


def ids(text):
    return WORDS(text)["input_ids"]


@torch.no_grad()
def alone(name, row):
    """(L, T, D) of a text on its own, by the whole model, without mask or padding."""
    model = MODELS[name].get_encoder() if name == "t5" else MODELS[name]
    return torch.stack(model(torch.tensor([row]), output_hidden_states=True).hidden_states)[:, 0]
