"""A data manager that answers as of a past time: every public method with its rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np

from ..core.calendars.ranges import closing_time, resolve_moment
from ..core.calendars.written_times import relative
from ..core.model.answer.provenance import ATTRS_KEY, freeze
from ..core.model.identity.instrument import Instrument
from ..core.model.identity.universe import Members, Universes
from ..core.model.market.figures import FUNDING, Measure
from ..core.model.time.instant import date_of, from_ms, iso
from ..core.model.time.timeframe import Timeframe
from ..core.observability.reads import missed, reads
from ..data_manager import DataManager
from ..errors import QueryError

if TYPE_CHECKING:
    import pandas as pd


class Rule(NamedTuple):
    """What a method of a manager as of a past time does.

    Attributes:
        does: ``filter`` (answers as of that time), ``refuse`` (raises a ``QueryError``) or ``same``
            (is about this installation, not about a market).
        how: What is left out, why it is refused, or what the method is about.
    """

    does: Literal["filter", "refuse", "same"]
    how: str


# Represents every market while a bound is compared with the time.
_ANY = Instrument("at", "crypto")
_OF_TODAY = "it describes what the cache has today"
_LIVE = "it is about the market now"
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "at": Rule("filter", "an earlier time; a later one is refused"),
        "get_ohlcv": Rule("filter", "bars that had closed, adjusted for past ex-dates"),
        "get_ohlcv_batch": Rule("filter", "as get_ohlcv; members of that day"),
        "plot": Rule("filter", "as get_ohlcv"),
        "features": Rule("filter", "values from bars that had closed"),
        "plan": Rule("filter", "the requests that get_ohlcv would send"),
        "explain": Rule("filter", "the vendors that get_ohlcv would query"),
        "get_actions": Rule("filter", "past ex-dates, with amounts per share of that day"),
        "sessions": Rule("filter", "sessions that had opened"),
        "get_funding_rate": Rule("filter", "rates that had been paid"),
        "get_open_interest": Rule("filter", "periods that had ended"),
        "get_long_short_ratio": Rule("filter", "periods that had ended"),
        "get_fundamentals": Rule(
            "filter", "values by acceptance or filing day; others are withheld"
        ),
        "get_series": Rule("filter", "values by day of publication"),
        "announcements": Rule("filter", "filings that had been accepted"),
        "statement_lines": Rule("filter", "values of filings that had been accepted"),
        "universes": Rule("filter", "members of that day"),
        "get_quote": Rule("refuse", _LIVE),
        "get_quotes": Rule("refuse", _LIVE),
        "live_feed": Rule("refuse", _LIVE),
        "get_live_feed": Rule("refuse", _LIVE),
        "search": Rule("refuse", "vendors list the names of today"),
        "coverage": Rule("refuse", _OF_TODAY),
        "gaps": Rule("refuse", _OF_TODAY),
        "report": Rule("refuse", _OF_TODAY),
        "validate": Rule("refuse", "later bars are among its evidence"),
        "get_cache_stats": Rule("same", "sizes of files"),
        "metrics": Rule("same", "counters of this process"),
        "on_event": Rule("same", "events of this process"),
        "clear_cache": Rule("same", "files"),
    }
)


class ManagerAt(DataManager):
    """A manager that answers as of a past time; created by :meth:`DataManager.at`. Thread-safe.

    Args:
        manager: Manager whose cache, vendors and limits are used.
        moment: See :meth:`DataManager.at`.
    """

    def __init__(self, manager: DataManager, moment: Any) -> None:
        services: Any = manager._services
        latest_ms = getattr(services, "known_ms", services.clock.now_ms())
        self.known_ms, day = resolve_moment("at", "moment", moment, latest_ms)
        self._services: Any = _ServicesAt(services, self.known_ms, day)
        self._manager = manager
        self.cache, self.client = manager.cache, self._services.client
        self.provider_selector = manager.provider_selector
        self.rate_limiters = manager.rate_limiters

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, as of {iso(self.known_ms)}>"

    @property
    def universes(self) -> Universes:
        """The universes, with the members of that day."""
        return _UniversesAt(self._manager.universes, self.known_ms)

    def get_ohlcv_batch(self, *args: Any, **options: Any) -> Any:
        """Return bars for many symbols; see :meth:`DataManager.get_ohlcv_batch`."""
        if options.get("universe") is not None:
            options["as_of"] = self._services.until(options.get("as_of"))
        return super().get_ohlcv_batch(*args, **options)

    def get_actions(
        self, symbol: str, start: Any = None, end: Any = None, **options: Any
    ) -> pd.DataFrame:
        """Return the splits and dividends whose ex-date had come; see :meth:`DataManager.get_actions`."""
        bounds = self._services.since(start), self._services.until(end)
        frame = super().get_actions(symbol, *bounds, **options)
        facts = dict(frame.attrs[ATTRS_KEY], left_out=[], awaited=[])
        if len(frame):
            day = np.datetime64(self.client.last_ex_date(symbol))
            frame = frame[frame.index <= day].copy()
            # Amounts are in terms of the shares of that day, not of today's.
            ratios = frame["ratio"].fillna(1.0).groupby(level=0).prod()
            later = ratios[::-1].cumprod()[::-1] / ratios
            frame["amount"] = frame["paid"] / later.loc[frame.index].to_numpy()
        return _noted(frame, facts, f"actions whose ex-date had not come by {iso(self.known_ms)}")

    def announcements(self, symbol: str, *args: Any, **options: Any) -> pd.DataFrame:
        """Return the announcements that had been filed; see :meth:`DataManager.announcements`."""
        frame = super().announcements(symbol, *args, **options)
        _record(symbol, lambda lines: lines.filing_lines(symbol, frame))
        return frame

    def statement_lines(self, symbol: str, **options: Any) -> pd.DataFrame:
        """Return the values that had been filed; see :meth:`DataManager.statement_lines`."""
        frame = super().statement_lines(symbol, **options)
        _record(symbol, lambda lines: lines.filing_lines(symbol, frame))
        return frame

    def sessions(self, symbol: str, start: Any, end: Any) -> pd.DataFrame:
        """Return the sessions that had opened; see :meth:`DataManager.sessions`."""
        frame = super().sessions(symbol, self._services.since(start), self._services.until(end))
        return frame[frame["open"] <= from_ms(self.known_ms)]


class _ServicesAt:
    """The services of a manager, whose answers are limited to what was known by a time.

    Attributes:
        known_ms: The time, in UTC milliseconds.
        client, figures, fundamentals, macro: The services with a limit; all others are unchanged.
    """

    def __init__(self, services: Any, known_ms: int, day: date | None) -> None:
        self._services, self.known_ms = services, known_ms
        self._mine: date | datetime = day or from_ms(known_ms)
        # The end of a date is the start of the next one, at which some markets open.
        opened_ms = known_ms if day is None else known_ms - 1
        self.client = services.client.at(known_ms, opened_ms)
        self.figures = _FiguresAt(self, services)
        self.fundamentals = _FundamentalsAt(self, services)
        self.macro = _MacroAt(self, services)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)

    def until(self, time: Any) -> Any:
        """Return a bound, or the time itself if the bound is None or later.

        Raises:
            BadRangeError: The bound is not a time.
        """
        bound_ms = closing_time(_ANY, time, self.known_ms)
        return self._mine if bound_ms in (None, self.known_ms) else self.since(time)

    def since(self, time: Any) -> Any:
        """Return a bound; one that is relative to now, such as ``-30d``, counts back from the time."""
        return relative(time, date_of(self.known_ms), self.known_ms) or time


class _Limited:
    """A service whose answers are limited to what was known by a time."""

    def __init__(self, mine: _ServicesAt, services: Any) -> None:
        self._mine, self._services = mine, services


class _FiguresAt(_Limited):
    def get(self, measure: Measure, symbol: Any, period: Any, bounds: Any, *rest: Any) -> Any:
        """Return the rows whose period had ended; see the service of figures."""
        # The default of the service, counted back from the time.
        start = timedelta(days=29) if bounds[0] is None else bounds[0]
        bounds = self._mine.since(start), self._mine.until(bounds[1])
        frame = self._services.figures.get(measure, symbol, period, bounds, *rest)
        # A rate is paid at its timestamp; statistics are those of the period that begins there.
        step_ms = 0 if measure is FUNDING else Timeframe.parse(period).step_ms or 0
        known = frame[frame.index <= from_ms(self._mine.known_ms - step_ms)]
        withheld = f"rows that were not known by {iso(self._mine.known_ms)}"
        return _noted(known, frame.attrs[ATTRS_KEY], withheld)


class _FundamentalsAt(_Limited):
    def get(self, symbol: Any, wish: Any) -> Any:
        """Return the facts that had been filed; see the service of fundamentals."""
        wish = replace(wish, as_of=self._mine.until(wish.as_of))
        return self._services.fundamentals.get(symbol, wish)


class _MacroAt(_Limited):
    def get(self, series: Any, *bounds: Any, as_of: Any, **options: Any) -> Any:
        """Return the values that had been published; see the service of macro series."""
        as_of, bounds = self._mine.until(as_of), tuple(map(self._mine.since, bounds))
        frame = self._services.macro.get(series, *bounds, as_of=as_of, **options)
        facts = frame.attrs[ATTRS_KEY]
        _record(series, lambda lines: lines.macro_lines(series, frame, facts["vintage"]))
        return _noted(frame, facts, f"values published after {facts['as_of']}")


class _UniversesAt:
    """Universes with the members of a time, or of an earlier day."""

    def __init__(self, universes: Universes, known_ms: int) -> None:
        self._universes, self._known_ms = universes, known_ms

    def members(
        self, name: str, as_of: Any = None, strict: bool = False, since: Any = None
    ) -> Members:
        """Return the members; see :class:`Universes`."""
        # The end of a date is the start of the next one, of which nothing is known yet.
        day = date_of((closing_time(_ANY, as_of, self._known_ms) or self._known_ms) - 1)
        found = self._universes.members(name, day, strict=strict, since=since)
        reach = f"{found.since}..{found.as_of}" if found.since else f"{found.as_of}"
        _record(name, lambda lines: [lines.members_line(name, found, reach)])
        return found


def _record(name: str, make: Callable[[Any], Iterable[Any]]) -> None:
    """Report a read of something other than bars to the run that records reads, if there is one.

    Args:
        name: What was read.
        make: Function that returns the lines of a receipt, given the module that builds them.
    """
    record = reads.get()
    if record is None:
        missed(name)
        return
    from .receipts import lines  # most managers of a past time are not recorded

    for line in make(lines):
        record.noted(line.text)


def _noted(frame: pd.DataFrame, facts: Mapping[str, Any], withheld: str) -> pd.DataFrame:
    """Return the frame with its provenance and a note of what was withheld."""
    frame.attrs[ATTRS_KEY] = freeze({**facts, "rows": len(frame), "withheld": [withheld]})
    return frame


def _refusal(name: str, why: str) -> Callable[..., NoReturn]:
    @wraps(getattr(DataManager, name))
    def refuse(self: ManagerAt, *_: Any, **__: Any) -> NoReturn:
        """Raise a ``QueryError``."""
        raise QueryError(
            f"{name} is not available as of {iso(self.known_ms)}: {why}",
            hint=f"call {name} of the manager itself",
        )

    return refuse


for _name, _rule in RULES.items():
    if _rule.does == "refuse":
        setattr(ManagerAt, _name, _refusal(_name, _rule.how))
