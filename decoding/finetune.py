"""Fine-tune a model on a file of examples, as an expert for STEER: `python -m decoding.finetune FILE --output DIR`.

What is wrong with a call is said in one line, before the weights are loaded; what is stopped has saved nothing.
"""

import argparse
import copy
import json
import math
import random
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.pytorch_utils import Conv1D
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from .command import Parser, check_ranges, serve, silence
from .jobs.examples import read_examples
from .jobs.prompts import Prompt
from .jobs.results import to_line
from .jobs.synthesis import start_of
from .models import default_model
from .models import loading as models

EXAMPLES = """\
examples:
  python -m decoding.finetune hypotheses.jsonl.gz --output expert        a LoRA adapter of the embedded model
  python -m decoding.finetune comments.txt --output expert --model gpt2 --prompt "Comment:" --epochs 1 --full

DIR gets the adapter or the model, the tokenizer, the examples as they were split (train.jsonl, held_out.jsonl), and
finetune.json: the settings, the numbers of examples and of tokens with a loss, and the mean loss of the held-out ones,
in nats a token, before and after.
"""

RANGES = {
    "epochs": (lambda value: value >= 1, "be at least 1"),
    "batch_size": (lambda value: value >= 1, "be at least 1"),
    "learning_rate": (lambda value: 0 < value < math.inf, "be above 0"),
    "rank": (lambda value: value >= 1, "be at least 1"),
    "max_length": (lambda value: value >= 2, "be at least 2"),
    "seed": (lambda value: 0 <= value < 2**32, "be between 0 and 2**32 - 1"),
    "held_out": (lambda value: 0 < value < 1, "lie between 0 and 1"),
}

REPORT = "finetune.json"
IGNORED = -100  # the label of a token without loss
DIVERGED = 500.0  # nats a token: no use as a model, and its perplexity is about to overflow


@dataclass(frozen=True)
class Settings:
    """How to train: by AdamW without weight decay, at a learning rate that falls linearly to 0.

    epochs: passes over the examples, at least 1. batch_size: examples a step, at least 1. learning_rate: the first,
    above 0; None: 2e-4 for an adapter, 2e-5 for all weights. rank: at least 1, of the LoRA adapter on every linear
    layer but the output; its alpha is twice the rank, its dropout 0.05. full: train all weights, and no adapter.
    max_length: tokens that an example is cut to, prompt and end of sequence included, at least 2. seed: of the
    adapter's first weights, dropout and the order of examples, in [0, 2**32).

    Raises:
        ValueError: a number is out of range.
    """

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float | None = None
    rank: int = 16
    full: bool = False
    max_length: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(asdict(self), RANGES)

    @property
    def rate(self) -> float:
        """The learning rate, given or not."""
        return self.learning_rate or (2e-5 if self.full else 2e-4)


@dataclass(frozen=True)
class Expert:
    """A fine-tuned model in evaluation mode; its held-out loss `before` and `after`, nats a token; seconds it took."""

    model: Any
    before: float
    after: float
    seconds: float


def finetune(
    model: Any,
    tokenizer: Any,
    train: Sequence[str],
    held_out: Sequence[str],
    *,
    prompt: str = "",
    settings: Settings | None = None,
) -> Expert:
    """Train `model`, in place, to continue `prompt` as `train` does, and measure it on texts that it has not seen.

    An example is the prompt (an empty one: the token that begins texts), a text directly behind it, and the end of
    sequence unless it was cut before that. The prompt is context without loss. The losses are means over all other
    tokens of the held-out examples: each token weighs the same, and the batch size makes no difference.

    Args:
        model: decoder-only, on its device; in float32, for lower precisions lose small updates.
        tokenizer: the model's; left as it is.
        train: texts, at least one. held_out: other texts, at least one.
        prompt: what the expert will be prompted with, and whatever separates it from the text.
        settings: see `Settings`, whose defaults None stands for. Its seed also seeds torch's global generator.

    Returns:
        The expert, whose model is `model` itself if all weights were trained, else the `peft.PeftModel` around it.

    Raises:
        ImportError: an adapter is wanted and peft is missing; the message has the command that installs it.
        ValueError: examples or a model that cannot be trained on, or a training that diverged.

    Example:
        >>> import copy, decoding
        >>> from decoding.finetune import Settings, finetune
        >>> model, tokenizer = decoding.load()
        >>> texts = ["The fox ran home.", "The fox ran off.", "The fox sat down."]
        >>> expert = finetune(copy.deepcopy(model), tokenizer, texts, ["The fox sat."], settings=Settings(epochs=1))
        >>> expert.after < expert.before
        True
    """
    settings = settings or Settings()
    seen, unseen = (encode(model.config, tokenizer, part, prompt, settings)[0] for part in (train, held_out))
    keeps_cache = getattr(model.config, "use_cache", True)
    if not settings.full:
        model = add_adapter(model, settings)
    right = copy.deepcopy(tokenizer)  # padding on the left would shift the positions of models that learned them
    right.padding_side = "right"
    with tempfile.TemporaryDirectory() as scratch:  # the trainer wants a folder, and writes nothing into it
        trainer = transformers.Trainer(
            model, make_arguments(model, settings, scratch), transformers.DataCollatorForSeq2Seq(right),
            train_dataset=seen, eval_dataset=unseen,
            preprocess_logits_for_metrics=token_losses, compute_metrics=token_mean,
            callbacks=[Bar()] if sys.stderr.isatty() else [],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        before = trainer.evaluate()["eval_token_loss"]
        seconds = trainer.train().metrics["train_runtime"]
        after = trainer.evaluate()["eval_token_loss"]
    model.config.use_cache = keeps_cache  # the trainer turned it off
    if not after < DIVERGED:
        raise ValueError(f"the training diverged, to a held-out loss of {after:.3g}: lower the learning rate")
    return Expert(model.eval(), before, after, seconds)


def encode(
    config: Any, tokenizer: Any, texts: Sequence[str], prompt: str, settings: Settings
) -> tuple[list[dict[str, list[int]]], int]:
    """The `input_ids` and `labels` of each example, and how many were cut.

    Prompt and text are tokenized apart, as they are when the expert continues the prompt.

    Raises:
        ValueError: nothing to learn from, or not with this model.
    """
    if config.is_encoder_decoder:
        raise ValueError("the model is an encoder-decoder, and an expert continues text: choose a decoder-only one")
    for text in (prompt, *texts):
        Prompt(0, text).check(f"{text[:40]!r}")
    end, length, head = tokenizer.eos_token_id, settings.max_length, start_of(prompt, tokenizer)
    if end is None:
        raise ValueError("the tokenizer has no end-of-sequence token, and examples end with it")
    window = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or length
    if length > window:
        raise ValueError(f"--max-length {length} is over the model's context window of {window} tokens")
    if len(head) >= length:
        raise ValueError(f"the prompt's {len(head)} tokens leave no room for a text in --max-length {length}")
    if not texts:
        raise ValueError("no examples: there must be some to train on, and others for the held-out loss")
    rows, cut = [], 0
    for text, ids in zip(texts, tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids, strict=True):
        if not ids:
            raise ValueError(f"the tokenizer makes no tokens of the example {text[:40]!r}")
        whole, labels = [*head, *ids, end], [IGNORED] * len(head) + [*ids, end]
        cut += len(whole) > length
        rows.append({"input_ids": whole[:length], "labels": labels[:length]})
    return rows, cut


def add_adapter(model: Any, settings: Settings) -> Any:
    """A LoRA adapter around `model`, which changes nothing before it is trained."""
    require_peft()
    from peft import LoraConfig, get_peft_model

    transformers.set_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank, lora_alpha=2 * settings.rank, lora_dropout=0.05, target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's linear layers
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with warnings.catch_warnings():  # peft calls this by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def require_peft() -> None:
    """Raise ImportError where it is not installed."""
    if find_spec("peft") is None:
        raise ImportError("an adapter needs peft: pip install 'decoding-toolkit[train]', or train all weights (--full)")


def make_arguments(model: Any, settings: Settings, scratch: str) -> transformers.TrainingArguments:
    """The settings in the trainer's words; it saves, prints and reports nothing."""
    return transformers.TrainingArguments(
        scratch, num_train_epochs=settings.epochs, learning_rate=settings.rate, seed=settings.seed,
        per_device_train_batch_size=settings.batch_size, per_device_eval_batch_size=settings.batch_size,
        train_sampling_strategy="group_by_length",  # less padding
        use_cpu=model.device.type == "cpu",  # it stays where it is
        disable_tqdm=True, logging_strategy="no", save_strategy="no", report_to="none",
    )  # fmt: skip


class Bar(ProgressCallback):
    """The trainer's progress bars, without the dictionaries that it prints between them."""

    def on_log(self, *_: Any, **__: Any) -> None:
        """Print nothing."""


def token_losses(logits: Any, labels: Tensor) -> Tensor:
    """(B, T, V) float, (B, T) int64 -> (B, T - 1) float32: -log p of every token but the first; 0 where ignored."""
    logits = logits[0] if isinstance(logits, tuple) else logits  # some models return more than those
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(len(labels), -1)


def token_mean(evaluated: transformers.EvalPrediction) -> dict[str, float]:
    """The mean of all token losses; the trainer's own figure is one of batch means, where tokens weigh unequally."""
    losses: Any = evaluated.predictions
    labels: Any = evaluated.label_ids
    return {"token_loss": float(losses[labels[:, 1:] != IGNORED].mean(dtype="float64"))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work() -> None:
        options = make_parser().parse_args(arguments)
        settings = check_options(options)
        train, held_out = split(read_examples(options.file, options.field), options.held_out, settings.seed)
        run(options, settings, {"train": train, "held_out": held_out})

    return serve("decoding", work, lambda: "nothing was saved")


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m decoding.finetune", description="Fine-tune a language model as an expert for STEER.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="examples: a text a line, or JSON lines; .gz is unpacked")
    add("--output", type=Path, metavar="DIR", required=True, help="a folder that is empty, or not there yet")
    add("--field", default="text", help="of JSON lines, where the text stands (default: text)")
    add("--model", metavar="NAME", help="a hub id or a folder (default: the embedded SmolLM2-135M-Instruct)")
    add("--held-out", type=float, default=0.1, metavar="FRACTION", help="of the texts, not trained on (default: 0.1)")
    add("--prompt", default="", metavar="TEXT", help="put directly before every example, and not trained on")
    add("--epochs", type=int, default=3, metavar="N", help="passes over the examples (default: 3)")
    add("--batch-size", type=int, default=8, metavar="N", help="examples a step (default: 8)")
    add("--learning-rate", type=float, metavar="R", help="at the start (default: 2e-4; with --full 2e-5)")
    add("--rank", type=int, metavar="N", help="of the LoRA adapter (default: 16)")
    add("--full", action="store_true", help="train all weights instead of an adapter")
    add("--max-length", type=int, default=256, metavar="N", help="tokens; longer examples are cut (default: 256)")
    add("--seed", type=int, default=0, help="of the split and the training (default: 0)")
    return parser


def check_options(options: argparse.Namespace) -> Settings:
    """The settings of a call that can work, as far as options tell; else ValueError, or ImportError for peft."""
    if options.full and options.rank is not None:
        raise ValueError("--rank belongs to an adapter, and --full trains none: drop one of them")
    check_ranges(vars(options), RANGES)
    output = options.output
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output} is there already, and no empty folder: give another")
    if not options.full:
        require_peft()
    given = {name: value for name in Settings.__annotations__ if (value := getattr(options, name)) is not None}
    return Settings(**given)


def split(texts: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, held out): `fraction` of the distinct texts held out, at least one of them; none is on both sides.

    Raises:
        ValueError: fewer than two distinct texts.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < 2:
        raise ValueError("one example is not enough: there must be one to train on, and another for the held-out loss")
    random.Random(seed).shuffle(distinct)
    held_out = distinct[: min(max(1, round(fraction * len(distinct))), len(distinct) - 1)]
    hidden = set(held_out)
    return [text for text in texts if text not in hidden], held_out


def run(options: argparse.Namespace, settings: Settings, parts: dict[str, list[str]]) -> None:
    """Check the examples against the model's configuration and tokenizer; then load the weights, train and save."""
    silence()
    source = models.locate(options.model)
    config = models.load_config(source)
    tokenizer = models.load_tokenizer(source, config)
    counts: dict[str, dict[str, int]] = {"examples": {}, "cut": {}, "tokens": {}}
    for name, texts in parts.items():
        rows, counts["cut"][name] = encode(config, tokenizer, texts, options.prompt, settings)
        counts["examples"][name] = len(rows)
        counts["tokens"][name] = sum(label != IGNORED for row in rows for label in row["labels"])
    if cut := sum(counts["cut"].values()):
        total = sum(counts["examples"].values())
        print(f"{cut} of {total} examples were cut to {settings.max_length} tokens", file=sys.stderr)
    output = options.output
    # beside or in the output, and first of all: a place where nothing can be written is refused before the work
    with tempfile.TemporaryDirectory(dir=output if output.is_dir() else output.parent, prefix=".finetune-") as scratch:
        model = models.load_model(source, config, dtype="float32")
        if settings.full:
            model.generation_config.save_pretrained(scratch)  # transformers refuses some: not after the work
        expert = finetune(model, tokenizer, *parts.values(), prompt=options.prompt, settings=settings)
        loss = {"before": expert.before, "after": expert.after}
        perplexity = {when: math.exp(value) for when, value in loss.items()}
        report = {
            "model": options.model or default_model.NAME, "file": str(options.file), "field": options.field,
            "held_out": options.held_out, "prompt": options.prompt, **asdict(settings), "learning_rate": settings.rate,
            **counts, "loss": loss, "perplexity": perplexity,
        }  # fmt: skip
        save(expert.model, tokenizer, parts, report, Path(scratch))
        output.mkdir(exist_ok=True)
        for file in sorted(Path(scratch).iterdir(), key=lambda file: file.name == REPORT):  # a folder with it is whole
            file.replace(output / file.name)
    print(
        f"{output}: held-out loss {expert.before:.4f} -> {expert.after:.4f} nats a token, perplexity "
        f"{perplexity['before']:.2f} -> {perplexity['after']:.2f}, after {expert.seconds:.0f} s of training"
    )


def save(model: Any, tokenizer: Any, parts: dict[str, list[str]], report: dict[str, Any], folder: Path) -> None:
    """Write the adapter or the model as safetensors, the tokenizer, the examples and the report."""
    # peft would else ask the hub whether the vocabulary grew
    model.save_pretrained(folder, **({} if report["full"] else {"save_embedding_layers": False}))
    (folder / "README.md").unlink(missing_ok=True)  # peft's, a form that waits to be filled in
    tokenizer.save_pretrained(folder)
    for name, texts in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line({"text": text}) for text in texts), encoding="utf-8")
    (folder / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
