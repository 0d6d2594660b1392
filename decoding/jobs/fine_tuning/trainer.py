"""trl's trainer, set up for fine-tuning. This module imports trl and datasets, which takes seconds: import it late."""

import copy
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import ExportableState, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from scorers._common.training import Bar

from .settings import Run, Settings

# trl turns it on by a name for which newer versions of transformers warn; None turns it off without a warning
ALWAYS: Any = {"gradient_checkpointing": None}


class Trainer(SFTTrainer):
    """trl's trainer with another held-out loss and without telemetry."""

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the held-out loss as a mean over tokens. The trainer's own figure is a mean of batch means."""
        found = {"eval_loss": held_out_loss(self)}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _send_telemetry(self) -> None:
        """Send nothing."""


def make_trainer(
    model: Any, tokenizer: Any, rows: Sequence[list[dict[str, list[int]]]], settings: Settings, run: Run, folder: Path
) -> Any:
    """Make trl's trainer. It prints nothing, sends no telemetry, and measures the held-out loss as a mean over tokens.

    Args:
        model: the model, perhaps with an adapter.
        tokenizer: its tokenizer, which is left unchanged.
        rows: the encoded examples to train on, and those held out.
        settings: how to train.
        run: checkpoints and reports.
        folder: the folder for checkpoints.
    """
    right = copy.deepcopy(tokenizer)  # the trainer sets its padding token
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = Trainer(
        model,
        make_arguments(model, settings, run, folder, math.ceil(len(rows[0]) / settings.batch_size)),
        DataCollatorForLanguageModeling(padding),  # pads on the right; padding on the left would shift the positions
        train_dataset=Dataset.from_list(rows[0]),
        eval_dataset=Dataset.from_list(rows[1]),
        processing_class=right,
        callbacks=[EpochOrder(), *([Bar()] if sys.stderr.isatty() else [])],
    )
    trainer.processing_class = None  # else the trainer would set the model's special tokens to those of the tokenizer
    trainer.remove_callback(PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = f"runs/{run.name}"  # by default the trainer puts it among the checkpoints
    return trainer


def make_arguments(model: Any, settings: Settings, run: Run, folder: Path, steps: int) -> Any:
    """The settings as trl's configuration. `steps` is the number of steps in an epoch."""
    return SFTConfig(
        str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.rate,
        seed=settings.seed,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        train_sampling_strategy="group_by_length",  # less padding
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},  # the examples are encoded and cut already
        router_aux_loss_coef=0.0,
        **ALWAYS,
        bf16=False,
        use_cpu=model.device.type == "cpu",  # leave the model on its device
        disable_tqdm=True,
        eval_strategy="steps",
        eval_steps=steps if run.report_to else steps * settings.epochs,
        save_strategy="steps" if run.folder else "no",
        save_steps=run.save_every,
        save_total_limit=1,
        restore_callback_states_from_checkpoint=True,  # the state of EpochOrder
        logging_strategy="steps" if run.report_to else "no",
        logging_steps=10,
        report_to=list(run.report_to) or "none",
        run_name=run.name,
        dataloader_pin_memory=model.device.type == "cuda",
    )


def held_out_loss(trainer: Any) -> float:
    """The mean of -log p over the learnt tokens of the held-out examples, in nats."""
    model, losses, tokens = trainer.model.eval(), 0.0, 0
    with torch.no_grad():  # not inference_mode: tensors that a model caches there cannot be used in training
        for batch in trainer.get_eval_dataloader():
            outputs = model(**batch, use_cache=False, fused_lm_head=True)  # trl's: keeps no logits
            losses -= outputs.log_probs.double().sum().item()
            tokens += int(outputs.label_mask.sum())
    return losses / tokens


class EpochOrder(TrainerCallback, ExportableState):
    """Keeps the random state at the start of each epoch, so that a resumed training has the same order of examples.

    The trainer's own checkpoint has only the random state at the moment of saving. An epoch that is resumed with that
    would draw another order. Checkpoints include the state of this callback when it is given to the trainer.
    """

    def __init__(self) -> None:
        self.began: list[int] = []
        self.resumed: dict[str, list[int]] = {}  # the trainer sets it from a checkpoint

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Restore the random state at the start of the checkpoint's epoch, or at the checkpoint between two."""
        if self.resumed:
            within = not float(state.epoch).is_integer()
            torch.set_rng_state(torch.tensor(self.resumed["began" if within else "now"], dtype=torch.uint8))
            self.resumed = {}
        self.began = torch.get_rng_state().tolist()

    def state(self) -> dict[str, Any]:
        """The state to put into the checkpoint."""
        resumed = {"began": self.began, "now": torch.get_rng_state().tolist()}
        return {"args": {}, "attributes": {"resumed": resumed}}
