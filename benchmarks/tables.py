"""Tables of scores: in Markdown, in LaTeX, and on a terminal.

One table in three notations, and what the page shows of it as well, so it is longer than other files. A column has one
number of decimals, its best values are those that read the same as the best one, and the human texts are its first row.
"""

import math
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

HUMAN = "human"
MISSING = "-"
WORDS = {"higher": "higher is better", "lower": "lower is better", "reference": "closer to the human texts is better"}
SIGNS = {"higher": "↑", "lower": "↓", "reference": "≈"}
TEX_SIGNS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "reference": r"$\approx$"}
TEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
})  # fmt: skip
PANEL = 4  # metrics that stand side by side on a printed page


@dataclass(frozen=True)
class Cell:
    """A number as it is read: `value`, and `low` and `high` where it has an interval; `best` of its column."""

    value: str
    low: str | None = None
    high: str | None = None
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A metric: what is said of it, and its cell in each row, the human one first."""

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


def markdown(scores: Mapping[str, Any]) -> str:
    """A page of Markdown, as GitHub reads it: the table, what its columns are, comparisons in pairs, the signature.

    Args:
        scores: what scores.json holds.

    Example:
        >>> how = {"title": "MAUVE", "better": "higher"}
        >>> systems = [{"decoder": "greedy", "metrics": {"mauve": {"value": 0.08, "low": 0.07, "high": 0.1}}}]
        >>> print(markdown({"task": "news", "metrics": {"mauve": how}, "systems": systems}).splitlines()[4])
        | *human* | - |
    """
    columns = make_columns(scores)
    lines = [f"# {plain(scores['task'])}", ""]
    headings = [f"{plain(column.heading)} {SIGNS.get(column.better or '', '')}".strip() for column in columns]
    lines += [row(["system", *headings]), row(["---", *["---:"] * len(columns)])]
    for number, name in enumerate(names(scores)):
        title = f"*{HUMAN}*" if number == 0 else plain(name)
        lines.append(row([title, *(mark_up(column.cells[number]) for column in columns)]))
    lines += ["", legend(columns), ""]
    lines += [f"* **{plain(column.heading)}**: {plain(explain(scores, column))}" for column in columns]
    lines += [line for found in [*by_language(scores), *compared(scores)] for line in ["", *found]]
    signature = [f"{name}: {value}" for name, value in flat(scores.get("signature") or {})]
    signature += [" ".join(str(system["signature"]).split()) for system in scores["systems"] if system.get("signature")]
    lines += ["", "```text", *(line.replace("```", "` ` `") for line in signature), "```", ""]
    return "\n".join(lines)


def latex(scores: Mapping[str, Any]) -> str:
    """Tables for a paper: booktabs, four metrics in each, as a column of text is wide; the best in bold.

    Needs `booktabs`; names that are not ASCII need XeLaTeX, LuaLaTeX, or fonts that have them.

    Args:
        scores: what scores.json holds.

    Example:
        >>> systems = [{"decoder": "top_p", "metrics": {"mauve": {"value": 0.08}}}]
        >>> scores = {"task": "news", "metrics": {"mauve": {"title": "MAUVE"}}, "systems": systems}
        >>> print(latex(scores).splitlines()[11])
            top\\_p & 0.080 \\\\
    """
    columns = make_columns(scores)
    signature = (f"% {name}: {value}" for name, value in flat(scores.get("signature") or {}))
    lines = [r"% needs \usepackage{booktabs}", *signature]
    label = re.sub("[^a-z0-9]+", "-", str(scores["task"]).lower()).strip("-")
    for start in range(0, len(columns), PANEL):
        shown = columns[start : start + PANEL]
        caption = legend(shown)
        for name, sign in SIGNS.items():
            caption = caption.replace(sign, TEX_SIGNS[name])
        number = "" if start == 0 else f", part {start // PANEL + 1}"
        lines += [r"\begin{table}", r"  \centering", r"  \small", r"  \setlength{\tabcolsep}{3pt}"]
        lines += tabular(shown, names(scores))
        lines.append(rf"  \caption{{{tex(scores['task'])}{number}. {caption}".rstrip() + "}")
        lines += [rf"  \label{{tab:{label}{number.replace(', part ', '-')}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def tabular(columns: Sequence[Column], rows: Sequence[str]) -> Iterator[str]:
    """Some of the columns in LaTeX, the intervals below the values."""
    yield rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield r"    \toprule"
    yield f"    {tex_row(['', *map(tex_heading, columns)])}"
    yield r"    \midrule"
    for number, name in enumerate(rows):
        cells = [column.cells[number] for column in columns]
        values = [rf"\textbf{{{digits(cell.value)}}}" if cell.best else digits(cell.value) for cell in cells]
        title = rf"\emph{{{HUMAN}}}" if number == 0 else tex(name)
        yield f"    {tex_row([title, *values])}"
        if any(cell.low for cell in cells):
            yield f"    {tex_row(['', *map(tex_range, cells)])}"
            yield r"    \addlinespace[2pt]"
        if number == 0 and len(rows) > 1:
            yield r"    \midrule"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"


def show(scores: Mapping[str, Any], console: Console) -> None:
    """Print the table: coloured and broken to fit on a terminal; elsewhere plain, a line a system.

    Args:
        scores: what scores.json holds. console: rich's.

    Example:
        >>> systems = [{"decoder": "greedy", "metrics": {"mauve": {"value": 0.08, "low": 0.07, "high": 0.1}}}]
        >>> scores = {"task": "news", "metrics": {"mauve": {"title": "MAUVE", "better": "higher"}}, "systems": systems}
        >>> show(scores, Console())
        news
        system  MAUVE (higher)
        human   -
        greedy  0.080 [0.070, 0.100]
    """
    columns = make_columns(scores)
    console.print(Text(str(scores["task"]), style="bold"), soft_wrap=True)
    if not columns:
        console.print("no scores")
    elif not console.is_terminal:
        lines = [["system", *(with_better(column, " ({})") for column in columns)]]
        lines += [[name, *(bracketed(column.cells[i]) for column in columns)] for i, name in enumerate(names(scores))]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            console.out(
                "  ".join(set_cell_size(*cell) for cell in zip(line, widths, strict=True)).rstrip(), highlight=False
            )
    else:
        for shown in fitting(columns, names(scores), console.width):
            console.print(terminal_table(shown, names(scores)))
    if signature := signed(scores.get("signature") or {}):
        console.print(Text(f"signature: {signature}", style="dim"), soft_wrap=not console.is_terminal)


def signed(signature: Mapping[str, Any]) -> str:
    """What the numbers depend on, in one line, for who copies them; how each interval was made is elsewhere.

    Example:
        >>> signed({"model": "m@1", "judge": {"dtype": "float32"}, "runs": [{}], "reference": {}})
        'model:m@1|judge.dtype:float32'
    """
    kept = {name: value for name, value in signature.items() if name not in ("runs", "reference")}
    return "|".join(f"{name}:{value}" for name, value in flat(kept))


def terminal_table(columns: Sequence[Column], rows: Sequence[str]) -> Table:
    """Some of the columns, the intervals below the values."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("system", no_wrap=True)
    for column in columns:
        said = with_better(column, "\n{}").partition("\n")
        table.add_column(Text.assemble(said[0], said[1], (said[2], "dim not bold")), justify="right", no_wrap=True)
    for number, name in enumerate(rows):
        cells = []
        for cell in (column.cells[number] for column in columns):
            style = "bold green" if cell.best else "dim" if cell.value == MISSING else ""
            below = f"\n[{cell.low}, {cell.high}]" if cell.low else ""
            cells.append(Text.assemble((cell.value, style), (below, "dim")))
        table.add_row(Text(name, style="cyan" if number == 0 else ""), *cells, end_section=number == 0)
    return table


def fitting(columns: Sequence[Column], rows: Sequence[str], width: int) -> Iterator[Sequence[Column]]:
    """The columns, as many at a time as a terminal is wide; at least one."""
    chosen: list[Column] = []
    console = Console(width=100_000)
    for column in columns:
        if chosen and console.measure(terminal_table([*chosen, column], rows)).maximum > width:
            yield chosen
            chosen = []
        chosen.append(column)
    yield chosen


def with_better(column: Column, form: str) -> str:
    """A heading for a terminal, which may know no arrows."""
    word = {"reference": "near human"}.get(column.better or "", column.better)
    return column.heading + (form.format(word) if word else "")


def names(scores: Mapping[str, Any]) -> list[str]:
    """Of the rows: the humans, then the systems."""
    return [HUMAN, *(str(system["decoder"]) for system in scores["systems"])]


def make_columns(scores: Mapping[str, Any]) -> list[Column]:
    """The metrics that anything has, in their order, each with a cell a row.

    Args:
        scores: what scores.json holds: `metrics`, `reference` and `systems`.

    Raises:
        ValueError: `task`, `metrics` or `systems` is missing, or of another kind.
    """
    for name, kind in (("task", str), ("metrics", dict), ("systems", list)):
        if not isinstance(scores.get(name), kind):
            raise ValueError(f"these scores have no {name!r}: score the folder again")
    columns = []
    for name, about in scores["metrics"].items():
        human = entry(scores.get("reference") or {}, name)
        systems = [entry(system["metrics"], name) for system in scores["systems"]]
        if not any([human, *systems]):
            continue
        places = decimals([human, *systems])
        best = find_best(systems, human, about.get("better"), places)
        cells = [write(human, places), *(write(found, places, i in best) for i, found in enumerate(systems))]
        columns.append(
            Column(name, about.get("title") or name, about.get("unit") or "", about.get("better"),
                   about.get("about") or "", tuple(cells))
        )  # fmt: skip
    return columns


def entry(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is known of a metric: value, low, high, how; nothing where its value is none or not finite."""
    found = metrics.get(name) or {}
    kept = {key: found.get(key) for key in ("value", "low", "high")}
    finite = {key: value for key, value in kept.items() if value is not None and math.isfinite(value)}
    if "value" not in finite:
        return {}
    if len(finite) < 3:  # half an interval is none
        finite = {"value": finite["value"]}
    return finite | {key: found[key] for key in ("how", "n") if found.get(key) is not None}


def decimals(entries: Sequence[Mapping[str, Any]]) -> int:
    """Of a column: three digits or so of its largest number, and as many as half its intervals need; at most 6."""
    there = [found for found in entries if found]
    largest = max((abs(found["value"]) for found in there), default=0)
    places = 3 if largest < 2 else 2 if largest < 20 else 1 if largest < 2000 else 0
    while 0 < largest * 10**places < 10 and places < 6:
        places += 1
    widths = sorted((found["high"] - found["low"]) / 2 for found in there if "low" in found)
    typical = widths[len(widths) // 2] if widths else 0
    typical = typical if typical > largest * 1e-6 else 0  # an interval of rounding errors
    while 0 < typical * 10**places < 1 and places < 6:
        places += 1
    return places


def find_best(
    systems: Sequence[Mapping[str, Any]], human: Mapping[str, Any], better: str | None, places: int
) -> set[int]:
    """The systems whose value is the best, or reads the same; none where there is nothing to choose from."""
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


def write(found: Mapping[str, Any], places: int, best: bool = False) -> Cell:
    """A cell of an entry."""
    if not found:
        return Cell(MISSING)
    texts = {key: f"{round(found[key], places) + 0.0:.{places}f}" for key in ("value", "low", "high") if key in found}
    return Cell(texts["value"], texts.get("low"), texts.get("high"), best)


def bracketed(cell: Cell) -> str:
    """Value and interval in a line."""
    return f"{cell.value} [{cell.low}, {cell.high}]" if cell.low else cell.value


def legend(columns: Iterable[Column]) -> str:
    """What the arrows say; the signs of Markdown."""
    kinds = dict.fromkeys(column.better for column in columns if column.better in SIGNS)
    said = "; ".join(f"{SIGNS[kind]} {WORDS[kind]}" for kind in kinds if kind)
    return f"{said}; bold: the best system." if said else ""


def explain(scores: Mapping[str, Any], column: Column) -> str:
    """What a metric is, which way is better, and what its intervals are."""
    rows = [scores.get("reference") or {}, *(system["metrics"] for system in scores["systems"])]
    hows = dict.fromkeys(how for metrics in rows if (how := entry(metrics, column.name).get("how")))
    intervals = f"brackets: {', '.join(hows)}" if hows else ""
    parts = [column.about, WORDS.get(column.better or "", ""), intervals]
    return "; ".join(part.rstrip(".") for part in parts if part) + "."


def languages(scores: Mapping[str, Any]) -> list[str]:
    """Of the texts, where there are several; in the order in which they come."""
    return list(
        dict.fromkeys(name for system in scores["systems"] for name in system.get("isotropy_by_language") or {})
    )


def by_language(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """A table of the last layer's isotropy in each language, where there are several."""
    if not (found := languages(scores)):
        return
    lines = ["Isotropy of the last layer, by language:", ""]
    lines += [row(["system", *map(plain, found)]), row(["---", *["---:"] * len(found)])]
    humans = [{"decoder": HUMAN, **scores["human"]}] if scores.get("human") else []
    for system in [*humans, *scores["systems"]]:
        curves = [(system.get("isotropy_by_language") or {}).get(name) for name in found]
        cells = [f"{curve[-1][1]:.3f}" if curve else MISSING for curve in curves]
        lines.append(row([plain(system["decoder"]), *cells]))
    yield lines


def compared(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """For each metric with paired comparisons, a table: row less column, and a star where p is below .05."""
    pairs = scores.get("paired") or []
    there = {column.name: column for column in make_columns(scores)}
    for name in dict.fromkeys(pair["metric"] for pair in pairs):
        if name not in there:
            continue
        own = {(pair["a"], pair["b"]): pair for pair in pairs if pair["metric"] == name}
        order = [name for name in names(scores)[1:] if any(name in pair for pair in own)]
        places = decimals([{"value": pair["difference"]} for pair in own.values() if pair["difference"] is not None])
        corrected = "p, corrected by Holm," if all("p_holm" in pair for pair in own.values()) else "p"
        lines = [f"<details><summary>{plain(there[name].title)}: row less column</summary>", ""]
        lines += [row(["", *map(plain, order)]), row(["---", *["---:"] * len(order)])]
        for a in order:
            lines.append(row([plain(a), *(difference(own, a, b, places) for b in order)]))
        yield [*lines, "", rf"\*: {corrected} is below .05, prompt by prompt.", "", "</details>"]


def difference(own: Mapping[tuple[str, str], Mapping[str, Any]], a: str, b: str, places: int) -> str:
    """A cell of `compared`."""
    pair, sign = (own[a, b], 1) if (a, b) in own else (own.get((b, a)), -1)
    if pair is None or pair["difference"] is None:
        return ""
    p = pair.get("p_holm", pair.get("p"))
    star = r"\*" if p is not None and p < 0.05 else ""
    return f"{round(sign * pair['difference'], places) + 0.0:+.{places}f}{star}"


def flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested tables, by names with dots, each in a line."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield " ".join(f"{before}{name}".split()), " ".join(str(value).split())


def plain(text: Any) -> str:
    """Text that Markdown leaves as it is."""
    text = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(
        "\\" + sign if sign in set(string.punctuation) - set("&;<>.,:()/%=+-'\"?") else sign for sign in text
    )


def mark_up(cell: Cell) -> str:
    """A cell in Markdown."""
    return bracketed(cell).replace(cell.value, f"**{cell.value}**", 1) if cell.best else bracketed(cell)


def row(cells: Iterable[str]) -> str:
    """A row in Markdown."""
    return f"| {' | '.join(cells)} |"


def tex(text: Any) -> str:
    """Text that LaTeX leaves as it is; two hyphens are no dash."""
    return re.sub("-(?=-)", "-{}", " ".join(str(text).split()).translate(TEX))


def tex_heading(column: Column) -> str:
    """Title, unit and sign, a word a line: intervals are narrow."""
    words = [tex(word) for word in column.heading.split()] or [""]
    words[-1] = f"{words[-1]} {TEX_SIGNS.get(column.better or '', '')}".strip()
    stack = r" \\ ".join(words)
    return stack if len(words) == 1 else rf"\shortstack[r]{{{stack}}}"


def digits(text: str) -> str:
    """A number in LaTeX, with a minus sign."""
    return "--" if text == MISSING else text.replace("-", "$-$")


def tex_range(cell: Cell) -> str:
    """An interval, small."""
    return rf"\scriptsize{{[}}{digits(cell.low or '')}, {digits(cell.high or '')}{{]}}" if cell.low else ""


def tex_row(cells: Iterable[str]) -> str:
    """A row in LaTeX."""
    return " & ".join(cells) + r" \\"
