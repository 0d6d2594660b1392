"""The results of a call: output objects for the rows that are returned, and tokens for streamers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput
from transformers.generation.streamers import BaseStreamer

from .engine.caches import gather_rows
from .engine.transformers_api import DEFAULT_CACHE_NAME
from .hypotheses import Hypotheses, Step
from .parts import Search


@dataclass
class Reranked(GenerateDecoderOnlyOutput):
    """An output object with the score of each returned sequence, and with all rounds of a reranker."""

    sequences_scores: Tensor | None = None
    rounds: list[Any] | None = None


@dataclass
class RerankedEncoderDecoder(GenerateEncoderDecoderOutput):
    """The output object of `Reranked` for an encoder-decoder."""

    sequences_scores: Tensor | None = None
    rounds: list[Any] | None = None


class OutputCollector:
    """Collects at every step what the call's `output_*` options ask for.

    Args:
        config: the configuration of the call.
        search: the search of the call's reranker, if it has one; the output object has its report.
    """

    def __init__(self, config: GenerationConfig, search: Search | None = None) -> None:
        self.search = search
        self.wanted = bool(config.return_dict_in_generate)
        flags = ("scores", "logits", "attentions", "hidden_states")
        self.names = [name for name in flags if self.wanted and getattr(config, f"output_{name}")]
        self.steps: list[tuple[int, dict[str, Any]]] = []  # for each step, its number of rows and what is kept of them
        self.parents: list[Tensor] = []

    def add_choices(self, hypotheses: Hypotheses) -> None:
        """Keep what the picker chose from. Called after each picker step."""
        if not self.names:
            return
        made = hypotheses.seen
        everything = {"logits": made.logits, "scores": made.scores, **made.outputs}
        seen = {name: value for name, value in everything.items() if name.endswith(tuple(self.names))}
        batch = len(made.logits)
        if not self.steps and batch > hypotheses.prompts:  # the first step's parents are prompts: one copy of each
            seen = gather_rows(seen, torch.arange(0, batch, batch // hypotheses.prompts), batch)
            batch = hypotheses.prompts
        self.steps.append((batch, seen))

    def add_parents(self, step: Step) -> None:
        """Keep the parent of each row. Called at the end of each step, after the reranker."""
        if self.names:
            self.parents.append(step.parents)

    @property
    def scores(self) -> tuple | None:
        """The processed logits of each step so far, for stopping criteria. None, unless the call asks for them."""
        return tuple(seen["scores"] for _, seen in self.steps) if "scores" in self.names else None

    def make_output(self, hypotheses: Hypotheses) -> Any:
        """Make the result of the call: (P, T) int64 sequences, or transformers' output object with them."""
        if not self.wanted:
            return hypotheses.tokens
        columns: dict[str, list] = {}
        rows = torch.arange(len(hypotheses.tokens), device=hypotheses.tokens.device)
        for (batch, seen), parents in zip(reversed(self.steps), reversed(self.parents), strict=True):
            rows = parents[rows]
            for name, value in seen.items():
                columns.setdefault(name, []).insert(0, gather_rows(value, rows, batch))
        found: dict[str, Any] = {name: tuple(column) for name, column in columns.items()}
        context = hypotheses.contexts[0]
        found |= (report := self.search.report() if self.search else {})
        found["sequences"] = hypotheses.tokens
        found[DEFAULT_CACHE_NAME] = context.close(hypotheses.continuation.shape[1])
        if (encoder := context.encoder_outputs) is None:
            return (Reranked if report else GenerateDecoderOnlyOutput)(**found)
        for name in ("attentions", "hidden_states"):
            if name in self.names:
                found[f"encoder_{name}"] = encoder.get(name)
        return (RerankedEncoderDecoder if report else GenerateEncoderDecoderOutput)(**found)


def stream_settled(steps: Iterable[Step], prompts: int, streamer: BaseStreamer) -> None:
    """Run all `steps`, and send each column of (P,) int64 tokens when all rows left of every prompt agree on it."""
    rows: Tensor | None = None  # (R, n), the tokens of each row so far
    owners = torch.arange(prompts)  # (R,), the prompt of each row
    sent = 0
    for step in steps:
        owners = owners.to(step.parents.device)[step.parents]
        past = step.tokens[:, None][:, :0] if rows is None else rows[step.parents]
        rows = torch.cat([past, step.tokens[:, None]], dim=1)
        first = (owners[:, None] == torch.arange(prompts, device=owners.device)).int().argmax(0)  # (P,)
        agreed = (rows == rows[first][owners]).all(0)  # (n,)
        settled = int(agreed.long().cumprod(0).sum())
        for column in range(sent, settled):
            streamer.put(rows[first, column].cpu())
        sent = settled
