"""Models and tokenizers: how they are loaded, packed and read."""

from .loading import load
from .packing import pack, unpack

__all__ = ["load", "pack", "unpack"]
