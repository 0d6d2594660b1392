"""Which rows go on: those whose text a scorer likes best behind the prompt. Krishna et al. 2022, RankGen."""

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

    Every hypothesis kept is continued `samples` times by `every` tokens, and of all continuations of a prompt the
    `beams` that score best are kept, until all of those have ended; the best is returned. A hypothesis that has ended
    competes on, but is neither continued nor copied. The first round draws beams x samples continuations. Equal
    continuations count as one; of equal scores the first wins.

    The picker draws; without one the call must say `do_sample=True` (`decoding.generate` does). Behind a picker that
    does not draw (`Greedy`, `ContrastiveSearch`) the i-th copy of a hypothesis begins with the i-th best choice.
    The prompt is read once, and segments go on from the cache. Under `return_dict_in_generate` the output object has
    `sequences_scores` (P,) and `rounds`, a list of `Round`: every text that was scored, with its score.

    Args:
        scorer: a `scorers.Scorer`, or a function of (prefixes, continuations), two aligned lists of texts, that gives a
            number for each pair; higher is better.
        every: tokens of a segment, at least 1; None: the whole continuation, see `BestOfN`.
        samples: continuations of each hypothesis, at least 1.
        beams: hypotheses kept, at least 1.
        tokenizer: the model's; None: the `tokenizer=` of the call, or else the one that lies where the model came from.
        prefixes: what the scorer reads in the place of the prompts' own texts, one for each prompt; encoder-decoders
            need it, whose prompts do not reach a decoder.
        paper: as released: top-k 50 as well as nucleus 0.9, 115 tokens, and what follows the last . ? ! or ; is cut
            off (to the token). `decoding.generate` sets these; elsewhere the call must say the same.

    Raises:
        TypeError: what is no scorer.
        ValueError: a number out of range; a scorer that cannot judge unfinished texts, with `every`. With the call: a
            picker that always takes the same, no tokenizer, other prefixes than prompts.

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
        """Rows a prompt in the first round."""
        return self.beams * self.samples

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """Not with `paper`, which cuts the text returned at the end of a sentence."""
        return not self.paper

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the paper, with `paper`; else none."""
        return dict(PAPER) if self.paper else {}

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """With `paper`, refuse a call with other options than the paper's."""
        for name in ("top_k", "top_p", "temperature"):
            value = getattr(generation_config, name)
            if self.paper and value != PAPER[name] and not (name == "temperature" and value is None):
                raise ValueError(f"Rerank(paper=True) is {name}={PAPER[name]}, not {value}: pass that, or leave it out")
        if self.paper and pad_token_of(generation_config) is None:
            raise ValueError("Rerank(paper=True) pads what it cuts off: pass pad_token_id=")

    def start(self, hypotheses: Hypotheses, tokenizer: Any = None) -> SegmentSearch:
        """The search of one call. The scorer reads the prefixes here."""
        context = hypotheses.contexts[0]
        tokenizer = self.tokenizer or tokenizer or tokenizer_of(context.model)
        prompts = without_padding(hypotheses.tokens, context.mask)
        if self.prefixes is None and context.model.config.is_encoder_decoder:
            raise ValueError("the prompts of an encoder-decoder do not reach a decoder: give Rerank prefixes=[...]")
        prefixes = self.prefixes or tokenizer.batch_decode(prompts, skip_special_tokens=True)
        if len(prompts) % len(prefixes):
            raise ValueError(f"{len(prefixes)} prefixes for {len(prompts)} prompts: give one for each")
        copies = len(prompts) // len(prefixes)  # of num_return_sequences
        state = self.scorer.read([prefix for prefix in prefixes for _ in range(copies)])
        pad = pad_token_of(context.generation_config) if self.paper else None
        numbers = (self.every, self.samples, self.beams)
        return SegmentSearch(self.scorer, *numbers, tokenizer=tokenizer, prompts=prompts, state=state, pad=pad)


class BestOfN(Rerank):
    """n continuations of each prompt, of which the scorer's favourite is returned: `Rerank` with one segment.

    Args:
        scorer, tokenizer, prefixes: see `Rerank`.
        n: continuations, at least 1; the paper's over-generate-and-rerank takes 20.

    Example:
        >>> import decoding
        >>> decoding.BestOfN(lambda prefixes, texts: [len(text) for text in texts], n=4).samples
        4
    """

    def __init__(
        self, scorer: Any, n: int = 20, *, tokenizer: Any = None, prefixes: Sequence[str] | None = None
    ) -> None:
        super().__init__(scorer, every=None, samples=n, beams=1, tokenizer=tokenizer, prefixes=prefixes)
