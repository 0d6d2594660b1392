"""Fine-tuning of a causal language model, as an expert for STEER, on trl's SFTTrainer."""

import copy
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .command import check_ranges
from .examples import Example
from .labels import encode

RANGES = {
    "epochs": (lambda value: value >= 1, "be at least 1"),
    "batch_size": (lambda value: value >= 1, "be at least 1"),
    "learning_rate": (lambda value: 0 < value < math.inf, "be above 0"),
    "rank": (lambda value: value >= 1, "be at least 1"),
    "max_length": (lambda value: value >= 2, "be at least 2"),
    "seed": (lambda value: 0 <= value < 2**32, "be between 0 and 2**32 - 1"),
    "save_every": (lambda value: value >= 1, "be at least 1"),
}
REPORTERS = {"wandb": ["wandb"], "tensorboard": ["tensorboard", "tensorboardX"], "mlflow": ["mlflow"]}  # their packages
DIVERGED = 500.0  # nats a token: no use as a model, and its perplexity is about to overflow
INSTALL = "pip install 'decoding-toolkit[train]'"


@dataclass(frozen=True)
class Settings:
    """How to train: by AdamW without weight decay, at a learning rate that falls linearly to 0.

    Args:
        epochs: passes over the examples, at least 1.
        batch_size: examples a step, at least 1.
        learning_rate: the first, above 0; None: 2e-4 for an adapter, 2e-5 for all weights.
        rank: at least 1, of the LoRA adapter on every linear layer but the output; its alpha is twice the rank, its
            dropout 0.05.
        full: train all weights, and no adapter.
        max_length: tokens that an example is cut to, prompt and end of sequence included, at least 2.
        seed: of the adapter's first weights, dropout and the order of examples, in [0, 2**32).

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
class Run:
    """What a training leaves while it runs. None of it changes what is learnt.

    Args:
        folder: where checkpoints are kept. A training whose folder has checkpoints goes on at the last whole one, and
            ends with the weights that it would have had. None: there are no checkpoints.
        save_every: steps between checkpoints, at least 1; there is one at the end, too.
        report_to: any of "wandb", "tensorboard" and "mlflow": who is told the training loss of every tenth step, and
            the held-out loss before the training and after each epoch. Each is set up by its own environment
            variables, as transformers documents them. TensorBoard's files go to `runs/NAME`.
        name: of the run, in the reports.

    Raises:
        ValueError: a number out of range, or nobody of that name to report to. ImportError: their package is missing.
    """

    folder: Path | None = None
    save_every: int = 50
    report_to: tuple[str, ...] = ()
    name: str = "finetune"

    def __post_init__(self) -> None:
        check_ranges({"save_every": self.save_every}, RANGES)
        for name in self.report_to:
            if name not in REPORTERS:
                raise ValueError(f"--report-to must be one of {', '.join(REPORTERS)}, not {name}")
            if not any(map(find_spec, REPORTERS[name])):
                raise ImportError(f"--report-to {name} needs the package {name}: pip install {name}")


@dataclass(frozen=True)
class Expert:
    """A fine-tuned model in evaluation mode; its held-out loss `before` and `after`, nats a token; seconds it took.

    The seconds are those of this process: a training that went on at a checkpoint took more in all.
    """

    model: Any
    before: float
    after: float
    seconds: float


def finetune(
    model: Any,
    tokenizer: Any,
    train: Sequence[Example],
    held_out: Sequence[Example],
    *,
    prompt: str = "",
    settings: Settings | None = None,
    run: Run | None = None,
) -> Expert:
    """Train `model`, in place, to go on as `train` does, and measure it on examples that it has not seen.

    An example is a text, a prompt with its completion, or a chat. Of a text, what is learnt is the text and the end of
    sequence, behind the prompt (an empty one: the token that begins texts). Of a prompt and its completion, the
    completion and the end; of a chat, what the assistant says. All else is context without loss. The losses are means
    over all tokens that are learnt: each weighs the same, and the batch size makes no difference.

    Args:
        model: decoder-only, on its device; in float32, for lower precisions lose small updates.
        tokenizer: the model's; left as it is. Chats need its chat template.
        train: examples, at least one: texts, {"prompt": ..., "completion": ...} or {"messages": [...]}.
        held_out: other examples, at least one.
        prompt: what the expert will be prompted with, and whatever separates it from the text.
        settings: see `Settings`, whose defaults None stands for. Its seed also seeds torch's global generator.
        run: checkpoints and reports; see `Run`, whose defaults None stands for.

    Returns:
        The expert, whose model is `model` itself if all weights were trained, else the `peft.PeftModel` around it.

    Raises:
        ImportError: trl or, for an adapter, peft is missing; the message has the command that installs it.
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
    settings, run = settings or Settings(), run or Run()
    require_trl()
    rows = [encode(model.config, tokenizer, part, prompt, settings.max_length)[0] for part in (train, held_out)]
    trained = model if settings.full else add_adapter(model, settings)
    with ExitStack() as stack:
        stack.enter_context(restored(model))
        folder = run.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainer = make_trainer(trained, tokenizer, rows, settings, run, folder)
        before = trainer.evaluate()["eval_loss"]
        seconds = trainer.train(resume_from_checkpoint=last_checkpoint(folder)).metrics["train_runtime"]
        after = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]
    if not after < DIVERGED:
        raise ValueError(f"the training diverged, to a held-out loss of {after:.3g}: lower the learning rate")
    return Expert(trained.eval(), before, after, seconds)


def require_trl() -> None:
    """Raise ImportError where it is not installed."""
    if find_spec("trl") is None:
        raise ImportError(f"fine-tuning needs trl: {INSTALL}")


def require_peft() -> None:
    """Raise ImportError where it is not installed."""
    if find_spec("peft") is None:
        raise ImportError(f"an adapter needs peft: {INSTALL}, or train all weights (--full)")


def add_adapter(model: Any, settings: Settings) -> Any:
    """A LoRA adapter around `model`, which changes nothing before it is trained."""
    require_peft()
    import transformers
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    transformers.set_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's linear layers
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft calls this by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def make_trainer(
    model: Any, tokenizer: Any, rows: Sequence[list[dict[str, list[int]]]], settings: Settings, run: Run, folder: Path
) -> Any:
    """trl's trainer, which prints nothing, phones nobody, and measures the held-out loss token by token.

    Args:
        rows: encoded examples, to train on and held out. folder: for checkpoints.
    """
    from datasets import Dataset
    from transformers.integrations import TensorBoardCallback
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from .training_callbacks import Bar, EpochOrder

    class Trainer(SFTTrainer):  # here, for trl takes seconds to import
        def _send_telemetry(self) -> None:
            """Tell nobody that somebody trains."""

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            """The held-out loss, each token weighing the same; the trainer's own figure is a mean of batch means."""
            found = {"eval_loss": held_out_loss(self)}
            self.log(found)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
            return found

    right = copy.deepcopy(tokenizer)  # the trainer gives it a token to pad with
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = Trainer(
        model,
        make_arguments(model, settings, run, folder, math.ceil(len(rows[0]) / settings.batch_size)),
        DataCollatorForLanguageModeling(padding),  # on the right: the left would shift the positions
        train_dataset=Dataset.from_list(rows[0]),
        eval_dataset=Dataset.from_list(rows[1]),
        processing_class=right,
        callbacks=[EpochOrder(), *([Bar()] if sys.stderr.isatty() else [])],
    )
    trainer.processing_class = None  # else the model's special tokens would be made those of the tokenizer
    trainer.remove_callback(PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = f"runs/{run.name}"  # the trainer's own choice is among the checkpoints
    return trainer


def make_arguments(model: Any, settings: Settings, run: Run, folder: Path, steps: int) -> Any:
    """The settings in the trainer's words. `steps`: of an epoch."""
    from trl import SFTConfig

    return SFTConfig(
        str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.rate,
        seed=settings.seed,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        train_sampling_strategy="group_by_length",  # less padding
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},  # it is encoded and cut
        router_aux_loss_coef=0.0,
        gradient_checkpointing=None,  # off; trl turns it on, by a name that newer versions of transformers warn of
        bf16=False,
        use_cpu=model.device.type == "cpu",  # it stays where it is
        disable_tqdm=True,
        eval_strategy="steps",
        eval_steps=steps if run.report_to else steps * settings.epochs,
        save_strategy="steps" if run.folder else "no",
        save_steps=run.save_every,
        save_total_limit=1,
        restore_callback_states_from_checkpoint=True,  # of EpochOrder
        logging_strategy="steps" if run.report_to else "no",
        logging_steps=10,
        report_to=list(run.report_to) or "none",
        run_name=run.name,
        dataloader_pin_memory=model.device.type == "cuda",
    )


def held_out_loss(trainer: Any) -> float:
    """-log p of the tokens that are learnt in the held-out examples: their mean, in nats."""
    import torch

    model, losses, tokens = trainer.model.eval(), 0.0, 0
    with torch.no_grad():  # no inference mode: what a model caches in it cannot be trained with
        for batch in trainer.get_eval_dataloader():
            outputs = model(**batch, use_cache=False, fused_lm_head=True)  # trl's head: no logits of all tokens
            losses -= outputs.log_probs.double().sum().item()
            tokens += int(outputs.label_mask.sum())
    return losses / tokens


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Give the model back what the trainer changes in it beside the weights: settings, and its `forward`."""
    configs = (model.config, model.config.get_text_config())
    names = ("use_cache", "output_router_logits", "router_aux_loss_coef")
    kept = [(config, name, getattr(config, name)) for config in configs for name in names if hasattr(config, name)]
    try:
        yield
    finally:
        vars(model).pop("forward", None)  # trl's, which computes the loss without the logits
        for config, name, value in kept:
            setattr(config, name, value)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; one that a killed run was still writing is left out."""
    found = [place for place in folder.glob("checkpoint-*") if (place / "trainer_state.json").exists()]  # written last
    return str(max(found, key=lambda place: int(place.name.rpartition("-")[2]), default="")) or None
