"""What truly traded: every minute of an instrument, as a function of its name and the minute.

All longer bars are built from these minutes, so whatever timeframe is asked, the answers fit
together. Prices are integers (ticks), before any split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS
from onetape.data.core.model.time.span import Span

from .sessions import ALWAYS, Ints, Sessions, pauses_of, sessions_of

Hashes = NDArray[np.uint64]
NEVER = 1 << 53
_ONE = 1_000_000
# Waves the price is made of: (log2 of the period in minutes, height in millionths). They add up
# to about half, so that a price stays between 0.5 and 1.5 times its base.
_WAVES = ((0, 300), (4, 1_200), (8, 6_000), (12, 30_000), (16, 120_000), (20, 350_000))


@dataclass(frozen=True)
class Tape:
    """The minutes of one instrument.

    Attributes:
        seed: any text; another seed is another history.
        base: the price around which it moves, in ticks.
        lot: smallest volume, in volume units.
        calendar: ``24/7`` or the code of an exchange calendar.
        listed_ms, delisted_ms: trades happen in ``[listed_ms, delisted_ms)``.
        outages: spans in which the venue printed nothing.
        quiet: of 1000 minutes so many have no trade.
    """

    seed: str
    base: int
    lot: int = 1
    calendar: str = ALWAYS
    listed_ms: int = 0
    delisted_ms: int = NEVER
    outages: tuple[Span, ...] = ()
    quiet: int = 0


class Bars(NamedTuple):
    """Bars as integer columns.

    Attributes:
        stamps: label of the bar, UTC milliseconds (session date for days).
        opens, closes: the instants between which the bar forms.
        days: 00:00 of the session date.
        o, h, l, c: prices in ticks.
        v: volume in volume units.
    """

    stamps: Ints
    opens: Ints
    closes: Ints
    days: Ints
    o: Ints
    h: Ints
    l: Ints  # noqa: E741 - o h l c v are the words of the trade
    c: Ints
    v: Ints

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Bars:
        """Return the rows that a mask or positions select."""
        return Bars(*(column[rows] for column in self))


def joined(parts: list[Bars]) -> Bars:
    """Put tables one behind the other."""
    return Bars(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def minutes(tape: Tape, start_ms: int, end_ms: int, now_ms: int = NEVER) -> Bars:
    """Return the minutes opening in ``[start_ms, end_ms)`` that have traded until ``now_ms``.

    The minute in which ``now_ms`` lies is there in part: what of it has happened so far.
    """
    end_ms = min(end_ms, now_ms + 1, tape.delisted_ms)
    start_ms = max(start_ms, tape.listed_ms)
    held = sessions_of(tape.calendar).between(start_ms, max(start_ms, end_ms))
    n, opens, closes, days = _grid(held)
    stamps = n * MINUTE_MS
    traded = (stamps >= start_ms) & (stamps < end_ms)
    starts, ends = pauses_of(tape.calendar)
    if len(starts):
        place = np.searchsorted(starts, stamps, side="right")
        traded &= stamps >= np.append(0, ends)[place]
    for outage in tape.outages:
        traded &= (stamps < outage.start) | (stamps >= outage.end)
    if tape.quiet:
        traded &= _draw(tape.seed, "quiet", n, 1000) >= tape.quiet
    n, opens, closes, days = n[traded], opens[traded], closes[traded], days[traded]
    bars = Bars(n * MINUTE_MS, opens, closes, days, *_prices(tape, n))
    return _cut_short(bars, now_ms) if len(n) else bars


def _grid(held: Sessions) -> tuple[Ints, Ints, Ints, Ints]:
    """Return minute number, session open, session close and session date of every minute."""
    first = held.opens // MINUTE_MS
    lengths = held.closes // MINUTE_MS - first
    before = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    n = np.arange(total, dtype=np.int64) + np.repeat(first - before, lengths)
    opens, closes, days = (np.repeat(c, lengths) for c in (held.opens, held.closes, held.dates))
    return n, opens, closes, days


def _prices(tape: Tape, n: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Return open, high, low, close and volume of the minutes ``n``."""
    if not len(n):
        return n, n, n, n, n
    path = _path(tape, np.append(n, n[-1] + 1))
    opened, following = path[:-1], path[1:]
    # Where a minute is not followed by the next one (a night, an outage) its end is its own.
    breaks = np.flatnonzero(n[1:] - n[:-1] != 1)
    if len(breaks):
        following = following.copy()
        following[breaks] = _path(tape, n[breaks] + 1)
    dice = _hash(tape.seed, "minute", n)
    closed = following + _field(dice, 0, 3) - 1
    reach = tape.base // 5_000 + 2
    high = np.maximum(opened, closed) + _field(dice, 1, reach)
    low = np.minimum(opened, closed) - _field(dice, 2, reach)
    return opened, high, low, closed, tape.lot * (1 + _field(dice, 3, 97))


def _path(tape: Tape, n: Ints) -> Ints:
    """Return the price at the start of the minutes ``n``, in ticks."""
    moved = np.zeros(len(n), dtype=np.int64)
    if not len(n):
        return moved
    for shift, height in _WAVES:
        place = n >> shift
        first = int(place[0])
        knots = np.arange(first, int(place[-1]) + 2, dtype=np.int64)
        values = _draw(tape.seed, f"wave{shift}", knots, 2 * height + 1) - height
        place = place - first
        rest = n & ((1 << shift) - 1)
        moved += values[place] + (((values[place + 1] - values[place]) * rest) >> shift)
    return tape.base + tape.base * moved // _ONE


def _cut_short(bars: Bars, now_ms: int) -> Bars:
    """Leave of the last minute what has happened of it until ``now_ms``."""
    elapsed = now_ms - int(bars.stamps[-1])
    if elapsed >= MINUTE_MS:
        return bars
    o, h, low, c, v = (int(column[-1]) for column in bars[4:])
    now = o + (c - o) * elapsed // MINUTE_MS
    top = max(o, now, o + (h - o) * elapsed // MINUTE_MS)
    bottom = min(o, now, o + (low - o) * elapsed // MINUTE_MS)
    partial = (o, top, bottom, now, v * elapsed // MINUTE_MS)
    values = [
        np.append(column[:-1], value) for column, value in zip(bars[4:], partial, strict=True)
    ]
    return bars._replace(o=values[0], h=values[1], l=values[2], c=values[3], v=values[4])


def _hash(seed: str, name: str, keys: Ints) -> Hashes:
    """Return 64 bits for every key: the same ones whenever they are asked for."""
    z = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(_salt(seed, name))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _field(dice: Hashes, place: int, below: int) -> Ints:
    """Return a number in ``[0, below)`` from one of the four 16-bit fields of a hash."""
    bits = (dice >> np.uint64(16 * place)) & np.uint64(0xFFFF)
    return ((bits * np.uint64(below)) >> np.uint64(16)).astype(np.int64)


def _draw(seed: str, name: str, keys: Ints, below: int) -> Ints:
    """Return a number in ``[0, below)`` for every key; ``below`` up to 2**32."""
    dice = _hash(seed, name, keys) >> np.uint64(32)
    return ((dice * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


@lru_cache(maxsize=4096)
def _salt(seed: str, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big")


def grouped(bars: Bars, stamps: Ints, opens: Ints, closes: Ints) -> Bars:
    """Merge neighbours that share a stamp into one bar each."""
    if not len(stamps):
        return bars
    starts = np.flatnonzero(np.append(True, stamps[1:] != stamps[:-1]))
    ends = np.append(starts[1:], len(stamps)) - 1
    return Bars(
        stamps[starts], opens[starts], closes[starts], bars.days[starts],
        bars.o[starts], np.maximum.reduceat(bars.h, starts), np.minimum.reduceat(bars.l, starts),
        bars.c[ends], np.add.reduceat(bars.v, starts),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def days_of_quarter(tape: Tape, quarter: int) -> Bars:
    """Return the whole days of a quarter of a year, counted from 1970, with session dates for stamps."""
    months = np.array([3 * quarter, 3 * quarter + 3]).astype("datetime64[M]")
    start, end = months.astype("datetime64[ms]").astype(np.int64).tolist()
    # A session may open on the evening before its date.
    bars = minutes(tape, start - DAY_MS, end + DAY_MS)
    days = grouped(bars, bars.days, bars.opens, bars.closes)
    return days.take((days.stamps >= start) & (days.stamps < end))
