"""What others ship or shipped, written from its description, for comparison alone."""

from .contrastive import RepeatedCache

__all__ = ["RepeatedCache"]
