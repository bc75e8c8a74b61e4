"""Sets how thorough the fault tests are: few cases by default, many in a full run.

A full run does not take all cases if each needs its own store: then every byte is checked by calling the
verification directly, and a sample of stores shows that the store uses the verification.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, product
from typing import Any, TypeVar

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
    """Return a tenth of ``count`` random examples but at least 12, or all in a full run."""
    return count if FULL else min(count, max(12, count // 10))


def steps(most: int, every: int, first: int = 1) -> range:
    """Return the numbers of the calls that fail in turn: each in a full run, else every ``every``-th."""
    return range(1, most) if FULL else range(first, most, every)


def crossed(*axes: Iterable[Any]) -> Collection[tuple[Any, ...]]:
    """Return all combinations in a full run, else few of them that hold every value.

    Of two axes each value is in one of them; of three or more each pair of values of two axes.
    """
    every = list(product(*map(tuple, axes)))
    return every if FULL else _covering(every, 1 if len(axes) < 3 else 2)


def _covering(every: list[tuple[Any, ...]], size: int) -> list[tuple[Any, ...]]:
    """Return combinations: each in turn holds most of what is missing, of values that are rare yet."""
    places = list(combinations(range(len(every[0])), size))
    held = [{(at, *(repr(one[n]) for n in at)) for at in places} for one in every]
    values = [[(n, repr(value)) for n, value in enumerate(one)] for one in every]
    missing, chosen, used = set().union(*held), set[int](), Counter[tuple[int, str]]()

    def worth(n: int) -> tuple[int, int]:
        return len(held[n] & missing), -sum(used[value] for value in values[n])

    while missing:
        best = max(range(len(every)), key=worth)
        chosen.add(best)
        missing -= held[best]
        used.update(values[best])
    return [every[n] for n in sorted(chosen)]
