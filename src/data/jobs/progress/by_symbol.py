"""Plans and explanations for several symbols: one entry for each, one table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.model.display.texts import InLines, Line, counted
from ...core.model.request.explanation import Explanation
from ...core.model.request.plan import Plan

__all__ = ["Explanations", "Plans"]


class Plans(InLines, dict[str, Plan]):
    """Maps each symbol, as it was typed, to its plan."""

    @property
    def requests(self) -> int:
        """Number of requests that all plans together would send."""
        return sum(plan.requests for plan in self.values())

    @property
    def is_possible(self) -> bool:
        """Whether all requested bars would be in the answers."""
        return all(plan.is_possible for plan in self.values())

    @property
    def title(self) -> str:
        """One-line summary: the number of symbols and the total number of requests."""
        takes = counted(self.requests, "request")
        lacking = sum(not plan.is_possible for plan in self.values())
        without = f"; bars would be missing for {lacking:,}" if lacking else ""
        return f"{counted(len(self), 'symbol')}: {takes} in total{without}"

    def lines(self) -> Iterator[Line]:
        """Yield each symbol with its plan's verdict."""
        for name, plan in self.items():
            yield name, plan.verdict

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary: ``plans`` in order, and the total ``requests``."""
        return {"plans": [plan.to_json() for plan in self.values()], "requests": self.requests}


class Explanations(InLines, dict[str, Explanation]):
    """Maps each symbol, as it was typed, to its explanation."""

    @property
    def title(self) -> str:
        """One-line summary: the number of symbols, and how many of them have no vendor."""
        unserved = sum(not plan.is_served for plan in self.values())
        without = f"; {unserved:,} without a vendor" if unserved else ""
        return f"{counted(len(self), 'symbol')}{without}"

    def lines(self) -> Iterator[Line]:
        """Yield each symbol with one line about how it is served."""
        for name, plan in self.items():
            yield name, plan.title.partition(": ")[2] or plan.title

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary with one explanation per symbol."""
        return {name: plan.to_json() for name, plan in self.items()}
