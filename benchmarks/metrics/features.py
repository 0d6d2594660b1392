"""Feature vectors of texts for MAUVE and the distances, by any HuggingFace causal LM or encoder, kept on disk."""

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
    """Make a vector of each text: the last token's hidden state, as MAUVE does, or the mean over tokens.

    A vector in the cache is found by all that it depends on: the token ids, all bytes of the model's weights, its
    configuration, the settings below that change the vector, and the versions of torch and transformers. So fine-tuned
    weights under an old name find nothing, and texts that two runs share, such as the references, are read once. A run
    that was killed goes on where it stopped. The cache has one `.npy` file for each text, and `settings.json` beside
    them says what they are.

    Args:
        model: a causal LM (its head is not computed), an encoder, or an encoder-decoder, whose encoder is read.
        tokenizer: the tokenizer of the model, with the special tokens that it adds by itself.
        pooling: "last" or "mean".
        max_length: how many tokens of a text are read, from its beginning. None: the model's window.
        layer: which layer's hidden states are taken; see `read_states`.
        batch_size: texts in a forward pass. It changes the vectors by rounding alone.
        cache: a folder. None: nothing is kept.

    Raises:
        ValueError: there is no such pooling, or max_length or batch_size is below 1.

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
        """Load a featurizer with a model by name.

        Args:
            name: a hub id or a folder, such as "gpt2-large". None: the embedded SmolLM2-135M-Instruct.
            dtype: the type of the weights. On a CPU that has it, bfloat16 is about three times as fast. It changes
                MAUVE less than the noise of its k-means does.
            settings: more arguments of the class.

        Raises:
            ValueError: there is no such model.
        """
        source = locate(name)
        model = load_model(AutoModel, source, device="cpu", dtype=dtype)
        return cls(model, load_tokenizer(source), **settings)

    def __call__(self, texts: Sequence[str]) -> NDArray:
        """(N, D) float32, in the order of the texts. Equal texts are read once.

        Raises:
            ValueError: there are no texts, or some have no tokens. It is raised before any text is read.
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
        """All that the vectors depend on, in a line. It is part of the signature of every number made of them."""
        name = Path(str(self.model.config.name_or_path)).name or type(self.model).__name__
        window = self.max_length or "window"
        return f"feat:{name}@{fingerprint(self.model)[:8]}|pool:{self.pooling}|layer:{self.layer}|max:{window}"

    def folder(self) -> Path | None:
        """The folder for vectors of this model, with its present weights, and these settings. None without a cache."""
        if self.cache is None:
            return None
        settings = {
            "model": str(self.model.config.name_or_path),
            "weights": fingerprint(self.model),
            "pooling": self.pooling,
            "layer": self.layer,
            "torch": torch.__version__,
            "transformers": importlib.metadata.version("transformers"),
        }
        # the name does not identify the weights
        known = {name: value for name, value in settings.items() if name != "model"}
        folder = Path(self.cache) / hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "settings.json", settings, durable=False)
        return folder


def place(folder: Path, row: tuple[int, ...]) -> Path:
    """The file for the vector of a text, by its token ids."""
    name = hashlib.sha256(json.dumps(row).encode()).hexdigest()
    return folder / name[:2] / f"{name[2:]}.npy"


def stored(folder: Path | None, row: tuple[int, ...]) -> NDArray | None:
    """The cached vector of a text; None if there is none or its file is damaged."""
    if folder is None or not (file := place(folder, row)).exists():
        return None
    try:
        return np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None


def store(folder: Path | None, row: tuple[int, ...], vector: NDArray) -> None:
    """Put the vector of a text into the cache."""
    if folder is not None:
        buffer = io.BytesIO()
        np.save(buffer, vector, allow_pickle=False)
        file = place(folder, row)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, buffer.getvalue(), durable=False)


def fingerprint(model: PreTrainedModel) -> str:
    """The sha256 of the configuration, the class, and the name, dtype and bytes of every weight.

    It takes about 1 s a gigabyte. For a model with LoRA adapters it includes which of them are switched on.
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
