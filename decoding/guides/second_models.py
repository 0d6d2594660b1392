"""Load the second models of a guide, switch on adapters, and check that the tokenizers agree."""

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

PADDING = 1024  # two models of one tokenizer may differ by this much in width: vocabularies are padded to round numbers


class Adapter:
    """A model whose LoRA adapter is switched on for the length of each forward pass, and is off at all other times.

    The base weights are in memory only once. Do not use one model from several threads: the adapter is switched on for
    all of them.

    Args:
        model: the base model, into which the adapter's layers are put.
        folder: the folder of an adapter, as peft saves it.

    Raises:
        ImportError: peft is not installed.
        ValueError: there is no adapter in the folder, or the model has an adapter that was loaded by other means.

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
        if others := [name for name in loaded if not name.startswith("expert_")]:
            raise ValueError(f"the model has another adapter, {others[0]!r}: merge it, or give the expert as a model")
        if self.name not in loaded:
            with warnings.catch_warnings():  # a second adapter is intended
                warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
                with unpacked(model):  # peft wraps plain layers only
                    model.load_adapter(str(folder), adapter_name=self.name)
            model.eval()
        self.layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        model.disable_adapters()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Switch the adapter on, and off again at the end, also after an error."""
        if list(self.model.active_adapters()) != [self.name]:
            self.model.set_adapter(self.name)
        try:
            self._switch(True)
            yield
        finally:
            self._switch(False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a forward pass with the adapter."""
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
    """Whether this is the path of a folder that holds an adapter."""
    return isinstance(folder, (str, Path)) and (Path(folder) / "adapter_config.json").is_file()


def adapter_name(folder: str | Path) -> str:
    """A name for the current state of an adapter, so that it is loaded again after it was trained again."""
    state = [(file.name, file.stat().st_mtime_ns) for file in sorted(Path(folder).glob("adapter_*"))]
    return "expert_" + hashlib.sha256(f"{Path(folder).resolve()}{state}".encode()).hexdigest()[:12]


def load_expert(expert: Any) -> Any:
    """Load a model from its name. A model, or the folder of an adapter, is returned as it is."""
    if not isinstance(expert, (str, Path)) or is_adapter(expert):
        return expert
    return load_model(str(expert), load_config(str(expert)))


def put_on(expert: Any, base: Any) -> Any:
    """Put an adapter on `base`, if `expert` is the folder of one; return any other expert as it is."""
    return Adapter(base, expert) if is_adapter(expert) else expert


def refuse_other_tokens(model: Any, other: Any) -> None:
    """Raise ValueError, with both names, if two models do not have the same tokenizer.

    The tokenizers are compared if they lie beside the weights or in the hub's cache. Ids that only one of them has are
    ignored. If a tokenizer cannot be found, the widths of the vocabularies are compared, which may differ by padding.
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
    """The name of a model, or of its class if it has none."""
    return str(model.config.name_or_path or type(model).__name__)


@lru_cache(maxsize=16)
def vocabulary(name: str) -> dict[int, str]:
    """The tokens by id of the tokenizer saved under a model's name; empty if none is on this machine."""
    if not name:
        return {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError):
        return {}
    return {number: token for token, number in tokenizer.get_vocab().items()}
