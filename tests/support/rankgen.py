"""A tiny RankGen, in the layout that was published."""

import string

from transformers import T5Config, T5Tokenizer

from scorers import T5EncoderWithProjection
from tests.support import tiny

LETTERS = [(letter, -5.0) for letter in string.ascii_letters + ".,!?'"]
PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁pre", -3.0), ("▁suffi", -3.0), ("▁", -4.0), *LETTERS]


def config():
    """The keys of a published config.json, in small."""
    return T5Config(
        d_ff=48, d_kv=8, d_model=32, num_layers=2, num_decoder_layers=2, num_heads=4, vocab_size=len(PIECES) + 3,
        feed_forward_proj="gated-gelu", dropout_rate=0.1, layer_norm_epsilon=1e-6, is_encoder_decoder=True,
        tie_word_embeddings=False, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
        relative_attention_num_buckets=8, relative_attention_max_distance=20,
    )  # fmt: skip


def vocabulary(pieces=PIECES, **options):
    return T5Tokenizer(vocab=list(pieces), extra_ids=0, **options)


MODEL, TOKENIZER = tiny.seeded(T5EncoderWithProjection(config())), vocabulary()
