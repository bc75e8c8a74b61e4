"""Coverage as a heat map by month: each state has its own colour and sign. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.model.stored.coverage import WITH_BARS
from ...core.model.stored.stored import CoverageSpan
from ...core.model.time.instant import from_ms
from ...core.model.time.span import Span

_Floats = NDArray[np.float64]


class CellState(NamedTuple):
    """A month's state in the heat map: its character in the data, its name and its meaning."""

    sign: str
    name: str
    text: str


# Most serious first: a month shows the most serious one that applies.
STATES = (
    CellState("!", "suspect", "stored bars are in doubt"),
    CellState("~", "provisional", "bars have closed and may still change"),
    CellState("/", "partial", "no vendor was ever queried for part of the month"),
    CellState("+", "holes", "bars are stored, but a vendor had none for part of the month"),
    CellState("o", "empty", "vendors were queried and had no bars"),
    CellState("=", "final", "everything requested is stored and final"),
    CellState(" ", "never", "no vendor was ever queried"),
)
_SIGN = {state.name: state.sign for state in STATES}
_STATES = ("suspect", "provisional", "empty", "final")
MONTHS_OF_YEAR = tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())


class Months(NamedTuple):
    """Consecutive months.

    Attributes:
        first: First month, as the number of months since January of year 0.
        number: Number of months.
    """

    first: int
    number: int

    @property
    def names(self) -> list[str]:
        """The months as ``YYYY-MM``."""
        return [_name(month) for month in range(self.first, self.first + self.number)]

    @property
    def bounds(self) -> _Floats:
        """The start of each month and the end of the last; UTC milliseconds, shape (number + 1,)."""
        months = np.arange(self.first, self.first + self.number + 1, dtype=np.int64) - 12 * 1970
        return months.astype("M8[M]").astype("M8[ms]").astype(np.int64).astype(np.float64)


def months_of(series: Iterable[Sequence[CoverageSpan]], now_ms: int) -> Months:
    """Return the months from the first stored bar of any of the series up to now.

    If no bar is stored, they begin with the first span that was requested.
    """
    entries = [entry for entries_of_series in series for entry in entries_of_series]
    with_bars = [entry for entry in entries if entry.state in WITH_BARS] or entries
    last = _month(now_ms)
    first = min((_month(entry.span.start) for entry in with_bars), default=last)
    return Months(min(first, last), max(1, last - first + 1))


def cells_of(
    entries: Sequence[CoverageSpan],
    months: Months,
    end_ms: int,
    is_expected: Callable[[Span], bool] = lambda _: True,
) -> str:
    """Return a string with one character from :data:`STATES` for each month.

    Args:
        entries: Coverage of one series, as ascending and disjoint spans.
        months: Months to describe.
        end_ms: End of the last bar that can exist by now, UTC milliseconds.
        is_expected: Function that returns whether a bar is expected in a span that was never
            requested. A span without expected bars, such as a weekend, does not make its month
            partial.
    """
    bounds = months.bounds
    covered = {
        state: _covered_ms([entry.span for entry in entries if entry.state == state], bounds)
        for state in _STATES
    }
    covered_ms = sum(covered.values(), np.zeros(months.number))
    ends = np.minimum(bounds[1:], max(float(end_ms), bounds[0]))
    lacks = (covered_ms > 0.5) & (covered_ms < ends - bounds[:-1] - 0.5)
    for index in np.flatnonzero(lacks).tolist():
        month = Span(int(bounds[index]), int(ends[index]))
        lacks[index] = any(is_expected(span) for span in _uncovered_spans(entries, month))
    flags = {
        "suspect": covered["suspect"] > 0.5,
        "provisional": covered["provisional"] > 0.5,
        "partial": lacks,
        "holes": (covered["final"] > 0.5) & (covered["empty"] > 0.5),
        "empty": covered["empty"] > 0.5,
        "final": covered["final"] > 0.5,
    }
    signs = np.full(months.number, _SIGN["never"])
    for name in reversed(flags):
        signs[flags[name]] = _SIGN[name]
    return "".join(signs.tolist())


def unread_cells(months: Months) -> str:
    """Return the row of a series whose coverage cannot be read: nothing is known of any month."""
    return _SIGN["never"] * months.number


def heat_map(rows: Iterable[tuple[str, str]], months: Months) -> dict[str, Any]:
    """Return the heat map as a dict.

    Its keys are ``first`` and ``last`` (months), ``signs`` (the legend, which maps each character
    to its state) and ``rows``. Each row has ``name``, ``cells`` (one character per month) and
    ``counts`` (number of months in each state; states that do not occur are left out).
    """
    names = months.names
    return {
        "first": names[0],
        "last": names[-1],
        "signs": {state.sign: state.name for state in STATES},
        "rows": [
            {
                "name": name,
                "cells": cells,
                "counts": {
                    state.name: number for state in STATES if (number := cells.count(state.sign))
                },
            }
            for name, cells in rows
        ],
    }


def by_year(first: str, cells: str) -> list[tuple[str, str]]:
    """Split a row of months into years, each with the characters for its twelve months."""
    year, month = (int(text) for text in first.split("-"))
    never = _SIGN["never"]
    padded = never * (month - 1) + cells
    padded += never * (-len(padded) % 12)
    return [
        (f"{year + index // 12:04d}", padded[index : index + 12])
        for index in range(0, len(padded), 12)
    ]


def _covered_ms(spans: Sequence[Span], bounds: _Floats) -> _Floats:
    """Return the number of milliseconds that the spans cover in each month."""
    if not spans:
        return np.zeros(len(bounds) - 1)
    ends = np.array(spans, dtype=np.float64)
    lengths = np.cumsum(ends[:, 1] - ends[:, 0])
    before = np.column_stack([np.concatenate([[0.0], lengths[:-1]]), lengths])
    return np.diff(np.interp(bounds, ends.ravel(), before.ravel()))


def _uncovered_spans(entries: Sequence[CoverageSpan], month: Span) -> Iterable[Span]:
    """Yield the spans within a month that no part covers."""
    start = month.start
    for entry in entries:
        if entry.span.end <= start:
            continue
        if entry.span.start >= month.end:
            break
        if entry.span.start > start:
            yield Span(start, entry.span.start)
        start = entry.span.end
    if start < month.end:
        yield Span(start, month.end)


def _month(ms: int) -> int:
    time = from_ms(ms)
    return 12 * time.year + time.month - 1


def _name(month: int) -> str:
    return f"{month // 12:04d}-{month % 12 + 1:02d}"
