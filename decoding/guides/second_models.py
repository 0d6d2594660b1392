"""Other models that a guide reads: loaded, switched on as adapters, and checked to speak the same tokens."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ..models.loading import load_config, load_model
from ..models.packing import unpacked

PADDING = 1024  # a vocabulary may be this much wider than another one of the same tokenizer, to be a round number


class Adapter:
    """A model with a LoRA adapter switched on, for as long as a forward takes; the model itself goes on without.

    The base weights are in memory once. Not for several threads on one model: the switch is the model's.

    Args:
        model: the base; the adapter's layers are put into it.
        folder: an adapter as peft saves it.

    Raises:
        ImportError: peft is not installed.
        ValueError: there is no adapter there, or the model has another one switched on.

    Example:
        >>> import decoding
        >>> decoding.Adapter("no model", "no folder")
        Traceback (most recent call last):
        ...
        ValueError: no adapter in 'no folder': there is no adapter_config.json
    """

    def __init__(self, model: Any, folder: str | Path) -> None:
        if not is_adapter(folder):
            raise ValueError(f"no adapter in {str(folder)!r}: there is no adapter_config.json")
        try:
            from peft.tuners.tuners_utils import BaseTunerLayer
        except ImportError as error:
            raise ImportError("an adapter needs peft: run pip install 'decoding-toolkit[train]'") from error
        self.model, self.folder, self.name = model, folder, adapter_name(folder)
        loaded = getattr(model, "peft_config", {})
        if strangers := [name for name in loaded if not name.startswith("expert_")]:
            raise ValueError(
                f"the model has another adapter, {strangers[0]!r}: merge it, or give the expert as a model"
            )
        if self.name not in loaded:
            with warnings.catch_warnings():  # of a second adapter, which is meant
                warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
                with unpacked(model):  # peft wraps plain layers only, and takes packed ones in them
                    model.load_adapter(str(folder), adapter_name=self.name)
            model.eval()
        self.layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        model.disable_adapters()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Switch the adapter on, and off again whatever happens."""
        if list(self.model.active_adapters()) != [self.name]:
            self.model.set_adapter(self.name)
        try:
            self._switch(True)
            yield
        finally:
            self._switch(False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A forward with the adapter."""
        with self.on():
            return self.model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.model, name)
        if name not in ("generate", "_prefill"):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.on():
                return value(*args, **kwargs)

        return call

    def __repr__(self) -> str:
        return f"Adapter({str(self.folder)!r})"

    def _switch(self, on: bool) -> None:
        for layer in self.layers:
            layer.enable_adapters(on)


def is_adapter(folder: Any) -> bool:
    """Whether this names a folder with an adapter."""
    return isinstance(folder, (str, Path)) and (Path(folder) / "adapter_config.json").is_file()


def adapter_name(folder: str | Path) -> str:
    """A name for the adapter as it is now, so that one that was trained again is loaded again."""
    state = [(file.name, file.stat().st_mtime_ns) for file in sorted(Path(folder).glob("adapter_*"))]
    return "expert_" + hashlib.sha256(f"{Path(folder).resolve()}{state}".encode()).hexdigest()[:12]


def load_expert(expert: Any) -> Any:
    """A model for what names one; an adapter's folder stays a name, until there is a base to put it into."""
    if not isinstance(expert, (str, Path)) or is_adapter(expert):
        return expert
    return load_model(str(expert), load_config(str(expert)))


def put_on(expert: Any, base: Any) -> Any:
    """The expert as something to read: an adapter's folder is put into `base`."""
    return Adapter(base, expert) if is_adapter(expert) else expert


def refuse_other_tokens(model: Any, other: Any) -> None:
    """Raise ValueError, naming both, where two models do not speak the same tokens.

    Their tokenizers are compared where they are to be found, beside the weights or in the hub's cache; an id that only
    one of them has is no difference. Where they are not, vocabularies may differ by what pads them to a round number.
    """
    if isinstance(other, (str, Path)) or getattr(other, "model", None) is model or other is model:
        return
    names = [describe(one) for one in (model, other)]
    widths = [one.config.get_text_config(decoder=True).vocab_size for one in (model, other)]
    tokens = [vocabulary(one.config.name_or_path) for one in (model, other)]
    if not all(tokens):
        if abs(widths[0] - widths[1]) > PADDING:
            raise ValueError(
                f"{names[0]} has {widths[0]} tokens and {names[1]} has {widths[1]}: they need the same tokenizer"
            )
        return
    for token in sorted(tokens[0].keys() & tokens[1].keys()):
        if tokens[0][token] != tokens[1][token]:
            raise ValueError(
                f"{names[0]} and {names[1]} need the same tokenizer: token {token} is {tokens[0][token]!r} in the one "
                f"and {tokens[1][token]!r} in the other"
            )


def describe(model: Any) -> str:
    """A model by its name, or by its class."""
    return str(model.config.name_or_path or type(model).__name__)


@lru_cache(maxsize=16)
def vocabulary(name: str) -> dict[int, str]:
    """The tokens by id of the tokenizer that is saved under a model's name; empty where there is none at hand."""
    if not name:
        return {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError):
        return {}
    return {number: token for token, number in tokenizer.get_vocab().items()}
