"""Toy parts that exercise the loop: a guide with contexts of its own, a reranker that forks, decoders of them."""

import torch

from decoding import Context, ContrastiveSearch, Decoder, Greedy, Guide, Reranker, Sample, Search
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.oracles import methods as oracles


class Mix(Guide):
    """Toy guide: main + weight (other model on the same prompt - same model on the prompt's last two tokens)."""

    def __init__(self, other, weight=0.5):
        self.other, self.weight = other, weight

    def contexts(self, main):
        return [Context.of(self.other, main.prompt, main.mask), Context.of(main.model, main.prompt[:, -2:])]

    def __call__(self, tokens, logits, other, blind):
        mixed = logits + self.weight * (other - blind)
        return mixed.masked_fill(logits < logits.amax(-1, keepdim=True) - 4, -torch.inf)

    def slowly(self, model, prompt):
        def guide(ids, logits):
            other, _ = oracles.read(self.other, ids)
            blind, _ = oracles.read(model, prompt[-2:] + ids[len(prompt) :])
            mixed = logits + self.weight * (other - blind)
            return mixed.masked_fill(logits < logits.max() - 4, -torch.inf)

        return guide


class Tournament(Reranker):
    """Toy reranker: every third token, the `beams` rows of a prompt with the largest token sums, each forked."""

    def __init__(self, samples=3, beams=2, every=3):
        self.samples, self.beams, self.every, self.width = samples, beams, every, samples * beams

    def __call__(self, hypotheses):
        if hypotheses.continuation.shape[1] % self.every:
            return None
        return self.top(hypotheses, self.beams).repeat_interleave(self.samples)

    def best(self, hypotheses):
        return self.top(hypotheses, 1)

    def top(self, hypotheses, n):
        sums = hypotheses.continuation.sum(1).view(hypotheses.prompts, -1)
        offset = torch.arange(hypotheses.prompts)[:, None] * sums.shape[1]
        return (sums.topk(n).indices + offset).flatten()


DECODERS = [
    Decoder(),
    Decoder(Greedy()),
    Decoder(ContrastiveSearch(k=4, alpha=0.6)),
    Decoder(Mix(tiny.gpt2(1)), ContrastiveSearch(k=3)),
    Decoder(Sample(), Tournament()),
    Decoder(Mix(tiny.gpt2(1)), Sample(), Tournament()),
    Decoder(ContrastiveSearch(k=4), Tournament(samples=1, beams=3)),
]


def call(decoder, seed=5, n=9, **options):
    options = {**tiny.batch([PROMPTS[0], PROMPTS[2]]), "max_new_tokens": n, **options}
    if decoder.picker is not None and decoder.picker.draws:
        options |= {"do_sample": True, "generator": torch.Generator().manual_seed(seed)}
    return options


class Longest(Reranker):
    """Of as many rows as it wants, the longest of each prompt."""

    def __init__(self, width=4, **more):
        self.width = width
        vars(self).update(more)

    def __call__(self, hypotheses):
        return None

    def best(self, hypotheses):
        return hypotheses.lengths.view(-1, self.width).argmax(1) + torch.arange(hypotheses.prompts) * self.width


class Counting(Search):
    """The first row of each prompt, and how often it was asked."""

    def __init__(self, width):
        self.width, self.asked = width, 0

    def __call__(self, hypotheses):
        self.asked += 1

    def best(self, hypotheses):
        return torch.arange(hypotheses.prompts) * self.width

    def report(self):
        return {"rounds": [self.asked]}


class Counted(Reranker):
    width = 2

    def start(self, hypotheses, tokenizer=None):
        return Counting(self.width)
