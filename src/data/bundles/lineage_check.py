"""Checks whether a recorded run would read the same bars again, and finds the cause of changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bars.client import Wishes
from ..calendars.calendar import first_unclosed
from ..errors import CacheError, DataError, IncompleteDataWarning, KindMismatchError, QueryError
from ..model.actions import Action
from ..model.bars import BarTable, among, concat, union
from ..model.coverage import WITH_BARS, Coverage, Covered
from ..model.instant import DAY_MS, date_of, day_ms, iso
from ..model.kind import Basis, Kind
from ..model.reads import AppliedActions, ReadAgain, digest_of
from ..model.reasons import FORMING, sentence
from ..model.span import Span
from .lineage_lines import FailedRead, RunRecord, SeriesRead, UnstoredBar, with_unstored

if TYPE_CHECKING:
    from ..bars.client import BarsClient

# The causes of a changed cell.
CORRECTION, NEW_ACTION, BECAME_FINAL, OTHER_VENDOR, CALENDAR, LIBRARY = (
    "correction of the vendor",
    "new action",
    "provisional became final",
    "other vendor",
    "calendar",
    "version of the library",
)
UNEXPLAINED = "unexplained"
CAUSES = (CORRECTION, NEW_ACTION, BECAME_FINAL, OTHER_VENDOR, CALENDAR, LIBRARY, UNEXPLAINED)
IDENTICAL, REVISED, GONE, UNKNOWN = "identical", "revised", "gone", "unknown"
COLUMNS = ("open", "high", "low", "close", "volume")
COMPARED = (*COLUMNS, "adj_close")
# Vendors round adjusted prices: a relative difference up to this is not a change of the bar.
_ROUNDING_TOLERANCE = 1e-4
_NAN = float("nan")


class ChangedCell(NamedTuple):
    """A value of a bar that differs from the recorded one.

    Attributes:
        stamp_ms: Stamp of the bar, UTC milliseconds.
        column: Name of the column.
        before, now: Recorded and current value; NaN if there is no bar, or the bar has no value.
        causes: Causes of the difference, from ``CAUSES``.
        detail: Description of the actions, vendors or states involved.
    """

    stamp_ms: int
    column: str
    before: float
    now: float
    causes: tuple[str, ...]
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON; NaN becomes null."""
        before, now = (None if v != v else v for v in (self.before, self.now))
        cell = {"stamp": iso(self.stamp_ms), "column": self.column, "before": before, "now": now}
        return {**cell, "causes": list(self.causes), "detail": self.detail}


@dataclass(frozen=True)
class CheckedRead:
    """The result of checking one recorded read.

    Attributes:
        read: Recorded read.
        state: ``identical``, ``revised``, ``gone``, or ``unknown`` if today's bars could not be
            obtained.
        is_reproducible: Whether the check could read the original bars again, bit for bit.
        cells: Values that differ now, ordered by timestamp.
        bars: Number of bars that differ, if known.
        causes: Causes of the differences, from ``CAUSES``.
        detail: Reason why the original bars are gone, or another remark.
    """

    read: SeriesRead
    state: str
    is_reproducible: bool
    cells: tuple[ChangedCell, ...] = ()
    bars: int = 0
    causes: tuple[str, ...] = ()
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as a mapping for JSON."""
        return {
            "series": str(self.read.series),
            "generation": self.read.generation,
            "adjustment": self.read.adjustment,
            "rows": self.read.rows,
            "state": self.state,
            "reproducible": self.is_reproducible,
            "bars": self.bars,
            "causes": list(self.causes),
            "detail": self.detail,
            "cells": [cell.to_json() for cell in self.cells],
        }


@dataclass(frozen=True)
class CheckReport:
    """The result of checking a run.

    Attributes:
        record: Record of the run.
        series: Result for each recorded read.
        as_today: Whether the run was compared with the bars that the same calls return now.
    """

    record: RunRecord
    series: tuple[CheckedRead, ...]
    as_today: bool = False

    @property
    def failed(self) -> Sequence[FailedRead]:
        """Calls that failed during the run; there are no bars from them to compare."""
        return self.record.failed

    @property
    def is_identical(self) -> bool:
        """Whether the run has ended, and all bars that it read (at least one series) are unchanged.

        That is unknown, and therefore False, if some of its reads were not recorded.
        """
        return self.verdict == IDENTICAL

    @property
    def verdict(self) -> str:
        """The result in words: ``identical``, ``identical as far as recorded`` or ``not identical``."""
        states = {series.state for series in self.series}
        if not self.record.ended or states != {IDENTICAL}:
            return f"not {IDENTICAL}"
        return f"{IDENTICAL} as far as recorded" if self.record.unrecorded else IDENTICAL

    def to_json(self) -> dict[str, Any]:
        """Return the result as a mapping for JSON."""
        return {
            "run": self.record.run,
            "started": self.record.started,
            "ended": self.record.ended or None,
            "identical": self.is_identical,
            "as_today": self.as_today,
            "series": [series.to_json() for series in self.series],
            "failed": [vars(failure) for failure in self.failed],
            "unrecorded": self.record.unrecorded,
        }


def check(
    client: BarsClient, record: RunRecord, *, as_today: bool = False, timeout: float | None = None
) -> CheckReport:
    """Compare the bars that a run read with the bars stored now.

    The recorded generations (versions of the stored bars) are read again and adjusted by the
    recorded actions. They are compared with the latest bars of the same series, adjusted by today's
    actions. No vendor is queried unless ``as_today`` is set.

    Args:
        client: Client that reads the stored bars.
        record: Record of the run.
        as_today: Whether to compare with the bars that the same calls return now, under today's
            rules. Vendors are then queried for bars that are missing or due.
        timeout: Seconds to wait for vendors for each series. With None, the wait continues as long
            as pages keep arriving.

    Raises:
        StorageError, LockTimeoutError: The store cannot be read.
    """
    ordered = sorted(record.reads, key=lambda read: read.number)
    today = partial(_requested_today, timeout=timeout) if as_today else _newest_answer
    series = tuple(_checked(client, read, today) for read in ordered)
    return CheckReport(record, series, as_today)


def _checked(
    client: BarsClient, read: SeriesRead, today: Callable[[BarsClient, SeriesRead], _CurrentAnswer]
) -> CheckedRead:
    if not read.pieces:
        return CheckedRead(read, IDENTICAL, True)
    then, why = of_then(client, read)
    if then is None:
        return _result_if_gone(client, read, why)
    try:
        now = today(client, read)
    except (QueryError, KindMismatchError, CacheError, DataError) as error:
        detail = f"it cannot be compared with today's bars: {error}"
        return CheckedRead(read, UNKNOWN, True, detail=detail)
    cells = tuple(_differences(client, read, then, now))
    causes = tuple(c for c in CAUSES if any(c in cell.causes for cell in cells))
    bars = len({cell.stamp_ms for cell in cells})
    aside = f"{read.not_listed} bars that were never stored are not compared" * bool(
        read.not_listed
    )
    return CheckedRead(read, REVISED if cells else IDENTICAL, True, cells, bars, causes, aside)


def of_then(client: BarsClient, read: SeriesRead) -> tuple[ReadAgain | None, str]:
    """Return the stored bars as a run read them, or None and the reason if they are gone.

    Bars count as the original ones if they have the recorded digests.
    """
    if read.generation is None:
        return None, "some of these bars could not be written to disk, so no generation has them"
    try:
        then = client.read_again(read.stored(of_then=True))
    except (QueryError, CacheError) as error:
        return None, str(error)
    # Rows that were never stored are in the record itself, so those stamps are left out here.
    aside = [row.stamp_ms for row in read.unstored]
    then = then._replace(table=then.table.take(~np.isin(then.table.stamps, aside)))
    if _digests(read, then.table) == [piece.digest for piece in read.pieces]:
        return then, ""
    committed = [c.at_ms for c in client.commits(read.series) if c.generation == read.generation]
    if committed and committed[-1] is not None and committed[-1] > read.asked_ms + 1000:
        at = iso(committed[-1])
        return None, f"generation {read.generation} was committed at {at}, after the recorded read"
    if read.library != __version__:
        return None, f"{LIBRARY}: {read.library} read other values of these bars than {__version__}"
    return None, "the bars of that generation do not have the recorded digest"


def _digests(read: SeriesRead, table: BarTable) -> list[str]:
    return [digest_of([table.within(piece.span)]) for piece in read.pieces]


def _result_if_gone(client: BarsClient, read: SeriesRead, why: str) -> CheckedRead:
    """Return the result for a read whose original bars are gone.

    Digests show whether the latest bars are nevertheless identical to the original ones.
    """
    cause = LIBRARY if why.startswith(LIBRARY) else UNEXPLAINED
    newest: ReadAgain | None = None
    today: ReadAgain | None = None
    try:
        newest = client.read_again(replace(read.stored(of_then=True), generation=None))
        today = client.read_again(read.stored(of_then=False))
    except DataError:
        pass  # bars that no longer exist cannot be compared
    wanted = [piece.digest for piece in read.pieces]
    if newest is not None and today is not None and read.generation is not None:
        is_same = _digests(read, newest.table) == wanted == _digests(read, today.table)
        if is_same and not read.unstored:
            return CheckedRead(read, IDENTICAL, True, detail=f"{why}; the latest bars are the same")
    is_there = cause == LIBRARY or why.startswith("the bars of that")
    if is_there:
        return CheckedRead(read, REVISED, False, (), read.rows, (cause,), why)
    return CheckedRead(read, GONE, False, detail=why)


class _CurrentAnswer(NamedTuple):
    """Today's bars, to compare with those of the original read.

    Attributes:
        table, coverage: Bars to compare with, and the source and state of each.
        then_by_todays: Bars of the recorded generation, adjusted by today's actions.
        applied: Today's actions.
    """

    table: BarTable
    coverage: Coverage
    then_by_todays: BarTable
    applied: AppliedActions


def _newest_answer(client: BarsClient, read: SeriesRead) -> _CurrentAnswer:
    today = read.stored(of_then=False)
    newest = client.read_again(today)
    then = client.read_again(replace(today, generation=read.generation))
    return _CurrentAnswer(newest.table, newest.coverage, then.table, newest.applied)


def _requested_today(
    client: BarsClient, read: SeriesRead, *, timeout: float | None
) -> _CurrentAnswer:
    """Repeat the calls now, and return their bars; raises the errors of ``BarsClient.get``."""
    wishes = Wishes(
        read.provider,
        read.adjustment,
        columns=("source", "state"),
        session=read.series.session,
        timeout=timeout,
    )
    tables, origins = [], []
    for span in read.spans:
        start, end = iso(span.start), iso(max(span.start, span.end - 1))
        query = client.query(read.series.symbol, read.series.timeframe, start, end, wishes=wishes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frame = client.get(query)
        names = [name for name in COMPARED if name in frame.columns]
        columns = [frame[name].to_numpy(dtype=np.float64) for name in names]
        adj_close = columns.pop() if len(columns) > len(COLUMNS) else None
        stamps = frame.index.as_unit("ms").asi8  # type: ignore[attr-defined] # times
        tables.append(BarTable.of_columns(stamps, columns, adj_close))
        for stamp, vendor, state in zip(stamps, frame["source"], frame["state"], strict=True):
            origins.append((int(stamp), str(vendor), str(state)))
    coverage = Coverage(
        Covered(
            Span(s, s + 1), "final" if state == "final" else "provisional", vendor, Kind(), Basis()
        )
        for s, vendor, state in origins
    )
    today = client.read_again(replace(read.stored(of_then=False), generation=read.generation))
    return _CurrentAnswer(concat(tables), coverage, today.table, today.applied)


class _Side(NamedTuple):
    """A table of bars, with the vendor and state of each bar."""

    table: BarTable
    coverage: Coverage

    def row(self, stamp: int) -> tuple[float, ...] | None:
        """Return the values of the bar at a stamp; None if there is none."""
        position = int(np.searchsorted(self.table.stamps, stamp))
        if position == len(self.table) or self.table.stamps[position] != stamp:
            return None
        return tuple(float(column[position]) for column in _values(self.table))

    def source(self, stamp: int) -> tuple[str, str]:
        """Return the vendor and state of the bar at a stamp, or empty strings if unknown."""
        for entry in self.coverage.within(Span(stamp, stamp + 1)):
            return entry.vendor, entry.state
        return "", ""


def _differences(
    client: BarsClient, read: SeriesRead, then: ReadAgain, now: _CurrentAnswer
) -> Iterator[ChangedCell]:
    """Yield the values that differ, each with the cause."""
    before = _Side(with_unstored(read, then.table), then.coverage)
    by_todays, after = _Side(now.then_by_todays, then.coverage), _Side(now.table, now.coverage)
    aside = {row.stamp_ms: row for row in read.unstored}
    is_expected = _expects(client, read)
    actions = _changed_actions(read, now.applied)
    for stamp in _differing_stamps(before.table, after.table).tolist():
        if stamp not in aside and before.row(stamp) is None and is_expected(stamp) is None:
            continue  # the bar had not closed then
        yield from _cells(read, stamp, (before, by_todays, after), aside, is_expected, actions)


def _values(table: BarTable) -> list[NDArray[np.float64]]:
    """Return the columns to compare; a missing adjusted-close column is filled with NaN."""
    values = table.values()
    return values if len(values) == len(COMPARED) else [*values, np.full(len(table), _NAN)]


def _differing_stamps(first: BarTable, second: BarTable) -> NDArray[np.int64]:
    """Return the timestamps of bars that only one table has, or that differ by even one bit."""
    stamps = union(first.stamps, second.stamps)
    common = among(stamps, first.stamps) & among(stamps, second.stamps)
    at, beside = (np.searchsorted(t.stamps, stamps[common]) for t in (first, second))
    same = np.ones(len(at), dtype=bool)
    for left, right in zip(_values(first), _values(second), strict=True):
        a, b = left[at], right[beside]
        same &= (a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))
    differs = ~common
    differs[common] = ~same
    return stamps[differs]


def _cells(
    read: SeriesRead,
    stamp: int,
    sides: tuple[_Side, _Side, _Side],
    aside: dict[int, UnstoredBar],
    is_expected: Callable[[int], bool | None],
    actions: Sequence[Action],
) -> Iterator[ChangedCell]:
    before, _, after = sides
    old, between, new = (side.row(stamp) for side in sides)
    (vendor, state), (vendor_now, state_now) = before.source(stamp), after.source(stamp)
    cause, detail = _cause_of_bar((vendor, state), (vendor_now, state_now), aside.get(stamp))
    if old is None or new is None:
        if (by_calendar := _day_cause(read, stamp, old is None, is_expected(stamp))) is not None:
            cause, detail = CALENDAR, by_calendar
        elif new is None:
            detail = (
                sentence(aside[stamp].reason)
                if stamp in aside
                else f"{vendor or 'the store'} no longer has it"
            )
            cause = UNEXPLAINED if stamp in aside else cause
        else:
            detail = f"{vendor_now} supplied it later"
            vendors = {entry.vendor for entry in before.coverage if entry.state in WITH_BARS}
            cause = OTHER_VENDOR if vendors and vendor_now not in vendors else CORRECTION
        none = (_NAN,) * len(COMPARED)
        for name, was, is_now in zip(COMPARED, old or none, new or none, strict=True):
            if was == was or is_now == is_now:
                yield ChangedCell(stamp, name, was, is_now, (cause,), detail)
        return
    # In extended hours, a bar may belong to the day before its UTC date.
    first = date_of(stamp - DAY_MS * read.series.is_extended)
    later_actions = [a for a in actions if a.ex_date > first or day_ms(a.ex_date) > stamp]
    for name, was, rebased, is_now in zip(COMPARED, old, between or old, new, strict=True):
        if _is_same(was, is_now):
            continue
        of_column = [a for a in later_actions if _affects(a, name, read.adjustment)]
        is_rounded = _is_close(rebased, is_now)
        # Raw prices may be computed from adjusted ones, so a split changes only their rounding.
        is_rebased = not _is_same(was, rebased) or (read.adjustment == "raw" and is_rounded)
        by_action = bool(of_column) and is_rebased
        by_bar = not _is_same(rebased, is_now) and not (by_action and is_rounded)
        causes = (NEW_ACTION,) * by_action + (cause,) * by_bar
        words = [", ".join(map(str, of_column))] * by_action + [detail] * by_bar
        if not causes and read.adjustment == "all":
            causes, words = (CORRECTION,), ["the close before a dividend was corrected"]
        yield ChangedCell(stamp, name, was, is_now, causes or (UNEXPLAINED,), "; ".join(words))


def _cause_of_bar(
    then: tuple[str, str], now: tuple[str, str], aside: UnstoredBar | None
) -> tuple[str, str]:
    """Return the cause of a change in a bar's values, and an explanation to print."""
    (vendor, state), (vendor_now, state_now) = then, now
    if aside is not None and aside.reason == FORMING:
        return BECAME_FINAL, f"the bar was forming and is now {state_now}"
    if aside is not None:
        return CORRECTION, f"it was not a valid bar: {sentence(aside.reason)}"
    if vendor != vendor_now:
        return OTHER_VENDOR, f"{vendor or '?'}, now {vendor_now or '?'}"
    if state == "provisional" and state_now == "final":
        return BECAME_FINAL, f"of {vendor}"
    return CORRECTION, f"of {vendor}"


def _day_cause(read: SeriesRead, stamp: int, is_new: bool, is_expected: bool | None) -> str | None:
    """Return an explanation if a bar appeared or disappeared because of the calendar, else None."""
    if is_new:
        # The record lists every missing bar that the calendar expected at the time.
        was_lacking = read.more_lacking or any(stamp in span for span in read.lacking)
        return "no bar was expected then" if is_expected and not was_lacking else None
    was_beside = any(stamp in span for span in read.unexpected)
    is_closed = is_expected is False and not was_beside
    return "no bar is expected now" if is_closed else None


def _expects(client: BarsClient, read: SeriesRead) -> Callable[[int], bool | None]:
    """Return a function that checks whether today's calendar expects a bar at a timestamp.

    It returns None if the bar had not closed at the time of the read.
    """
    grid = client.outline(read.series).grid
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, read.asked_ms, grid.anchor)

    def is_expected(stamp: int) -> bool | None:
        """Return whether the calendar expects a bar at a stamp; None if the bar closed after the read."""
        if stamp >= cap_ms:
            return None
        span = Span(stamp, stamp + (grid.timeframe.step_ms or 1))
        return stamp in grid.opens(span).tolist()

    return is_expected


def _changed_actions(read: SeriesRead, now: AppliedActions) -> list[Action]:
    """Return the actions since the first bar that were known only at the read, or only now."""
    first = date_of(read.pieces[0].span.start)

    def of(applied: AppliedActions) -> dict[tuple[Any, ...], Action]:
        """Return the actions, keyed by their identifying values."""
        rows = {*applied.rows, *(a for actions in applied.own.values() for a in actions)}
        return {
            (a.ex_date, a.type, a.numerator, a.denominator, a.amount): a
            for a in rows
            if a.ex_date >= first
        }

    then, today = of(read.applied), of(now)
    differing = [a for key, a in {**then, **today}.items() if (key in then) != (key in today)]
    return sorted(differing)


def _affects(action: Action, column: str, adjustment: str) -> bool:
    """Return whether an action can change a column of bars before it."""
    return action.type == "split" or adjustment == "all" or column == "adj_close"


def _is_same(first: float, second: float) -> bool:
    return np.float64(first).tobytes() == np.float64(second).tobytes() or (
        first != first and second != second
    )


def _is_close(first: float, second: float) -> bool:
    return abs(first - second) <= _ROUNDING_TOLERANCE * max(abs(first), abs(second))
