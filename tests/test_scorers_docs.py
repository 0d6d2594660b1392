"""What the page and the docstrings of scorers show is what happens."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import decoding

ROOT = Path(__file__).parents[1]
MODULES = ("scorer", "encoding", "overlap", "rankgen", "language_model", "likelihood", "embedding", "reward", "mbr",
           "combined")  # fmt: skip


@pytest.mark.slow
def test_code_of_the_page_runs(monkeypatch, default_model):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "scorers.md").read_text(), re.DOTALL)
    assert len(blocks) >= 10
    for block in blocks:
        exec(compile(block, "docs/scorers.md", "exec"), names)
    asked = ["The capital of France is"] * 2
    assert names["pmi"](asked, [" Paris.", " a city."]).argmax() == 0
    assert names["both"].setwise


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples_run(monkeypatch, default_model, module):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    result = doctest.testmod(importlib.import_module(f"scorers.{module}"))
    assert result.failed == 0
    assert result.attempted or module == "language_model"
