"""Guides inside transformers' own `generate`, which has no contexts for them: beams included."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from ..engine.context import Context
from ..parts import Guide


class GuideProcessor(LogitsProcessor):
    """Guides as one `transformers.LogitsProcessor`, for `model.generate(**inputs, logits_processor=[...])`.

    `generate` reorders and expands rows (beams, `num_return_sequences`) without a word: rows are found again by their
    tokens, within their prompt. A second call with the same prompts starts afresh. What `generate` hands over stands
    for the model's own distribution, so processors of the call's options (`repetition_penalty`, ...) come before the
    guides here, and after them in `decoding.generate`. Finished rows are read on.

    Args:
        model: the one that generates.
        guides: in the order they apply; give them all to one processor, so that each sees the model's distribution.
        inputs: what `generate` gets as the prompt: `input_ids`, `attention_mask`, `pixel_values`, ...

    Raises:
        ValueError: as the guides do; when called: other prompts than it was made for.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("The night was", return_tensors="pt")
        >>> guide = decoding.NegativePrompt("It was a dark and stormy", tokenizer=tokenizer)
        >>> processor = decoding.GuideProcessor(model, guide, **inputs)
        >>> model.generate(**inputs, logits_processor=[processor], num_beams=3, max_new_tokens=4).shape
        torch.Size([1, 7])
    """

    def __init__(self, model: Any, *guides: Guide | Callable[..., Tensor], **inputs: Any) -> None:
        self.model, self.guides, self.inputs = model, guides, inputs
        for guide in guides:
            if isinstance(guide, Guide):
                guide.check(model, model.generation_config)
        self._start()

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, T) int64 tokens so far, (R, V) scores -> (R, V) guided scores."""
        self._follow(input_ids)
        continuation, main = input_ids[:, self.prompt.shape[1] :], scores.float()
        guided = main.clone()
        for guide, contexts in zip(self.guides, self.contexts, strict=True):
            streams = [main if context is self.main else context(continuation) for context in contexts]
            guided = guide(input_ids, guided, *streams)
        return guided

    def _start(self) -> None:
        """Contexts that have read nothing yet."""
        inputs = dict(self.inputs)
        prompt, mask = inputs.pop("input_ids"), inputs.pop("attention_mask", None)
        self.main = Context.of(self.model, prompt, mask, **inputs)
        self.prompt = self.tokens = self.main.prompt
        self.contexts: list[Sequence[Context]] = [
            guide.contexts(self.main) if isinstance(guide, Guide) else () for guide in self.guides
        ]

    def _follow(self, tokens: Tensor) -> None:
        """Bring the contexts to the rows that go on, each found by the tokens it had a step ago."""
        if (rows := self._parents(tokens)) is None:
            self._start()  # another call
            rows = self._parents(tokens)
        if rows is None:
            raise ValueError(
                "these are not the prompts that this GuideProcessor was made for: make one for each call, "
                "GuideProcessor(model, guide, **inputs)"
            )
        if not torch.equal(rows, torch.arange(len(self.tokens), device=rows.device)):
            for context in dict.fromkeys(context for contexts in self.contexts for context in contexts):
                if context is not self.main:
                    context.select(rows)
        self.tokens = tokens

    def _parents(self, tokens: Tensor) -> Tensor | None:
        """(R,) int64, for each row one of ours that it continues; None where there is none."""
        prompts, known = len(self.prompt), self.tokens.shape[1]
        if len(tokens) % prompts or tokens.shape[1] < known:
            return None
        new, old = tokens[:, :known].view(prompts, -1, 1, known), self.tokens.view(prompts, 1, -1, known)
        same = (new == old).all(-1)  # (P, R/P, our R/P)
        if not same.any(-1).all():
            return None
        offset = torch.arange(prompts, device=tokens.device)[:, None] * same.shape[-1]
        return (same.int().argmax(-1) + offset).flatten()
