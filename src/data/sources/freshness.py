"""Policies that decide when the latest bars may be requested again: by market close, age or both.

A policy decides only about bars that are not final. It cannot make bars final, ignore gaps or
cause final history to be fetched again; see :class:`.CachedDataSource`. The age of a
series in market time is in ``bars/freshness.py``, the lifetime of stored data in
``bars/validity.py``.
"""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calendars.calendar import named_calendar
from ..clock import SystemClock
from ..errors import QueryError
from ..model.instant import date_of, from_ms, parse_iso, to_ms
from ..model.timeframe import Timeframe
from ..vendors.registry import canonical_vendor, is_of_files
from .freshness_settings import checked_settings, freshness_settings
from .vendor_source import VendorDataSource

if TYPE_CHECKING:
    import pandas as pd

    from ..calendars.calendar import MarketCalendar, Session

__all__ = [
    "AlwaysStaleFreshnessPolicy",
    "CacheFreshnessPolicy",
    "FreshnessPolicyFactory",
    "HybridFreshnessPolicy",
    "MarketCloseFreshnessPolicy",
    "NeverStaleFreshnessPolicy",
    "TTLFreshnessPolicy",
    "is_fresh_by",
]

# Keys of the mapping that :func:`is_fresh_by` passes to policies: the fetch time and the current
# time, in UTC seconds.
FETCHED, NOW = "fetch_timestamp", "current_timestamp"
_HOUR_S = 3600
# Defaults by timeframe.
_TTLS_S = {"1d": 86400, "1h": _HOUR_S, "5m": 300, "1m": 300}
_NEVER_MS = parse_iso("2099-12-31T00:00:00")
# No market is closed for as many days as this.
_SESSION_WINDOW = timedelta(days=16)


class _FreshnessFacts(NamedTuple):
    """The facts on which a policy's decision is based; times are in UTC milliseconds."""

    fetched_ms: int
    now_ms: int
    frequency: str
    calendar: MarketCalendar | None

    def is_younger(self, seconds: float) -> bool:
        """Return whether the bars are younger than this number of seconds."""
        return self.now_ms - self.fetched_ms < seconds * 1000

    def sessions(self, calendar: MarketCalendar) -> list[Session]:
        """Return the sessions around the current time."""
        today = date_of(self.now_ms)
        return calendar.sessions(today - _SESSION_WINDOW, today + _SESSION_WINDOW)


class CacheFreshnessPolicy(ABC):
    """Base class of policies that decide whether the latest cached bars may be requested again.

    A custom policy needs one method, ``is_fresh``, with either of the argument lists described
    there.

    Attributes:
        calendar: Calendar of the market: a name such as ``NYSE`` or ``24/7``, or an object with
            ``name``, such as one from exchange_calendars. None means the calendar passed to the
            method or, without one, the calendar of the symbol if known.
    """

    calendar: Any = None

    @abstractmethod
    def is_fresh(
        self,
        bundle_metadata: Any = None,
        frequency: Any = None,
        calendar: Any = None,
        *,
        cache_time: Any = None,
        current_time: Any = None,
    ) -> bool:
        """Return whether bars are fresh, that is, need not be requested again.

        Args:
            bundle_metadata: Mapping with ``fetch_timestamp``, the time at which the bars were
                fetched, in UTC seconds or as a datetime; without it, the bars are not fresh.
                ``current_timestamp``, if present, replaces the current time.
            frequency: Timeframe of the bars.
            calendar: Calendar for this call, if the policy has no calendar.
            cache_time, current_time: Fetch time and current time, instead of the first two
                arguments; can also be passed by position. Naive times are UTC.

        Raises:
            QueryError: An argument is not a time.
        """

    def get_next_refresh_time(
        self, bundle_metadata: Mapping[str, Any], frequency: str, calendar: Any = None
    ) -> pd.Timestamp:
        """Return the time in UTC from which bars may be requested again.

        The default implementation returns the current time. For arguments and errors, see
        :meth:`is_fresh`.
        """
        return _timestamp(_facts(self, bundle_metadata, frequency, calendar).now_ms)


class _Rule(CacheFreshnessPolicy):
    """Base class of the packaged policies, which accept both argument lists of ``is_fresh``."""

    def is_fresh(
        self,
        bundle_metadata: Any = None,
        frequency: Any = None,
        calendar: Any = None,
        *,
        cache_time: Any = None,
        current_time: Any = None,
    ) -> bool:
        """Return whether bars are fresh; see :class:`CacheFreshnessPolicy`."""
        if not isinstance(bundle_metadata, Mapping):
            fetched = bundle_metadata if cache_time is None else cache_time
            now = frequency if current_time is None else current_time
            bundle_metadata, frequency = {FETCHED: fetched, NOW: now}, ""
        return self._is_fresh(_facts(self, bundle_metadata, frequency, calendar))

    def get_next_refresh_time(
        self, bundle_metadata: Mapping[str, Any], frequency: str, calendar: Any = None
    ) -> pd.Timestamp:
        """Return the time in UTC from which bars may be requested again; see :meth:`is_fresh`."""
        return _timestamp(self._next_ms(_facts(self, bundle_metadata, frequency, calendar)))

    @abstractmethod
    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        """Return whether the bars are fresh."""

    @abstractmethod
    def _next_ms(self, facts: _FreshnessFacts) -> int:
        """Return the time at which the decision may change, in UTC milliseconds."""


class MarketCloseFreshnessPolicy(_Rule):
    """A policy by which bars are fresh until the market closes again; meant for daily bars.

    Without a calendar, they are fresh for an hour. Early closes on half days are taken into
    account.

    Args:
        calendar: See :class:`CacheFreshnessPolicy`.

    Raises:
        ConfigError: The calendar does not exist.
        QueryError: The calendar has no name.
    """

    def __init__(self, calendar: Any = None) -> None:
        _market(calendar)
        self.calendar = calendar

    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        if facts.calendar is None:
            return facts.is_younger(_HOUR_S)
        closes = (session.close_ms for session in facts.sessions(facts.calendar))
        return facts.fetched_ms >= max(close for close in closes if close <= facts.now_ms)

    def _next_ms(self, facts: _FreshnessFacts) -> int:
        if facts.calendar is None:
            return facts.fetched_ms + _HOUR_S * 1000
        closes = (session.close_ms for session in facts.sessions(facts.calendar))
        return min(close for close in closes if close > facts.now_ms)


class TTLFreshnessPolicy(_Rule):
    """A policy by which bars are fresh for a fixed time; meant for markets that never close.

    Args:
        ttl_seconds: Time to live in seconds; None means a day for ``1d``, an hour for ``1h``, five
            minutes for ``5m`` and ``1m``, and an hour for other timeframes.

    Raises:
        QueryError: ``ttl_seconds`` is not a number of at least 0.
    """

    def __init__(self, ttl_seconds: float | None = None) -> None:
        self.ttl_seconds = None if ttl_seconds is None else _seconds(ttl_seconds)

    def _ttl_s(self, frequency: str) -> float:
        return _default_ttl_s(frequency) if self.ttl_seconds is None else self.ttl_seconds

    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        return facts.is_younger(self._ttl_s(facts.frequency))

    def _next_ms(self, facts: _FreshnessFacts) -> int:
        return facts.fetched_ms + int(self._ttl_s(facts.frequency) * 1000)


class HybridFreshnessPolicy(_Rule):
    """A policy by which bars are fresh for a fixed time and while the market is closed; for intraday bars.

    Args:
        ttl_seconds: Time to live in seconds while the market is open or, without a calendar, at all
            times.
        calendar: See :class:`CacheFreshnessPolicy`.

    Raises:
        QueryError: ``ttl_seconds`` is not a number of at least 0.
        ConfigError: The calendar does not exist.
    """

    def __init__(self, ttl_seconds: float = _HOUR_S, calendar: Any = None) -> None:
        _market(calendar)
        self.calendar, self.ttl_seconds = calendar, _seconds(ttl_seconds)

    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        return facts.now_ms < self._next_ms(facts)

    def _next_ms(self, facts: _FreshnessFacts) -> int:
        due = facts.fetched_ms + int(self.ttl_seconds * 1000)
        if facts.calendar is None:
            return due
        # No bars arrive while the market is closed, so bars that are due meanwhile become due at
        # the open.
        at = max(due, facts.now_ms)
        around = _FreshnessFacts(due, at, facts.frequency, None).sessions(facts.calendar)
        session = next(session for session in around if session.close_ms > at)
        pause = next((pause for pause in session.breaks if at in pause), None)
        opens = session.open_ms if pause is None else pause.end
        return max(opens, due)


class NeverStaleFreshnessPolicy(_Rule):
    """A policy by which bars are always fresh; meant for files."""

    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        return True

    def _next_ms(self, facts: _FreshnessFacts) -> int:
        return _NEVER_MS


class AlwaysStaleFreshnessPolicy(_Rule):
    """A policy by which bars may be requested again at any time."""

    def _is_fresh(self, facts: _FreshnessFacts) -> bool:
        return False

    def _next_ms(self, facts: _FreshnessFacts) -> int:
        return facts.now_ms


def is_fresh_by(
    policy: Any, bundle_metadata: Mapping[str, Any], frequency: str, calendar: Any
) -> bool:
    """Return whether a policy considers the bars fresh.

    Custom policies whose ``is_fresh`` takes two timestamps are also supported.

    Args:
        policy: Policy with ``is_fresh``.
        bundle_metadata: Mapping with ``fetch_timestamp`` and ``current_timestamp``, UTC seconds.
        frequency: Timeframe of the bars.
        calendar: Calendar of the symbol, if known; the policy's own calendar takes precedence.
    """
    if _takes_times(type(policy).is_fresh):
        fetched, now = (_timestamp(int(bundle_metadata[name] * 1000)) for name in (FETCHED, NOW))
        return bool(policy.is_fresh(fetched, now))
    given = getattr(policy, "calendar", None)
    return bool(policy.is_fresh(bundle_metadata, frequency, calendar if given is None else given))


@lru_cache(64)
def _takes_times(is_fresh: Any) -> bool:
    """Return whether a method takes two timestamps rather than metadata and a frequency."""
    names = list(inspect.signature(is_fresh).parameters)[1:]
    return len(names) == 2 and names[1] != "frequency"


# --- the factory ----------------------------------------------------------------------------------

# Sources for stocks, by their documented names, and their default calendar.
_OF_SHARES = frozenset(map(canonical_vendor, ("yfinance", "polygon", "alpaca", "alphavantage")))
_USUAL_CALENDAR = "XNYS"
_FIXED: Mapping[str, type[CacheFreshnessPolicy]] = {
    "never_stale": NeverStaleFreshnessPolicy,
    "always_stale": AlwaysStaleFreshnessPolicy,
}


class FreshnessPolicyFactory:
    """Chooses a freshness policy by source and timeframe, unless the configuration names one.

    Bars from files never become stale. Daily stock bars are fresh until the market closes. Shorter
    stock bars are fresh for their time to live and while the market is closed. All other bars are
    fresh for their time to live. Whether a source also streams makes no difference.
    """

    @classmethod
    def create(
        cls, adapter: Any, frequency: str, config: Mapping[str, Any] | None = None
    ) -> CacheFreshnessPolicy:
        """Return the freshness policy for a source and timeframe.

        Args:
            adapter: Source, or its name.
            frequency: Timeframe of the bars.
            config: Settings: ``<source>.daily`` (``market_close``, ``ttl``, ``hybrid``,
                ``never_stale``, ``always_stale``), ``<source>.daily_ttl``, ``.hourly_ttl``,
                ``.minute_ttl``, or for one timeframe, such as ``<source>.15m_ttl`` (each in
                seconds); ``<source>.calendar``. None means the settings in
                ``./config/cache_freshness.yaml``.

        Raises:
            ConfigError: A key or value is invalid, or the calendar does not exist.
            BadTimeframeError: The frequency is not a timeframe.
        """
        return cls._choose_policy(adapter, frequency, config, None)

    @classmethod
    def create_policy(
        cls, data_source: Any, frequency: str, calendar: Any = None
    ) -> CacheFreshnessPolicy:
        """Return the freshness policy for a source from the configuration file, with a given calendar.

        Args:
            data_source: Source, or its name.
            frequency: Timeframe of the bars.
            calendar: See :class:`CacheFreshnessPolicy`; None means the calendar in the file, or
                else ``XNYS`` for stocks.

        Raises:
            ConfigError, BadTimeframeError: See :meth:`create`.
        """
        return cls._choose_policy(data_source, frequency, None, calendar)

    @staticmethod
    def load_config(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Return the settings in a file: the keys of :meth:`create`, and ``cache.max_size_bytes``.

        Args:
            path: File; None means ``./config/cache_freshness.yaml``, or no settings if it does not
                exist.

        Raises:
            ConfigError: The file was named and does not exist; a :class:`RulesError` lists every
                error in the file with its line.
        """
        return freshness_settings(path)

    @classmethod
    def _choose_policy(
        cls, source: Any, frequency: str, config: Mapping[str, Any] | None, calendar: Any
    ) -> CacheFreshnessPolicy:
        settings = freshness_settings() if config is None else checked_settings(config)
        timeframe, name = Timeframe.parse(frequency), source_name(source)
        family = name.partition(":")[0]

        def setting(*keys: str) -> Any:
            """Return the first of several settings that is present, or None."""
            full = (f"{prefix}.{key}" for key in keys for prefix in (name, family))
            return next((settings[key] for key in full if key in settings), None)

        is_of_shares = canonical_vendor(family) in _OF_SHARES
        market = setting("calendar") if calendar is None else calendar
        market = _USUAL_CALENDAR if market is None and is_of_shares else market
        if timeframe.is_intraday:
            unit, rule = "hourly" if timeframe.unit == "h" else "minute", None
        else:
            unit, rule = "daily", setting("daily")
        ttl_s = setting(f"{timeframe.label}_ttl", f"{unit}_ttl")
        if rule is None:
            rule = _usual_rule(family, timeframe)
            if ttl_s is not None and rule in ("market_close", "never_stale"):
                rule = "ttl"
        if rule in _FIXED:
            return _FIXED[rule]()
        if rule == "market_close":
            return MarketCloseFreshnessPolicy(market)
        if ttl_s is None:
            is_usual = is_of_shares or family == "ccxt"
            ttl_s = _default_ttl_s(timeframe.label) if is_usual else _HOUR_S
        return (
            HybridFreshnessPolicy(ttl_s, market) if rule == "hybrid" else TTLFreshnessPolicy(ttl_s)
        )


def _usual_rule(family: str, timeframe: Timeframe) -> str:
    """Return the name of the policy for a source that the configuration does not mention."""
    if family == "csv" or is_of_files(family):
        return "never_stale"
    if canonical_vendor(family) in _OF_SHARES:
        return "hybrid" if timeframe.is_intraday else "market_close"
    return "ttl"


def source_name(source: Any) -> str:
    """Return a source's own name, or the name of its class if the source does not have one."""
    if isinstance(source, str):
        return source
    if isinstance(source, VendorDataSource):
        return source.name
    metadata = source.get_metadata() if callable(getattr(source, "get_metadata", None)) else None
    return str(getattr(metadata, "source_type", None) or type(source).__name__)


# --- arguments ------------------------------------------------------------------------------------


def _facts(
    policy: CacheFreshnessPolicy, metadata: Any, frequency: Any, calendar: Any
) -> _FreshnessFacts:
    """Return the facts that a policy's decision is based on.

    Raises:
        QueryError: A time is invalid.
    """
    fetched, now = metadata.get(FETCHED), metadata.get(NOW)
    market = _market(policy.calendar if calendar is None else calendar)
    now_ms = SystemClock().now_ms() if now is None else _ms(now)
    return _FreshnessFacts(0 if fetched is None else _ms(fetched), now_ms, str(frequency), market)


def _ms(value: Any) -> int:
    """Return a time in UTC milliseconds, given seconds or a datetime.

    Raises:
        QueryError: The value is not a time.
    """
    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            return int(float(value) * 1000)
        if isinstance(value, datetime) and value == value:  # NaT is not a time
            return to_ms(value)
    except (ValueError, OverflowError):
        pass
    raise QueryError(
        f"invalid time {value!r:.80}", hint="use UTC seconds, a datetime or a pandas Timestamp"
    )


def _seconds(value: Any) -> float:
    """Return a time to live in seconds.

    Raises:
        QueryError: The value is not a number of seconds.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < float("inf"):
        raise QueryError(
            f"invalid ttl_seconds {value!r:.80}", hint="use a number of seconds such as 3600"
        )
    return float(value)


def _default_ttl_s(frequency: str) -> float:
    return _TTLS_S.get(frequency, _HOUR_S)


def _market(calendar: Any) -> MarketCalendar | None:
    return _find_calendar(calendar) if isinstance(calendar, str) else named_calendar(calendar)


@lru_cache(64)
def _find_calendar(calendar: str) -> MarketCalendar | None:
    return named_calendar(calendar)


def _timestamp(ms: int) -> pd.Timestamp:
    import pandas as pd

    return pd.Timestamp(from_ms(ms), tz="UTC")
