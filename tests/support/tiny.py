"""The tiny random models of `decoding.testing`, and what tests do with them beside it."""

import re

from decoding.testing.tiny_models import BOS as BOS
from decoding.testing.tiny_models import EOS as EOS
from decoding.testing.tiny_models import PAD as PAD
from decoding.testing.tiny_models import VOCABULARY as VOCABULARY
from decoding.testing.tiny_models import batch as batch
from decoding.testing.tiny_models import gpt2 as gpt2
from decoding.testing.tiny_models import llama as llama
from decoding.testing.tiny_models import seeded as seeded
from decoding.testing.tiny_models import tokenizer as tokenizer


def named(part: object) -> str:
    """What a part is, without where it lies: a test's name must be the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(part))
