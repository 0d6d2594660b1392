"""Parts, the loop over them, steps, streaming, and rows that a reranker forks and prunes."""

import pytest
import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)

import decoding
from decoding import ContrastiveSearch, Decoder, Greedy, Sample
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.oracles import methods as oracles
from tests.support.stub_parts import DECODERS, Tournament, call

MODELS = [tiny.gpt2, tiny.llama]


def rebuild(steps):
    """(R, n) continuations of the last rows, from `parents` and `tokens` alone."""
    rows = torch.zeros(int(max(step.parents.max() for step in steps)) + 1, 0, dtype=torch.long)
    for step in steps:
        rows = torch.cat([rows[step.parents], step.tokens[:, None]], dim=1)
    return rows


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_steps_rebuild_every_lineage(decoder):
    model = tiny.gpt2()
    steps = list(model.generate(**call(decoder), custom_generate=decoder.stream))
    expected = model.generate(**call(decoder), custom_generate=decoder)
    assert torch.equal(rebuild(steps), expected[:, 9:])
    assert all(step.scores.shape == step.tokens.shape == step.parents.shape for step in steps)


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_one_object_serves_two_calls(decoder):
    model = tiny.gpt2()
    first, second = (model.generate(**call(decoder), custom_generate=decoder) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_row_of_a_padded_batch_equals_the_prompt_alone(decoder):
    if decoder.picker is not None and decoder.picker.draws:
        pytest.skip("a draw depends on the rows drawn before it")
    model, inputs = tiny.gpt2(), [tiny.batch([prompt]) for prompt in PROMPTS if len(prompt) > 2]
    together = model.generate(**call(decoder, **tiny.batch(PROMPTS)), custom_generate=decoder)
    for row, alone in zip(together, inputs, strict=True):
        expected = model.generate(**call(decoder, **alone), custom_generate=decoder)[0, alone["input_ids"].shape[1] :]
        assert row[9 : 9 + len(expected)].tolist() == expected.tolist()
        assert set(row[9 + len(expected) :].tolist()) <= {tiny.PAD}


def test_best_of_many_samples():
    """The loop returns the row that the reranker calls best, over all that were sampled."""
    model, pool = tiny.gpt2(), []

    class Spy(Tournament):
        def best(self, hypotheses):
            pool.append(hypotheses.continuation.clone())
            return super().best(hypotheses)

    decoder = Decoder(Sample(), Spy(samples=20, beams=1, every=99))
    out = model.generate(**call(decoder), custom_generate=decoder)[:, 9:]
    assert out.sum(1).tolist() == pool[0].sum(1).view(2, 20).amax(1).tolist()


def test_prompts_are_read_once_for_all_their_copies():
    model, shapes = tiny.gpt2(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    decoder = Decoder(Sample(), Tournament(samples=5, beams=2, every=99))
    model.generate(**call(decoder, n=3, min_new_tokens=3), custom_generate=decoder)
    assert shapes[0] == (2, 9)
    assert all(rows <= 20 and rows * width <= 22 for rows, width in shapes[1:])  # equal draws count as one
    assert sum(rows * width for rows, width in shapes[2:]) <= 40  # the first step was taken twice, to compare


@pytest.mark.parametrize("picker", [Greedy(), Sample()])
def test_step_scores_are_log_probabilities(picker):
    model, ids = tiny.gpt2(), list(PROMPTS[0])
    drawn = {"do_sample": True, "top_k": 0, "generator": torch.Generator().manual_seed(0)}
    options = drawn if picker.draws else {}
    for step in Decoder(picker).stream(model, **tiny.batch([ids]), max_new_tokens=4, **options):
        log_p = oracles.log_p(model, ids)
        ids.append(int(step.tokens))
        torch.testing.assert_close(step.scores, log_p[ids[-1:]])


def test_stream_is_lazy_and_needs_no_gradients():
    model, seen = tiny.gpt2(), []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    steps = Decoder(Greedy()).stream(model, **tiny.batch(PROMPTS), max_new_tokens=6)
    assert seen == []
    next(steps)
    assert seen == [False]
    next(steps)
    assert seen == [False, False]
    assert torch.is_grad_enabled()


def test_stream_takes_the_options_of_generate():
    model, decoder = tiny.gpt2(), Decoder()
    options = {**tiny.batch(PROMPTS), "max_new_tokens": 7, "repetition_penalty": 1.5, "do_sample": True, "top_k": 5}
    steps = decoder.stream(model, **options, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    assert torch.equal(rebuild(list(steps)), model.generate(**options)[:, 9:])


def test_stream_refuses_at_once():
    with pytest.raises(ValueError, match="cannot do beam search"):
        Decoder().stream(tiny.gpt2(), **tiny.batch(PROMPTS), num_beams=2, max_new_tokens=3)


def test_guides_apply_in_order_before_the_calls_own_processors():
    model, seen = tiny.gpt2(), []

    def first(tokens, logits):
        return logits + 1

    def second(tokens, logits):
        seen.append(logits)
        return logits * 2

    class Last(RepetitionPenaltyLogitsProcessor):
        def __call__(self, input_ids, scores):
            seen.append(scores)
            return scores

    inputs = {"input_ids": torch.tensor([PROMPTS[0]]), "max_new_tokens": 1}
    decoding.generate(model, **inputs, processors=[first, second], logits_processor=LogitsProcessorList([Last(1.0)]))
    raw, _ = oracles.read(model, PROMPTS[0])
    torch.testing.assert_close(seen[0][0], raw + 1)
    torch.testing.assert_close(seen[1][0], 2 * (raw + 1))


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([Greedy(), Sample()], ValueError, r"at most one picker at a time, not Greedy\(\) and Sample\(\)"),
        ([Tournament(), Tournament()], ValueError, "at most one reranker at a time"),
        ([ContrastiveSearch], TypeError, r"ContrastiveSearch is a class: make a part of it, ContrastiveSearch\(...\)"),
        (["greedy"], TypeError, "'greedy' is no part of a decoder"),
        ([None], TypeError, "None is no part of a decoder"),
        ([[Greedy()]], TypeError, "is no part of a decoder"),
        ([torch.nn.Linear(2, 2)], TypeError, "is no part of a decoder"),
    ],
)
def test_refuses_what_does_not_compose(parts, error, message):
    with pytest.raises(error, match=message):
        Decoder(*parts)


def test_a_single_part_must_stand_in_a_list():
    with pytest.raises(TypeError, match=r"write processors=\[Greedy\(\)\]"):
        decoding.generate(tiny.gpt2(), torch.tensor([[5]]), processors=Greedy())


def test_guidance_with_a_cache_of_its_own_cannot_follow_a_reranker():
    decoder = Decoder(Sample(), Tournament())
    with pytest.raises(ValueError, match="cannot follow a reranker"):
        tiny.gpt2().generate(**call(decoder, guidance_scale=1.5), custom_generate=decoder)


def test_repr_names_the_parts():
    decoder = Decoder(RepetitionPenaltyLogitsProcessor(1.2), ContrastiveSearch(k=4))
    assert repr(decoder).endswith("ContrastiveSearch(k=4, alpha=0.6))")


@pytest.mark.parametrize("part", [Greedy(), ContrastiveSearch(k=4)], ids=tiny.named)
def test_a_stream_that_is_left_early_leaves_a_callers_cache_in_order(part):
    """What was generated so far can be gone on with over the same cache."""
    model, prompt = tiny.llama(), torch.tensor([PROMPTS[0]])
    cache = DynamicCache(config=model.config)
    steps = Decoder(part).stream(model, prompt, **{CACHE: cache}, max_new_tokens=9)
    text = torch.cat([prompt, *(next(steps).tokens[:, None] for _ in range(3))], dim=1)
    steps.close()
    assert cache.get_seq_length() == 5 + 3 - 1
    more = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(model.generate(text, **{CACHE: cache}, **more), model.generate(text, **more))
