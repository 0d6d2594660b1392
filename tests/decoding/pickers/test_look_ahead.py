"""Look-ahead: the candidate that is best when it has been read stays, and nothing else of the row changes."""

import torch

import decoding
from decoding.pickers.look_ahead import take_best_ahead
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import PROMPTS, search
from tests.support.oracles import parts as oracles


class Ahead(decoding.Picker):
    """Of the k most probable tokens the one that `judge` (ahead, past, mask) likes best."""

    keep_states = True

    def __init__(self, k, judge):
        self.k, self.judge = k, judge

    def __call__(self, hypotheses):
        logits, tokens = hypotheses.logits().topk(self.k)
        forbidden = logits == -torch.inf
        take_best_ahead(hypotheses, tokens, lambda *read: self.judge(*read).masked_fill(forbidden, -torch.inf))


def nearest_to_the_last(ahead, past, mask):
    return (ahead @ past[:, -1, :, None]).squeeze(-1)


def test_the_judge_gets_the_states_of_the_candidates_and_of_the_text():
    def oracle(text, logits):
        found = {}
        for token in oracles.top(logits, 3):
            last, new = text.states([*text.tokens, token])[-2:]
            found[token] = float(last @ new / last.norm() / new.norm())
        return found

    check_picker(Ahead(3, nearest_to_the_last), oracle, new_tokens=5)


def test_ties_go_to_the_most_probable():
    equal = lambda ahead, past, mask: torch.zeros(ahead.shape[:2])
    model = tiny.gpt2()
    assert search(model, PROMPTS, Ahead(4, equal)) == search(model, PROMPTS, decoding.Greedy())


def test_what_is_judged_has_unit_length_and_the_mask_says_what_is_padding():
    def judge(ahead, past, mask):
        torch.testing.assert_close(ahead.norm(dim=-1), torch.ones(ahead.shape[:2], dtype=ahead.dtype))
        assert mask.shape == past.shape[:2]
        assert mask.sum(1).tolist() == [len(prompt) + steps[-1] for prompt in PROMPTS]
        steps.append(steps[-1] + 1)
        return torch.zeros(ahead.shape[:2])

    steps = [0]
    search(tiny.llama(), PROMPTS, Ahead(2, judge), n=3, min_new_tokens=3)
    assert steps == [0, 1, 2, 3]
