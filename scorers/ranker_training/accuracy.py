"""Suffix identification: how often the true continuation scores above others. Krishna et al. 2022, section 4."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .pairs import Distractors, Window

WAYS = 10  # how many wrong continuations 11-way identification has


def identify(
    windows: Sequence[Window], distractors: Distractors, prefix: Mapping[str, Tensor], suffix: Mapping[str, Tensor]
) -> dict[str, dict[int, float]]:
    """The result of every window in each task, in [0, 1], by the number of the window. Ties lose.

    A window without texts for a task is left out of it. The tasks are:

    - "document" and "random": the share of single distractors that score below the true continuation.
    - "document 11-way" and "random 11-way": whether all ten distractors do.
    - "generated": whether the continuation that a model made of the prefix does.

    Args:
        windows: the held-out windows.
        distractors: their distractors.
        prefix: the vector (D,) of each prefix.
        suffix: the vector (D,) of each continuation.
    """
    tasks: dict[str, dict[int, float]] = {}
    for i, window in enumerate(windows):
        rivals = {
            "document": [windows[j].continuation for j in distractors.document[i]],
            "random": [windows[j].continuation for j in distractors.random[i]],
            "generated": [] if window.generated is None else [window.generated],
        }
        for task, texts in rivals.items():
            if not texts:
                continue
            scores = torch.stack([suffix[text] for text in [window.continuation, *texts]]) @ prefix[window.prefix]
            wins = (scores[0] > scores[1:]).double()
            tasks.setdefault(task, {})[i] = wins.mean().item()
            if len(texts) == WAYS:
                tasks.setdefault(f"{task} 11-way", {})[i] = wins.min().item()
    return tasks


def summarise(windows: Sequence[Window], tasks: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """The mean of each task with its interval: see `mean_with_interval`."""
    return {
        task: mean_with_interval(list(found.values()), [windows[i].document for i in found])
        for task, found in tasks.items()
    }


def differences(
    after: Mapping[str, Mapping[int, float]], before: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[int, float]]:
    """The gain of each window in each task."""
    return {task: {i: value - before[task][i] for i, value in found.items()} for task, found in after.items()}


def mean_with_interval(values: Sequence[float], documents: Sequence[int]) -> dict[str, Any]:
    """The mean over windows, and its 95 % interval from a percentile bootstrap over documents.

    Windows of one document are alike, so documents are resampled and not windows. With fewer than two documents there
    is no interval.

    Args:
        values: (N,) a value for each window.
        documents: (N,) the document of each value.

    Returns:
        `mean`; `low` and `high`, which are None without an interval; and the numbers of `windows` and `documents`.

    Example:
        >>> mean_with_interval([0.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
        {'mean': 0.75, 'low': 0.5, 'high': 1.0, 'windows': 4, 'documents': 2}
    """
    names, places = np.unique(documents, return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places).astype(float)
    low = high = None
    if len(names) > 1:
        found = stats.bootstrap(
            (sums, counts),
            lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=2000,
            method="percentile",
            rng=0,
        ).confidence_interval
        low, high = round(float(found.low), 4), round(float(found.high), 4)
    return {
        "mean": round(float(sums.sum() / counts.sum()), 4),
        "low": low,
        "high": high,
        "windows": len(values),
        "documents": len(names),
    }
