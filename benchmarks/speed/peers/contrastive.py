"""Contrastive search as transformers did it up to version 4.55: each step copies the cache k times."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from decoding.engine.transformers_api import DEFAULT_CACHE_NAME, inputs_after, pad_token_of


@dataclass(frozen=True)
class RepeatedCache:
    """Contrastive search, Su et al. 2022, eq. 5, for `model.generate(custom_generate=...)`.

    A step does this:

    - It copies the cache of every row k times, and reads the k candidates as rows of their own.
    - It keeps the hidden states of all layers and the logits of all candidates.
    - It scales the whole past to unit length again.
    - It takes the rows of the winners out of the cache.

    What is kept grows by concatenation.

    Args:
        k: candidates in a step, at least 1.
        alpha: weight of the degeneration penalty, 0 to 1.
    """

    k: int = 5
    alpha: float = 0.6

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        *,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **inputs: Any,
    ) -> Tensor:
        """(R, T0) int64 prompts -> (R, T) prompts with their continuations. Rows that have ended are padded."""
        engine: Any = model
        rows = torch.arange(len(input_ids), device=input_ids.device)
        ends = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
        pad: Any = pad_token_of(generation_config) if ends else None
        done = torch.zeros_like(rows, dtype=torch.bool)
        inputs |= {"use_cache": True, "output_hidden_states": True}
        first = engine.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **inputs)
        out = engine(**first, return_dict=True)
        past, logits = out.hidden_states[-1], out.logits[:, -1].float()
        mask = inputs.get("attention_mask")
        mask = torch.ones_like(input_ids) if mask is None else mask
        while not done.all():
            probs, tokens = logits_processor(input_ids, logits).softmax(-1).topk(self.k)  # (R, k)
            inputs = inputs_after(engine, out, inputs, 1)
            out[DEFAULT_CACHE_NAME].batch_repeat_interleave(self.k)
            copies = {name: repeated(value, self.k) for name, value in inputs.items()}
            fed = torch.cat([input_ids.repeat_interleave(self.k, 0), tokens.view(-1, 1)], dim=1)
            out = engine(
                **engine.prepare_inputs_for_generation(fed, next_sequence_length=1, **copies), return_dict=True
            )
            ahead = out.hidden_states[-1]  # (R k, 1, D)
            best = self.rank(probs, ahead, past, mask)
            winners = rows * self.k + best
            out[DEFAULT_CACHE_NAME].batch_select_indices(winners)
            kept = [layer[winners] for layer in out.hidden_states]
            past = torch.cat([past, kept[-1]], dim=1)
            logits = out.logits[winners, -1].float()
            chosen = tokens[rows, best]
            chosen = chosen if pad is None else torch.where(done, pad, chosen)
            input_ids = torch.cat([input_ids, chosen[:, None]], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            done = done | stopping_criteria(input_ids, None)
        return input_ids

    def rank(self, probs: Tensor, ahead: Tensor, past: Tensor, mask: Tensor) -> Tensor:
        """(R, k), (R k, 1, D), (R, T, D), (R, T) -> (R,) the best candidate of each row."""
        past, mask = (value.repeat_interleave(self.k, 0) for value in (past, mask))
        past, ahead = (value / value.norm(dim=-1, keepdim=True) for value in (past, ahead))
        cosine = (past @ ahead.mT).squeeze(-1).masked_fill(mask == 0, -torch.inf)
        penalty = cosine.amax(-1).view_as(probs)
        return ((1 - self.alpha) * probs - self.alpha * penalty).argmax(-1)


def repeated(value: Any, k: int) -> Any:
    """Each row of a mask or of positions k times. Anything else is returned as it is."""
    return value.repeat_interleave(k, 0) if isinstance(value, Tensor) and value.dim() == 2 else value
