"""Rerankers that keep the texts with the best scores after the prompt: Krishna et al. 2022, RankGen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from transformers import GenerationConfig, PreTrainedModel

from scorers import as_scorer
from scorers._common.ranges import COUNT, check_fields

from ..engine.transformers_api import pad_token_of
from ..hypotheses import Hypotheses
from ..models.tokenization import tokenizer_of, without_padding
from ..parts import Reranker
from .search import SegmentSearch

PAPER = {"top_k": 50, "top_p": 0.9, "temperature": 1.0, "max_new_tokens": 115}


@dataclass(frozen=True)
class Rerank(Reranker):
    """Beam search by segments: Krishna et al. 2022, section 2.3 and figure 5.

    In each round, every row that was kept is continued `samples` times by `every` tokens. Of all continuations of a
    prompt, the `beams` with the best scores are kept. This ends when all rows that were kept have ended; the best one
    is returned. A row that has ended still competes, but is neither continued nor copied. The first round draws
    beams x samples continuations. Equal continuations count as one. If scores are equal, the first wins.

    The picker draws. Without a picker the call must say `do_sample=True`, as `decoding.generate` does. After a picker
    that does not draw (`Greedy`, `ContrastiveSearch`), the i-th copy of a row begins with the i-th best choice. The
    prompt is read once, and segments go on from the cache. With `return_dict_in_generate` the output object has
    `sequences_scores` (P,) and `rounds`, a list of `Round` with every text that was scored and its score.

    Args:
        scorer: a `scorers.Scorer`, or a function of (prefixes, continuations), two aligned lists of texts, that gives a
            number for each pair; higher is better.
        every: tokens of a segment, at least 1; None: the whole continuation, see `BestOfN`.
        samples: continuations of each row, at least 1.
        beams: rows kept for each prompt, at least 1.
        tokenizer: the tokenizer of the model. None: the `tokenizer=` of the call, else the one saved with the model.
        prefixes: texts that the scorer reads instead of the prompts, one for each prompt. They are needed with an
            encoder-decoder, whose decoder does not see the prompt.
        paper: use the settings of the released code: top-k 50 as well as nucleus 0.9, and 115 tokens, cut after the
            last . ? ! or ; (to the token). `decoding.generate` sets these options; any other call must pass them.

    Raises:
        TypeError: the scorer is neither a `Scorer` nor a function.
        ValueError: a number is out of range, or `every` is given with a scorer that cannot judge unfinished texts. In
            the call: the picker always takes the same token, there is no tokenizer, or the number of prefixes is wrong.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("The old house on the hill", return_tensors="pt")
        >>> length = lambda prefixes, texts: [len(text) for text in texts]
        >>> longest = decoding.Rerank(length, every=4, samples=3, beams=2)
        >>> decoding.generate(model, **inputs, processors=[longest], max_new_tokens=8).shape
        torch.Size([1, 14])
    """

    scorer: Any
    every: Annotated[int | None, COUNT] = 20
    samples: Annotated[int, COUNT] = 10
    beams: Annotated[int, COUNT] = 2
    tokenizer: Any = field(default=None, repr=False)
    prefixes: Sequence[str] | None = None
    paper: bool = False
    needs_draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.prefixes, str):
            raise ValueError(f"prefixes must be a list of texts: write [{self.prefixes[:20]!r}]")
        object.__setattr__(self, "scorer", as_scorer(self.scorer))
        if self.every is not None and not self.scorer.partial:
            raise ValueError(
                f"{type(self.scorer).__name__} cannot judge unfinished texts: use BestOfN, or a scorer that is partial"
            )

    @property
    def width(self) -> int:  # type: ignore[override]
        """The number of rows for each prompt in the first round."""
        return self.beams * self.samples

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """False with `paper`, which cuts the returned text at the end of a sentence."""
        return not self.paper

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the paper if `paper` is set, else none."""
        return dict(PAPER) if self.paper else {}

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Refuse a call whose options are not those of the paper, if `paper` is set."""
        for name in ("top_k", "top_p", "temperature"):
            value = getattr(generation_config, name)
            if self.paper and value != PAPER[name] and not (name == "temperature" and value is None):
                raise ValueError(f"Rerank(paper=True) is {name}={PAPER[name]}, not {value}: pass that, or leave it out")
        if self.paper and pad_token_of(generation_config) is None:
            raise ValueError("Rerank(paper=True) pads what it cuts off: pass pad_token_id=")

    def start(self, hypotheses: Hypotheses, tokenizer: Any = None) -> SegmentSearch:
        """Start the search of one call. The scorer reads the prefixes here."""
        context = hypotheses.contexts[0]
        tokenizer = self.tokenizer or tokenizer or tokenizer_of(context.model)
        prompts = without_padding(hypotheses.tokens, context.mask)
        if self.prefixes is None and context.model.config.is_encoder_decoder:
            raise ValueError("the prompts of an encoder-decoder do not reach a decoder: give Rerank prefixes=[...]")
        prefixes = self.prefixes or tokenizer.batch_decode(prompts, skip_special_tokens=True)
        if len(prompts) % len(prefixes):
            raise ValueError(f"{len(prefixes)} prefixes for {len(prompts)} prompts: give one for each")
        copies = len(prompts) // len(prefixes)  # num_return_sequences
        state = self.scorer.read([prefix for prefix in prefixes for _ in range(copies)])
        pad = pad_token_of(context.generation_config) if self.paper else None
        numbers = (self.every, self.samples, self.beams)
        return SegmentSearch(self.scorer, *numbers, tokenizer=tokenizer, prompts=prompts, state=state, pad=pad)


class BestOfN(Rerank):
    """Draw n continuations of each prompt, and return the one with the best score: `Rerank` with one segment.

    Args:
        scorer, tokenizer, prefixes: see `Rerank`.
        n: continuations of each prompt, at least 1; over-generate-and-rerank in the paper draws 20.

    Example:
        >>> import decoding
        >>> decoding.BestOfN(lambda prefixes, texts: [len(text) for text in texts], n=4).samples
        4
    """

    def __init__(
        self, scorer: Any, n: int = 20, *, tokenizer: Any = None, prefixes: Sequence[str] | None = None
    ) -> None:
        super().__init__(scorer, every=None, samples=n, beams=1, tokenizer=tokenizer, prefixes=prefixes)
