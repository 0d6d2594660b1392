"""Reward models: any sequence classifier that scores a whole answer, and mixtures of such experts behind a router."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from ._common.checks import require_count, require_one_of
from ._common.loading import load_model, load_tokenizer
from .encoding import batches, context_length, distinct, evaluating, pad, tokenise, wide
from .scorer import Scorer, as_scorer


@dataclass(frozen=True, eq=False)
class Classifier:
    """The outputs of a sequence classifier for texts. A text gets the same output alone and in any batch.

    transformers' classifiers over causal LMs read the last token that is not the padding token. Often the padding token
    is the end of text, and then an appended end of text would be passed over. Without a padding token, transformers
    refuses a batch. So rows are padded on the right with a token that occurs in none of them, and this token is the
    model's padding token for the length of a call.

    Args:
        model: a model of `AutoModelForSequenceClassification`, or one like it.
        tokenizer: the tokenizer of the model.
        append_eos: end every text with the end-of-text token, unless the tokenizer has done so.
        output: the field of the model's output that is taken, (B, L) or (B,).
        batch_size: texts in a forward pass, at least 1.
        max_length: how many of the last tokens of a text are read. None: as many as the model can read.

    Raises:
        ValueError: a number is out of range, or there is no end-of-text token to append.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    append_eos: bool = False
    output: str = "logits"
    batch_size: int = 8
    max_length: int | None = None

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)
        require_count("max_length", self.max_length, optional=True)
        if self.append_eos and self.tokenizer.eos_token_id is None:
            raise ValueError("append_eos: this tokenizer has no end of text")

    def __call__(self, texts: Sequence[str], **options: Any) -> Tensor:
        """(N, L) float32 or wider on the CPU: the outputs for each text.

        Args:
            texts: N texts.
            options: more arguments for the tokenizer, such as `text_pair`, with one text for each.

        Raises:
            ValueError: the model's output has another shape, or a text has no tokens.
        """
        length = self.max_length or context_length(self.model, self.tokenizer)
        room = length - 1 if length and self.append_eos else length
        rows = [self._ended(row) for row in tokenise(self.tokenizer, texts, room, "end", **options)]
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        with evaluating(self.model):
            for batch in batches([len(row["input_ids"]) for row in rows], self.batch_size):
                own = [rows[i] for i in batch]
                if not all(row["input_ids"] for row in own):
                    raise ValueError("a text has no tokens: use append_eos=True, or chat templates")
                with padding(self.model, unused(own, self.tokenizer.pad_token_id)) as token:
                    out = self.model(**pad(own, token, self.model.device))
                values = wide(out[self.output]).cpu()
                if values.dim() not in (1, 2) or len(values) != len(own):
                    raise ValueError(f"{self.output} of the model is {tuple(values.shape)} for {len(own)} texts")
                for i, value in zip(batch, values.view(len(own), -1), strict=True):
                    found[i] = value
        return torch.stack(found) if found else torch.empty(0, 0)

    def _ended(self, row: dict[str, list[int]]) -> dict[str, list[int]]:
        end = self.tokenizer.eos_token_id
        if not self.append_eos or row["input_ids"][-1:] == [end]:
            return row
        last = {name: values[-1] if values else 0 for name, values in row.items()} | {"input_ids": end}
        return {name: [*values, last[name]] for name, values in row.items()}


@dataclass(frozen=True, eq=False)
class RewardModel(Scorer):
    """The output of a sequence classifier that reads a prefix and its continuation together.

    By default the score is the model's only output. Such models are trained on whole answers, so unfinished
    continuations are refused (`partial=False`), unless you know that your model can judge them. Empty prefixes and
    continuations are read as `form` makes them. A text that is longer than the model can read loses its beginning.
    Prefix and continuation are read together, so nothing of a prefix is kept for later calls.

    Args:
        model: see `Classifier`.
        tokenizer: see `Classifier`.
        form: how the two texts are put together. "text": the continuation directly after the prefix. "pair": the text
            pair of the tokenizer, for encoders. "chat": a user's message and the assistant's, by the tokenizer's chat
            template.
        index: which of the model's outputs is the score. None: the only one.
        append_eos: see `Classifier`. TRL's RewardTrainer appends the end-of-text token.
        output: see `Classifier`.
        batch_size: see `Classifier`.
        max_length: see `Classifier`.
        partial: whether unfinished continuations may be scored.

    Raises:
        ValueError: an option is out of range; the model has several outputs and no index is given; the tokenizer has no
            chat template; or there is no end-of-text token to append.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    form: str = "text"
    index: int | None = None
    append_eos: bool = False
    output: str = "logits"
    batch_size: int = 8
    max_length: int | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        require_one_of("form", self.form, ("text", "pair", "chat"))
        if self.form == "chat" and not getattr(self.tokenizer, "chat_template", None):
            raise ValueError('form="chat": this tokenizer has no chat template; set one, or use "text" or "pair"')
        self._classifier()
        require_count("index", self.index, least=0, optional=True)
        if self.model is not None and self.output == "logits":
            labels = self.model.config.num_labels
            if labels > 1 and self.index is None:
                raise ValueError(f"this model has {labels} outputs: say which is the reward, index=0 to {labels - 1}")
            if self.index is not None and self.index >= labels:
                raise ValueError(f"index must be in 0 to {labels - 1}, not {self.index}")

    @classmethod
    def from_pretrained(
        cls, source: str | Path, tokenizer: Any = None, *, device: Any = None, dtype: Any = None, **options: Any
    ) -> "RewardModel":
        """Load the model and the tokenizer of a hub id or folder.

        Args:
            source: a hub id or a folder.
            tokenizer: another tokenizer, or its hub id or folder. None: that of `source`.
            device: where the model goes. None: the accelerator if there is one, else the CPU.
            dtype: the type of the weights. None: that of the checkpoint.
            options: more arguments of the class.

        Raises:
            ValueError: there is no such model or tokenizer, or the model has no trained head.
        """
        tokenizer = load_tokenizer(source if tokenizer is None else tokenizer)
        cls(None, tokenizer, **options)  # refuses wrong options before the weights are read
        model = load_model(AutoModelForSequenceClassification, source, device=device, dtype=dtype)
        return cls(model, tokenizer, **options)

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) rewards. Equal pairs are read once."""
        if not len(owners):
            return torch.empty(0)
        pairs, places = distinct([(state[owner], text) for owner, text in zip(owners, continuations, strict=True)])
        values = self._classifier()(**self._texts(pairs))
        number = values.shape[1]
        if self.index is None and number != 1:
            raise ValueError(f"{self.output} of the model has {number} values: say which, index=")
        if self.index is not None and self.index >= number:
            raise ValueError(f"{self.output} of the model has {number} values: index must be in 0 to {number - 1}")
        return values[places, self.index or 0].float()

    def _texts(self, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        prefixes, continuations = map(list, zip(*pairs, strict=True))
        if self.form == "pair":
            return {"texts": prefixes, "text_pair": continuations}
        if self.form == "text":
            return {"texts": [prefix + text for prefix, text in pairs]}
        chats = [
            [{"role": "user", "content": prefix}, {"role": "assistant", "content": text}] for prefix, text in pairs
        ]
        texts = [self.tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        return {"texts": texts, "add_special_tokens": False}  # the template has added them

    def _classifier(self) -> Classifier:
        options = (self.append_eos, self.output, self.batch_size, self.max_length)
        return Classifier(self.model, self.tokenizer, *options)


@dataclass(frozen=True, eq=False)
class Router:
    """The weights of experts for a prefix: the probabilities of a classifier that has one class for each expert.

    Args:
        classifier: a `Classifier` with as many outputs as there are experts.
        hard: give all weight to the most probable class, as the outer layer of DMoERM does (Quan 2024, arXiv
            2403.01197).
    """

    classifier: Classifier
    hard: bool = False

    def __call__(self, prefixes: Sequence[str]) -> Tensor:
        """(P, E) float32: a row of weights for each prefix, which sum to 1."""
        logits = self.classifier(prefixes).float()
        if self.hard:
            return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return logits.softmax(-1)


@dataclass(frozen=True, eq=False)
class Gated(Scorer):
    """A mixture of experts: Σ_e w_e(prefix) s_e(prefix, continuation), where a router computes the weights.

    A double mixture of experts (DMoERM, Quan 2024, arXiv 2403.01197) has two layers. The outer one is a router that
    picks one expert for a prefix. The inner one has soft weights over the experts of one task. So an expert may itself
    be `Gated`.

    The weights of a prefix are computed once, from the prefix alone. An expert of weight 0 does not run, and does not
    read the prefix. A continuation that any expert of positive weight rejects (-inf) is rejected.

    Args:
        router: a function of P prefixes that returns (P, E) weights, finite and at least 0, such as a `Router`.
        experts: E scorers, or functions of (prefixes, continuations).

    Raises:
        ValueError: there are no experts. In a call: the weights have another shape or are out of range.

    Example:
        >>> def router(prefixes):
        ...     return torch.tensor([[1.0, 0.0] if "?" in prefix else [0.25, 0.75] for prefix in prefixes])
        >>> length = lambda prefixes, texts: [len(text) for text in texts]
        >>> Gated(router, [length, lambda prefixes, texts: [0.0] * len(texts)])(["Why?", "So"], ["abcd", "abcd"])
        tensor([4., 1.])
    """

    router: Callable[[Sequence[str]], Any]
    experts: Sequence[Any]

    def __post_init__(self) -> None:
        experts = tuple(map(as_scorer, self.experts))
        if not experts:
            raise ValueError("a mixture needs at least one expert")
        object.__setattr__(self, "experts", experts)
        object.__setattr__(self, "partial", all(expert.partial for expert in experts))
        object.__setattr__(self, "setwise", any(expert.setwise for expert in experts))

    def read(self, prefixes: Sequence[str]) -> Any:
        """Compute the weights, and let each expert read its prefixes: those with a weight above 0.

        Returns:
            The weights, (P, E); the state of each expert; and for each expert the places of its prefixes in that state.
        """
        weights = torch.as_tensor(self.router(list(prefixes))).detach().to("cpu", torch.float32)
        if weights.shape != (len(prefixes), len(self.experts)):
            raise ValueError(
                f"the router gave {tuple(weights.shape)} weights for {len(prefixes)} prefixes and "
                f"{len(self.experts)} experts"
            )
        if not (weights.isfinite().all() and (weights >= 0).all()):
            raise ValueError("the router's weights must be finite and at least 0")
        owned = [column.nonzero().flatten().tolist() for column in weights.T]
        states = [
            expert.read([prefixes[i] for i in own]) if own else None
            for expert, own in zip(self.experts, owned, strict=True)
        ]
        return weights, states, [{i: place for place, i in enumerate(own)} for own in owned]

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) weighted sums."""
        weights, states, places = state
        own = weights[list(owners)]
        total = torch.zeros(len(owners))
        for e, expert in enumerate(self.experts):
            rows = own[:, e].nonzero().flatten().tolist()
            if rows:
                found = expert.score(states[e], [places[e][owners[i]] for i in rows], [continuations[i] for i in rows])
                total[rows] += own[rows, e] * found
        return total


def unused(rows: Sequence[dict[str, list[int]]], wish: int | None) -> int:
    """A token that occurs in none of the rows. It is `wish`, if that occurs in none."""
    taken = {token for row in rows for token in row["input_ids"]}
    if wish is not None and wish not in taken:
        return wish
    return next(token for token in range(len(taken) + 1) if token not in taken)


@contextmanager
def padding(model: Any, token: int) -> Iterator[int]:
    """Make `token` the model's padding token for the length of a block."""
    config = model.config.get_text_config()
    before, config.pad_token_id = config.pad_token_id, token
    try:
        yield token
    finally:
        config.pad_token_id = before
