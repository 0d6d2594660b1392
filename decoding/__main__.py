"""The command: `python -m decoding "The night was"`.

What is wrong with a call is said in one line, the cheapest to find first: options, then files, then what the model's
configuration and tokenizer tell; the weights are loaded last.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from scorers._common.checks import check_ranges, flag
from scorers._common.commands import Parser, serve
from scorers._common.files import to_line
from scorers._common.terminal import silence

from . import __version__
from .jobs.continuation import Job, Reranking
from .jobs.prompts import Prompt, read_prompts
from .jobs.results import Results

EXAMPLES = """\
examples:
  python -m decoding "The night was"                      contrastive search, shown as it is generated
  python -m decoding "The night was" --method sample --top-p 0.95 --seed 3
  python -m decoding "Once" "The night was" --method greedy --json
  python -m decoding "The night was" --rerank overlap --samples 8
  python -m decoding "The night was" --trace trace.html   why each token was chosen, as a page
  python -m decoding --model gpt2 --max-new-tokens 32 < prompts.txt
  python -m decoding --input prompts.jsonl --output results.jsonl --batch-size 16

Started again after it was stopped or killed, the last one goes on where it ended: it writes what it would have written
without the interruption, sampling included.
"""

RERANKING = {"every": 20, "samples": 10, "beams": 2}

WARPERS = ("temperature", "top_k", "top_p")
METHODS = {  # and the options that belong to them
    "greedy": (), "sample": WARPERS, "contrastive": ("k", "alpha"), "adaptive": ("q",), "fsd": ("k", "alpha"),
    "mirostat": ("tau", "eta", *WARPERS), "arithmetic": WARPERS,
}  # fmt: skip

RANGES = {
    "k": (lambda value: value >= 1, "be a whole number of at least 1"),
    "alpha": (lambda value: 0 <= value <= 1, "lie in [0, 1]"),
    "q": (lambda value: 0 <= value < float("inf"), "be at least 0"),
    "tau": (lambda value: 0 < value < float("inf"), "be above 0"),
    "eta": (lambda value: 0 < value < float("inf"), "be above 0"),
    "temperature": (lambda value: 0 < value < float("inf"), "be above 0"),
    "top_k": (lambda value: value >= 0, "be at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "be above 0 and at most 1"),
    "repetition_penalty": (lambda value: 0 < value < float("inf"), "be above 0"),
    "max_new_tokens": (lambda value: value >= 1, "be at least 1"),
    "every": (lambda value: value >= 0, "be at least 0"),
    "samples": (lambda value: value >= 1, "be at least 1"),
    "beams": (lambda value: value >= 1, "be at least 1"),
    "seed": (lambda value: 0 <= value <= 2**40, "be between 0 and 2**40"),
    "batch_size": (lambda value: value >= 1, "be at least 1"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    opened: list[Results] = []
    traced: list[Path] = []

    def work() -> None:
        options = parse(sys.argv[1:] if arguments is None else list(arguments))
        check_options(options)
        job = make_job(options, find_prompts(options))
        opened.extend([Results(options.output, job)] if options.output else [])
        run(options, job, opened[0] if opened else None, traced)

    def stopped() -> str:
        said = [results.state for results in opened] + [f"the trace so far is in {file}" for file in traced]
        return "; ".join(said) or "nothing was saved"

    return serve("decoding", work, stopped)


def make_parser() -> Parser:
    """The options. Those that belong to one method have no default here, so that a stray one is seen."""
    parser = Parser(
        prog="python -m decoding", description="Continue prompts with a language model.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--version", action="version", version=f"decoding-toolkit {__version__}")
    add("prompts", nargs="*", metavar="PROMPT", help='what to continue; "-" or none: a prompt a line of standard input')
    add("--method", action="append", choices=list(METHODS), help="default: contrastive; with --rerank: sample. "
        "adaptive: contrastive, k and alpha from the entropy; fsd: frustratingly simple decoding; arithmetic: with "
        "--rerank, candidates that are spread evenly")  # fmt: skip
    add("--k", type=int, help="contrastive, fsd: candidates a step (default: 5; fsd: 3)")
    add("--alpha", type=float, help="contrastive, fsd: weight of the penalty, 0 to 1 (default: 0.6; fsd: 0.65)")
    add("--q", type=float, help="adaptive: how sharply it answers to the entropy (default: 1)")
    add("--tau", type=float, help="mirostat: bits a token (default: 3)")
    add("--eta", type=float, help="mirostat: learning rate (default: 1)")
    add("--temperature", type=float, metavar="T",
        help="sample, mirostat, arithmetic: above 0 (default of this and the next two: the model's)")  # fmt: skip
    add("--top-k", type=int, metavar="N", help="of those: from the N most probable tokens; 0: from all")
    add("--top-p", type=float, metavar="P", help="of those: from the most probable tokens that make up P")
    add("--repetition-penalty", type=float, metavar="R", help="above 1, tokens already there become less probable")
    add("--rerank", metavar="SCORER", help="keep what a scorer prefers: overlap, likelihood, ranker, ranker:FOLDER, "
        "rankgen:ID, reward:ID or embedding:ID")  # fmt: skip
    add("--every", type=int, metavar="N", help="rerank: tokens to a segment (default: 20); 0: texts are drawn whole")
    add("--samples", type=int, metavar="N", help="rerank: continuations of each text that is kept (default: 10)")
    add("--beams", type=int, metavar="N", help="rerank: texts that are kept (default: 2)")
    add("--max-new-tokens", type=int, default=64, metavar="N", help="default: 64")
    add("--seed", type=int, default=0, help="of sampling (default: 0)")
    add("--model", metavar="NAME", help="a hub id or a folder (default: the embedded SmolLM2-135M-Instruct)")
    add("--device", metavar="D", help="cpu, cuda:0, ...; auto: all (default: the accelerator if there is one)")
    add("--dtype", choices=["float64", "float32", "bfloat16", "float16"], help="of the weights (default: the model's)")
    add("--json", action="store_true", help="a JSON object a line instead of text")
    add("--input", type=Path, metavar="FILE", help='prompts: JSON lines with "prompt" and perhaps "id", or plain lines')
    add("--output", type=Path, metavar="FILE", help="append JSON lines to FILE, but for those that are there already")
    add("--trace", type=Path, metavar="FILE", help="why each token of this run was chosen: a page, if FILE ends in "
        ".html, or .json")  # fmt: skip
    add("--batch-size", type=int, default=8, metavar="N", help="prompts at a time (default: 8)")
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options, with one method; what follows "--" are prompts, whatever they begin with."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = make_parser().parse_intermixed_args(arguments[:end])
    options.prompts += arguments[end + 1 :]
    methods = options.method or ["sample" if options.rerank else "contrastive"]
    if len(methods) > 1:
        raise ValueError(f"--method {' and '.join(methods)}: there can be only one")
    options.method = methods[0]
    return options


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together, or are out of range."""
    for name in dict.fromkeys(name for own in METHODS.values() for name in own):
        if getattr(options, name) is not None and name not in METHODS[options.method]:
            owners = " or ".join(method for method, own in METHODS.items() if name in own)
            raise ValueError(f"{flag(name)} belongs to --method {owners}, not {options.method}")
    check_ranges(vars(options), RANGES)
    for name in RERANKING:
        if getattr(options, name) is not None and not options.rerank:
            raise ValueError(f"{flag(name)} belongs to --rerank SCORER")
    if options.prompts and options.input:
        raise ValueError("prompts as arguments and --input do not go together: drop one of them")
    if "-" in options.prompts and len(options.prompts) > 1:
        raise ValueError('"-" is standard input, which does not go together with other prompts')
    if output := options.output:
        check_output(options, output)
    if options.trace:
        check_trace(options, options.trace)


def check_output(options: argparse.Namespace, output: Path) -> None:
    """Raise ValueError for an --output that nothing can be appended to."""
    if options.json:
        raise ValueError("--output writes JSON lines, and --json prints them: drop one of them")
    check_place("--output", output)
    if options.input and output.resolve() == options.input.resolve():
        raise ValueError(f"--output must not be the file that is --input, {output}")


def check_trace(options: argparse.Namespace, trace: Path) -> None:
    """Raise ValueError for a --trace that cannot be written."""
    if trace.suffix not in (".html", ".json"):
        raise ValueError(f"--trace {trace}: the file must end in .html or .json")
    check_place("--trace", trace)
    for name in ("input", "output"):
        other = getattr(options, name)
        if other and other.resolve() == trace.resolve():
            raise ValueError(f"--trace must not be the file that is --{name}, {trace}")


def check_place(name: str, file: Path) -> None:
    """Raise ValueError for a file that cannot be written."""
    if not file.parent.is_dir():
        raise ValueError(f"{name} {file}: there is no folder {file.parent}")
    if file.exists() and not file.is_file():
        raise ValueError(f"{name} {file} {'is a folder' if file.is_dir() else 'is no plain file'}")


def find_prompts(options: argparse.Namespace) -> list[Prompt]:
    """The prompts, from wherever the call says; bytes that are not UTF-8 are left for `Prompt.check` to find."""
    if options.input and str(options.input) != "-":
        with options.input.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            return read_prompts(file, str(options.input))
    piped = not options.prompts and sys.stdin is not None and not sys.stdin.isatty()
    if piped or options.input or options.prompts == ["-"]:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
        return read_prompts(sys.stdin, "standard input")
    if not options.prompts:
        raise ValueError("no prompts: give some, or --input FILE, or lines on standard input (see --help)")
    for number, text in enumerate(options.prompts, 1):
        if not text.strip():
            raise ValueError(f"prompt {number}: the prompt is empty")
        Prompt(number, text).check(f"prompt {number}")
    return [Prompt(number, text) for number, text in enumerate(options.prompts)]


def make_job(options: argparse.Namespace, prompts: list[Prompt]) -> Job:
    """The prompts, with the picker that --method names and the settings of the call."""
    from . import (
        AdaptiveContrastiveSearch,
        ArithmeticSample,
        ContrastiveSearch,
        FrustratinglySimple,
        Greedy,
        Mirostat,
        Sample,
    )
    from .models import default_model

    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "batch_size", "dtype")
    settings = {name: getattr(options, name) for name in names}
    kinds: dict[str, Any] = {
        "greedy": Greedy, "sample": Sample, "contrastive": ContrastiveSearch, "adaptive": AdaptiveContrastiveSearch,
        "fsd": FrustratinglySimple, "mirostat": Mirostat, "arithmetic": ArithmeticSample,
    }  # fmt: skip
    own = [name for name in METHODS[options.method] if name not in WARPERS]
    picker = kinds[options.method](**{name: v for name in own if (v := getattr(options, name)) is not None})
    reranking = None
    if options.rerank:
        numbers = {name: default if getattr(options, name) is None else getattr(options, name)
                   for name, default in RERANKING.items()}  # fmt: skip
        reranking = Reranking(options.rerank, numbers["every"] or None, numbers["samples"], numbers["beams"])
    return Job(prompts, picker, options.model or default_model.NAME, options.seed, settings, reranking)


def run(options: argparse.Namespace, job: Job, results: Results | None, traced: list[Path]) -> None:
    """Check the job against the model's configuration and tokenizer; then load the weights, and write what is made.

    traced: gets the file of the trace once it is written, also where the run is interrupted.
    """
    from . import Trace
    from .models import loading as models

    silence()
    source = models.locate(options.model)
    config = models.load_config(source)
    tokenizer = models.load_tokenizer(source, config)
    check_model(options, job, config, tokenizer)
    there = len(results.done) if results else 0
    if there < len(job.prompts):
        model = load_model(source, config, options)
        trace = Trace(tokenizer) if options.trace else None
        try:
            if results:
                save(job, results, model, tokenizer, trace)
            elif options.json:
                for record in chain.from_iterable(job.run(model, tokenizer, trace=trace)):
                    print(to_line(record), end="", flush=True)
            else:
                show(job, model, tokenizer, trace)
        finally:
            if trace is not None and trace.calls:
                traced.append(trace.save(options.trace))
    for file in traced:
        print(f"the trace is in {file}", file=sys.stderr)
    if results:
        print(f"{len(results.done) - there} written to {results.path} ({there} were there already)", file=sys.stderr)


def check_model(options: argparse.Namespace, job: Job, config: Any, tokenizer: Any) -> None:
    """Raise ValueError for what cannot be done with this model, or on this device."""
    from scorers._common.loading import refuse_lost_device

    text_config, new = config.get_text_config(decoder=True), options.max_new_tokens
    if getattr(job.picker, "k", 1) > text_config.vocab_size:
        raise ValueError(f"--k {job.picker.k} is over the model's vocabulary of {text_config.vocab_size} tokens")
    room = getattr(text_config, "max_position_embeddings", None) or 0
    texts = [prompt.text for prompt in job.prompts]
    for prompt, ids in zip(job.prompts, tokenizer(texts)["input_ids"], strict=True):
        if not ids:
            raise ValueError(f"prompt {prompt.id!r}: the tokenizer makes no tokens of it")
        # an encoder-decoder has one window for the prompt, and one for the answer and the token before it
        if 0 < room < (max(len(ids), new + 1) if config.is_encoder_decoder else len(ids) + new):
            raise ValueError(
                f"prompt {prompt.id!r} of {len(ids)} tokens, with --max-new-tokens {new}, "
                f"outgrows the model's context window of {room}"
            )
    refuse_lost_device(options.device, "--device {}")


def load_model(source: str, config: Any, options: argparse.Namespace) -> Any:
    """The weights."""
    from .models import loading as models

    return models.load_model(source, config, device=options.device, dtype=options.dtype)


def save(job: Job, results: Results, model: Any, tokenizer: Any, trace: Any = None) -> None:
    """Append what the results lack, with a progress bar where there is somebody to see it."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(total=len(job.prompts), initial=len(results.done), unit="prompt", disable=hidden) as bar:
        for records in job.run(model, tokenizer, results.done, trace=trace):
            bar.update(results.append(records))


def show(job: Job, model: Any, tokenizer: Any, trace: Any = None) -> None:
    """Print each prompt with what follows it: a single one as it is generated, several with a blank line after each."""
    from transformers import TextStreamer

    gap = "\n" if model.config.is_encoder_decoder else ""  # an answer is no continuation of the prompt's line
    if len(job.prompts) > 1:
        for record in chain.from_iterable(job.run(model, tokenizer, trace=trace)):
            print(record["prompt"] + gap + record["continuation"] + "\n", flush=True)
        return
    if gap:  # and transformers streams no prompt with it
        print(job.prompts[0].text, flush=True)
    for _ in job.run(model, tokenizer, streamer=TextStreamer(tokenizer, skip_special_tokens=True), trace=trace):
        pass


if __name__ == "__main__":
    sys.exit(main())
