"""The models of the kit: the same in every process, peaked, and of the kinds that they say."""

import pytest
import torch

import decoding
from decoding.testing import FAMILIES, PROMPTS, batch, tokenizer
from decoding.testing.tiny_models import EOS, PAD, VOCABULARY

FIRST = {"gpt2": 3, "llama": 42, "lfm2": 49}  # the most probable token after the first prompt


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_weights_depend_on_names_and_a_seed_alone(family):
    model, again, other = family.make(), family.make(), family.make(1)
    assert model.dtype == torch.float64
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    ids = torch.tensor([PROMPTS[0]])
    assert int(model(ids).logits[0, -1].argmax()) == FIRST[family.name]
    assert not torch.equal(model(ids).logits, other(ids).logits)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_shares_its_past_or_does_not(family):
    """The check with share=True would be wrong for one that cannot, and is left out for it."""
    model, parts = family.make(), [decoding.ContrastiveSearch(3)]
    sizes = []
    hook = lambda _, args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape))
    call = {**batch([*PROMPTS]), "max_new_tokens": 3, "min_new_tokens": 3}
    decoding.generate(model, processors=parts, **call)  # the first call asks
    model.register_forward_pre_hook(hook, with_kwargs=True)
    decoding.generate(model, processors=parts, **call)
    assert sizes[-1] == ((3, 3) if family.shares else (9, 1))


def test_a_batch_is_padded_on_the_left():
    inputs = batch([[5, 6, 7], [8]])
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [PAD, PAD, 8]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_the_tokenizer_has_a_text_for_every_token():
    words = tokenizer()
    assert len(words) == VOCABULARY
    texts = [words.decode([token]) for token in range(VOCABULARY)]
    assert len(set(texts)) == VOCABULARY
    assert words.eos_token_id == EOS
    assert words.decode(words("Hm, so it is!")["input_ids"]) == "Hm, so it is!"
