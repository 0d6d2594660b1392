"""Prompts that cannot be read are refused before the first forward, and those at the limit are served."""

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, DynamicCache

import decoding
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import odd, tiny
from tests.support.odd import MODEL, NEW, PARTS, PLACES, VOCABULARY, batch, ids


def generate(model, parts, options):
    call = {"max_new_tokens": NEW, "generator": torch.Generator().manual_seed(0), **options}
    return decoding.generate(model, processors=parts, **call)


def counting(model):
    seen = []
    return seen, model.register_forward_pre_hook(lambda *_: seen.append(1))


@pytest.mark.parametrize(
    ("mask", "message"),
    [([[1, 1], [1, 0]], "prompt 1 is padded on the right"), ([[0, 0], [1, 1]], "prompt 0 is padding alone")],
)
def test_a_mask_of_embeddings_is_read_as_one_of_tokens(mask, message):
    model = odd.small()
    embedded = model.get_input_embeddings()(ids([5, 6], [7, 8])).detach()
    with pytest.raises(ValueError, match=message):
        generate(model, PARTS["Greedy"](), {"inputs_embeds": embedded, "attention_mask": ids(*mask)})


@pytest.mark.parametrize("parts", ["Greedy", "ContrastiveSearch"])
def test_embeddings_at_the_limit(parts):
    model, new = odd.small(), {"max_new_tokens": NEW, "eos_token_id": None}
    most = PLACES - NEW + (parts == "Greedy")  # the last token is fed for a look-ahead alone
    embedded = model.get_input_embeddings()(ids([5] * (most + 1))).detach()
    assert generate(model, PARTS[parts](), {"inputs_embeds": embedded[:, 1:], **new}).shape == (1, NEW)
    with pytest.raises(ValueError, match="has 16 positions, and prompt and new tokens take 17"):
        generate(model, PARTS[parts](), {"inputs_embeds": embedded, **new})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (batch([5, VOCABULARY]), "a prompt has the token 23"),
        (batch([5, 6], [7, 0], mask=[[1, 1], [1, 0]]), "prompt 1 is padded on the right"),
        (batch([0, 0], [7, 8], mask=[[0, 0], [1, 1]]), "prompt 0 is padding alone"),
    ],
)
@pytest.mark.parametrize("parts", ["Greedy", "ContrastiveSearch"])
def test_a_cache_of_the_callers_excuses_no_prompt(options, message, parts):
    seen, hook = counting(MODEL)
    with pytest.raises(ValueError, match=message):
        generate(MODEL, PARTS[parts](), {**options, CACHE: DynamicCache(config=MODEL.config)})
    hook.remove()
    assert not seen


def test_a_mask_may_tell_of_what_a_callers_cache_holds_too():
    """New tokens alone, and a mask of all: transformers takes it, and so do we."""
    model, call, cache = odd.small(), batch([0, 6, 7, 8, 9], mask=[[0, 1, 1, 1, 1]]), DynamicCache(config=MODEL.config)
    text, mask = call["input_ids"], call["attention_mask"]
    model(text[:, :3], attention_mask=mask[:, :3], position_ids=ids([0, 0, 1]), **{CACHE: cache})
    out = generate(model, PARTS["Greedy"](), {**call, "input_ids": text[:, 3:], CACHE: cache})
    assert torch.equal(out, generate(model, PARTS["Greedy"](), call)[:, 3:])


def test_an_encoders_embeddings_take_no_place_of_the_decoders():
    config = BartConfig(
        vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=PLACES,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model = tiny.seeded(BartForConditionalGeneration(config))
    embedded = model.get_input_embeddings()(ids([5, 6, 7, 8] * 3)).detach()
    options = {"inputs_embeds": embedded, "max_new_tokens": 10, "min_new_tokens": 10}
    assert torch.equal(
        generate(model, PARTS["Greedy"](), options), model.generate(**options, do_sample=False, num_beams=1)
    )
