"""The training of a ranker by transformers' Trainer: RankGen's loss, one document in a batch. Krishna et al. 2022."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers.trainer_callback import PrinterCallback

from .._common.checkpoints import last_checkpoint
from .._common.checks import flag
from .._common.files import replacing
from .._common.ranges import RATE, SEED_32, above, at_least, check_fields
from .._common.training import Bar
from ..ranker import Heads, Ranker, fingerprint, pool
from .pairs import Window, make_batches, overlaps

NEGATIVES = ("book", "generated", "both")
HEADS = {"epochs": 10, "batch_size": 128, "learning_rate": 3e-4, "dropout": 0.4}
FULL = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-4, "dropout": 0.1}


@dataclass(frozen=True)
class Settings:
    """How to train: by AdamW at a learning rate that falls linearly to 0.

    Args:
        full: train the encoder's layers too, but not its word embeddings; else the heads alone.
        negatives: "book", the other continuations of the batch; "generated", those a language model made for it;
            "both".
        epochs: passes over the windows, at least 1.
        batch_size: windows of a document at a time, at most; at least 2.
        learning_rate: the first, above 0.
        weight_decay: of the weights towards 0, where heads change nothing; at least 0.
        dropout: of the pooled states that the heads read in training, in [0, 1).
        bf16: compute in bfloat16 where that is safe; weights stay in float32.
        seed: of batches and dropout, in [0, 2**32).

    Raises:
        ValueError: out of range.
    """

    full: bool = False
    negatives: str = "both"
    epochs: Annotated[int, at_least(1)] = 10
    batch_size: Annotated[int, at_least(2, "one window has no in-batch negatives")] = 128
    learning_rate: Annotated[float, above(0)] = 3e-4
    weight_decay: Annotated[float, at_least(0)] = 0.01
    dropout: Annotated[float, RATE] = 0.4
    bf16: bool = False
    seed: Annotated[int, SEED_32] = 0

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ValueError(f"--negatives must be book, generated or both, not {self.negatives}")
        check_fields(self, flag)


def contrastive_loss(prefixes: Tensor, suffixes: Tensor, generated: Tensor, barred: Tensor) -> Tensor:
    """InfoNCE from prefix to continuation, averaged over prefixes.

    Krishna et al. 2022, section 2.2, where it is the sum. The loss of a prefix is -log of exp(p_i . c_i) / Z(p_i).
    Z(p_i) is the sum of exp(p_i . c_j) over the batch and of exp(p_i . g_j) over all texts generated for the batch, for
    any of its prefixes.

    Args:
        prefixes: (B, D) float.
        suffixes: (B, D) float; row i continues prefix i.
        generated: (G, D), where G may be 0.
        barred: (B, B) bool: which suffixes j are left out of Z(p_i). The diagonal makes no difference.

    Example:
        >>> p = torch.eye(2)
        >>> round(contrastive_loss(p, p, torch.empty(0, 2), torch.zeros(2, 2, dtype=torch.bool)).item(), 4)
        0.3133
    """
    others = barred & ~torch.eye(len(barred), dtype=torch.bool, device=barred.device)
    logits = torch.cat([(prefixes @ suffixes.T).masked_fill(others, float("-inf")), prefixes @ generated.T], 1)
    return F.cross_entropy(logits, torch.arange(len(prefixes), device=logits.device))


class Objective(nn.Module):
    """The loss of a batch as a module, since the Trainer trains modules.

    Args:
        heads: the heads, which are trained.
        encoder: an encoder that is trained as well; then a side is token ids. None: a side is pooled states.
        dropout: the dropout of the pooled states.
    """

    def __init__(self, heads: Heads, encoder: Any = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.encoder, self.dropout = heads, encoder, nn.Dropout(dropout)

    def forward(self, prefix: Any, suffix: Any, generated: Any, barred: Tensor) -> dict[str, Tensor]:
        """{"loss": scalar}. A side is (N, D) pooled states, or token ids and mask; `generated` may be None."""
        prefixes, suffixes = self.look("prefix", prefix), self.look("suffix", suffix)
        made = prefixes[:0] if generated is None else self.look("suffix", generated)
        return {"loss": contrastive_loss(prefixes, suffixes, made, barred)}

    def look(self, side: str, texts: Any) -> Tensor:
        """The vectors of the texts of a side."""
        pooled = texts if self.encoder is None else pool(self.encoder, **texts)
        return self.heads(side, self.dropout(pooled))


class Batches(Dataset):
    """The batches of all epochs in order. An item is a whole batch, as `Objective` takes it.

    Args:
        ranker: its encoder and tokenizer read the texts.
        windows: the windows to train on.
        settings: the settings of the training.
        vectors: a folder that keeps the pooled states. None: batches are token ids, for an encoder that is trained.
    """

    def __init__(self, ranker: Ranker, windows: Sequence[Window], settings: Settings, vectors: Path | None) -> None:
        self.ranker, self.settings = ranker, settings
        self.windows = [w for w in windows if w.generated is not None] if settings.negatives == "generated" else windows
        self.plan = make_batches(self.windows, settings.batch_size, settings.epochs, settings.seed)
        self.states: dict[str, dict[str, Tensor]] | None = None
        if vectors is not None:
            texts = {
                "prefix": [window.prefix for window in self.windows],
                "suffix": [text for window in self.windows for text in (window.continuation, window.generated) if text],
            }
            self.states = {side: read_states(ranker, side, texts[side], vectors) for side in texts}

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> dict[str, Any]:
        windows = [self.windows[i] for i in self.plan[number]]
        made = [window.generated for window in windows if window.generated is not None]
        made = [] if self.settings.negatives == "book" else made
        only = torch.ones(len(windows), len(windows), dtype=torch.bool)
        return {
            "prefix": self.side("prefix", [window.prefix for window in windows]),
            "suffix": self.side("suffix", [window.continuation for window in windows]),
            "generated": self.side("suffix", made) if made else None,
            "barred": only if self.settings.negatives == "generated" else overlaps(windows),
        }

    def side(self, side: str, texts: list[str]) -> Any:
        """The pooled states or token ids of the texts."""
        if self.states is None:
            return self.ranker.encode(side, texts)
        return torch.stack([self.states[side][text] for text in texts])


def read_states(ranker: Ranker, side: str, texts: Sequence[str], folder: Path, chunk: int = 256) -> dict[str, Tensor]:
    """The pooled states of each text, (D,). They are kept in `folder` chunk by chunk, and no chunk is read again.

    The name of a file is a hash of all that it depends on: the encoder, the lengths and the texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    length = ranker.reading.prefix_length if side == "prefix" else ranker.reading.suffix_length
    found: dict[str, Tensor] = {}
    reader = [fingerprint(ranker.encoder), side, str(length)]
    title = f"reading {'prefixes' if side == 'prefix' else 'continuations'}"
    with tqdm(total=len(distinct), unit="text", desc=title, disable=None, leave=False) as bar:
        for start in range(0, len(distinct), chunk):
            part = distinct[start : start + chunk]
            key = hashlib.sha256("\0".join(reader + part).encode()).hexdigest()
            file = folder / f"{key[:32]}.safetensors"
            states = load_states(file, len(part))
            if states is None:
                states = ranker.pooled(side, part).cpu()
                with replacing(file, durable=False) as scratch:
                    save_file({"states": states}, scratch)
            found |= dict(zip(part, states, strict=True))
            bar.update(len(part))
    return found


def load_states(file: Path, number: int) -> Tensor | None:
    """The states that an earlier run kept; None if there are none."""
    try:
        states = load_file(file)["states"]
    except (OSError, KeyError, SafetensorError):
        return None
    return states if len(states) == number else None


def train(ranker: Ranker, batches: Batches, settings: Settings, folder: Path, save_every: int = 200) -> dict[str, Any]:
    """Train the ranker's heads in place. With `settings.full`, train its encoder too.

    Checkpoints are written to `folder`. A training that was killed goes on from the last one, with the same weights as
    without the kill. The Trainer's own shuffling is not used: a batch is given whole, since its negatives must be of
    one document.

    Returns:
        `steps`, `seconds` of this run, and the mean `loss` of the last tenth of the steps.

    Raises:
        ValueError: the training diverged.
    """
    transformers.set_seed(settings.seed)
    encoder = ranker.encoder if settings.full else None
    if encoder is not None:
        encoder.train()
        for parameter in encoder.get_input_embeddings().parameters():
            parameter.requires_grad_(False)
    objective = Objective(ranker.heads.train(), encoder, settings.dropout)
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=1, per_device_train_batch_size=1, train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, bf16=settings.bf16,
        seed=settings.seed,
        use_cpu=ranker.encoder.device.type == "cpu", remove_unused_columns=False, disable_tqdm=True, report_to="none",
        logging_steps=max(1, len(batches) // 10), save_steps=save_every, save_total_limit=2,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        objective,
        arguments,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[Bar()] if sys.stderr.isatty() else [],
    )
    trainer.remove_callback(PrinterCallback)
    done = trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    ranker.heads.eval()
    ranker.encoder.eval()
    loss = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]
    if not all(value.isfinite().all() for value in objective.parameters()):
        raise ValueError("the training diverged: lower the learning rate")
    return {"steps": done.global_step, "seconds": round(done.metrics["train_runtime"], 1), "loss": loss}
