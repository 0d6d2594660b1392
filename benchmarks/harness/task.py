"""A benchmark task: the prompts of a corpus, and the systems that continue them. It is read from a small TOML file."""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import decoding
from scorers._common.checks import require_count

from .corpora import Corpora, Corpus
from .parts import build_part, check_part, find_class

# options that a system may not set: the task sets them, or they would change what a row of output is
RESERVED = {
    "max_new_tokens",
    "max_length",
    "num_return_sequences",
    "return_dict_in_generate",
    "streamer",
    "generator",
    "processors",
    "tokenizer",
    "custom_generate",
}


@dataclass(frozen=True)
class System:
    """A named set of parts and options of `decoding.generate`, as in the Python API.

    Args:
        name: its name, which stands in the rows that it makes.
        parts: tables with `part`, the name of a class of `decoding`, and its arguments. A class of your own is
            "package.module:Class": any guide, picker, reranker or `transformers.LogitsProcessor` that can be imported.
            An argument may itself be a table with `part`, or with `scorer` for a class of the package `scorers` or your
            own. With `from`, the class's `from_pretrained` makes the object ("" stands for its default). The model and
            its tokenizer are filled in if a class takes them and the table does not give them.
        options: options of `generate`: `do_sample`, `top_p`, `num_beams`, ...

    Raises:
        ValueError: a name is not that of a part, a module cannot be imported, a part does not take an argument, or the
            task sets an option.
    """

    name: str
    parts: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in RESERVED & self.options.keys():
            raise ValueError(f"decoder {self.name!r}: {name} is not a decoder's option: the task says it")
        if self.options.get("do_sample") and self.options.get("num_beams", 1) > 1:
            raise ValueError(f"decoder {self.name!r}: beams that sample depend on their batch: drop one of the two")
        with self._named():
            for part in self.parts:
                check_part(part)

    @property
    def draws(self) -> bool:
        """Whether another seed gives another text."""
        kinds = [find_class(part) for part in self.parts]
        pickers = [kind for kind in kinds if issubclass(kind, decoding.Picker)]
        rerankers = [kind for kind in kinds if issubclass(kind, decoding.Reranker)]
        drawn = [kind.draws for kind in pickers] or [kind.needs_draws for kind in rerankers]
        return bool(self.options.get("do_sample")) or any(drawn)

    def build(self, model: Any, tokenizer: Any) -> list[Any]:
        """The parts, for `decoding.generate(processors=)`.

        Raises:
            ValueError: a part refuses its arguments.
        """
        with self._named():
            return [build_part(part, model, tokenizer) for part in self.parts]

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"decoder {self.name!r}: {error}") from error


@dataclass(frozen=True)
class Task:
    """All that the texts of a run depend on, except the model.

    Args:
        name: the name of the task.
        corpus: where prompts come from. Several corpora take turns.
        decoders: the systems, at least one, with different names.
        prefix_tokens: how many tokens of a text are the prompt.
        new_tokens: how many tokens are made, and how long the human reference is.
        prompts: how many prompts there are. None: all.
        seeds: a system that draws has a run for each seed. Any other system has one run, under the first seed.

    Raises:
        ValueError: something is wrong with the task's file. The message has one line.
    """

    name: str
    corpus: Corpora
    decoders: tuple[System, ...]
    prefix_tokens: int = 32
    new_tokens: int = 128
    prompts: int | None = 200
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("prefix_tokens", "new_tokens", "prompts"):
            require_count(name, getattr(self, name), optional=name == "prompts")
        names = [system.name for system in self.decoders]
        if not names or len(set(names)) < len(names) or "human" in names:
            raise ValueError(f"a task has decoders by different names, none of them human, not {names}")
        if not self.seeds or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"seeds must be whole numbers from 0 to 2**32 - 1, at least one, not {list(self.seeds)}")

    @classmethod
    def read(cls, name: str) -> "Task":
        """Read the task of a TOML file, or of one that the package carries, by its name.

        If the file has a key `base`, it names another file beside it. Keys that are not in the file are taken from that
        one.

        Raises:
            ValueError: there is no such file, or something is wrong with it.
        """
        path = Path(name)
        if not path.suffix and (inside := files("benchmarks") / "tasks" / f"{name}.toml").is_file():
            path = Path(str(inside))
        if not path.is_file():
            raise ValueError(f"no task {name}: give a .toml file or one of {', '.join(shipped())}")
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            if "base" in table:
                table = tomllib.loads((path.parent / table.pop("base")).read_text(encoding="utf-8")) | table
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}") from error
        try:
            return cls.of({"name": path.stem, **table}, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def of(cls, table: Mapping[str, Any], base: Path = Path()) -> "Task":
        """Make the task of a parsed file. Relative paths start at `base`."""
        known = {field.name for field in fields(cls)}
        for name in table.keys() - known:
            raise ValueError(f"there is no {name!r} in a task: {', '.join(sorted(known))}")
        for name in {"corpus", "decoders"} - table.keys():
            raise ValueError(f"a task needs {name}")
        sources = table["corpus"] if isinstance(table["corpus"], list) else [table["corpus"]]
        corpus = Corpora(tuple(make(Corpus, source, "corpus", base=base) for source in sources))
        systems = tuple(
            make(System, {**row, "parts": tuple(row.get("parts", ()))}, "a decoder") for row in table["decoders"]
        )
        seeds = tuple(table.get("seeds", (0,)))
        return cls(**{**table, "corpus": corpus, "decoders": systems, "seeds": seeds})

    @cached_property
    def hash(self) -> str:
        """A hash of everything in the task."""
        return digest({field.name: plain(getattr(self, field.name)) for field in fields(self)})


def make(kind: Any, table: Any, what: str, **more: Any) -> Any:
    """Make an object of a table. Raises ValueError for keys that the object does not have."""
    known = {field.name for field in fields(kind)} - more.keys()
    if not isinstance(table, Mapping) or table.keys() - known:
        wrong = sorted(table.keys() - known) if isinstance(table, Mapping) else table
        raise ValueError(f"{what} has no {wrong}: {', '.join(sorted(known))}")
    try:
        return kind(**table, **more)
    except TypeError as error:
        raise ValueError(f"{what}: {error}") from error


def plain(value: Any) -> Any:
    """The value as JSON takes it. The folder of a task's file is left out, so that it makes no difference."""
    if isinstance(value, Corpora):
        return [plain(part) for part in value.parts] if len(value.parts) > 1 else plain(value.parts[0])
    if isinstance(value, (Corpus, System)):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "base"}
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shipped() -> list[str]:
    """The names of the tasks that the package carries."""
    return sorted(Path(entry.name).stem for entry in (files("benchmarks") / "tasks").iterdir() if entry.is_file())
