"""The command: `python -m decoding "The night was"`.

What is wrong with a call is said in one line, the cheapest to find first: options, then files, then what the model's
configuration and tokenizer tell; the weights are loaded last.
"""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from scorers._common.checks import flag
from scorers._common.commands import Command
from scorers._common.files import to_line
from scorers._common.options import DTYPES, Declared, option, options_of_parts
from scorers._common.part_options import read_part
from scorers._common.ranges import SEED, SHARE, above, at_least
from scorers._common.terminal import silence

from .jobs.continuation import Job, Reranking
from .jobs.prompts import Prompt, read_prompts
from .jobs.results import Results
from .methods import methods, owners, picker_options

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

WARPERS = ("temperature", "top_k", "top_p")  # options of every method that draws


@cache
def reranking_options() -> Declared:
    """The options of `decoding.Rerank`. A command has no None: for that `--every 0` stands."""
    fields = {
        name: field
        for name, field in read_part("decoding.rerankers.rerank", "Rerank").items()
        if name in ("every", "samples", "beams")
    }
    found = {name: field.option(metavar="N", help=f"rerank: {field.help}") for name, field in fields.items()}
    whole = "rerank: tokens to a segment; 0: each text is drawn whole"
    return found | {"every": fields["every"].option(metavar="N", help=whole, range=at_least(0))}


@dataclass
class Options:
    """Continue prompts with a language model."""

    prompts: list[str] = option(
        'what to continue; "-" or none: a prompt a line of standard input', "PROMPT", value=[], positional=True
    )
    method: list[str] = option(
        "how each token is chosen; the help of an option names the methods that take it",
        value=[],
        repeat=True,
        choices=lambda: [*methods()],
        default="contrastive; with --rerank: sample",
    )
    picker: dict[str, Any] = options_of_parts(picker_options)
    temperature: float | None = option("of a method that draws: above 0", "T", range=above(0), default="the model's")
    top_k: int | None = option(
        "of a method that draws: from the N most probable tokens; 0: from all",
        "N",
        range=at_least(0),
        default="the model's",
    )
    top_p: float | None = option(
        "of a method that draws: from the most probable tokens that make up P", "P", range=SHARE, default="the model's"
    )
    repetition_penalty: float | None = option(
        "above 1, tokens that are there already become less probable", "R", range=above(0)
    )
    rerank: str | None = option(
        "keep what a scorer prefers: overlap, likelihood, ranker, ranker:FOLDER, rankgen:ID, reward:ID or embedding:ID",
        "SCORER",
    )
    reranking: dict[str, Any] = options_of_parts(reranking_options)
    max_new_tokens: int = option("tokens to add to each prompt, at most", "N", value=64, range=at_least(1))
    seed: int = option("of sampling", "N", value=0, range=SEED)
    model: str | None = option("a hub id or a folder", "NAME", default="the embedded SmolLM2-135M-Instruct")
    device: str | None = option(
        "cpu, cuda:0, ...; auto: spread over all", "D", default="the accelerator if there is one"
    )
    dtype: str | None = option("of the weights", choices=DTYPES, default="the model's")
    json: bool = option("a JSON object a line instead of text", value=False)
    input: Path | None = option(
        'prompts: JSON lines with "prompt" and perhaps "id", or plain lines', "FILE", value=None
    )
    output: Path | None = option("append to FILE a JSON line for each prompt that has none there", "FILE")
    trace: Path | None = option(
        "why each token of this run was chosen: a page, if FILE ends in .html, or .json", "FILE"
    )
    batch_size: int = option("prompts at a time", "N", value=8, range=at_least(1))

    def __post_init__(self) -> None:
        """Raise ValueError for more than one method."""
        if len(self.method) > 1:
            raise ValueError(f"--method {' and '.join(self.method)}: there can be only one")

    @property
    def how(self) -> str:
        """The method."""
        return self.method[0] if self.method else "sample" if self.rerank else "contrastive"


COMMAND = Command("decoding", Options, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    opened: list[Results] = []
    traced: list[Path] = []

    def work(options: Options) -> None:
        check_options(options)
        job = make_job(options, find_prompts(options))
        opened.extend([Results(options.output, job)] if options.output else [])
        run(options, job, opened[0] if opened else None, traced)

    def stopped() -> str:
        said = [results.state for results in opened] + [f"the trace so far is in {file}" for file in traced]
        return "; ".join(said) or "nothing was saved"

    return COMMAND.serve(arguments, work, stopped)


def check_options(options: Options) -> None:
    """Raise ValueError for options that do not go together, or are out of range."""
    method = methods()[options.how]
    for name, value in options.picker.items():
        if name not in method.fields:
            raise ValueError(f"{flag(name)} belongs to --method {' or '.join(owners(name))}, not {options.how}")
        fits, wanted = method.fields[name].range or (lambda _: True, "")
        if not fits(value):
            raise ValueError(f"{flag(name)} must {wanted}, not {value}")
    for name in WARPERS:
        if getattr(options, name) is not None and not method.draws:
            drawing = [name for name, each in methods().items() if each.draws]
            raise ValueError(f"{flag(name)} belongs to --method {' or '.join(drawing)}, not {options.how}")
    if options.reranking and not options.rerank:
        raise ValueError(f"{flag(next(iter(options.reranking)))} belongs to --rerank SCORER")
    if options.prompts and options.input:
        raise ValueError("prompts as arguments and --input do not go together: drop one of them")
    if "-" in options.prompts and len(options.prompts) > 1:
        raise ValueError('"-" is standard input, which does not go together with other prompts')
    if options.output:
        if options.json:
            raise ValueError("--output writes JSON lines, and --json prints them: drop one of them")
        check_output(options.output, options.input)
    if options.trace:
        check_trace(options, options.trace)


def check_output(output: Path, source: Path | None) -> None:
    """Raise ValueError for an --output that nothing can be appended to; source: the file that is read."""
    check_place("--output", output)
    if source and output.resolve() == source.resolve():
        raise ValueError(f"--output must not be the file that is --input, {output}")


def check_trace(options: Options, trace: Path) -> None:
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


def find_prompts(options: Options) -> list[Prompt]:
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


def make_job(options: Options, prompts: list[Prompt]) -> Job:
    """The prompts, with the picker that --method names and the settings of the call."""
    from .models import default_model

    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "batch_size", "dtype")
    settings = {name: getattr(options, name) for name in names}
    picker = methods()[options.how].make(options.picker)
    reranking = None
    if options.rerank:
        defaults = {
            name: read_part("decoding.rerankers.rerank", "Rerank")[name].default for name in reranking_options()
        }
        numbers = defaults | options.reranking
        reranking = Reranking(options.rerank, numbers["every"] or None, numbers["samples"], numbers["beams"])
    return Job(prompts, picker, options.model or default_model.NAME, options.seed, settings, reranking)


def run(options: Options, job: Job, results: Results | None, traced: list[Path]) -> None:
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
            if trace is not None and options.trace and trace.calls:
                traced.append(trace.save(options.trace))
    for file in traced:
        print(f"the trace is in {file}", file=sys.stderr)
    if results:
        print(f"{len(results.done) - there} written to {results.path} ({there} were there already)", file=sys.stderr)


def check_model(options: Options, job: Job, config: Any, tokenizer: Any) -> None:
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


def load_model(source: str, config: Any, options: Options) -> Any:
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
