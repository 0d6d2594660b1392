"""The checks: every way in which a call can use a part, against the reference loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from ..decoder import Decoder
from ..generation import generate
from ..guides.processor import GuideProcessor
from ..hypotheses import Step
from ..parts import Guide
from ..pickers.contrastive_search import ContrastiveSearch
from ..pickers.sampling import Greedy, Sample
from . import stub_parts as stub
from .reference import Guide as GuideOracle
from .reference import Pick, Reader, Rerank, Text, continue_texts
from .tiny_models import EOS, FAMILIES, Family, batch, tokenizer

PROMPTS = ([5, 9, 11, 30, 7], [8, 8, 3], [12, 40, 33, 21, 6, 50, 44, 19, 27])
NEW = 7
TOGETHER, ALONE, REVERSED = ((0, 1, 2),), ((0,), (1,), (2,)), ((2, 1, 0),)


@dataclass(frozen=True)
class PerPrompt:
    """A part that depends on which prompts a call has, such as a guide with a second prompt for each.

    Args:
        make: gives the part for a call that has the prompts of these places of `PROMPTS`, in this order.

    Example:
        >>> import decoding
        >>> aside = [[30, 31], [9], [10, 11, 12]]
        >>> part = PerPrompt(lambda places: decoding.NegativePrompt([aside[i] for i in places]))
        >>> part.make([2, 0]).prompt
        [[10, 11, 12], [30, 31]]
    """

    make: Callable[[Sequence[int]], Any]


@dataclass(frozen=True)
class Case:
    """One way of using a part.

    Attributes:
        name: for messages.
        guides: before the checked part, and their oracles; `behind` those after it.
        picker, pick: the picker and its oracle.
        reranker, rerank: the reranker and its oracle, or None.
        calls: the places of the prompts of each call.
        options: of the calls.
        processors: whether the calls have options that build processors. With guides these leave out the repetition
            penalty, to which a constant added to all logits would make a difference.
        streamed: whether the steps are taken one by one.
    """

    name: str
    picker: Any
    pick: Pick
    guides: tuple[tuple[Any, GuideOracle], ...] = ()
    reranker: Any = None
    rerank: Rerank | None = None
    calls: tuple[tuple[int, ...], ...] = TOGETHER
    options: Mapping[str, Any] = field(default_factory=dict)
    processors: bool = False
    streamed: bool = False


def check_guide(
    part: Any, oracle: GuideOracle, *, families: Sequence[Family] = FAMILIES, new_tokens: int = NEW
) -> None:
    """Raise AssertionError where a guide is not what its oracle says.

    The guide is used with greedy search, sampling and contrastive search; alone, in left-padded batches, before and
    behind another guide, with transformers' processors, on rows that a reranker forks and moves, with and without a
    cache and shared pasts, as steps of a stream, inside transformers' own loop, and as one object in all these calls.
    Besides the tokens, the distributions are compared.

    Args:
        part: a `decoding.Guide`, a function (tokens (R, T), logits (R, V)) -> logits (R, V), a
            `transformers.LogitsProcessor`, or `PerPrompt`.
        oracle: (text, logits) -> logits, for one text: `Text`, and (V,) float32 what guides before it made of the
            model's logits; it may write into them. A constant added to all tokens makes no difference.
            `text.log_p(tokens)` reads any other text.
        families: the models to run.
        new_tokens: how many tokens to generate.

    Example:
        >>> import decoding
        >>> class Cooler(decoding.Guide):
        ...     def __call__(self, tokens, logits, *auxiliary):
        ...         return logits / 0.5
        >>> check_guide(Cooler(), lambda text, logits: logits / 0.5)
    """
    contrastive = (ContrastiveSearch(k=3, alpha=0.6), stub.contrastive_search(3, 0.6))
    ours, near = (part, oracle), (stub.NearbyContrast(), stub.nearby_contrast)
    plain = Case("", Greedy(), stub.greedy, guides=(ours,))
    for family in families:
        checker = Checker(family, new_tokens)
        for case in ways(plain, family):
            checker.check(case)
        checker.check(replace(plain, name="with sampling", picker=Sample(), pick=stub.sample))
        ahead = replace(plain, picker=contrastive[0], pick=contrastive[1])
        for case in (
            replace(ahead, name="with contrastive search", calls=ALONE),
            replace(ahead, name="with contrastive search in a left-padded batch"),
            replace(ahead, name="with contrastive search and a guide in front", guides=(near, ours)),
            replace(plain, name="with another guide behind it", guides=(ours, near)),
        ):
            checker.check(case)
        checker.compare_distributions(plain)
        checker.compare_in_transformers(plain)


def check_picker(part: Any, oracle: Pick, *, families: Sequence[Family] = FAMILIES, new_tokens: int = NEW) -> None:
    """Raise AssertionError where a picker is not what its oracle says.

    The picker is used alone, in left-padded batches, behind a guide, with transformers' processors and warpers, on rows
    that a reranker forks and moves, with and without a cache and shared pasts, as steps of a stream, and as one object
    in all these calls. A picker that `draws` gets a generator for each prompt, and the reference a copy of it.

    The oracle gives one of three things. What a method maximises: (V,) floats, or a dictionary from each candidate to
    its score, of which the best is taken; of the copies that a reranker makes of a row, the i-th takes the i-th best.
    Of a picker that draws, the probabilities that it draws from: (V,) floats. Of a method that is neither, the token
    itself, an int; `text.rank` and `text.copies` say which of how many copies it is for.

    Args:
        part: a `decoding.Picker`, or `PerPrompt`.
        oracle: (text, logits) -> one of these three, for one text: `Text`, and (V,) float32 the guided logits.
            `text.log_p(tokens)` and `text.states(tokens)` read any text; `text.memory` keeps what belongs to the row.
        families: the models to run.
        new_tokens: how many tokens to generate.

    Example:
        >>> import decoding
        >>> class Likely(decoding.Picker):
        ...     def __call__(self, hypotheses):
        ...         logits, ranks = hypotheses.logits(), hypotheses.ranks
        ...         order = logits.sort(descending=True, stable=True).indices
        ...         ranks = ranks % (logits != -float("inf")).sum(-1)
        ...         hypotheses.append(order.gather(-1, ranks[:, None]).squeeze(-1))
        >>> check_picker(Likely(), lambda text, logits: logits)
    """
    plain, near = Case("", part, oracle), (stub.NearbyContrast(), stub.nearby_contrast)
    for family in families:
        checker = Checker(family, new_tokens)
        for case in ways(plain, family):
            checker.check(case)
        checker.check(replace(plain, name="with a guide in front", guides=(near,)))
        moving = replace(plain, reranker=stub.Moving(), rerank=stub.moving, guides=(near,))
        checker.check(replace(moving, name="with a guide in front and rows that a reranker moves"))


def check_reranker(part: Any, oracle: Rerank, *, families: Sequence[Family] = FAMILIES, new_tokens: int = NEW) -> None:
    """Raise AssertionError where a reranker is not what its oracle says.

    The reranker is used with greedy search and with sampling: alone, in left-padded batches, behind a guide, with
    transformers' processors, with and without a cache and shared pasts, as steps of a stream, and as one object in all
    these calls. Calls have `decoding.testing.tokenizer()`, for rerankers that read texts.

    Args:
        part: a `decoding.Reranker`, or `PerPrompt`.
        oracle: (texts, ended) -> indices, for the rows of one prompt. It gets a `Text` for each row, some of which may
            have ended, and whether all have. It gives the indices of the rows that go on, repeated for copies, or None
            where all go on as they are; once all have ended, the index of the row that is returned, in a list.
        families: the models to run.
        new_tokens: how many tokens to generate.

    Example:
        >>> import decoding, torch
        >>> class Largest(decoding.Reranker):
        ...     width = 3
        ...     def __call__(self, hypotheses):
        ...         return None
        ...     def best(self, hypotheses):
        ...         sums = hypotheses.continuation.sum(1).view(-1, 3)
        ...         return sums.argmax(1) + torch.arange(len(sums)) * 3
        >>> def largest(texts, ended):
        ...     return [max(range(3), key=lambda i: sum(texts[i].new))] if ended else None
        >>> check_reranker(Largest(), largest)
    """
    near = (stub.NearbyContrast(), stub.nearby_contrast)
    for family in families:
        checker = Checker(family, new_tokens)
        for name, picker, pick in (("greedy search", Greedy(), stub.greedy), ("sampling", Sample(), stub.sample)):
            plain = Case("", picker, pick, reranker=part, rerank=oracle)
            for case in ways(plain, family):
                checker.check(replace(case, name=f"{case.name}, with {name}"))
            checker.check(replace(plain, name=f"with a guide in front and {name}", guides=(near,)))


def ways(plain: Case, family: Family) -> Iterator[Case]:
    """The same parts in the ways in which a call can have them; the first is the simplest."""
    yield replace(plain, name="each prompt alone", calls=ALONE)
    yield replace(plain, name="in a left-padded batch")
    yield replace(plain, name="in a left-padded batch, in another order", calls=REVERSED)
    yield replace(plain, name="with share=False", options={"share": False})
    if family.shares:
        yield replace(plain, name="with share=True", options={"share": True})
    yield replace(plain, name="with use_cache=False", options={"use_cache": False})
    yield replace(plain, name="with transformers' processors", processors=True)
    yield replace(plain, name="as steps of a stream", streamed=True)
    if plain.reranker is None:
        yield replace(plain, name="on rows that a reranker moves", reranker=stub.Moving(), rerank=stub.moving)
    yield replace(plain, name="with texts that end early", options={"eos_token_id": None})  # the checker finds one


class Checker:
    """Runs cases on one model."""

    def __init__(self, family: Family, length: int) -> None:
        self.family, self.length = family, length
        self.model = family.make()
        self.reader = Reader(self.model)

    def check(self, case: Case) -> None:
        """Compare the tokens of every call of a case."""
        for places in case.calls:
            options = self.options(case, places)
            expected = self.expect(case, places, options)
            if options["eos_token_id"] is None:
                options["eos_token_id"] = middle_token([text.new for text in expected])
                expected = self.expect(case, places, options)
            found = self.run(case, places, options)
            for text, new in zip(expected, found, strict=True):
                self.compare(case.name, text, new)

    def options(self, case: Case, places: Sequence[int]) -> dict[str, Any]:
        """The options of a call, but for the randomness."""
        picker = made(case.picker, places)
        options: dict[str, Any] = {"max_new_tokens": self.length, "do_sample": picker.draws, "eos_token_id": EOS}
        if picker.draws:
            options["top_k"] = 0
        if case.processors:
            options |= stub.PROCESSORS if case.guides else stub.PENALISED
            options |= stub.WARPERS if picker.warped else {}
        return options | dict(case.options)

    def expect(self, case: Case, places: Sequence[int], options: Mapping[str, Any]) -> list[Text]:
        """What the oracles say."""
        build = stub.processed if case.guides else stub.penalised
        sampling = options["do_sample"]

        def process(text: Text, logits: Tensor) -> Tensor:
            return stub.warped(build(text, logits)) if sampling else build(text, logits)

        picker, reranker = made(case.picker, places), made(case.reranker, places)
        return continue_texts(
            self.reader,
            {place: PROMPTS[place] for place in places},
            self.length,
            case.pick,
            eos=-1 if options["eos_token_id"] is None else options["eos_token_id"],
            guides=[oracle for _, oracle in case.guides],
            processors=process if case.processors else None,
            rerank=case.rerank,
            width=1 if reranker is None else reranker.width,
            generators=generators(places) if picker.draws else None,
        )

    def run(self, case: Case, places: Sequence[int], options: Mapping[str, Any]) -> list[list[int]]:
        """The new tokens of each prompt, by the library."""
        inputs = batch([PROMPTS[place] for place in places])
        parts = [made(part, places) for part, _ in case.guides] + [made(case.picker, places)]
        if case.reranker is not None:
            parts.append(made(case.reranker, places))
        call = {**inputs, **options, "tokenizer": shared_tokenizer()}
        if options["do_sample"]:
            call["generator"] = list(generators(places).values())
        try:
            if case.streamed:
                rows = follow(list(stream(self.model, parts, call)))
            else:
                rows = generate(self.model, processors=parts, **call)[:, inputs["input_ids"].shape[1] :].tolist()
        except Exception as error:
            where = f"{self.family.name}, {case.name}, prompts {[PROMPTS[place] for place in places]}"
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        return [until(row, options["eos_token_id"]) for row in rows]

    def compare(self, name: str, text: Text, found: list[int]) -> None:
        """Raise AssertionError at the first token that differs."""
        for place, (right, wrong) in enumerate(zip_longest(text.new, found)):
            if right != wrong:
                raise AssertionError(
                    f"{self.family.name}, {name}, prompt {text.prompt}: at place {place} of what was generated the "
                    f"oracle has {said(right)}, and the part gave {said(wrong)}\n"
                    f"oracle: {text.new}\npart:   {found}"
                )

    def compare_distributions(self, case: Case) -> None:
        """Raise AssertionError where a guide's probabilities differ, though the best token may be the same."""
        places = TOGETHER[0]
        options = self.options(case, places)
        options |= batch([PROMPTS[place] for place in places])
        options |= {"return_dict_in_generate": True, "output_scores": True}
        parts = [*(made(part, places) for part, _ in case.guides), case.picker]
        out = generate(self.model, processors=parts, **options)
        for row, text in enumerate(self.expect(case, places, options)):
            for step, logits in enumerate(text.history):
                right, wrong = logits.log_softmax(-1), out.scores[step][row].log_softmax(-1)
                apart = ~torch.isclose(right, wrong, rtol=1e-4, atol=1e-4)
                if apart.any():
                    token = int(apart.nonzero()[0])
                    raise AssertionError(
                        f"{self.family.name}, the distribution at place {step} after prompt {text.prompt}: the oracle "
                        f"gives token {token} log p = {right[token]:.4f}, and the part {wrong[token]:.4f}; "
                        f"they differ at {int(apart.sum())} of {len(apart)} tokens"
                    )

    def compare_in_transformers(self, case: Case) -> None:
        """Compare a guide as a processor of transformers' own loop."""
        places = TOGETHER[0]
        [guide] = [made(part, places) for part, _ in case.guides]
        if not isinstance(guide, Guide):
            return
        inputs: dict[str, Any] = batch([PROMPTS[place] for place in places])
        options = self.options(case, places)
        processor = GuideProcessor(self.model, guide, **inputs)
        rows = self.model.generate(**inputs, **options, logits_processor=[processor])
        for text, row in zip(self.expect(case, places, options), rows.tolist(), strict=True):
            new = until(row[inputs["input_ids"].shape[1] :], EOS)
            self.compare("as a processor of transformers' own loop", text, new)


@cache
def shared_tokenizer() -> Any:
    """The tokenizer that calls get; made once."""
    return tokenizer()


def made(part: Any, places: Sequence[int]) -> Any:
    """A part, made for the prompts of a call where it depends on them."""
    return part.make(places) if isinstance(part, PerPrompt) else part


def generators(places: Sequence[int]) -> dict[int, torch.Generator]:
    """The randomness of each prompt, the same in every call."""
    return {place: torch.Generator().manual_seed(place) for place in places}


def said(token: int | None) -> str:
    """A token, for a message."""
    return "no token, for the text has ended" if token is None else f"token {token}"


def until(row: list[int], eos: int) -> list[int]:
    """A row up to its end-of-sequence token; what follows is padding."""
    return row[: row.index(eos) + 1] if eos in row else row


def middle_token(rows: list[list[int]]) -> int:
    """A token that ends one of these rows in its middle while another goes on, if there is one."""
    middle = len(rows[0]) // 2
    tokens = [row[place] for place in range(middle, 0, -1) for row in rows if place < len(row)]
    return next((token for token in tokens if any(token not in row for row in rows)), rows[0][middle])


def stream(model: Any, parts: Sequence[Any], call: Mapping[str, Any]) -> Iterator[Step]:
    """The steps of a call. transformers keeps the tokenizer for itself, so the decoder gets it another way."""
    options = {name: value for name, value in call.items() if name != "tokenizer"}
    return model.generate(**options, custom_generate=partial(Decoder(*parts).stream, tokenizer=call["tokenizer"]))


def follow(steps: Sequence[Step]) -> list[list[int]]:
    """The rows at the end, from the parents and tokens of the steps alone."""
    rows: list[list[int]] = [[] for _ in range(int(steps[0].parents.max()) + 1)]
    for step in steps:
        columns = zip(step.parents.tolist(), step.tokens.tolist(), strict=True)
        rows = [[*rows[parent], token] for parent, token in columns]
    return rows
