"""log p(text | prefix) of a causal LM. This is the one place where it is computed.

- `token_log_p` takes log-probabilities out of logits.
- `read_spans` reads tokens from their beginning.
- `LanguageModel` reads texts. It reads a prefix once, and the keys and values serve all texts that follow it.

This module also decides where a text begins within its row of tokens. `LanguageModel` tokenises prefix and text
together. `tokenise_apart` tokenises them one by one, as generation does, where the tokens of the prompt are given.
"""

import copy
import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from .encoding import batches, context_length, distinct, evaluating, pad, tokenise, wide

Span = tuple[list[int], list[int]]  # head: the given tokens; tail: the tokens after it, whose probability is computed
CACHE_NAMES = ("cache", "past_key_values")  # of keys and values, since transformers 5.24 and before
# other layers keep a state that takes one token at a time
FORKABLE = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)


@dataclass(frozen=True)
class Shelf:
    """The cache of a batch of prefixes, each without its last token.

    Args:
        name: under which the model gives its cache, and takes it.
        cache: the cache of transformers.
        mask: (B, T) attention mask, padded on the left.
    """

    name: str
    cache: Any
    mask: Tensor


@dataclass(frozen=True)
class Prefixes:
    """Texts that were read.

    Args:
        texts: the texts.
        shelves: the caches.
        places: for each text, the number of its shelf and its row there; None if no cache can be continued.
    """

    texts: list[str]
    shelves: list[Shelf]
    places: list[tuple[int, int] | None]


class LanguageModel:
    """Computes log-probabilities of texts by a causal LM, in batches. Sums are float64, over the whole vocabulary.

    Prefix and text are tokenised together, as one text, and the tokens that the text adds to those of the prefix are
    scored. A token that reaches over the border is scored, after the tokens that both tokenisations share. Such a pair
    is read from its beginning. So are all pairs of a model whose cache cannot be copied. Every other pair continues
    from the cache.

    Special tokens stand where the tokenizer puts them at the beginning of a text. None stand at its end. If nothing
    stands before a text, the model reads the beginning-of-text token first, or the end-of-text token if there is no
    other.

    Args:
        model: any causal LM of transformers.
        tokenizer: the tokenizer of the model.
        batch_size: rows in a forward pass.
        prefix_tokens: how many of the last tokens of a prefix are read. None: three quarters of the model's context.
            The text has the rest of the context, and is cut there with a warning.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int, prefix_tokens: int | None) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        encoded = tokenizer("a", return_special_tokens_mask=True)
        special = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        self.lead = [token for token, _ in takewhile(lambda pair: pair[1], special)]
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if not self.lead and start is None:
            raise ValueError("this tokenizer has neither a beginning nor an end of text to stand before a first token")
        self.begin = self.lead or [start]
        self.context = context_length(model, tokenizer)
        self.prefix_tokens = prefix_tokens or (self.context and max(self.context * 3 // 4, 1))
        if self.context and self.prefix_tokens and self.prefix_tokens >= self.context:
            raise ValueError(f"prefix_tokens must leave room for a text: less than the {self.context} the model reads")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without special tokens."""
        return [row["input_ids"] for row in tokenise(self.tokenizer, texts, add_special_tokens=False)]

    def cut(self, tokens: list[int], begin: list[int]) -> list[int]:
        """The tokens of a prefix that are read: `begin`, then the last tokens that fit."""
        room = None if self.prefix_tokens is None else max(self.prefix_tokens - len(begin), 0)
        return [*begin, *(tokens if room is None else tokens[max(len(tokens) - room, 0) :])] or self.begin

    def read(self, texts: Sequence[str]) -> Prefixes:
        """Read P prefixes. Equal prefixes are read once."""
        different, copies = distinct(texts)
        tokens = [self.cut(row, self.lead) for row in self.tokens(different)]
        shelves: list[Shelf] = []
        places: list[tuple[int, int] | None] = [None] * len(tokens)
        with evaluating(self.model):
            for batch in batches(list(map(len, tokens)), self.batch_size):
                shelf = self._read([tokens[i][:-1] for i in batch])
                if shelf is None:
                    break  # nothing to keep: this model's cache cannot be copied, or the prefixes have one token
                for row, i in enumerate(batch):
                    places[i] = len(shelves), row
                shelves.append(shelf)
        return Prefixes([different[i] for i in copies], shelves, [places[i] for i in copies])

    def follow(self, state: Prefixes, owners: Sequence[int], texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """log p of each text after its prefix of `state`: sums, (N,) float64, and numbers of tokens, (N,) int64."""
        pairs, copies = distinct([(owner, text) for owner, text in zip(owners, texts, strict=True)])
        spans, whole = self.spans([state.texts[owner] for owner, _ in pairs], [text for _, text in pairs], self.lead)
        sums = torch.zeros(len(pairs), dtype=torch.float64)
        shelved: dict[int, list[int]] = {}
        anew = []
        for i, (owner, _) in enumerate(pairs):
            place = state.places[owner]
            if place is not None and whole[i]:
                shelved.setdefault(place[0], []).append(i)
            else:
                anew.append(i)
        with evaluating(self.model):
            for number, members in shelved.items():
                for batch in batches([len(spans[i][1]) for i in members], self.batch_size):
                    own = [members[j] for j in batch]
                    rows = [place[1] for i in own if (place := state.places[pairs[i][0]])]
                    sums[own] = self._continue(state.shelves[number], rows, [spans[i] for i in own])
        if anew:
            sums[anew] = self.whole([spans[i] for i in anew])
        counts = torch.tensor([len(tail) for _, tail in spans], dtype=torch.long)
        return sums[copies], counts[copies]

    def spans(self, prefixes: Sequence[str], texts: Sequence[str], begin: list[int]) -> tuple[list[Span], list[bool]]:
        """The tokens of each prefix and of the text after it, and whether all tokens of the prefix alone are kept."""
        own = self.tokens(prefixes)
        joint = self.tokens([prefix + text for prefix, text in zip(prefixes, texts, strict=True)])
        spans, whole = [], []
        for alone, both in zip(own, joint, strict=True):
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, both, strict=False)))
            spans.append(self.fitted(self.cut(alone[:shared], begin), both[shared:]))
            whole.append(shared == len(alone))
        return spans, whole

    def fitted(self, head: list[int], tail: list[int]) -> Span:
        """The tokens, with the last ones of `tail` cut off if the context is too short for them."""
        if self.context and len(head) + len(tail) > self.context:
            warnings.warn(
                f"the model reads {self.context} tokens, and some texts are longer: what follows does not count; "
                "score shorter ones, or give prefixes less room by prefix_tokens=",
                stacklevel=5,
            )
            tail = tail[: self.context - len(head)]
        return head, tail

    def whole(self, spans: Sequence[Span]) -> Tensor:
        """(N,) float64: the sum of log p of each tail after its head, read from the beginning."""
        sums = [float(found.sum()) for found in read_spans(self.model, spans, self.batch_size)]
        return torch.tensor(sums, dtype=torch.float64)

    def _read(self, rows: list[list[int]]) -> Shelf | None:
        if not any(rows):
            return None
        inputs = pad([{"input_ids": row} for row in rows], 0, self.model.device, side="left")
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        out = forward(self.model, 1, position_ids=positions, use_cache=True, **inputs)
        name = next((name for name in CACHE_NAMES if name in out), "")
        cache: Any = out[name] if name else None
        layers = getattr(cache, "layers", None) if isinstance(cache, Cache) else None
        if not layers or not all(type(layer) in FORKABLE for layer in layers):
            return None
        return Shelf(name, cache, inputs["attention_mask"])

    def _continue(self, shelf: Shelf, rows: list[int], spans: list[Span]) -> Tensor:
        row = torch.tensor(rows, device=shelf.mask.device)
        inputs = pad([{"input_ids": [head[-1], *tail[:-1]]} for head, tail in spans], 0, self.model.device)
        before = shelf.mask[row]
        ids, mask = inputs["input_ids"], torch.cat([before, inputs["attention_mask"]], dim=1)
        positions = before.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=ids.device)
        limit = self.context and self.context - 1  # padding may stand beyond the last position
        positions = positions.clamp(max=limit) if limit else positions
        cache = fork(shelf.cache, row)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, shelf.name: cache}
        out = forward(self.model, None, use_cache=True, **inputs)
        return log_p(out.logits, [0] * len(spans), [tail for _, tail in spans])


def read_spans(model: Any, spans: Sequence[Span], batch_size: int = 8) -> list[Tensor]:
    """log p of every token of each tail after its head, read from the beginning, in batches of similar length.

    Args:
        model: a causal LM of transformers. It is read in evaluation mode, without gradients.
        spans: N pairs (head, tail) of token ids: the given tokens, and those whose probability is computed. A head has
            at least one token. A tail may be empty.
        batch_size: rows in a forward pass.

    Returns:
        N tensors (tail,), float64 on the CPU, over the whole vocabulary. They are computed in float32, or wider if the
        logits are.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> [log_p] = read_spans(model, [(tokenizer("The capital of France is").input_ids, [7042])])
        >>> log_p.shape, bool(log_p < 0)
        (torch.Size([1]), True)
    """
    found = [torch.zeros(0, dtype=torch.float64)] * len(spans)
    said = [i for i, (_, tail) in enumerate(spans) if tail]
    with evaluating(model):
        for places in batches([sum(map(len, spans[i])) for i in said], batch_size):
            batch = [said[place] for place in places]
            rows = [{"input_ids": [*head, *tail][:-1]} for head, tail in (spans[i] for i in batch)]  # not the last
            inputs = pad(rows, 0, model.device)
            first = [len(spans[i][0]) - 1 for i in batch]
            length = inputs["input_ids"].shape[1]
            logits = forward(model, length - min(first), **inputs).logits
            shift = length - logits.shape[1]
            for i, row, start in zip(batch, logits, first, strict=True):  # a row at a time, to save memory
                asked = torch.tensor(spans[i][1])
                found[i] = token_log_p(row[start - shift :][: len(asked)], asked)
    return found


def forward(model: Any, last: int | None, **inputs: Any) -> Any:
    """The output of a model. Inputs that are optional are left out if this model does not take them.

    Args:
        model: a causal LM.
        last: the number of positions, counted from the end, whose logits are needed. None: all.
        inputs: the inputs of the model.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes = inspect.signature(inner.forward).parameters
    if last is not None:
        inputs["logits_to_keep"] = last
    inputs.setdefault("use_cache", False)
    optional = ("position_ids", "logits_to_keep", "use_cache")
    return model(**{k: v for k, v in inputs.items() if k not in optional or k in takes}, return_dict=True)


def token_log_p(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of tokens, one token for each row of logits: (..., V) logits and (...) int64 -> (...) float64 on the CPU.

    The softmax is taken in float32, or wider if the logits are.

    Example:
        >>> token_log_p(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    log_p = wide(logits).log_softmax(-1)
    return log_p.gather(-1, tokens.to(log_p.device)[..., None]).squeeze(-1).cpu().double()


def log_p(logits: Tensor, starts: Sequence[int], tails: Sequence[list[int]]) -> Tensor:
    """(B,) float64 on the CPU: the sum of log p of each row's tail. `logits[row, start]` predict its first token."""
    rows = zip(logits, starts, tails, strict=True)
    return torch.stack([token_log_p(row[start : start + len(t)], torch.tensor(t)).sum() for row, start, t in rows])


def tokenise_apart(tokenizer: Any, prefixes: Sequence[str], texts: Sequence[str]) -> list[Span]:
    """The tokens of each prefix, with the special tokens of its tokenizer, and those of the text after it, without any.

    A prefix without tokens is replaced by the beginning-of-text token, or by the end-of-text token if there is no
    other.

    Raises:
        ValueError: a prefix has no tokens, and the tokenizer has neither of the two.
    """
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    heads = [list(tokenizer(prefix)["input_ids"]) or [first] for prefix in prefixes]
    if any(head == [None] for head in heads):
        raise ValueError("a text has no prefix, and the tokenizer no token that begins or ends texts: give prefixes")
    tails = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return list(zip(heads, tails, strict=True))


def fork(cache: Any, rows: Tensor) -> Any:
    """A new cache of these rows of another cache, which is left unchanged."""
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    forked.batch_select_indices(rows)
    return forked
