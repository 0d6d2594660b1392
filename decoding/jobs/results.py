"""A results file that a stopped job goes on with: JSON lines, appended batch by batch."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from .prompts import Prompt


class Task(Protocol):
    """What is recorded: `prompts` to serve, and the `origin` that every record of them carries."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """One for each record, with the id that it goes by."""

    @property
    def origin(self) -> dict[str, Any]:
        """Everything that a record depends on."""


class Results:
    """A JSONL file of a job's records that grows batch by batch, and knows what it has when it is opened again.

    Nothing is written before `append`, which first cuts off what a killed run left of its last line.

    Raises:
        ValueError: the file holds anything that this job would not have written.
    """

    def __init__(self, path: Path, job: Task) -> None:
        self.path, self.job = path, job
        self.done: set[int | str] = set()
        texts = {prompt.id: prompt.text for prompt in job.prompts}
        data = path.read_bytes() if path.exists() else b""
        *lines, torn = data.split(b"\n")
        self.end = len(data) - len(torn)
        for number, line in enumerate(lines, 1):
            self.done.add(self._check(line, texts, f"{path}, line {number}"))
        if torn and not is_beginning(torn):  # then it is whole but for its end, or not ours to cut off
            self._check(torn, texts, f"{path}, line {len(lines) + 1}")

    def append(self, records: Iterable[dict[str, Any]]) -> int:
        """Write those that are not there, and say how many they were; when this returns no kill can take them."""
        missing = [record for record in records if record["id"] not in self.done]
        with self.path.open("ab") as file:
            file.truncate(self.end)
            self.end += file.write("".join(map(to_line, missing)).encode())
        self.done.update(record["id"] for record in missing)
        return len(missing)

    @property
    def state(self) -> str:
        """What a run that stops now leaves: counted in the file, where a batch may be that `append` did not end."""
        lines = self.path.read_bytes().count(b"\n") if self.path.exists() else 0
        total = len(self.job.prompts)
        return f"{lines} of {total} are in {self.path}; run it again to go on" if lines else "nothing was saved"

    def _check(self, line: bytes, texts: dict[int | str, str], place: str) -> int | str:
        """The id of a line that this job wrote."""
        try:
            entry = json.loads(line)
            key, text, origin = entry["id"], entry["prompt"], {name: entry[name] for name in self.job.origin}
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError(f"{place} was not written by this command: give another --output") from None
        if not isinstance(key, (int, str)) or key not in texts or key in self.done:
            raise ValueError(f"{place}: no prompt has the id {key!r}, or it comes twice: give another --output")
        if text != texts[key]:
            raise ValueError(f"{place} has another prompt for the id {key!r}: give another --output")
        if origin != self.job.origin:
            raise ValueError(f"{place} was made with other settings: give another --output")
        return key


def is_beginning(line: bytes) -> bool:
    """Whether this is what is left of a record whose writing was cut short."""
    start = b'{"id": '
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(start[: len(line)])
    return False


def to_line(record: dict[str, Any]) -> str:
    """JSON on one line, with its newline."""
    return json.dumps(record, ensure_ascii=False) + "\n"
