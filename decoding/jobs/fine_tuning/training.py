"""Fine-tune a causal language model as an expert for STEER, with trl's SFTTrainer."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scorers._common.checkpoints import last_checkpoint

from ..examples import Example
from .labels import encode
from .settings import Run, Settings

DIVERGED = 500.0  # nats a token: such a model is useless, and its perplexity is about to overflow
INSTALL = "pip install 'decoding-toolkit[train]'"


@dataclass(frozen=True)
class Expert:
    """A fine-tuned model.

    Attributes:
        model: the model, in evaluation mode.
        before: its held-out loss before the training, in nats a token.
        after: its held-out loss after the training.
        seconds: how long the training took in this process; one that was resumed took longer in all.
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
    """Train `model` in place to write texts like those in `train`, and measure it on examples that it has not seen.

    An example has one of these forms:

    - a text: the text and the end of sequence are learnt, after the prompt (if that is empty, after the token that
      begins texts);
    - a prompt with its completion: the completion and the end of sequence are learnt;
    - a chat: what the assistant says is learnt.

    Everything else is context without loss. The losses are means over all learnt tokens: each weighs the same, and the
    batch size makes no difference.

    Args:
        model: a decoder-only model on its device, in float32: lower precisions lose small updates.
        tokenizer: its tokenizer, which is left unchanged. Chats need its chat template.
        train: examples, at least one: texts, {"prompt": ..., "completion": ...} or {"messages": [...]}.
        held_out: other examples, at least one.
        prompt: the prompt that the expert will get, with whatever separates it from the text.
        settings: how to train; None: the defaults of `Settings`. The seed also seeds torch's global generator.
        run: checkpoints and reports; None: the defaults of `Run`.

    Returns:
        the expert. Its model is `model` itself if all weights were trained, else the `peft.PeftModel` around it.

    Raises:
        ImportError: trl or, for an adapter, peft is missing; the message has the command that installs it.
        ValueError: the examples or the model cannot be used for training, or the training diverged.

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
    from .trainer import make_trainer

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
    """Raise ImportError if trl is not installed."""
    if find_spec("trl") is None:
        raise ImportError(f"fine-tuning needs trl: {INSTALL}")


def require_peft() -> None:
    """Raise ImportError if peft is not installed."""
    if find_spec("peft") is None:
        raise ImportError(f"an adapter needs peft: {INSTALL}, or train all weights (--full)")


def add_adapter(model: Any, settings: Settings) -> Any:
    """Put a LoRA adapter around `model`. It has no effect before it is trained."""
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
    with warnings.catch_warnings():  # peft uses the old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Restore what the trainer changes in the model beside the weights: some settings, and its `forward`."""
    configs = (model.config, model.config.get_text_config())
    names = ("use_cache", "output_router_logits", "router_aux_loss_coef")
    kept = [(config, name, getattr(config, name)) for config in configs for name in names if hasattr(config, name)]
    try:
        yield
    finally:
        vars(model).pop("forward", None)  # trl's, which computes the loss without the logits
        for config, name, value in kept:
            setattr(config, name, value)
