"""How good is a continuation after its prefix? Scorers know nothing of decoding."""

from .scorer import Function, Scorer, as_scorer

__all__ = ["Function", "Scorer", "as_scorer"]
