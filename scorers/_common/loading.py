"""Loading of transformers' models and tokenizers, from hub ids, folders and packages that carry weights.

If something cannot be loaded, the error has one line. It comes before the weights are read, wherever it can.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

UNREAD = ("pooler.",)  # weights of encoders that are not used here


def load_config(source: str | Path, what: str = "no model {!r}") -> Any:
    """Load a model's configuration. This is cheap, and enough to refuse a call that cannot work.

    Args:
        source: a hub id or a folder.
        what: the beginning of the error message; "{!r}" stands for the source.

    Raises:
        ValueError: there is no such model.
    """
    refuse_lost_folder(source)
    try:
        return AutoConfig.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        raise ValueError(f"{what.format(str(source))}: {first_line(error)}") from error


def load_tokenizer(source: str | Path | Any) -> Any:
    """Load the tokenizer of a hub id or folder. Anything else is returned as it is, as a tokenizer.

    Raises:
        ValueError: there is no tokenizer.
    """
    if not isinstance(source, (str, Path)):
        return source
    refuse_lost_folder(source)
    try:
        return AutoTokenizer.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer in {str(source)!r}: {first_line(error)}") from error


def load_model(
    kind: Any, source: str | Path, *, device: Any = None, dtype: Any = None, whole: bool = True, exact: bool = False
) -> Any:
    """Load the weights of a hub id or folder, in evaluation mode.

    They are safetensors, or a .bin read as tensors alone.

    Args:
        kind: a class of transformers with `from_pretrained`.
        source: a hub id or a folder.
        device: where the model goes. None: the accelerator if there is one, else the CPU. "auto": it is spread over all
            devices.
        dtype: the type of the weights. None: that of the checkpoint.
        whole: refuse a checkpoint that lacks weights of this kind, which would be random, or has them in other shapes.
        exact: refuse a checkpoint that lacks any weight, or has weights that this kind of model has no place for.

    Raises:
        ValueError: there is no such model or device, or `whole` or `exact` refuses the checkpoint.
    """
    refuse_lost_folder(source)
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    refuse_lost_device(device)
    options: dict[str, Any] = {"ignore_mismatched_sizes": True} if whole else {}  # such a checkpoint is refused below
    try:
        model, info = kind.from_pretrained(
            str(source), output_loading_info=True, dtype=dtype or "auto", device_map=device, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot load {str(source)!r}: {first_line(error)}") from error
    faults = {
        "are missing": [key for key in info["missing_keys"] if whole and (exact or not key.startswith(UNREAD))],
        "have other shapes than config.json says": [key for key, *_ in info["mismatched_keys"]],
        "have no place in it": info["unexpected_keys"] if exact else [],
    }
    for fault, keys in faults.items():
        if keys:
            raise ValueError(
                f"{str(source)!r} is no {kind.__name__}: weights {fault}, {len(keys)}, such as {min(keys)}"
            )
    return model.eval()


def refuse_lost_folder(source: str | Path) -> None:
    """Raise ValueError if the source can only be a folder and there is no such folder, before a hub is asked for it."""
    if (isinstance(source, Path) or source.startswith((".", "/", "~"))) and not Path(source).is_dir():
        raise ValueError(f"no model {str(source)!r}: there is no such folder")


def refuse_lost_device(device: Any, what: str = "no device {!r}") -> None:
    """Raise ValueError if this machine or this torch does not have the device, before weights are read.

    Args:
        device: the device. None: the CPU.
        what: the beginning of the error message; "{}" stands for the device.
    """
    try:
        torch.empty(0, device=None if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was compiled without CUDA
        raise ValueError(f"{what.format(str(device))}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its details.

    Example:
        >>> first_line(OSError("There is no such model.\\nYou may want to log in."))
        'There is no such model.'
    """
    return str(error).strip().partition("\n")[0]
