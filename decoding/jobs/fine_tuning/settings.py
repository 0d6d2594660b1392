"""What a fine-tuning is asked for: how to train, and what to leave while it runs."""

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
