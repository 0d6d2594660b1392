"""Any causal LM: contrastive search equals its oracle on every family, or is refused by name."""

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.generation import GenerateEncoderDecoderOutput

import decoding
from decoding import ContrastiveSearch, Decoder, Greedy
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.families import ALPHA, FAMILIES, K, expected, search
from tests.support.oracles import methods as oracles

pytestmark = pytest.mark.filterwarnings("default")  # what transformers' own modelling code warns of is not ours
SERVED = [family for family in FAMILIES if not family.refused]
REFUSED = [family for family in FAMILIES if family.refused]


@pytest.mark.parametrize("family", SERVED, ids=str)
def test_contrastive_search_equals_its_oracle(family):
    model = family.model()
    found = search(family, model, ContrastiveSearch(K, ALPHA))
    assert found == expected(model, oracles.contrastive_search, K, ALPHA)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_our_loop_equals_model_generate(family):
    model = family.model()
    for options in ({}, {"do_sample": True}):
        torch.manual_seed(0)
        theirs = search(family, model, **options)
        torch.manual_seed(0)
        assert search(family, model, custom_generate=Decoder(), **options) == theirs


@pytest.mark.parametrize("family", REFUSED, ids=str)
def test_refused_before_any_token_and_served_without_a_cache(family):
    model = family.model()
    steps = Decoder(ContrastiveSearch(K, ALPHA)).stream(model, torch.tensor([[5, 9, 11]]), max_new_tokens=4)
    with pytest.raises(ValueError, match=family.refused) as error:
        next(steps)
    assert type(model).__name__ in str(error.value)
    found = search(family, model, ContrastiveSearch(K, ALPHA), use_cache=False)
    assert found == expected(model, oracles.contrastive_search, K, ALPHA)


def test_the_tiny_models_tell_methods_apart():
    """A family test that greedy search would pass proves nothing."""
    searched = [search(family, family.model(), ContrastiveSearch(K, ALPHA)) for family in SERVED]
    greedy = [search(family, family.model(), decoding.Greedy()) for family in SERVED]
    same = [str(family) for family, one, other in zip(SERVED, searched, greedy, strict=True) if one == other]
    assert len(same) <= 2, same


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("picker", [Greedy(), ContrastiveSearch(K, ALPHA)], ids=repr)
def test_output_object_of_an_encoder_decoder(name, picker):
    model = next(family for family in FAMILIES if family.kind == name).model()
    flags = ("return_dict_in_generate", "output_scores", "output_hidden_states", "output_attentions")
    call = {
        "input_ids": torch.tensor([[5, 9, 11, 30], [7, 8, 3, 22]]),
        "max_new_tokens": 6,
        **dict.fromkeys(flags, True),
    }
    model.set_attn_implementation("eager")
    greedy, got = model.generate(**call), decoding.generate(model, **call, processors=[picker])
    assert type(got) is GenerateEncoderDecoderOutput
    assert got.keys() == greedy.keys()
    if isinstance(picker, Greedy):
        for key in greedy.keys() - {CACHE}:
            torch.testing.assert_close(got[key], greedy[key], rtol=0, atol=0)
    for ours, theirs in ((got[key], greedy[key]) for key in greedy.keys() - {CACHE} if key != "sequences"):
        assert shapes(ours[0]) == shapes(theirs[0])
    assert got[CACHE].get_seq_length() == got.sequences.shape[1] - 1


def shapes(value):
    return [each.shape for each in value] if isinstance(value, tuple) else value.shape


def test_vision_language_model():
    """A batch of prompts with an image each, one of them left-padded, equals each alone without a cache."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 8, "patch_size": 4, "projection_dim": 16}
    text = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=LlamaConfig(**text, eos_token_id=2, pad_token_id=0),
        image_token_index=60,
        vision_feature_select_strategy="full",
    )
    model = tiny.seeded(LlavaForConditionalGeneration(config))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    prompts = [[5, *[60] * 5, 9, 11, 30], [*[60] * 5, 8]]
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    search = {"processors": [ContrastiveSearch(K, ALPHA)], "max_new_tokens": 8, "suppress_tokens": [60]}

    def no_image(ids, logits):
        return logits.index_fill(0, torch.tensor([60]), -torch.inf)

    rows = decoding.generate(model, **tiny.batch(prompts), pixel_values=pixels, **search)[:, 9:].tolist()
    for row, prompt, image in zip(rows, prompts, pixels, strict=True):
        new = oracles.contrastive_search(model, prompt, 8, K, ALPHA, guide=no_image, pixel_values=image[None])
        assert row[: len(new)] == new
    greedy = decoding.generate(model, **tiny.batch(prompts), pixel_values=pixels, max_new_tokens=8)
    assert greedy[:, 9:].tolist() != rows


def test_positions_of_three_dimensions():
    """Qwen2-VL numbers its tokens by time, height and width: the rows are the second dimension."""
    text = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2}
    ids = {"eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1}
    special = {"image_token_id": 58, "video_token_id": 59, "vision_start_token_id": 57, "vision_end_token_id": 56}
    config = Qwen2VLConfig(text_config={**text, **ids, "rope_parameters": rope}, vision_config=vision, **special)
    model = tiny.seeded(Qwen2VLForConditionalGeneration(config))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    prompts = [[5, 9, 11, 30, 7], [8, 8, 3], [12, 40, 33, 21]]
    search = {"processors": [ContrastiveSearch(K, ALPHA)], "max_new_tokens": 8}
    rows = decoding.generate(model, **tiny.batch(prompts), **search)[:, 5:].tolist()
    for row, prompt in zip(rows, prompts, strict=True):
        new = oracles.contrastive_search(model, prompt, 8, K, ALPHA)
        assert row[: len(new)] == new
