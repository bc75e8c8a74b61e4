"""Checks a function that computes features from bars: look-ahead, repeatability, weak numbers.

The function is only called, never read. Outputs up to a bar must not change when later bars do:
they are cut off and changed at some bars (:data:`_CUTS`), then every bar is changed in turn, many in
one call, and the most suspicious bars (:mod:`.probes`) are tested one by one. Only these exact tests
decide.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..core.model.display.texts import counted
from ..errors import QueryError
from .backtrader_indicator import indicator_function, is_indicator
from .probes import Floats, changed, deviations, differs, factors_of, probes, suspects

Features = Callable[[pd.DataFrame], "pd.Series[Any] | pd.DataFrame"]

# Where bars are cut off (None) or multiplied, as a fraction of their number.
_CUTS = (
    (0.17, -1.0),
    (0.29, None),
    (0.41, 0.75),
    (0.5, 1e3),
    (0.61, None),
    (0.73, 1.3),
    (0.83, np.nan),
)
_MOST_CALLS = 60
# Calls for what follows the search for suspicious bars.
_LATER_CALLS = 4
# With at most this many bars, each is tested exactly.
_FEW_BARS = 40
_FORGOTTEN = 1e-6
_FALL, _SMALL_FALL = 1e8, 1e2


@dataclass(frozen=True)
class Finding:
    """A fault of a function, or a warning about it.

    Attributes:
        kind: ``look_ahead``, ``not_reproducible``, ``mutated_input``, ``wrong_length``,
            ``wrong_index``, ``wrong_type``, ``wrong_columns``, ``raises`` or ``hangs``; for warnings
            ``start_dependence``, ``nan_poison``, ``digits_lost``, ``keeps_state`` or
            ``raises_on_part``.
        text: The finding in one sentence.
        column: Column of the function's result, or None if all are affected.
        timestamp: First bad bar, or None if there is none.
        horizon: For ``look_ahead``: number of bars ahead on which the first bad bar depends. For
            ``start_dependence``: number of bars after the start whose values still depend on it.
    """

    kind: str
    text: str
    column: str | None = None
    timestamp: str | None = None
    horizon: int | None = None


@dataclass(frozen=True)
class FeatureCheck:
    """The result of :func:`check_features`.

    Attributes:
        findings: Faults, in the order in which they were found.
        warnings: Weaknesses that are not errors by themselves.
        calls: Number of calls of the function.
        bars: Number of bars.
    """

    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    calls: int
    bars: int

    @property
    def ok(self) -> bool:
        """Whether there is no finding; warnings do not count."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-serializable dictionary."""
        return {"ok": self.ok, **asdict(self)}


class _Values(NamedTuple):
    columns: list[str]
    numbers: Floats  # shape (columns, bars)


class _StopError(Exception):
    """Ends a check: the function cannot be called any more."""


class _Leak(NamedTuple):
    row: int
    factor: float | None


def check_features(
    function: Features, bars: pd.DataFrame, *, warmup: int = 0, timeout: float = 30.0
) -> FeatureCheck:
    """Check that a function computes each row from that bar and earlier ones only.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2011-01-03", end="2011-12-30", provider="demo")
        >>> check_features(lambda frame: frame["close"].pct_change(), bars).ok
        True
        >>> check_features(lambda frame: frame["close"].shift(-1), bars).findings[0].kind
        'look_ahead'

    The function is called with copies of the bars, cut off or changed, at most 60 times if it never
    looks ahead. It may raise if there are too few bars, or if values are changed or missing; such
    calls are left out, and reported as a warning. What it prints is passed on.

    Args:
        function: Takes a frame of bars, and returns a Series or a DataFrame with the same index. A
            Backtrader indicator class is also accepted (extra ``backtrader``); its lines are the
            columns.
        bars: Bars with a unique, increasing index, at least three; they are not changed. Only
            numeric columns are changed in the copies.
        warmup: Number of bars after the start whose values may depend on where the bars start.
        timeout: Seconds that one call may take. A call that takes longer goes on in its thread.

    Returns:
        The findings and warnings. They are sorted by the order of the checks, not by bar.

    Raises:
        QueryError: An argument is not valid.

    Calls of the function run one at a time, each in a thread of its own. Several checks may run at
    the same time if their functions allow it.
    """
    if not callable(function):
        raise QueryError(f"not a function: {function!r}", hint="give a function that takes a frame")
    if not isinstance(bars, pd.DataFrame) or len(bars) < 3:
        raise QueryError("at least three bars are needed, in a DataFrame", hint="load more bars")
    if not (bars.index.is_monotonic_increasing and bars.index.is_unique):
        raise QueryError("the index of the bars is not unique and increasing", hint="sort the bars")
    if not isinstance(warmup, int) or warmup < 0:
        raise QueryError(f"not a number of bars: warmup={warmup!r}", hint="use 0 or more")
    if not (isinstance(timeout, int | float) and 0 < timeout <= threading.TIMEOUT_MAX):
        hint = "use a number above 0"
        raise QueryError(f"not a number of seconds: timeout={timeout!r:.40}", hint=hint)
    called = indicator_function(function) if is_indicator(function) else function
    check = _Check(called, bars, warmup, timeout)
    state = _state_of(function)
    try:
        check.run()
    except _StopError:
        pass
    warnings = [*check.warnings, *_state_warnings(state, _state_of(function))]
    return FeatureCheck(tuple(check.findings), tuple(warnings), check.calls, len(bars))


class _Check:
    """One check: calls the function, and collects the findings."""

    def __init__(self, function: Features, bars: pd.DataFrame, warmup: int, timeout: float) -> None:
        self._function, self._bars, self._warmup, self._timeout = function, bars, warmup, timeout
        self.calls = 0
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []
        self._kept: dict[tuple[int, float | None], Floats | None] = {}
        self._leaks: dict[int, _Leak] = {}
        self._short: Floats | None = None
        self._base = _Values([], np.empty((0, 0)))

    def run(self) -> None:
        """Run all checks.

        Raises:
            _StopError: A call failed in such a way that no other call makes sense.
        """
        self._base = self._call(self._bars, "", is_base=True)
        self._compare_runs("two calls with the same bars return different values")
        self._find_leaks()
        for column, leak in sorted(self._leaks.items()):
            self.findings.append(self._look_ahead(column, leak))
        self._check_start()
        self._check_nan()
        self._compare_runs("the same bars give other values after calls with other bars")

    def _call(self, frame: pd.DataFrame, what: str, *, is_base: bool = False) -> _Values:
        """Return the function's values for a frame; ``what`` describes it in findings."""
        given, future = frame.copy(), Future[Any]()

        def work() -> None:
            """Call the function, and keep its result or its error."""
            try:
                with np.errstate(all="ignore"):
                    future.set_result(self._function(given))
            except BaseException as error:  # noqa: BLE001 - the user's function
                future.set_exception(error)

        self.calls += 1
        thread = threading.Thread(target=work, name="onetape-check", daemon=True)
        thread.start()
        thread.join(self._timeout)
        where = f" on {what}" if what else f" on bars {self._time(0)} to {self._time(-1)}"
        if thread.is_alive():
            self._stop("hangs", f"a call{where} took longer than {self._timeout:g} s")
        if not given.equals(frame) or not given.columns.equals(frame.columns):
            self._add(
                "mutated_input", "the function changes the bars that it is given; work on a copy"
            )
        if (error := future.exception()) is not None:
            text = f"the function raises {_described(error, self._function)}{where}"
            if is_base:
                self._stop("raises", text)
            raise _PartError(text)
        fault = _fault(future.result(), frame)
        if fault:
            self._stop(fault[0], f"{fault[1]}{where}")
        values = _numbers(future.result())
        if not is_base and values.columns != self._base.columns:
            self._stop("wrong_columns", f"the columns differ: {', '.join(values.columns)}{where}")
        return values

    def _try(self, frame: pd.DataFrame, what: str) -> Floats | None:
        """Return the numbers for changed bars, or None if the function raises for them."""
        try:
            return self._call(frame, what).numbers
        except _PartError as error:
            if not any(w.kind == "raises_on_part" for w in self.warnings):
                text = f"{error}; such calls were left out of the check"
                self.warnings.append(Finding("raises_on_part", text))
            return None

    def _add(self, kind: str, text: str) -> None:
        if not any(finding.kind == kind for finding in self.findings):
            self.findings.append(Finding(kind, text))

    def _stop(self, kind: str, text: str) -> None:
        self._add(kind, text)
        raise _StopError

    def _time(self, row: int) -> str:
        stamp = self._bars.index[row]
        return stamp.isoformat() if isinstance(stamp, pd.Timestamp) else str(stamp)

    def _compare_runs(self, text: str) -> None:
        again = self._call(self._bars, "the same bars").numbers
        bad = differs(self._base.numbers, again)
        if bad.any():
            row = int(bad.any(axis=0).argmax())
            column = self._base.columns[int(bad[:, row].argmax())]
            where = f"column {column!r}, first at {self._time(row)}"
            found = Finding("not_reproducible", f"{text}: {where}", column, self._time(row))
            self.findings.append(found)
            raise _StopError  # what differs by itself proves nothing about bars

    # --- look-ahead ------------------------------------------------------------------------------

    def _find_leaks(self) -> None:
        rows = len(self._bars)
        if rows <= _FEW_BARS:
            for row in range(1, rows):
                self._test(row, None)
                self._test(row, 1.3)
            return
        for part, factor in _CUTS:
            self._test(int(part * rows), factor)
        self._test(rows - 1, None)
        self._go_back()
        if set(self._leaks) < set(range(len(self._base.columns))):
            for row, factor in _interleaved([self._moved(), self._suspects()]):
                if self.calls >= _MOST_CALLS - _LATER_CALLS and not self._leaks:
                    break
                if row + 1 < len(self._bars):  # no bar comes after the last one
                    self._test(row + 1, factor)
            self._go_back()

    def _moved(self) -> list[tuple[int, float]]:
        """Return single bars whose values change if the bars start later: they depend on positions."""
        start = len(self._bars) // 3
        self._short = self._try(self._bars.iloc[start:], "bars that start later")
        if self._short is None:
            return []
        bad = differs(self._base.numbers[:, start:], self._short) & ~np.isnan(self._short)
        bad = np.pad(bad, ((0, 0), (1, 1)))
        single = (bad[:, 1:-1] & ~bad[:, :-2] & ~bad[:, 2:]).any(axis=0)
        rows = np.flatnonzero(single)[:-3:-1].tolist()
        places = dict.fromkeys(place for row in rows for place in (row + start, row))
        return [(place, factor) for factor in (1.3, 0.75) for place in places]

    def _suspects(self) -> list[tuple[int, float]]:
        """Change every bar in turn; return the bars to test exactly, and record certain leaks."""
        base, calls = self._base.numbers, []
        for first, factor, frame in probes(self._bars):
            numbers = self._try(frame, "changed bars")
            numbers = base if numbers is None else numbers
            self._note(differs(base[:, :first], numbers[:, :first]), first, factor)
            calls.append(deviations(base, numbers))
        lists = []
        for place in range(len(base)):
            array = np.array([call[place] for call in calls], np.float64)
            lists.append(suspects(array, len(self._bars) // 5))
        return list(_interleaved(lists))

    def _test(self, row: int, factor: float | None) -> Floats | None:
        """Compare the values before a bar with those for changed bars from it on."""
        key = (row, factor)
        if key not in self._kept:
            if factor is None:
                frame, what = self._bars.iloc[:row], f"the first {counted(row, 'bar')}"
            else:
                factors = np.ones(len(self._bars))
                factors[row:] = factors_of(len(factors), factor)[row:] if factor > 0 else factor
                frame, what = (
                    changed(self._bars, factors),
                    f"bars changed from {self._time(row)} on",
                )
            numbers = self._try(frame, what)
            self._kept[key] = None if numbers is None else numbers[:, :row]
        numbers = self._kept[key]
        if numbers is not None:
            self._note(differs(self._base.numbers[:, :row], numbers), row, factor)
        return numbers

    def _note(self, bad: Any, row: int, factor: float | None) -> None:
        for column in np.flatnonzero(bad.any(axis=1)).tolist():
            first = int(bad[column].argmax())
            if column not in self._leaks or first < self._leaks[column].row:
                self._leaks[column] = _Leak(first, factor)

    def _go_back(self) -> None:
        """Look for an earlier first bad bar of each column: by growing steps, then by bisection."""
        for column, (_, factor) in list(self._leaks.items()):
            clean, row, step = 0, 1, 1
            while row <= self._leaks[column].row:
                self._test(row, factor)
                if self._leaks[column].row >= row:
                    clean, row, step = row, row + step, row
            while self._leaks[column].row > clean:
                # Not the middle: bars are often a power of two from the start of a day or week.
                row = clean + max(1, int(0.38 * (self._leaks[column].row - clean)))
                self._test(row, factor)
                if self._leaks[column].row >= row:
                    clean = row

    def _look_ahead(self, column: int, leak: _Leak) -> Finding:
        near, far = leak.row + 1, len(self._bars)
        while far - near > 1:
            middle = (near + far) // 2
            numbers = self._test(middle, leak.factor)
            base = self._base.numbers[:, :middle]
            if numbers is not None and differs(base, numbers)[column, leak.row]:
                near = middle
            else:
                far = middle
        name, horizon = self._base.columns[column], near - leak.row
        how = "cut off" if leak.factor is None else "changed"
        ahead = "the next bar" if horizon == 1 else f"the next {horizon:,} bars"
        text = (
            f"column {name!r} looks ahead: its value at {self._time(leak.row)} depends on {ahead} "
            f"(it differs if later bars are {how})"
        )
        return Finding("look_ahead", text, name, self._time(leak.row), horizon)

    # --- warnings --------------------------------------------------------------------------------

    def _check_start(self) -> None:
        """Compare with a later start, and with a fall of eight orders of magnitude at that start."""
        rows, base = len(self._bars), self._base.numbers
        start = rows // 3
        short = self._short
        if short is None:
            short = self._try(self._bars.iloc[start:], "bars that start later")
        if short is None:
            return
        bad = differs(base[:, start:], short, _FORGOTTEN) & ~np.isnan(short)
        falls = [self._after_fall(start, size) for size in (_FALL, _SMALL_FALL)]
        for column, name in enumerate(self._base.columns):
            last = int(np.flatnonzero(bad[column]).max(initial=-1)) + 1
            if last > self._warmup:
                end = "to the end" if last >= rows - start - 1 else f"for {counted(last, 'bar')}"
                text = f"column {name!r} depends on where the bars start, {end}"
                self._warn("start_dependence", text, column, start + last - 1, last)
            lead = int(np.isnan(short[column]).cumprod().sum())
            first = max(start + 4 * max(last, lead) + 1, (start + rows) // 2)
            # What a small fall changes too is memory, and not a loss of digits.
            lost = (falls[0] & ~falls[1])[column, first:]
            if lost.any():
                row = first + int(lost.argmax())
                text = f"column {name!r} loses digits after a fall of eight orders of magnitude"
                self._warn("digits_lost", text, column, row)

    def _after_fall(self, start: int, size: float) -> Any:
        """Return where values differ if the bars before a bar are multiplied."""
        factors = np.ones(len(self._bars))
        factors[:start] = size
        numbers = self._try(changed(self._bars, factors), "bars that fall")
        base = self._base.numbers
        return differs(base, base if numbers is None else numbers, _FORGOTTEN)

    def _check_nan(self) -> None:
        """Set the values of one bar to NaN, and look at the end of the result."""
        rows = len(self._bars)
        row = rows // 4
        factors = np.ones(rows)
        factors[row] = np.nan
        numbers = self._try(changed(self._bars, factors), "bars with a NaN")
        if numbers is None:
            return
        spoiled = np.isnan(numbers[:, row:]) & ~np.isnan(self._base.numbers[:, row:])
        tail = (rows - row) // 2
        for column in np.flatnonzero(spoiled[:, tail:].all(axis=1)).tolist():
            text = (
                f"column {self._base.columns[column]!r} stays NaN to the end after one bar with NaN"
            )
            self._warn("nan_poison", text, column, row)

    def _warn(self, kind: str, text: str, column: int, row: int, count: int | None = None) -> None:
        time = self._time(row)
        whole = f"{text} ({time})"
        self.warnings.append(Finding(kind, whole, self._base.columns[column], time, count))


class _PartError(Exception):
    """The function raised an error for a part of the bars, or for changed ones."""


def _fault(result: Any, frame: pd.DataFrame) -> tuple[str, str] | None:
    """Return the kind and description of a result of the wrong form, or None."""
    if not isinstance(result, pd.Series | pd.DataFrame):
        name = type(result).__name__
        return "wrong_type", f"the function returns {name}, not a Series or a DataFrame,"
    if len(result) != len(frame):
        rows = counted(len(result), "row")
        return "wrong_length", f"the function returns {rows} for {counted(len(frame), 'bar')}"
    if not result.index.equals(frame.index):
        return "wrong_index", "the function returns another index than that of the bars"
    return None


def _numbers(result: pd.Series[Any] | pd.DataFrame) -> _Values:
    """Return the columns of a result as numbers; text becomes numbers that are equal if it is."""
    frame = result.to_frame() if isinstance(result, pd.Series) else result
    columns = []
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            codes = pd.util.hash_array(column.astype(str).to_numpy(object)) >> 12
            column = pd.Series(codes.astype(np.float64))
        columns.append(column.to_numpy(np.float64, na_value=np.nan))
    names = ["value" if name is None or str(name) == "0" else str(name) for name in frame.columns]
    return _Values(names, np.array(columns).reshape(len(columns), len(frame)))


def _described(error: BaseException, function: Any) -> str:
    """Return an error with the last line of the function's own file that it passed."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{type(error).__name__}: {error}" + (f" (line {lines[-1]})" if lines else "")


def _interleaved(lists: list[list[tuple[int, float]]]) -> Iterator[tuple[int, float]]:
    """Yield the different items of all lists, the first ones first."""
    items = dict.fromkeys(item for level in zip_longest(*lists) for item in level)
    return (item for item in items if item is not None)


def _state_of(function: Any) -> dict[str, tuple[int, int]]:
    """Return the names outside a function, each with the identity and the size of its value."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    values = {n: v for n, v in getattr(function, "__globals__", {}).items() if n[:2] != "__"}
    for name, cell in zip(code.co_freevars if code else (), cells or (), strict=True):
        values[name] = cell.cell_contents
    return {
        n: (id(v), len(v) if isinstance(v, dict | list | set) else 0) for n, v in values.items()
    }


def _state_warnings(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> Iterator[Finding]:
    for name in after:
        if before.get(name) != after[name]:
            text = f"calls change {name!r}, which is outside the function: earlier calls may count"
            yield Finding("keeps_state", text)
