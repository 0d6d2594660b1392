"""The command: `python -m benchmarks run TASK`, `score FILE` or `score FOLDER`, `report FOLDER`, `speed`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scorers._common.commands import Command
from scorers._common.files import write_json, write_whole
from scorers._common.options import DTYPES, option
from scorers._common.part_options import constant
from scorers._common.ranges import at_least
from scorers._common.terminal import silence

from .speed.options import RESULTS, Speed

EXAMPLES = """\
examples:
  python -m benchmarks run speeches --output results            generate, score and report
  python -m benchmarks run my-task.toml --model gpt2 --output results --step generate
  accelerate launch -m benchmarks run my-task.toml --output results
  python -m benchmarks score results                            score a folder's texts again
  python -m benchmarks score outputs.jsonl.gz --json --metrics diversity,gen_length,mauve,coherence
  python -m benchmarks report results                           the tables and the page, of scores that are there
  python -m benchmarks speed --quick --output speed             how fast everything is, beside its peers

Started again after it was stopped or killed, `run` goes on where it ended. A task is a small TOML file, or the name of
one that comes with the package; docs/howto/run-benchmarks.md says what is in it.
"""


STEPS = ("generate", "score", "report")
PROTOCOLS = ("su2023", "su2022", "rankgen", "pillutla2021", "li2022", "lan2023")
judging: Callable[..., Any] = partial(
    option,
    "whose features and likelihoods are taken: a hub id or a folder",
    "NAME",
    default="the embedded one",
)


@dataclass(kw_only=True)
class Scoring:
    """How texts are scored."""

    metrics: str | None = option(
        "by name, with commas", "NAMES", default=",".join(constant("benchmarks.harness.measures", "DEFAULT"))
    )
    judge: str | None = judging()
    protocol: str = option("how texts are cut for MAUVE", value="su2023", choices=PROTOCOLS)
    cache: Path | None = option("keep features here", "FOLDER", default="beside the texts; of a file, nowhere")
    judge_batch_size: int = option("texts at a time", "N", value=8, range=at_least(1))


@dataclass(kw_only=True)
class Run(Scoring):
    """Generate a task's texts, score them, and report."""

    task: str = option(
        "a TOML file, or the name of a task that comes with the package", "TASK", positional=True, required=True
    )
    output: Path = option("for texts, scores and reports", "FOLDER", required=True)
    model: str | None = option("that generates: a hub id or a folder", "NAME", default="the embedded one")
    dtype: str | None = option("of the weights", choices=DTYPES, default="the model's")
    device: str | None = option("cpu, cuda:0, ...; auto: spread over all", "D", default="one a process")
    batch_size: int = option("prompts at a time", "N", value=16, range=at_least(1))
    prompts: int | None = option("of the task's prompts, the first N alone", "N")
    step: list[str] = option("only this step; may repeat", value=[], choices=STEPS, repeat=True)


@dataclass(kw_only=True)
class Score(Scoring):
    """Score the texts of a folder, or of a file made by anybody."""

    place: Path = option(
        'a folder of `run`, or JSON lines with "prefix", "reference" and "continuations", a list of runs; .gz or not',
        "FILE|FOLDER",
        positional=True,
        required=True,
    )
    json: bool = option("print one JSON object", value=False)
    judge: str | None = judging(name="--model")


@dataclass
class Report:
    """Tables and a page of scores that are there."""

    place: Path = option("of `run`", "FOLDER", positional=True, required=True)
    output: Path | None = option("where to put them", "FOLDER", default="the same")


COMMAND = Command(
    "benchmarks",
    {"run": Run, "score": Score, "report": Report, "speed": Speed},
    EXAMPLES,
    about="What decoding does to text, measured against human texts.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    begun: list[Any] = []

    def work(options: Run | Score | Report | Speed) -> None:
        begun.append(options)
        {Run: run, Score: score, Report: report, Speed: speed}[type(options)](options)  # type: ignore[operator]

    return COMMAND.serve(arguments, work, lambda: left(begun[0]) if begun else "nothing was saved")


def left(options: Run | Score | Report | Speed) -> str:
    """What an interrupted call leaves."""
    if isinstance(options, Speed):
        file = options.output / RESULTS
        cases = len(json.loads(file.read_text(encoding="utf-8"))["cases"]) if file.is_file() else 0
        return f"{cases} measured in {file}; run it again to go on" if cases else "nothing was saved"
    if isinstance(options, Run):
        rows = sum(file.read_bytes().count(b"\n") for file in options.output.glob("generations*.jsonl"))
        return f"{rows} texts are in {options.output}; run it again to go on" if rows else "nothing was saved"
    if isinstance(options, Score):
        return f"scores in {options.place} are as they were" if options.place.is_dir() else "nothing was saved"
    return "run it again to write what is missing"


def speed(options: Speed) -> None:
    """Measure, and write the table and the picture; a case that is measured is not measured again."""
    from .speed import cases as measuring
    from .speed import report as speed_report

    silence()
    results = measuring.run(options, lambda line: print(line, file=sys.stderr, flush=True))
    table = speed_report.markdown(results)
    write_whole(options.output / "speed.md", table)
    print(table, end="")
    speed_report.plot(results, options.output / "speed.svg")


def run(options: Run) -> None:
    """Generate what is missing; then score and report, in the first process alone."""
    from dataclasses import replace

    from decoding.models import loading as models

    from .harness.generating import processes
    from .harness.measures import choose
    from .harness.task import Task

    task = Task.read(options.task)
    metrics = choose(names(options))
    if options.prompts is not None:
        task = replace(task, prompts=options.prompts)
    for name in (options.model, options.judge):  # a wrong name is better found now than after the texts are made
        models.load_config(models.locate(name))
    options.output.mkdir(parents=True, exist_ok=True)
    steps = options.step or ["generate", "score", "report"]
    state = processes(options.device)
    if "generate" in steps:
        generate(options, task, state)
    if state.is_main_process:
        if "score" in steps:
            score_into(options.output, metrics, options)
        if "report" in steps:
            write_report(options.output, options.output)


def generate(options: Run, task: Any, state: Any) -> None:
    """The first step, with a progress bar where there is somebody to see it."""
    from tqdm import tqdm

    import decoding

    from .harness.generating import generate

    _ = task.corpus.texts  # before any model is loaded: lines that are not JSON, ...
    silence()
    model, tokenizer = decoding.load(options.model, device=options.device or state.device, dtype=options.dtype)
    with tqdm(unit="batch", disable=not (sys.stderr.isatty() and state.is_main_process)) as bar:

        def show(made: int, total: int) -> None:
            bar.total = total
            bar.update(made - bar.n)

        rows = generate(task, options.output, model, tokenizer, batch_size=options.batch_size, show=show)
    if state.is_main_process:
        by = f", by {state.num_processes} processes" if state.num_processes > 1 else ""
        print(f"{len(rows)} texts in {options.output}{by}", file=sys.stderr)


def score(options: Score) -> None:
    """Score a folder into its scores.json, or a file."""
    from .harness.measures import choose
    from .harness.scoring import score_file

    metrics = choose(names(options))
    if options.place.is_dir():
        scores = score_into(options.place, metrics, options)
        if options.json:
            print(json.dumps(scores))
        else:
            show(scores)
        return
    metrics = [metric for metric in metrics if metric.name != "seconds"]
    scores = score_file(options.place, metrics, judge(options, metrics, options.cache))
    if options.json:
        print(json.dumps(scores))
        return
    table = {
        "task": options.place.name,
        "signature": scores["signature"],
        "reference": join(scores["reference"], scores["signature"]["reference"]),
        "paired": [],
        "notes": scores["notes"],
    }
    table["metrics"] = {
        m.name: {"title": m.title, "unit": m.unit, "better": m.better, "about": m.about} for m in metrics
    }
    runs = zip(scores["runs"], scores["signature"]["runs"], strict=True)
    table["systems"] = [{"decoder": f"run {i}", "metrics": join(*run)} for i, run in enumerate(runs)]
    show(table)


def join(numbers: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Values and intervals, and what is said of them, in one."""
    return {name: entry | more[name] for name, entry in numbers.items()}


def score_into(folder: Path, metrics: list[Any], options: Scoring) -> dict[str, Any]:
    """Score a folder's texts, and write scores.json in one move."""
    from .harness.scoring import SCORES, read_settings, score_folder

    read_settings(folder)
    scores = score_folder(folder, metrics, judge(options, metrics, options.cache or folder / "features"))
    write_json(folder / SCORES, scores)
    return scores


def judge(options: Scoring, metrics: list[Any], cache: Path | None) -> Any:
    """The model that scores, if any metric needs one."""
    if not any(metric.model for metric in metrics):
        return None
    import decoding

    from .harness.measures import Judge
    from .metrics import protocols

    silence()
    model, tokenizer = decoding.load(options.judge)
    tokenizer.padding_side = "right"
    return Judge(model, tokenizer, getattr(protocols, options.protocol.upper()), cache, options.judge_batch_size)


def names(options: Scoring) -> list[str]:
    """The metrics that are asked for."""
    from .harness.measures import DEFAULT

    return DEFAULT if options.metrics is None else [name.strip() for name in options.metrics.split(",") if name.strip()]


def report(options: Report) -> None:
    """Write the tables and the page."""
    output = options.output or options.place
    output.mkdir(parents=True, exist_ok=True)
    write_report(options.place, output)


def write_report(folder: Path, output: Path) -> None:
    """report.md, report.tex, report.svg and report.html; the table on the terminal as well."""
    from .harness.scoring import SCORES

    if not (folder / SCORES).is_file():
        raise ValueError(f"no {SCORES} in {folder}: score it first")
    from .report import build as page

    files = page.report(folder, output)
    show(json.loads((folder / SCORES).read_text(encoding="utf-8")))
    for file in files:
        print(file)


def show(scores: dict[str, Any]) -> None:
    """The table, coloured where it is looked at."""
    from rich.console import Console

    from .report import build as page

    page.show(scores, Console())


if __name__ == "__main__":
    sys.exit(main())
