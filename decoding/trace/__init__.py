"""Traces, which record why each token was chosen, and the page that shows one."""

from .records import Trace

__all__ = ["Trace"]
