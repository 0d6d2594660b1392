"""Why was each token chosen? What is recorded, and the page that shows it."""

from .records import Trace

__all__ = ["Trace"]
