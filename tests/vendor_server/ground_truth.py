"""The known truth behind every vendor: bars of any timeframe, raw or adjusted, as of any moment."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.market.actions import Action
from onetape.data.core.model.time.instant import DAY_MS, WEEK_MS, day_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .listings import Listing, usual_listings
from .sessions import ALWAYS, Ints, pauses_of, sessions_of
from .tape import NEVER, Bars, Tape, days_of_quarter, grouped, joined, minutes

Floats = NDArray[np.float64]
Expected = tuple[int, float, float, float, float, float]
# Of so many intraday bars at least no answer is kept: they would fill the memory.
_MANY = 2_000


class Row(NamedTuple):
    """One bar of the truth; prices of a row that a fault has spoilt may be None.

    Attributes:
        stamp_ms: open of the bar in UTC; for days 00:00 of the session date, for weeks Monday's,
            for months the first's.
        opens_ms, closes_ms: the instants between which it forms.
        adj_close: close adjusted for splits and dividends.
    """

    stamp_ms: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    adj_close: float | None
    opens_ms: int
    closes_ms: int

    def emptied(self) -> Row:
        """Return the row with nothing in it but its times."""
        return Row(self.stamp_ms, None, None, None, None, None, None, self.opens_ms, self.closes_ms)


class Truth:
    """All instruments and what they truly traded.

    Answers depend on the arguments alone, never on the order of asking. Adding a listing or an
    action later changes only what lies on or after it.
    """

    def __init__(self, listings: list[Listing] | None = None) -> None:
        self._listings = {x.symbol: x for x in (usual_listings() if listings is None else listings)}

    # --- what is listed

    def listings(self) -> list[Listing]:
        """Return everything listed."""
        return list(self._listings.values())

    def listing(self, symbol: str) -> Listing:
        """Return what ``symbol`` is; KeyError where it is not listed."""
        return self._listings[symbol]

    def add(self, listing: Listing) -> Listing:
        """List an instrument, or replace it."""
        self._listings[listing.symbol] = listing
        return listing

    def change(self, symbol: str, **fields: object) -> Listing:
        """Replace some fields of a listing, such as ``outages``, ``delisted`` or ``quiet``."""
        return self.add(replace(self.listing(symbol), **fields))  # type: ignore[arg-type]

    def act(self, symbol: str, *actions: Action) -> None:
        """Add splits and dividends to a listing; see ``split`` and ``dividend``."""
        self.change(symbol, actions=(*self.listing(symbol).actions, *actions))

    def actions(self, symbol: str, as_of_ms: int = NEVER) -> list[Action]:
        """Return what is known of splits and dividends at ``as_of_ms``, with their ``ex_at``."""
        return _known(self.listing(symbol), as_of_ms)

    # --- what it traded

    def expected(
        self, symbol: str, timeframe: str, start_ms: int, end_ms: int,
        adjustment: Adjustment = "raw", as_of_ms: int = NEVER, *, extended: bool = False,
    ) -> list[Expected]:  # fmt: skip
        """Return the closed bars with stamps in ``[start_ms, end_ms)``: the oracle of tests.

        Args:
            adjustment: ``raw``, ``split`` or ``all``; only actions known at ``as_of_ms`` count.
            as_of_ms: bars that close later are not there.
            extended: with those of extended hours, counted from the clock.

        Returns:
            ``(stamp_ms, open, high, low, close, volume)``, ascending.
        """
        anchor = "clock" if extended else "session"
        rows = self.rows(
            symbol, timeframe, start_ms, end_ms, adjustment, as_of_ms,
            anchor=anchor, extended=extended,
        )  # fmt: skip
        return [tuple(row[:6]) for row in rows if row.closes_ms <= as_of_ms]  # type: ignore[misc]

    def raw(self, symbol: str, timeframe: str, start_ms: int, end_ms: int) -> list[Expected]:
        """Return the bars as traded, final."""
        return self.expected(symbol, timeframe, start_ms, end_ms, "raw")

    def bar(self, symbol: str, timeframe: str, stamp_ms: int) -> Expected | None:
        """Return the final raw bar with that stamp, or None where there is none."""
        found = self.raw(symbol, timeframe, stamp_ms, stamp_ms + 1)
        return found[0] if found else None

    def rows(
        self, symbol: str, timeframe: str, start_ms: int, end_ms: int,
        adjustment: Adjustment = "raw", now_ms: int = NEVER, *, anchor: str = "session",
        extended: bool = False,
    ) -> list[Row]:  # fmt: skip
        """Return the bars with stamps in ``[start_ms, end_ms)`` as they stand at ``now_ms``.

        A bar that forms at ``now_ms`` is there, last, with what has happened of it.
        ``anchor="clock"`` counts hours of shares from the full hour, not from the session's open.
        ``extended``: with the minutes before the open and after the close, of what has them.
        """
        frame = Timeframe.parse(timeframe)
        question = (
            self.listing(symbol),
            frame,
            start_ms,
            end_ms,
            adjustment,
            now_ms,
            anchor,
            extended,
        )
        many = frame.is_intraday and end_ms - start_ms > _MANY * (frame.step_ms or 0)
        return list(_truly(*question) if many else _truly_again(*question))


def _truly(
    listing: Listing, frame: Timeframe, start_ms: int, end_ms: int, adjustment: Adjustment,
    now_ms: int, anchor: str, extended: bool,
) -> list[Row]:  # fmt: skip
    """Return what :meth:`Truth.rows` does."""
    if frame.is_intraday:
        tape = listing.extended_tape if extended and listing.extended else listing.tape
        bars = _intraday(listing, tape, frame, (start_ms, end_ms), now_ms, anchor)
        return _rows_of(bars, _values(listing, bars, adjustment, now_ms))
    last = int(_next_label(np.array([end_ms - 1]), frame)[0])
    bars = _days(listing, start_ms, last, now_ms)
    values = _values(listing, bars, adjustment, now_ms)
    if frame == Timeframe(1, "d"):
        return [r for r in _rows_of(bars, values) if r.stamp_ms < end_ms]
    rows = _rows_of(*_merged(listing, frame, bars, values))
    return [r for r in rows if start_ms <= r.stamp_ms < end_ms]


# A vendor is asked what its oracle was asked, and neighbouring tests ask the same.
_truly_again = lru_cache(maxsize=128)(_truly)


# --- adjustment


def _known(listing: Listing, as_of_ms: int) -> list[Action]:
    told = listing.actions if listing.told is None else listing.told
    return [a for a in _dated(listing.calendar, told) if a.ex_at <= as_of_ms]


@lru_cache(maxsize=64)
def _dated(calendar: str, told: tuple[Action, ...]) -> tuple[Action, ...]:
    """Return actions with the open of their ex-date, in their order."""
    sessions = sessions_of(calendar)
    return tuple(sorted(replace(a, ex_at=sessions.open_of(day_ms(a.ex_date))) for a in told))


def _values(listing: Listing, bars: Bars, adjustment: Adjustment, as_of: int) -> list[Floats]:
    """Return open, high, low, close, volume and adjusted close as floats."""
    known = _known(listing, as_of)
    num, den = _ratios(bars.days, listing.splits, after=False)
    raw = [ticks * den // num for ticks in bars[4:8]]
    volume = bars.v * num // den
    later_num, later_den = _ratios(bars.days, [a for a in known if a.type == "split"], after=True)
    dividends = _dividend_factors(listing, bars.days, known)
    unit, lots = 10**listing.decimals, 10**listing.volume_decimals
    splits = [p * later_den / (later_num * unit) for p in raw]
    adj_close = splits[3] * dividends
    prices = {
        "raw": [p / unit for p in raw],
        "split": splits,
        "all": [p * dividends for p in splits],
    }
    shares = volume / lots if adjustment == "raw" else volume * later_num / (later_den * lots)
    return [*prices[adjustment], shares, adj_close]


def _dividend_factors(listing: Listing, days: Ints, known: list[Action]) -> Floats:
    """Return for every day the product of (1 - amount / close before) of later dividends."""
    factors = np.ones(len(days))
    for action in known:
        if action.type == "dividend":
            ex_ms = day_ms(action.ex_date)
            factors[days < ex_ms] *= _dividend_factor(listing, action.amount, ex_ms)
    return factors


@lru_cache(maxsize=1024)
def _dividend_factor(listing: Listing, amount: float, ex_ms: int) -> float:
    before = _days(listing, ex_ms - 30 * DAY_MS, ex_ms, NEVER)
    if not len(before.days):
        return 1.0
    eve = np.array([int(before.days[-1]), ex_ms])
    num, den = (column.tolist() for column in _ratios(eve, listing.splits, after=False))
    traded = int(before.c[-1]) * den[0] // num[0]
    # In shares of the ex-date: a split on that very day has happened already.
    close = Fraction(traded * num[0] * den[1], den[0] * num[1] * 10**listing.decimals)
    return 1.0 - amount / float(close)


def _ratios(days: Ints, splits: list[Action], *, after: bool) -> tuple[Ints, Ints]:
    """Return numerators and denominators of all splits up to each day, or of those after it."""
    edges = [day_ms(a.ex_date) for a in sorted(splits)]
    steps = [a.ratio for a in sorted(splits)]
    totals = [
        prod(steps[i:] if after else steps[:i], start=Fraction(1)) for i in range(len(steps) + 1)
    ]
    rows = np.searchsorted(np.array(edges, dtype=np.int64), days, side="right")
    num = np.array([t.numerator for t in totals], dtype=np.int64)[rows]
    den = np.array([t.denominator for t in totals], dtype=np.int64)[rows]
    return num, den


def _days(listing: Listing, start_ms: int, end_ms: int, now_ms: int) -> Bars:
    """Return the session days stamped in ``[start_ms, end_ms)`` as they stand at ``now_ms``."""
    tape = listing.tape
    first = max(start_ms, tape.listed_ms - DAY_MS)
    calendar_end = int(sessions_of(tape.calendar).closes[-1])
    last = min(end_ms, now_ms + 2 * DAY_MS, tape.delisted_ms + DAY_MS, calendar_end)
    parts = [minutes(tape, 0, 0)]
    if first < last:
        quarters = range(_quarter_of(first), _quarter_of(last - 1) + 1)
        parts += [days_of_quarter(tape, quarter) for quarter in quarters]
    bars = joined(parts)
    wanted = bars.take((bars.stamps >= start_ms) & (bars.stamps < end_ms))
    closed = wanted.take(wanted.closes <= now_ms)
    running = sessions_of(tape.calendar).between(now_ms, now_ms + 1)
    if not len(running.dates) or not start_ms <= int(running.dates[0]) < end_ms:
        return closed
    so_far = minutes(tape, int(running.opens[0]), now_ms + 1, now_ms)
    return joined([closed, grouped(so_far, so_far.days, so_far.opens, so_far.closes)])


def _quarter_of(ms: int) -> int:
    """Return the number of the quarter of a year in which an instant lies, counted from 1970."""
    return int(np.datetime64(ms, "ms").astype("datetime64[M]").astype(np.int64)) // 3


def _intraday(
    listing: Listing,
    tape: Tape,
    frame: Timeframe,
    window: tuple[int, int],
    now_ms: int,
    anchor: str,
) -> Bars:
    """Return the intraday bars stamped inside ``window`` as they stand at ``now_ms``."""
    step = frame.step_ms or 0
    bars = minutes(tape, window[0] - step, window[1] + step, now_ms)
    starts, ends = pauses_of(tape.calendar)
    place = np.searchsorted(starts, bars.stamps, side="right")
    # A session begins again after its break.
    opened = np.maximum(bars.opens, np.append(0, ends)[place])
    origin = opened if anchor == "session" and listing.calendar != ALWAYS else 0
    stamps = origin + (bars.stamps - origin) // step * step
    closes = stamps + step
    if listing.calendar != ALWAYS:
        closes = np.minimum(closes, np.minimum(bars.closes, np.append(starts, NEVER)[place]))
    merged = grouped(bars, stamps, stamps, closes)
    return merged.take((merged.stamps >= window[0]) & (merged.stamps < window[1]))


def _label(stamps: Ints, frame: Timeframe) -> Ints:
    """Return the stamps of the days, weeks or months in which ``stamps`` lie."""
    if frame.unit == "M":
        months = stamps.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        first = (months // frame.count * frame.count).astype("datetime64[M]")
        return first.astype("datetime64[ms]").astype(np.int64)
    step = frame.step_ms or DAY_MS
    monday = 4 * DAY_MS if frame.unit == "w" else 0  # the first Monday of 1970
    return (stamps - monday) // step * step + monday


def _next_label(stamps: Ints, frame: Timeframe) -> Ints:
    """Return the stamps of the bars after those in which ``stamps`` lie."""
    reach = frame.step_ms or frame.count * 31 * DAY_MS + WEEK_MS
    return _label(_label(stamps, frame) + reach, frame)


def _merged(
    listing: Listing, frame: Timeframe, bars: Bars, values: list[Floats]
) -> tuple[Bars, list[Floats]]:
    """Merge adjusted days into longer bars."""
    if not len(bars.stamps):
        return bars, values
    sessions = sessions_of(listing.calendar)
    labels = _label(bars.days, frame)
    first = np.searchsorted(sessions.dates, labels)
    last = np.searchsorted(sessions.dates, _next_label(labels, frame)) - 1
    merged = grouped(bars, labels, sessions.opens[first], sessions.closes[last])
    starts = np.searchsorted(labels, merged.stamps)
    ends = np.append(starts[1:], len(labels)) - 1
    o, h, low, c, v, adj = values
    # Decimals do not add up in binary; three more than the listing has are kept.
    volume = np.round(np.add.reduceat(v, starts), listing.volume_decimals + 3)
    return merged, [
        o[starts], np.maximum.reduceat(h, starts), np.minimum.reduceat(low, starts),
        c[ends], volume, adj[ends],
    ]  # fmt: skip


def _rows_of(bars: Bars, values: list[Floats]) -> list[Row]:
    columns = [bars.stamps, *values, bars.opens, bars.closes]
    return [Row(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
