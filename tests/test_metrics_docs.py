"""What docs/metrics.md and the docstrings of the metrics show is what happens."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import decoding

ROOT = Path(__file__).parents[1]
MODULES = sorted(file.stem for file in (ROOT / "benchmarks" / "metrics").glob("*.py") if file.stem != "__init__")
PAGE = (ROOT / "docs" / "metrics.md").read_text()


@pytest.mark.slow
def test_code_of_the_page_runs(monkeypatch, default_model):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/metrics.md", "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(monkeypatch, default_model, name):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    module = importlib.import_module(f"benchmarks.metrics.{name}")
    assert doctest.testmod(module).failed == 0


def test_every_public_metric_is_on_the_page():
    missing = []
    for name in MODULES:
        module = importlib.import_module(f"benchmarks.metrics.{name}")
        for member, found in inspect.getmembers(module, inspect.isfunction):
            if found.__module__ == module.__name__ and "Example:" in (found.__doc__ or ""):
                missing += [] if member in PAGE else [f"{name}.{member}"]
    assert set(missing) <= {"moments.exp_entropy", "distances.halves", "uncertainty.bootstrap", "uncertainty.jackknife"}
