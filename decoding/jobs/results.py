"""A file of results from which a stopped job goes on. It has JSON lines, appended batch by batch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from scorers._common.files import JsonLines

from .prompts import Prompt


class Task(Protocol):
    """A job whose results are recorded."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """A prompt for each record, with the id of that record."""

    @property
    def origin(self) -> dict[str, Any]:
        """Everything that a record depends on, which every record repeats."""


class Results:
    """A JSONL file of a job's records. It grows batch by batch, and can be opened again to go on.

    Nothing is written before `append`, which first cuts off an incomplete last line that a killed run left.

    Raises:
        ValueError: the file holds something that this job would not have written, or another process writes to it.
    """

    def __init__(self, path: Path, job: Task) -> None:
        self.path, self.job = path, job
        texts = {prompt.id: prompt.text for prompt in job.prompts}
        seen: set[int | str] = set()
        self.lines = JsonLines(path, "id", lambda entry, place: self._check(entry, texts, seen, place))
        self.done = set(self.lines.rows)

    def append(self, records: Iterable[dict[str, Any]]) -> int:
        """Write the records that are not in the file yet, and return their number. Then they are safe from a kill."""
        missing = [record for record in records if record["id"] not in self.done]
        self.lines.append(missing)
        self.done.update(record["id"] for record in missing)
        return len(missing)

    @property
    def state(self) -> str:
        """A message for a run that stops now. It counts the file, as `append` may have been interrupted."""
        lines = self.path.read_bytes().count(b"\n") if self.path.exists() else 0
        total = len(self.job.prompts)
        return f"{lines} of {total} are in {self.path}; run it again to go on" if lines else "nothing was saved"

    def _check(self, entry: Any, texts: dict[int | str, str], seen: set[int | str], place: str) -> int | str:
        """Check that this job wrote a record, and return its id, which is added to `seen`."""
        key, text, origin = entry["id"], entry["prompt"], {name: entry[name] for name in self.job.origin}
        if not isinstance(key, (int, str)) or key not in texts or key in seen:
            raise ValueError(f"{place}: no prompt has the id {key!r}, or it comes twice: give another --output")
        if text != texts[key]:
            raise ValueError(f"{place} has another prompt for the id {key!r}: give another --output")
        if origin != self.job.origin:
            raise ValueError(f"{place} was made with other settings: give another --output")
        seen.add(key)
        return key
