"""A negative prompt equals its oracle, and transformers' own guidance."""

import pytest
import torch
from transformers import UnbatchedClassifierFreeGuidanceLogitsProcessor

import decoding
from decoding import (
    GuideProcessor,
    NegativePrompt,
)
from decoding.testing import FAMILIES, PerPrompt, check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import ASIDE, MODELS
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts
from tests.support.oracles.processors import OracleProcessor


def test_equals_its_oracle_wherever_it_is_used():
    part = PerPrompt(lambda places: decoding.NegativePrompt([ASIDE[i] for i in places], gamma=1.8))
    method = lambda text: oracles.classifier_free_guidance(text.model, text.prompt, ASIDE[text.place], 1.8)
    with parts.remembered():
        check_guide(part, parts.guided(method))


def test_without_a_prompt_of_its_own_it_reads_the_last_token():
    method = lambda text: oracles.classifier_free_guidance(text.model, text.prompt, text.prompt[-1:], 2.0)
    with parts.remembered():
        check_guide(decoding.NegativePrompt(gamma=2.0), parts.guided(method), families=FAMILIES[:1])


class TestTransformersOwn:
    """`UnbatchedClassifierFreeGuidanceLogitsProcessor`: equal where it is right, and the four cases where it is not."""

    def both(self, model, prompts, negative, mask=None, **options):
        inputs = tiny.batch(prompts)
        theirs = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.8, model, negative, mask)
        ours = GuideProcessor(model, NegativePrompt(negative, gamma=1.8, mask=mask), **inputs)
        options = {"max_new_tokens": 7, "do_sample": False, **options}
        return [lambda p=p: model.generate(**inputs, logits_processor=[p], **options) for p in (theirs, ours)]

    def oracle(self, model, prompts, negatives, **options):
        guide = lambda i: oracles.classifier_free_guidance(model, prompts[i], negatives[i], 1.8)
        slow = OracleProcessor(model, guide, prompts)
        options = {"max_new_tokens": 7, "do_sample": False, **options}
        return model.generate(**tiny.batch(prompts), logits_processor=[slow], **options)

    @pytest.mark.parametrize("make", MODELS)
    @pytest.mark.parametrize("prompt", PROMPTS)
    def test_equal_where_it_is_right(self, make, prompt):
        model = make()
        theirs, ours = self.both(model, [prompt], torch.tensor(ASIDE[:1]))
        assert torch.equal(ours(), theirs())
        inputs = tiny.batch([prompt])
        option = model.generate(
            **inputs, guidance_scale=1.8, negative_prompt_ids=torch.tensor(ASIDE[:1]), max_new_tokens=7, do_sample=False
        )
        assert torch.equal(ours(), option)

    def test_right_for_left_padded_negatives(self):
        model, negative = tiny.gpt2(), tiny.batch(ASIDE)
        theirs, ours = self.both(model, PROMPTS, negative["input_ids"], negative["attention_mask"])
        assert torch.equal(ours(), self.oracle(model, PROMPTS, ASIDE))
        assert not torch.equal(theirs(), self.oracle(model, PROMPTS, ASIDE))

    def test_right_for_beams(self):
        model = tiny.gpt2()
        theirs, ours = self.both(model, PROMPTS[:1], torch.tensor(ASIDE[:1]), num_beams=3)
        assert torch.equal(ours(), self.oracle(model, PROMPTS[:1], ASIDE, num_beams=3))
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            theirs()

    def test_right_for_several_returned_sequences(self):
        model, options = tiny.gpt2(), {"do_sample": True, "top_k": 0, "num_return_sequences": 3}
        theirs, ours = self.both(model, PROMPTS[:1], torch.tensor(ASIDE[:1]), **options)
        torch.manual_seed(0)
        expected = self.oracle(model, PROMPTS[:1], ASIDE, **options)
        torch.manual_seed(0)
        assert torch.equal(ours(), expected)
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            theirs()

    @torch.no_grad()
    def test_more_exact_in_bfloat16(self):
        """The auxiliary log-softmax is computed in float32: theirs rounds it to 8 bits."""
        model = tiny.llama().to(torch.bfloat16)
        ids, negative = torch.tensor(PROMPTS[:1]), torch.tensor(ASIDE[:1])
        logits = model(ids).logits[:, -1].float()
        exact = model(negative).logits[:, -1].double().log_softmax(-1)
        exact = exact + 1.8 * (logits.double().log_softmax(-1) - exact)
        theirs = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.8, model, negative)(ids, logits)
        ours = GuideProcessor(model, NegativePrompt(negative, gamma=1.8), input_ids=ids)(ids, logits)
        worst = [float((z.double().log_softmax(-1) - exact.log_softmax(-1)).abs().max()) for z in (theirs, ours)]
        assert worst[1] < 1e-5 < 1e-3 < worst[0]
