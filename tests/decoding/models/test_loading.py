"""Loading: the embedded model's cache, and any other model by name."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import decoding
from tests.support import tiny
from tests.support.saved import save


def test_loads_a_folder_ready_for_batches(tmp_path):
    save(tiny.llama().float(), tmp_path, pad_token=None, padding_side="right")
    model, tokenizer = decoding.load(tmp_path, device="cpu")
    assert (tokenizer.padding_side, tokenizer.pad_token, model.training) == ("left", "<eos>", False)
    assert model.dtype == torch.float32
    inputs = tokenizer(["Hello", "no"], return_tensors="pt", padding=True)
    assert inputs["attention_mask"].tolist() == [[1] * 5, [0, 0, 0, 1, 1]]
    assert decoding.load(str(tmp_path), dtype="bfloat16")[0].dtype == torch.bfloat16
    assert decoding.load(tmp_path, dtype=torch.float64)[0].dtype == torch.float64


def test_pad_token_of_a_model_that_names_none(tmp_path):
    model = tiny.llama().float()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = None, [2, 17]
    save(model, tmp_path)
    assert decoding.load(tmp_path)[0].generation_config.pad_token_id == 2


def test_loads_an_encoder_decoder_and_leaves_its_padding_alone(tmp_path):
    config = T5Config(
        vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    save(T5ForConditionalGeneration(config), tmp_path, padding_side="right")
    model, tokenizer = decoding.load(tmp_path)
    assert isinstance(model, T5ForConditionalGeneration)
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("name", ["no-such/model", "./no-such-folder", "/no/such/folder"])
def test_no_such_model_is_one_line(name):
    with pytest.raises(ValueError, match=f"no model '{name}'") as error:
        decoding.load(name)
    assert "\n" not in str(error.value)


def test_a_folder_that_holds_no_model(tmp_path):
    with pytest.raises(ValueError, match="no model"):
        decoding.load(tmp_path)
