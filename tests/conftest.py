import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def default_model():
    """The embedded model and its tokenizer."""
    import decoding

    return decoding.load()
