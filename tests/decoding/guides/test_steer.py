"""STEER equals its oracle; its limits are plain decoding, DExperts and the expert itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decoding
from decoding import (
    DExperts,
    Steer,
)
from decoding.guides.guidance import Guidance
from decoding.testing import PerPrompt, check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS, continuations
from tests.support.guide_cases import ASIDE, MODELS, same_scores, scores
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts
from tests.support.saved import saved

amounts = st.floats(0, 2)


def test_equals_its_oracle_wherever_it_is_used():
    expert = tiny.llama(1)
    part = PerPrompt(lambda places: decoding.Steer(expert, 0.3, 0.4, [ASIDE[i] for i in places]))
    method = lambda text: oracles.steer(expert, text.model, text.prompt, ASIDE[text.place], 0.3, 0.4)
    with parts.remembered():
        check_guide(part, parts.guided(method))


@settings(max_examples=15, deadline=None)
@given(g=amounts, make=st.sampled_from(MODELS))
def test_steer_without_negatives_is_guidance_between_models(g, make):
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    steered = scores(base, inputs, [Steer(expert, gamma=g)])

    class BetweenModels(Guidance):  # CFG(g + 1): log p_base + (g + 1) (log p_expert - log p_base)
        weights = {"main": -g, "expert": g + 1}  # noqa: RUF012

        def context(self, name, main):
            return main.again(expert)

    torch.testing.assert_close(steered, scores(base, inputs, [BetweenModels()]))
    assert same_scores(base, inputs, [Steer(expert, gamma=g)], [DExperts(expert, alpha=g + 1)])


@pytest.mark.parametrize("make", MODELS)
def test_steer_with_weights_zero_is_the_expert(make):
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    ours = decoding.generate(base, **inputs, processors=[Steer(expert, gamma=0)], max_new_tokens=8)
    assert torch.equal(ours, expert.generate(**inputs, max_new_tokens=8, do_sample=False))


@pytest.mark.parametrize("make", MODELS)
def test_swapping_the_model_being_decoded_for_the_base(make):
    """Steer from the expert's own loop, with the base given, is Steer from the base's."""
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    ours = decoding.generate(base, **inputs, processors=[Steer(expert, gamma=0.5)], max_new_tokens=8)
    theirs = decoding.generate(expert, **inputs, processors=[Steer(expert, gamma=0.5, base=base)], max_new_tokens=8)
    assert torch.equal(ours, theirs)


def test_experts_by_folder_and_tokenizers_that_disagree(tmp_path):
    base, _ = decoding.load(saved(tiny.llama(0), tmp_path / "base"))
    folder = saved(tiny.llama(1), tmp_path / "expert", ["<more>"])
    inputs = tiny.batch(PROMPTS)
    by_folder = decoding.generate(base, **inputs, processors=[Steer(folder)], max_new_tokens=6)
    by_model = decoding.generate(base, **inputs, processors=[Steer(tiny.llama(1))], max_new_tokens=6)
    assert torch.equal(by_folder, by_model)

    text = (tmp_path / "expert" / "tokenizer.json").read_text()
    other = tmp_path / "other"
    tiny.llama(1).save_pretrained(other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = (tmp_path / "expert" / name).read_text()
        (other / name).write_text(source.replace('"a": 3', '"a": 4').replace('"b": 4', '"b": 3'))
    assert '"a": 3' in text
    base.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match=r"base and .*other need the same tokenizer: token 3 is 'a' in the one"):
        decoding.generate(base, **inputs, processors=[Steer(str(other))], max_new_tokens=6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_expert_of_another_dtype(dtype):
    model, expert, inputs = tiny.llama(0), tiny.llama(1).to(dtype), tiny.batch(PROMPTS)
    out = decoding.generate(model, **inputs, processors=[Steer(expert, gamma=0.5)], max_new_tokens=6)
    rows = continuations(out, inputs)
    guides = [oracles.guided(oracles.steer(expert, model, prompt, [9], 0.5, 0.0)) for prompt in PROMPTS]
    if dtype == torch.float32:
        assert rows == [oracles.greedy(model, prompt, 6, guide=g) for prompt, g in zip(PROMPTS, guides, strict=True)]
    assert all(rows)


@pytest.mark.parametrize("eta", [0.7, 0.9])
def test_warns_of_weights_that_sum_to_little(eta):
    with pytest.warns(UserWarning, match="like a temperature of"):
        Steer(tiny.gpt2(), eta=eta, negatives=ASIDE)


def test_the_authors_own_settings_do_not_warn():
    Steer(tiny.gpt2(), gamma=0.2, eta=0.6, negatives=ASIDE)
    Steer(tiny.gpt2(), gamma=0.2, eta=0.9, negatives=ASIDE, beta=0.1)
