"""docs/results/metrics.md leaves no metric out. What it shows is run by test_docs.py."""

import importlib
import inspect
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODULES = sorted(file.stem for file in (ROOT / "benchmarks" / "metrics").glob("*.py") if file.stem != "__init__")
PAGE = (ROOT / "docs" / "results" / "metrics.md").read_text()


def test_every_public_metric_is_on_the_page():
    missing = []
    for name in MODULES:
        module = importlib.import_module(f"benchmarks.metrics.{name}")
        for member, found in inspect.getmembers(module, inspect.isfunction):
            if found.__module__ == module.__name__ and "Example:" in (found.__doc__ or ""):
                missing += [] if member in PAGE else [f"{name}.{member}"]
    assert set(missing) <= {"moments.exp_entropy", "distances.halves", "uncertainty.bootstrap", "uncertainty.jackknife"}
