"""Measure calls against each other in one process, and time parts of a call from the inside.

The speed of a machine never stays constant for long. So calls that are compared take turns, in a
new random order each round, and the report has the median of the rounds with the lowest and the
highest; a ratio or a difference is taken within each round.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

_US = 1e6
# Shorter timings would measure the clock.
LEAST_S = 0.002

LARGE = "--large"

Call = Callable[[], object]
T = TypeVar("T")


def sized(usual: T, large: T) -> T:
    """Return the size of a measurement: the usual one, or the one for a run with ``--large``."""
    return large if LARGE in sys.argv else usual


class Figure(NamedTuple):
    """A measurement, in microseconds (or a ratio): median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.median)} [{_short(self.low)}..{_short(self.high)}]"


class Row(NamedTuple):
    """One line of the report: name, figures by column, and the goal, if any."""

    name: str
    figures: Mapping[str, Figure]
    goal: str = ""


class Report(NamedTuple):
    """The result of one script.

    Attributes:
        title: Title of its table.
        note: Meaning of the columns.
        rows: Lines of the table.
        more, less: Columns of ratios and counts, for which more or less is better; they can be
            compared with those of another day, because the load of the machine affects both parts.
    """

    title: str
    note: str
    rows: Sequence[Row]
    more: Sequence[str] = ()
    less: Sequence[str] = ()

    def __str__(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row.figures))
        lines = [f"### {self.title}", "", self.note, ""]
        lines.append(f"| | {' | '.join(columns)} | goal |")
        lines.append("|---" * (len(columns) + 2) + "|")
        for row in self.rows:
            cells = (str(row.figures.get(name, "")) for name in columns)
            lines.append(f"| {row.name} | {' | '.join(cells)} | {row.goal} |")
        return "\n".join(lines)


def race(calls: Mapping[str, Call], rounds: int = 40) -> dict[str, list[float]]:
    """Return, by name, the microseconds per call in each round; every round has all calls."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    results: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        order = list(calls)
        random.shuffle(order)
        for name in order:
            results[name].append(_timed(calls[name], repeats[name]))
    return results


class Inside:
    """Times functions wherever a call reaches them; nested ones count once.

    Args:
        parts: Maps each column to its functions, each as owner (module or class) and name.
    """

    def __init__(self, parts: Mapping[str, Sequence[tuple[Any, str]]]) -> None:
        self._parts = parts
        self._spent = dict.fromkeys(parts, 0.0)
        self._is_inside = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have the functions timed inside the block."""
        with ExitStack() as stack:
            for column, places in self._parts.items():
                for owner, name in places:
                    watched = self._watched(column, getattr(owner, name))
                    stack.enter_context(patch.object(owner, name, watched))
            yield

    def measure(self, call: Call, rounds: int = 400) -> dict[str, list[float]]:
        """Return the microseconds of each part by round, of the whole, and of the ``rest``."""
        results: dict[str, list[float]] = {name: [] for name in ("whole", *self._parts, "rest")}
        for _ in range(rounds):
            self._spent = dict.fromkeys(self._parts, 0.0)
            started = perf_counter()
            kept = call()
            whole = (perf_counter() - started) * _US
            del kept  # whoever asked frees it when he is done
            parts = {name: spent * _US for name, spent in self._spent.items()}
            measured = {"whole": whole, **parts, "rest": whole - sum(parts.values())}
            for name, value in measured.items():
                results[name].append(value)
        return results

    def _watched(self, column: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            self._is_inside, started = True, perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._spent[column] += perf_counter() - started
                self._is_inside = False

        return watched


def _repeats(call: Call) -> int:
    """Return how often to make a call for one timing; the first call is not counted."""
    call()
    return max(1, round(LEAST_S * _US / max(_timed(call, 3), 0.1)))


def _timed(call: Call, repeats: int) -> float:
    """Return the microseconds per call, from several in a row."""
    started = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - started) / repeats * _US


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
