import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
torch.set_num_threads(1)  # tiny models: threads cost more than they bring


@pytest.fixture(scope="session")
def default_model():
    """The embedded model and its tokenizer."""
    import decoding

    return decoding.load()


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer for the tiny models."""
    from . import tiny

    return tiny.tokenizer()


@pytest.fixture(scope="session")
def real_data():
    """The path of a file of real texts and votes, by its name; skips where there is none. Not part of the project."""
    folder = Path(os.environ.get("DECODING_DATA", Path(__file__).parents[2] / "shared" / "data"))

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"no {name} in {folder}: name the folder that holds it in DECODING_DATA")
        return folder / name

    return find
