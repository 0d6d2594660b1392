"""Prompts without their evidence: text, and images of a tiny vision-language model with a processor's real shapes."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

import decoding
from decoding import (
    Between,
    Context,
    ContextAware,
    ContrastiveSearch,
    DebiasSampling,
    GuideProcessor,
    NoImage,
    NoisyImage,
    Prompt,
    Span,
    UnknownImage,
)
from tests.support import tiny
from tests.support.calls import PROMPTS, continuations
from tests.support.oracles import methods as oracles
from tests.support.oracles.processors import OracleProcessor

MODELS = [tiny.gpt2, tiny.llama]
TEXTS = ["It rains. What falls?", "The sun shines today. What is up?"]


@pytest.mark.parametrize(
    ("prompt", "mask"),
    [
        ([[4, 5, 6], [7]], None),
        (torch.tensor([[4, 5, 6], [0, 0, 7]]), torch.tensor([[1, 1, 1], [0, 0, 1]])),
        (torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])),
        ({"input_ids": [[4, 5, 6], [7, 0, 0]], "attention_mask": [[1, 1, 1], [1, 0, 0]]}, None),
        ([torch.tensor([4, 5, 6]), torch.tensor([7])], None),
        ((torch.tensor([[4, 5, 6], [0, 0, 7]]), torch.tensor([[1, 1, 1], [0, 0, 1]])), None),
    ],
)
def test_forms_of_a_second_prompt(prompt, mask):
    assert Prompt(prompt, mask).rows == [[4, 5, 6], [7]]


@pytest.mark.parametrize("prompt", [[4, 5, 6], torch.tensor([4, 5, 6]), "bcd", ["bcd"]])
def test_a_single_second_prompt(prompt, tokenizer):
    assert Prompt(prompt, tokenizer=tokenizer).rows == [[4, 5, 6]]


def test_what_a_tokenizer_returns(tokenizer):
    encoded = tokenizer(TEXTS, return_tensors="pt", padding=True)
    assert Prompt(encoded).rows == tokenizer(TEXTS)["input_ids"] == Prompt(TEXTS, tokenizer=tokenizer).rows


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("n", [1, 3])
def test_one_second_prompt_and_one_for_each(make, n):
    """One serves all rows; P serve the samples of each prompt."""
    model, inputs, options = make(), tiny.batch(PROMPTS), {"max_new_tokens": 5, "num_return_sequences": n}
    options |= {"do_sample": True, "top_k": 0}
    for aside in ([[9, 10]], [[9, 10], [11], [12, 13, 14]]):
        torch.manual_seed(0)
        out = decoding.generate(model, **inputs, processors=[DebiasSampling(without=aside)], **options)
        each = aside * 3 if len(aside) == 1 else aside
        oracle = lambda i, each=each: oracles.debias_sampling(model, PROMPTS[i], [each[i]], 1.0, 0.1)
        torch.manual_seed(0)
        assert torch.equal(
            out, model.generate(**inputs, logits_processor=[OracleProcessor(model, oracle, PROMPTS)], **options)
        )


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(
    ("reading", "left"),
    [
        (lambda t: Span(0, 10, t), [TEXTS[0][10:], TEXTS[1][10:]]),
        (lambda t: Span(-6, None, t), [TEXTS[0][:-6], TEXTS[1][:-6]]),
        (lambda t: Between("The sun", "today", t), None),
        (lambda t: Between("r", "s", t), ["It . What falls?", "The sun shines today. What is up?"]),
        (lambda t: Between("s", "s", t), ["It rain?", "The hines today. What i"]),
    ],
    ids=["start", "end", "not in all", "not in second", "repeated"],
)
def test_evidence_in_text(make, reading, left, tokenizer):
    model, inputs = make(), tokenizer(TEXTS, return_tensors="pt", padding=True)
    reading = reading(tokenizer)
    if left is None or left[1] == TEXTS[1]:
        with pytest.raises(ValueError, match="has no evidence where it was said to be"):
            decoding.generate(model, **inputs, processors=[ContextAware(reading)], max_new_tokens=2)
        return
    left = [reading.cut(text) for text in TEXTS] if "hines" in left[1] else left
    assert [reading.cut(text) for text in TEXTS] == left
    out = decoding.generate(model, **inputs, processors=[ContextAware(reading)], max_new_tokens=6)
    ids, without = tokenizer(TEXTS)["input_ids"], tokenizer(left)["input_ids"]
    rows = continuations(out, inputs)
    for row, prompt, other in zip(rows, ids, without, strict=True):
        guide = oracles.guided(oracles.context_aware(model, prompt, other, 0.5))
        assert row == oracles.greedy(model, prompt, 6, guide=guide)


def test_cut_of_several_marked_stretches():
    assert Between("<d>", "</d>", None).cut("a<d>b</d>c<d>d</d>e<d>f") == "ace<d>f"


def test_nothing_left_and_lossy_tokenizers_are_refused(tokenizer):
    model, inputs = tiny.llama(), tokenizer(TEXTS[:1], return_tensors="pt")
    with pytest.raises(ValueError, match="nothing is left of a prompt"):
        decoding.generate(
            model, **inputs, processors=[DebiasSampling(without=Span(0, None, tokenizer))], max_new_tokens=2
        )

    class Lossy:
        def decode(self, row, **_):
            return "It rains"

        def __call__(self, texts, **_):
            return {"input_ids": [[3] for _ in texts]}

    with pytest.raises(ValueError, match="does not give the prompt's tokens back"):
        decoding.generate(model, **inputs, processors=[DebiasSampling(without=Span(0, 2, Lossy()))], max_new_tokens=2)


def test_an_encoders_prompt_is_not_cut(tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model = tiny.seeded(T5ForConditionalGeneration(config))
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with pytest.raises(ValueError, match="encoder's prompt cannot be read a second time"):
        decoding.generate(model, **inputs, processors=[DebiasSampling(without=Span(0, 2, tokenizer))], max_new_tokens=2)
    with pytest.raises(ValueError, match="the prompt cannot be read a second time"):
        decoding.generate(model, **inputs, processors=[decoding.ContrastiveDecoding(model)], max_new_tokens=2)


@pytest.mark.parametrize("picker", [None, ContrastiveSearch(3, 0.5)])
def test_second_prompts_of_an_encoder_decoder(picker):
    """The second prompt is the encoder's: context-aware summaries, with and without a look-ahead."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, eos_token_id=2
    )
    model, aside = tiny.seeded(T5ForConditionalGeneration(config)), [[30, 31], [9, 8, 7], [10, 11, 40]]
    parts = [ContextAware(aside, alpha=0.8)] + ([picker] if picker else [])
    out = decoding.generate(model, **tiny.batch(PROMPTS), processors=parts, max_new_tokens=6)[:, 1:].tolist()
    for row, prompt, other in zip(out, PROMPTS, aside, strict=True):
        read = {"encoder_outputs": model.encoder(torch.tensor([prompt]))}
        blind = {"encoder_outputs": model.encoder(torch.tensor([other]))}

        def guide(ids, logits, blind=blind):
            return 1.8 * logits.log_softmax(-1) - 0.8 * oracles.log_p(model, ids, **blind)

        search = oracles.contrastive_search if picker else oracles.greedy
        numbers = (6, 3, 0.5) if picker else (6,)
        new = search(model, [0], *numbers, guide=guide, **read)
        assert row[: len(new)] == new


IMAGE, UNKNOWN, PATCHES = 60, 7, 4


@pytest.fixture(scope="module")
def llava():
    """A tiny LLaVA as the Auto class makes it."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, image_size=8, patch_size=4, projection_dim=16),
        text_config=LlamaConfig(**text, eos_token_id=2, pad_token_id=0),
        image_token_index=IMAGE,
        vision_feature_select_strategy="default",
    )
    model = tiny.seeded(AutoModelForImageTextToText.from_config(config))
    assert isinstance(model, LlavaForConditionalGeneration)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    return model


@pytest.fixture(scope="module")
def asked(llava):
    """Three questions about a picture each, as the model's own processor makes them: expanded, padded, normalised."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    images = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    pictures = [np.random.default_rng(i).integers(0, 256, (12, 10, 3), dtype=np.uint8) for i in range(3)]
    texts = ["ab<image>What is it?", "<image>Why", "Look. <image>cde"]
    inputs = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
    ids = inputs["input_ids"]
    assert (ids == tokenizer.convert_tokens_to_ids("<image>")).sum(1).tolist() == [PATCHES] * 3
    ids[ids == tokenizer.convert_tokens_to_ids("<image>")] = IMAGE
    inputs = {"input_ids": ids, "attention_mask": inputs["attention_mask"]} | {
        "pixel_values": inputs["pixel_values"].double()
    }
    rows = [row[mask.bool()].tolist() for row, mask in zip(ids, inputs["attention_mask"], strict=True)]
    return inputs, rows


class Blind:
    """The oracle of debias sampling for images: row i against other inputs of the same model, averaged."""

    def __init__(self, model, rows, pixels, others, alpha=1.0, beta=0.1):
        self.model, self.rows, self.pixels, self.others = model, rows, pixels, others
        self.alpha, self.beta = alpha, beta

    def __call__(self, i):
        def guide(ids, logits):
            new = ids[len(self.rows[i]) :]
            blind = [oracles.log_p(self.model, prompt + new, **inputs) for prompt, inputs in self.others(i)]
            scores = (1 + self.alpha) * logits.log_softmax(-1) - self.alpha * torch.stack(blind).mean(0)
            return scores, logits.softmax(-1), self.beta

        return guide


def noised(pixels, step, seed):
    """Leng et al.'s q(x_t | x_0), a step at a time over all pixels of the batch."""
    kept = 1.0
    for s in range(step + 1):
        kept *= 1 - ((5e-3 - 1e-5) / (1 + np.exp(-(-6 + 12 * s / 999))) + 1e-5)
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return kept**0.5 * pixels + (1 - kept) ** 0.5 * noise


def no_image(row):
    return [token for token in row if token != IMAGE]


def unknown_image(row):
    start = row.index(IMAGE)
    return [*row[:start], UNKNOWN, *row[start + PATCHES :]]


def wordless(model):
    """No image tokens in an answer: their embeddings would be asked for pictures."""
    return {"suppress_tokens": [IMAGE], "max_new_tokens": 6, "do_sample": False}


READINGS = {
    "none": (None, lambda i, rows, pixels: [(no_image(rows[i]), {})]),
    "unk": (UnknownImage(UNKNOWN), lambda i, rows, pixels: [(unknown_image(rows[i]), {})]),
    "noise": (
        NoisyImage(500, seed=4),
        lambda i, rows, pixels: [(rows[i], {"pixel_values": noised(pixels, 500, 4)[i : i + 1]})],
    ),
    "both": (
        [NoImage(), UnknownImage(UNKNOWN)],
        lambda i, rows, pixels: [(no_image(rows[i]), {}), (unknown_image(rows[i]), {})],
    ),
}


@pytest.mark.parametrize("kind", READINGS)
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_debias_sampling_of_images(llava, asked, kind, alpha):
    (inputs, rows), (without, others) = asked, READINGS[kind]
    debias = DebiasSampling(alpha=alpha, beta=0.1, without=without)
    pixels = inputs["pixel_values"]
    oracle = Blind(llava, rows, pixels, lambda i: others(i, rows, pixels), alpha)
    suppress = lambda guide: lambda ids, z: guide(ids, z).index_fill(0, torch.tensor([IMAGE]), -torch.inf)
    width = inputs["input_ids"].shape[1]

    ours = decoding.generate(llava, **inputs, processors=[debias], **wordless(llava))[:, width:].tolist()
    searched = decoding.generate(llava, **inputs, processors=[debias, ContrastiveSearch(3, 0.6)], **wordless(llava))[
        :, width:
    ].tolist()
    changed = 0
    for i, row in enumerate(rows):
        own = {"pixel_values": pixels[i : i + 1], "guide": suppress(oracles.guided(oracle(i)))}
        expected = oracles.greedy(llava, row, 6, **own)
        assert ours[i][: len(expected)] == expected
        changed += expected != oracles.greedy(
            llava, row, 6, guide=suppress(oracles.unguided), pixel_values=own["pixel_values"]
        )
        expected = oracles.contrastive_search(llava, row, 6, 3, 0.6, **own)
        assert searched[i][: len(expected)] == expected
    assert changed or alpha < 1


@pytest.mark.parametrize("kind", READINGS)
def test_several_sequences_of_each_image(llava, asked, kind):
    """Sampling from the best token alone, twice for each picture, is greedy search, twice."""
    inputs, _ = asked
    part, options = DebiasSampling(alpha=0.5, without=READINGS[kind][0]), wordless(llava)
    greedy = decoding.generate(llava, **inputs, processors=[part], **options)
    options |= {"do_sample": True, "top_k": 1, "num_return_sequences": 2}
    assert torch.equal(decoding.generate(llava, **inputs, processors=[part], **options), greedy.repeat_interleave(2, 0))
    processor = GuideProcessor(llava, part, **inputs)
    theirs = llava.generate(**inputs, logits_processor=[processor], **options)
    assert torch.equal(theirs, greedy.repeat_interleave(2, 0))


def test_without_the_pixels_noise_says_where_they_are(llava, asked):
    inputs, _ = asked
    decoder = decoding.Decoder(DebiasSampling(without=NoisyImage()))
    with pytest.raises(ValueError, match=r"no image to add noise to: call decoding\.generate, or GuideProcessor"):
        llava.generate(**inputs, custom_generate=decoder, max_new_tokens=2)
    decoder = decoding.Decoder(decoding.Steer(tiny.seeded(LlavaForConditionalGeneration(llava.config), seed=1)))
    with pytest.raises(ValueError, match=r"images of this prompt came encoded: call decoding\.generate"):
        llava.generate(**inputs, custom_generate=decoder, max_new_tokens=2)
    decoder = decoding.Decoder(DebiasSampling())  # which needs no pixels
    ours = decoding.generate(llava, **inputs, processors=[DebiasSampling()], **wordless(llava))
    assert torch.equal(llava.generate(**inputs, custom_generate=decoder, **wordless(llava)), ours)


@pytest.mark.parametrize("kind", READINGS)
def test_images_in_transformers_own_loop(llava, asked, kind):
    inputs, _ = asked
    debias = DebiasSampling(alpha=0.5, without=READINGS[kind][0])
    ours = decoding.generate(llava, **inputs, processors=[debias], **wordless(llava))
    processor = GuideProcessor(llava, debias, **inputs)
    theirs = llava.generate(**inputs, logits_processor=[processor], **wordless(llava))
    assert torch.equal(ours, theirs)
    options = {**wordless(llava), "num_beams": 3}
    beams = llava.generate(**inputs, logits_processor=[GuideProcessor(llava, debias, **inputs)], **options)
    alone = llava.generate(
        **{name: value[:1] for name, value in inputs.items()},
        logits_processor=[GuideProcessor(llava, debias, **{name: value[:1] for name, value in inputs.items()})],
        **options,
    )
    if kind != "noise":  # whose noise is drawn for the whole batch
        width = min(beams.shape[1], alone.shape[1])
        assert torch.equal(beams[:1, :width], alone[:, :width])


@pytest.mark.parametrize(
    ("step", "signal", "noise"),
    [(100, 0.9983, 0.0584), (300, 0.9810, 0.1941), (500, 0.8630, 0.5052), (700, 0.5927, 0.8054), (999, 0.2850, 0.9585)],
)
def test_diffusion_schedule(step, signal, noise):
    kept = NoisyImage(step).kept()
    assert float(kept**0.5) == pytest.approx(signal, abs=6e-5)
    assert float((1 - kept) ** 0.5) == pytest.approx(noise, abs=6e-5)


def test_noise_is_standard_normal_and_the_same_in_every_call():
    pixels = torch.zeros(2, 3, 64, 64, dtype=torch.float32)
    noisy = NoisyImage(999, seed=1)
    added = noisy.add_to(pixels)
    assert added.dtype == torch.float32
    assert float(added.std()) == pytest.approx(0.9585, abs=0.01)
    assert torch.equal(added, noisy.add_to(pixels))
    assert not torch.equal(added, NoisyImage(999, seed=2).add_to(pixels))


def test_borders_of_an_image_go_with_it():
    """Qwen2-VL and Gemma 3 put tokens around an image; a prompt without it has none."""

    model = tiny.llama()
    for name, token in (("image_token_id", 50), ("vision_start_token_id", 51), ("vision_end_token_id", 52)):
        setattr(model.config, name, token)
    main = Context.of(model, torch.tensor([[1, 51, 50, 50, 52, 2]]))
    assert NoImage()(main).prompt.tolist() == [[1, 2]]
    assert UnknownImage(0)(main).prompt.tolist() == [[1, 51, 0, 52, 2]]
    assert list(UnknownImage(0).replace([1, 51, 50, 50, 52, 2, 50], {50})) == [1, 51, 0, 52, 2, 0]


def test_a_model_on_an_image_reads_it_again(llava, asked):
    """A guide of another model on the same prompt: the expert sees the picture too."""
    inputs, rows = asked
    expert = tiny.seeded(LlavaForConditionalGeneration(llava.config), seed=1)
    out = decoding.generate(llava, **inputs, processors=[decoding.Steer(expert, gamma=0.5)], **wordless(llava))
    for i, row in enumerate(rows):
        own = {"pixel_values": inputs["pixel_values"][i : i + 1]}

        def guide(ids, logits, own=own):
            scores = 1.5 * oracles.log_p(expert, ids, **own) - 0.5 * logits.log_softmax(-1)
            return scores.index_fill(0, torch.tensor([IMAGE]), -torch.inf)

        expected = oracles.greedy(llava, row, 6, guide=guide, **own)
        assert out[i, inputs["input_ids"].shape[1] :].tolist()[: len(expected)] == expected
