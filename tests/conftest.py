import os

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
