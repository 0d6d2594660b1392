"""The options of commands: fields of a dataclass, each with its help. `commands` reads calls by them."""

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
        metavar: the name of its value in the help. None: its type.
        short: its short form, such as "-n".
        name: its form in a call. None: the name of the field, with dashes.
        range: the range of its value, or of each value of a list.
        choices: the values that are allowed, all texts, or a function that returns them when a call is read. Empty: any
            value.
        default: the help's text about the default. None: the default itself.
        positional: whether it has no name in the call, only a place.
        repeat: for a list: whether the option is given once for each value. Otherwise it takes all values up to the
            next option.
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


Declared = Mapping[str, tuple[Any, Option]]  # the type and the `Option` of each option, by its name


def option(help: str, metavar: str | None = None, *, value: Any = None, required: bool = False, **more: Any) -> Any:
    """Declare a field of a dataclass of options.

    Args:
        help: see `Option`.
        metavar: see `Option`.
        value: the default.
        required: whether the option must be given.
        more: further arguments of `Option`.

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
    """Declare a field that gets those options of parts that were given, as a dictionary.

    Args:
        declare: a function that returns the options. It is called when a call is read; see `part_options`.
    """
    return field(default_factory=dict, metadata={ABOUT: declare})


def declared(options: type[Any]) -> dict[str, tuple[Any, Option]]:
    """The type and the `Option` of each option of a command, with those of parts."""
    kinds, found = get_type_hints(options), dict[str, tuple[Any, Option]]()
    for each in dataclasses.fields(options):
        about = each.metadata[ABOUT]
        found |= {each.name: (kinds[each.name], about)} if isinstance(about, Option) else about()
    return found


def written(name: str, about: Option) -> str:
    """The form of an option in a call."""
    return about.name or flag(name)


def takes_many(kind: Any, about: Option) -> bool:
    """Whether an option takes all values up to the next option."""
    return get_origin(kind) is list and not about.positional and not about.repeat


def for_typer(name: str, kind: Any, about: Option, default: Any) -> Any:
    """The annotation that declares an option to typer."""
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
        ValueError: a value is out of range, or not one of the choices.
    """
    for name, (kind, about) in declared(options).items():
        value = values[name]
        if takes_many(kind, about):  # an option without values has an empty text here
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
