"""The command: `python -m benchmarks run TASK`, `score FILE` or `score FOLDER`, `report FOLDER`, `speed`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scorers._common.commands import Parser, serve
from scorers._common.files import write_json, write_whole
from scorers._common.terminal import silence

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    begun: list[argparse.Namespace] = []

    def work() -> None:
        begun.append(make_parser().parse_args(arguments))
        {"run": run, "score": score, "report": report, "speed": speed}[begun[0].command](begun[0])

    return serve("benchmarks", work, lambda: left(begun[0]) if begun else "nothing was saved")


def left(options: argparse.Namespace) -> str:
    """What an interrupted call leaves."""
    if options.command == "speed":
        from .speed.cases import RESULTS

        file = options.output / RESULTS
        cases = len(json.loads(file.read_text(encoding="utf-8"))["cases"]) if file.is_file() else 0
        return f"{cases} measured in {file}; run it again to go on" if cases else "nothing was saved"
    if options.command == "run":
        rows = sum(file.read_bytes().count(b"\n") for file in options.output.glob("generations*.jsonl"))
        return f"{rows} texts are in {options.output}; run it again to go on" if rows else "nothing was saved"
    if options.command == "score":
        return f"scores in {options.place} are as they were" if options.place.is_dir() else "nothing was saved"
    return "run it again to write what is missing"


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m benchmarks", description="What decoding does to text, measured against human texts.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("run", help="generate a task's texts, score them, and report", allow_abbrev=False)
    add.add_argument("task", help="a TOML file, or the name of a task that comes with the package")
    add.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for texts, scores and reports")
    add.add_argument("--model", metavar="NAME", help="that generates: a hub id or a folder (default: the embedded one)")
    add.add_argument("--dtype", choices=["float64", "float32", "bfloat16", "float16"], help="default: the model's")
    add.add_argument("--device", metavar="D", help="cpu, cuda:0, ...; auto: spread over all (default: one a process)")
    add.add_argument("--batch-size", type=int, default=16, metavar="N", help="prompts at a time (default: 16)")
    add.add_argument("--prompts", type=int, metavar="N", help="of the task's, the first N alone")
    add.add_argument("--step", choices=["generate", "score", "report"], action="append", help="only these steps")
    add_scoring(add, "--judge")
    add = commands.add_parser(
        "score", help="score the texts of a folder, or of a file made by anybody", allow_abbrev=False
    )
    add.add_argument("place", type=Path, metavar="FILE|FOLDER", help='a folder of `run`, or JSON lines with "prefix", '
        '"reference" and "continuations", a list of runs; .gz or not')  # fmt: skip
    add.add_argument("--json", action="store_true", help="print one JSON object")
    add_scoring(add, "--model")
    add = commands.add_parser("report", help="tables and a page of scores that are there", allow_abbrev=False)
    add.add_argument("place", type=Path, metavar="FOLDER", help="of `run`")
    add.add_argument("--output", type=Path, metavar="FOLDER", help="default: the same")
    add = commands.add_parser("speed", help="time, memory and forwards of all methods beside their peers",
                              allow_abbrev=False)  # fmt: skip
    add_speed(add.add_argument)
    return parser


def add_scoring(parser: Any, name: str) -> None:
    """The options of scoring; `name` is that of the model which scores."""
    from .harness.measures import DEFAULT

    add = parser.add_argument
    add("--metrics", help=f"by name, with commas (default: {','.join(DEFAULT)})")
    add(name, dest="judge", metavar="NAME",
        help="whose features and likelihoods are taken: a hub id or a folder (default: the embedded one)")  # fmt: skip
    add("--protocol", default="su2023", choices=["su2023", "su2022", "rankgen", "pillutla2021", "li2022", "lan2023"],
        help="how texts are cut for MAUVE (default: su2023)")  # fmt: skip
    add("--cache", type=Path, metavar="FOLDER",
        help="keep features here (default: beside the texts; of a file, nowhere)")  # fmt: skip
    add("--judge-batch-size", type=int, default=8, metavar="N", help="texts at a time (default: 8)")


def add_speed(add: Any) -> None:
    """The options of measuring speed."""
    methods = ["plain", "contrastive", "guide", "steer", "rerank"]
    add("--output", type=Path, required=True, metavar="FOLDER", help="for speed.json, speed.md and speed.svg")
    add("--model", metavar="NAME", help="a hub id or a folder (default: the embedded one)")
    add("--dtype", choices=["float64", "float32", "bfloat16"], default="float32", help="default: float32")
    add("--contexts", type=int, nargs="+", default=[32, 512, 1500], metavar="N", help="default: 32 512 1500")
    add("--batches", type=int, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    add("--k", type=int, nargs="+", default=[4, 5, 8], metavar="K", help="of contrastive search (default: 4 5 8)")
    add("--methods", nargs="+", choices=methods, default=methods, help="default: all")
    add("--second", type=int, metavar="N", help="tokens of a guide's second prompt (default: as many as the first has)")
    add("--new-tokens", type=int, default=24, metavar="N", help="default: 24")
    add("--rounds", type=int, default=7, metavar="N", help="default: 7")
    add("--threads", type=int, metavar="N", help="default: what PyTorch takes; 1 is timed by its own work alone")
    add("--plain", action="store_true", help="without packed weights")
    add("--quick", action="store_true", help="a look: context 32, batch 1, k 5, 3 rounds, 8 tokens, no reranking")


def speed(options: argparse.Namespace) -> None:
    """Measure, and write the table and the picture; a case that is measured is not measured again."""
    from scorers._common.checks import check_ranges

    from .speed import cases as measuring
    from .speed import report as speed_report

    check_ranges(vars(options), measuring.RANGES)
    silence()
    results = measuring.run(options, lambda line: print(line, file=sys.stderr, flush=True))
    table = speed_report.markdown(results)
    write_whole(options.output / "speed.md", table)
    print(table, end="")
    speed_report.plot(results, options.output / "speed.svg")


def run(options: argparse.Namespace) -> None:
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
    for name in ("batch_size", "judge_batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}")
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


def generate(options: argparse.Namespace, task: Any, state: Any) -> None:
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


def score(options: argparse.Namespace) -> None:
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


def score_into(folder: Path, metrics: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Score a folder's texts, and write scores.json in one move."""
    from .harness.scoring import SCORES, read_settings, score_folder

    read_settings(folder)
    scores = score_folder(folder, metrics, judge(options, metrics, options.cache or folder / "features"))
    write_json(folder / SCORES, scores)
    return scores


def judge(options: argparse.Namespace, metrics: list[Any], cache: Path | None) -> Any:
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


def names(options: argparse.Namespace) -> list[str]:
    """The metrics that are asked for."""
    from .harness.measures import DEFAULT

    return DEFAULT if options.metrics is None else [name.strip() for name in options.metrics.split(",") if name.strip()]


def report(options: argparse.Namespace) -> None:
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
