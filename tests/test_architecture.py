"""Imports run one way, and the command line is the top."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "decoding"

ORDER = [
    [
        "states",
        "slots",
        "head",
        "attention",
        "default_model",
        "texts",
        "command",
        "coding",
        "packing",
        "display",
        "inputs",
        "caches",
    ],
    ["forest", "models", "trace", "verdict"],
    ["context"],
    ["hypotheses"],
    ["parts", "streaming", "readings", "experts", "joint"],
    ["sampling", "record", "guidance", "processor", "calibration", "rerank", "witness", "contracts"],
    ["contrastive", "guides", "frustratingly", "mirostat"],
    ["decoder", "adaptive"],
    ["generation", "arithmetic"],
    ["__init__"],
    ["jobs", "demo", "examples"],
    ["results", "synthesis"],
    ["__main__"],
    ["finetune", "steer"],
]


def imported(file: Path) -> set[str]:
    """Modules of the package that a module names, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name if (FOLDER / f"{name}.py").exists() else "__init__" for name in names}
    return found


def test_every_module_imports_only_what_stands_below_it():
    level = {name: i for i, names in enumerate(ORDER) for name in names}
    files = {file.stem: file for file in FOLDER.glob("*.py")}
    assert files.keys() == level.keys()
    for name, file in files.items():
        assert all(level[other] < level[name] for other in imported(file)), (name, imported(file))


def test_only_the_context_touches_caches_masks_and_positions():
    words = ("past_key_values", "attention_mask", "position_ids", "reorder_cache", "crop")
    for file in FOLDER.glob("*.py"):
        tree = ast.parse(file.read_text())
        docs = {id(node.body[0].value) for node in ast.walk(tree) if is_documented(node)}
        strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
        attributes = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        touched = {word for word in words if word in attributes or word in strings}
        allowed = {"record": {"past_key_values"}, "jobs": {"attention_mask"}}
        own = ("context", "caches", "forest", "slots", "attention")  # a context's own files
        allowed |= {name: set(words) for name in own}
        allowed |= {"generation": {"attention_mask", "past_key_values"}}  # of the call: do they fit?
        allowed |= {
            name: {"attention_mask"} for name in ("readings", "processor", "calibration")
        }  # a call's own inputs
        assert touched <= allowed.get(file.stem, set()), (file.stem, touched)


def is_documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None
