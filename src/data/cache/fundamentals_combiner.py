"""The older import path of the combiner."""

from ..fundamentals.combiner import FundamentalsCombiner, get_fundamentals_combiner

__all__ = ["FundamentalsCombiner", "get_fundamentals_combiner"]
