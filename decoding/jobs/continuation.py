"""The job of continuing prompts in batches.

torch and transformers are imported only where they are needed, so that a bad file is refused without them.
"""

import hashlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .prompts import Prompt

# overrides a model's own defaults, which could ask for another algorithm or another form of output
PLAIN: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "penalty_alpha": 0.0,
    "return_dict_in_generate": False,
}


@dataclass(frozen=True)
class Reranking:
    """The settings of a `decoding.Rerank`, as the options of a command give them.

    Args:
        scorer: a kind, or a kind, a colon and a hub id or folder, such as "reward:ID".
        every, samples, beams: see `Rerank`.
    """

    scorer: str
    every: int | None
    samples: int
    beams: int

    def __post_init__(self) -> None:
        kind, colon, place = self.scorer.partition(":")
        if kind not in ("overlap", "likelihood", "ranker", "rankgen", "reward", "embedding"):
            raise ValueError(
                f"there is no scorer {kind!r}: overlap, likelihood, ranker, ranker:FOLDER, rankgen:ID, reward:ID or "
                "embedding:ID"
            )
        if kind in ("rankgen", "reward", "embedding") and not place:
            raise ValueError(f"scorer {kind!r}: which one? write {kind}:HUB_ID or {kind}:FOLDER")
        if kind in ("overlap", "likelihood") and colon:
            raise ValueError(f"scorer {kind!r} takes nothing behind a colon")
        if kind == "reward" and self.every is not None:
            raise ValueError("a reward model judges whole texts: --every 0 draws them whole")

    def load(self, model: Any, tokenizer: Any) -> Any:
        """Make the part, and load the weights of its scorer. `likelihood` asks the model itself."""
        import scorers

        from ..rerankers.rerank import Rerank

        kind, _, place = self.scorer.partition(":")
        scorer: Any
        match kind:
            case "overlap":
                scorer = scorers.Overlap()
            case "likelihood":
                scorer = scorers.Likelihood(model, tokenizer)
            case "ranker":
                scorer = scorers.Ranker.from_pretrained(place or None)
            case "rankgen":
                scorer = scorers.RankGen.from_pretrained(place)
            case "reward":
                scorer = scorers.RewardModel.from_pretrained(place)
            case _:
                scorer = scorers.Embedding.from_pretrained(place)
        return Rerank(scorer, self.every, self.samples, self.beams, tokenizer=tokenizer)


@dataclass(frozen=True)
class Job:
    """Prompts, and everything that their continuations depend on.

    Args:
        prompts: the prompts to continue.
        picker: the picker.
        model: the name of the model, for the records.
        seed: seed of all batches.
        settings: `max_new_tokens`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `batch_size` and `dtype`.
            None leaves a setting to the model.
        reranking: the reranker, if there is one.
    """

    prompts: Sequence[Prompt]
    picker: Any
    model: str
    seed: int
    settings: dict[str, Any]
    reranking: Reranking | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """The entries of every record that say how it was made."""
        decoder = ", ".join(map(repr, [self.picker, *([self.reranking] if self.reranking else [])]))
        return {"decoder": decoder, "model": self.model, "seed": self.seed, "settings": self.settings}

    def run(self, model: Any, tokenizer: Any, done: Container = (), **options: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of each batch, unless all its prompts are `done`.

        A batch is always the same part of the complete list, and has its own random numbers. So a row has the same
        neighbours and the same draws, whether the job was interrupted or not.
        """
        size = self.settings["batch_size"]
        parts = [self.picker, *([self.reranking.load(model, tokenizer)] if self.reranking else [])]
        for number, start in enumerate(range(0, len(self.prompts), size)):
            batch = self.prompts[start : start + size]
            if not all(prompt.id in done for prompt in batch):
                yield self.continue_batch(model, tokenizer, parts, batch, number, **options)

    def continue_batch(
        self, model: Any, tokenizer: Any, parts: list[Any], batch: Sequence[Prompt], number: int, **options: Any
    ) -> list[dict[str, Any]]:
        """Make the records of one batch, in one call of `decoding.generate`."""
        import torch

        from ..generation import generate

        encoded = tokenizer([prompt.text for prompt in batch], return_tensors="pt", padding=True).to(model.device)
        ids, mask = encoded["input_ids"], encoded["attention_mask"]  # no token_type_ids, which `generate` does not take
        names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty")
        options |= {name: self.settings[name] for name in names if self.settings[name] is not None}
        generator = torch.Generator(model.device).manual_seed(seed_of_batch(self.seed, number))
        if self.reranking and model.config.is_encoder_decoder:  # a reranker does not see its prompts
            parts = [parts[0], replace(parts[1], prefixes=[prompt.text for prompt in batch])]
        out = generate(
            model, ids, attention_mask=mask, processors=parts, generator=generator,
            do_sample=self.picker.draws,
            **{**PLAIN, "return_dict_in_generate": bool(self.reranking)}, **options,
        )  # fmt: skip
        rows = (out.sequences if self.reranking else out).tolist()
        scores = out.sequences_scores.tolist() if self.reranking else []
        notes = [{"score": score, **self.origin} for score in scores] or [self.origin] * len(rows)
        heads, start = [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)], ids.shape[1]
        if model.config.is_encoder_decoder:  # the output has no prompt, only one token that starts the decoder
            heads, start = [[] for _ in heads], 1
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return [
            {"id": prompt.id, "prompt": prompt.text, **describe(tokenizer, head, row[start:], ends), **more}
            for prompt, head, row, more in zip(batch, heads, rows, notes, strict=True)
        ]


def seed_of_batch(seed: int, number: int) -> int:
    """The seed of a batch: the first 8 bytes of SHA-256 of "seed/number".

    It is a hash, since torch's generator on the CPU keeps only the low 32 bits: seed * 2**32 + number would lose the
    seed.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8])


def describe(tokenizer: Any, prompt: list[int], new: list[int], ends: list[int]) -> dict[str, Any]:
    """The text of the new tokens, their number up to the end of sequence, and whether they reached it."""
    from ..models.tokenization import read_behind

    length = next((i + 1 for i, token in enumerate(new) if token in ends), None)
    new = new[:length]
    [continuation] = read_behind(tokenizer, [prompt], [new])
    return {"continuation": continuation, "tokens": len(new), "finished": length is not None}
