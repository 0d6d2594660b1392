import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.image_processing_utils import BatchFeature
from transformers.image_processing_utils import ImageProcessingMixin as ImageProcessing

from decoding.calibration import PostHocDebias, content_free_prior, score_choices
from tests.support import tiny
from tests.support.families import FAMILIES

PROMPTS = ["The night was", "Hm", "Is it warm? Say so!"]
CHOICES = [" yes", " no", " I cannot say", "!"]
MODELS = {"gpt2": tiny.gpt2(), "llama": tiny.llama()}
WORDS = tiny.tokenizer()


def letters(text: str) -> list[int]:
    return WORDS(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def oracle(model, prompt: list[int], choices: list[tuple[str, ...]], mean: bool = False, **inputs) -> Tensor:
    """(C,) float64: each choice's share, one token after the other, the whole text read anew for every one."""
    if model.config.is_encoder_decoder:
        inputs, prompt = {"input_ids": torch.tensor([prompt])}, [model.config.decoder_start_token_id]
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    probabilities = []
    for variants in choices:
        total = 0.0
        for variant in variants:
            text, p = list(prompt), 1.0
            for token in letters(variant):
                logits = model(**{name: torch.tensor([text])}, **inputs, use_cache=False).logits[0, -1]
                p *= float(logits.double().softmax(-1)[token])
                text.append(token)
            total += p ** (1 / len(letters(variant))) if mean else p
        probabilities.append(total)
    return torch.tensor(probabilities, dtype=torch.float64) / sum(probabilities)


def oracles(model, prompts, choices, mean=False) -> Tensor:
    """(P, C) of texts; choices are common, or a list of lists."""
    rows = choices if isinstance(choices[0], list) else [choices] * len(prompts)
    rows = [[choice if isinstance(choice, tuple) else (choice,) for choice in row] for row in rows]
    return torch.stack([oracle(model, letters(prompt), row, mean) for prompt, row in zip(prompts, rows, strict=True)])


def assert_same(scores: Tensor, expected: Tensor) -> None:
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, expected.log(), rtol=0, atol=2e-5)  # the model's logits are taken in float32


@contextmanager
def forwards(model) -> Iterator[list[dict]]:
    """The inputs of each forward made meanwhile."""
    seen: list[dict] = []
    see = lambda _, values, inputs: seen.append(dict(enumerate(values)) | inputs)
    hook = model.register_forward_pre_hook(see, with_kwargs=True)
    yield seen
    hook.remove()


def shapes(seen: list[dict]) -> list[tuple[int, ...]]:
    return [tuple(inputs["input_ids"].shape) for inputs in seen]


# scoring


@pytest.mark.parametrize("length", ["sum", "mean"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_the_oracle(name, batch_size, length):
    scores = score_choices(MODELS[name], WORDS, PROMPTS, CHOICES, length=length, batch_size=batch_size)
    assert scores.shape == (3, 4)
    assert not scores.requires_grad
    assert_same(scores, oracles(MODELS[name], PROMPTS, CHOICES, length == "mean"))


@pytest.mark.parametrize("length", ["sum", "mean"])
@pytest.mark.parametrize("name", MODELS)
def test_variants_are_summed(name, length):
    choices = [(" yes", " Yes", "Y"), " no", ("?", "!")]
    scores = score_choices(MODELS[name], WORDS, PROMPTS, choices, length=length)
    assert_same(scores, oracles(MODELS[name], PROMPTS, choices, length == "mean"))
    assert not torch.allclose(scores, score_choices(MODELS[name], WORDS, PROMPTS, [" yes", " no", "?"], length=length))


def test_sum_and_mean_differ_and_agree_on_single_tokens():
    model = MODELS["llama"]
    rows = {
        n: [score_choices(model, WORDS, PROMPTS, CHOICES[-n:], length=kind) for kind in ("sum", "mean")] for n in (1, 4)
    }
    assert torch.equal(*rows[1])
    assert (rows[4][0] - rows[4][1]).abs().max() > 1
    assert torch.equal(*[score_choices(model, WORDS, PROMPTS, ["a", "b"], length=kind) for kind in ("sum", "mean")])


def test_a_variant_counts_once():
    model = MODELS["gpt2"]
    twice = score_choices(model, WORDS, PROMPTS, [(" yes", " yes"), " no"])
    assert torch.equal(twice, score_choices(model, WORDS, PROMPTS, [" yes", " no"]))


@pytest.mark.parametrize("name", MODELS)
def test_each_prompt_can_have_its_own_choices(name):
    choices = [[" a", "b"], [("c", " cd"), " e"], ["f", "g h"]]
    scores = score_choices(MODELS[name], WORDS, PROMPTS, choices, batch_size=2)
    assert_same(scores, oracles(MODELS[name], PROMPTS, choices))


TEXTS = st.text("abcXYZ .!", min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_prompts_and_choices_equal_the_oracle(data):
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    prompts = data.draw(st.lists(TEXTS, min_size=1, max_size=4))
    count = data.draw(st.integers(1, 3))
    choice = st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(tuple))
    row = st.lists(choice, min_size=count, max_size=count)
    choices = data.draw(st.one_of(row, st.lists(row, min_size=len(prompts), max_size=len(prompts))))
    options = {"length": data.draw(st.sampled_from(["sum", "mean"])), "batch_size": data.draw(st.integers(1, 4))}
    scores = score_choices(model, WORDS, prompts, choices, **options)
    assert_same(scores, oracles(model, prompts, choices, options["length"] == "mean"))


def test_the_prompt_is_read_once_and_single_tokens_cost_nothing_more():
    model = MODELS["llama"]
    width = max(len(letters(prompt)) for prompt in PROMPTS)
    with forwards(model) as seen:
        score_choices(model, WORDS, PROMPTS, ["a", "b", ("c", "d")])
    assert shapes(seen) == [(3, width)]
    with forwards(model) as seen:
        score_choices(model, WORDS, PROMPTS, ["a", "b"], batch_size=2)
    assert len(seen) == 2


def test_longer_choices_cost_a_forward_for_each_further_token_of_those_not_ended():
    model = MODELS["llama"]
    score_choices(model, WORDS, PROMPTS, ["bc", "de"])  # asks what the model can do
    with forwards(model) as seen:
        score_choices(model, WORDS, PROMPTS, ["a", "bc", ("def", "gh", "i")])
    assert [rows * width for rows, width in shapes(seen)[1:]] == [9, 3]


def test_padding_is_on_the_side_it_must_be():
    right = tiny.tokenizer()
    right.padding_side = "right"
    for model in MODELS.values():
        assert_same(score_choices(model, right, PROMPTS, CHOICES), oracles(model, PROMPTS, CHOICES))
    assert right.padding_side == "right"


@pytest.mark.parametrize("length", ["sum", "mean"])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_decoders_continue_with_their_decoder(name, length):
    model = next(family for family in FAMILIES if family.kind == name).model()
    choices = [(" yes", " Yes"), " no", "!"]
    scores = score_choices(model, WORDS, PROMPTS, choices, length=length, batch_size=2)  # WORDS pads on the left
    assert_same(scores, oracles(model, PROMPTS, choices, length == "mean"))


def test_a_state_that_cannot_be_forked_serves_single_tokens():
    model = next(family for family in FAMILIES if family.kind == "rwkv").model()
    assert_same(score_choices(model, WORDS, PROMPTS[:1], ["a", "b"]), oracles(model, PROMPTS[:1], ["a", "b"]))
    with pytest.raises(ValueError, match="keeps its state where rows cannot be forked"):
        score_choices(model, WORDS, PROMPTS[:1], ["a", "bc"])


def beginning():
    """A tokenizer that begins every text with <bos>."""
    words = tiny.tokenizer()
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", tiny.BOS)])
    return words


def test_special_tokens_begin_prompts_and_not_choices():
    model, words = MODELS["llama"], beginning()
    pair = [(" yes",), (" no",)]
    with_bos = torch.stack([oracle(model, [tiny.BOS, *letters(prompt)], pair) for prompt in [*PROMPTS, ""]])
    assert_same(score_choices(model, words, [*PROMPTS, ""], [" yes", " no"]), with_bos)
    without = score_choices(model, words, PROMPTS, [" yes", " no"], add_special_tokens=False)
    assert_same(without, oracles(model, PROMPTS, [" yes", " no"]))
    with pytest.raises(ValueError, match="the prompt '' has no tokens"):
        score_choices(model, words, ["a", ""], [" yes", " no"], add_special_tokens=False)


def test_what_a_tokenizer_gives_beside_tokens_and_mask_is_left_out():
    words = tiny.tokenizer()
    words.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in words("a")
    scores = score_choices(MODELS["llama"], words, PROMPTS, CHOICES)
    assert torch.equal(scores, score_choices(MODELS["llama"], WORDS, PROMPTS, CHOICES))


# images


class Pixels(ImageProcessing):
    """Images of the right size, as they are."""

    def fetch_images(self, images):
        return images

    def __call__(self, images, **options):
        flat = [image for entry in images for image in (entry if isinstance(entry, list) else [entry])]
        return BatchFeature({"pixel_values": torch.tensor(np.stack(flat))})


class Processor(LlavaProcessor):
    """LLaVA's own; two of its methods would need pillow."""

    def check_argument_for_proper_class(self, argument_name, argument):
        return type(argument)

    def replace_image_token(self, image_inputs, image_idx, **options):
        return self.image_token * 5  # four patches and a class token


@pytest.fixture(scope="module")
def llava():
    """A tiny LLaVA, its processor, and three images."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, image_size=8, patch_size=4, projection_dim=16),
        text_config=LlamaConfig(**text, eos_token_id=2, pad_token_id=0),
        image_token_index=61,
        vision_feature_select_strategy="full",
    )
    words = tiny.tokenizer()
    words.add_tokens(["<image>"], special_tokens=True)
    processor = Processor(Pixels(), words)
    images = [np.random.default_rng(seed).normal(size=(3, 8, 8)).astype(np.float32) for seed in range(3)]
    return tiny.seeded(LlavaForConditionalGeneration(config)), processor, images


ASKED = ["<image>\nIs it warm?", "Look! <image> Is it", "<image>Who?"]
LABELS = [(" yes", " Yes"), " no", "!"]


def expected_of_images(model, prompts, images) -> Tensor:
    rows = []
    for prompt, image in zip(prompts, images, strict=True):
        before, _, after = prompt.partition("<image>")
        ids = [*letters(before), *[61] * 5, *letters(after)]
        choices = [choice if isinstance(choice, tuple) else (choice,) for choice in LABELS]
        rows.append(oracle(model, ids, choices, pixel_values=torch.tensor(image)[None].double()))
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [2, 8])
def test_images_go_through_the_processor(llava, batch_size):
    model, processor, images = llava
    with forwards(model.model.vision_tower) as seen:
        scores = score_choices(model, processor, ASKED, LABELS, images=images, batch_size=batch_size)
    assert_same(scores, expected_of_images(model, ASKED, images))
    pixels = [value for inputs in seen for value in inputs.values() if isinstance(value, Tensor)]
    assert {value.dtype for value in pixels} == {torch.float64}  # the model's, whatever the processor's
    assert sum(map(len, pixels)) == 3  # read with the prompts, and not again
    other = score_choices(model, processor, ASKED, LABELS, images=images[::-1])
    assert (scores - other).abs().max() > 0.01
    nested = score_choices(model, processor, ASKED, LABELS, images=[[image] for image in images], batch_size=batch_size)
    assert torch.equal(nested, scores)


def test_choosing_takes_out_what_the_model_says_without_the_image(llava):
    model, processor, images = llava
    free = [[prompt.replace("<image>", "")] for prompt in ASKED]
    found = PostHocDebias(floor=1e-4).choose(model, processor, ASKED, LABELS, free, images=images, batch_size=2)
    q = expected_of_images(model, ASKED, images) / (oracles(model, [text for [text] in free], LABELS) + 1e-4)
    torch.testing.assert_close(found, q / q.sum(1, keepdim=True), rtol=0, atol=2e-5)


def test_as_many_images_as_prompts(llava):
    model, processor, images = llava
    with no_forwards(model), pytest.raises(ValueError, match="images has 2 entries for 3 prompts: give one each"):
        score_choices(model, processor, ASKED, LABELS, images=images[:2])


# calibration


def exact(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


E = math.exp(0.1)
PRIOR = exact((0.6, 0.3, 0.1))[0]
TWO, TWO_PRIORS = exact((0.7, 0.3), (0.5, 0.5)), exact((0.8, 0.2), (0.25, 0.75))


@pytest.mark.parametrize(
    ("debias", "p", "prior", "q"),
    [
        (PostHocDebias(), exact((0.7, 0.3)), exact((0.8, 0.2))[0], exact((7 / 19, 12 / 19))),
        (PostHocDebias(), exact((0.5, 0.3, 0.2)), PRIOR, exact((5 / 23, 6 / 23, 12 / 23))),
        (PostHocDebias(floor=0.1), exact((0.5, 0.3, 0.2)), PRIOR, exact((20 / 69, 21 / 69, 28 / 69))),
        (PostHocDebias(floor=0.5), exact((0.25, 0.75)), exact((0.0, 1.0))[0], exact((1 / 2, 1 / 2))),
        (PostHocDebias(), exact((0.0, 1.0)), exact((0.8, 0.2))[0], exact((0.0, 1.0))),
        (PostHocDebias("identity"), exact((0.7, 0.3)), exact((0.8, 0.2))[0], exact((1, E * E)) / (1 + E * E)),
        (PostHocDebias("identity"), exact((0.5, 0.3, 0.2)), PRIOR, exact((1 / E, 1, E)) / (1 / E + 1 + E)),
        (PostHocDebias(), TWO, TWO_PRIORS, exact((7 / 19, 12 / 19), (3 / 4, 1 / 4))),
        (PostHocDebias("identity"), TWO, TWO_PRIORS, exact((1, E * E), (E**5, 1)) / exact((1 + E * E,), (1 + E**5,))),
    ],
)  # fmt: skip
def test_closed_forms(debias, p, prior, q):
    close(debias(p, prior), q)
    torch.testing.assert_close(debias(p.float(), prior.float()), q, rtol=0, atol=1e-6)


DISTRIBUTIONS = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.floats(0.01, 1), min_size=n, max_size=n), min_size=2, max_size=4)
).map(lambda rows: torch.tensor(rows, dtype=torch.float64)).map(lambda p: p / p.sum(-1, keepdim=True))  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(DISTRIBUTIONS, st.sampled_from([0.0, 1e-4, 0.3]))
def test_laws_of_calibration(p, floor):
    uniform = torch.full_like(p[0], 1 / p.shape[1])
    for debias in (PostHocDebias(floor=floor), PostHocDebias("identity")):
        q = debias(p, p[0])
        close(q.sum(1), torch.ones(len(p), dtype=torch.float64))
        close(at_argmax(p, debias(p, uniform)), p.amax(1))
    close(PostHocDebias()(p, p), uniform.expand_as(p))
    close(PostHocDebias()(p, uniform), p)
    w = 1 / (p[0] + floor)
    close(PostHocDebias(floor=floor)(p, p[0]), (p @ w.diag()) / (p @ w)[:, None])
    close(at_argmax(p - p[0], PostHocDebias("identity")(p, p[0])), (p - p[0]).amax(1))


def at_argmax(values: Tensor, q: Tensor) -> Tensor:
    """(P,) what `values` has where q is greatest; of equals, any."""
    return values.gather(1, q.argmax(1, keepdim=True))[:, 0]


def test_a_tiny_prior_does_not_overflow():
    close(PostHocDebias()(exact((0.5, 0.5)), exact((1e-310, 1.0))[0]), exact((1.0, 0.0)))


def test_several_content_free_inputs_are_averaged_as_probabilities():
    none, unknown = exact((0.9, 0.1), (0.5, 0.5)), exact((0.1, 0.9), (0.2, 0.8))
    close(content_free_prior(torch.stack([none, unknown])), exact((0.5, 0.5), (0.35, 0.65)))
    close(content_free_prior(none), exact((0.7, 0.3))[0])
    close(content_free_prior(none[:1]), none[0])
    geometric = (none[0] * unknown[1]).sqrt()
    assert (content_free_prior(torch.stack([none[0], unknown[1]])) - geometric / geometric.sum()).abs().max() > 0.05
    off = content_free_prior(exact((0.9004, 0.1), (0.5, 0.5)))
    close(off.sum(), torch.tensor(1.0, dtype=torch.float64))


# both


@pytest.mark.parametrize("debias", [PostHocDebias(), PostHocDebias(floor=1e-4), PostHocDebias("identity")], ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_choosing_with_common_content_free_texts(name, debias):
    model, free = MODELS[name], ["N", "mask it", "The"]
    found = debias.choose(model, WORDS, PROMPTS, CHOICES, free, batch_size=2)
    p, p_cf = oracles(model, PROMPTS, CHOICES), oracles(model, free, CHOICES).mean(0)
    q = (p - p_cf).exp() if debias.weight == "identity" else p / (p_cf + debias.floor)
    torch.testing.assert_close(found, q / q.sum(1, keepdim=True), rtol=0, atol=2e-5)
    assert (found - p).abs().max() > 0.01


@pytest.mark.parametrize("own", [False, True], ids=["common choices", "own choices"])
@pytest.mark.parametrize("individual", [False, True], ids=["common texts", "own texts"])
def test_choosing_with_texts_and_choices_of_each_prompt(individual, own):
    model = MODELS["llama"]
    choices = [[" a", ("b", "B")], [("c", " cd"), " e"], ["f", "g h"]] if own else [(" yes", "Y"), " no"]
    free = [["N"], ["The", "mask it"], ["N", "Who"]] if individual else ["N", "The"]
    found = PostHocDebias().choose(model, WORDS, PROMPTS, choices, free, length="mean")
    for i, (prompt, row) in enumerate(zip(PROMPTS, found, strict=True)):
        mine = choices[i] if own else choices
        p_cf = oracles(model, free[i] if individual else free, mine, mean=True).mean(0)
        q = oracles(model, [prompt], mine, mean=True)[0] / p_cf
        torch.testing.assert_close(row, q / q.sum(), rtol=0, atol=2e-5)


def test_each_content_free_text_is_read_once():
    model = MODELS["llama"]
    for free in (["N", "The"], [["N", "The"], ["The"], ["N"]]):
        with forwards(model) as seen:
            PostHocDebias().choose(model, WORDS, PROMPTS, ["a", "b"], free)
        assert shapes(seen) == [(2, 3), (3, max(len(letters(prompt)) for prompt in PROMPTS))]


def test_options_reach_the_content_free_texts_too():
    model, words, pair = MODELS["llama"], beginning(), [(" yes",), (" no",)]
    for bos, options in (([tiny.BOS], {}), ([], {"add_special_tokens": False})):
        p, p_cf = (oracle(model, [*bos, *letters(text)], pair) for text in ("Hm", "N"))
        q = PostHocDebias().choose(model, words, ["Hm"], [" yes", " no"], ["N"], **options)
        torch.testing.assert_close(q[0], p / p_cf / (p / p_cf).sum(), rtol=0, atol=2e-5)


def test_order_of_dc_pmi():
    """Of log p(y | x) - log p(y | domain), each the sum over the tokens; what they are normalised by cancels."""
    model, domain = MODELS["gpt2"], "so"
    q = PostHocDebias().choose(model, WORDS, PROMPTS, CHOICES, [domain])
    pmi = oracles(model, PROMPTS, CHOICES).log() - oracles(model, [domain], CHOICES).log()
    torch.testing.assert_close(q, pmi.softmax(1), rtol=0, atol=2e-5)


# refusals


@contextmanager
def no_forwards(model) -> Iterator[None]:
    with forwards(model) as seen:
        yield
    assert not seen


@pytest.mark.parametrize(
    ("prompts", "choices", "options", "message"),
    [
        ([], ["a"], {}, "prompts must be a list of at least one text"),
        ("ab", ["a"], {}, "prompts must be"),
        ([1], ["a"], {}, "prompts must be"),
        (["a", ""], ["a"], {"batch_size": 1}, "the prompt '' has no tokens"),
        (["a"], [], {}, "choices must be a list of at least one"),
        (["a"], "ab", {}, "choices must be a list of at least one"),
        (["a", "b"], [[], []], {}, "choices must be a list of at least one"),
        (["a", "b"], [["a", "b"], ["a"]], {}, "all of one length"),
        (["a", "b"], [["a", "b"]], {}, "such a list for every prompt"),
        (["a", "b"], [["a"], "b"], {}, "a choice must be a text or a tuple of texts, not \\['a'\\]"),
        (["a"], ["a", 3], {}, "a choice must be a text or a tuple of texts, not 3"),
        (["a"], ["a", ()], {}, "a choice must be a text or a tuple of texts, not \\(\\)"),
        (["a"], ["a", ("b", 3)], {}, "a choice must be a text or a tuple of texts"),
        (["a"], ["a", ""], {}, "the choice '' has no tokens"),
        (["a"], ["a", ("b", "")], {}, "the choice '' has no tokens"),
        (["a"], ["a"], {"length": "max"}, 'length must be "sum" or "mean", not \'max\''),
        (["a"], ["a"], {"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        (["a"], ["a"], {"batch_size": True}, "batch_size must be"),
        (["a"], ["a"], {"batch_size": 2.0}, "batch_size must be"),
        (["a"], ["a"], {"images": [1, 2]}, "images has 2 entries for 1 prompts"),
    ],
)  # fmt: skip
def test_refused_before_any_forward(prompts, choices, options, message):
    for model in MODELS.values():
        with no_forwards(model), pytest.raises(ValueError, match=message) as error:
            score_choices(model, WORDS, prompts, choices, **options)
        assert "\n" not in str(error.value)
        with no_forwards(model), pytest.raises(ValueError, match=message):
            PostHocDebias().choose(model, WORDS, prompts, choices, ["N"], **options)


@pytest.mark.parametrize(
    ("free", "message"),
    [
        ([], "content_free must be a list of at least one text, or such a list for every prompt"),
        ("N", "content_free must be"),
        ([["N"]], "content_free must be"),
        ([["N"], []], "content_free must be"),
        (["N", ""], "the prompt '' has no tokens"),
        ([["N"], [3]], "prompts must be a list of at least one text"),
    ],
)
def test_content_free_texts_refused_before_any_forward(free, message):
    with no_forwards(MODELS["llama"]), pytest.raises(ValueError, match=message):
        PostHocDebias().choose(MODELS["llama"], WORDS, ["a", "b"], ["a", "b"], free)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": "full"}, 'weight must be "diagonal" or "identity", not \'full\''),
        ({"floor": -0.1}, "floor must be finite and at least 0, not -0.1"),
        ({"floor": math.inf}, "floor must be finite"),
        ({"floor": math.nan}, "floor must be finite"),
        ({"weight": "identity", "floor": 1e-4}, 'floor is for weight="diagonal" only'),
    ],
)
def test_refused_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        PostHocDebias(**arguments)


HALF = exact((0.5, 0.5))


@pytest.mark.parametrize(
    ("p", "prior", "message"),
    [
        (exact((0.7, 0.31)), HALF, "^p must hold distributions"),
        (exact((0.7, 0.3), (0.5, 0.4)), HALF[0], "^p must hold distributions"),
        (exact((1.2, -0.2)), HALF, "^p must hold distributions"),
        (exact((math.nan, 1)), HALF, "^p must hold distributions"),
        (exact((math.inf, 1)), HALF, "^p must hold distributions"),
        (HALF.log(), HALF, "^p must hold distributions"),
        (HALF, exact((0.7, 0.31)), "^the prior must hold distributions"),
        (HALF, exact((1.2, -0.2)), "^the prior must hold distributions"),
        (HALF, exact((0.0, 1.0))[0], "the prior of a label is 0, .*pass a floor"),
        (HALF[0], HALF[0], "p must be \\(P, C\\) and the prior \\(C,\\) or \\(P, C\\), not \\(2,\\) and \\(2,\\)"),
        (HALF, exact((0.5, 0.25, 0.25))[0], "not \\(1, 2\\) and \\(3,\\)"),
        (HALF, HALF.repeat(2, 1), "not \\(1, 2\\) and \\(2, 2\\)"),
        (HALF.repeat(2, 1), HALF, "not \\(2, 2\\) and \\(1, 2\\)"),
    ],
)
def test_refused_distributions(p, prior, message):
    for debias in (PostHocDebias(), PostHocDebias("identity")):
        if "a label is 0" in message and debias.weight == "identity":
            continue
        with pytest.raises(ValueError, match=message) as error:
            debias(p, prior)
        assert "\n" not in str(error.value)


def test_sums_may_be_off_by_a_thousandth():
    PostHocDebias()(exact((0.7, 0.3009)), exact((0.7, 0.2991)))
    with pytest.raises(ValueError, match="within 1e-3"):
        PostHocDebias()(exact((0.7, 0.3011)), HALF)


def test_refused_priors():
    with pytest.raises(ValueError, match="the prior must hold distributions"):
        content_free_prior(exact((0.7, 0.4)))
    for nothing in (torch.empty(0, 2), HALF[0]):
        with pytest.raises(ValueError, match="distributions must be \\(M, C\\) or \\(M, P, C\\), M at least 1"):
            content_free_prior(nothing)


# a real model


@pytest.mark.slow
def test_examples_of_one_label_bias_a_real_model_and_calibration_takes_the_bias_out(default_model):
    model, tokenizer = default_model
    seen = ["The cast is great.", "What a treat.", "I smiled all through.", "Wonderful."]
    template = "".join(f"Review: {review}\nMood: good\n\n" for review in seen) + "Review: {}\nMood:"
    good = ["I loved it.", "A joy to watch.", "Moving and clever."]
    bad = ["I hated it.", "Dull and slow.", "A waste of time.", "I want my money back.", "It was not for me."]
    asked = [template.format(review) for review in good + bad]
    free = [template.format(nothing) for nothing in ("N/A", "", "[MASK]")]
    label = torch.tensor([0] * len(good) + [1] * len(bad))

    p = score_choices(model, tokenizer, asked, [" good", " bad"]).exp()
    assert (p.argmax(1) == 0).all()  # whatever the review says
    for debias in (PostHocDebias(), PostHocDebias(floor=1e-4), PostHocDebias("identity")):
        q = debias.choose(model, tokenizer, asked, [" good", " bad"], free)
        assert (q[:, 1] > p[:, 1]).all()  # the examples favour the other one
        assert torch.equal(q[:, 0].argsort(), p[:, 0].argsort())  # two labels and one prior: only the threshold moves
        assert (q.argmax(1) == label).sum() >= (p.argmax(1) == label).sum() + 2
