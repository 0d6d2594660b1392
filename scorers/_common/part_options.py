"""Options that belong to a part. They are read from the source of its dataclass, so that nothing is declared twice.

The module of a part imports torch, which takes seconds. `--help` and a refusal must not wait for that, so the module is
read and not imported. `ast` finds the fields with their types, defaults and ranges, and the `Args:` of the docstring
are the help. The result equals `dataclasses.fields` of the imported class; a test checks that.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from . import ranges
from .checks import Range
from .options import Option

KNOWN: dict[str, Any] = {"Annotated": Annotated, "int": int, "float": float, "str": str, "bool": bool} | vars(ranges)
SIMPLE = {int, float, str, bool}  # types whose values can be written in a call


@dataclass(frozen=True)
class PartField:
    """A field of a part that can be given in a call.

    Args:
        kind: its type: int, float, str or bool, perhaps with None.
        default: its default.
        range: the range of its value, if its annotation has one: `k: Annotated[int, COUNT] = 5`.
        help: its entry in the docstring, up to the end of the first sentence.
    """

    kind: Any
    default: Any
    range: Range | None
    help: str

    def option(self, **more: Any) -> tuple[Any, Option]:
        """The field as an option of a command, which is None if it is not given.

        Args:
            more: arguments of `Option` that replace those of the field.
        """
        about: dict[str, Any] = {"help": self.help, "range": self.range, "default": f"{self.default}"}
        return self.kind | None, Option(**about | more)


@cache
def read_part(module: str, name: str) -> dict[str, PartField]:
    """The fields of a dataclass that can be given in a call, in order.

    Args:
        module: the full name of its module.
        name: the name of the class.

    Raises:
        LookupError: there is no such class.

    Example:
        >>> read_part("decoding.pickers.contrastive_search", "ContrastiveSearch")["k"].default
        5
    """
    found: dict[str, PartField] = {}
    for _, node in reversed(lineage(module, name)):
        if not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            continue  # annotations of a class that is not a dataclass are not fields
        text = ast.get_docstring(node) or ""
        own = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
        names = [each.target.id for each in own]  # type: ignore[union-attr]
        for each, field in zip(own, names, strict=True):
            kind, within = evaluate(each.annotation), None
            if get_origin(kind) is Annotated:
                kind, within = get_args(kind)[0], kind.__metadata__[0]
            if kind is None or not {*(get_args(kind) or [kind])} - {type(None)} <= SIMPLE:
                found.pop(field, None)
                continue
            found[field] = PartField(kind, default_of(each.value), within, explain(text, field, names))
    return found


def attribute(module: str, name: str, wanted: str, default: Any = None) -> Any:
    """The value of a plain class attribute, such as `rule = "..."`, of the class or inherited."""
    for _, node in lineage(module, name):
        for each in node.body:
            targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == wanted for target in targets):
                return ast.literal_eval(each.value)  # type: ignore[attr-defined]
    return default


def constant(module: str, name: str) -> Any:
    """The value of a constant of a module, such as a list of names: `DEFAULT = ["mauve", "coherence"]`.

    Raises:
        LookupError: there is no such constant.
    """
    for each in tree_of(module).body:
        if isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    return ast.literal_eval(each.value)
    raise LookupError(f"there is no constant {name} in {module}")


def lineage(module: str, name: str) -> list[tuple[str, ast.ClassDef]]:
    """A class and its base classes in the same package, each with its module."""
    tree = tree_of(module)
    node = next((each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name), None)
    if node is None:
        for each in tree.body:
            if isinstance(each, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in each.names):
                return lineage(absolute(module, each), name)
        raise LookupError(f"there is no class {name} in {module}")
    found = [(module, node)]
    for base in node.bases:
        if isinstance(base, ast.Name):
            try:
                found += lineage(module, base.id)
            except LookupError:  # a class of another package
                continue
    return found


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The full name of the module that an import in `module` names."""
    above = module.split(".")[: -node.level] if node.level else []
    return ".".join([*above, *(node.module or "").split(".")])


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module of this distribution.

    Raises:
        LookupError: the module is of another distribution.
    """
    package, *rest = module.split(".")
    spec = find_spec(package) if package in ("decoding", "scorers", "benchmarks") else None
    if spec is None or spec.origin is None:
        raise LookupError(f"{module} is of another distribution")
    place = Path(spec.origin).parent.joinpath(*rest)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def evaluate(annotation: ast.expr) -> Any:
    """The type that an annotation stands for. None for annotations of anything but builtins and ranges."""
    try:
        return eval(compile(ast.Expression(annotation), "annotation", "eval"), {"__builtins__": {}}, KNOWN)
    except (NameError, TypeError):
        return None


def default_of(value: ast.expr | None) -> Any:
    """The default of a field, in both forms: `= 5` and `= field(default=5)`."""
    if isinstance(value, ast.Call):
        return next((ast.literal_eval(each.value) for each in value.keywords if each.arg == "default"), None)
    return None if value is None else ast.literal_eval(value)


def explain(docstring: str, name: str, names: list[str]) -> str:
    """The entry of an argument in the `Args:` of a docstring, up to the end of its first sentence, in one line.

    Example:
        >>> explain("Args:\\n    k: how many, at least 1. Not more.\\n    alpha: 0 to 1.", "k", ["k", "alpha"])
        'how many, at least 1'
    """
    section = re.split(r"^(?:Raises|Returns|Example|Yields):", docstring.partition("Args:\n")[2], flags=re.MULTILINE)[0]
    names = sorted(names, key=len, reverse=True)
    known = "|".join(map(re.escape, names))
    # entries may share a line, and arguments an entry: "k: candidates. alpha: 0 to 1." and "k_min, k_max: the range"
    entries = re.split(rf"(?:^|(?<=\s))((?:{known})(?:, (?:{known}))*):\s", section)
    for heads, text in zip(entries[1::2], entries[2::2], strict=True):
        if name in heads.split(", "):
            sentence = re.split(r"\.(?:\s|$)", " ".join(text.split()))[0]
            return re.sub(r"[;,] None: [^;]*", "", sentence)  # in a call, None is an option that is not given
    return ""
