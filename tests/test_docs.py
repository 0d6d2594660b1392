"""What README and docstrings show is what happens."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import decoding

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the pipeline's own
@pytest.mark.parametrize(("page", "number"), [("README.md", 6), ("docs/guides.md", 4)])
def test_code_of_the_documentation_runs(monkeypatch, default_model, page, number):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) >= number
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "marker"), [("greedy", "--method greedy\n"), ("contrastive", "alpha = 0.6\n")])
def test_output_of_the_readme_is_real(default_model, method, marker):
    model, tokenizer = default_model
    shown = README.partition("```console")[2].partition(marker)[2]
    shown = re.split(r"\n\$ |```", shown)[0]
    picker = decoding.Greedy() if method == "greedy" else decoding.ContrastiveSearch()
    inputs = tokenizer("The night was", return_tensors="pt")
    text = tokenizer.decode(decoding.generate(model, **inputs, processors=[picker], max_new_tokens=64)[0])
    assert shown.split() == text.split()


@pytest.mark.slow
def test_docstring_examples_run(default_model, monkeypatch):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    found = 0
    for file in (ROOT / "decoding").glob("*.py"):
        if file.stem == "__main__":
            continue
        result = doctest.testmod(importlib.import_module(f"decoding.{file.stem}"))
        assert result.failed == 0, file.stem
        found += result.attempted
    assert found >= 15


def test_public_names_are_documented():
    for name in decoding.__all__:
        assert len(getattr(decoding, name).__doc__) > 60, name


def test_make_targets_that_the_readme_names_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert f"\n{target}:" in makefile
