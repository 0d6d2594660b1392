"""Mirostat equals its oracle draw for draw, and its texts have the surprise that was asked for."""

import math

import pytest
import torch
from transformers import TemperatureLogitsWarper

import decoding
from decoding import Decoder, Mirostat, Rerank
from decoding.pickers.mirostat import MU
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import MODELS, PROMPTS, search
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts as part_oracles
from tests.support.oracles.pickers import mirostat
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import Mix

WAYS = [(3.0, 1.0, False), (1.0, 0.3, False), (0.2, 2.0, False), (2.0, 0.5, True)]


def test_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.Mirostat(2.0, 0.5), part_oracles.mirostat(2.0, 0.5))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("tau", "eta", "renormalise"), WAYS)
def test_equals_oracle_alone_and_in_a_padded_batch(make, tau, eta, renormalise):
    model, part = make(), Mirostat(tau, eta, renormalise)
    told = [
        mirostat(model, prompt, 12, tau, eta, own, renormalise=renormalise)
        for prompt, own in zip(PROMPTS, generators(0, 1, 2), strict=True)
    ]
    expected = [row for row, _ in told]
    options = {"n": 12, "top_k": 0}
    assert search(model, PROMPTS, part, generator=generators(0, 1, 2), **options) == expected
    alone = [search(model, [p], part, generator=generators(i), **options)[0] for i, p in enumerate(PROMPTS)]
    assert alone == expected
    assert len({round(mu, 9) for _, mus in told for mu in mus}) > 12


@pytest.mark.parametrize("make", MODELS)
def test_guides_and_warpers_in_front(make):
    model, mix = make(), Mix(make(1))
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 2]
    warp = slow_processors(TemperatureLogitsWarper(1.6))

    def guide(prompt):
        slow = mix.slowly(model, prompt)
        return lambda ids, logits: warp(ids, slow(ids, logits))

    expected = [
        mirostat(model, p, 10, 2.0, 0.5, own, guide=guide(p))[0]
        for p, own in zip(prompts, generators(4, 5, 6), strict=True)
    ]
    options = {"temperature": 1.6, "top_k": 0, "generator": generators(4, 5, 6)}
    assert search(model, prompts, mix, Mirostat(2.0, 0.5), n=10, **options) == expected


@pytest.mark.parametrize("tau", [3.0, 4.0])
def test_the_mean_surprise_is_tau(tau):
    torch.manual_seed(0)
    options = {"top_k": 0, "suppress_tokens": [tiny.EOS], "return_dict_in_generate": True, "output_scores": True}
    inputs = tiny.batch([[5, 9]] * 16)
    out = decoding.generate(tiny.gpt2(), **inputs, processors=[Mirostat(tau, 0.2)], max_new_tokens=100, **options)
    log_p = torch.stack(out.scores, dim=1).double().log_softmax(-1)  # (R, n, V)
    surprise = -log_p.gather(-1, out.sequences[:, 2:, None]) / math.log(2)
    assert float(surprise.mean()) == pytest.approx(tau, abs=0.12)


def test_mu_follows_rows_that_a_reranker_moves():
    seen = []

    class Backwards(decoding.Reranker):
        def __call__(self, hypotheses):
            before = hypotheses.state[MU].clone()
            hypotheses.select(torch.tensor([2, 1, 0]))
            seen.append(torch.equal(hypotheses.state[MU], before.flip(0)))
            hypotheses.select(torch.tensor([2, 1, 0]))

        def best(self, hypotheses):
            return torch.arange(3)

    search(tiny.gpt2(), PROMPTS, Mirostat(), Backwards(), n=5, min_new_tokens=5, top_k=0)
    assert seen == [True] * 4


def test_under_a_reranker_its_copies_differ():
    seen = []
    judge = lambda prefixes, texts: seen.extend(texts) or [0.0] * len(texts)
    torch.manual_seed(0)
    rerank = Rerank(judge, every=3, samples=6, beams=2, tokenizer=tiny.tokenizer())
    search(tiny.gpt2(), [PROMPTS[0]], Mirostat(4.0), rerank, n=6, top_k=0)
    assert len(set(seen)) > 6


def test_the_most_probable_token_stays_however_small_mu_is():
    model = tiny.gpt2()
    options = {"n": 10, "top_k": 0, "suppress_tokens": [tiny.EOS]}
    greedy = search(model, PROMPTS, n=10, do_sample=False, suppress_tokens=[tiny.EOS], generator=generators(0)[0])
    assert search(model, PROMPTS, Mirostat(1e-6, 1e-9), **options) == greedy


@pytest.mark.parametrize("arguments", [{"tau": 0}, {"eta": -1.0}, {"tau": float("inf")}, {"eta": float("nan")}])
def test_refuses_arguments(arguments):
    with pytest.raises(ValueError, match="must be a number above 0"):
        Mirostat(**arguments)


def test_refuses_a_distribution_that_is_not_warped():
    with pytest.raises(ValueError, match="Mirostat needs do_sample=True"):
        search(tiny.gpt2(), PROMPTS, Mirostat(), do_sample=False)


def test_step_scores_are_log_probabilities_before_the_truncation():
    model, inputs = tiny.gpt2(), tiny.batch([PROMPTS[0]])
    ids, options = list(PROMPTS[0]), {"max_new_tokens": 4, "do_sample": True, "top_k": 0}
    for step in Decoder(Mirostat(2.0)).stream(model, **inputs, generator=generators(3)[0], **options):
        log_p = oracles.log_p(model, ids)
        ids.append(int(step.tokens))
        torch.testing.assert_close(step.scores, log_p[ids[-1:]])
