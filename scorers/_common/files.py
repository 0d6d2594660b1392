"""Files that survive a kill.

JSON lines can be continued by the next run. Other files are written whole or not at all. This module also reads text
files, gzipped or not.
"""

import gzip
import json
import math
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def read_text(path: Path) -> str:
    """Read a whole text file. A file whose name ends in .gz is unpacked.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, or its name ends in .gz and it is not gzip.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 at byte {error.start}") from error


def read_lines(path: Path) -> list[tuple[int, str, str]]:
    """Read the lines of a text file that are not blank.

    Only "\\n" ends a line, since the texts in JSON lines may contain other line separators.

    Returns:
        The number (from 1), place ("FILE, line NUMBER") and text of each.

    Raises:
        OSError: see `read_text`.
        ValueError: see `read_text`.
    """
    lines = enumerate(read_text(path).split("\n"), 1)
    return [(number, f"{path}, line {number}", line) for number, line in lines if line.strip()]


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that each of its lines is JSON, gzipped or not.

    Example:
        >>> is_json_lines(Path("books.jsonl.gz")), is_json_lines(Path("books.txt"))
        (True, False)
    """
    return path.name.removesuffix(".gz").endswith((".jsonl", ".json"))


@contextmanager
def replacing(path: Path, *, folder: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """Write a file whole or not at all, even if this process is killed or another one writes the same file.

    Args:
        path: the file to make or to replace.
        folder: where the file is written first. It must be on the same disk. None: beside `path`.
        durable: the file survives a power cut once the block ends. Use False for many small files of a cache.

    Yields:
        The path to write to, with the same ending as `path`. It takes the place of `path` when the block ends, and is
        removed if the block raises an error.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "scores.txt"
        >>> with replacing(file) as scratch:
        ...     _ = scratch.write_text("0.5")
        >>> file.read_text(), [other.name for other in file.parent.iterdir()]
        ('0.5', ['scores.txt'])
    """
    scratch = (folder or path.parent) / f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}"
    try:
        yield scratch
        if durable:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, **options: Any) -> Path:
    """Write a file in one move, text as UTF-8, and return its path. See `replacing` for the options."""
    with replacing(path, **options) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_json(path: Path, value: Any, **options: Any) -> Path:
    """Write a value as indented JSON in one move, and return the file's path. See `replacing` for the options."""
    return write_whole(path, json.dumps(value, indent=1) + "\n", **options)


def finite(value: Any) -> Any:
    """The value with None for every number that JSON does not have, at any depth.

    Example:
        >>> finite({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_line(record: Any) -> str:
    """The value as one line of JSON, with a newline at its end.

    Example:
        >>> to_line({"text": "é"})
        '{"text": "é"}\\n'
    """
    return json.dumps(record, ensure_ascii=False) + "\n"


def read_json_lines(
    path: Path,
    check: Callable[[Any, str], T],
    *,
    foreign: str = " was not written by this command: give another --output",
) -> list[T]:
    """Read a file of JSON lines, and return the result of `check` for each line. It is empty if there is no file.

    A last line that a killed run left incomplete is left out. A last line that lacks only its newline counts.

    Args:
        path: the file.
        check: a function of the value of a line and the line's place. It raises ValueError with a message of its own,
            or KeyError or TypeError for a value of another kind.
        foreign: the message for a line that is not JSON or of another kind. It stands directly after the place.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is wrong. The message says which.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> _ = file.write_text('{"id": 1}\\n{"id": 2}\\n{"id"')
        >>> read_json_lines(file, lambda row, place: row["id"])
        [1, 2]
    """
    lines, tail = split_lines(path)
    rows = [parse(line, f"{path}, line {n}", check, foreign) for n, line in enumerate(lines, 1) if line.strip()]
    if tail.strip():
        with suppress(ValueError):
            rows.append(parse(tail, "", check, ""))
    return rows


class JsonLines(Generic[T]):
    """A file of JSON lines that grows. If a run is killed at any moment, the next one goes on with the file.

    While it is open, no other process can open it. Nothing is written before `append`, which first cuts off an
    incomplete last line of a killed run.

    Args:
        path: the file. It need not exist.
        first: the first key of every record that is written. A last line without a newline is cut off only if it can be
            the beginning of such a record. So what another program wrote is never changed.
        check: see `read_json_lines`.
        foreign: see `read_json_lines`.

    Attributes:
        rows: the results of `check` for the lines that are there.

    Raises:
        OSError: the file cannot be read or locked.
        ValueError: a line is wrong, or another process has the file open. The message says which.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> _ = file.write_text('{"id": 1}\\n{"id"')
        >>> with JsonLines(file, "id", lambda row, place: row["id"]) as lines:
        ...     lines.append([{"id": 2}])
        ...     lines.rows, file.read_text()
        ([1], '{"id": 1}\\n{"id": 2}\\n')
    """

    def __init__(
        self,
        path: Path,
        first: str,
        check: Callable[[Any, str], T],
        *,
        foreign: str = " was not written by this command: give another --output",
    ) -> None:
        self.path = path
        self.close = weakref.finalize(self, release, hold(path), os.getpid())
        try:
            lines, tail = split_lines(path)
            self.end = path.stat().st_size - len(tail) if path.exists() else 0
            self.rows = [parse(line, f"{path}, line {n}", check, foreign) for n, line in enumerate(lines, 1)]
            if tail and (is_json(tail) or not tail.startswith(f'{{"{first}": '.encode()[: len(tail)])):
                parse(tail, f"{path}, line {len(lines) + 1}", check, foreign)  # complete, or of another program
        except BaseException:
            self.close()
            raise

    def append(self, records: Iterable[Any]) -> None:
        """Write records. When this returns, they survive a kill and a power cut."""
        with self.path.open("ab") as file:
            file.truncate(self.end)
            self.end += file.write("".join(map(to_line, records)).encode())
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "JsonLines[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def split_lines(path: Path) -> tuple[list[bytes], bytes]:
    """The lines of a file that end with a newline, and the rest after the last of them."""
    *lines, tail = path.read_bytes().split(b"\n") if path.exists() else [b""]
    return lines, tail


def is_json(line: bytes) -> bool:
    """Whether a line is complete JSON. The beginning of a JSON object never is."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def parse(line: bytes, place: str, check: Callable[[Any, str], T], foreign: str) -> T:
    """The result of `check` for a line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{place}{foreign}") from None
    try:
        return check(value, place)
    except (TypeError, KeyError):
        raise ValueError(f"{place}{foreign}") from None


def hold(path: Path) -> Any:
    """Lock a file. The end of the process releases the lock, and so does a kill.

    The lock file says which process has it. That process may open the same file again, and goes on with what it wrote.

    Raises:
        ValueError: another process has the lock.
    """
    import socket

    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        by = "another process"
        with suppress(OSError):
            by = Path(lock.lock_file).read_text(encoding="utf-8", errors="replace").strip() or by
        raise ValueError(f"{path} is being written by {by}: wait until it ends, or give another --output") from None
    with suppress(OSError):  # Windows does not let a locked file be written
        Path(lock.lock_file).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    return lock


def release(lock: Any, process: int) -> None:
    """Release a lock. In a child process, which has a copy of the lock's object, it does nothing."""
    if os.getpid() == process and lock.is_locked:
        if lock.lock_counter == 1:
            with suppress(OSError):
                Path(lock.lock_file).unlink()  # while it is held, so that no process takes a file that is being removed
        lock.release()
