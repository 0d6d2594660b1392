"""A guide inside transformers' own loop: beams, sampling, several sequences."""

import pytest
import torch

import decoding
from decoding import (
    ContrastiveDecoding,
    GuideProcessor,
    NegativePrompt,
)
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import ASIDE, METHODS, MODELS, cases
from tests.support.oracles import methods as oracles
from tests.support.oracles.processors import OracleProcessor


def ways(make, method, prompts=PROMPTS, **options):
    """The rows by the oracle, by our loop, and by the guide as a processor of transformers' own loop."""
    model, (guide, oracle), inputs = make(0), cases(make)[method], tiny.batch(prompts)
    generator = lambda: torch.manual_seed(3)
    generator()
    slow = model.generate(**inputs, logits_processor=[OracleProcessor(model, oracle, prompts)], **options)
    generator()
    processor = GuideProcessor(model, guide, **inputs)
    plain = model.generate(**inputs, logits_processor=[processor], **options)
    if "num_beams" in options:
        return slow, None, plain
    generator()
    return slow, decoding.generate(model, **inputs, processors=[guide], **options), plain


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "top_k": 0},
        {"do_sample": True, "top_k": 10, "temperature": 1.3, "num_return_sequences": 2},
        {"num_beams": 3, "do_sample": False},
        {"num_beams": 2, "do_sample": False, "num_return_sequences": 2, "early_stopping": True},
    ],
    ids=["greedy", "sample", "several", "beams", "two of two beams"],
)
def test_equals_oracle_in_our_loop_and_in_transformers(make, method, options):
    slow, ours, plain = ways(make, method, max_new_tokens=7, **options)
    assert torch.equal(plain, slow)
    assert ours is None or torch.equal(ours, slow)


class TestProcessor:
    def test_serves_another_call_on_the_same_prompts(self):
        model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
        processor = GuideProcessor(model, cases(tiny.gpt2)["steer"][0], **inputs)
        for options in ({}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}, {}):
            fresh = GuideProcessor(model, cases(tiny.gpt2)["steer"][0], **inputs)
            options = {**options, "max_new_tokens": 6, "do_sample": False}
            again = model.generate(**inputs, logits_processor=[processor], **options)
            assert torch.equal(again, model.generate(**inputs, logits_processor=[fresh], **options))

    def test_refuses_what_a_guide_refuses(self):
        wide = tiny.llama(1)
        wide.resize_token_embeddings(2000, mean_resizing=False)
        with pytest.raises(ValueError, match="need the same tokenizer"):
            GuideProcessor(tiny.gpt2(), ContrastiveDecoding(wide), **tiny.batch(PROMPTS))

    def test_refuses_other_prompts(self):
        model = tiny.gpt2()
        processor = GuideProcessor(model, NegativePrompt(), **tiny.batch(PROMPTS[:1]))
        with pytest.raises(ValueError, match="not the prompts that this GuideProcessor was made for"):
            model.generate(**tiny.batch(PROMPTS[1:2]), logits_processor=[processor], max_new_tokens=2)

    def test_equal_prompts_with_different_second_prompts(self):
        """Rows are found by their tokens within their own prompt, so twins are not mixed up."""
        model, prompts = tiny.gpt2(), [PROMPTS[0]] * 3
        guide = NegativePrompt(ASIDE, gamma=2.5)
        inputs, options = tiny.batch(prompts), {"num_beams": 3, "max_new_tokens": 6, "do_sample": False}
        out = model.generate(**inputs, logits_processor=[GuideProcessor(model, guide, **inputs)], **options)
        oracle = lambda i: oracles.classifier_free_guidance(model, prompts[i], ASIDE[i], 2.5)
        assert torch.equal(
            out, model.generate(**inputs, logits_processor=[OracleProcessor(model, oracle, prompts)], **options)
        )
        assert len({tuple(row) for row in out.tolist()}) > 1
