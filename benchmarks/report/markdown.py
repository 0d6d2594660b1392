"""Tables of scores in Markdown: the systems, isotropy by language, and comparisons in pairs."""

import string
from collections.abc import Iterator, Mapping
from typing import Any

from scorers._common.markdown import markdown_table

from .tables import (
    HUMAN,
    MISSING,
    SIGNS,
    Cell,
    bracketed,
    decimals,
    explain,
    flat,
    languages,
    legend,
    make_columns,
    names,
    notes_of,
)


def markdown(scores: Mapping[str, Any]) -> str:
    """A page of Markdown, as GitHub reads it: the table, what its columns are, comparisons in pairs, and the signature.

    Args:
        scores: the content of scores.json.

    Example:
        >>> how = {"title": "MAUVE", "better": "higher"}
        >>> systems = [{"decoder": "greedy", "metrics": {"mauve": {"value": 0.08, "low": 0.07, "high": 0.1}}}]
        >>> print(markdown({"task": "news", "metrics": {"mauve": how}, "systems": systems}).splitlines()[4])
        | *human* | - |
    """
    columns = make_columns(scores)
    lines = [f"# {plain(scores['task'])}", ""]
    headings = [f"{plain(column.heading)} {SIGNS.get(column.better or '', '')}".strip() for column in columns]
    rows = []
    for number, name in enumerate(names(scores)):
        title = f"*{HUMAN}*" if number == 0 else plain(name)
        rows.append([title, *(mark_up(column.cells[number]) for column in columns)])
    lines += numbers(["system", *headings], rows)
    lines += ["", legend(columns), ""]
    lines += [f"* **{plain(column.heading)}**: {plain(explain(scores, column))}" for column in columns]
    if noted := notes_of(scores, columns):
        lines += ["", "Notes:", "", *(f"* **{plain(title)}**: {plain(text)}" for title, text in noted)]
    lines += [line for found in [*by_language(scores), *compared(scores)] for line in ["", *found]]
    signature = [f"{name}: {value}" for name, value in flat(scores.get("signature") or {})]
    signature += [" ".join(str(system["signature"]).split()) for system in scores["systems"] if system.get("signature")]
    lines += ["", "```text", *(line.replace("```", "` ` `") for line in signature), "```", ""]
    return "\n".join(lines)


def by_language(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a table of the last layer's isotropy in each language, if there are several languages."""
    if not (found := languages(scores)):
        return
    lines = ["Isotropy of the last layer, by language:", ""]
    rows = []
    humans = [{"decoder": HUMAN, **scores["human"]}] if scores.get("human") else []
    for system in [*humans, *scores["systems"]]:
        curves = [(system.get("isotropy_by_language") or {}).get(name) for name in found]
        cells = [f"{curve[-1][1]:.3f}" if curve else MISSING for curve in curves]
        rows.append([plain(system["decoder"]), *cells])
    yield [*lines, *numbers(["system", *map(plain, found)], rows)]


def compared(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a table for each metric with paired comparisons: row minus column, with a star if p is below .05."""
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
        rows = [[plain(a), *(difference(own, a, b, places) for b in order)] for a in order]
        lines += numbers(["", *map(plain, order)], rows)
        yield [*lines, "", rf"\*: {corrected} is below .05, prompt by prompt.", "", "</details>"]


def difference(own: Mapping[tuple[str, str], Mapping[str, Any]], a: str, b: str, places: int) -> str:
    """A cell of `compared`."""
    pair, sign = (own[a, b], 1) if (a, b) in own else (own.get((b, a)), -1)
    if pair is None or pair["difference"] is None:
        return ""
    p = pair.get("p_holm", pair.get("p"))
    star = r"\*" if p is not None and p < 0.05 else ""
    return f"{round(sign * pair['difference'], places) + 0.0:+.{places}f}{star}"


def plain(text: Any) -> str:
    """Text in which Markdown's special characters are escaped."""
    text = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(
        "\\" + sign if sign in set(string.punctuation) - set("&;<>.,:()/%=+-'\"?") else sign for sign in text
    )


def mark_up(cell: Cell) -> str:
    """A cell in Markdown."""
    return bracketed(cell).replace(cell.value, f"**{cell.value}**", 1) if cell.best else bracketed(cell)


def numbers(headings: list[str], rows: list[list[str]]) -> list[str]:
    """A table in which all columns but the first are numbers."""
    return markdown_table(headings, rows, right=range(1, len(headings)))
