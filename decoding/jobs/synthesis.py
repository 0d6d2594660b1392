"""STEER's loop: synthetic examples in rounds, each steered away from real ones and from those made before it."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorers._common.files import read_json_lines

from .continuation import PLAIN, describe, seed_of_batch
from .prompts import Prompt


@dataclass(frozen=True)
class Synthesis:
    """The job of making examples; O'Neill et al. 2023, and the authors' code for what the paper leaves open.

    For every example `k` others are drawn, from all the real ones and all that earlier rounds made, and joined by
    spaces to its negative prompt. A round is one batch. What a round draws depends on the seed, its number and what
    was made before it: a run that was stopped goes on to what it would have made.

    Args:
        examples: the real ones. number: how many to make. prompt: what every generated example follows.
        expert: its name, for the record. k: examples to a negative prompt.
        settings: `gamma`, `eta`, `beta`; `max_new_tokens`, `temperature`, `top_k`, `top_p`; `batch_size`.

    Example:
        >>> settings = {"gamma": 0.2, "eta": 0.2, "beta": 0.0, "batch_size": 2}
        >>> job = Synthesis(["One.", "Two."], 4, "Say a number:", "expert", "base", 0, 1, settings)
        >>> [prompt.id for prompt in job.prompts]
        [0, 1, 2, 3]
    """

    examples: Sequence[str]
    number: int
    prompt: str
    expert: str
    model: str
    seed: int
    k: int
    settings: Mapping[str, Any]

    @property
    def prompts(self) -> list[Prompt]:
        """One for each example to make: its number, and the prompt they share."""
        return [Prompt(number, self.prompt) for number in range(self.number)]

    @property
    def origin(self) -> dict[str, Any]:
        """What every record says of how it was made."""
        digest = hashlib.sha256(json.dumps(list(self.examples)).encode()).hexdigest()[:16]
        names = {"model": self.model, "expert": self.expert, "seed": self.seed, "negatives": self.k}
        return names | {"examples": digest, "settings": dict(self.settings)}

    def run(self, model: Any, tokenizer: Any, expert: Any, made: dict[int, str]) -> Iterator[list[dict[str, Any]]]:
        """The records of each round that is not all in `made`, the texts by number, which grows as it goes."""
        size = self.settings["batch_size"]
        for round_number, start in enumerate(range(0, self.number, size)):
            numbers = range(start, min(start + size, self.number))
            if not all(number in made for number in numbers):
                pool = [*self.examples, *(made[number] for number in range(start) if made[number])]
                records = self.make_round(model, tokenizer, expert, pool, round_number, numbers)
                yield records
                made |= {record["id"]: record["continuation"] for record in records}

    def draw(self, pool: Sequence[str], round_number: int, rows: int) -> list[str]:
        """A negative prompt for each row."""
        draws = random.Random(seed_of_batch(self.seed, round_number))
        return [" ".join(draws.sample(pool, min(self.k, len(pool)))) for _ in range(rows)]

    def make_round(
        self, model: Any, tokenizer: Any, expert: Any, pool: Sequence[str], round_number: int, numbers: Sequence[int]
    ) -> list[dict[str, Any]]:
        """The records of one round, in one call of `decoding.generate`."""
        import torch

        from ..generation import generate
        from ..guides.steer import Steer
        from ..pickers.sampling import Sample

        eta, names = self.settings["eta"], ("max_new_tokens", "temperature", "top_k", "top_p")
        steer = Steer(
            expert, gamma=self.settings["gamma"], eta=eta, beta=self.settings["beta"], tokenizer=tokenizer,
            negatives=self.draw(pool, round_number, len(numbers)) if eta else None,
        )  # fmt: skip
        ids = torch.tensor([start_of(self.prompt, tokenizer)] * len(numbers), device=model.device)
        rows = generate(
            model, ids, attention_mask=torch.ones_like(ids), processors=[steer, Sample()], do_sample=True,
            generator=torch.Generator(model.device).manual_seed(seed_of_batch(self.seed, round_number)),
            **PLAIN, **{name: self.settings[name] for name in names if self.settings.get(name) is not None},
        )  # fmt: skip
        ends, head = ends_of(model, tokenizer), ids[0].tolist()
        seen, records = set(pool), []
        for number, row in zip(numbers, rows[:, len(head) :].tolist(), strict=True):
            entry = {"id": number, "prompt": self.prompt, **describe(tokenizer, head, row, ends)}
            entry["continuation"] = entry["continuation"].strip()
            records.append(entry | {"copy": entry["continuation"] in seen} | self.origin)
            seen.add(entry["continuation"])
        return records


def start_of(prompt: str, tokenizer: Any) -> list[int]:
    """The tokens that an example follows: the prompt's, or the one that begins or ends texts where that has none."""
    if ids := tokenizer(prompt)["input_ids"] if prompt else []:
        return ids
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise ValueError("the tokenizer has no token to begin with: give a --prompt")
    return [start]


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an example."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [tokenizer.eos_token_id if ends is None else ends]


def read_made(path: Path) -> dict[int, str]:
    """The texts that an output file of this loop holds, by number; a line cut short is left out."""
    return dict(read_json_lines(path, lambda entry, place: (entry["id"], entry["continuation"])))
