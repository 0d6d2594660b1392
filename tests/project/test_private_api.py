"""Private names of other libraries: transformers' stand in one file, torch's where they are used, and nowhere else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers

from tests.support.imports import PACKAGES, ROOT, imports, modules

API = "decoding.engine.transformers_api"
MODULES = modules(*PACKAGES)
# Of torch, each in the one file that needs it; these have no public counterpart.
OF_TORCH = {
    "decoding.models.packing": {
        *("_reorder_linear_weight", "_linear_pointwise"),  # oneDNN's layout, which torch's own compiler packs into
        *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),  # has a layer any?
    },
    "benchmarks.speed.timing": {
        "_cdata",  # which storage is it? Addresses are used again.
        *("_python_dispatch", "_pytree"),  # modules: counting what operations allocate
    },
}
DOCUMENTED = {"_replace", "_asdict", "_fields", "_exit"}  # of named tuples, and of the module os
# Modules of transformers whose contents its documentation does not promise.
INTERNAL = ("transformers.generation.utils", "transformers.masking_utils", "transformers.integrations.sdpa_attention")


def is_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[a-zA-Z]\w*", name) is not None


def is_own(node: ast.expr) -> bool:
    """Whether an attribute is looked up on the object or class at hand: `self`, `cls`, `super()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def defined(tree: ast.Module) -> set[str]:
    """The private names that a module gives to its own functions, classes and attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


OURS = {name for file in MODULES.values() for name in defined(ast.parse(file.read_text()))}


def private_names(tree: ast.Module) -> Iterator[str]:
    """The private names of other objects and modules that a module looks up, in whatever way.

    On `self`, names that some class of ours defines are its own. Others are inherited from outside.
    """
    own = defined(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if node.attr not in own | (OURS if is_own(node.value) else set()):
                yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call | ast.Attribute):
            if isinstance(node.slice, ast.Constant) and is_private(node.slice.value):  # vars(x)["_a"], x.__dict__["_a"]
                yield node.slice.value
        elif isinstance(node, ast.Call) and name_of(node.func) in ("attrgetter", "methodcaller"):
            parts = [part for arg in node.args if isinstance(arg, ast.Constant) for part in str(arg.value).split(".")]
            yield from filter(is_private, parts)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            allowed = OURS if is_own(node.args[0]) else set()
            if node.func.id in ("getattr", "hasattr", "setattr") and is_private(name) and name not in allowed:
                yield str(name)
        elif isinstance(node, ast.ImportFrom) and not node.level and not (node.module or "").startswith(PACKAGES):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from filter(is_private, parts)
        elif isinstance(node, ast.Import):
            parts = [part for alias in node.names for part in alias.name.split(".")]
            if parts[0] not in PACKAGES:
                yield from filter(is_private, parts)


def in_module(name: str) -> set[str]:
    return {*private_names(ast.parse(MODULES[name].read_text()))} - DOCUMENTED


def in_architecture() -> set[str]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    found = re.findall(r"^\* Private names of transformers.*?(?=^\* |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return {*re.findall(r"`(\w+)`", found[0])}


def names_of_transformers() -> set[str]:
    """Everything that the one file uses: attributes, and what it imports of internal modules."""
    tree = ast.parse(MODULES[API].read_text())
    internal = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in INTERNAL]
    return in_module(API) | {alias.name for node in internal for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_private_names_of_others_stand_where_they_are_allowed(package):
    for name in modules(package):
        if name != API:
            assert in_module(name) <= OF_TORCH.get(name, set()), f"{name}: put it into {API}"


def test_the_exceptions_for_torch_are_all_used():
    for name, allowed in OF_TORCH.items():
        text = MODULES[name].read_text()
        assert all(word in text for word in allowed), name


@pytest.mark.parametrize("package", PACKAGES)
def test_internal_modules_of_transformers_are_imported_in_one_place(package):
    for name, file in modules(package).items():
        if name != API:
            assert not {other for other in imports(name, file, MODULES) if other.startswith(INTERNAL)}, name


def test_each_private_name_is_explained_with_its_versions():
    tree = ast.parse(MODULES[API].read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(functions) >= 6
    for function in functions:
        doc = ast.get_docstring(function) or ""
        used = {*private_names(ast.Module([function], []))}
        assert used, function.name
        assert all(f"`{name}`: " in doc for name in used), function.name
        assert re.search(r"Seen in 5\.\d+ to 5\.\d+\.$", doc), function.name


def test_architecture_names_all_of_them_and_no_others():
    assert in_architecture() == names_of_transformers()


def test_the_installed_version_has_them():
    folder = Path(transformers.__file__).parent
    texts = [*(folder / "generation").glob("*.py"), folder / "configuration_utils.py"]
    text = "".join(file.read_text() for file in texts)
    for name in names_of_transformers():
        assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("model._prefill(x)", {"_prefill"}),
        ("self.model._prefill(x)", {"_prefill"}),
        ("self._prefill(x)", {"_prefill"}),  # inherited from outside: no class of ours has it
        ("class A:\n    def _b(self): ...\n    def c(self): self._b()", set()),
        ("operator.attrgetter('config._prefill')(model)", {"_prefill"}),
        ("vars(model)['_prefill']", {"_prefill"}),
        ("model.__dict__['_prefill']", {"_prefill"}),
        ("getattr(config, '_mask_length', 1)", {"_mask_length"}),
        ("hasattr(config, '_pad_token_tensor')", {"_pad_token_tensor"}),
        ("from torch._C import thing", {"_C"}),
        ("from transformers.modeling_utils import _get_dtype", {"_get_dtype"}),
        ("import torch._dynamo", {"_dynamo"}),
        ("super()._apply(x)", set()),
        ("from scorers._common.checks import require_count", set()),
        ("class A:\n    def _b(self): ...\nA()._b()", set()),
        ("x.__dict__", set()),
    ],
)
def test_what_counts_as_private(line, found):
    assert {*private_names(ast.parse(line))} == found
