"""What the trainer of fine_tuning.py is told to do beside training."""

from typing import Any

import torch
from transformers.trainer_callback import ExportableState, ProgressCallback, TrainerCallback


class EpochOrder(TrainerCallback, ExportableState):
    """Keeps the random state from which the order of an epoch's examples was drawn, for a training that goes on in it.

    The trainer's own checkpoint has the random state of its own moment alone, with which a later epoch would begin in
    another order. Checkpoints have this callback's state in them, if it is given to the trainer.
    """

    def __init__(self) -> None:
        self.began: list[int] = []
        self.resumed: dict[str, list[int]] = {}  # the trainer sets it to what a checkpoint has

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go back to where the checkpoint's epoch began; or to its own moment, if that was between two epochs."""
        if self.resumed:
            within = not float(state.epoch).is_integer()
            torch.set_rng_state(torch.tensor(self.resumed["began" if within else "now"], dtype=torch.uint8))
            self.resumed = {}
        self.began = torch.get_rng_state().tolist()

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        resumed = {"began": self.began, "now": torch.get_rng_state().tolist()}
        return {"args": {}, "attributes": {"resumed": resumed}}


class Bar(ProgressCallback):
    """The trainer's progress bars, without the dictionaries that it prints between them."""

    def on_log(self, *_: Any, **__: Any) -> None:
        """Print nothing."""
