"""What the options of a command are: fields of a dataclass, each with its help. `commands` reads calls by them."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_origin, get_type_hints

from .checks import Range, flag

ABOUT = "about"  # the key of an `Option` in the metadata of a field
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Args:
        help: what it does.
        metavar: what stands for its value in the help. None: its type.
        short: its short form, such as "-n".
        name: how it is written. None: as the field is called, with dashes.
        range: what its value, or each value of a list, must be.
        choices: the values that it may have, all texts, or what gives them when a call is read. Empty: any.
        default: what the help says of the default. None: the default itself.
        positional: it has no name in the call; its place tells what it is.
        repeat: of a list: it is given once for each value. Else it takes all values up to the next option.
    """

    help: str
    metavar: str | None = None
    short: str | None = None
    name: str | None = None
    range: Range | None = None
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    default: str | None = None
    positional: bool = False
    repeat: bool = False

    @property
    def values(self) -> Sequence[str]:
        """The choices."""
        return self.choices() if callable(self.choices) else self.choices


Declared = Mapping[str, tuple[Any, Option]]  # the type and the `Option` of each, by name


def option(help: str, metavar: str | None = None, *, value: Any = None, required: bool = False, **more: Any) -> Any:
    """A field of a dataclass of options.

    Args:
        help, metavar: as in `Option`.
        value: the default.
        required: there is no default.
        more: whatever else `Option` takes.

    Example:
        >>> @dataclass
        ... class Options:
        ...     number: int = option("examples to make", "N", value=100, short="-n")
        >>> Options().number
        100
    """
    about = {ABOUT: Option(help, metavar, **more)}
    if isinstance(value, list):
        return field(default_factory=value.copy, metadata=about)
    return field(metadata=about) if required else field(default=value, metadata=about)


def options_of_parts(declare: Callable[[], Declared]) -> Any:
    """A field that gets the options of parts that were given, as a dictionary.

    Args:
        declare: gives the options. It is called when a call is read; see `part_options`.
    """
    return field(default_factory=dict, metadata={ABOUT: declare})


def declared(options: type[Any]) -> dict[str, tuple[Any, Option]]:
    """The type and the `Option` of each option of a command, those of parts included."""
    kinds, found = get_type_hints(options), dict[str, tuple[Any, Option]]()
    for each in dataclasses.fields(options):
        about = each.metadata[ABOUT]
        found |= {each.name: (kinds[each.name], about)} if isinstance(about, Option) else about()
    return found


def written(name: str, about: Option) -> str:
    """How an option is written in a call."""
    return about.name or flag(name)


def takes_many(kind: Any, about: Option) -> bool:
    """Whether all values up to the next option belong to it."""
    return get_origin(kind) is list and not about.positional and not about.repeat


def for_typer(name: str, kind: Any, about: Option, default: Any) -> Any:
    """The annotation that tells typer of an option."""
    import typer

    metavar = about.metavar or (f"<{'|'.join(about.values)}>" if about.values else None)
    how: dict[str, Any] = {"metavar": metavar, "help": explained(about, default), "show_default": False}
    if about.positional:
        return Annotated[kind, typer.Argument(**how)]
    names = [written(name, about), *([about.short] if about.short else [])]
    return Annotated[kind, typer.Option(*names, **how)]


def explained(about: Option, default: Any) -> str:
    """The help of an option, with its default."""
    said = about.default
    if said is None:
        nothing = default is None or default is False or default is inspect.Parameter.empty
        said = "" if nothing else " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
    return f"{about.help} (default: {said})" if said else about.help


def fill(options: type[Any], values: dict[str, Any]) -> Any:
    """An instance of the dataclass, with the values that typer read.

    Raises:
        ValueError: a value out of range, or none of the choices.
    """
    for name, (kind, about) in declared(options).items():
        value = values[name]
        if takes_many(kind, about):  # one without values is given an empty text
            values[name] = value = [each for each in value if each != ""]
        fits, wanted = about.range or (lambda _: True, "")
        if about.values:
            fits, wanted = about.values.__contains__, f"be one of {', '.join(about.values)}"
        for each in value if isinstance(value, (list, tuple)) else [] if value is None else [value]:
            if not fits(each):
                raise ValueError(f"{written(name, about)} must {wanted}, not {each}")
    for own in dataclasses.fields(options):
        if not isinstance(own.metadata[ABOUT], Option):
            read = {part: values.pop(part) for part in own.metadata[ABOUT]()}
            values[own.name] = {part: value for part, value in read.items() if value is not None}
    return options(**values)
