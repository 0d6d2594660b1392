"""What a benchmark run is: prompts of a corpus, and decoders to continue them with; read from a small TOML file."""

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

# what a decoder's own options may not say: the task says it, or it would change what a row of output is
RESERVED = {
    "max_new_tokens", "max_length", "num_return_sequences", "return_dict_in_generate", "streamer", "generator",
    "processors", "tokenizer", "custom_generate",
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """A decoder by name: parts and options of `decoding.generate`, as in the Python API.

    Args:
        name: of the rows it makes.
        parts: tables with `part`, the name of a class of `decoding`, and its arguments. A class of your own is
            "package.module:Class": any guide, picker, reranker or `transformers.LogitsProcessor` that can be imported.
            An argument may itself be a table with `part` or, of the package `scorers` or your own, `scorer`; with
            `from`, its `from_pretrained` makes it ("": of its default). The model and its tokenizer are filled in where
            a class takes them and the table does not say.
        options: of `generate`: `do_sample`, `top_p`, `num_beams`, ...

    Raises:
        ValueError: a name that is no part, a module that cannot be imported, an argument that it does not take, an
            option that the task decides.
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
            ValueError: what a part says of its arguments.
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
    """Everything that a run's texts depend on, but for the model.

    Args:
        name: of the task. corpus: where prompts come from; of several, in turns.
        prefix_tokens: to continue; new_tokens: to make, and of the human reference. prompts: how many; None: all.
        seeds: one run for each, of the decoders that draw; the others run once, under the first.
        decoders: at least one, by different names.

    Raises:
        ValueError: in one line, for what is wrong with a task's file.
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
        """The task of a TOML file, or of one that the package carries, by its name.

        `base` names a file beside it that says what this one does not.

        Raises:
            ValueError: no such file, or what is wrong with it.
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
        """The task of a parsed file; `base` is where its relative paths start."""
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
        """Of everything in it."""
        return digest({field.name: plain(getattr(self, field.name)) for field in fields(self)})


def make(kind: Any, table: Any, what: str, **more: Any) -> Any:
    """An object of a table; ValueError for keys that it does not have."""
    known = {field.name for field in fields(kind)} - more.keys()
    if not isinstance(table, Mapping) or table.keys() - known:
        wrong = sorted(table.keys() - known) if isinstance(table, Mapping) else table
        raise ValueError(f"{what} has no {wrong}: {', '.join(sorted(known))}")
    try:
        return kind(**table, **more)
    except TypeError as error:
        raise ValueError(f"{what}: {error}") from error


def plain(value: Any) -> Any:
    """For JSON; where a task's file lies makes no difference."""
    if isinstance(value, Corpora):
        return [plain(part) for part in value.parts] if len(value.parts) > 1 else plain(value.parts[0])
    if isinstance(value, (Corpus, System)):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "base"}
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shipped() -> list[str]:
    """The names of the tasks that the package carries."""
    return sorted(Path(entry.name).stem for entry in (files("benchmarks") / "tasks").iterdir() if entry.is_file())
