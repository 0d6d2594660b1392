"""Scorers stand on their own: they import neither decoding nor benchmarks, and each other one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scorers

FOLDER = Path(__file__).parents[1] / "scorers"

ORDER = [
    ["scorer", "encoding", "pairs", "command"],
    ["overlap", "combined", "rankgen", "embedding", "reward", "language_model", "ranker"],
    ["likelihood", "mbr"],
    ["evidence"],
    ["__init__"],
    ["train_accuracy", "train_negatives", "training"],
    ["train"],
]


def imports(file: Path) -> set[str]:
    """Everything a module names in an import, wherever in its text; its own package's modules with a dot in front."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, (file.stem, "imports from above the package")
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {"." + (name if (FOLDER / f"{name}.py").exists() else "__init__") for name in names}
    return found


def test_every_module_imports_only_what_stands_below_it():
    level = {name: i for i, names in enumerate(ORDER) for name in names}
    files = {file.stem: file for file in FOLDER.glob("*.py")}
    assert files.keys() <= level.keys(), "say in ORDER where the new module stands"
    for name, file in files.items():
        own = {other[1:] for other in imports(file) if other.startswith(".")}
        assert all(level[other] < level[name] for other in own), (name, own)


def test_scorers_know_nothing_of_decoding():
    for file in FOLDER.glob("*.py"):
        tops = {name.partition(".")[0] for name in imports(file)}
        assert not tops & {"decoding", "benchmarks", "tests"}, file.stem
        if file.stem not in ("train", "train_negatives"):
            assert "scorers" not in tops, (file.stem, "names its own package: use a relative import")


@pytest.mark.slow
def test_they_load_alone_and_without_extras():
    names = ["decoding", "benchmarks", "sacrebleu", "peft", "sklearn"]
    code = f"import sys, scorers; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there_and_documented():
    for name in scorers.__all__:
        value = getattr(scorers, name)
        assert not callable(value) or len(value.__doc__) > 60, name
