"""The rows being decoded: what was seen, what is kept, what is scored."""

import pytest
import torch

import decoding
from decoding import Decoder, Greedy
from tests.support import calls, tiny
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7], [8, 3]]


def generate(*parts, seed=7, **options):
    generator = torch.Generator().manual_seed(seed)
    call = {"max_new_tokens": 12, "generator": generator, **tiny.batch(PROMPTS), **options}
    return decoding.generate(tiny.gpt2(), processors=parts, **call)


def test_scores_are_set_by_append_alone():
    class Odd(Greedy):
        def __call__(self, hypotheses):
            assert torch.equal(hypotheses.scores, torch.full_like(hypotheses.scores, float(counts[-1])))
            counts.append(counts[-1] + 1)
            tokens = hypotheses.logits().argmax(-1)
            length = hypotheses.tokens.shape[1]

            def scores():
                assert hypotheses.tokens.shape[1] == length + 1  # they are asked for when the tokens are there
                return torch.full(tokens.shape, float(counts[-1]))

            hypotheses.append(tokens, scores)

    counts = [0]
    steps = list(Decoder(Odd()).stream(tiny.gpt2(), **tiny.batch(PROMPTS), max_new_tokens=3))
    assert [step.scores.tolist() for step in steps] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]

    class ByHand(Greedy):
        def __call__(self, hypotheses):
            super().__call__(hypotheses)
            hypotheses.scores = hypotheses.scores * 2

    with pytest.raises(AttributeError, match="scores"):
        generate(ByHand())


def test_what_was_seen_is_there_once_somebody_asked():
    class Early(Greedy):
        def __call__(self, hypotheses):
            if hypotheses.continuation.shape[1] == 0:
                with pytest.raises(RuntimeError, match=r"call hypotheses.logits\(\) first"):
                    _ = hypotheses.seen
            logits = hypotheses.logits()
            assert torch.equal(hypotheses.seen.scores, logits)
            assert torch.equal(hypotheses.seen.logits, hypotheses.read().logits)
            super().__call__(hypotheses)

    def half(tokens, logits):
        return logits / 2

    assert torch.equal(generate(half, Early()), generate(Greedy()))


def test_a_guide_that_writes_into_its_logits_does_not_change_the_models():
    def no_sevens(tokens, logits):
        logits[:, 7] = -torch.inf
        return logits

    asked = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 1}
    out = decoding.generate(tiny.gpt2(), torch.tensor([calls.PROMPTS[0]]), processors=[no_sevens], **asked)
    torch.testing.assert_close(out.logits[0][0], oracles.read(tiny.gpt2(), calls.PROMPTS[0])[0])


def test_a_generator_for_each_prompt_draws_for_its_rows_alone():
    inputs, seeded = tiny.batch(PROMPTS), lambda seed: torch.Generator().manual_seed(seed)
    probs, found = torch.full((4, 50), 0.02), {}

    class Asks(Greedy):
        def __call__(self, hypotheses):
            hypotheses.fork(2)
            hypotheses.generator = [seeded(1), seeded(2)]
            found["each"] = hypotheses.draw(probs)
            hypotheses.generator = seeded(4)
            found["one"] = hypotheses.draw(probs)
            hypotheses.select(torch.tensor([0, 2]))
            super().__call__(hypotheses)

    decoding.generate(tiny.gpt2(), **inputs, processors=[Asks()], max_new_tokens=1)
    assert torch.equal(found["each"][:2], torch.multinomial(probs[:2], 1, generator=seeded(1)).squeeze(-1))
    assert torch.equal(found["each"][2:], torch.multinomial(probs[2:], 1, generator=seeded(2)).squeeze(-1))
    assert torch.equal(found["one"], torch.multinomial(probs, 1, generator=seeded(4)).squeeze(-1))
