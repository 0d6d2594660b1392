"""The interface of a context, whether it reads its prompts alone or in one batch with others."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import ModelOutput


class RowReader(ABC):
    """A model that reads R rows, each a prompt and its continuation, and says what comes next.

    There are two kinds: `Context`, and the `ContextSlice` that stands for it while several prompts of one model are
    read in one batch. Both have everything that is listed here, and mean the same by it.

    model: the model that reads.
    generation_config: of the call, as transformers prepared it.
    keep_states: whether `states` and `newest` are there.
    raw: what the caller gave beside the tokens, such as `pixel_values`, an entry a prompt; None: not known.
    borrowed: whether the cache is the caller's.
    share: whether rows share the prefix that they have in common: None, where the model was seen to get the same from
        it, and it pays; False, never; True, without asking.
    """

    model: Any
    generation_config: GenerationConfig
    keep_states: bool
    raw: Mapping[str, Any] | None
    borrowed: bool
    share: bool | None

    def __call__(self, continuation: Tensor) -> Tensor:
        """(R, n) int64 tokens after the prompt -> (R, V) float32 logits of the token after them."""
        self.read(continuation)
        return self.logits

    @abstractmethod
    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens after the prompt was not fed yet."""

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64: repeats fork, omissions prune. The prompts are read first, if they were not.

        Raises:
            ValueError: this model's state cannot be forked or reordered.
        """

    @abstractmethod
    def again(self, model: Any = None, **changes: Any) -> "RowReader":
        """A new context on the same prompts: of another model, of this one, or with `changes` to its `raw` content.

        Raises:
            ValueError: the prompt, or the images in it, are not there to be read again; `model` lacks its tokens.
        """

    @abstractmethod
    def close(self, tokens: int) -> Any:
        """The cache of the present rows, holding all but the last of `tokens` continuation tokens.

        None where there is no cache of these rows alone, or where a look-ahead cannot be taken out of it again.
        """

    @property
    @abstractmethod
    def prompt(self) -> Tensor:
        """(R, T0) int64 token ids, left-padded; T0 is 0 where `inputs_embeds` carried the prompt."""

    @property
    @abstractmethod
    def fed(self) -> int:
        """Continuation tokens fed so far; -1: the prompt is still to be read."""

    @property
    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What the prompt holds beside its tokens, as this model takes it; only before it is read."""

    @property
    @abstractmethod
    def is_plain(self) -> bool:
        """Whether the prompt is still to be read, and tokens and left padding are all there is to say of it."""

    @property
    @abstractmethod
    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits after everything fed."""

    @property
    @abstractmethod
    def states(self) -> Tensor:
        """(R, T, D) last-layer hidden states of everything fed, scaled to unit length, float32 or wider.

        Raises:
            RuntimeError: they were not kept, or nothing was read yet.
        """

    @property
    @abstractmethod
    def newest(self) -> Tensor:
        """(R, D) the state of the last token fed; after a fork, cheaper than `states[:, -1]`.

        Raises:
            RuntimeError: as `states`.
        """

    @property
    @abstractmethod
    def mask(self) -> Tensor:
        """(R, T) 1 for the real tokens of the prompt and of what was fed, 0 for left padding."""

    @property
    @abstractmethod
    def outputs(self) -> dict[str, Any]:
        """What `output_attentions` and `output_hidden_states` ask to see of the last forward, for the present rows."""

    @property
    @abstractmethod
    def encoder_outputs(self) -> ModelOutput | None:
        """An encoder-decoder's encoder outputs, for the present rows; None for other models."""
