"""Scorers by the probability of a continuation in a language model: likelihood, PMI and the noisy channel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ._common.checks import require_count, require_one_of
from .combined import Weighted
from .encoding import batches, distinct
from .language_model import LanguageModel
from .scorer import Scorer, refuse_no_texts

Prefix = str | tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Likelihood(Scorer):
    """log p of a continuation c after its prefix x, by any causal LM.

    A higher likelihood does not mean a better text: reranking nucleus samples by likelihood alone lowers MAUVE (Krishna
    et al. 2022, table 3). Use it as a term of a sum.

    Prefix and continuation are tokenised as one text, and the tokens that c adds to those of x count. So c must begin
    as the text goes on: with its space, if it has one. A token that reaches over the border counts, after the tokens
    before it. If nothing stands before a text, as after the empty prefix, the model reads the beginning-of-text token
    first, or the end-of-text token if it has no other. A prefix longer than `prefix_tokens` loses its beginning. A
    continuation without tokens is rejected: -inf.

    With "direct", a prefix is read once for all its continuations and all calls of `score`: the state holds the keys
    and values of all prefixes. When the scorer is called on lists of texts, it holds those of `batch_size` prefixes at
    a time.

    A prefix may be a tuple of texts: the same question after several evidences x_1 ... x_E, such as retrieved passages.

    Args:
        model: a causal LM.
        tokenizer: the tokenizer of the model.
        of: which log-probability is computed. "direct": log p(c | x). "prior": log p(c). "channel": log p(x | c), where
            c is read in front of x. "whole": log p(x c).
        length: "mean", over the tokens whose probability is computed; or "sum".
        evidences: how several evidences are combined. "mixture": log Σ_i p(c | x_i) / E, where p is of the whole text
            as in RAG-Sequence (Lewis et al. 2020, arXiv 2005.11401); one good evidence suffices. "product": Σ_i log p(c
            | x_i) / E; every evidence counts. With length="mean" either is divided by the mean of the numbers of
            tokens.
        prefix_tokens: how many of the last tokens of a prefix are read, at least 1. None: three quarters of the model's
            context. The continuation has the rest of the context, and is cut there with a warning.
        batch_size: rows in a forward pass, at least 1.

    Raises:
        ValueError: an option is out of range, the model is an encoder-decoder, or a prefix is an empty tuple.

    Example:
        >>> import decoding
        >>> scorer = Likelihood(*decoding.load())
        >>> scorer(["The capital of France is"] * 3, [" Paris", " Rome", " banana"]).argsort(descending=True)
        tensor([0, 1, 2])
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    of: str = "direct"
    length: str = "mean"
    evidences: str = "mixture"
    prefix_tokens: int | None = None
    batch_size: int = 8
    reader: LanguageModel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_one_of("of", self.of, ("direct", "prior", "channel", "whole"))
        require_one_of("length", self.length, ("mean", "sum"))
        require_one_of("evidences", self.evidences, ("mixture", "product"))
        require_count("batch_size", self.batch_size)
        require_count("prefix_tokens", self.prefix_tokens, optional=True)
        if self.model.config.is_encoder_decoder:
            raise ValueError("Likelihood reads texts by a causal LM, and this model is an encoder-decoder")
        reader = LanguageModel(self.model, self.tokenizer, self.batch_size, self.prefix_tokens)
        object.__setattr__(self, "reader", reader)

    @classmethod
    def pmi(cls, model: Any, tokenizer: Any, **options: Any) -> Weighted:
        """Pointwise mutual information, log p(c | x) - log p(c), of sums over tokens.

        With `length="mean"` it is of means. It is high for what this prefix makes probable, and not for what is
        probable after any text. The released gpt2 baseline of RankGen is the same, except that it has a term of the
        prefix alone and leaves out the first token.

        Args:
            model: a causal LM.
            tokenizer: the tokenizer of the model.
            options: more arguments of the class, except `of`.

        Example:
            >>> import decoding
            >>> scorer = Likelihood.pmi(*decoding.load())
            >>> scorer(["The capital of France is"] * 2, [" Paris", " a city"]).argmax()
            tensor(0)
        """
        options = {"length": "sum", **options}
        terms = [(1.0, cls(model, tokenizer, "direct", **options)), (-1.0, cls(model, tokenizer, "prior", **options))]
        return Weighted(terms)

    @classmethod
    def noisy_channel(
        cls, model: Any, tokenizer: Any, *, channel: float = 1.0, prior: float = 1.0, **options: Any
    ) -> Weighted:
        """The noisy channel: log p(c | x) + channel log p(x | c) + prior log p(c), each a mean over its own tokens.

        This is the reranking of Yee et al. 2019 (arXiv 1908.05731), with one LM in all three places. If you have a
        model for each place, write the sum yourself: `Weighted([(1, Likelihood(...)), (b, Likelihood(..., "channel")),
        ...])`.

        Args:
            model: a causal LM.
            tokenizer: the tokenizer of the model.
            channel: the weight of log p(x | c), finite. At 0 the term is not computed.
            prior: the weight of log p(c), finite. At 0 the term is not computed.
            options: more arguments of the class, except `of`.
        """
        kinds = {"direct": 1.0, "channel": channel, "prior": prior}
        return Weighted([(weight, cls(model, tokenizer, of, **options)) for of, weight in kinds.items()])

    def __call__(self, prefixes: Sequence[Prefix], continuations: Sequence[str]) -> Tensor:
        """Score each continuation after the prefix beside it, `batch_size` prefixes of similar length at a time."""
        if isinstance(prefixes, str) or isinstance(continuations, str) or len(prefixes) != len(continuations):
            return super().__call__(prefixes, continuations)  # type: ignore[arg-type]  # raises the error
        for name, given in (("prefix", prefixes), ("continuation", continuations)):
            refuse_no_texts(name, given)
        different, owners = distinct(prefixes)
        scores = torch.empty(len(prefixes))
        for batch in batches([len("".join(prefix)) for prefix in different], self.batch_size):
            members = set(batch)
            rows = [i for i, owner in enumerate(owners) if owner in members]
            own: list[Any] = [prefixes[i] for i in rows]
            scores[rows] = super().__call__(own, [continuations[i] for i in rows])
        return scores

    def read(self, prefixes: Sequence[Prefix]) -> Any:
        """Read the evidences of P prefixes.

        Returns:
            The numbers of the evidences of each prefix, and the evidences: with "direct" read by the model, else as
                texts.
        """
        evidences = [(prefix,) if isinstance(prefix, str) else tuple(prefix) for prefix in prefixes]
        if not all(evidences):
            raise ValueError("a prefix must be a text, or a tuple of at least one")
        ends = list(accumulate(map(len, evidences)))
        members = [range(end - len(own), end) for own, end in zip(evidences, ends, strict=True)]
        texts = [text for own in evidences for text in own]
        return members, self.reader.read(texts) if self.of == "direct" else texts

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) log-probabilities, at most 0."""
        if not len(owners):
            return torch.empty(0)
        members, prefixes = state
        if self.of == "prior":
            members = [range(1)] * len(members)  # the prefix has no influence
        places = [(i, evidence) for i, owner in enumerate(owners) for evidence in members[owner]]
        sums, counts = self._log_p(prefixes, [place for _, place in places], [continuations[i] for i, _ in places])
        sizes = [len(members[owner]) for owner in owners]
        totals = [self._together(own) for own in sums.split(sizes)]
        numbers = torch.stack([own.double().mean() for own in counts.split(sizes)])
        scores = torch.stack(totals)
        if self.length == "mean":
            scores = scores / numbers.clamp(min=1)
        said = numbers  # equal to the tokens of the continuation, unless `of` counts others
        if self.of in ("channel", "whole"):
            said = torch.tensor([len(tokens) for tokens in self.reader.tokens(continuations)])
        return scores.masked_fill(said == 0, -math.inf).float()

    def _together(self, sums: Tensor) -> Tensor:
        return sums.mean() if self.evidences == "product" else sums.logsumexp(0) - math.log(len(sums))

    def _log_p(self, prefixes: Any, owners: list[int], texts: list[str]) -> tuple[Tensor, Tensor]:
        """The sum of log-probabilities and the number of tokens of each text, of the kind that `of` says."""
        reader = self.reader
        if self.of == "direct":
            return reader.follow(prefixes, owners, texts)
        places, copies = distinct(
            [("" if self.of == "prior" else prefixes[i], text) for i, text in zip(owners, texts, strict=True)]
        )
        given, said = [prefix for prefix, _ in places], [text for _, text in places]
        if self.of == "channel":
            given, said = said, given
        if self.of == "whole":
            spans, _ = reader.spans(given, said, reader.begin)
            start = len(reader.begin)
            spans = [(head[:start], head[start:] + tail) for head, tail in spans]
        else:
            spans, _ = reader.spans(given, said, reader.lead)
        counts = torch.tensor([len(tail) for _, tail in spans], dtype=torch.long)
        return reader.whole(spans)[copies], counts[copies]
