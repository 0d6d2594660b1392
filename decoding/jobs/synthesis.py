"""STEER's loop: make examples in rounds, each steered away from real examples and from those of earlier rounds."""

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
    """The job of making examples, as in O'Neill et al. 2023 and, where the paper is silent, the authors' code.

    For every example, `k` others are drawn from all real ones and all that earlier rounds made. Joined by spaces, they
    are its negative prompt. A round is one batch. Its draws depend on the seed, on its number and on the examples
    before it. So a run that was stopped and goes on makes the same examples.

    Args:
        examples: the real examples.
        number: how many examples to make.
        prompt: the prompt of every new example.
        expert: the name of the expert, for the records.
        model: the name of the base model, for the records.
        seed: seed of all rounds.
        k: how many examples make a negative prompt.
        settings: `gamma`, `eta`, `beta`, `max_new_tokens`, `temperature`, `top_k`, `top_p` and `batch_size`.

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
        """A prompt for each example to make: the number of the example, and the text that all share."""
        return [Prompt(number, self.prompt) for number in range(self.number)]

    @property
    def origin(self) -> dict[str, Any]:
        """The entries of every record that say how it was made."""
        digest = hashlib.sha256(json.dumps(list(self.examples)).encode()).hexdigest()[:16]
        names = {"model": self.model, "expert": self.expert, "seed": self.seed, "negatives": self.k}
        return names | {"examples": digest, "settings": dict(self.settings)}

    def run(self, model: Any, tokenizer: Any, expert: Any, made: dict[int, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of each round that is not yet in `made`, the texts by number, and add them to it."""
        size = self.settings["batch_size"]
        for round_number, start in enumerate(range(0, self.number, size)):
            numbers = range(start, min(start + size, self.number))
            if not all(number in made for number in numbers):
                pool = [*self.examples, *(made[number] for number in range(start) if made[number])]
                records = self.make_round(model, tokenizer, expert, pool, round_number, numbers)
                yield records
                made |= {record["id"]: record["continuation"] for record in records}

    def draw(self, pool: Sequence[str], round_number: int, rows: int) -> list[str]:
        """Draw a negative prompt for each row."""
        draws = random.Random(seed_of_batch(self.seed, round_number))
        return [" ".join(draws.sample(pool, min(self.k, len(pool)))) for _ in range(rows)]

    def make_round(
        self, model: Any, tokenizer: Any, expert: Any, pool: Sequence[str], round_number: int, numbers: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Make the records of one round, in one call of `decoding.generate`."""
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
    """The tokens of a prompt, or for an empty one the token that begins (else the one that ends) texts."""
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
    """Read the texts in an output file of this loop, by number. A line that was cut short is left out."""
    return dict(read_json_lines(path, lambda entry, place: (entry["id"], entry["continuation"])))
