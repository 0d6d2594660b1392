"""Scores of texts, whatever made them: of a folder of the harness, or of a file of continuations."""

import hashlib
import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from scorers._common.files import finite, read_lines

from ..metrics.comparison import compare_paired, holm
from ..metrics.mauve import Mauve
from ..metrics.protocols import Protocol
from ..metrics.uncertainty import Bootstrapped, Estimate, over_runs
from .generating import SETTINGS, Rows, installed, weights_of
from .measures import Judge, Metric, Texts
from .notes import HUMAN, Notes

SCORES = "scores.json"


@dataclass(frozen=True)
class Continued:
    """The texts of a file.

    Args:
        prefixes: N prefixes.
        references: N human continuations.
        runs: runs of N continuations each.
    """

    prefixes: list[str]
    references: list[str]
    runs: list[list[str]]

    @classmethod
    def read(cls, file: Path) -> "Continued":
        """Read JSON lines with `prefix`, `reference` and `continuations`, a list with one text for each run.

        The file may be packed as .gz.

        Raises:
            ValueError: a line is wrong. The message has its number, from 1.
        """
        found: list[tuple[str, str, list[str]]] = []
        for _, place, line in read_lines(file):
            try:
                row = json.loads(line)
                prefix, reference, runs = row["prefix"], row["reference"], row["continuations"]
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: not JSON ({error})") from None
            except (TypeError, KeyError):
                raise ValueError(f'{place}: needs "prefix", "reference" and "continuations"') from None
            texts = [prefix, reference, *(runs if isinstance(runs, list) else [None])]
            if not all(isinstance(text, str) for text in texts) or not runs:
                raise ValueError(f"{place}: prefix and reference are texts, continuations a list of at least one text")
            if found and len(found[0][2]) != len(runs):
                raise ValueError(f"{place}: {len(runs)} continuations, and {len(found[0][2])} before: one for each run")
            found.append((prefix, reference, runs))
        if not found:
            raise ValueError(f"no texts in {file}")
        prefixes, references, runs = (list(column) for column in zip(*found, strict=True))
        return cls(prefixes, references, [list(run) for run in zip(*runs, strict=True)])


def measure(metrics: Iterable[Metric], texts: Texts, notes: Notes, name: str) -> dict[str, Estimate]:
    """Compute every metric of one run.

    A metric that cannot be computed for these texts is left out. Its error and its warnings go into the notes.

    Args:
        metrics: the metrics to compute.
        texts: the texts of the run.
        notes: notes are added to these.
        name: the name of the run, for the notes.
    """
    found = {}
    prompts = len(set(texts.prompts))
    for metric in metrics:
        if metric.name == "seconds" and texts.seconds is None:
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found[metric.name] = metric.measure(texts)
            except ValueError as error:
                notes.add(metric.name, f"left out: {error}", name)
        said = [str(one.message) for one in caught if issubclass(one.category, UserWarning | RuntimeWarning)]
        for text in said:
            notes.add(metric.name, text, name, few=prompts < metric.least)
        if prompts < metric.least and not said:
            notes.add(
                metric.name, f"{prompts} prompts: under {metric.least} its intervals are too narrow", name, few=True
            )
    return found


def score_file(file: Path, metrics: Sequence[Metric], judge: Judge | None) -> dict[str, Any]:
    """The scores that `score FILE --json` prints: runs, the human reference, and one signature for all of them.

    Runs and reference have only the value, low and high of each metric. How each interval was made is in the signature.
    """
    found = Continued.read(file)
    prompts = list(range(len(found.prefixes)))
    runs = [Texts(judge, found.prefixes, found.references, run, prompts) for run in found.runs]
    notes = Notes()
    scored = [measure(metrics, texts, notes, f"run {number}") for number, texts in enumerate(runs, 1)]
    human = measure([metric for metric in metrics if metric.human], human_texts(runs[0]), notes, HUMAN)
    found_runs, reference = [as_json(one) for one in scored], as_json(human) | ceiling(scored)
    about = {"file": file.name, "texts": len(prompts), "sha256": hash_of(file)}
    about |= {"runs": [more_of(one) for one in found_runs], "reference": more_of(reference)}
    return finite(
        {
            "runs": [numbers_of(one) for one in found_runs],
            "reference": numbers_of(reference),
            "notes": notes.as_json(),
            "signature": sign(judge, scored) | about,
        }
    )


def score_folder(folder: Path, metrics: Sequence[Metric], judge: Judge | None) -> dict[str, Any]:
    """The scores that `score FOLDER` writes to scores.json.

    They are those of the systems and of the human reference, and comparisons of each two systems. If a metric is a sum
    over texts, several seeds of a system are pooled and resampled by prompt. For any other metric the mean of the runs
    is given, with their t interval.

    Raises:
        ValueError: the folder has no texts of a run, finished or not.
    """
    settings = read_settings(folder)
    every = Rows(folder, reads_only=True).rows
    rows = [every[key] for key in settings["keys"] if key in every]
    if not rows:
        raise ValueError(f"no texts in {folder}: run a task first")
    missing = len(settings["keys"]) - len(rows)
    if missing:
        rows, shared = keep_shared(rows)
        about = f", and {shared} prompts that all decoders have continued so far are scored" if shared else ""
        print(f"{missing} of {len(settings['keys'])} texts are still to be made{about}", file=sys.stderr)
    systems, pooled, notes = [], {}, Notes()
    for decoder in dict.fromkeys(row["decoder"] for row in rows):
        own = [row for row in rows if row["decoder"] == decoder]
        seeds = list(dict.fromkeys(row["seed"] for row in own))
        runs = [texts_of([row for row in own if row["seed"] == seed], judge) for seed in seeds]
        scored = [measure(metrics, run, notes, decoder) for run in runs]
        together = measure_pooled(metrics, runs, scored, texts_of(own, judge), notes, decoder)
        pooled[decoder] = together
        mauves = [found for run in runs if isinstance(found := run.known.get("mauve"), Mauve)]
        systems.append(
            {
                "decoder": decoder,
                "seeds": seeds,
                "texts": len(own),
                "metrics": as_json(together),
                "parameters": next((plan for plan in settings["decoders"] if plan["name"] == decoder), None),
                "frontier": mauves[0].curves.mean(0).tolist() if mauves else None,
                **curves_of(metrics, runs[0]),
                "signature": line_of(settings, decoder, seeds, own),
            }
        )
    first = texts_of(
        [row for row in rows if (row["decoder"], row["seed"]) == (rows[0]["decoder"], rows[0]["seed"])], judge
    )
    theirs = human_texts(first)
    human = measure([metric for metric in metrics if metric.human], theirs, notes, HUMAN)
    return finite(
        {
            "task": settings["task"],
            "signature": {name: settings[name] for name in ("model", "dtype", "versions", "commit", "config")}
            | {"judge": sign(judge, list(pooled.values())), "prompts": len(first.prompts)},
            "metrics": {
                m.name: {"title": m.title, "unit": m.unit, "better": m.better, "about": m.about} for m in metrics
            },
            "reference": as_json(human) | ceiling(list(pooled.values())),
            "human": curves_of(metrics, theirs),
            "systems": systems,
            "paired": compare_all(pooled),
            "notes": notes.as_json(),
        }
    )


def keep_shared(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The rows of an unfinished run whose prompts every system and seed has continued, and the number of these prompts.

    If there are no such prompts, it is all rows and 0.
    """
    runs: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        runs.setdefault((row["decoder"], row["seed"]), set()).add(name_of(row))
    shared = set.intersection(*runs.values())
    return ([row for row in rows if name_of(row) in shared], len(shared)) if shared else (rows, 0)


def name_of(row: dict[str, Any]) -> str:
    """A hash that identifies a row's prompt."""
    return hashlib.sha256(json.dumps([row["prompt"], row["prefix"]]).encode()).hexdigest()


def curves_of(metrics: Sequence[Metric], texts: Texts) -> dict[str, Any]:
    """The isotropy of every layer, of all texts and by language, if the metric is asked for."""
    layers = texts.layers_by_language if any(metric.name == "isotropy" for metric in metrics) else {}
    return {
        "isotropy": by_layer(layers.get(None, [])) or None,
        "isotropy_by_language": {str(name): by_layer(found) for name, found in layers.items() if name} or None,
    }


def by_layer(layers: Sequence[Any]) -> list[list[float]]:
    """(layer, isotropy within texts) of each layer."""
    return [[layer.layer, layer.within.value] for layer in layers]


def line_of(settings: dict[str, Any], decoder: str, seeds: Sequence[int], rows: Sequence[dict[str, Any]]) -> str:
    """All that a system's numbers depend on, in one line, in the form of sacreBLEU."""
    plan: dict[str, Any] = next((plan for plan in settings["decoders"] if plan["name"] == decoder), {})
    made = [f"{part.get('part')}({arguments_of(part)})" for part in plan.get("parts", [])]
    options = ",".join(f"{name}={value}" for name, value in plan.get("options", {}).items())
    lengths = {name: settings["of"].get(name) for name in ("prefix_tokens", "new_tokens")}
    batches = sorted({row["batch"] for row in rows if row.get("batch")})
    found = {
        "task": settings["task"],
        "model": settings["model"],
        "dtype": settings["dtype"],
        "decoder": "+".join(filter(None, [*made, options])) or "greedy",
        "seeds": ",".join(map(str, seeds)),
        "n": len(rows),
        **lengths,
        "batch": ",".join(map(str, batches)) or None,
        **settings["versions"],
        "commit": settings["commit"],
        "config": settings["config"],
    }
    return "|".join(f"{name}:{value}" for name, value in found.items() if value is not None)


def arguments_of(part: dict[str, Any]) -> str:
    """The arguments of a part in one line. Arguments that are parts or scorers are written as JSON."""
    return ",".join(
        f"{name}={json.dumps(value) if isinstance(value, dict) else value}"
        for name, value in part.items()
        if name != "part"
    )


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a folder: its task and what the texts were made with."""
    try:
        return json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no folder of a benchmark run: {error}") from error


def texts_of(rows: Sequence[dict[str, Any]], judge: Judge | None) -> Texts:
    """Rows as the metrics take them."""
    column = lambda name: [row[name] for row in rows]  # noqa: E731
    prompts = [name_of(row) for row in rows]
    languages = [row.get("language") for row in rows]
    return Texts(
        judge, column("prefix"), column("reference"), column("continuation"), prompts, column("seconds"), languages
    )


def human_texts(texts: Texts) -> Texts:
    """The same texts with the references in place of the continuations."""
    return replace(texts, continuations=texts.references, seconds=None, known={})


def measure_pooled(
    metrics: Sequence[Metric],
    runs: Sequence[Texts],
    scored: Sequence[dict[str, Estimate]],
    together: Texts,
    notes: Notes,
    name: str,
) -> dict[str, Estimate]:
    """The metrics of all runs of a system; see `score_folder`. The last two arguments are those of `measure`."""
    if len(runs) == 1:
        return scored[0]
    found: dict[str, Estimate] = {}
    for metric in metrics:
        values = [run[metric.name] for run in scored if metric.name in run]
        if len(values) < len(runs):
            continue
        if all(isinstance(value, Bootstrapped) for value in values):
            found |= measure([metric], together, notes, name)
        else:
            found[metric.name] = over_runs([value.value for value in values], bounds=values[0].bounds)
    return found


def compare_all(systems: dict[str, dict[str, Estimate]]) -> list[dict[str, Any]]:
    """Compare each two systems by each metric that has a paired test. `p_holm` is corrected for all pairs of it."""
    found = []
    names = dict.fromkeys(name for metrics in systems.values() for name in metrics)
    for name in names:
        rows = []
        for (a, of_a), (b, of_b) in combinations(systems.items(), 2):
            try:
                compared = compare_paired(of_a[name], of_b[name], permutations=1999)
            except (ValueError, KeyError):  # no paired test fits, or the two have other prompts
                continue
            rows.append(
                {"a": a, "b": b, "metric": name}
                | {field: getattr(compared, field) for field in ("difference", "low", "high", "p", "how", "n")}
            )
        for row, p in zip(rows, holm([row["p"] for row in rows]) if rows else [], strict=True):
            found.append({**row, "p_holm": float(p)})
    return found


def ceiling(scored: Sequence[dict[str, Estimate]]) -> dict[str, Any]:
    """MAUVE of half of the human texts against the other half, for the human row."""
    for metrics in scored:
        if isinstance(found := metrics.get("mauve"), Mauve) and found.ceiling is not None:
            return {"mauve": found.ceiling.as_dict()}
    return {}


def as_json(metrics: dict[str, Estimate]) -> dict[str, Any]:
    """Estimates for JSON, without MAUVE's curves, which have their own place."""
    found = {name: estimate.as_dict() for name, estimate in metrics.items()}
    for entry in found.values():
        entry.pop("frontier", None)
    return found


NUMBERS = ("value", "low", "high")


def numbers_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """The value and the interval of each metric of `as_json`."""
    return {name: {field: entry[field] for field in NUMBERS} for name, entry in metrics.items()}


def more_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """All but the value and the interval of each metric of `as_json`: how the interval was made, n, p, and so on."""
    return {
        name: {field: value for field, value in entry.items() if field not in NUMBERS}
        for name, entry in metrics.items()
    }


def sign(judge: Judge | None, scored: Sequence[dict[str, Estimate]]) -> dict[str, Any]:
    """All that the numbers depend on, beside the texts."""
    from importlib.metadata import version

    packages = ("decoding-toolkit", "mauve-text", "faiss-cpu", "torch", "transformers", "numpy", "scikit-learn")
    found: dict[str, Any] = {"versions": {name: version(name) for name in packages if installed(name)}}
    if judge is not None:
        protocol: Protocol = judge.protocol
        found["model"] = f"{Path(judge.model.config.name_or_path).name}@{weights_of(judge.model)}"
        found |= {"dtype": str(judge.model.dtype).removeprefix("torch."), "protocol": protocol.name}
    mauves = [one for metrics in scored if isinstance(one := metrics.get("mauve"), Mauve)]
    return found | ({"mauve": mauves[0].signature} if mauves else {})


def hash_of(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
