"""What a reader must know beside the numbers."""

from typing import Any

HUMAN = "human"  # the name of the human texts, in notes


class Notes:
    """Notes for the reader of the numbers: warnings, metrics that were left out, too few prompts.

    Equal notes are made one, with the names of the runs that it is about.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, bool], list[str]] = {}

    def add(self, metric: str, text: str, of: str, few: bool = False) -> None:
        """Add a note about a metric of one run.

        Args:
            metric: the name of the metric.
            text: the note.
            of: the name of the run.
            few: whether the metric needs more prompts than there are.
        """
        names = self._found.setdefault((metric, " ".join(text.split()), few), [])
        if of not in names:
            names.append(of)

    def as_json(self) -> list[dict[str, Any]]:
        """The notes for scores.json: `metric`, `text`, `few` and `of`, the names of the runs."""
        return [{"metric": m, "text": text, "few": few, "of": of} for (m, text, few), of in self._found.items()]
