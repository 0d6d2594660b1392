"""The plots of a report as one picture, report.svg, for places that cannot show a page: READMEs, papers, slides."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import tables

# (x, y); the first two pairs whose metrics are both in the scores are drawn
TRADE_OFFS = [("diversity", "coherence"), ("seconds", "mauve"), ("rep_4", "perplexity"), ("gen_length", "self_bleu")]
MARKERS = "osD^vPX"


def draw(scores: Mapping[str, Any], file: Path) -> None:
    """Draw the plots of a report: trade-offs of two metrics, MAUVE's frontier, and isotropy by layer.

    A plot whose numbers are not in the scores is left out.

    Args:
        scores: the content of scores.json.
        file: the file to write, .svg, .pdf or .png.

    Raises:
        ValueError: these are not scores.

    Example:
        >>> import tempfile
        >>> how = {"title": "x"}
        >>> values = {"diversity": {"value": 0.9}, "coherence": {"value": -2.0}}
        >>> systems = [{"decoder": "greedy", "metrics": values}]
        >>> scores = {"task": "news", "metrics": {"diversity": how, "coherence": how}, "systems": systems}
        >>> file = Path(tempfile.mkdtemp()) / "report.svg"
        >>> draw(scores, file)
        >>> "greedy" in file.read_text()
        True
    """
    import matplotlib

    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts may have the letters
        paint(scores).savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def paint(scores: Mapping[str, Any]) -> Any:
    """The figure of `draw`: two panels in a row, and one legend for all of them."""
    from matplotlib.figure import Figure

    columns = {column.name: column for column in tables.make_columns(scores)}
    pairs = [pair for pair in TRADE_OFFS if set(pair) <= columns.keys()][:2]
    curves = [
        (name, axes)
        for name, axes in (("frontier", ("exp(-c KL(Q|R))", "exp(-c KL(P|R))")), ("isotropy", ("layer", "isotropy")))
        if any(system.get(name) for system in scores["systems"])
    ]
    number = max(1, len(pairs) + len(curves))
    figure = Figure(figsize=(4.6 * min(number, 2), 3.6 * -(-number // 2) + 0.5), layout="constrained")
    panels = figure.subplots(-(-number // 2), min(number, 2), squeeze=False).ravel()
    for panel, pair in zip(panels, pairs, strict=False):
        draw_trade_off(panel, scores, [columns[name] for name in pair])
    for panel, (name, axes) in zip(panels[len(pairs) :], curves, strict=False):
        draw_curves(panel, scores, name, axes)
    for panel in panels[len(pairs) + len(curves) :]:
        panel.set_axis_off()
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_trade_off(panel: Any, scores: Mapping[str, Any], columns: list[tables.Column]) -> None:
    """Plot one metric against another, with intervals. Lines and a star show the values of the human texts."""
    x, y = (column.name for column in columns)
    for number, (name, metrics) in enumerate(rows(scores)):
        found = [tables.entry(metrics, metric) for metric in (x, y)]
        if number == 0:
            for one, line in zip(found, (panel.axvline, panel.axhline), strict=True):
                if one:
                    line(one["value"], color="0.6", linestyle=":", linewidth=1)
        if not all(found):
            continue
        errors = [
            [[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]] if "low" in one else None
            for one in found
        ]
        style = {"color": "black", "marker": "*", "markersize": 9} if number == 0 else look(number - 1)
        panel.errorbar(
            found[0]["value"],
            found[1]["value"],
            xerr=errors[0],
            yerr=errors[1],
            label=tame(name),
            linestyle="none",
            elinewidth=0.8,
            **style,
        )
    for column, name in zip(columns, (panel.set_xlabel, panel.set_ylabel), strict=True):
        name(tame(" ".join(filter(None, [column.heading, f"({better})" if (better := word(column)) else ""]))))


def draw_curves(panel: Any, scores: Mapping[str, Any], name: str, axes: tuple[str, str]) -> None:
    """Plot a curve for each system that has one, and for the human texts."""
    if curve := (scores.get("human") or {}).get(name):
        panel.plot(*zip(*curve, strict=True), label=tables.HUMAN, linewidth=1.2, color="black", linestyle="--")
    for number, system in enumerate(scores["systems"]):
        if curve := system.get(name):
            style = {**look(number), "marker": "none"}
            panel.plot(*zip(*curve, strict=True), label=tame(system["decoder"]), linewidth=1.2, **style)
    panel.set_xlabel(axes[0])
    panel.set_ylabel(axes[1])


def rows(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The name and the metrics of the human texts and of each system."""
    systems = [(str(system["decoder"]), system["metrics"]) for system in scores["systems"]]
    return [(tables.HUMAN, scores.get("reference") or {}), *systems]


def look(number: int) -> dict[str, Any]:
    """The colour and marker of a system. The first seventy systems all look different."""
    return {"color": f"C{number % 10}", "marker": MARKERS[(number + number // 10) % len(MARKERS)], "markersize": 5}


def word(column: tables.Column) -> str:
    """Which way is better, in a word."""
    return {"reference": "near human"}.get(column.better or "", column.better or "")


def tame(text: Any) -> str:
    """Text in which matplotlib finds no mathematics, and which it does not leave out as a label."""
    return " ".join(str(text).encode("utf-8", "replace").decode().replace("$", r"\$").split()).lstrip("_") or "?"
