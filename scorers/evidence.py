"""Scores of answers to a question under several passages, by a language model's own probabilities.

Lazaridou et al. 2022 (arXiv 2203.05115).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._common.checks import require_one_of
from .encoding import distinct
from .likelihood import Likelihood
from .scorer import Scorer


class Asked(NamedTuple):
    """A question and its evidence: what `Evidence` takes as a prefix.

    Args:
        question: the question.
        passages: the passages, at least one.
        weights: how far each passage is to be trusted, such as a retriever's scores. They are at least 0, not all 0,
            and are divided by their sum. None: all are equal.
    """

    question: str
    passages: tuple[str, ...]
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Form:
    """How the texts are put together: passage, question and answer; or, for the channel, passage, answer and question.

    Args:
        passage: the text of a passage, with "{passage}" where it goes.
        question: the text of a question, with "{question}" where it goes.
        answer: what leads to an answer. The answer begins as the text goes on: with its space, if it has one.
        end: what ends an answer. It does not occur in an answer.
        examples: a text in front of all, such as questions that were answered.
        blind: the same, where the answer comes before the question.

    Raises:
        ValueError: a place for a text is missing, there is another place, or `end` is empty.

    Example:
        >>> Form().prompt("Did it rain?", "It rained.")
        'It rained.\\nQuestion: Did it rain?\\nAnswer:'
    """

    passage: str = "{passage}"
    question: str = "\nQuestion: {question}"
    answer: str = "\nAnswer:"
    end: str = "\n"
    examples: str = ""
    blind: str = ""

    def __post_init__(self) -> None:
        for name in ("passage", "question"):
            if [place for _, place, *_ in Formatter().parse(getattr(self, name)) if place is not None] != [name]:
                raise ValueError(f"{name} must have {{{name}}} once, and no other place, not {getattr(self, name)!r}")
        if not self.end:
            raise ValueError("end must be a text: without one every answer is unfinished")

    def given(self, passage: str) -> str:
        """The text before a question."""
        return self.examples + self.passage.format(passage=passage)

    def prompt(self, question: str, passage: str) -> str:
        """The text before an answer. Generate from this."""
        return self.given(passage) + self.ask(question) + self.answer

    def blindly(self, passage: str) -> str:
        """The text before an answer, if the question comes after the answer."""
        return self.blind + self.passage.format(passage=passage) + self.answer

    def ask(self, question: str) -> str:
        """The question, as it follows a passage or an answer."""
        return self.question.format(question=question)


@dataclass(frozen=True, eq=False)
class Evidence(Scorer):
    """The probability of an answer a to a question q, given passages p_i of weights r_i, by one LM.

    This follows the reranking of Lazaridou et al. 2022 (arXiv 2203.05115), where the answers are generated under each
    passage. Prefixes are `Asked`.

    - "direct" is log Σ_i r_i p(a | p_i, q). One passage suffices, as in RAG-Sequence (Lewis et al. 2020).
    - "product" is Σ_i r_i log p(a | p_i, q). Every passage counts.
    - "channel" is log Σ_i r_i p(a | p_i) p(q | p_i, a) / p(q | p_i), the noisy channel. It asks how well the answer
      explains the question. By Bayes' rule its terms would equal those of "direct" if the LM were consistent.

    The answer is the text before the first `form.end`. Its end counts, so that a part of an answer is not more probable
    than the whole. A blank answer is rejected: -inf.

    A passage with its question is read once for all answers, and what "direct" has read serves "product" too. "channel"
    reads the passage once as well, then answer and question after it: log p(a | p) + log p(q | p, a) is that of both in
    a row.

    Args:
        model: a causal LM.
        tokenizer: the tokenizer of the model.
        of: "direct", "product" or "channel".
        form: how the texts are put together.
        prefix_tokens: see `Likelihood`.
        batch_size: see `Likelihood`.

    Raises:
        ValueError: an option is out of range, a question has no passages, or its weights do not fit.

    Example:
        >>> import decoding
        >>> scorer = Evidence(*decoding.load())
        >>> asked = Asked("Who keeps the lighthouse?", ("Ann keeps the lighthouse.", "It rained all day."))
        >>> scorer([asked] * 2, [" Ann", " "]).isfinite()
        tensor([ True, False])
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    of: str = "direct"
    form: Form = Form()
    prefix_tokens: int | None = None
    batch_size: int = 8
    likelihood: Likelihood = field(init=False, repr=False)
    partial = False

    def __post_init__(self) -> None:
        require_one_of("of", self.of, ("direct", "product", "channel"))
        reader = Likelihood(
            self.model, self.tokenizer, length="sum", prefix_tokens=self.prefix_tokens, batch_size=self.batch_size
        )
        object.__setattr__(self, "likelihood", reader)

    def read(self, prefixes: Sequence[Any]) -> Any:
        """The passages of every question, read once, with their weights."""
        passages: list[str] = []
        weights: list[float] = []
        asked: list[str] = []
        spans: list[range] = []
        for prefix in prefixes:
            if not isinstance(prefix, Asked):
                raise TypeError(f"Evidence takes Asked(question, passages) as prefixes, not {prefix!r}")
            own = [(p, r) for p, r in zip(prefix.passages, normalised(prefix), strict=True) if r]
            spans.append(range(len(passages), len(passages) + len(own)))
            passages += [passage for passage, _ in own]
            weights += [weight for _, weight in own]
            asked += [prefix.question] * len(own)
        if self.of == "channel":
            given = [self.form.blindly(passage) for passage in passages]
            priors = self.likelihood(
                [self.form.given(passage) for passage in passages], list(map(self.form.ask, asked))
            )
        else:
            pairs = zip(asked, passages, strict=True)
            given, priors = (
                [self.form.prompt(question, passage) for question, passage in pairs],
                torch.zeros(len(asked)),
            )
        return asked, torch.tensor(weights, dtype=torch.float64), spans, self.likelihood.read(given), priors.double()

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) log-probabilities. Those of "direct" and "product" are at most 0."""
        asked, weights, spans, given, priors = state
        answers = [text.partition(self.form.end)[0].rstrip() for text in continuations]
        pairs, copies = distinct(list(zip(owners, answers, strict=True)))
        places = [[(place, answer) for place in spans[owner]] if answer.strip() else [] for owner, answer in pairs]
        flat = [pair for own in places for pair in own]
        said = [answer + self._behind(asked[place]) for place, answer in flat]
        log_p = self.likelihood.score(given, [place for place, _ in flat], said).double()
        terms = log_p - priors[[place for place, _ in flat]]
        trust = weights[[place for place, _ in flat]]
        sizes = [len(own) for own in places]
        scores = [self._together(*own) for own in zip(terms.split(sizes), trust.split(sizes), strict=True)]
        return torch.tensor([scores[copy] for copy in copies], dtype=torch.float32)

    def _behind(self, question: str) -> str:
        return self.form.ask(question) if self.of == "channel" else self.form.end

    def _together(self, terms: Tensor, weights: Tensor) -> float:
        if not len(terms):
            return -math.inf
        return float((weights * terms).sum() if self.of == "product" else (weights.log() + terms).logsumexp(0))


def normalised(asked: Asked) -> list[float]:
    """The weights of a question's passages, divided by their sum."""
    weights = (1.0,) * len(asked.passages) if asked.weights is None else asked.weights
    if isinstance(asked.passages, str) or not asked.passages:
        raise ValueError(f"passages must be a tuple of at least one text, not {asked.passages!r}")
    total = sum(weights)
    if len(weights) != len(asked.passages) or min(weights) < 0 or not 0 < total < math.inf:
        raise ValueError(f"weights must be one for each of {len(asked.passages)} passages, at least 0, not {weights}")
    return [weight / total for weight in weights]
