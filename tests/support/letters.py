"""A language model of letters, and its tokenizer."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests.support import tiny

LETTERS = ["<pad>", "<bos>", "<eos>", *"abcdefghijklmnopqrstuvwxyzAEQ:?.{}", "\u0120", "\u010a"]


def letters_model():
    """Letters, a space and a line end, and a model of them."""
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(LETTERS)}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    config = GPT2Config(
        vocab_size=len(LETTERS), n_positions=160, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    words = PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special)
    return tiny.seeded(GPT2LMHeadModel(config)), words
