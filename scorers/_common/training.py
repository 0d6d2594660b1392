"""The progress bar of every training with transformers' Trainer."""

from typing import Any

from transformers.trainer_callback import ProgressCallback


class Bar(ProgressCallback):
    """The Trainer's progress bar, without the dictionaries that the Trainer prints."""

    def on_log(self, *_: Any, **__: Any) -> None:
        """Print nothing."""
