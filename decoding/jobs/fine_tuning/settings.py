"""The settings of a fine-tuning: how to train, and which checkpoints and reports to write."""

import math
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from scorers._common.checks import check_ranges

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


@dataclass(frozen=True)
class Settings:
    """How to train. The optimiser is AdamW without weight decay, at a learning rate that falls linearly to 0.

    Args:
        epochs: passes over the examples, at least 1.
        batch_size: examples in a step, at least 1.
        learning_rate: learning rate of the first step, above 0; None: 2e-4 for an adapter, 2e-5 for all weights.
        rank: rank of the LoRA adapter, at least 1. The adapter is on every linear layer but the output, its alpha is
            twice the rank, and its dropout is 0.05.
        full: train all weights instead of an adapter.
        max_length: cut examples to this many tokens, prompt and end of sequence included, at least 2.
        seed: seed of the adapter's first weights, the dropout and the order of examples, in [0, 2**32).

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
        """The learning rate, or its default if none was given."""
        return self.learning_rate or (2e-5 if self.full else 2e-4)


@dataclass(frozen=True)
class Run:
    """The checkpoints and reports of a training. They do not change what is learnt.

    Args:
        folder: the folder for checkpoints. If it has checkpoints already, the training goes on at the last whole one,
            and ends with the same weights as without the interruption. None: there are no checkpoints.
        save_every: steps between checkpoints, at least 1; there is one at the end, too.
        report_to: any of "wandb", "tensorboard" and "mlflow". They get the training loss of every tenth step, and the
            held-out loss before the training and after each epoch. Each is set up by its own environment variables, as
            transformers documents them. TensorBoard's files go to `runs/NAME`.
        name: the name of the run in the reports.

    Raises:
        ValueError: a number is out of range, or `report_to` has another name.
        ImportError: a package to report to is not installed.
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
