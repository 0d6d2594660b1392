"""What can be loaded, and what is refused in one line."""

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, LlamaModel

from scorers._common.loading import first_line, load_config, load_model, load_tokenizer, refuse_lost_device
from scorers._common.markdown import markdown_row, markdown_table
from scorers._common.packages import find_in_package
from tests.support import tiny


@pytest.fixture
def folder(tmp_path):
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(tmp_path / "headless")
    LlamaForCausalLM(config).save_pretrained(tmp_path / "causal")
    BertModel(
        BertConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8),
        add_pooling_layer=False,
    ).save_pretrained(tmp_path / "bert")
    tiny.tokenizer().save_pretrained(tmp_path / "causal")
    return tmp_path


def test_loads_in_evaluation_mode(folder):
    model = load_model(LlamaForCausalLM, folder / "causal", device="cpu", dtype=torch.float64, exact=True)
    assert (model.training, model.dtype, model.device.type) == (False, torch.float64, "cpu")
    assert load_config(folder / "causal").vocab_size == 16
    tokenizer = load_tokenizer(str(folder / "causal"))
    assert load_tokenizer(tokenizer) is tokenizer


def test_weights_that_would_be_random_are_refused_where_it_matters(folder):
    with pytest.raises(ValueError, match=r"is no LlamaForCausalLM: weights are missing, 1, such as lm_head.weight"):
        load_model(LlamaForCausalLM, folder / "headless", device="cpu")
    assert load_model(LlamaForCausalLM, folder / "headless", device="cpu", whole=False).lm_head.weight.shape == (16, 8)
    with pytest.raises(ValueError, match=r"is no LlamaModel: weights have no place in it, 1, such as lm_head.weight"):
        load_model(LlamaModel, folder / "causal", device="cpu", exact=True)
    load_model(BertModel, folder / "bert", device="cpu")  # nothing reads a pooler
    with pytest.raises(ValueError, match=r"weights are missing, 2, such as pooler"):
        load_model(BertModel, folder / "bert", device="cpu", exact=True)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere-at-all"])
def test_a_folder_that_is_not_there_is_asked_of_no_hub(name):
    for load in (load_config, load_tokenizer, lambda name: load_model(LlamaModel, name)):
        with pytest.raises(ValueError, match=rf"^no model '{name}': there is no such folder$"):
            load(name)


def test_what_is_not_there_is_one_line(tmp_path):
    for load in (load_tokenizer, lambda name: load_config(name, "no encoder {!r}")):
        with pytest.raises(ValueError, match=r"^no (tokenizer in|encoder) '") as caught:
            load(str(tmp_path))
        assert "\n" not in str(caught.value)
    assert first_line(OSError("\n a\nb")) == "a"


def test_devices_that_are_not_there():
    for device in (None, "auto", "cpu", torch.device("meta")):
        refuse_lost_device(device)
    with pytest.raises(ValueError, match=r"^no device 'abacus': "):
        refuse_lost_device("abacus")
    with pytest.raises(ValueError, match=r"^--device abacus: Expected one of cpu"):
        refuse_lost_device("abacus", "--device {}")


def test_packages_are_found_without_being_imported(tmp_path, monkeypatch):
    (tmp_path / "heavy_one" / "data").mkdir(parents=True)
    (tmp_path / "heavy_one" / "__init__.py").write_text("raise SystemError")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_in_package("heavy-one==1.0", "data") == tmp_path / "heavy_one" / "data"
    assert find_in_package("heavy-one") == tmp_path / "heavy_one"
    assert find_in_package("heavy-one", "weights") is None
    assert find_in_package("not-there>=2", "data") is None


def test_tables():
    assert markdown_table(["", "a", "b"], [["x", 1, ""]], right=[1]) == ["| | a | b |", "|---|---:|---|", "| x | 1 | |"]
    assert markdown_table(["a"]) == ["| a |", "|---|"]
    assert markdown_row([0, None]) == "| 0 | None |"
