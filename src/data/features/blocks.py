"""Values of recipes, computed by blocks of fixed spans.

Pure, except for recipes that a program has registered. A value depends on the bars of its block and
on the lead before the block, whatever else is known. Within these, runs of bars without a hole are
computed one by one. A hole is a bar that the series lacks, or a value that is not finite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..core.model.market.bars import Stamps
from ..core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from ..core.model.time.span import Span
from ..core.model.time.timeframe import Timeframe
from .own import call_own
from .recipes import RecipeUse
from .rolling import Values

__all__ = ["Tape", "block_at", "blocks", "compute", "rows_without_lead"]

# Longest step of a timeframe, and the days of its blocks, counted from 1970-01-01: about ten
# thousand bars of a market that is always open. Never changed: it would change the last digits of
# values.
_BLOCK_DAYS = (
    (MINUTE_MS, 8),
    (5 * MINUTE_MS, 32),
    (15 * MINUTE_MS, 128),
    (HOUR_MS, 512),
    (4 * HOUR_MS, 2_048),
    (DAY_MS, 8_192),
)
_LONGEST_BLOCK_DAYS = 65_536


@dataclass(frozen=True, eq=False)
class Tape:
    """Bars of one series, with those of the lead.

    Attributes:
        timeframe: Timeframe of the bars.
        stamps: Opening times, ascending, UTC milliseconds.
        columns: See :data:`.functions.Columns`.
        holes: Maps the position of each bar behind a hole to the end of the hole, UTC milliseconds.
        lacks_lead: Whether bars exist before the first one that are missing here.
        first: Position of the first bar of the answer; those before it are the lead.
        finite: Results of :meth:`finite_in`.
    """

    timeframe: Timeframe
    stamps: Stamps
    columns: Mapping[str, Values]
    holes: Mapping[int, int] = field(default_factory=dict)
    lacks_lead: bool = False
    first: int = 0
    finite: dict[tuple[str, ...], NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps)

    def finite_in(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each bar whether its values in some columns are finite."""
        key = tuple(names)
        if key not in self.finite:
            self.finite[key] = np.logical_and.reduce([np.isfinite(self.columns[n]) for n in key])
        return self.finite[key]


def block_at(timeframe: Timeframe, stamp_ms: int) -> Span:
    """Return the block that contains a time, UTC milliseconds, half-open."""
    step = timeframe.longest_ms
    days = next((days for longest, days in _BLOCK_DAYS if step <= longest), _LONGEST_BLOCK_DAYS)
    start = stamp_ms // (days * DAY_MS) * days * DAY_MS
    return Span(start, start + days * DAY_MS)


def blocks(tape: Tape) -> Iterator[range]:
    """Yield the positions of the bars of each block that contains bars of the answer."""
    position = tape.first
    while position < len(tape):
        span = block_at(tape.timeframe, int(tape.stamps[position]))
        first, end = tape.stamps.searchsorted([span.start, span.end])
        yield range(int(first), int(end))
        position = int(end)


def compute(use: RecipeUse, tape: Tape, block: range) -> tuple[Values, ...]:
    """Return the values of a recipe for the bars of one block, one array for each output.

    Raises:
        FeatureError, ForeignError, ProviderTimeoutError: The function of a registered recipe
            failed.
    """
    first = first_of(use, tape, block)
    found = tuple(np.full(len(block), np.nan) for _ in use.names)
    for start, end in _runs(use, tape, first, block.stop):
        masked = _rows_to_mask(use, tape, start, first, block)
        begin = max(start + masked, block.start)
        if begin < end:
            for own, values in zip(found, _outputs(use, tape, start, end), strict=True):
                own[begin - block.start : end - block.start] = values[begin - start :]
    return found


def first_of(use: RecipeUse, tape: Tape, block: range) -> int:
    """Return the position of the first bar that the values of a block depend on."""
    if use.anchor_ms is not None:
        return int(tape.stamps.searchsorted(use.anchor_ms))
    return max(0, block.start - use.lead_in(tape.timeframe))


def _runs(use: RecipeUse, tape: Tape, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of finite bars without a hole in a part of the tape."""
    finite = tape.finite_in(use.recipe.columns)[first:end]
    edges = {first, end, *(hole for hole in tape.holes if first < hole < end)}
    if not finite.all():
        edges.update((first + 1 + np.flatnonzero(finite[1:] != finite[:-1])).tolist())
    for start, stop in pairwise(sorted(edges)):
        if start >= first and finite[start - first]:
            yield start, stop


def _rows_to_mask(use: RecipeUse, tape: Tape, start: int, first: int, block: range) -> int:
    """Return the number of rows at the start of a run that stay NaN.

    Args:
        use, tape, block: See :func:`compute`.
        start: Position at which the run begins.
        first: Position of the first bar that the values depend on.
    """
    is_cut = tape.lacks_lead and start == 0
    if use.anchor_ms is not None:
        is_lost = start > first or (first > 0 and tape.holes.get(first, 0) > use.anchor_ms)
        return len(tape) if is_lost else is_cut * rows_without_lead(use, tape)
    if use.anchor or is_cut:
        return rows_without_lead(use, tape, start)
    has_lead = start == first == block.start - use.lead and start not in tape.holes
    return 0 if has_lead and use.recipe.kind == "decaying" else use.rows_behind_holes


def rows_without_lead(use: RecipeUse, tape: Tape, start: int = 0) -> int:
    """Return the number of rows of a run that stay NaN if bars before its first one are missing."""
    if use.anchor_ms is not None:
        return len(tape) if use.anchor_ms < tape.stamps[0] else 0
    if use.anchor:
        opens = tape.columns["opens"][start:]
        is_open = opens[0] >= tape.stamps[start]  # a bar may begin before its session
        return 0 if is_open else int(opens.searchsorted(opens[0], "right"))
    return max(use.lead, use.rows_behind_holes)


def _outputs(use: RecipeUse, tape: Tape, start: int, end: int) -> tuple[Values, ...]:
    """Return the outputs of a recipe's function for one run of bars."""
    recipe = use.recipe
    columns = {name: tape.columns[name][start:end] for name in recipe.columns}
    if recipe.is_own:
        return call_own(use, columns, tape.stamps[start:end])
    if recipe.kind == "anchored":
        is_dated = use.anchor_ms is not None
        starts = np.zeros(end - start) if is_dated else tape.columns["opens"][start:end]
        return tuple(recipe.function(columns, starts))
    return tuple(recipe.function(columns, *use.parameters))
