"""The partition ratio is the paper's, with and without a block."""

import math

import numpy as np
import pytest

from benchmarks.metrics.partition import partition_ratio
from benchmarks.metrics.states import TextStates


def test_partition_ratio_of_raw_states_is_the_papers():
    rng = np.random.default_rng(6)
    texts = [TextStates(i, 0, rng.normal(0.3, 1, size=(2, 5, 3))) for i in range(9)]
    found = partition_ratio(lambda: texts, centred=False, skip=0)
    for layer, one in enumerate(found):
        h = np.concatenate([text.states[layer] for text in texts])
        directions = np.linalg.eigh(h.T @ h)[1].T
        z = [np.exp(h @ c).sum() for direction in directions for c in (direction, -direction)]
        assert one.value == pytest.approx(math.log(min(z) / max(z)))
        assert one.low < one.value < one.high
    huge = [TextStates(i, 0, text.states * 1e4) for i, text in enumerate(texts)]
    assert -1e6 < partition_ratio(lambda: huge, centred=False)[0].value < -1e3  # exp of it would be 0


def test_partition_ratio_of_centred_units():
    rng = np.random.default_rng(7)
    texts = [TextStates(i, 0, rng.normal(50, 1, size=(1, 6, 3))) for i in range(12)]
    [one] = partition_ratio(lambda: texts)
    h = np.concatenate([text.states[0, 1:] for text in texts])
    directions = np.linalg.eigh(np.cov(h.T))[1].T
    u = (h - h.mean(0)) / np.linalg.norm(h - h.mean(0), axis=1, keepdims=True)
    z = [np.exp(u @ c).sum() for direction in directions for c in (direction, -direction)]
    assert one.value == pytest.approx(math.log(min(z) / max(z)))
    assert -2 <= one.value < 0
    assert len(one.left_out) == 10
    with pytest.raises(ValueError, match="no states"):
        partition_ratio(lambda: [])


def test_partition_ratio_without_a_block_keeps_the_directions():
    rng = np.random.default_rng(8)
    texts = [TextStates(i, 0, rng.normal(size=(1, 4, 2))) for i in range(6)]
    [one] = partition_ratio(lambda: texts, centred=False, skip=0, blocks=3)
    h = np.concatenate([text.states[0] for text in texts])
    directions = np.linalg.eigh(h.T @ h)[1]
    for block in range(3):
        rest = np.concatenate([text.states[0] for text in texts if text.text % 3 != block])
        z = np.exp(np.concatenate([rest @ directions, -rest @ directions], 1)).sum(0)
        assert one.left_out[block] == pytest.approx(math.log(z.min() / z.max()))
