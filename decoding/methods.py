"""The pickers as `python -m decoding --method` names them, read from the source: a new picker needs no line here.

A picker is there once the face of the package has its name. Its fields are the options that belong to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from scorers._common.options import Declared, Option
from scorers._common.part_options import PartField, attribute, lineage, read_part

from . import HOMES

NO_OPTIONS = {"n"}  # the rows of each prompt, of ArithmeticSample: the command says how many there are


@dataclass(frozen=True)
class Method:
    """A picker.

    Args:
        module, part: where its class is, and what it is called.
        draws: whether it takes tokens at random, so that the options of sampling apply.
        fields: what it can be told.
    """

    module: str
    part: str
    draws: bool
    fields: Mapping[str, PartField]

    def make(self, values: Mapping[str, Any]) -> Any:
        """The picker, with these values of its fields."""
        return getattr(import_module(self.module), self.part)(**values)


@cache
def methods() -> dict[str, Method]:
    """Every picker, by its short name.

    Example:
        >>> sorted(methods()["contrastive"].fields)
        ['alpha', 'k']
    """
    found = {}
    for part, home in HOMES.items():
        module = f"decoding.{home}"
        if home.startswith("pickers.") and part[0].isupper() and is_picker(module, part):
            fields = {name: each for name, each in read_part(module, part).items() if name not in NO_OPTIONS}
            short = attribute(module, part, "method") or first_word(part)
            found[short] = Method(module, part, attribute(module, part, "draws", False), fields)
    return found


def is_picker(module: str, part: str) -> bool:
    """Whether a class inherits from `Picker`."""
    return any(node.name == "Picker" for _, node in lineage(module, part))


def first_word(name: str) -> str:
    """The first word of the name of a class, in small letters.

    Example:
        >>> first_word("ContrastiveSearch")
        'contrastive'
    """
    return (name[0] + "".join(letter if letter.islower() else " " for letter in name[1:]).split(" ")[0]).lower()


def owners(option: str) -> list[str]:
    """The methods that an option belongs to."""
    return [name for name, method in methods().items() if option in method.fields]


@cache
def picker_options() -> Declared:
    """The options of all pickers. The help says what each is to which method."""
    found: dict[str, tuple[Any, Option]] = {}
    for option in dict.fromkeys(option for method in methods().values() for option in method.fields):
        said = [
            f"{name}: {each.help or option}" + (f" (default: {each.default})" if each.kind is not bool else "")
            for name in owners(option)
            for each in [methods()[name].fields[option]]
        ]
        kind = methods()[owners(option)[0]].fields[option].kind
        found[option] = (kind | None, Option("; ".join(said), "X" if kind is float else "N" if kind is int else None))
    return found
