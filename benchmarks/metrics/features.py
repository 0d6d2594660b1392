"""A vector for each text, from any HuggingFace causal LM or encoder, kept on disk: features for MAUVE and distances."""

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, PreTrainedModel

from decoding.models.loading import locate
from scorers._common.checks import require_count
from scorers._common.files import write_json, write_whole
from scorers._common.loading import load_model, load_tokenizer

from .states import read_states, window_of

POOLINGS = ("last", "mean")


@dataclass(frozen=True)
class Featurizer:
    """Texts to vectors: a hidden layer's state of the last token, as MAUVE has it, or the mean over tokens.

    A cached vector is found again by the token ids it was made of, by all bytes of the model's weights, its
    configuration, the settings below that change it, and the versions of torch and transformers; so fine-tuned weights
    under an old name find nothing, and texts that two runs share, such as the references, are read once. A killed run
    goes on where it stopped. One `.npy` file a text; `settings.json` beside them says what they are.

    Args:
        model: a causal LM (its head is not computed), an encoder, or an encoder-decoder, whose encoder is read.
        tokenizer: its tokenizer, with the special tokens that it adds by itself.
        pooling: "last" or "mean".
        max_length: tokens of a text that are read, from its beginning; None: the model's window.
        layer: of the hidden states; see `read_states`.
        batch_size: texts in a forward; it moves the vectors by rounding alone.
        cache: a folder; None: nothing is kept.

    Raises:
        ValueError: another pooling, a max_length or batch_size below 1.

    Example:
        >>> import decoding
        >>> features = Featurizer(*decoding.load(), max_length=32)
        >>> features(["The night was dark.", "So was the day."]).shape
        (2, 576)
    """

    model: PreTrainedModel
    tokenizer: Any
    pooling: str = "last"
    max_length: int | None = None
    layer: int = -1
    batch_size: int = 16
    cache: Path | str | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f'pooling must be "last" or "mean", not {self.pooling!r}')
        require_count("max_length", self.max_length, optional=True)
        require_count("batch_size", self.batch_size)

    @classmethod
    def load(cls, name: str | None = None, dtype: torch.dtype = torch.float32, **settings: Any) -> "Featurizer":
        """With the model `name`, a hub id or a folder, such as "gpt2-large"; None: the embedded SmolLM2-135M-Instruct.

        bfloat16 is some three times as fast on a CPU that has it, and moves MAUVE less than its own k-means noise does.

        Raises:
            ValueError: there is no such model.
        """
        source = locate(name)
        model = load_model(AutoModel, source, device="cpu", dtype=dtype)
        return cls(model, load_tokenizer(source), **settings)

    def __call__(self, texts: Sequence[str]) -> NDArray:
        """(N, D) float32, in the order of the texts; equal texts are read once.

        Raises:
            ValueError: no texts, or some without tokens, before any is read.
        """
        if isinstance(texts, str) or not len(texts):
            raise ValueError("give a list of at least one text to take features from")
        window = min(self.max_length or float("inf"), window_of(self.model))
        limit = {} if window == float("inf") else {"truncation": True, "max_length": int(window)}
        rows = [tuple(row) for row in self.tokenizer(list(texts), **limit)["input_ids"]]
        if empty := sum(not row for row in rows):
            raise ValueError(
                f"{empty} of {len(rows)} texts have no tokens: leave them out, in pairs where pairs compare"
            )
        folder = self.folder()
        found = {row: vector for row in set(rows) if (vector := stored(folder, row)) is not None}
        missing = [row for row in dict.fromkeys(rows) if row not in found]
        for read in read_states(self.model, missing, layers=(self.layer,), batch_size=self.batch_size):
            state = read.states[0].float()
            vector = (state[-1] if self.pooling == "last" else state.mean(0)).cpu().numpy()
            found[missing[read.text]] = vector
            store(folder, missing[read.text], vector)
        return np.stack([found[row] for row in rows])

    @property
    def signature(self) -> str:
        """What makes these vectors these, in a line: goes into the signature of every number made of them."""
        name = Path(str(self.model.config.name_or_path)).name or type(self.model).__name__
        window = self.max_length or "window"
        return f"feat:{name}@{fingerprint(self.model)[:8]}|pool:{self.pooling}|layer:{self.layer}|max:{window}"

    def folder(self) -> Path | None:
        """Where vectors of this model, as its weights are now, and these settings are kept."""
        if self.cache is None:
            return None
        settings = {
            "model": str(self.model.config.name_or_path), "weights": fingerprint(self.model), "pooling": self.pooling,
            "layer": self.layer, "torch": torch.__version__, "transformers": importlib.metadata.version("transformers"),
        }  # fmt: skip
        known = {name: value for name, value in settings.items() if name != "model"}  # a name is no identity
        folder = Path(self.cache) / hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "settings.json", settings, durable=False)
        return folder


def place(folder: Path, row: tuple[int, ...]) -> Path:
    """The file of the vector of a text's token ids."""
    name = hashlib.sha256(json.dumps(row).encode()).hexdigest()
    return folder / name[:2] / f"{name[2:]}.npy"


def stored(folder: Path | None, row: tuple[int, ...]) -> NDArray | None:
    """The vector that is kept of a text, or None where there is none, or a damaged file."""
    if folder is None or not (file := place(folder, row)).exists():
        return None
    try:
        return np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None


def store(folder: Path | None, row: tuple[int, ...], vector: NDArray) -> None:
    """Keep the vector of a text."""
    if folder is not None:
        buffer = io.BytesIO()
        np.save(buffer, vector, allow_pickle=False)
        file = place(folder, row)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, buffer.getvalue(), durable=False)


def fingerprint(model: PreTrainedModel) -> str:
    """sha256 of the configuration, the class, and the name, dtype and bytes of every weight: a second a gigabyte or so.

    Of a model with LoRA adapters it includes which of them are switched on.
    """
    configuration = {
        k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")
    }
    found = hashlib.sha256(json.dumps([type(model).__name__, configuration], sort_keys=True, default=str).encode())
    for name, module in model.named_modules():
        if hasattr(module, "disable_adapters"):
            found.update(f"{name} {module.disable_adapters} {module.active_adapters}".encode())
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
