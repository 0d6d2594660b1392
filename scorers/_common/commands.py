"""How every command of the three packages is declared, starts and ends.

A command has a dataclass of options, and typer reads the call. A call that is wrong gets one line on standard error and
exit status 2. A run that Ctrl-C stopped says in one line what it leaves, and ends with status 130. Until the call is
read, only the standard library and typer are imported. torch and transformers are imported later, within
`Command.serve`.
"""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, cast

from .interrupts import STATUS, answer_interrupts, leave, say_stopped
from .options import declared, fill, for_typer, takes_many, written


@dataclass(frozen=True)
class Command:
    """A command, `python -m NAME`.

    Args:
        name: the name of its module.
        options: a dataclass of `options.option` fields, whose docstring is the beginning of the help. If there are
            subcommands, one such dataclass for each, by its name.
        examples: the end of the help: calls to try under "examples:", and further notes.
        about: the beginning of the help, if there are subcommands.
        speaker: the name at the beginning of an error message. None: that of the package.

    Example:
        >>> from scorers._common.options import option
        >>> @dataclass
        ... class Options:
        ...     '''Make new examples.'''
        ...
        ...     number: int = option("how many", "N", value=100, short="-n")
        >>> command = Command("decoding.steer", Options, "examples: ...")
        >>> command.parse(["-n", "5"])
        Options(number=5)
    """

    name: str
    options: type[Any] | Mapping[str, type[Any]]
    examples: str
    about: str = ""
    speaker: str | None = None

    @property
    def call(self) -> str:
        """The call of the command, without arguments."""
        return f"python -m {self.name}"

    @property
    def kinds(self) -> Mapping[str, type[Any]]:
        """The dataclass of each subcommand. A command without subcommands has its own under the empty name."""
        return self.options if isinstance(self.options, Mapping) else {"": self.options}

    def serve(
        self,
        arguments: Sequence[str] | None,
        work: Callable[[Any], Any],
        stopped: str | Callable[[], str] = "nothing was saved",
    ) -> int:
        """Read a call, do its work, and return the status that the command exits with.

        Args:
            arguments: the arguments of the call. None: those that Python was started with. Then the process belongs to
                the command, and Ctrl-C ends it at any moment.
            work: a function of the options.
            stopped: what an interrupted run leaves, for the message.
        """
        left = (lambda: stopped) if isinstance(stopped, str) else stopped
        if arguments is None:
            answer_interrupts(left)
        try:
            options = self.parse(sys.argv[1:] if arguments is None else arguments)
            if options is not None:  # else the help was asked for
                work(options)
            print(end="", flush=True)
        except KeyboardInterrupt:
            say_stopped(left())
            if arguments is None:
                leave()
            return STATUS
        except BrokenPipeError:  # the reader of our output has closed it; give the flush at exit a place to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            return self.fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        except (ValueError, ImportError, RuntimeError) as error:  # RuntimeError: torch's, about devices and memory
            return self.fail(str(error))
        return 0

    def fail(self, message: str) -> int:
        """Print an error message in one line, and return the exit status for it."""
        speaker = self.speaker or self.name.partition(".")[0]
        print(f"{speaker}: error: {' '.join(message.split())}", file=sys.stderr)
        return 2

    def parse(self, arguments: Sequence[str]) -> Any:
        """The options of a call. None if the help or the version was asked for; it has been printed then.

        Raises:
            ValueError: the call is wrong. The message says what to change.
        """
        import typer

        parser = self._parser()
        try:
            with parser.make_context(self.call, self._spread(list(arguments))) as context:
                options, values = parser.invoke(context)
        except typer.Exit:
            return None
        except typer.Abort:
            raise KeyboardInterrupt from None
        except typer.TyperException as error:
            raise ValueError(error.format_message()) from None
        return fill(options, values)

    def help(self) -> list[str]:
        """The texts of `--help`: that of the command, and that of each subcommand."""
        parser = self._parser()
        whole = parser.make_context(self.call, [], resilient_parsing=True)
        parts = [
            each.make_context(name, [], parent=whole, resilient_parsing=True)
            for name, each in getattr(parser, "commands", {}).items()
        ]
        return [context.get_help() for context in [whole, *parts]]

    def _parser(self) -> Any:
        """typer's parser."""
        import typer

        how: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 120}}
        # \b: typer does not wrap the lines of this paragraph
        end = "\n\n".join(f"\b\n{paragraph}" for paragraph in self.examples.strip().split("\n\n"))
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        for name, options in self.kinds.items():
            text = inspect.cleandoc(options.__doc__ or "")
            app.command(name or None, help=text, epilog=None if name else end, **how)(_receiver(options, not name))
        if not isinstance(self.options, type):
            app.callback(help=self.about, epilog=end, **how)(_receiver(None, True))
        return typer.main.get_command(app)

    def _spread(self, arguments: list[str]) -> list[str]:
        """Write `--texts 2 8` as `--texts 2 --texts 8`, the only form of lists that typer reads.

        A list without values becomes `--texts ""`.
        """
        lists = {
            written(name, about)
            for options in self.kinds.values()
            for name, (kind, about) in declared(options).items()
            if takes_many(kind, about)
        }
        end = arguments.index("--") if "--" in arguments else len(arguments)
        found: list[str] = []
        current = None  # the list that values belong to
        for i, argument in enumerate(arguments[:end]):
            if is_option(argument):
                current = argument if argument in lists else None
                empty = i + 1 == end or is_option(arguments[i + 1])
                found += [argument] if not current else [argument, ""] if empty else []
            else:
                found += [current, argument] if current else [argument]
        return found + arguments[end:]


def is_option(argument: str) -> bool:
    """Whether an argument is an option. Negative numbers and a lone dash are values."""
    return argument.startswith("-") and not argument[1:2].isdigit() and argument != "-"


def _receiver(options: type[Any] | None, whole: bool) -> Callable[..., Any]:
    """A function that typer calls with the values that it read. From its signature typer learns the options.

    Args:
        options: the dataclass. None: that of a command with subcommands.
        whole: whether it is the command itself and not a subcommand. Then `--version` is one of its options.
    """
    import typer

    def receive(**values: Any) -> Any:
        values.pop("version", None)
        return options, values

    def say_version(asked: bool) -> None:
        if asked:
            # the version stands in one place, decoding/__init__.py, which imports nothing heavy
            print(f"decoding-toolkit {import_module('decoding').__version__}")
            raise typer.Exit

    parameters = []
    if options is not None:
        defaults = {each.name: _default(each) for each in dataclasses.fields(options)}
        for name, (kind, about) in declared(options).items():
            default = defaults.get(name)
            parameters.append((name, for_typer(name, kind, about, default), default))
    if whole:
        about = typer.Option("--version", is_eager=True, callback=say_version, help="Show the version and exit.")
        parameters.append(("version", Annotated[bool, about], False))
    cast(Any, receive).__signature__ = inspect.Signature([
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default in parameters
    ])  # fmt: skip
    return receive


def _default(each: dataclasses.Field[Any]) -> Any:
    """The default of a field, for a signature."""
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return inspect.Parameter.empty if each.default is dataclasses.MISSING else each.default
