"""Trades of a market in steps of five minutes, and vendors that build their bars from them.

Bars are built by plain loops over the trades, with the hours of ``exchange_calendars`` and the time zones
of ``zoneinfo``: expected values do not depend on the code under test.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas as pd

from src.data.core.bars.service import BarsService
from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched, FetchQuery
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import DataError, NoDataError

STEP = 5 * MINUTE_MS
EARLY_LATE = 2 * 60 * MINUTE_MS
NEW_YORK = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
LONDON = Instrument("BARC.L", "stock", "XLON", "Europe/London", quote="GBp")
COIN = Instrument("BTCUSDT", "crypto", quote="USDT")

Session = tuple[date, int, int]  # date, open, close
Trade = tuple[int, float, float, Session]  # when, price, volume, in whose session


@cache
def sessions(code: str, first: date, last: date) -> tuple[Session, ...]:
    """Return the sessions of an exchange from ``exchange_calendars``."""
    if code == "24/7":
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return tuple((day, day_ms(day), day_ms(day) + DAY_MS) for day in days)
    rows = _schedule(code).loc[str(first) : str(last)]
    return tuple(
        (stamp.date(), int(opened.timestamp() * 1000), int(closed.timestamp() * 1000))
        for stamp, opened, closed in rows[["open", "close"]].itertuples()
    )


@cache
def _schedule(code: str) -> pd.DataFrame:
    return exchange_calendars.get_calendar(code, start="2015-01-01").schedule


class _Group(NamedTuple):
    """The trades of one bar, the bar, and when it closes."""

    stamp: int
    trades: list[Trade]
    bar: Bar
    close: int


class Tape:
    """All trades of one instrument in a range of dates.

    Args:
        who: its calendar and time zone count.
        first, last: session dates, both included.
        seed: other prices for every seed.
        extended: whether it trades two hours before the open and after the close, too.
        silent: share of the trades that are left out.
        every: how far the stretches are apart in which there are two trades each, so that highs
            and lows differ from the ends.
    """

    def __init__(
        self, who: Instrument, first: str, last: str, seed: int = 0, *,
        extended: bool = False, silent: float = 0.0, every: int = STEP,
    ) -> None:  # fmt: skip
        self.zone = ZoneInfo(who.timezone)
        days = (date.fromisoformat(first), date.fromisoformat(last))
        self.sessions = sessions(who.calendar, *days)
        dice, beside = random.Random(seed), EARLY_LATE if extended else 0
        self.trades: list[Trade] = []
        self._groups: dict[tuple[str, str, str], list[_Group]] = {}
        for session in self.sessions:
            _, opened, closed = session
            for at in range(opened - beside, closed + beside, every):
                for when in (at, at + every // 2):
                    if dice.random() >= silent:
                        price, volume = dice.randint(9000, 11000) / 100, float(dice.randint(1, 99))
                        self.trades.append((when, price, volume, session))

    def bars(
        self, label: str, now: int, *, anchor: str = "session", session: str = "regular"
    ) -> list[Bar]:
        """Return the bars of a length as they stand at ``now``; the running one comes last."""
        groups = self._grouped(label, anchor, session)
        return [_bar_at(now, group) for group in groups if group.trades[0][0] < now]

    def closed(self, label: str, now: int, anchor: str = "session") -> list[Bar]:
        """Return the bars of regular hours that have closed at ``now``."""
        groups = self._grouped(label, anchor, "regular")
        return [group.bar for group in groups if group.close <= now]

    def parts(
        self, source: str, target: str, anchor: str, source_anchor: str = ""
    ) -> dict[int, set[int]]:
        """Return the stamps of the source bars in which each target bar was traded, by its own."""
        mine, theirs = self._namer(target, anchor), self._namer(source, source_anchor or anchor)
        found: dict[int, set[int]] = {}
        for trade in self.trades:
            at, _, _, (_, opened, closed) = trade
            if opened <= at < closed:
                found.setdefault(mine(trade), set()).add(theirs(trade))
        return found

    def _close(self, label: str, stamp: int, trades: list[Trade]) -> int:
        """Return when a bar closes: with its step, at the latest with its last session."""
        step = Timeframe.parse(label)
        if step.is_intraday:
            return min(trades[-1][3][2], stamp + (step.step_ms or 0))
        return max(s[2] for s in self.sessions if day_ms(_first_day(step, s[0])) == stamp)

    def _grouped(self, label: str, anchor: str, session: str) -> list[_Group]:
        """Return all bars of the tape, ascending; calculated once."""
        key = label, anchor, session
        if key not in self._groups:
            found: dict[int, list[Trade]] = {}
            namer = self._namer(label, anchor)
            for trade in self.trades:
                at, _, _, (_, opened, closed) = trade
                if session == "extended" or opened <= at < closed:
                    found.setdefault(namer(trade), []).append(trade)
            self._groups[key] = [
                _Group(stamp, trades, _bar(stamp, trades), self._close(label, stamp, trades))
                for stamp, trades in sorted(found.items())
            ]
        return self._groups[key]

    def _namer(self, label: str, anchor: str) -> Callable[[Trade], int]:
        """Return a function from the time of a trade to the timestamp of its bar."""
        step = Timeframe.parse(label)
        length = step.step_ms or 1
        if not step.is_intraday:
            dates = cache(lambda day: day_ms(_first_day(step, day)))
            return lambda trade: dates(trade[3][0])
        if anchor == "session":
            return lambda trade: trade[0] - (trade[0] - trade[3][1]) % length
        midnight = cache(lambda day: self._midnight(day))

        def on_clock(trade: Trade) -> int:
            """Count from midnight on the venue's clock; it is never changed in trading hours."""
            return trade[0] - (trade[0] - midnight(trade[3][0])) % length

        return on_clock

    def _midnight(self, day: date) -> int:
        """Return an instant at which the clock of the day's trading hours would show midnight."""
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=self.zone)
        return int(noon.timestamp() * 1000) - 12 * 60 * MINUTE_MS


def _first_day(step: Timeframe, day: date) -> date:
    """Return the date that names a day, week or month, or so many of them."""
    if step.unit == "M":
        months = (day.year * 12 + day.month - 1 - 1970 * 12) // step.count * step.count
        return date(1970 + months // 12, months % 12 + 1, 1)
    if step.unit == "w":
        monday = date(1969, 12, 29)
        return monday + timedelta(days=(day - monday).days // (7 * step.count) * 7 * step.count)
    epoch = date(1970, 1, 1)
    return epoch + timedelta(days=(day - epoch).days // step.count * step.count)


def _bar(stamp: int, trades: list[Trade]) -> Bar:
    prices = [trade[1] for trade in trades]
    volume = sum(trade[2] for trade in trades)
    return Bar(stamp, prices[0], max(prices), min(prices), prices[-1], volume)


def _bar_at(now: int, group: _Group) -> Bar:
    """Return the bar as it stands at ``now``."""
    if group.trades[-1][0] < now:
        return group.bar
    return _bar(group.stamp, [trade for trade in group.trades if trade[0] < now])


class TapeVendor(BaseDataDownloader):
    """Serves a tape in bars of its own kind.

    Attributes:
        asked: label and span of every request.
        errors: raised by label, until it is taken out.
        spoil: changes the rows of every answer, by label.
        is_sparse: whether bars without a trade do not come.
        listed_ms: the listing, where it tells one.
    """

    def __init__(
        self, name: str, tape: Tape, who: Instrument, kind: Kind, labels: str, **declared: Any
    ) -> None:
        self.name = name
        super().__init__(sender=object())  # type: ignore[arg-type]
        self.tape, self.kind = tape, kind
        is_stock = who.asset_class == "stock"
        self.capabilities = Capabilities(
            frozenset({who.asset_class}), {label: label for label in labels.split()},
            kinds={who.asset_class: kind}, adjustment="split" if is_stock else "raw",
            **({"actions": is_stock} | declared),
        )  # fmt: skip
        self.asked: list[tuple[str, Span]] = []
        self.errors: dict[str, DataError] = {}
        self.spoil: dict[str, Callable[[list[Bar]], list[Bar]]] = {}
        self.is_sparse = False
        self.listed_ms: int | None = None

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return bars built from the trades, or the scripted error."""
        label = query.timeframe.label
        self.asked.append((label, query.span))
        if label in self.errors:
            raise self.errors[label]
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        rows = self.tape.bars(label, query.now_ms, anchor=kind.anchor or "session",
                              session=kind.session)  # fmt: skip
        inside = [row for row in rows if row.stamp_ms in query.span]
        inside = self.spoil.get(label, lambda same: same)(inside)
        if not inside:
            raise NoDataError("nothing there", provider=self.name)
        return Fetched(
            BarTable.from_bars(inside), self.name, kind, Basis(self.capabilities.adjustment),
            query.now_ms, settle_ms=self.capabilities.settle_ms, dense=not self.is_sparse,
            listed_ms=self.listed_ms,
        )  # fmt: skip

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> tuple[()]:
        """Know that there are no splits and dividends."""
        return ()

    def labels(self) -> list[str]:
        """Return the requested timeframes, in order."""
        return [label for label, _ in self.asked]


class RoutedVendors:
    """The routing service over a store, a clock that stands, and vendors of one instrument.

    Attributes:
        vendors: by name, in the order of the rules.
        rules: names by label, where not all are asked; no names is a label that no rule lists.
    """

    def __init__(self, folder: Path, who: Instrument, now: str, *vendors: TapeVendor) -> None:
        self.who, self.clock = who, ManualClock(parse_iso(now))
        self.store = BarStore(folder / "cache", clock=self.clock)
        self.downloaders: dict[str, Any] = {vendor.name: vendor for vendor in vendors}
        self.rules: Mapping[str, list[str]] = {}
        self.service = BarsService(self.store, self, self.clock)

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return the vendors to query, as the selector does."""
        return self.rules.get(timeframe, list(self.downloaders))

    def ask(self, label: str, start: str, end: str, **wishes: Any) -> pd.DataFrame:
        """Ask for the stamps ``[start, end)``."""
        now = self.clock.now_ms()
        span = Span(parse_iso(start), min(parse_iso(end), now + 1))
        query = BarsQuery(self.who, Timeframe.parse(label), span, now)
        return self.service.get(replace(query, **wishes)).owned()

    def lanes(self) -> list[str]:
        """Return the folders of what is stored."""
        return sorted(key.folder for key in self.store.keys())


def rows(frame: pd.DataFrame) -> list[tuple[float, ...]]:
    """Return stamp in milliseconds, prices and volume of each row."""
    stamps = (int(stamp.value) // 1_000_000 for stamp in frame.index)
    values = frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    return [(stamp, *line) for stamp, line in zip(stamps, values, strict=True)]


def plain(bars: Iterable[Bar], start: str = "1990-01-01", end: str = "2100-01-01") -> list[Any]:
    """Return the bars stamped in ``[start, end)`` as :func:`rows` does."""
    return [tuple(bar[:6]) for bar in bars if parse_iso(start) <= bar.stamp_ms < parse_iso(end)]


def provenance(frame: pd.DataFrame) -> Any:
    """Return the provenance."""
    return frame.attrs["onetape"]


def lacking(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the gaps as start, end and reason, in short."""
    return [(g["start"][:16], g["end"][:16], g["reason"]) for g in provenance(frame)["gaps"]]


def utc(ms: int) -> str:
    """Return an instant as text to the minute."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")
