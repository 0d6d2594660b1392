"""Checks for parts of your own: is what the library makes of them what their paper says, token for token?

Each check runs a part on tiny random models, in every way in which a call can use it. It compares the tokens with those
of a slow loop that knows nothing of the library: one text at a time, no cache, no padding. This loop goes by an
oracle, a function that you write from the paper. A part that differs raises AssertionError, which says where.

None of this needs pytest. `batch` and `PROMPTS` are there for further tests on the same models.

Example:
    >>> import decoding
    >>> from decoding.testing import check_picker
    >>> check_picker(decoding.Greedy(), lambda text, logits: logits)
"""

from typing import TYPE_CHECKING

from scorers._common.lazy import lazy_names

if TYPE_CHECKING:
    from .checks import PROMPTS as PROMPTS
    from .checks import PerPrompt as PerPrompt
    from .checks import check_guide as check_guide
    from .checks import check_picker as check_picker
    from .checks import check_reranker as check_reranker
    from .reference import Text as Text
    from .tiny_models import FAMILIES as FAMILIES
    from .tiny_models import Family as Family
    from .tiny_models import batch as batch
    from .tiny_models import gpt2 as gpt2
    from .tiny_models import lfm2 as lfm2
    from .tiny_models import llama as llama
    from .tiny_models import tokenizer as tokenizer

# where each public name is defined
HOMES = {
    "FAMILIES": "tiny_models",
    "Family": "tiny_models",
    "PROMPTS": "checks",
    "PerPrompt": "checks",
    "Text": "reference",
    "batch": "tiny_models",
    "check_guide": "checks",
    "check_picker": "checks",
    "check_reranker": "checks",
    "gpt2": "tiny_models",
    "lfm2": "tiny_models",
    "llama": "tiny_models",
    "tokenizer": "tiny_models",
}
__all__ = [
    "FAMILIES",
    "PROMPTS",
    "Family",
    "PerPrompt",
    "Text",
    "batch",
    "check_guide",
    "check_picker",
    "check_reranker",
    "gpt2",
    "lfm2",
    "llama",
    "tokenizer",
]

if not TYPE_CHECKING:  # a type checker would believe that every name is there
    __getattr__, __dir__ = lazy_names(__name__, HOMES)
