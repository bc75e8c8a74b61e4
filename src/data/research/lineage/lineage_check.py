"""Checks whether a recorded run would read the same bars again, and finds the cause of changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..._version import __version__
from ...core.bars.client import Wishes
from ...core.calendars.calendar import first_unclosed
from ...core.model.answer.reads import AppliedActions, ReadAgain
from ...core.model.market.actions import Action
from ...core.model.market.bars import BarTable, concat, union
from ...core.model.stored.coverage import WITH_BARS, Coverage, Covered
from ...core.model.stored.reasons import FORMING, sentence
from ...core.model.time.instant import DAY_MS, date_of, day_ms, iso
from ...core.model.time.span import Span
from ...errors import CacheError, DataError, IncompleteDataWarning
from .run_records import Piece, RunRecord, SeriesRead, since, spans_of

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient

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
Values = NDArray[np.float64]


@dataclass(frozen=True)
class ChangedCell:
    """A value of a bar that differs from the recorded one.

    Attributes:
        stamp: Stamp of the bar, ISO, UTC.
        column: Name of the column.
        before, now: Recorded and current value; None if there is no bar, or the bar has no value.
        causes: Causes of the difference, from ``CAUSES``.
        detail: Description of the actions, vendors or states involved.
    """

    stamp: str
    column: str
    before: float | None
    now: float | None
    causes: tuple[str, ...]
    detail: str


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
        names = "series", "generation", "adjustment", "rows"
        result = {name.removeprefix("is_"): v for name, v in vars(self).items() if name != "read"}
        document: dict[str, Any] = msgspec.to_builtins(result)
        return {**{name: getattr(self.read, name) for name in names}, **document}


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
            "failed": [vars(failure) for failure in self.record.failed],
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
    newest = partial(_requested, timeout=timeout) if as_today else _stored
    return CheckReport(record, tuple(_checked(client, r, newest) for r in record.reads), as_today)


Answer = tuple[BarTable, Coverage]


def _checked(
    client: BarsClient, read: SeriesRead, newest: Callable[[BarsClient, SeriesRead], Answer]
) -> CheckedRead:
    if not read.pieces:
        return CheckedRead(read, IDENTICAL, True)
    then, cause, why = of_then(client, read)
    if then is None:
        return _without_original(client, read, cause, why)
    try:
        now = newest(client, read)
        generation = None if read.key.is_of_files else read.generation
        rebased = client.read_again(replace(read.stored(of_then=False), generation=generation))
    except DataError as error:
        detail = f"it cannot be compared with today's bars: {error}"
        return CheckedRead(read, UNKNOWN, True, detail=detail)
    cells = tuple(_differences(client, read, then, rebased, now))
    causes = tuple(c for c in CAUSES if any(c in cell.causes for cell in cells))
    bars = len({cell.stamp for cell in cells})
    return CheckedRead(read, REVISED if cells else IDENTICAL, True, cells, bars, causes)


def of_then(client: BarsClient, read: SeriesRead) -> tuple[ReadAgain | None, str, str]:
    """Return the stored bars as a run read them, or None, a cause and the reason if they are gone.

    Bars count as the original ones if they have the recorded digests. The cause is empty if there
    are no bars that could be others.
    """
    is_of_files = read.key.is_of_files
    if read.generation is None:
        why = "some of these bars could not be written to disk, so no generation has them"
        return None, "", "the file changed during the run" if is_of_files else why
    try:
        if is_of_files:
            _read_file(client, read)
        then = client.read_again(read.stored(of_then=True))
    except DataError as error:
        return None, "", str(error)
    # Rows that were never stored are in the record itself, so those stamps are left out here.
    aside = [row.stamp_ms for row in read.unstored]
    then = then._replace(table=then.table.take(~np.isin(then.table.stamps, aside)))
    if read.pieces_of(then.table) == read.pieces:
        return then, "", ""
    if is_of_files:
        first = _first_rows(read, then.table)
        others = _unlike(read, first)
        if not others:
            return then._replace(table=first), "", ""
        # Another vendor may have supplied bars that the file lacks; it is not queried here.
        if read.provider is None and any(now.rows < was.rows for was, now in others):
            return None, "", "the file lacks bars that another vendor may have supplied"
        return None, CORRECTION, "the file has other rows now"
    times = [c.at_ms or 0 for c in client.commits(read.key) if c.generation == read.generation]
    if times and times[-1] > read.asked_ms + 1000:
        at = iso(times[-1])
        return (
            None,
            "",
            f"generation {read.generation} was committed at {at}, after the recorded read",
        )
    if read.library != __version__:
        why = f"{LIBRARY}: {read.library} read other values of these bars than {__version__}"
        return None, LIBRARY, why
    return None, UNEXPLAINED, "the bars of that generation do not have the recorded digest"


def _read_file(client: BarsClient, read: SeriesRead) -> None:
    """Read the recorded ranges from the user's own file; no vendor is queried.

    Raises:
        DataError: The file cannot be read, or the rules name another folder now.
    """
    key, session = read.key, read.key.session
    wishes = Wishes(provider=read.provider, adjustment=read.adjustment, session=session)
    for span in read.spans:
        bounds = iso(span.start), iso(max(span.start, span.end - 1))
        query = client.query(key.symbol, key.timeframe, *bounds, wishes=wishes)
        if client.series_of(query) != key:
            raise CacheError(f"the rules do not name the folder of {key} any more")
        client.read_file(query)


def _first_rows(read: SeriesRead, table: BarTable) -> BarTable:
    """Return as many bars of each recorded range as were read; later ones may have been added since."""
    pairs = zip(read.pieces, read.spans, strict=True)
    return concat(table.within(span).take(slice(piece.rows)) for piece, span in pairs)


def _unlike(read: SeriesRead, table: BarTable) -> list[tuple[Piece, Piece]]:
    """Return the recorded ranges whose bars in a table are others, each as then and now."""
    pairs = zip(read.pieces, read.pieces_of(table), strict=True)
    return [(then, now) for then, now in pairs if then != now]


def _without_original(client: BarsClient, read: SeriesRead, cause: str, why: str) -> CheckedRead:
    """Return the result for a read whose original bars are gone.

    Digests show whether the latest bars are nevertheless identical to the original ones. If a file
    could not be read, nothing is known about its bars.
    """
    if read.key.is_of_files and not cause:
        return CheckedRead(read, UNKNOWN, False, detail=why)
    try:
        today = client.read_again(read.stored(of_then=False))
        is_same = read.generation is not None and read.pieces_of(today.table) == read.pieces
    except DataError:
        is_same = False  # bars that no longer exist cannot be compared
    if is_same and not read.unstored:
        return CheckedRead(read, IDENTICAL, True, detail=f"{why}; the latest bars are the same")
    if cause:
        bars = (
            sum(p.rows for p, _ in _unlike(read, today.table)) if cause == CORRECTION else read.rows
        )
        return CheckedRead(read, REVISED, False, (), bars, (cause,), why)
    return CheckedRead(read, GONE, False, detail=why)


def _stored(client: BarsClient, read: SeriesRead) -> Answer:
    """Return the latest stored bars, adjusted by today's actions."""
    newest = client.read_again(read.stored(of_then=False))
    # Only the rows that were read can have changed.
    table = _first_rows(read, newest.table) if read.key.is_of_files else newest.table
    return table, newest.coverage


def _requested(client: BarsClient, read: SeriesRead, *, timeout: float | None) -> Answer:
    """Repeat the calls now, and return their bars; raises the errors of ``BarsClient.get``."""
    key = read.key
    if read.opened_by_ms is not None:
        client = client.at(read.opened_by_ms + 1, read.opened_by_ms)
    wishes = Wishes(
        provider=read.provider,
        adjustment=read.adjustment,
        columns=("source", "state"),
        session=key.session,
        timeout=timeout,
    )
    tables, entries = [], list[Covered]()
    for span in read.spans:
        bounds = iso(span.start), iso(max(span.start, span.end - 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frame = client.get(client.query(key.symbol, key.timeframe, *bounds, wishes=wishes))
        stamps = frame.index.as_unit("ms").asi8  # type: ignore[attr-defined] # times
        values = [frame[name].to_numpy(np.float64) for name in COMPARED if name in frame]
        tables.append(BarTable(stamps, *values))
        for stamp, vendor, state in zip(stamps, frame["source"], frame["state"], strict=True):
            at, is_final = Span(int(stamp), int(stamp) + 1), state == "final"
            entries.append(Covered(at, "final" if is_final else "provisional", str(vendor)))
    return concat(tables), Coverage(entries)


def _differences(
    client: BarsClient, read: SeriesRead, then: ReadAgain, rebased: ReadAgain, now: Answer
) -> Iterator[ChangedCell]:
    """Yield the values that differ, each with the cause.

    Args:
        client: Client that reads the stored bars.
        read: Recorded read.
        then: Bars as they were read.
        rebased: Bars of the recorded generation, adjusted by today's actions.
        now: Today's bars, and where they come from.
    """
    table = read.with_unstored(then.table)
    stamps = union(table.stamps, now[0].stamps)
    before, after = (_values_at(stamps, side) for side in (table, now[0]))
    between = _values_at(stamps, rebased.table)
    between = np.where(_is_empty(between)[:, None], before, between)
    if not (differs := ~_same(before, after)).any():
        return
    appeared, vanished = _is_empty(before), _is_empty(after)
    aside = {row.stamp_ms: row.reason for row in read.unstored}
    explain = _Explainer(client, read, then.coverage, now[1])
    actions = _changed_actions(read, rebased.applied)
    for at in np.flatnonzero(differs.any(axis=1)).tolist():
        stamp = int(stamps[at])
        cause = explain.bar(stamp, aside.get(stamp), appeared=appeared[at], vanished=vanished[at])
        if cause is None:
            continue
        # In extended hours, a bar may belong to the day before its UTC date.
        first = date_of(stamp - DAY_MS * read.key.is_extended)
        later = [a for a in actions if a.ex_date > first or day_ms(a.ex_date) > stamp]
        if appeared[at] or vanished[at]:
            later = []
        for column in np.flatnonzero(differs[at]).tolist():
            name, sides = COMPARED[column], (before, between, after)
            values = [float(side[at, column]) for side in sides]
            causes, detail = _cause_of_cell(read, name, values, cause, later)
            was, _, is_now = (None if value != value else value for value in values)
            yield ChangedCell(iso(stamp), name, was, is_now, causes, detail)


def _values_at(stamps: NDArray[np.int64], table: BarTable) -> Values:
    """Return the values of a table at stamps, in a row each; NaN if there is no bar or value."""
    values = np.full((len(stamps), len(COMPARED)), np.nan)
    columns = table.values()
    rows = np.isin(table.stamps, stamps)
    values[stamps.searchsorted(table.stamps[rows]), : len(columns)] = np.column_stack(columns)[rows]
    return values


def _is_empty(values: Values) -> NDArray[np.bool_]:
    return np.logical_and.reduce(np.isnan(values), axis=1)  # type: ignore[no-any-return]


def _same(first: Any, second: Any) -> Any:
    """Return where values have the same bits, or are both NaN."""
    a, b = np.asarray(first), np.asarray(second)
    return (a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))


def _cause_of_cell(
    read: SeriesRead,
    column: str,
    values: Sequence[float],
    of_bar: tuple[str, str],
    actions: Sequence[Action],
) -> tuple[tuple[str, ...], str]:
    """Return the causes of a changed value, and an explanation to print.

    Args:
        read: Recorded read.
        column: Name of the column.
        values: Value of then, the same with today's actions, and today's value.
        of_bar: Cause of the change in the bar, and its explanation.
        actions: Actions after the bar that were known only then, or are known only now.
    """
    was, rebased, now = values
    of_column = [
        action
        for action in actions
        if action.type == "split" or read.adjustment == "all" or column == "adj_close"
    ]
    is_rounded = abs(rebased - now) <= _ROUNDING_TOLERANCE * max(abs(rebased), abs(now))
    # Raw prices may be computed from adjusted ones, so a split changes only their rounding.
    is_rebased = not _same(was, rebased) or (read.adjustment == "raw" and is_rounded)
    by_action = bool(of_column) and is_rebased
    by_bar = not _same(rebased, now) and not (by_action and is_rounded)
    causes = (NEW_ACTION,) * by_action + (of_bar[0],) * by_bar
    words = [", ".join(map(str, of_column))] * by_action + [of_bar[1]] * by_bar
    if not causes and read.adjustment == "all":
        return (CORRECTION,), "the close before a dividend was corrected"
    return causes or (UNEXPLAINED,), "; ".join(words)


class _Explainer:
    """Finds the cause of a change in a bar from its vendors, its states and the calendar."""

    def __init__(self, client: BarsClient, read: SeriesRead, then: Coverage, now: Coverage) -> None:
        self._then, self._now = then, now
        self._vendors = {entry.vendor for entry in then if entry.state in WITH_BARS}
        self._irregular = spans_of(read.irregular)
        self._grid = client.outline(read.key).grid
        grid = self._grid
        self._cap_ms = first_unclosed(grid.calendar, grid.timeframe, read.asked_ms, grid.anchor)

    def bar(
        self, stamp: int, unstored: str | None, *, appeared: bool, vanished: bool
    ) -> tuple[str, str] | None:
        """Return the cause and an explanation; None for a bar that had not closed at the read.

        Args:
            stamp: Stamp of the bar, UTC milliseconds.
            unstored: Reason why the bar of then was not stored; None if it was.
            appeared, vanished: Whether there is only one of the bars, that of now or of then.
        """
        (vendor, state), (vendor_now, state_now) = (
            next(((e.vendor, e.state) for e in side.within(Span(stamp, stamp + 1))), ("", ""))
            for side in (self._then, self._now)
        )
        if appeared and stamp >= self._cap_ms:
            return None
        if (appeared or vanished) and stamp < self._cap_ms:
            step = self._grid.timeframe.step_ms or 1
            is_expected = stamp in self._grid.opens(Span(stamp, stamp + step)).tolist()
            # The calendar has changed if it expects now what it did not expect then.
            if is_expected == appeared and not any(stamp in span for span in self._irregular):
                return CALENDAR, f"no bar {'was expected then' if appeared else 'is expected now'}"
        if appeared:
            is_other = bool(self._vendors) and vendor_now not in self._vendors
            return OTHER_VENDOR if is_other else CORRECTION, f"{vendor_now} supplied it later"
        if vanished and unstored is not None:
            return UNEXPLAINED, sentence(unstored)
        if unstored is not None:
            if unstored == FORMING:
                return BECAME_FINAL, f"the bar was forming and is now {state_now}"
            return CORRECTION, f"it was not a valid bar: {sentence(unstored)}"
        cause, detail = CORRECTION, f"of {vendor}"
        if vendor != vendor_now:
            cause, detail = OTHER_VENDOR, f"{vendor or '?'}, now {vendor_now or '?'}"
        elif (state, state_now) == ("provisional", "final"):
            cause = BECAME_FINAL
        return cause, f"{vendor or 'the store'} no longer has it" if vanished else detail


def _changed_actions(read: SeriesRead, now: AppliedActions) -> list[Action]:
    """Return the actions since the first bar that were known only at the read, or only now."""

    def of(applied: AppliedActions) -> dict[tuple[Any, ...], Action]:
        """Return the actions, keyed by their identifying values."""
        rows = {*applied.rows, *(a for actions in applied.own.values() for a in actions)}
        return {(a.ex_date, a.type, a.numerator, a.denominator, a.amount): a for a in rows}

    then, today = of(read.actions), of(since(now, date_of(read.spans[0].start)))
    return sorted(a for key, a in {**then, **today}.items() if (key in then) != (key in today))
