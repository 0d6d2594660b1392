"""Slow and obvious transcriptions of the methods: one row at a time, no cache, no padding, the whole text read anew.

The library must equal these token for token. Nothing here imports it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Guide = Callable[[list[int], Tensor], Tensor]  # (token ids so far, (V,) logits) -> (V,) logits


def unguided(ids: list[int], logits: Tensor) -> Tensor:
    return logits


@torch.no_grad()
def read(model, ids: list[int], **inputs) -> tuple[Tensor, Tensor]:
    """(V,) float32 logits of the next token, and (T, D) last-layer states, of one text."""
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    out = model(**{name: torch.tensor([ids])}, **inputs, use_cache=False, output_hidden_states=True)
    hidden = out.decoder_hidden_states if model.config.is_encoder_decoder else out.hidden_states
    return out.logits[0, -1].float(), hidden[-1][0]


def greedy(model, prompt: list[int], n: int, *, eos: int | None = 2, guide: Guide = unguided, **inputs) -> list[int]:
    """At most n tokens, each the most probable one; ends after `eos`."""
    ids = list(prompt)
    while len(ids) < len(prompt) + n:
        logits, _ = read(model, ids, **inputs)
        ids.append(int(guide(ids, logits).argmax()))
        if ids[-1] == eos:
            break
    return ids[len(prompt) :]


def contrastive_search(
    model, prompt: list[int], n: int, k: int, alpha: float, *, eos: int | None = 2, guide: Guide = unguided, **inputs
) -> list[int]:
    """Su et al. 2022, eq. 5: of the k most probable tokens the one with the best (1 - alpha) p - alpha max cosine."""
    ids = list(prompt)
    while len(ids) < len(prompt) + n:
        logits, _ = read(model, ids, **inputs)
        guided = guide(ids, logits)
        p = guided.softmax(-1)
        best, choice = -torch.inf, -1
        for candidate in guided.topk(k).indices.tolist():
            if guided[candidate] == -torch.inf:  # forbidden, however few are left
                continue
            _, states = read(model, [*ids, candidate], **inputs)
            cosines = F.cosine_similarity(states[:-1], states[-1:], dim=-1)
            score = float((1 - alpha) * p[candidate] - alpha * cosines.max())
            if score > best:
                best, choice = score, candidate
        ids.append(choice)
        if choice == eos:
            break
    return ids[len(prompt) :]
