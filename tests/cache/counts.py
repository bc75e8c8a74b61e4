"""How thorough the fault tests are: few cases by default, many of them on request.

Many is not all where one case takes a store of its own: what is checked at every byte is checked
there straight at the verification, and a sample shows that the store goes by it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Cases that take a store of their own, in a full run.
MANY = 300
FULL = bool(os.environ.get("ONETAPE_FULL"))


def some(items: Sequence[T], few: int) -> list[T]:
    """Return ``few`` items, or many in a full run, evenly spread, both ends included."""
    count = MANY if FULL else few
    if len(items) <= count:
        return list(items)
    last = len(items) - 1
    return [items[round(n * last / (count - 1))] for n in range(count)]


def examples(count: int) -> int:
    """Return a third of ``count`` random examples but at least 20, or all in a full run."""
    return count if FULL else min(count, max(20, count // 3))
