"""Tables of scores in LaTeX, for a paper."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .tables import DAGGER, HUMAN, MISSING, SIGNS, Cell, Column, flat, legend, make_columns, names, notes_of

TEX_SIGNS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "reference": r"$\approx$"}
TEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
})  # fmt: skip
PANEL = 4  # how many metrics stand side by side on a printed page


def latex(scores: Mapping[str, Any]) -> str:
    """Tables for a paper, with booktabs: four metrics in each, as fits a column of text. The best values are bold.

    It needs `booktabs`. Names that are not ASCII need XeLaTeX, LuaLaTeX, or fonts that have the characters.

    Args:
        scores: the content of scores.json.

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
        caption = caption.replace(DAGGER, r"$^\dagger$")
        number = "" if start == 0 else f", part {start // PANEL + 1}"
        lines += [r"\begin{table}", r"  \centering", r"  \small", r"  \setlength{\tabcolsep}{3pt}"]
        lines += tabular(shown, names(scores))
        lines += [
            rf"  \par\smallskip\footnotesize {tex(title)}: {tex(text)}" for title, text in notes_of(scores, shown)
        ]
        lines.append(rf"  \caption{{{tex(scores['task'])}{number}. {caption}".rstrip() + "}")
        lines += [rf"  \label{{tab:{label}{number.replace(', part ', '-')}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def tabular(columns: Sequence[Column], rows: Sequence[str]) -> Iterator[str]:
    """Yield the lines of some of the columns in LaTeX, with the intervals below the values."""
    yield rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield r"    \toprule"
    yield f"    {tex_row(['', *map(tex_heading, columns)])}"
    yield r"    \midrule"
    for number, name in enumerate(rows):
        cells = [column.cells[number] for column in columns]
        values = [rf"\textbf{{{digits(cell.value)}}}" if cell.best else digits(cell.marked) for cell in cells]
        title = rf"\emph{{{HUMAN}}}" if number == 0 else tex(name)
        yield f"    {tex_row([title, *values])}"
        if any(cell.low for cell in cells):
            yield f"    {tex_row(['', *map(tex_range, cells)])}"
            yield r"    \addlinespace[2pt]"
        if number == 0 and len(rows) > 1:
            yield r"    \midrule"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"


def tex(text: Any) -> str:
    """Text in which LaTeX's special characters are escaped, and two hyphens do not become a dash."""
    return re.sub("-(?=-)", "-{}", " ".join(str(text).split()).translate(TEX))


def tex_heading(column: Column) -> str:
    """Title, unit and sign, with a word on each line, since the columns are narrow."""
    words = [tex(word) for word in column.heading.split()] or [""]
    words[-1] = f"{words[-1]} {TEX_SIGNS.get(column.better or '', '')}".strip()
    stack = r" \\ ".join(words)
    return stack if len(words) == 1 else rf"\shortstack[r]{{{stack}}}"


def digits(text: str) -> str:
    """A number in LaTeX, with a proper minus sign."""
    return "--" if text == MISSING else text.replace("-", "$-$").replace(DAGGER, r"$^\dagger$")


def tex_range(cell: Cell) -> str:
    """An interval in small type."""
    return rf"\scriptsize{{[}}{digits(cell.low or '')}, {digits(cell.high or '')}{{]}}" if cell.low else ""


def tex_row(cells: Iterable[str]) -> str:
    """A row in LaTeX."""
    return " & ".join(cells) + r" \\"
