"""The metrics of the harness: their names, which way is better, and how each is computed from a set of texts."""

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

FEW = 5  # how many texts a language needs to be measured
BLOCKS = 5  # blocks of the jackknife over layers' covariances, each of which is held in memory


@dataclass(frozen=True)
class Judge:
    """The model that measures: likelihoods, features and states are computed with it.

    Args:
        model: any causal LM.
        tokenizer: the tokenizer of the model.
        protocol: the protocol of MAUVE; see `metrics.protocols`.
        cache: a folder for features. None: nothing is kept.
        batch_size: texts in a forward pass.
    """

    model: Any
    tokenizer: Any
    protocol: protocols.Protocol = protocols.SU2023
    cache: Path | None = None
    batch_size: int = 8

    @cached_property
    def features(self) -> Featurizer:
        """The vectors of last tokens, as MAUVE takes them, over as many tokens as the protocol's model reads."""
        return Featurizer(
            self.model,
            self.tokenizer,
            max_length=self.protocol.max_length,
            batch_size=self.batch_size,
            cache=self.cache,
        )

    @cached_property
    def means(self) -> Featurizer:
        """The mean vectors of whole texts, for comparing embeddings."""
        return Featurizer(self.model, self.tokenizer, "mean", batch_size=self.batch_size, cache=self.cache)


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of one run.

    Likelihoods, features and states are computed when a metric first asks for them.

    Args:
        judge: the model that measures. None: only metrics that need no model can be computed.
        prefixes: N texts that were continued.
        references: N continuations by humans.
        continuations: N continuations by the system.
        prompts: (N,) the prompt of each text.
        seconds: (N,) the time that each text took, if it is known.
        languages: (N,) the language of each text, if it is known.
        known: results that are kept for later, such as MAUVE's curves.
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
        """The prompt of each text, as a keyword argument for the metrics."""
        return {"prompts": list(self.prompts)}

    @cached_property
    def likelihoods(self) -> NDArray:
        """(N, 2) log p of each continuation after its prefix, and its number of tokens."""
        judge = asked(self.judge)
        return likelihood.log_likelihoods(
            judge.model, judge.tokenizer, self.prefixes, self.continuations, batch_size=judge.batch_size
        )

    @cached_property
    def both(self) -> tuple[NDArray, NDArray, list[Any]]:
        """The features of human and machine texts, cut as the protocol says, and the prompts that are left."""
        judge = asked(self.judge)
        pairs = judge.protocol.prepare(judge.features.tokenizer, self.prefixes, self.references, self.continuations)
        return judge.features(pairs.humans), judge.features(pairs.models), [self.prompts[i] for i in pairs.kept]

    @property
    def layers(self) -> list[Isotropy]:
        """The isotropy of every layer, over the continuations after their prefixes."""
        return self.layers_by_language[None]

    @cached_property
    def layers_by_language(self) -> dict[Any, list[Isotropy]]:
        """The isotropy of every layer, by language. None stands for all texts.

        If there are several languages, each one with `FEW` texts or more has its own entry.
        """
        judge = asked(self.judge)
        heads, rows = likelihood.tokenise(judge.model, judge.tokenizer, self.prefixes, self.continuations, 1)
        kept = [i for i, row in enumerate(rows) if len(row) > 2]
        states = read_states(
            judge.model,
            [heads[i] + rows[i] for i in kept],
            starts=[len(heads[i]) for i in kept],
            layers="all",
            batch_size=judge.batch_size,
        )
        own = [self.languages[i] if self.languages else None for i in kept]
        counts = Counter(own)
        chosen = [language for language in counts if language is not None and counts[language] >= FEW]
        if len(chosen) > 1:
            states = twice(states, [language in chosen for language in own])
        with warnings.catch_warnings():
            # the table of docs/results/metrics.md says this
            warnings.filterwarnings("ignore", message=".*tokens a dimension.*")
            return isotropy(states, blocks=BLOCKS, groups=[*[None] * len(own), *own])


def twice(states: Iterable[TextStates], again: Sequence[bool]) -> Iterator[TextStates]:
    """Yield the states of N texts. Those that `again` names come a second time, with their number raised by N."""
    for one in states:
        yield one
        if again[one.text]:
            yield one._replace(text=one.text + len(again))


def asked(judge: Judge | None) -> Judge:
    """The judge. Raises ValueError if a metric needs a model and none was loaded."""
    if judge is None:
        raise ValueError("this metric needs a model")
    return judge


@dataclass(frozen=True)
class Metric:
    """A metric of a set of texts.

    Args:
        name: its name in files and on the command line.
        title: its name for readers.
        better: "higher", "lower", "reference" (closer to the value of the human texts) or None.
        about: what it is, for readers.
        measure: computes it.
        model: whether it needs a model.
        human: whether the human texts have it too.
        unit: its unit, for readers.
        least: how many prompts it needs. With fewer there is a note, and no system is called the best.
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
    """The metric rep-n."""
    return Metric(
        f"rep_{n}",
        f"rep-{n}",
        "reference",
        f"share of repeated {n}-grams within a text",
        lambda texts: diversity.rep(texts.continuations, n, **texts.pairs),
    )


def mauve(texts: Texts) -> Estimate:
    """MAUVE by the judge's protocol."""
    from ..metrics.mauve import mauve

    judge = asked(texts.judge)
    humans, models, _ = texts.both
    about = f"{judge.protocol.name}|{judge.features.signature}|of:{len(texts.prefixes)}"
    texts.known["mauve"] = found = mauve(humans, models, scaling=judge.protocol.scaling, about=about)
    return found


def embedding_coherence(texts: Texts) -> Estimate:
    """The mean cosine of prefix and continuation. Empty continuations are left out."""
    means = asked(texts.judge).means
    there = [i for i, text in enumerate(texts.continuations) if text.strip()]
    prefixes, found = ([side[i] for i in there] for side in (texts.prefixes, texts.continuations))
    return similarity.embedding_coherence(means(prefixes), means(found), prompts=[texts.prompts[i] for i in there])


def seconds(texts: Texts) -> Estimate:
    """The mean time to make a text."""
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
        ValueError: there is no metric of a name.
    """
    found = {metric.name: metric for metric in METRICS}
    for name in names:
        if name not in found:
            raise ValueError(f"there is no metric {name!r}: {', '.join(found)}")
    return [found[name] for name in dict.fromkeys(names)]
