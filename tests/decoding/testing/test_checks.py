"""The kit catches broken parts, each in the way of using it in which it is broken, and says what differed."""

import re
import subprocess
import sys

import pytest
import torch

import decoding
from decoding.testing import FAMILIES, PROMPTS, PerPrompt, checks, stub_parts
from decoding.testing import check_guide as check_guide_everywhere
from decoding.testing import check_picker as check_picker_everywhere
from decoding.testing import check_reranker as check_reranker_everywhere
from tests.support.imports import ROOT
from tests.support.oracles import parts as oracles

LLAMA = FAMILIES[1:2]


def second_where(bad, logits, ranks):
    """The best token of each row, to copies the next ones; one place further on where `bad` (R,) bool."""
    order = logits.sort(descending=True, stable=True).indices
    places = (ranks + bad) % (logits != -torch.inf).sum(-1)
    return order.gather(-1, places[:, None]).squeeze(-1)


class Wrong(decoding.Picker):
    """Greedy search, but for the rows where `bad(self, hypotheses)` is true."""

    def __init__(self, bad):
        self.bad, self.remembered = bad, {}

    def __call__(self, hypotheses):
        logits = hypotheses.logits()
        bad = torch.zeros(len(logits), dtype=torch.bool) | torch.as_tensor(self.bad(self, hypotheses))
        hypotheses.append(second_where(bad, logits, hypotheses.ranks))


def by_shape(picker, hypotheses):
    """Remembers what it saw in a batch of some shape, and believes that it sees the same rows the next time."""
    if hypotheses.prompts == 1:
        return False
    first = picker.remembered.setdefault(tuple(hypotheses.tokens.shape), hypotheses.tokens)
    return (first != hypotheses.tokens).any(1)


def by_row(picker, hypotheses):
    """Counts the tokens of even number in each row, by its index, from the beginning of the call."""
    if not hypotheses.continuation.shape[1]:
        picker.remembered = dict.fromkeys(range(10**3), 0)
    for row, token in enumerate(hypotheses.continuation[:, -1:].flatten().tolist()):
        picker.remembered[row] += token % 2
    bad = [picker.remembered[row] % 3 == 2 for row in range(len(hypotheses.tokens))]
    return torch.tensor(bad)


def by_row_oracle(text, logits):
    if sum(token % 2 for token in text.new) % 3 != 2:
        return logits
    order = logits.argsort(descending=True, stable=True).tolist()
    return {token: -((place - 1) % len(order)) for place, token in enumerate(order) if logits[token] > -torch.inf}


WRONG_PICKERS = {  # what it is wrong about, and the first way in which that shows
    "the formula": (lambda *_: True, "each prompt alone"),
    "other rows of the batch": (lambda _, h: h.prompts > 1, "in a left-padded batch,"),
    "padding": (lambda _, h: h.tokens[:, 0] == 0, "in a left-padded batch,"),
    "what it keeps between calls": (by_shape, "in a left-padded batch, in another order"),
    "rows that do not share": (lambda _, h: h.contexts[0].share is False, "with share=False"),
    "rows that share": (lambda _, h: h.contexts[0].share is True, "with share=True"),
    "no cache": (lambda _, h: not h.contexts[0].generation_config.use_cache, "with use_cache=False"),
    "processors": (lambda _, h: len(h.guides) > 0, "with transformers' processors"),
    "forks": (lambda _, h: len(h.tokens) > h.prompts, "on rows that a reranker moves"),
    "rows that ended": (lambda _, h: h.done.any() & (h.continuation.shape[1] < 6), "with texts that end early"),
    "guides": (lambda _, h: len(h.contexts) > 1, "with a guide in front,"),
    "guides and forks": (
        lambda _, h: (len(h.contexts) > 1) & (len(h.tokens) > h.prompts),
        "with a guide in front and rows that a reranker moves",
    ),
}


@pytest.mark.parametrize(("bad", "where"), WRONG_PICKERS.values(), ids=WRONG_PICKERS)
def test_a_wrong_picker_is_caught_where_it_is_wrong(bad, where):
    with pytest.raises(AssertionError, match=re.escape(f"llama, {where}")):
        check_picker_everywhere(Wrong(bad), oracles.greedy, families=LLAMA)


def test_a_picker_that_is_right_passes_whatever_its_family():
    check_picker_everywhere(Wrong(lambda *_: False), oracles.greedy)


class Raw(decoding.Picker):
    """Forgets what guides and processors made of the logits."""

    def __call__(self, hypotheses):
        logits = hypotheses.read().logits
        hypotheses.append(second_where(torch.zeros(len(logits), dtype=torch.bool), logits, hypotheses.ranks))


class Forbidden(decoding.Picker):
    """Of the forty best the one of the least number, though it may be forbidden."""

    def __call__(self, hypotheses):
        tokens = hypotheses.logits().topk(40).indices.sort().values
        hypotheses.append(tokens.gather(-1, (hypotheses.ranks % 40)[:, None]).squeeze(-1))


class Same(decoding.Picker):
    """Gives copies of a row the same token."""

    def __call__(self, hypotheses):
        hypotheses.append(hypotheses.logits().argmax(-1))


class Global(decoding.Picker):
    """Draws from torch's own generator."""

    draws = True

    def __call__(self, hypotheses):
        hypotheses.append(torch.multinomial(hypotheses.logits().softmax(-1), 1).squeeze(-1))


class Unwarped(decoding.Picker):
    """Draws by the call's generators, from the wrong distribution."""

    draws = True

    def __call__(self, hypotheses):
        hypotheses.logits()
        hypotheses.append(hypotheses.draw(hypotheses.read().logits.softmax(-1)))


class Two(decoding.Picker):
    def __call__(self, hypotheses):
        for _ in range(2):
            hypotheses.append(hypotheses.logits().argmax(-1))


def least(text, logits):
    return {token: -token for token in oracles.top(logits, 40)}


@pytest.mark.parametrize(
    ("picker", "oracle", "where"),
    [
        (Raw(), oracles.greedy, "with transformers' processors"),
        (Forbidden(), least, "with transformers' processors"),
        (Same(), oracles.greedy, "on rows that a reranker moves"),
        (Global(), oracles.sample, "each prompt alone"),
        (Unwarped(), oracles.sample, "with transformers' processors"),
        (Two(), oracles.greedy, "each prompt alone, prompts .*: ValueError: .*Two.* must append one token"),
        (Wrong(by_row), by_row_oracle, "on rows that a reranker moves"),
        (decoding.ContrastiveSearch(4, 0.5), oracles.contrastive_search(4, 0.6), "with"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, decoding.Picker) else None,
)
def test_mistakes_that_authors_make_in_pickers(picker, oracle, where):
    with pytest.raises(AssertionError, match=f"llama, {where}"):
        check_picker_everywhere(picker, oracle, families=LLAMA)


class Guided(decoding.Guide):
    """A guide by a function of (tokens, logits, the model's own logits)."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def contexts(self, main):
        return [main]

    def __call__(self, tokens, logits, main):
        self.calls += 1
        return self.function(self, tokens, logits, main)


TILT = torch.linspace(-1, 1, 61)


def tilted(text, logits):
    return logits + TILT


WRONG_GUIDES = {
    "the formula": (lambda guide, tokens, logits, main: logits - TILT, "each prompt alone"),
    "padding": (lambda guide, tokens, logits, main: logits + TILT * (1 + (tokens[:, :1] == 0).long() * 9), "in a left"),
    "other rows": (
        lambda guide, tokens, logits, main: logits + TILT + (logits - logits.mean(0)) * 3,
        "in a left-padded batch,",
    ),
    "how often it was called": (lambda guide, tokens, logits, main: logits + TILT * guide.calls, "each prompt alone"),
    "guides before it": (lambda guide, tokens, logits, main: main + TILT, "with contrastive search and a guide in"),
}


@pytest.mark.parametrize(("function", "where"), WRONG_GUIDES.values(), ids=WRONG_GUIDES)
def test_a_wrong_guide_is_caught_where_it_is_wrong(function, where):
    with pytest.raises(AssertionError, match=f"llama, {where}"):
        check_guide_everywhere(Guided(function), tilted, families=LLAMA)


def test_a_guide_that_is_right_passes_and_a_constant_makes_no_difference():
    check_guide_everywhere(Guided(lambda guide, tokens, logits, main: logits + TILT), tilted)
    check_guide_everywhere(lambda tokens, logits: logits + TILT + 7, tilted, families=LLAMA)


def test_a_distribution_may_be_wrong_though_the_tokens_are_right():
    """One unlikely token, which nothing takes: of 61 tokens, one is 0.01 off."""

    def nudged(guide, tokens, logits, main):
        worst = logits.argmin(-1, keepdim=True)
        return (logits + TILT).scatter_add(-1, worst, torch.full(worst.shape, 0.01))

    message = r"llama, the distribution at place 0 after prompt \[5, 9, 11, 30, 7\]: the oracle gives token \d+ log p ="
    with pytest.raises(AssertionError, match=message):
        check_guide_everywhere(Guided(nudged), tilted, families=LLAMA)


def test_guides_are_compared_in_the_loop_of_transformers(monkeypatch):
    class Other(decoding.GuideProcessor):
        def __call__(self, input_ids, scores):
            return super().__call__(input_ids, scores).flip(-1)

    monkeypatch.setattr(checks, "GuideProcessor", Other)
    with pytest.raises(AssertionError, match="as a processor of transformers' own loop"):
        check_guide_everywhere(Guided(lambda guide, tokens, logits, main: logits + TILT), tilted, families=LLAMA)


def test_the_steps_of_a_stream_are_compared(monkeypatch):
    monkeypatch.setattr(checks, "follow", lambda steps: [step.tokens.tolist() for step in steps][:3])
    with pytest.raises(AssertionError, match="llama, as steps of a stream"):
        check_picker_everywhere(decoding.Greedy(), oracles.greedy, families=LLAMA)


class Best(decoding.Reranker):
    """Three rows of each prompt, of which the one with the greatest sum is returned; `which` may be wrong."""

    width = 3

    def __init__(self, which=lambda self, hypotheses, sums: sums.argmax(1), every=0):
        self.which, self.every, self.calls = which, every, 0

    def __call__(self, hypotheses):
        if not self.every or hypotheses.continuation.shape[1] % self.every:
            return None
        return self.best(hypotheses).repeat_interleave(3)

    def best(self, hypotheses):
        self.calls += 1
        place = torch.arange(hypotheses.continuation.shape[1])
        real = torch.where(place < hypotheses.lengths[:, None], hypotheses.continuation, 0)
        sums = real.sum(1).view(-1, 3)
        return self.which(self, hypotheses, sums) + torch.arange(len(sums)) * 3


def greatest(every=0):
    def oracle(texts, ended):
        if not ended and not (every and max(len(text.new) for text in texts) % every == 0):
            return None
        return [max(range(3), key=lambda i: sum(texts[i].new))] * (1 if ended else 3)

    return oracle


WRONG_RERANKERS = {
    "the formula": (lambda self, hypotheses, sums: sums.argmin(1), "each prompt alone"),
    "a row of another prompt": (
        lambda self, hypotheses, sums: (sums.argmax(1) + 3 * (len(sums) > 1)) % (3 * len(sums)),
        "in a left-padded batch, with greedy search, prompts .*: ValueError: Best",
    ),
    "the first prompt alone": (
        lambda self, hypotheses, sums: sums[:1].argmax(1).expand(len(sums)),
        "in a left-padded batch,",
    ),
    "padding": (
        lambda self, hypotheses, sums: (sums + hypotheses.tokens[:, :1].eq(0).view(-1, 3) * -2 * sums).argmax(1),
        "in a left-padded batch,",
    ),
    "how often it was called": (lambda self, hypotheses, sums: (sums * (-1) ** (self.calls // 2)).argmax(1), "each"),
}


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize(("which", "where"), WRONG_RERANKERS.values(), ids=WRONG_RERANKERS)
def test_a_wrong_reranker_is_caught_where_it_is_wrong(which, where, every):
    with pytest.raises(AssertionError, match=f"llama, {where}"):
        check_reranker_everywhere(Best(which, every), greatest(every), families=LLAMA)


def test_a_reranker_that_is_right_passes():
    check_reranker_everywhere(Best(), greatest())
    check_reranker_everywhere(Best(every=2), greatest(2), families=LLAMA)


def test_the_message_says_what_differed_and_where():
    with pytest.raises(AssertionError) as caught:
        check_picker_everywhere(Wrong(lambda _, h: h.continuation.shape[1] == 3), oracles.greedy, families=LLAMA)
    model = FAMILIES[1].make()
    inputs = {"input_ids": torch.tensor([PROMPTS[0]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    right = decoding.generate(model, **inputs, processors=[decoding.Greedy()], max_new_tokens=7)[0, 5:].tolist()
    first, second, third = str(caught.value).splitlines()
    assert first.startswith(
        "llama, each prompt alone, prompt [5, 9, 11, 30, 7]: at place 3 of what was generated the oracle has token "
        f"{right[3]}, and the part gave token "
    )
    assert second == f"oracle: {right}"
    found = [int(token) for token in re.findall(r"\d+", third)]
    assert found[:3] == right[:3]
    assert first.endswith(f" {found[3]}")
    assert found[3] != right[3]


def test_parts_that_depend_on_the_prompts_are_made_for_each_call():
    asked = []

    def make(places):
        asked.append(tuple(places))
        return decoding.Greedy()

    check_picker_everywhere(PerPrompt(make), oracles.greedy, families=LLAMA)
    assert {(0,), (1,), (2,), (0, 1, 2), (2, 1, 0)} == set(asked)


def test_a_text_ends_in_its_middle():
    """Otherwise rows that have ended would be in no case."""
    checker = checks.Checker(FAMILIES[1], 7)
    case = checks.Case("", decoding.Greedy(), oracles.greedy, options={"eos_token_id": None})
    options = checker.options(case, (0, 1, 2))
    plain = checker.expect(case, (0, 1, 2), options)
    options["eos_token_id"] = checks.middle_token([text.new for text in plain])
    lengths = [len(text.new) for text in checker.expect(case, (0, 1, 2), options)]
    assert min(lengths) < 5
    assert max(lengths) == 7


def test_the_stub_parts_make_a_difference():
    """A guide, processors, warpers or a reranker that changed nothing would test nothing."""
    checker = checks.Checker(FAMILIES[1], 7)
    plain = checks.Case("", decoding.Sample(), oracles.sample)
    near = (stub_parts.NearbyContrast(), stub_parts.nearby_contrast)
    others = [
        checks.replace(plain, guides=(near,)),
        checks.replace(plain, processors=True),
        checks.replace(plain, reranker=stub_parts.Moving(), rerank=stub_parts.moving),
        checks.replace(plain, picker=decoding.Greedy(), pick=oracles.greedy),
    ]
    found = [checker.run(case, (0, 1, 2), checker.options(case, (0, 1, 2))) for case in (plain, *others)]
    assert len({str(rows) for rows in found}) == len(found)


def test_it_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; from decoding.testing import *; print(check_picker.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "check_picker"
