"""The names of the second data layer."""

from .missing import MissingDataHandler

__all__ = ["MissingDataHandler"]
