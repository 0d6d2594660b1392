"""What composes, and what it costs: `python -m tests.support.matrix` prints it as Markdown.

tests/decoding/test_matrix.py checks it.

A new part joins by one line: of GUIDES, PICKERS or RERANKERS, with its oracle.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import decoding
from decoding.testing.reference import Reader, continue_texts
from tests.support import tiny
from tests.support.judges import TOKENIZER, as_text, judge, judges
from tests.support.oracles import methods
from tests.support.oracles import parts as oracles

PROMPTS = [[5, 9, 11, 30, 7], [8, 8, 3]]
ASIDE = [[30, 31, 32, 33, 34, 35], [9]]
NEW, EOS = 4, 17  # a token that these models say often, so that rows end at different steps
MODEL, EXPERT, AMATEUR = (tiny.llama(seed) for seed in range(3))
READER = Reader(MODEL)


@dataclass(frozen=True)
class Entry:
    """What has a row or a column: its name, the parts, and the oracle of each."""

    name: str
    parts: Sequence[Any] = ()
    oracles: Sequence[Any] = ()


def forbid_sevens(tokens, logits):
    logits[:, 7::7] = -torch.inf
    return logits


def processed(processor, padded=True):
    """A processor of transformers as a guide's oracle; most see the padding of the batch."""
    padding = lambda text: [tiny.PAD] * (max(map(len, PROMPTS)) - len(text.prompt)) * padded
    return lambda text, logits: processor(torch.tensor([padding(text) + text.tokens]), logits[None].clone())[0]


def aside(text):
    return ASIDE[text.place]


negative = oracles.guided(lambda t: methods.classifier_free_guidance(MODEL, t.prompt, aside(t), 1.8))
debias = oracles.guided(lambda t: methods.debias_sampling(MODEL, t.prompt, [aside(t)], 1.0, 0.02))
context_aware = oracles.guided(lambda t: methods.context_aware(MODEL, t.prompt, aside(t), 0.5))
contrastive_decoding = oracles.guided(lambda t: methods.contrastive_decoding(AMATEUR, t.prompt, 0.8, 1.0, 0.02))
dexperts = oracles.guided(lambda t: methods.dexperts(EXPERT, AMATEUR, 1.5))
steer = oracles.guided(lambda t: methods.steer(EXPERT, MODEL, t.prompt, aside(t), 0.3, 0.4))


def score(text) -> float:
    return judge(as_text(text.prompt), as_text(text.new))


# A new part joins by one line here.

POINTS = [Fraction(1, 3), Fraction(5, 7)]
GUIDES = [
    Entry("none"),
    Entry("DebiasSampling", [decoding.DebiasSampling(1.0, 0.02, ASIDE)], [debias]),
    Entry("ContextAware", [decoding.ContextAware(ASIDE, 0.5)], [context_aware]),
    Entry("NegativePrompt", [decoding.NegativePrompt(ASIDE, 1.8)], [negative]),
    Entry("ContrastiveDecoding", [decoding.ContrastiveDecoding(AMATEUR, 0.8, 0.02)], [contrastive_decoding]),
    Entry("DExperts", [decoding.DExperts(EXPERT, AMATEUR, 1.5)], [dexperts]),
    Entry("Steer", [decoding.Steer(EXPERT, 0.3, 0.4, ASIDE)], [steer]),
    Entry(
        "two guides",
        [decoding.NegativePrompt(ASIDE, 1.8), decoding.DebiasSampling(1.0, 0.02, ASIDE)],
        [negative, debias],
    ),
    Entry("a function", [forbid_sevens], [lambda text, logits: forbid_sevens(None, logits[None])[0]]),
    Entry("a LogitsProcessor", [NoRepeatNGramLogitsProcessor(2)], [processed(NoRepeatNGramLogitsProcessor(2))]),
]
PICKERS = [
    Entry("Greedy", [decoding.Greedy()], [oracles.greedy]),
    Entry("Sample", [decoding.Sample()], [oracles.sample]),
    Entry("ContrastiveSearch", [decoding.ContrastiveSearch(3, 0.6)], [oracles.contrastive_search(3, 0.6)]),
    Entry(
        "AdaptiveContrastiveSearch",
        [decoding.AdaptiveContrastiveSearch(2.0, 2, 4)],
        [oracles.adaptive_contrastive_search(2.0, 2, 4)],
    ),
    Entry(
        "FrustratinglySimple", [decoding.FrustratinglySimple(4, 0.5, 2)], [oracles.frustratingly_simple(4, 0.5, 2, 0.9)]
    ),
    Entry("Mirostat", [decoding.Mirostat(2.0, 0.5)], [oracles.mirostat(2.0, 0.5)]),
    Entry("ArithmeticSample", [decoding.ArithmeticSample(points=POINTS)], [oracles.arithmetic_sample(POINTS)]),
]
RERANKERS = [
    Entry("none"),
    Entry("BestOfN", [decoding.BestOfN(judges, 2)], [oracles.reranked(None, 2, 1, score)]),
    Entry("Rerank", [decoding.Rerank(judges, every=1, samples=2, beams=2)], [oracles.reranked(1, 2, 2, score)]),
]

# Options of the call, which build transformers' own processors; the warpers need do_sample=True.
PROCESSORS = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "suppress_tokens": [9, 33]}
WARPERS = {"do_sample": True, "temperature": 0.8, "top_k": 12, "top_p": 0.95}
UNWARPED = {"do_sample": True, "top_k": 0}
BUILT = [
    processed(RepetitionPenaltyLogitsProcessor(1.3), padded=False),
    processed(NoRepeatNGramLogitsProcessor(2)),
    processed(SuppressTokensLogitsProcessor([9, 33])),
]
WARPING = [processed(TemperatureLogitsWarper(0.8)), processed(TopKLogitsWarper(12)), processed(TopPLogitsWarper(0.95))]


def options(picker: Entry, with_processors: bool) -> tuple[dict[str, Any], Callable | None]:
    """The call's options, and the oracle of what they build. Greedy refuses do_sample."""
    [part] = picker.parts
    if not with_processors:
        return (UNWARPED if part.draws else {"do_sample": False}), None

    def process(text, logits):
        for one in [*BUILT, *(WARPING if part.warped else [])]:
            logits = one(text, logits)
        return logits

    return {**PROCESSORS, **(WARPERS if part.warped else {"do_sample": False})}, process


def generators() -> dict[int, torch.Generator]:
    return {place: torch.Generator().manual_seed(place) for place in range(len(PROMPTS))}


def generate(guide: Entry, picker: Entry, reranker: Entry, **call: Any) -> list[list[int]]:
    """The new tokens of each prompt, in one left-padded batch."""
    inputs = tiny.batch(PROMPTS)
    parts = [*guide.parts, *picker.parts, *reranker.parts]
    randomness = list(generators().values())
    call = {"eos_token_id": EOS, "max_new_tokens": NEW, "generator": randomness, "tokenizer": TOKENIZER} | call
    out = decoding.generate(MODEL, **inputs, processors=parts, **call)
    rows = out[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]


def expect(guide: Entry, picker: Entry, reranker: Entry, process: Callable | None) -> list[list[int]]:
    """The same by the oracles, put together by the reference loop of `decoding.testing`."""
    [part], [pick], prompts = picker.parts, picker.oracles, dict(enumerate(PROMPTS))
    texts = continue_texts(
        READER,
        prompts,
        NEW,
        pick,
        eos=EOS,
        guides=guide.oracles,
        processors=process,
        rerank=reranker.oracles[0] if reranker.oracles else None,
        width=reranker.parts[0].width if reranker.parts else 1,
        generators=generators() if part.draws else None,
    )
    return [text.new for text in texts]


# Cost


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """The forwards of all models, and the tokens they are fed: rows times positions."""
    counts = [0, 0]

    def count(_, args, kwargs):
        counts[0] += 1
        counts[1] += kwargs["input_ids"].numel()

    hooks = [model.register_forward_pre_hook(count, with_kwargs=True) for model in (MODEL, EXPERT, AMATEUR)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def cost(guide: Entry, picker: Entry, reranker: Entry) -> str:
    for _ in range(2):  # at first a model is asked whether rows may share their past
        with counted() as counts:
            generate(guide, picker, reranker, min_new_tokens=NEW, **options(picker, False)[0])
    return "{} / {}".format(*counts)


# Refused


REFUSED: list[tuple[str, list[Callable[[], Any]], dict[str, Any]]] = [
    ("two pickers", [decoding.Greedy, decoding.Sample], {}),
    ("two rerankers", [lambda: decoding.BestOfN(judges, 2), lambda: decoding.Rerank(judges)], {}),
    ("Greedy and do_sample=True", [decoding.Greedy], {"do_sample": True}),
    ("Sample and do_sample=False", [decoding.Sample], {"do_sample": False}),
    ("Mirostat and do_sample=False", [decoding.Mirostat], {"do_sample": False}),
    ("ArithmeticSample and another number of rows", [lambda: decoding.ArithmeticSample(n=3)], {}),
    ("penalty_alpha and do_sample=True", [], {"penalty_alpha": 0.6, "top_k": 4, "do_sample": True}),
    ("penalty_alpha and a picker", [decoding.Sample], {"penalty_alpha": 0.6, "top_k": 4}),
    ("any part and num_beams", [decoding.ContrastiveSearch], {"num_beams": 2}),
    ("any part and prompt_lookup_num_tokens", [decoding.Greedy], {"prompt_lookup_num_tokens": 2}),
    ("any part and assistant_model", [decoding.Greedy], {"assistant_model": AMATEUR}),
    ("Rerank, every=, and a scorer of whole texts",
     [lambda: decoding.Rerank(scorers_of_whole_texts())], {}),
    ("Rerank(paper=True) and another top_p", [lambda: decoding.Rerank(judges, paper=True)], {"top_p": 0.5}),
    ("a reranker and guidance_scale", [lambda: decoding.BestOfN(judges, 2)], {"guidance_scale": 1.5}),
    ("a reranker and prefix_allowed_tokens_fn", [lambda: decoding.BestOfN(judges, 2)],
     {"prefix_allowed_tokens_fn": lambda i, ids: [3, 4]}),
    ("a reranker and GuideProcessor",
     [lambda: decoding.GuideProcessor(MODEL, decoding.NegativePrompt(ASIDE), **tiny.batch(PROMPTS)),
      lambda: decoding.BestOfN(judges, 2)], {}),
    ("contrastive search and prefill_chunk_size", [decoding.ContrastiveSearch], {"prefill_chunk_size": 2}),
    ("contrastive search and a static cache without room", [decoding.ContrastiveSearch],
     {"cache_implementation": "static"}),
]  # fmt: skip


def scorers_of_whole_texts():
    import scorers

    return scorers.MBR(lambda a, b: 0.0)


def refusal(parts: list[Callable[[], Any]], call: dict[str, Any]) -> str:
    """What a combination's error says."""
    try:
        options = {**tiny.batch(PROMPTS), "max_new_tokens": NEW, "tokenizer": TOKENIZER, **call}
        decoding.generate(MODEL, processors=[make() for make in parts], **options)
    except (TypeError, ValueError) as error:
        return re.sub(r" at 0x[0-9a-f]+", "", str(error))
    raise AssertionError("it was not refused")


def report() -> str:
    """The tables of docs/methods/composition.md."""
    lines = []
    for reranker in RERANKERS:
        lines += [f"Reranker: {reranker.name}", ""]
        lines.append("| guide | " + " | ".join(picker.name for picker in PICKERS) + " |")
        lines.append("|---" * (len(PICKERS) + 1) + "|")
        for guide in GUIDES:
            cells = [cost(guide, picker, reranker) for picker in PICKERS]
            lines.append(f"| {guide.name} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["| refused | because |", "|---|---|"]
    lines += [f"| {name} | {refusal(parts, call)} |" for name, parts, call in REFUSED]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(report())
