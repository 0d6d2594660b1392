"""Build the report of a run: report.md, report.tex, report.svg, and report.html, a file that needs no network.

The page is rendered from `page/`. Its table is there without scripts. Its script draws plots and texts from the data
that the page carries. No text of a model is ever read as markup: jinja2 escapes all that it writes, the data are JSON
without `<`, and the page's policy allows only its own script, known by its hash.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from decoding.trace.html import load_template, make_policy, read_source, to_json
from scorers._common.files import finite, read_json_lines, replacing

from . import plots, tables
from .latex import latex
from .markdown import markdown
from .tables import HUMAN, WORDS, Column
from .terminal import show

__all__ = ["html", "latex", "markdown", "report", "show"]

SCRIPTS = ("base.js", "table.js", "plots.js", "samples.js")  # after elements.js, which traces share
COLOURS = 12  # the number of colours in page.css


def report(folder: Path, output: Path) -> list[Path]:
    """Write report.md, report.tex, report.svg and report.html, each in one move, and return their paths.

    Args:
        folder: a folder with scores.json and, for the texts of the page, generations.jsonl.
        output: the folder to write to. It is made if it is missing.

    Raises:
        ValueError: there is no scores.json, or it is not a table of scores.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "scores.json").write_text('{"task": "news", "metrics": {}, "systems": []}')
        >>> [file.name for file in report(folder, folder)]
        ['report.md', 'report.tex', 'report.svg', 'report.html']
    """
    scores, generations = read_scores(folder), read_generations(folder)
    pages = {
        "report.md": markdown(scores),
        "report.tex": latex(scores),
        "report.html": html(scores, generations),
    }
    output.mkdir(parents=True, exist_ok=True)
    files = [output / name for name in ("report.md", "report.tex", "report.svg", "report.html")]
    for file in files:
        with replacing(file) as scratch:
            if file.name in pages:  # do not fail because of half a surrogate pair in a name
                scratch.write_bytes(pages[file.name].encode("utf-8", errors="replace"))
            else:
                plots.draw(scores, scratch)
    return files


def read_scores(folder: Path) -> dict[str, Any]:
    """Read the scores of a folder.

    Raises:
        ValueError: there are none, or they are not a table.
    """
    file = folder / "scores.json"
    try:
        scores = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no scores.json in {folder}: score it first") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}): score the folder again") from None
    if not isinstance(scores, dict):
        raise ValueError(f"{file} holds no scores: score the folder again")
    return scores


def read_generations(folder: Path) -> list[dict[str, Any]]:
    """Read the texts of a folder. If it has a task.json, only those that it names.

    A last line that is still being written is left out.

    Raises:
        ValueError: a complete line is not a row. The message has its number.
    """

    def check(row: Any, place: str) -> dict[str, Any]:
        row["key"], row["decoder"], row["prompt"], row["prefix"], row["continuation"]
        return row

    rows: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("generations*.jsonl")):  # a killed run may leave files of several processes
        found = read_json_lines(file, check, foreign=" is no text of a benchmark: give another folder")
        rows |= {row["key"]: row for row in found}
    try:
        keys = json.loads((folder / "task.json").read_text(encoding="utf-8"))["keys"]
    except (OSError, ValueError, TypeError, KeyError):
        return list(rows.values())
    return [rows[key] for key in keys if key in rows]


def html(scores: Mapping[str, Any], generations: Iterable[Mapping[str, Any]]) -> str:
    """The page: the table, plots of one metric against another, curves, comparisons, and the texts themselves.

    Args:
        scores: the content of scores.json.
        generations: rows of generations.jsonl. Those of systems without scores are left out, and the page names these.

    Raises:
        ValueError: these are not scores.

    Example:
        >>> page = html({"task": "<b>", "metrics": {}, "systems": []}, [])
        >>> "&lt;b&gt;" in page, "<b>" in page
        (True, False)
    """
    rows = list(generations)
    columns = tables.make_columns(scores)
    systems = [str(system["decoder"]) for system in scores["systems"]]
    samples = gather(rows, systems)
    elements = read_source("decoding.trace", "elements.js")
    script = "\n".join([elements, *(read_source("benchmarks.report", name) for name in SCRIPTS)])
    style = read_source("benchmarks.report", "page.css")
    return load_template("benchmarks.report", "page.html").render(
        task=scores["task"],
        columns=columns,
        ranges=[ranges(scores, column) for column in columns],
        explanations=[tables.explain(scores, column) for column in columns],
        notes=tables.notes_of(scores, columns),
        systems=scores["systems"],
        parameters=[json.dumps(system.get("parameters"), ensure_ascii=False) for system in scores["systems"]],
        colours=COLOURS,
        names=tables.names(scores),
        human=HUMAN,
        words=WORDS,
        signs=tables.SIGNS,
        signature=list(tables.flat(scores.get("signature") or {})),
        prompts=len(samples["prompts"]),
        unscored=sorted({str(row["decoder"]) for row in rows} - set(systems)),
        frontier=any(system.get("frontier") for system in scores["systems"]),
        isotropy=any(system.get("isotropy") for system in scores["systems"]),
        human_isotropy=bool((scores.get("human") or {}).get("isotropy")),
        languages=tables.languages(scores),
        paired=bool(scores.get("paired")),
        data=to_json(finite(describe(scores, columns, rows) | samples)),
        style=Markup(style),
        script=Markup(script),
        policy=make_policy(style, script),
    )


def describe(scores: Mapping[str, Any], columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of the plots: metrics, the entries of each row, curves, and pairs."""
    metrics: dict[str, Any] = {
        column.name: {
            "title": column.heading,
            "unit": column.unit,
            "better": column.better,
            "cells": [vars(cell) for cell in column.cells],
        }
        for column in columns
    }
    entries = {
        name: [
            tables.entry(scores.get("reference") or {}, name),
            *(tables.entry(system["metrics"], name) for system in scores["systems"]),
        ]
        for name in metrics
    }
    human = scores.get("human") or {}
    if "seconds" not in metrics and (speeds := tokens_a_second(scores, rows)):
        metrics["speed"] = {"title": "tokens a second", "unit": "", "better": "higher", "cells": None}
        entries["speed"] = [{}, *speeds]
    return {
        "metrics": metrics,
        "entries": entries,
        "systems": tables.names(scores)[1:],
        "frontier": [system.get("frontier") for system in scores["systems"]],
        "isotropy": [system.get("isotropy") for system in scores["systems"]],
        "languages": [system.get("isotropy_by_language") or {} for system in scores["systems"]],
        "human": {"isotropy": human.get("isotropy"), "languages": human.get("isotropy_by_language") or {}},
        "paired": scores.get("paired") or [],
    }


def tokens_a_second(scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """All tokens of each system over all its seconds. None if the rows do not have them."""
    found = []
    for system in scores["systems"]:
        own = [row for row in rows if row["decoder"] == system["decoder"] and row.get("seconds") and "tokens" in row]
        seconds = math.fsum(row["seconds"] for row in own)
        found.append({"value": sum(row["tokens"] for row in own) / seconds} if seconds else {})
    return found if any(found) else None


def gather(rows: Iterable[Mapping[str, Any]], systems: Sequence[str]) -> dict[str, Any]:
    """The prompts, each once, with their texts: system, seed, text, tokens, whether it ended, seconds."""
    place = {name: i for i, name in enumerate(systems)}
    prompts: dict[tuple[Any, str], dict[str, Any]] = {}
    for row in rows:
        if row["decoder"] not in place:
            continue
        key = (row["prompt"], row["prefix"])
        prompt = prompts.setdefault(
            key, {"id": str(row["prompt"]), "prefix": row["prefix"], "reference": row.get("reference"), "texts": []}
        )
        prompt["texts"].append(
            [
                place[row["decoder"]],
                row.get("seed"),
                row["continuation"],
                row.get("tokens"),
                row.get("finished"),
                row.get("seconds"),
            ]
        )
    for prompt in prompts.values():
        prompt["texts"].sort(key=lambda text: text[0])  # stable: seeds stay in order
    return {"prompts": list(prompts.values())}


def ranges(scores: Mapping[str, Any], column: Column) -> list[dict[str, float] | None]:
    """The position of each value and interval of a column, and of the human value, on a line from 2 to 98 per cent."""
    rows = [scores.get("reference") or {}, *(system["metrics"] for system in scores["systems"])]
    found = [tables.entry(metrics, column.name) for metrics in rows]
    every = [number for one in found for name in ("value", "low", "high") if (number := one.get(name)) is not None]
    low, high = min(every, default=0.0), max(every, default=0.0)
    human = found[0].get("value")

    def at(number: float) -> float:
        return round(2 + 96 * (number - low) / (high - low), 2) if high > low else 50.0

    return [
        {name: at(one[name]) for name in ("value", "low", "high") if name in one}
        | ({} if human is None else {"human": at(human)})
        if one
        else None
        for one in found
    ]
