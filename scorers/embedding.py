"""Similarity in meaning of a continuation and its prefix: the cosine of their embeddings, by any encoder or LM."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel

from ._common.checks import require_count, require_one_of
from ._common.loading import load_model, load_tokenizer
from .encoding import batches, context_length, distinct, evaluating, pad, tokenise, wide
from .scorer import Scorer

TEXT = "{text}"
PROMPT_EOL = 'This sentence : "{text}" means in one word:"'  # Jiang et al. 2023 (arXiv 2307.16645), PromptEOL


@dataclass(frozen=True)
class Whitening:
    """A linear map x -> (x - mean) matrix whose coordinates have no correlation and variance 1.

    Su et al. 2021 (arXiv 2103.15316).

    Args:
        mean: (D,) float64.
        matrix: (D, K) float64, K <= D.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 1.0, 0.1])
        >>> (Whitening.fit(x, 2)(x).T.cov().diag() * 100).round()
        tensor([100., 100.])
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def fit(cls, vectors: Tensor, dimensions: int | None = None) -> "Whitening":
        """Fit the map to vectors. Directions without variance are left out; there are some whenever N <= D.

        Args:
            vectors: (N, D) of any float type, N at least 2.
            dimensions: K: keep the K directions of most variance. None: all.

        Raises:
            ValueError: there are too few vectors, all are the same, or they vary in fewer directions than `dimensions`.
        """
        require_count("dimensions", dimensions, optional=True)
        vectors = vectors.detach().to("cpu", torch.float64)
        if vectors.dim() != 2 or len(vectors) < 2:
            raise ValueError(f"whitening needs (N, D) vectors, N at least 2, not {tuple(vectors.shape)}")
        variances, directions = torch.linalg.eigh(torch.atleast_2d(vectors.T.cov()))
        real = variances > variances[-1].clamp(min=1e-300) * 1e-8  # in ascending order
        kept = variances.flip(0)[: int(real.sum())][:dimensions]
        if not len(kept) or len(kept) < (dimensions or 0):
            raise ValueError(
                f"these {len(vectors)} vectors vary in {int(real.sum())} dimensions: give more, or ask less"
            )
        return cls(vectors.mean(0), directions.flip(1)[:, : len(kept)] / kept.sqrt())

    def __call__(self, vectors: Tensor) -> Tensor:
        """(N, D) -> (N, K), of the same type and on the same device."""
        return (vectors - self.mean.to(vectors)) @ self.matrix.to(vectors)


@dataclass(frozen=True, eq=False)
class Embedding(Scorer):
    """cos(e(prefix), e(continuation)), in [-1, 1], where e pools the hidden states of a model.

    A prefix that is longer than the model can read loses its beginning, a continuation its end. A text without tokens
    has no embedding, and its cosine is 0. A prefix is embedded once.

    Args:
        model: any encoder; a causal LM, of which the last hidden states are taken, not the logits; or an
            encoder-decoder, of which the encoder is taken.
        tokenizer: the tokenizer of the model.
        pooling: how states become one vector. "mean": the mean over the text's tokens, special ones included. "last":
            the state of the last token, for LMs. "first": the state of the first token, for encoders that were trained
            for this.
        prompt: what is read in place of a text, with "{text}" where the text goes. None: the text alone. With
            pooling="last", `PROMPT_EOL` asks an LM for the meaning of the text.
        layer: which layer's states are taken: -1 is the last layer, 0 the embeddings of the tokens.
        whitening: a map that is applied to the embeddings; see `whitened`.
        batch_size: texts in a forward pass, at least 1.
        max_length: the most tokens of a text, the prompt included. None: as many as the model can read.

    Raises:
        ValueError: an option is out of range, or the prompt does not have "{text}" exactly once.

    Example:
        >>> import decoding
        >>> scorer = Embedding(*decoding.load())
        >>> near, far = scorer(["The cat sat on the mat."] * 2, ["A kitten lay on a rug.", "Stocks fell by 3 percent."])
        >>> bool(near > far)
        True
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    pooling: str = "mean"
    prompt: str | None = None
    layer: int = -1
    whitening: Whitening | None = field(default=None, repr=False)
    batch_size: int = 32
    max_length: int | None = None

    def __post_init__(self) -> None:
        require_one_of("pooling", self.pooling, ("mean", "last", "first"))
        require_count("batch_size", self.batch_size)
        require_count("max_length", self.max_length, optional=True)
        if isinstance(self.layer, bool) or not isinstance(self.layer, int):
            raise ValueError(f"layer must be a whole number, not {self.layer!r}")
        if self.prompt is not None and self.prompt.count(TEXT) != 1:
            raise ValueError(f'prompt must have "{TEXT}" once, where the text goes, and not be {self.prompt!r}')

    @classmethod
    def from_pretrained(
        cls, source: str | Path, tokenizer: Any = None, *, device: Any = None, dtype: Any = None, **options: Any
    ) -> "Embedding":
        """Load the model and the tokenizer of a hub id or folder.

        Args:
            source: a hub id or a folder.
            tokenizer: another tokenizer, or its hub id or folder. None: that of `source`.
            device: where the model goes. None: the accelerator if there is one, else the CPU.
            dtype: the type of the weights. None: that of the checkpoint.
            options: more arguments of the class.

        Raises:
            ValueError: there is no such model or tokenizer.
        """
        tokenizer = load_tokenizer(source if tokenizer is None else tokenizer)
        cls(None, tokenizer, **options)  # refuses wrong options before the weights are read
        return cls(load_model(AutoModel, source, device=device, dtype=dtype), tokenizer, **options)

    def whitened(self, texts: Sequence[str], dimensions: int | None = None) -> "Embedding":
        """The same scorer with a `Whitening` that is fitted to the embeddings of these texts.

        Args:
            texts: thousands of texts of the kind that will be scored.
            dimensions: see `Whitening.fit`.

        Raises:
            ValueError: see `Whitening.fit`.
        """
        plain = replace(self, whitening=None)
        return replace(self, whitening=Whitening.fit(plain.embed(texts), dimensions))

    def read(self, prefixes: Sequence[str]) -> Any:
        """(P, D) unit vectors of the prefixes."""
        return F.normalize(self.embed(prefixes, "end"), dim=-1)

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) cosines."""
        vectors = F.normalize(self.embed(continuations), dim=-1)
        return (state[list(owners)] * vectors).sum(-1).to("cpu", torch.float32)

    def embed(self, texts: Sequence[str], keep: str = "start") -> Tensor:
        """(N, D) embeddings on the model's device, float32 or wider, not normalised. Equal texts are read once.

        Args:
            texts: N texts.
            keep: which end of a text is kept if it is too long: "start" or "end".
        """
        different, places = distinct(texts)
        rows = self._tokens(different, keep)
        found: Tensor | None = None
        with evaluating(self.model):
            for batch in batches([len(row["input_ids"]) for row in rows], self.batch_size):
                full = [i for i in batch if rows[i]["input_ids"]]
                if full:
                    pooled = self._pool([rows[i] for i in full])
                    found = pooled.new_zeros(len(rows), pooled.shape[1]) if found is None else found
                    found[full] = pooled
        if found is None:
            found = wide(torch.zeros(len(rows), 1, device=self.model.device, dtype=self.model.dtype))
        return found[places]

    def _tokens(self, texts: Sequence[str], keep: Any) -> list[dict[str, list[int]]]:
        length = self.max_length or context_length(self.model, self.tokenizer)
        if self.prompt is None:
            return tokenise(self.tokenizer, texts, length, keep)
        start = self.prompt.index(TEXT)
        prompted = [self.prompt.replace(TEXT, text) for text in texts]
        spans = [(start, start + len(text)) for text in texts]
        return tokenise(self.tokenizer, prompted, length, keep, spans=spans)

    def _pool(self, rows: list[dict[str, list[int]]]) -> Tensor:
        """(B, D) embeddings of rows that have at least one token each."""
        reader = encoder_of(self.model)
        inputs = pad(rows, self.tokenizer.pad_token_id or 0, self.model.device)  # the mask hides the padding
        out = reader(**inputs, output_hidden_states=self.layer != -1, return_dict=True)
        if self.layer != -1 and not -len(out.hidden_states) <= self.layer < len(out.hidden_states):
            number = len(out.hidden_states)
            raise ValueError(f"layer must be in {-number} to {number - 1}, not {self.layer}")
        states = wide(out.last_hidden_state if self.layer == -1 else out.hidden_states[self.layer])
        mask = inputs["attention_mask"].to(states)
        if self.pooling == "mean":
            pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        else:
            last = mask.sum(1).long() - 1
            pooled = states[torch.arange(len(states)), last if self.pooling == "last" else 0]
        return pooled if self.whitening is None else self.whitening(pooled)


def encoder_of(model: Any) -> Any:
    """The part of a model that makes hidden states of a text.

    It is the model without its head, or the encoder of an encoder-decoder.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft: adapters stay in place
    return inner.get_encoder() if inner.config.is_encoder_decoder else inner.base_model
