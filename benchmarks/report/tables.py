"""A table of scores, independent of notation: a column for each metric, a cell for each system.

The numbers of a column have the same number of decimals. All values that read the same as the best one count as best.
The human texts are the first row.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HUMAN = "human"
MISSING = "-"
DAGGER = "†"
WORDS = {"higher": "higher is better", "lower": "lower is better", "reference": "closer to the human texts is better"}
SIGNS = {"higher": "↑", "lower": "↓", "reference": "≈"}


@dataclass(frozen=True)
class Cell:
    """A number as text.

    Args:
        value: the number.
        low: the lower end of its interval, if it has one.
        high: the upper end.
        best: whether it is the best of its column.
        few: whether it comes from fewer prompts than the metric needs.
    """

    value: str
    low: str | None = None
    high: str | None = None
    best: bool = False
    few: bool = False

    @property
    def marked(self) -> str:
        """The value, with a dagger if it comes from fewer prompts than the metric needs."""
        return self.value + DAGGER if self.few else self.value


@dataclass(frozen=True)
class Column:
    """A metric: its description, and its cell in each row, the human texts first."""

    name: str
    title: str
    unit: str
    better: str | None
    about: str
    cells: tuple[Cell, ...]

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def names(scores: Mapping[str, Any]) -> list[str]:
    """The names of the rows: the human texts, then the systems."""
    return [HUMAN, *(str(system["decoder"]) for system in scores["systems"])]


def make_columns(scores: Mapping[str, Any]) -> list[Column]:
    """The metrics that any row has, in their order, each with a cell for each row.

    Args:
        scores: the content of scores.json: `metrics`, `reference` and `systems`.

    Raises:
        ValueError: `task`, `metrics` or `systems` is missing or of the wrong type.
    """
    for name, kind in (("task", str), ("metrics", dict), ("systems", list)):
        if not isinstance(scores.get(name), kind):
            raise ValueError(f"these scores have no {name!r}: score the folder again")
    columns = []
    for name, about in scores["metrics"].items():
        human = entry(scores.get("reference") or {}, name)
        systems = [entry(system["metrics"], name) for system in scores["systems"]]
        notes = [note for note in scores.get("notes") or [] if note["metric"] == name]
        if not any([human, *systems, *notes]):
            continue
        places = decimals([human, *systems])
        few = {row for note in notes if note["few"] for row in note["of"]}
        best = set() if few else find_best(systems, human, about.get("better"), places)
        rows = zip(names(scores), [human, *systems], strict=True)
        cells = [write(found, places, i - 1 in best, row in few) for i, (row, found) in enumerate(rows)]
        columns.append(
            Column(
                name,
                about.get("title") or name,
                about.get("unit") or "",
                about.get("better"),
                about.get("about") or "",
                tuple(cells),
            )
        )
    return columns


def entry(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The value, low, high and how of a metric. It is empty if the value is missing or not finite."""
    found = metrics.get(name) or {}
    kept = {key: found.get(key) for key in ("value", "low", "high")}
    finite = {key: value for key, value in kept.items() if value is not None and math.isfinite(value)}
    if "value" not in finite:
        return {}
    if len(finite) < 3:  # half an interval is no interval
        finite = {"value": finite["value"]}
    return finite | {key: found[key] for key in ("how", "n") if found.get(key) is not None}


def decimals(entries: Sequence[Mapping[str, Any]]) -> int:
    """The number of decimals of a column, at most 6.

    It is enough for about three digits of the largest number, and for half of the intervals to differ from 0.
    """
    there = [found for found in entries if found]
    largest = max((abs(found["value"]) for found in there), default=0)
    places = 3 if largest < 2 else 2 if largest < 20 else 1 if largest < 2000 else 0
    while 0 < largest * 10**places < 10 and places < 6:
        places += 1
    widths = sorted((found["high"] - found["low"]) / 2 for found in there if "low" in found)
    typical = widths[len(widths) // 2] if widths else 0
    typical = typical if typical > largest * 1e-6 else 0  # smaller intervals are rounding errors
    while 0 < typical * 10**places < 1 and places < 6:
        places += 1
    return places


def find_best(
    systems: Sequence[Mapping[str, Any]], human: Mapping[str, Any], better: str | None, places: int
) -> set[int]:
    """The numbers of the systems whose value is the best or reads the same.

    It is empty if there are fewer than two values.
    """
    gains = {
        "higher": lambda value: value,
        "lower": lambda value: -value,
        "reference": lambda value: -abs(value - human["value"]),
    }
    there = {i: found["value"] for i, found in enumerate(systems) if found}
    if better not in gains or len(there) < 2 or (better == "reference" and not human):
        return set()
    gain = {i: round(gains[better](value), places) for i, value in there.items()}
    return {i for i, value in gain.items() if value == max(gain.values())}


def write(found: Mapping[str, Any], places: int, best: bool = False, few: bool = False) -> Cell:
    """The cell of an entry."""
    if not found:
        return Cell(MISSING)
    texts = {key: f"{round(found[key], places) + 0.0:.{places}f}" for key in ("value", "low", "high") if key in found}
    low, high = texts.get("low"), texts.get("high")
    if found.get("low") == found.get("high"):  # an interval of width zero has no meaning
        low = high = None
    return Cell(texts["value"], low, high, best, few)


def bracketed(cell: Cell) -> str:
    """Value and interval in one line."""
    return f"{cell.marked} [{cell.low}, {cell.high}]" if cell.low else cell.marked


def legend(columns: Sequence[Column]) -> str:
    """What the arrows mean. The arrows are those of Markdown."""
    kinds = dict.fromkeys(column.better for column in columns if column.better in SIGNS)
    said = "; ".join(f"{SIGNS[kind]} {WORDS[kind]}" for kind in kinds if kind)
    few = (
        f" {DAGGER}: of fewer prompts than it needs." if any(cell.few for one in columns for cell in one.cells) else ""
    )
    return f"{said}; bold: the best system.{few}" if said else few.strip()


def notes_of(scores: Mapping[str, Any], columns: Iterable[Column]) -> list[tuple[str, str]]:
    """The title of the metric, and the text with the names of its runs, for each note about these columns."""
    titles = {column.name: column.title for column in columns}
    every = set(names(scores))
    found = []
    for note in scores.get("notes") or []:
        if note["metric"] in titles:
            of = "" if {*note["of"]} >= every - {HUMAN} else f" ({', '.join(note['of'])})"
            found.append((titles[note["metric"]], note["text"].rstrip(".") + of + "."))
    return found


def explain(scores: Mapping[str, Any], column: Column) -> str:
    """What a metric is, which way is better, and what kind its intervals are."""
    rows = [scores.get("reference") or {}, *(system["metrics"] for system in scores["systems"])]
    hows = dict.fromkeys(how for metrics in rows if (how := entry(metrics, column.name).get("how")))
    intervals = f"brackets: {', '.join(hows)}" if hows else ""
    parts = [column.about, WORDS.get(column.better or "", ""), intervals]
    return "; ".join(part.rstrip(".") for part in parts if part) + "."


def languages(scores: Mapping[str, Any]) -> list[str]:
    """The languages of the texts, in order of appearance, if there are several."""
    return list(
        dict.fromkeys(name for system in scores["systems"] for name in system.get("isotropy_by_language") or {})
    )


def flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested tables: a name with dots, and the value in one line."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield " ".join(f"{before}{name}".split()), " ".join(str(value).split())
