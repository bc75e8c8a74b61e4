"""A small picture of a series in text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from .tables import aligned

_BLOCKS = " ▁▂▃▄▅▆▇█"
_SMALLEST = 8


def chart(values: Sequence[float], *, width: int, height: int = 6) -> list[str]:
    """Return an area of blocks, newest on the right, with its highest and lowest value beside it.

    Args:
        values: missing ones (NaN) are passed over.
        width: characters of a line at most, the labels included.
        height: lines.
    """
    known = [float(v) for v in values if math.isfinite(v)]
    if not known:
        return []
    labels = aligned([max(known), min(known)])
    beside = max(map(len, labels))
    columns = _columns(known, max(width - beside - 2, _SMALLEST))
    low, high = min(columns), max(columns)
    scale = (height * 8 - 1) / (high - low) if high > low else 0.0
    filled = [int((v - low) * scale) + 1 for v in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        label = labels[0] if row == height - 1 else labels[1] if row == 0 else ""
        cells = "".join(_BLOCKS[min(max(f - row * 8, 0), 8)] for f in filled)
        lines.append(f"{label:>{beside}} ┤{cells}")
    return lines


def _columns(values: Sequence[float], most: int) -> list[float]:
    """Return one value a column: of those that share one the farthest from the mean of all.

    So that a crash of one bar among thousands is seen. First and last stay what they are.
    """
    if len(values) <= most:
        return list(values)
    mean = sum(values) / len(values)
    edges = [i * len(values) // most for i in range(most + 1)]
    groups = [values[a:b] for a, b in itertools.pairwise(edges)]
    chosen = [max(group, key=lambda v: abs(v - mean)) for group in groups]
    return [values[0], *chosen[1:-1], values[-1]]
