"""How thorough the fault tests are: few cases by default, all of them on request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

FULL = bool(os.environ.get("ONETAPE_FULL"))


def some(items: Sequence[T], few: int) -> list[T]:
    """Return all items in a full run, else ``few`` of them, evenly spread, both ends included."""
    if FULL or len(items) <= few:
        return list(items)
    last = len(items) - 1
    return [items[round(n * last / (few - 1))] for n in range(few)]
