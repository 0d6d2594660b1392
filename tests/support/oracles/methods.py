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


# Guides. Each is a function (token ids so far, (V,) logits of the model itself) -> ((V,) scores, (V,) p, beta): the
# paper's sum, before any mask; and the distribution and the bound that its mask goes by (0: there is none).


def log_p(model, ids: list[int], **inputs) -> Tensor:
    return read(model, ids, **inputs)[0].log_softmax(-1)


def debias_sampling(model, prompt: list[int], without: list[list[int]], alpha: float, beta: float):
    """Zhang et al. 2024: (1 + alpha) log p - alpha log p', log p' a mean over readings without evidence."""

    def guide(ids, logits):
        new = ids[len(prompt) :]
        blind = torch.stack([log_p(model, other + new) for other in without]).mean(0)
        return (1 + alpha) * logits.log_softmax(-1) - alpha * blind, logits.softmax(-1), beta

    return guide


def context_aware(model, prompt: list[int], question: list[int], alpha: float):
    """Shi et al. 2023, eq. 3, in log p: (1 + alpha) log p(c, x, y) - alpha log p(x, y)."""

    def guide(ids, logits):
        blind = log_p(model, question + ids[len(prompt) :])
        return (1 + alpha) * logits.log_softmax(-1) - alpha * blind, logits.softmax(-1), 0

    return guide


def classifier_free_guidance(model, prompt: list[int], negative: list[int], gamma: float):
    """Sanchez et al. 2023, eq. 7: log p(w | negative) + gamma (log p(w | prompt) - log p(w | negative))."""

    def guide(ids, logits):
        other = log_p(model, negative + ids[len(prompt) :])
        return other + gamma * (logits.log_softmax(-1) - other), logits.softmax(-1), 0

    return guide


def contrastive_decoding(amateur, prompt: list[int], lam: float, tau: float, alpha: float, last_token_only=False):
    """Li et al. 2022, eq. 3 and 2: log p_expert - lam / tau log p_amateur, on p >= alpha max p.

    A temperature of the amateur is a weight, but for a constant that only beams see.
    """

    def guide(ids, logits):
        read_by_amateur = ids[len(prompt) - 1 :] if last_token_only else ids
        return logits.log_softmax(-1) - lam / tau * log_p(amateur, read_by_amateur), logits.softmax(-1), alpha

    return guide


def dexperts(expert, antiexpert, alpha: float):
    """Liu et al. 2021, eq. 1, in log p: log p + alpha (log p+ - log p-)."""

    def guide(ids, logits):
        difference = log_p(expert, ids) - log_p(antiexpert, ids)
        return logits.log_softmax(-1) + alpha * difference, logits.softmax(-1), 0

    return guide


def steer(expert, base, prompt: list[int], negatives: list[int], gamma: float, eta: float, beta: float = 0):
    """O'Neill et al. 2023: (1 + gamma) log p_e(x, y) - gamma log p_b(x, y) - eta log p_e(n, y)."""

    def guide(ids, logits):
        tuned = log_p(expert, ids)
        scores = (1 + gamma) * tuned - gamma * log_p(base, ids)
        return scores - eta * log_p(expert, negatives + ids[len(prompt) :]), tuned.exp(), beta

    return guide


def guided(*guides) -> Guide:
    """What guides make of the model's logits together: each adds its scores less log p, then each masks."""

    def apply(ids: list[int], logits: Tensor) -> Tensor:
        parts = [guide(ids, logits) for guide in guides]
        log_p = logits.log_softmax(-1)
        scores = log_p + sum(part - log_p for part, _, _ in parts)
        for _, p, beta in parts:
            best = max(float(p[v]) for v in range(len(p)) if scores[v] > -torch.inf)
            for v in range(len(p)):
                if p[v] < beta * best:
                    scores[v] = -torch.inf
        return scores

    return apply


@torch.no_grad()
def rerank(
    model, prompts: list[list[int]], n: int, every: int | None, samples: int, beams: int, score, generator,
    *, eos: int | None = 2, guide=lambda i: unguided,
) -> tuple[list[list[int]], list[list[tuple]]]:  # fmt: skip
    """Krishna et al. 2022, figure 5, for several prompts at a time: the best continuation of each, and all rounds.

    `score(i, continuation)` judges a continuation of prompt i, finished or not. All rows of a step are drawn together.
    A round is a list of (prompt, continuation, score), without the copies.
    """
    rows = [(i, []) for i in range(len(prompts)) for _ in range(beams * samples)]
    rounds, length = [], 0
    ended = lambda ids: len(ids) == n or (ids and ids[-1] == eos)
    while not all(ended(ids) for _, ids in rows):
        p = torch.ones(len(rows), model.config.vocab_size)
        for r, (i, ids) in enumerate(rows):
            if not ended(ids):
                text = prompts[i] + ids
                p[r] = guide(i)(text, read(model, text)[0]).softmax(-1)
        drawn = torch.multinomial(p, 1, generator=generator).flatten().tolist()
        rows = [(i, ids if ended(ids) else [*ids, v]) for (i, ids), v in zip(rows, drawn, strict=True)]
        length += 1
        last = all(ended(ids) for _, ids in rows)
        if last or (every and length % every == 0):
            found = []
            for row in rows:
                if row not in found:
                    found.append(row)
            rounds.append([(i, ids, score(i, ids)) for i, ids in found])
            best = sorted(rounds[-1], key=lambda row: -row[2])
            kept = [[ids for i, ids, _ in best if i == prompt][:beams] for prompt in range(len(prompts))]
            if last:
                return [ids[0] for ids in kept], rounds
            rows = [(i, ids) for i, own in enumerate(kept) for ids in own for _ in range(1 if ended(ids) else samples)]
    rounds.append([(i, ids, score(i, ids)) for i, own in enumerate(kept) for ids in own])  # all have ended: the end
    return [own[0] for own in kept], rounds
