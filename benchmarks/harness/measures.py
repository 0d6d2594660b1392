"""The metrics of the harness: their names, which way is better, and how each is made of a set of texts."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import copying, distances, diversity, likelihood, protocols, self_bleu, similarity
from ..metrics.features import Featurizer
from ..metrics.isotropy import Isotropy, isotropy
from ..metrics.states import TextStates, read_states
from ..metrics.uncertainty import Estimate

FEW = 5  # texts of a language, to say anything of it
BLOCKS = 5  # of the jackknife over layers' covariances, each of which is held


@dataclass(frozen=True)
class Judge:
    """The model that scores: likelihoods, features and states are its own.

    Args:
        model, tokenizer: any causal LM.
        protocol: of MAUVE, see `metrics.protocols`.
        cache: a folder for features; None: nothing is kept.
        batch_size: texts in a forward.
    """

    model: Any
    tokenizer: Any
    protocol: protocols.Protocol = protocols.SU2023
    cache: Path | None = None
    batch_size: int = 8

    @cached_property
    def features(self) -> Featurizer:
        """Last-token vectors, as MAUVE takes them, of as many tokens as the protocol's model reads."""
        return Featurizer(
            self.model,
            self.tokenizer,
            max_length=self.protocol.max_length,
            batch_size=self.batch_size,
            cache=self.cache,
        )

    @cached_property
    def means(self) -> Featurizer:
        """Vectors of whole texts, as embeddings are compared."""
        return Featurizer(self.model, self.tokenizer, "mean", batch_size=self.batch_size, cache=self.cache)


@dataclass(frozen=True, eq=False)
class Texts:
    """One run's texts: what was continued, how a human did, how this system did, and of which prompt each is.

    Likelihoods, features and states are computed when a metric first asks for them.
    """

    judge: Judge | None
    prefixes: Sequence[str]
    references: Sequence[str]
    continuations: Sequence[str]
    prompts: Sequence[Any]
    seconds: Sequence[float] | None = None
    languages: Sequence[str | None] | None = None
    known: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def pairs(self) -> dict[str, Any]:
        """The prompt that each text is of, as the metrics take it."""
        return {"prompts": list(self.prompts)}

    @cached_property
    def likelihoods(self) -> NDArray:
        """(N, 2) log p of each continuation after its prefix, and its tokens."""
        judge = asked(self.judge)
        return likelihood.log_likelihoods(
            judge.model, judge.tokenizer, self.prefixes, self.continuations, batch_size=judge.batch_size
        )

    @cached_property
    def both(self) -> tuple[NDArray, NDArray, list[Any]]:
        """Features of human and machine texts, cut as the protocol says, and the prompts that are left."""
        judge = asked(self.judge)
        pairs = judge.protocol.prepare(judge.features.tokenizer, self.prefixes, self.references, self.continuations)
        return judge.features(pairs.humans), judge.features(pairs.models), [self.prompts[i] for i in pairs.kept]

    @property
    def layers(self) -> list[Isotropy]:
        """Every layer's isotropy over the continuations behind their prefixes."""
        return self.layers_by_language[None]

    @cached_property
    def layers_by_language(self) -> dict[Any, list[Isotropy]]:
        """The same of all texts (None) and, where there are several languages, of each that has `FEW` texts or more."""
        judge = asked(self.judge)
        heads, rows = likelihood.tokenise(judge.model, judge.tokenizer, self.prefixes, self.continuations, 1)
        kept = [i for i, row in enumerate(rows) if len(row) > 2]
        states = read_states(
            judge.model, [heads[i] + rows[i] for i in kept], starts=[len(heads[i]) for i in kept], layers="all",
            batch_size=judge.batch_size,
        )  # fmt: skip
        own = [self.languages[i] if self.languages else None for i in kept]
        counts = Counter(own)
        chosen = [language for language in counts if language is not None and counts[language] >= FEW]
        if len(chosen) > 1:
            states = twice(states, [language in chosen for language in own])
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*tokens a dimension.*"
            )  # said in the table of docs/results/metrics.md
            return isotropy(states, blocks=BLOCKS, groups=[*[None] * len(own), *own])


def twice(states: Iterable[TextStates], again: Sequence[bool]) -> Iterator[TextStates]:
    """The states of N texts, and those of which `again` says so once more, their number larger by N."""
    for one in states:
        yield one
        if again[one.text]:
            yield one._replace(text=one.text + len(again))


def asked(judge: Judge | None) -> Judge:
    """The judge; ValueError where a metric needs one that was not loaded."""
    if judge is None:
        raise ValueError("this metric needs a model")
    return judge


@dataclass(frozen=True)
class Metric:
    """A number of a set of texts.

    name: in files and on the command line. title, unit, about: for readers. better: "higher", "lower", "reference"
    (closer to the human texts' own) or None. model: whether a model is read. human: whether the human texts have it
    too. measure: makes it. least: prompts that it needs; of fewer it is noted, and no system is called the best.
    """

    name: str
    title: str
    better: str | None
    about: str
    measure: Callable[[Texts], Estimate]
    model: bool = False
    human: bool = True
    unit: str = ""
    least: int = 20


def rep(n: int) -> Metric:
    """rep-n."""
    return Metric(
        f"rep_{n}", f"rep-{n}", "reference", f"share of repeated {n}-grams within a text",
        lambda texts: diversity.rep(texts.continuations, n, **texts.pairs),
    )  # fmt: skip


def mauve(texts: Texts) -> Estimate:
    """MAUVE under the judge's protocol."""
    from ..metrics.mauve import mauve

    judge = asked(texts.judge)
    humans, models, _ = texts.both
    about = f"{judge.protocol.name}|{judge.features.signature}|of:{len(texts.prefixes)}"
    texts.known["mauve"] = found = mauve(humans, models, scaling=judge.protocol.scaling, about=about)
    return found


def embedding_coherence(texts: Texts) -> Estimate:
    """Cosine of prefix and continuation; empty continuations have none."""
    means = asked(texts.judge).means
    there = [i for i, text in enumerate(texts.continuations) if text.strip()]
    prefixes, found = ([side[i] for i in there] for side in (texts.prefixes, texts.continuations))
    return similarity.embedding_coherence(means(prefixes), means(found), prompts=[texts.prompts[i] for i in there])


def seconds(texts: Texts) -> Estimate:
    """The mean time of a text."""
    from ..metrics.uncertainty import bootstrap

    return bootstrap(np.asarray(texts.seconds, dtype=float), **texts.pairs, bounds=(0.0, np.inf))


METRICS = [
    Metric("mauve", "MAUVE", "higher", "divergence frontier to the human texts, whose own row is the ceiling: half of "
           "them against the rest; intervals of k-means seeds, or of random halves, alone", mauve,
           model=True, human=False, least=500),
    Metric("energy", "energy distance", "lower", "to the human texts, on MAUVE's features",
           lambda texts: distances.energy_distance(*texts.both[:2], prompts=texts.both[2]), model=True, human=False),
    Metric("frechet", "Frechet distance", "lower", "to the human texts, on MAUVE's features",
           lambda texts: distances.frechet_distance(*texts.both[:2], prompts=texts.both[2]), model=True, human=False),
    Metric("auroc", "AUROC", "lower", "of a classifier that tells the texts from human ones; 0.5 is not at all",
           lambda texts: distances.classifier_auroc(*texts.both[:2], prompts=texts.both[2]), model=True, human=False),
    Metric("diversity", "diversity", "reference", "product of 1 - rep-n for n = 2, 3, 4",
           lambda texts: diversity.diversity(texts.continuations, **texts.pairs)),
    Metric("diversity_simctg", "diversity (SimCTG)", "reference", "the same as its released code has it, in per cent",
           lambda texts: diversity.diversity_simctg(texts.continuations, **texts.pairs), unit="%"),
    rep(2), rep(3), rep(4),
    Metric("distinct_2", "distinct-2", "reference", "unique bigrams of all texts; equal sizes alone compare",
           lambda texts: diversity.distinct(texts.continuations, 2, **texts.pairs)),
    Metric("self_bleu", "self-BLEU", "reference", "BLEU-4 of each text against all others; equal numbers alone compare",
           lambda texts: self_bleu.self_bleu(texts.continuations, **texts.pairs)),
    Metric("zipf", "Zipf coefficient", "reference", "slope of log frequency over log rank of words",
           lambda texts: diversity.zipf(texts.continuations, **texts.pairs)),
    Metric("coherence", "coherence", "reference", "mean log p of a text's tokens given its prefix, in nats",
           lambda texts: likelihood.coherence(texts.likelihoods, **texts.pairs), model=True),
    Metric("perplexity", "perplexity", "reference", "of the texts given their prefixes",
           lambda texts: likelihood.perplexity(texts.likelihoods, **texts.pairs), model=True),
    Metric("embedding_coherence", "embedding coherence", "reference", "cosine of prefix and text, on mean states",
           embedding_coherence, model=True),
    Metric("copied", "copied 4-grams", "reference", "share of 4-grams that are in the prefix",
           lambda texts: copying.copied_from_prompt(texts.prefixes, texts.continuations, **texts.pairs)),
    Metric("isotropy", "isotropy", "reference", "1 - mean cosine of two tokens' last states within a text",
           lambda texts: texts.layers[-1].within, model=True),
    Metric("anisotropy", "anisotropy", "reference", "mean cosine of two tokens' last states in two texts",
           lambda texts: texts.layers[-1].across, model=True),
    Metric("isoscore", "IsoScore", "reference", "of the last states; too low below 10 tokens a dimension",
           lambda texts: texts.layers[-1].isoscore, model=True),
    Metric("effective_rank", "effective rank", "reference", "of the last states; too low below 10 tokens a dimension",
           lambda texts: texts.layers[-1].effective_rank, model=True),
    Metric("gen_length", "length", "reference", "words",
           lambda texts: diversity.gen_length(texts.continuations, **texts.pairs), unit="words"),
    Metric("empty", "empty", "lower", "share of texts of white space alone",
           lambda texts: diversity.share_empty(texts.continuations, **texts.pairs)),
    Metric("seconds", "seconds", "lower", "to make a text, in the batches of the run", seconds, human=False, unit="s",
           least=1),
]  # fmt: skip

DEFAULT = [
    "mauve", "energy", "auroc", "diversity", "rep_4", "self_bleu", "coherence", "perplexity", "isotropy", "gen_length",
    "seconds",
]  # fmt: skip


def choose(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, in this order.

    Raises:
        ValueError: a name that is none.
    """
    found = {metric.name: metric for metric in METRICS}
    for name in names:
        if name not in found:
            raise ValueError(f"there is no metric {name!r}: {', '.join(found)}")
    return [found[name] for name in dict.fromkeys(names)]
