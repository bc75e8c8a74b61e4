"""The first validation of an answer, before anything is written: it decides which rows are bars.

Nothing is repaired and nothing is silently dropped. A row is good, or bad with a reason, or it is
counted. :mod:`.bar_rule` defines what a bar may be. There is no exception for futures: the negative
prices of April 2020 are reported as bad rows, and the caller decides what to do with these. Spikes
and other merely suspicious values are not judged here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np

from ...errors import QualityError
from ..calendars.calendar import MarketCalendar
from ..calendars.grid import BarGrid
from ..calendars.localtime import local_date, offset_ms
from ..calendars.session import ALWAYS_OPEN, FOREX
from ..model.market.bars import NAN, BadRow, BarTable, Stamps, among, distinct, union
from ..model.stored.reasons import OFF_GRID_ROW
from ..model.time.instant import DAY_MS, HOUR_MS, SECOND_MS, date_of, day_ms, iso
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from .bar_rule import Mask, are_bars, are_prices, faults_of, latest_stamp

MAX_PROBLEMS = 20

# Times in seconds that are read as milliseconds are in the first 26 days of 1970 (until the year
# 2041).
_SECONDS_AS_MS = Span(0, 26 * DAY_MS)
_SCALES = ((1_000.0, "seconds"), (1e-3, "microseconds"), (1e-6, "nanoseconds"))
# The years 1 to 9999, because other times cannot be formatted.
_CALENDAR = Span(-62_135_596_800_000, 253_402_300_800_000)
# Minimum number of rows to infer their usual distance; with fewer, one off-grid forming bar would
# decide it.
_ROWS_FOR_SPACING = 5
# Bars of rarely traded instruments are all at midnight by chance in one of so many answers.
_BY_CHANCE = 10**6

_NEW_YORK = ZoneInfo("America/New_York")


def no_stamps() -> Stamps:
    """Return an empty array of timestamps."""
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class CheckedRows:
    """A validated answer: its rows, sorted by whether they are valid bars.

    Attributes:
        good: Bars inside the span, ascending and unique.
        bad: Rows inside the span that are not valid bars, ascending, one for each timestamp without
            a good row.
        off_grid: Rows inside the span with a timestamp at which no bar of this timeframe can open,
            ascending. These rows are neither good nor bad; the reason contains the timestamp.
        unexpected: Timestamps of good rows at which the calendar does not expect a bar: they are on
            the grid, but the market is closed.
        without_volume: Timestamps of good rows that lack a volume although the vendor declares it.
        contradicted: Timestamps with several rows that differ, one of which is good or bad.
        nulls: Number of rows inside the span without any price, which are neither good nor bad.
        duplicates: Number of additional rows inside the span for timestamps that already have a
            row, identical or not. The last good row is kept.
        outside: Number of rows dropped because they are outside the span.
        unsorted: Whether the rows were not in ascending order.
        problems: Human-readable descriptions, at most ``MAX_PROBLEMS``.
        score: From 0 to 1, the product of four fractions: good rows among good, bad and off-grid
            ones; received bars, good or bad, among expected bars (1 if none was expected);
            timestamps without contradicting duplicates; good rows that do not lack a declared
            volume. Rows outside the span, nulls, exact duplicates and the row order do not reduce
            it. Without any good row, the score is 0, or 1 if nothing was received and nothing was
            expected.
    """

    good: BarTable
    bad: tuple[BadRow, ...]
    nulls: int
    duplicates: int
    outside: int
    unsorted: bool
    problems: tuple[str, ...]
    score: float
    off_grid: tuple[BadRow, ...] = ()
    unexpected: Stamps = field(default_factory=no_stamps)
    contradicted: Stamps = field(default_factory=no_stamps)
    without_volume: Stamps = field(default_factory=no_stamps)


def check(
    table: BarTable,
    span: Span,
    *,
    timeframe: Timeframe,
    now_ms: int,
    expected: Stamps | None = None,
    grid: BarGrid | None = None,
    volume: bool = False,
    nights: bool = False,
) -> CheckedRows:
    """Validate the rows that a vendor returned for ``span``.

    If the prices of every row are out of order, all rows are returned as bad rather than rejected,
    because the caller may not have better ones.

    Args:
        table: Rows as received, in any order.
        span: Requested half-open span, UTC milliseconds.
        timeframe: Length of the requested bars.
        now_ms: Time of the answer.
        expected: Ascending timestamps at which the calendar expects bars; None if they are unknown
            (sparse series), or if ``grid`` provides them.
        grid: Grid of the series; if None, no row counts as off-grid or unexpected.
        volume: Whether the vendor declares volume, so that a bar without it is a problem.
        nights: Whether unexpected rows of 20:00 to 04:00 in New York are overnight trading, which is
            another kind. They count as off-grid, but do not lower the score.

    Raises:
        QualityError: None of the rows can be used: all are outside the span or in the future, the
            intervals between them do not match the timeframe, they are daily bars instead of
            shorter ones, or no row has a usable price.
    """
    inside = (table.stamps >= span.start) & (table.stamps < span.end)
    rows = table if inside.all() else table.take(inside)
    _refuse_misplaced(table, rows, span, timeframe, now_ms)
    if grid is not None and _are_days(rows.stamps, grid):
        raise QualityError(f"all {len(rows)} {timeframe} rows are at midnight UTC, as days are")
    outside, latest = len(table) - len(rows), latest_stamp(timeframe, now_ms)
    ok, nulls = are_bars(rows, latest), 0
    if not ok.all():
        has_price = ~np.logical_and.reduce([np.isnan(column) for column in rows.values()[:4]])
        nulls = int((~has_price).sum())
        rows, ok = rows.take(has_price), ok[has_price]
    total = len(rows)
    rows, ok, contradicting = unique_rows(rows, ok)
    duplicates = total - len(rows)
    stray, unexpected = rows.take(slice(0)), no_stamps()
    if grid is not None:
        expected = grid.opens(span) if expected is None else expected
        if (off := _off_grid(rows.stamps, expected, grid, nights=nights)).any():
            stray, rows, ok = rows.take(off), rows.take(~off), ok[~off]
            contradicting = contradicting[~among(contradicting, stray.stamps)]
        unexpected = rows.stamps[ok & ~among(rows.stamps, expected)]
    bad = _bad_rows(rows.take(~ok), latest)
    good = rows if ok.all() else rows.take(ok)
    _refuse_worthless(good, bad)
    good, odd_adj = _without_odd_adj_close(good)
    off_grid, calendar = off_grid_rows(stray, timeframe), grid.calendar if grid and nights else None
    if calendar is not None and (dark := _is_overnight(stray.stamps)).any():
        off_grid = tuple(
            row._replace(reason=_night_of(row, calendar)) if is_night else row
            for row, is_night in zip(off_grid, dark.tolist(), strict=True)
        )
        stray = stray.take(~dark)
    # A bad row does not also count as a missing bar.
    sent = union(good.stamps, np.array([r.bar.stamp_ms for r in bad], dtype=np.int64))
    problems = _stamp_problems(good, sent, expected, timeframe)
    problems += _row_problems(outside, odd_adj, bad, contradicting)
    problems += _of_off_grid(off_grid, timeframe)
    unsorted = bool((np.diff(table.stamps) < 0).any())
    score = _score(len(good), len(stray), sent, contradicting, expected, len(table))
    bare = good.stamps[np.isnan(good.volume)] if volume else no_stamps()
    if len(bare):
        problems.append(f"missing_volume: {len(bare)} of {len(good)} bars have no volume")
        score *= 1 - len(bare) / len(good)
    return CheckedRows(
        good,
        bad,
        nulls,
        duplicates,
        outside,
        unsorted,
        tuple(problems[:MAX_PROBLEMS]),
        score,
        off_grid,
        unexpected,
        contradicting,
        bare,
    )


def unique_rows(rows: BarTable, ok: Mask) -> tuple[BarTable, Mask, Stamps]:
    """Return one row per timestamp, ascending: the last good row, or else the last row.

    The second value is a mask of the good rows; the third contains the timestamps whose rows
    contradict each other.
    """
    none = no_stamps()
    # Most answers are sorted in one direction or the other.
    for order in (slice(None), slice(None, None, -1)):
        if (np.diff(rows.stamps[order]) > 0).all():
            return rows.take(order), ok[order], none
    by_stamp = np.lexsort((np.arange(len(rows), dtype=np.int64), ok, rows.stamps))
    rows, ok = rows.take(by_stamp), ok[by_stamp]
    is_duplicate = rows.stamps[1:] == rows.stamps[:-1]
    differs = np.zeros(len(is_duplicate), dtype=bool)
    for column in rows.values():
        later, earlier = column[1:], column[:-1]
        differs |= (later != earlier) & ~(np.isnan(later) & np.isnan(earlier))
    last = np.append(~is_duplicate, True)
    return rows.take(last), ok[last], distinct(rows.stamps[1:][is_duplicate & differs])


def _off_grid(stamps: Stamps, expected: Stamps, grid: BarGrid, *, nights: bool) -> Mask:
    """Return a mask of the timestamps at which no bar can open, and of those in the night."""
    off = ~among(stamps, expected)
    if off.any():
        off[off] = ~grid.aligned(stamps[off]) | (nights & _is_overnight(stamps[off]))
    return off


def _is_overnight(stamps: Stamps) -> Mask:
    """Return a mask of the instants between 20:00 and 04:00 in New York."""
    hours = [(ms + offset_ms(_NEW_YORK, ms)) // HOUR_MS % 24 for ms in stamps.tolist()]
    return np.array([not 4 <= hour < 20 for hour in hours], bool)


def _night_of(row: BadRow, calendar: MarketCalendar) -> str:
    """Return the reason for an overnight row: the next session, to which Sunday's evening belongs."""
    at = row.bar.stamp_ms
    day = day_ms(local_date(_NEW_YORK, at + 4 * HOUR_MS))
    session = date_of(calendar.next_open(Timeframe(1, "d"), day))
    return f"{OFF_GRID_ROW}overnight trading at {_time_text(at)}, before the session of {session}"


def off_grid_rows(rows: BarTable, timeframe: Timeframe) -> tuple[BadRow, ...]:
    """Return off-grid rows with a reason that contains the received timestamp."""
    reason = f"{OFF_GRID_ROW}no {timeframe} bar opens at"
    reasons = [f"{reason} {when}" for when in _times(rows.stamps)]
    return tuple(map(BadRow._make, zip(rows.bars(), reasons, strict=True)))


def _bad_rows(rows: BarTable, latest: int) -> tuple[BadRow, ...]:
    """Return each bad row with its first fault."""
    if not len(rows):
        return ()
    return tuple(map(BadRow._make, zip(rows.bars(), faults_of(rows, latest), strict=True)))


def _without_odd_adj_close(good: BarTable) -> tuple[BarTable, int]:
    """Replace impossible values of ``adj_close`` with NaN; return the bars and the number replaced."""
    adj = good.adj_close
    odd = np.zeros(0, dtype=bool) if adj is None else ~(are_prices(adj) | np.isnan(adj))
    if adj is None or not odd.any():
        return good, 0
    return good.with_adj_close(np.where(odd, NAN, adj)), int(odd.sum())


def _refuse_worthless(good: BarTable, bad: tuple[BadRow, ...]) -> None:
    """Raise an error if all rows are bad and none of them has a usable price."""
    if len(good) or not bad:
        return
    if not are_prices(np.array([row.bar[1:5] for row in bad], np.float64)).any():
        at = _time_text(bad[0].bar.stamp_ms)
        raise QualityError(
            f"no row ({len(bad)} in all) has a usable price: {bad[0].reason} at {at}"
        )


def _refuse_misplaced(
    table: BarTable, rows: BarTable, span: Span, timeframe: Timeframe, now_ms: int
) -> None:
    """Raise an error if the timestamps as a whole cannot belong to the requested bars."""
    if not len(table):
        return
    hint: str | None = None
    first, last = (int(rows.stamps.min()), int(rows.stamps.max())) if len(rows) else (0, 0)
    usual = _usual_distance(rows.stamps)
    if not len(rows):
        fault = f"none of {{}} is in the window {_time_text(span.start)} to {_time_text(span.end)}"
    elif first > latest_stamp(timeframe, now_ms):
        fault = f"all of {{}} are after {_time_text(now_ms)}, in the future"
    elif first in _SECONDS_AS_MS and last in _SECONDS_AS_MS and span.end > 365 * DAY_MS:
        fault, hint = "all of {} are in January 1970", "seconds instead of milliseconds?"
    elif usual is not None and 2 * usual < (timeframe.step_ms or 28 * DAY_MS):
        fault = f"{{}} are only {usual / 1000:g} s apart"
        hint = "is it another timeframe or unit of time?"
    else:
        return
    bounds = f"from {_time_text(int(table.stamps.min()))} to {_time_text(int(table.stamps.max()))}"
    if hint is None and (unit := _unit_that_fits(table.stamps, span)):
        hint = f"they would fit if the stamps were in {unit}, not milliseconds"
    raise QualityError(fault.format(f"{len(table)} {timeframe} rows {bounds}"), hint=hint)


def _are_days(stamps: Stamps, grid: BarGrid) -> bool:
    """Return whether minute or hourly bars are really daily ones, because all are at midnight UTC.

    This concerns only markets without auctions: elsewhere, an instrument may trade once a day.
    """
    step_ms, name = grid.timeframe.step_ms or DAY_MS, grid.calendar.name
    if name not in (ALWAYS_OPEN, FOREX) or (stamps % DAY_MS).any():
        return False
    return (DAY_MS / step_ms) ** min(len(distinct(stamps)), 20) >= _BY_CHANCE


def _usual_distance(stamps: Stamps) -> float | None:
    steps = np.diff(stamps)
    if not ((steps > 0).all() or (steps < 0).all()):
        steps = np.diff(distinct(stamps))
    return float(np.median(np.abs(steps))) if len(steps) >= _ROWS_FOR_SPACING - 1 else None


def _unit_that_fits(stamps: Stamps, span: Span) -> str | None:
    middle = float(np.median(stamps))
    return next((unit for f, unit in _SCALES if span.start <= middle * f < span.end), None)


def _time_text(ms: int) -> str:
    """Return a time as text, even if it is outside the years that Python can format."""
    return iso(int(ms)) if int(ms) in _CALENDAR else f"{ms} ms"


def _times(stamps: Stamps) -> list[str]:
    """Return the text of each timestamp in one pass, in the form that :func:`_time_text` uses."""
    is_far = (stamps < _CALENDAR.start) | (stamps >= _CALENDAR.end) | (stamps % SECOND_MS != 0)
    if is_far.any():
        return [_time_text(stamp) for stamp in stamps.tolist()]
    times: list[str] = np.char.add(
        np.datetime_as_string(stamps.astype("M8[ms]"), unit="s"), "Z"
    ).tolist()
    return times


def _count_absent(wanted: Stamps, there: Stamps) -> int:
    """Count the timestamps in ``wanted`` that are missing from ``there``, which is ascending."""
    return int(np.count_nonzero(~among(wanted, there)))


def _score(
    good: int, stray: int, sent: Stamps, odd: Stamps, expected: Stamps | None, rows: int
) -> float:
    """Return the score defined in :class:`CheckedRows`; ``sent`` contains the timestamps of all rows."""
    if not good:
        return 0.0 if rows or (expected is not None and len(expected)) else 1.0
    stamps = len(sent) + stray
    score = good / stamps * (1 - len(odd) / stamps)
    if expected is None or not len(expected):
        return score
    return score * (1 - _count_absent(expected, sent) / len(expected))


def _row_problems(outside: int, odd_adj: int, bad: tuple[BadRow, ...], odd: Stamps) -> list[str]:
    problems = [f"{outside} rows outside the window were cut off"] if outside else []
    if odd_adj:
        problems.append(f"{odd_adj} values of adj_close are impossible and were left out")
    if bad:
        problems.append(f"{len(bad)} rows cannot be bars")
    some, first = odd[:MAX_PROBLEMS], bad[:MAX_PROBLEMS]
    problems += [f"{_time_text(stamp)}: rows of this stamp contradict each other" for stamp in some]
    return problems + [f"{_time_text(row.bar.stamp_ms)}: {row.reason}" for row in first]


def _of_off_grid(rows: tuple[BadRow, ...], timeframe: Timeframe) -> list[str]:
    if not rows:
        return []
    first = _time_text(rows[0].bar.stamp_ms)
    return [f"{len(rows)} rows are stamped where no {timeframe} bar opens, first {first}"]


def _stamp_problems(
    good: BarTable, sent: Stamps, expected: Stamps | None, timeframe: Timeframe
) -> list[str]:
    problems = []
    if not timeframe.is_intraday and (off := int((good.stamps % DAY_MS != 0).sum())):
        problems.append(f"{off} {timeframe} bars are not stamped with a session date at 00:00")
    if expected is not None and len(good):
        if missing := _count_absent(expected, sent):
            problems.append(f"{missing} of {len(expected)} expected bars are missing")
        if extra := _count_absent(good.stamps, expected):
            problems.append(f"{extra} bars are where the calendar expects none")
    return problems
