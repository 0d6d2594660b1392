"""Prompts of one model share a forward where that is cheaper, and give the same tokens either way."""

import pytest
import torch

import decoding
from decoding import ContextAware, ContrastiveSearch, DebiasSampling, Decoder, NegativePrompt, Sample, Steer
from decoding.engine.batched_contexts import group_contexts
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.stub_parts import Tournament

MODELS = [tiny.gpt2, tiny.llama]
NEAR = [[30, 31, 32, 33, 34, 35, 36, 37], [9, 10], [10, 11, 40]]  # as wide as the prompts, but for one
FAR = [[9], [10], [12]]


def shapes_of(model, seen):
    hook = lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape))
    return model.register_forward_pre_hook(hook, with_kwargs=True)


def run(model, parts, prompts=PROMPTS, n=5, **options):
    """The tokens, and the shapes that the model was called with."""
    seen: list[tuple[int, int]] = []
    hook = shapes_of(model, seen)
    options = {"max_new_tokens": n, "min_new_tokens": n, **options}
    if options.get("do_sample"):
        options |= {"generator": torch.Generator().manual_seed(0), "top_k": 0}
    out = decoding.generate(model, **tiny.batch(prompts), processors=parts, **options)
    hook.remove()
    return out, seen


SEPARATE = {"padding_limit": -1}


@pytest.mark.parametrize("make", MODELS)
def test_prompts_of_similar_length_share_every_forward(make):
    model, guide = make(), NegativePrompt(NEAR, gamma=1.7)
    together, shapes = run(model, [guide])
    assert shapes == [(6, 9)] + [(6, 1)] * 4
    apart, shapes = run(model, [guide], **SEPARATE)
    assert shapes == [(3, 9), (3, 8)] + [(3, 1)] * 8
    assert torch.equal(together, apart)


@pytest.mark.parametrize("make", MODELS)
def test_prompts_of_other_lengths_keep_forwards_of_their_own(make):
    _, shapes = run(make(), [NegativePrompt(FAR)])
    assert shapes == [(3, 9)] + [(3, 1)] * 9


@pytest.mark.parametrize("make", MODELS)
def test_several_guides_and_samples_share_one(make):
    parts = [NegativePrompt(NEAR), DebiasSampling(without=NEAR[::-1], beta=0.01), ContextAware(FAR), Sample()]
    options = {"do_sample": True, "num_return_sequences": 2}
    together, shapes = run(make(), parts, **options)
    assert shapes[:2] == [(8, 9), (3, 1)]  # each different prompt once
    assert all(rows <= 18 for rows, _ in shapes)
    apart, _ = run(make(), parts, **options, **SEPARATE)
    assert torch.equal(together, apart)


@pytest.mark.parametrize("make", MODELS)
def test_rows_of_a_reranker_move_in_all_of_them(make):
    decoder = [NegativePrompt(NEAR, gamma=1.7), Sample(), Tournament()]
    together, shapes = run(make(), decoder, do_sample=True, n=8)
    assert shapes[0] == (6, 9)
    assert all(rows * width <= 36 for rows, width in shapes[1:])  # all of them at once; equal draws count as one
    apart, _ = run(make(), decoder, do_sample=True, n=8, **SEPARATE)
    assert torch.equal(together, apart)


@pytest.mark.parametrize("make", MODELS)
def test_an_expert_reads_its_two_prompts_at_once(make):
    base, expert, seen = make(0), make(1), []
    shapes_of(expert, seen)
    _, shapes = run(base, [Steer(expert, eta=0.3, negatives=NEAR)])
    assert (shapes, seen) == ([(3, 9)] + [(3, 1)] * 4, [(6, 9)] + [(6, 1)] * 4)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("share", [None, False])
def test_a_look_ahead_is_of_all_of_them(make, share):
    model, parts = make(), [NegativePrompt(NEAR, gamma=1.7), ContrastiveSearch(k=4)]
    run(model, [ContrastiveSearch(k=4)], n=2)  # asks what the model can do
    together, shapes = run(model, parts, n=6, share=share)
    assert shapes == [(6, 9)] + ([(24, 1)] if share is False else [(6, 4)]) * 6
    apart, shapes = run(model, parts, n=6, share=share, **SEPARATE)
    assert (len(shapes), shapes[:2]) == (13, [(3, 9), (3, 8)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize(
    "options",
    [
        {"return_dict_in_generate": True, "output_attentions": True},
        {"return_dict_in_generate": True},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {CACHE: "mine"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_who_asks_to_see_or_hold_the_state_gets_that_of_the_main_prompt(options):
    model, even = tiny.llama(), [PROMPTS[2], PROMPTS[2][::-1], NEAR[0] + [5]]  # eager attention pads to NaN in float64
    model.set_attn_implementation("eager")
    if CACHE in options:
        from transformers import DynamicCache

        options = {CACHE: DynamicCache(config=model.config)}
    guide = NegativePrompt(PROMPTS[2][::-1], gamma=1.7)
    out, shapes = run(model, [guide], prompts=even, **options)
    expected, _ = run(tiny.llama(), [guide], prompts=even)
    assert torch.equal(getattr(out, "sequences", out), expected)
    assert all(rows * width in (1, 3) for rows, width in shapes if width < 8)  # the negative prompt is one for all
    if CACHE in options:
        assert options[CACHE].get_seq_length() == 9 + 4


def test_a_stream_left_early():
    model = tiny.llama()
    steps = Decoder(NegativePrompt(NEAR)).stream(model, **tiny.batch(PROMPTS), max_new_tokens=5)
    first = next(steps)
    steps.close()
    expected, _ = run(model, [NegativePrompt(NEAR)], n=1)
    assert torch.equal(first.tokens, expected[:, -1])


def test_groups_by_what_padding_would_waste():
    class Fake:
        def __init__(self, model, width):
            self.model, self.prompt = model, torch.zeros(1, width)

    a, b = object(), object()
    widths = lambda contexts: [[c.prompt.shape[1] for c in group] for group in group_contexts(contexts, 0.25)]
    assert widths([Fake(a, w) for w in (64, 64, 470, 450, 60)]) == [[470, 450], [64, 64, 60]]
    assert widths([Fake(a, 64), Fake(b, 64)]) == []
    assert widths([Fake(a, 256), Fake(a, 64)]) == []
    assert widths([Fake(a, 4), Fake(a, 2)]) == [[4, 2]]  # a quarter of eight positions
