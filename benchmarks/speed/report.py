"""The report of `python -m benchmarks speed`: a table for each case, the targets, and cost against context length."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorers._common.files import replacing
from scorers._common.markdown import markdown_table

from .cases import GREEDY, median_ms
from .timing import interval, ratios


@dataclass(frozen=True)
class Bar:
    """A target: the cost of `above` divided by the total cost of those in `below` is at most `target`.

    Args:
        case: the name of the case.
        above: the way whose cost is judged.
        below: the ways that it is compared with. For a count it may be empty: then the count itself is judged.
        target: the most that is allowed.
        key: "seconds", or a count: "cache" or "positions".
        over: take the ratio minus 1, which is what comes on top.
    """

    case: str
    above: str
    below: tuple[str, ...]
    target: float
    key: str = "seconds"
    over: bool = False

    @property
    def name(self) -> str:
        """The name for readers."""
        what = {"seconds": "time", "cache": "cache, above", "positions": "positions read"}[self.key]
        return f"{self.case}: {what}, {self.above}" + (f" / {' + '.join(self.below)}" if self.below else "")

    def values(self, case: Mapping[str, Any]) -> list[float] | None:
        """The values of each round, or the one value of a count. None if the run did not measure these ways."""
        ways = case["ways"]
        if not {self.above, *self.below} <= ways.keys():
            return None
        if self.key == "seconds":
            return ratios({name: way["seconds"] for name, way in ways.items()}, self.above, self.below)
        value = ways[self.above][self.key]
        if self.below:
            value = value / sum(ways[name][self.key] for name in self.below) - self.over
        return [value]


def bars() -> Iterator[Bar]:
    """Yield the targets of this project, for the embedded model in float32 on two cores."""
    packed = ", packed"
    for context, target, target_packed in ((32, 1.2, 0.7), (512, 1.3, 0.85), (1500, 1.2, 0.7)):
        case = f"batch 1, context {context}"
        yield Bar(case, "ours, contrastive k=5", (GREEDY,), target)
        yield Bar(case, "ours, contrastive k=5" + packed, (GREEDY,), target_packed)
    for batch, context, k, target, target_packed in ((1, 1500, 5, 0.37, 0.25), (8, 512, 8, 0.26, 0.16)):
        case, old = f"batch {batch}, context {context}", f"transformers 4.55, contrastive k={k}"
        yield Bar(case, f"ours, contrastive k={k}", (old,), target)
        yield Bar(case, f"ours, contrastive k={k}{packed}", (old,), target_packed)
    yield Bar("batch 1, context 1500", "ours, contrastive k=5", (GREEDY,), 0.02, "cache", over=True)
    for context in (32, 512, 1500):
        for what in ("greedy", "sampling"):
            case, peer = f"batch 1, context {context}", f"model.generate, {what}"
            yield Bar(case, f"ours, {what}", (peer,), 1.03)
            yield Bar(case, f"ours, {what}{packed}", (peer,), 0.7)
    for context in (32, 512):
        case = f"batch 1, context {context}"
        yield Bar(case, "ours, second prompt", (GREEDY,), 1.45)
        yield Bar(case, "ours, second prompt" + packed, (GREEDY + packed,), 1.15)
        yield Bar(case, "ours, STEER", (GREEDY, GREEDY + ", expert"), 1.1)
        yield Bar(case, "ours, STEER with negatives", (GREEDY, *[GREEDY + ", expert"] * 2), 1.1)
    case = "reranking, prefix 256"
    yield Bar(case, "ours, reranking", ("RankGen's loop, reranking",), 0.25)
    yield Bar(case, "ours, reranking", (), 2600, "positions")


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    settings = results["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
    lines = [
        f"{settings['model']} in {settings['dtype']}, {settings['threads']} thread{'s' * (settings['threads'] > 1)} "
        f"({settings['clock']}), {settings['processor']}; {versions}; {settings['new_tokens']} tokens, "
        f"{settings['rounds']} rounds.",
        "",
        *bar_table(results),
    ]
    for name, case in results["cases"].items():
        lines += ["", f"### {name[0].upper()}{name[1:]}", "", *case_table(case, settings)]
    return "\n".join(lines) + "\n"


def bar_table(results: Mapping[str, Any]) -> list[str]:
    """A table of each target, what was measured, and whether it was reached."""
    rows = []
    for bar in bars():
        values = bar.values(results["cases"][bar.case]) if bar.case in results["cases"] else None
        if values is None:
            rows.append([bar.name, f"{bar.target:g}", "", "", "not measured"])
            continue
        value = statistics.median(values)
        low_high = f"{interval(values)[0]:.3f} to {interval(values)[1]:.3f}" if bar.key == "seconds" else "counted"
        shown = f"{value:.0f}" if value >= 100 else f"{value:.3f}"
        rows.append([bar.name, f"{bar.target:g}", shown, low_high, "reached" if value <= bar.target else "missed"])
    return markdown_table(["bar", "at most", "measured", "interval", ""], rows, right=[1, 2])


def case_table(case: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """A table with a row for each way. Ratios are against transformers' own greedy search, or against the first way."""
    ways = case["ways"]
    base = GREEDY if GREEDY in ways else next(iter(ways))
    seconds = {name: way["seconds"] for name, way in ways.items()}
    read = case["read_seconds"]
    speed = settings["weights_bytes"] / statistics.median(read) / 1e9
    whole = "context" not in case
    lines = [
        f"Reading {settings['weights_bytes'] / 1e6:.0f} MB of weights takes {median_ms(read):.1f} ms "
        f"({speed:.1f} GB/s); load of the machine {case['load'][0]:.1f} to {case['load'][1]:.1f}.",
        "",
    ]
    headings = [
        "", f"ms{'' if whole else ' a token'}", "of the first, within rounds", "interval", "of medians", "of the read",
        "forwards", "positions", "cache MB", "peak MB", "tokens",
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for name, way in ways.items():
        within = ratios(seconds, name, [base])
        low, high = interval(within)
        limit = "" if whole else f"{statistics.median(ratios({**seconds, 'read': read}, name, ['read'])):.2f}"
        tokens = {True: "the same", False: "others", None: ""}[way["same_tokens"]]
        medians = statistics.median(seconds[name]) / statistics.median(seconds[base])
        ratio = [f"{statistics.median(within):.2f}", f"{low:.2f} to {high:.2f}", f"{medians:.2f}", limit]
        memory = [f"{way[name] / 1e6:.1f}" for name in ("cache", "peak")]
        rows.append(
            [name, f"{median_ms(seconds[name]):.1f}", *ratio, way["forwards"], way["positions"], *memory, tokens]
        )
    return [*lines, *markdown_table(headings, rows, right=[1, 2, *range(4, 10)])]


def plot(results: Mapping[str, Any], file: Path) -> bool:
    """Plot milliseconds a token against context length, with a panel for each batch size.

    False if there is nothing to draw.
    """
    import matplotlib.pyplot as plt

    found = [case for case in results["cases"].values() if "context" in case]
    batches = sorted({case["batch"] for case in found})
    if not batches:
        return False
    figure, panels = plt.subplots(1, len(batches), figsize=(6 * len(batches), 4.5), squeeze=False, layout="constrained")
    for panel, batch in zip(panels[0], batches, strict=True):
        draw(panel, sorted((case for case in found if case["batch"] == batch), key=lambda case: case["context"]))
        panel.set(title=f"batch {batch}", xlabel="context, tokens", ylabel="ms a token", yscale="log")
    panels[0][-1].legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    with replacing(file) as scratch:
        figure.savefig(scratch)
    plt.close(figure)
    return True


def draw(panel: Any, found: Sequence[Mapping[str, Any]]) -> None:
    """Draw a line for each way: dashed for peers, dotted for packed weights."""
    names = list(dict.fromkeys(name for case in found for name in case["ways"]))
    for name in names:
        points = [(case["context"], median_ms(case["ways"][name]["seconds"])) for case in found if name in case["ways"]]
        style = ":" if name.endswith(", packed") else "-" if name.startswith("ours") else "--"
        panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=name)
