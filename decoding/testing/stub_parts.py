"""The parts that a checked part is put together with, and their oracles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.context import Context
from ..hypotheses import Hypotheses
from ..parts import Guide, Reranker
from .reference import Text

PENALTY, TEMPERATURE, TOP_K, SUPPRESSED = 1.3, 0.8, 12, [0, 9, 33]
PROCESSORS = {"no_repeat_ngram_size": 2, "suppress_tokens": SUPPRESSED}
PENALISED = {"repetition_penalty": PENALTY, **PROCESSORS}
WARPERS = {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP_K}


class NearbyContrast(Guide):
    """logits + (logits - those after the prompt's last two tokens alone) / 2, on the plausible tokens.

    It has a context of its own, which must follow every fork and choice, and it forbids most tokens.
    """

    def contexts(self, main: Context) -> Sequence[Context]:
        """The prompt's last two tokens."""
        return [Context.of(main.model, main.prompt[:, -2:])]

    def __call__(self, tokens: Tensor, logits: Tensor, *auxiliary: Tensor) -> Tensor:
        """(R, V) -> (R, V)."""
        mixed = logits + 0.5 * (logits - auxiliary[0])
        return mixed.masked_fill(logits < logits.amax(-1, keepdim=True) - 4, -torch.inf)


def nearby_contrast(text: Text, logits: Tensor) -> Tensor:
    """The oracle of `NearbyContrast`."""
    mixed = logits + 0.5 * (logits - text.logits(text.prompt[-2:] + text.new))
    return mixed.masked_fill(logits < logits.max() - 4, -torch.inf)


def processed(text: Text, logits: Tensor) -> Tensor:
    """The oracle of PROCESSORS."""
    logits = logits.clone()
    for before, token in zip(text.tokens, text.tokens[1:], strict=False):
        if before == text.tokens[-1]:
            logits[token] = -torch.inf
    logits[SUPPRESSED] = -torch.inf
    return logits


def penalised(text: Text, logits: Tensor) -> Tensor:
    """The oracle of PENALISED, in transformers' order."""
    logits = logits.clone()
    for token in set(text.tokens):
        logits[token] = logits[token] * PENALTY if logits[token] < 0 else logits[token] / PENALTY
    return processed(text, logits)


def warped(logits: Tensor) -> Tensor:
    """The oracle of WARPERS."""
    logits = logits / TEMPERATURE
    return logits.masked_fill(logits < logits.topk(TOP_K).values[-1], -torch.inf)


def greedy(text: Text, logits: Tensor) -> Tensor:
    """The oracle of `decoding.Greedy`."""
    return logits


def sample(text: Text, logits: Tensor) -> Tensor:
    """The oracle of `decoding.Sample`."""
    return logits.softmax(-1)


def contrastive_search(k: int, alpha: float) -> Callable[[Text, Tensor], dict[int, float]]:
    """The oracle of `decoding.ContrastiveSearch`: Su et al. 2022, eq. 5."""

    def pick(text: Text, logits: Tensor) -> dict[int, float]:
        p, scores = logits.softmax(-1), {}
        for token in logits.topk(k).indices.tolist():
            if logits[token] > -torch.inf:
                states = text.states([*text.tokens, token])
                cosines = F.cosine_similarity(states[:-1], states[-1:], dim=-1)
                scores[token] = float((1 - alpha) * p[token] - alpha * cosines.max())
        return scores

    return pick


def value(tokens: list[int]) -> int:
    """A number that depends on every token, and not on how many there are."""
    return sum(place * token for place, token in enumerate(tokens, 1)) * 2654435761 % 1000


def best_rows(rows: list[list[int]], beams: int) -> list[int]:
    """The places of the `beams` rows of the greatest value, of equal ones the first; best first."""
    different = [i for i, row in enumerate(rows) if row not in rows[:i]]
    return sorted(different, key=lambda i: -value(rows[i]))[:beams]


def moving(texts: list[Text], ended: bool) -> list[int] | None:
    """The oracle of `Moving`."""
    rows = [text.new for text in texts]
    if ended:
        return best_rows(rows, 1)
    if max(map(len, rows)) % 2:
        return None
    best = best_rows(rows, 2)
    return [i for i in best for _ in range(len(texts) // len(best))]


@dataclass(frozen=True)
class Moving(Reranker):
    """Of four rows of each prompt it keeps two after every second token, in another order, and copies both."""

    width: int = 4

    def __call__(self, hypotheses: Hypotheses) -> Tensor | None:
        """The rows to go on with."""
        return None if hypotheses.continuation.shape[1] % 2 else self.choose(hypotheses, ended=False)

    def best(self, hypotheses: Hypotheses) -> Tensor:
        """The best row of each prompt."""
        return self.choose(hypotheses, ended=True)

    def choose(self, hypotheses: Hypotheses, ended: bool) -> Tensor:
        """The rows of `best_rows`, prompt by prompt, in as many copies as there were rows."""
        columns = (hypotheses.continuation, hypotheses.lengths, hypotheses.owners)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        found: list[int] = []
        for prompt in range(hypotheses.prompts):
            own = [i for i, (_, _, owner) in enumerate(rows) if owner == prompt]
            best = best_rows([rows[i][0][: rows[i][1]] for i in own], 1 if ended else 2)
            copies = 1 if ended else len(own) // len(best)
            found += [own[i] for i in best for _ in range(copies)]
        return torch.tensor(found)
