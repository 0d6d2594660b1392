"""A logits processor that runs guides inside transformers' own `generate`, beam search included."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from ..engine.context import Context
from ..parts import Guide


class GuideProcessor(LogitsProcessor):
    """Guides as one `transformers.LogitsProcessor`, for `model.generate(**inputs, logits_processor=[...])`.

    `generate` does not report how it reorders and expands rows (beams, `num_return_sequences`), so this finds each row
    again by its tokens, among the rows of its prompt. A second call with the same prompts starts afresh. The scores
    that `generate` passes are taken as the model's own distribution. So the processors of the call's options
    (`repetition_penalty`, ...) come before the guides here; in `decoding.generate` they come after them. The contexts
    read finished rows on.

    Args:
        model: the model that generates.
        guides: the guides, in the order they apply. Give them all to one processor, so that each sees the model's
            distribution.
        inputs: the prompt as `generate` gets it: `input_ids`, `attention_mask`, `pixel_values`, ...

    Raises:
        ValueError: a guide refuses the model. When called: these are not the prompts that it was made for.

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
        """Guide (R, V) scores after (R, T) int64 tokens -> (R, V) guided scores."""
        self._follow(input_ids)
        continuation, main = input_ids[:, self.prompt.shape[1] :], scores.float()
        guided = main.clone()
        for guide, contexts in zip(self.guides, self.contexts, strict=True):
            streams = [main if context is self.main else context(continuation) for context in contexts]
            guided = guide(input_ids, guided, *streams)
        return guided

    def _start(self) -> None:
        """Make contexts that have read nothing yet."""
        inputs = dict(self.inputs)
        prompt, mask = inputs.pop("input_ids"), inputs.pop("attention_mask", None)
        self.main = Context.of(self.model, prompt, mask, **inputs)
        self.prompt = self.tokens = self.main.prompt
        self.contexts: list[Sequence[Context]] = [
            guide.contexts(self.main) if isinstance(guide, Guide) else () for guide in self.guides
        ]

    def _follow(self, tokens: Tensor) -> None:
        """Reorder the rows of the contexts to match `tokens`: each row is found by the tokens it had a step ago."""
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
        """For each row, one of our rows that it continues: (R,) int64, or None if any row continues none."""
        prompts, known = len(self.prompt), self.tokens.shape[1]
        if len(tokens) % prompts or tokens.shape[1] < known:
            return None
        new, old = tokens[:, :known].view(prompts, -1, 1, known), self.tokens.view(prompts, 1, -1, known)
        same = (new == old).all(-1)  # (P, R/P, our R/P)
        if not same.any(-1).all():
            return None
        offset = torch.arange(prompts, device=tokens.device)[:, None] * same.shape[-1]
        return (same.int().argmax(-1) + offset).flatten()
