"""Parts and scorers as a task's file names them: a class of `decoding` or `scorers`, or `package.module:Class`."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from transformers import LogitsProcessor

import decoding
import scorers

KINDS = (decoding.Guide, decoding.Picker, decoding.Reranker, LogitsProcessor)
FILLED = ("model", "tokenizer")  # arguments that the run fills in if a table does not give them


def check_part(table: Any) -> None:
    """Check the table of a part and the tables in its arguments. A module that a table names is imported here.

    Raises:
        ValueError: there is no such class, the class is not a part, it does not take an argument, or an argument is
            missing. The message has one line and does not name the system.
    """
    kind = find_class(table)
    if not issubclass(kind, KINDS):
        raise ValueError(
            f"{table.get('part', table.get('scorer'))} is no part: a part is a class of decoding.Guide, "
            "decoding.Picker, decoding.Reranker or transformers.LogitsProcessor"
        )
    check_arguments(table)


def check_arguments(table: Mapping[str, Any]) -> None:
    """Check the arguments of a table, and of the tables in it, against the signatures of their classes."""
    kind, given = find_class(table), arguments(table)
    for value in given.values():
        if is_table(value):
            check_arguments(value)
    if "from" in table:
        if not hasattr(kind, "from_pretrained"):
            raise ValueError(f"{kind.__name__} has no from_pretrained: leave out from")
        return
    known = inspect.signature(kind).parameters
    named = [name for name, one in known.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if not any(one.kind == one.VAR_KEYWORD for one in known.values()):
        for name in given.keys() - set(named):
            raise ValueError(f"{kind.__name__} takes no {name!r}: it takes {', '.join(named) or 'no arguments'}")
    for name in named:
        if known[name].default is inspect.Parameter.empty and name not in {*given, *FILLED}:
            raise ValueError(f"{kind.__name__} needs {name!r}")


def build_part(table: Mapping[str, Any], model: Any, tokenizer: Any) -> Any:
    """Make the object of a table.

    Raises:
        ValueError: the class refuses its arguments.
    """
    kind, given = find_class(table), arguments(table)
    given = {name: build_part(value, model, tokenizer) if is_table(value) else value for name, value in given.items()}
    try:
        if "from" in table:
            return kind.from_pretrained(*filter(None, [table["from"]]), **given)
        there = {"model": model, "tokenizer": tokenizer}
        known = inspect.signature(kind).parameters
        return kind(**{name: value for name, value in there.items() if name in known and name not in given}, **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def find_class(table: Any) -> Any:
    """The class that a table names."""
    if not is_table(table):
        raise ValueError(f'a part is a table with "part" or "scorer", not {table!r}')
    package = decoding if "part" in table else scorers
    name = table.get("part", table.get("scorer"))
    if isinstance(name, str) and ":" in name:
        return import_class(name)
    kind = getattr(package, name, None) if name in package.__all__ else None
    if not isinstance(kind, type):
        kinds = [name for name in package.__all__ if isinstance(getattr(package, name), type)]
        raise ValueError(
            f"there is no {name!r} in {package.__name__}: {', '.join(kinds)}; or a class of your own, "
            '"package.module:Class"'
        )
    return kind


def import_class(name: str) -> type:
    """Import the class `package.module:Class`.

    This runs the module. Names come here only from tasks, which a user writes or passes. They never come from a folder
    of results, which may be anybody's.
    """
    module, _, own = name.partition(":")
    if not all(piece.isidentifier() for piece in (*module.split("."), own)):
        raise ValueError(f'{name!r} names no class: write "package.module:Class"')
    try:
        there = find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        there = False
    except Exception as error:
        raise ValueError(unimportable(module, error)) from error
    if not there:
        raise ValueError(f"there is no module {module!r}: install it, or run the command in the folder that it lies in")
    try:
        found = import_module(module)
    except Exception as error:
        raise ValueError(unimportable(module, error)) from error
    kind = getattr(found, own, None)
    if not isinstance(kind, type):
        kinds = [name for name, one in vars(found).items() if isinstance(one, type) and one.__module__ == module]
        raise ValueError(f"there is no class {own!r} in {module}: {', '.join(kinds) or 'it has none'}")
    return kind


def unimportable(module: str, error: Exception) -> str:
    """The error message, in one line, for a module that exists but raises an error when it is imported."""
    return f"the module {module!r} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"


def is_table(value: Any) -> bool:
    """Whether a value is a table that names a class."""
    return isinstance(value, Mapping) and bool({"part", "scorer"} & value.keys())


def arguments(table: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the table of a part or scorer. In the table of a part, `scorer` is an argument."""
    kind = "part" if "part" in table else "scorer"
    return {name: value for name, value in table.items() if name not in (kind, "from")}
