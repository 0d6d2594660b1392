"""Files that survive a kill: JSON lines that a stopped run goes on with, and files that are whole or not there.

Text files are read here too, packed by gzip or not.
"""

import gzip
import json
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def read_text(path: Path) -> str:
    """The whole of a text file; one whose name ends in .gz is unpacked.

    Raises:
        OSError: it cannot be read. ValueError: it is not UTF-8, or not gzip where its name says so.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 at byte {error.start}") from error


def read_lines(path: Path) -> list[tuple[int, str, str]]:
    """The lines of a text file that are not blank: number (from 1), place ("FILE, line NUMBER") and text of each.

    Only "\\n" ends a line, for JSON lines may hold other line separators within a text.

    Raises:
        OSError, ValueError: see `read_text`.
    """
    lines = enumerate(read_text(path).split("\n"), 1)
    return [(number, f"{path}, line {number}", line) for number, line in lines if line.strip()]


def is_json_lines(path: Path) -> bool:
    """Whether a file's name says that each of its lines is JSON, packed or not.

    Example:
        >>> is_json_lines(Path("books.jsonl.gz")), is_json_lines(Path("books.txt"))
        (True, False)
    """
    return path.name.removesuffix(".gz").endswith((".jsonl", ".json"))


@contextmanager
def replacing(path: Path, *, folder: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """A file that is written whole or not at all, whoever is killed and whoever else writes it.

    Args:
        path: the file to make or to replace.
        folder: where it is written first, on the same disk; None: beside `path`.
        durable: it is on the disk, power cut or not, when this returns. False for many small files of a cache.

    Yields:
        The path to write to, which ends as `path` does. It takes the place of `path` when the block ends, and is
        removed if the block raises.

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
    """Write a file in one move, text as UTF-8; see `replacing` for the options. Returns its path."""
    with replacing(path, **options) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_json(path: Path, value: Any, **options: Any) -> Path:
    """Write a value as indented JSON, in one move; see `replacing` for the options. Returns the file's path."""
    return write_whole(path, json.dumps(value, indent=1) + "\n", **options)


def to_line(record: Any) -> str:
    """JSON on one line, with its newline.

    Example:
        >>> to_line({"text": "é"})
        '{"text": "é"}\\n'
    """
    return json.dumps(record, ensure_ascii=False) + "\n"


def read_json_lines(
    path: Path,
    check: Callable[[Any, str], T],
    *,
    stranger: str = " was not written by this command: give another --output",
) -> list[T]:
    """What `check` makes of each line of a file; nothing where there is no file.

    A last line that a kill has cut short is left out. One that lacks nothing but its newline counts.

    Args:
        path: of JSON lines.
        check: takes the value of a line and the line's place. It raises ValueError with a message of its own, or
            KeyError or TypeError for what is of another kind.
        stranger: what is said, directly behind the place, of a line that is not JSON or of another kind.

    Raises:
        OSError: the file cannot be read. ValueError: a line is not as it must be; it says which.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> _ = file.write_text('{"id": 1}\\n{"id": 2}\\n{"id"')
        >>> read_json_lines(file, lambda row, place: row["id"])
        [1, 2]
    """
    lines, tail = split_lines(path)
    rows = [parse(line, f"{path}, line {n}", check, stranger) for n, line in enumerate(lines, 1) if line.strip()]
    if tail.strip():
        with suppress(ValueError):
            rows.append(parse(tail, "", check, ""))
    return rows


class JsonLines(Generic[T]):
    """A file of JSON lines that grows. A run that is killed at any moment goes on with it.

    While it is open no other process can open it. Nothing is written before `append`, which first cuts off what a
    killed run left of its last line.

    Args:
        path: of the file, which need not be there.
        first: the first key of every record that is written. A last line without a newline is cut off only if it may
            be the beginning of such a record: what another program wrote is never touched.
        check, stranger: see `read_json_lines`.

    Attributes:
        rows: what `check` made of the lines that are there.

    Raises:
        OSError: the file cannot be read or locked.
        ValueError: a line is not as it must be, or another process has the file open; it says which.

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
        stranger: str = " was not written by this command: give another --output",
    ) -> None:
        self.path = path
        self.close = weakref.finalize(self, release, hold(path), os.getpid())
        try:
            lines, tail = split_lines(path)
            self.end = path.stat().st_size - len(tail) if path.exists() else 0
            self.rows = [parse(line, f"{path}, line {n}", check, stranger) for n, line in enumerate(lines, 1)]
            if tail and (is_json(tail) or not tail.startswith(f'{{"{first}": '.encode()[: len(tail)])):
                parse(tail, f"{path}, line {len(lines) + 1}", check, stranger)  # whole, or not ours to cut off
        except BaseException:
            self.close()
            raise

    def append(self, records: Iterable[Any]) -> None:
        """Write records. When this returns no kill can take them, nor a power cut."""
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
    """The lines of a file that a newline ends, and what is left after the last of them."""
    *lines, tail = path.read_bytes().split(b"\n") if path.exists() else [b""]
    return lines, tail


def is_json(line: bytes) -> bool:
    """Whether a line is whole. The beginning of a JSON object never is."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def parse(line: bytes, place: str, check: Callable[[Any, str], T], stranger: str) -> T:
    """What `check` makes of a line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{place}{stranger}") from None
    try:
        return check(value, place)
    except (TypeError, KeyError):
        raise ValueError(f"{place}{stranger}") from None


def hold(path: Path) -> Any:
    """A lock on a file, which the end of the process lifts too, and a kill. The lock file says who has it.

    In one process the same file may be opened again: it goes on with what it wrote itself.

    Raises:
        ValueError: another process has it.
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
    with suppress(OSError):  # Windows lets nobody write to it
        Path(lock.lock_file).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    return lock


def release(lock: Any, process: int) -> None:
    """Give a lock up. A child process, which has the lock's object too, does nothing."""
    if os.getpid() == process and lock.is_locked:
        if lock.lock_counter == 1:
            with suppress(OSError):
                Path(lock.lock_file).unlink()  # while it is held: nobody takes the one that is going
        lock.release()
