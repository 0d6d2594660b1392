"""Odd calls of the library, and what comes of each; `python -m tests.support.odd` prints it.

The table is in docs/methods/robustness.md.

A case is right (it equals an oracle) or one clear error; test_odd_calls.py and its neighbours check each.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import decoding
from tests.support import tiny
from tests.support.odd_files import FILES
from tests.support.odd_texts import SCORERS, TEXTS
from tests.support.oracles import methods as oracles
from tests.support.oracles import pickers as oracles_pickers

VOCABULARY, PLACES, NEW = 23, 16, 3
INF, NAN = float("inf"), float("nan")
TOKENIZER = tiny.tokenizer()
ASIDE = [[7, 8]]
# how many examples hypothesis draws of each property
DRAWN = {"prompts, masks and lengths": 60, "logits of a broken model": 30, "texts for scorers": 25}


def small(vocabulary: int = VOCABULARY, seed: int = 0, dropout: float = 0.1, **options: Any) -> Any:
    """A model of one layer and 16 absolute positions; with dropout, should it be trained."""
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=PLACES, n_embd=16, n_layer=1, n_head=2, resid_pdrop=dropout,
        embd_pdrop=dropout, attn_pdrop=dropout, **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **options},
    )  # fmt: skip
    return tiny.seeded(GPT2LMHeadModel(config), seed, std=0.5)


MODEL = small()


def lengths(prefixes, texts):
    return [float(len(text)) for text in texts]


PARTS: dict[str, Callable[[], list[Any]]] = {
    "Greedy": lambda: [decoding.Greedy()],
    "Sample": lambda: [decoding.Sample()],
    "ContrastiveSearch": lambda: [decoding.ContrastiveSearch(3, 0.6)],
    "AdaptiveContrastiveSearch": lambda: [decoding.AdaptiveContrastiveSearch(2.0, 2, 4)],
    "FrustratinglySimple": lambda: [decoding.FrustratinglySimple(4, 0.5, 2)],
    "Mirostat": lambda: [decoding.Mirostat(2.0)],
    "ArithmeticSample": lambda: [decoding.ArithmeticSample()],
    "NegativePrompt, Rerank": lambda: [
        decoding.NegativePrompt(ASIDE),
        decoding.Rerank(lengths, 2, 2, 1, tokenizer=TOKENIZER),
    ],
}


SEARCHES: dict[str, Callable[..., list[int]]] = {  # the oracles of those that draw nothing
    "Greedy": oracles.greedy,
    "ContrastiveSearch": partial(oracles.contrastive_search, k=3, alpha=0.6),
    "AdaptiveContrastiveSearch": lambda *args, **options: oracles_pickers.adaptive_contrastive_search(
        *args, 2.0, 2, 4, **options
    )[0],
    "FrustratinglySimple": lambda *args, **options: oracles_pickers.frustratingly_simple(
        *args, 4, 0.5, 2, 0.9, **options
    ),
}


@dataclass(frozen=True)
class Case:
    """An odd call. error: what the message must have; None: it is served. served: what holds of its result."""

    topic: str
    name: str
    options: dict[str, Any]
    error: str | None = None
    model: Callable[[], Any] = lambda: MODEL
    before: Callable[[], list[Any]] = list  # guides in front of the parts
    worked: bool = False  # whether forwards may have been spent when the error comes


def ids(*rows: list[int], dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.tensor(rows, dtype=dtype)


def batch(*rows: list[int], mask: list[list[int]] | None = None) -> dict[str, Any]:
    prompts = ids(*rows)
    return {"input_ids": prompts, "attention_mask": torch.ones_like(prompts) if mask is None else ids(*mask)}


def forbid(tokens, logits):
    return logits.masked_fill(torch.ones_like(logits, dtype=torch.bool), -INF)


def only(token: int) -> Callable:
    def guide(tokens, logits):
        return torch.full_like(logits, -INF).index_fill(1, torch.tensor([token]), 0.0)

    return guide


def broken(value: float, columns: Any = slice(None), rows: Any = slice(None), step: int = 0) -> Any:
    """A model whose forwards from number `step` on give `value`."""
    model, forwards = small(), []

    def spoil(_, args, out):
        if len(forwards) >= step:
            out.logits[rows, :, columns] = value
        forwards.append(1)

    model.register_forward_hook(spoil)
    return model


def named(name: str, function: Callable) -> Callable:
    function.__name__ = name
    return function


PLAIN = batch([5, 6, 7], [0, 0, 8], mask=[[1, 1, 1], [0, 0, 1]])
S, M, L, B, T = "shapes and types", "masks", "context limit", "broken models and guides", "training mode"
V = "vocabularies and ends"
CASES = [
    Case(S, "no prompts", {"input_ids": torch.zeros(0, 3, dtype=torch.int64)}, "the batch is empty"),
    Case(S, "prompts of no tokens", {"input_ids": torch.zeros(2, 0, dtype=torch.int64)}, "have no tokens"),
    Case(S, "one dimension", {"input_ids": torch.tensor([5, 6])}, "one row a prompt"),
    Case(S, "three dimensions", {"input_ids": torch.tensor([[[5, 6]]])}, "one row a prompt"),
    Case(S, "floats", {"input_ids": torch.tensor([[5.0, 6.0]])}, "int64 tensor"),
    Case(S, "booleans", {"input_ids": torch.tensor([[True, False]])}, "int64 tensor"),
    Case(S, "int16", {"input_ids": ids([5, 6], dtype=torch.int16)}, "int64 tensor"),
    Case(S, "a list", {"input_ids": [[5, 6]]}, "not a list"),
    Case(S, "a text", {"input_ids": "The night"}, "not a str"),
    Case(S, "int32", {"input_ids": ids([5, 6], dtype=torch.int32)}),
    Case(S, "a token over the vocabulary", {"input_ids": ids([5, VOCABULARY])}, "has the token 23"),
    Case(S, "a negative token", {"input_ids": ids([5, -1])}, "has the token -1"),
    Case(S, "no input at all", {}),
    Case(S, "no new tokens", {**PLAIN, "max_new_tokens": 0}, "must be greater than 0"),
    Case(S, "a length under the prompt's", {**PLAIN, "max_new_tokens": None, "max_length": 2}, "is set to 2"),
    Case(S, "generators for other rows", {**PLAIN, "generator": [torch.Generator()]}, "1 generators for 2 prompts"),
    Case(M, "a wider mask", {"input_ids": ids([5, 6]), "attention_mask": ids([1, 1, 1])}, "need the same shape"),
    Case(M, "a narrower mask", {"input_ids": ids([5, 6]), "attention_mask": ids([1])}, "need the same shape"),
    Case(M, "a mask of other rows", {"input_ids": ids([5, 6]), "attention_mask": ids([1, 1], [1, 1])}, "same shape"),
    Case(M, "a row of padding alone", batch([0, 0], [7, 8], mask=[[0, 0], [1, 1]]), "prompt 0 is padding alone"),
    Case(M, "padding on the right", batch([5, 6], [7, 0], mask=[[1, 1], [1, 0]]), "prompt 1 is padded on the right"),
    Case(M, "a hole", batch([5, 0, 6], [7, 8, 9], mask=[[1, 0, 1], [1, 1, 1]])),
    Case(M, "a mask of booleans", {**PLAIN, "attention_mask": PLAIN["attention_mask"].bool()}),
    Case(M, "a mask of floats", {**PLAIN, "attention_mask": PLAIN["attention_mask"].double()}),
    Case(L, "just fits, look-ahead included", batch([5] * (PLACES - NEW))),
    Case(L, "two over", batch([5] * (PLACES - NEW + 2)), "has 16 positions"),
    Case(L, "a prompt over the limit", batch([5] * (PLACES + 1)), "has 16 positions"),
    Case(L, "padding is no place", batch([0] * 9 + [5] * 10, mask=[[0] * 9 + [1] * 10])),
    Case(B, "NaN", PLAIN, "the model gave nan", lambda: broken(NAN), worked=True),
    Case(B, "NaN in one logit", PLAIN, "the model gave nan", lambda: broken(NAN, 9), worked=True),
    Case(B, "infinity", PLAIN, "the model gave inf", lambda: broken(INF, 9), worked=True),
    Case(B, "all -infinity", PLAIN, "the model gave -inf", lambda: broken(-INF), worked=True),
    Case(B, "one token is left", PLAIN, None, lambda: broken(-INF, slice(1, None))),
    Case(B, "NaN, and remove_invalid_values", {**PLAIN, "remove_invalid_values": True}, None, lambda: broken(NAN, 9)),
    Case(B, "a guide of NaN", PLAIN, "spoiled gave nan", before=lambda: [named("spoiled", lambda t, x: x * NAN)],
         worked=True),
    Case(B, "a guide of infinity", PLAIN, "spoiled gave inf", before=lambda: [named("spoiled", lambda t, x: x + INF)],
         worked=True),
    Case(B, "a guide that forbids all", PLAIN, "no token is left", before=lambda: [forbid], worked=True),
    Case(B, "a guide that gives nothing", PLAIN, "must give logits", before=lambda: [named("idle", lambda t, x: None)],
         worked=True),
    Case(B, "a guide of another width", PLAIN, "must give logits", before=lambda: [lambda t, x: x[:, :5]], worked=True),
    Case(B, "a guide of other rows", PLAIN, "must give logits", before=lambda: [lambda t, x: x[:1]], worked=True),
    Case(B, "a guide of whole numbers", PLAIN, "must give logits", before=lambda: [lambda t, x: x.long()], worked=True),
    Case(T, "with dropout", PLAIN, "is in training mode", lambda: small().train()),
    Case(T, "with attention dropout in one module", PLAIN, "is in training mode", lambda: partly_trained()),
    Case(T, "without dropout", PLAIN, None, lambda: small(dropout=0.0).train()),
    Case(V, "the end comes first", PLAIN, before=lambda: [only(2)]),
    Case(V, "ends within the prompt", batch([5, 2], [2, 7])),
    Case(V, "no end of sequence", {**PLAIN, "eos_token_id": None}),
    Case(V, "one token that every row must take", PLAIN, before=lambda: [only(9)]),
]  # fmt: skip


def partly_trained() -> Any:
    model = small()
    model.transformer.h[0].attn.train()
    return model


def expected(case: Case, parts: str, model: Any) -> list[list[int]] | None:
    """The new tokens by the oracle, of the parts that have one which needs no draws; None for the others."""
    search = SEARCHES.get(parts)
    if search is None:
        return None
    prompts = case.options.get("input_ids", ids([1]))
    mask = case.options.get("attention_mask", torch.ones_like(prompts)).bool()
    before = case.before()
    guide = lambda text, logits: before[0](None, logits[None])[0] if before else logits
    invalid = case.options.get("remove_invalid_values")
    clean = lambda text, logits: guide(text, logits.nan_to_num(0.0, neginf=-INF) if invalid else logits)
    eos = None if case.options.get("eos_token_id", 2) is None else 2
    found = []
    for row, real in zip(prompts.long(), mask, strict=True):
        prompt = row[real].tolist()
        found.append(search(model, prompt, NEW, eos=eos, guide=clean))
    return found


def report() -> str:
    """How many odd calls there are, by topic."""
    counts: dict[str, list[int]] = {}
    for case in CASES:
        refused, served = counts.setdefault(case.topic, [0, 0])
        counts[case.topic] = [refused + len(PARTS), served] if case.error else [refused, served + len(PARTS)]
    lines = ["| odd calls | refused | served |", "|---|---|---|"]
    lines += [f"| {topic} | {refused} | {served} |" for topic, (refused, served) in counts.items()]
    texts = len(SCORERS) * len(TEXTS)
    lines.append(f"| texts for scorers | 0 | {texts} |")
    wrong = sum(entry.status != 0 for entry in FILES)
    lines.append(f"| files for commands | {wrong} | {len(FILES) - wrong} |")
    drawn = sum(DRAWN.values())
    lines += [f"| {topic}, drawn at random | {number} in all | |" for topic, number in DRAWN.items()]
    total = len(CASES) * len(PARTS) + texts + len(FILES) + drawn
    return "\n".join([*lines, "", f"{total} cases in all."]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(report())
