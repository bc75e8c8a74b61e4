"""Policies that decide when the latest bars may be requested again: by market close, age or both.

For bars in the store, a policy decides only about those that are not final: it cannot make bars
final, ignore gaps or cause final history to be fetched again. For a custom source's frames, it
decides about the whole frame; see :class:`.CachedDataSource`. The age of a series in market time
is in ``core/bars/freshness.py``, the lifetime of stored data in ``core/bars/validity.py``.

Each policy is a class with one rule: the time from which bars may be requested again. To add one,
write its class and add its name to the table ``_POLICIES``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from numbers import Real
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.calendars.calendar import named_calendar
from ...core.clock import SystemClock
from ...core.config.schema import Form, Path, Problem, number, record, table, text, whole
from ...core.config.settings import named_path, path_check, working_dir
from ...core.model.time.instant import date_of, from_ms, parse_iso, to_ms
from ...core.model.time.timeframe import Timeframe
from ...core.registry import canonical_vendor, is_of_files
from ...errors import BadTimeframeError, ConfigError, QueryError
from ..settings.settings_file import read_settings
from .vendor_sources import source_name

if TYPE_CHECKING:
    import pandas as pd

    from ...core.calendars.calendar import MarketCalendar, Session


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

    def age_limit(self, seconds: float) -> int:
        """Return the time at which the bars reach this age."""
        return self.fetched_ms + int(seconds * 1000)


class CacheFreshnessPolicy:
    """Base class of policies that decide whether the latest cached bars may be requested again.

    A custom policy overrides one method, ``is_fresh``, with either of the argument lists described
    there. By this class itself, bars are never fresh.

    Attributes:
        calendar: Calendar of the market: a name such as ``NYSE`` or ``24/7``, or an object with
            ``name``, such as one from exchange_calendars. None means the calendar passed to the
            method or, without one, the calendar of the symbol if known.
    """

    calendar: Any = None

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
        if not isinstance(bundle_metadata, Mapping):
            fetched = bundle_metadata if cache_time is None else cache_time
            now = frequency if current_time is None else current_time
            bundle_metadata, frequency = {FETCHED: fetched, NOW: now}, ""
        facts = _facts(self, bundle_metadata, frequency, calendar)
        return facts.now_ms < self._due_ms(facts)

    def get_next_refresh_time(
        self, bundle_metadata: Mapping[str, Any], frequency: str, calendar: Any = None
    ) -> pd.Timestamp:
        """Return the time in UTC from which bars may be requested again.

        For a custom policy, this is the current time. For arguments and errors, see
        :meth:`is_fresh`.
        """
        return _timestamp(self._due_ms(_facts(self, bundle_metadata, frequency, calendar)))

    def _due_ms(self, facts: _FreshnessFacts) -> int:
        """Return the time from which bars may be requested again, in UTC milliseconds; here, now."""
        return facts.now_ms


class MarketCloseFreshnessPolicy(CacheFreshnessPolicy):
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
        named_calendar(calendar)  # raises if there is none
        self.calendar = calendar

    def _due_ms(self, facts: _FreshnessFacts) -> int:
        if facts.calendar is None:
            return facts.age_limit(_HOUR_S)
        return _session_after(facts.calendar, facts.fetched_ms).close_ms


class TTLFreshnessPolicy(CacheFreshnessPolicy):
    """A policy by which bars are fresh for a fixed time; meant for markets that never close.

    Args:
        ttl_seconds: Time to live in seconds; None means a day for ``1d``, an hour for ``1h``, five
            minutes for ``5m`` and ``1m``, and an hour for other timeframes.

    Raises:
        QueryError: ``ttl_seconds`` is not a number of at least 0.
    """

    def __init__(self, ttl_seconds: float | None = None) -> None:
        self.ttl_seconds = None if ttl_seconds is None else _seconds(ttl_seconds)

    def _due_ms(self, facts: _FreshnessFacts) -> int:
        usual = _TTLS_S.get(facts.frequency, _HOUR_S)
        return facts.age_limit(usual if self.ttl_seconds is None else self.ttl_seconds)


class HybridFreshnessPolicy(CacheFreshnessPolicy):
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
        named_calendar(calendar)  # raises if there is none
        self.calendar, self.ttl_seconds = calendar, _seconds(ttl_seconds)

    def _due_ms(self, facts: _FreshnessFacts) -> int:
        due = facts.age_limit(self.ttl_seconds)
        if facts.calendar is None:
            return due
        # No bars arrive while the market is closed, so bars that are due meanwhile become due at
        # the open.
        at = max(due, facts.now_ms)
        session = _session_after(facts.calendar, at)
        pause = next((pause for pause in session.breaks if at in pause), None)
        return max(session.open_ms if pause is None else pause.end, due)


class NeverStaleFreshnessPolicy(CacheFreshnessPolicy):
    """A policy by which bars are always fresh; meant for files."""

    def _due_ms(self, facts: _FreshnessFacts) -> int:
        return _NEVER_MS


class AlwaysStaleFreshnessPolicy(CacheFreshnessPolicy):
    """A policy by which bars may be requested again at any time."""


# The names of the policies in settings, and how each policy is created for a time to live in
# seconds and a calendar.
_POLICIES: Mapping[str, Callable[[float, Any], CacheFreshnessPolicy]] = {
    "market_close": lambda ttl_s, calendar: MarketCloseFreshnessPolicy(calendar),
    "ttl": lambda ttl_s, calendar: TTLFreshnessPolicy(ttl_s),
    "hybrid": HybridFreshnessPolicy,
    "never_stale": lambda ttl_s, calendar: NeverStaleFreshnessPolicy(),
    "always_stale": lambda ttl_s, calendar: AlwaysStaleFreshnessPolicy(),
}


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


def _facts(
    policy: CacheFreshnessPolicy, metadata: Mapping[str, Any], frequency: Any, calendar: Any
) -> _FreshnessFacts:
    """Return the facts that a policy's decision is based on.

    Raises:
        QueryError: A time is invalid.
    """
    fetched, now = metadata.get(FETCHED), metadata.get(NOW)
    market = named_calendar(policy.calendar if calendar is None else calendar)
    now_ms = SystemClock().now_ms() if now is None else _ms(now)
    return _FreshnessFacts(0 if fetched is None else _ms(fetched), now_ms, str(frequency), market)


def _session_after(calendar: MarketCalendar, at_ms: int) -> Session:
    """Return the first session that closes after a time."""
    day = date_of(at_ms)
    around = calendar.sessions(day - _SESSION_WINDOW, day + _SESSION_WINDOW)
    return next(session for session in around if session.close_ms > at_ms)


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


def _timestamp(ms: int) -> pd.Timestamp:
    import pandas as pd

    return pd.Timestamp(from_ms(ms), tz="UTC")


# --- settings -------------------------------------------------------------------------------------

FRESHNESS_FILE = FilePath("config", "cache_freshness.yaml")
MAX_SIZE = "cache.max_size_bytes"
_TTL = "_ttl"
_KEYS = {"daily": text(*_POLICIES), "calendar": text()}
_KEYS |= {f"{name}{_TTL}": number(0) for name in ("daily", "hourly", "minute")}


def _is_of_a_timeframe(key: object) -> bool:
    """Return whether a key, such as ``15m_ttl``, applies to only one timeframe."""
    try:
        label = str(key).removesuffix(_TTL)
        return label != key and Timeframe.parse(label).label == label
    except BadTimeframeError:
        return False


def _check_source(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a mapping of settings for one source, including settings for individual timeframes."""
    names = value if isinstance(value, Mapping) else ()
    durations = {name: number(0) for name in names if _is_of_a_timeframe(name)}
    return record(_KEYS | durations).check(value, path)


_FORM = record(
    {
        "source_due": table(Form(_check_source), text()),
        "calendars": table(text(), text()),
        "cache": record({"max_size_bytes": whole(0)}),
    }
)


def freshness_settings(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the settings in a file: the keys of ``create``, and ``cache.max_size_bytes``.

    Args:
        path: File; None means ``./config/cache_freshness.yaml``, or no settings if it does not
            exist.

    Raises:
        ConfigError: The file was named and does not exist, or it cannot be read; a
            :class:`.RulesError` lists every error in the file with its line.
    """
    file_path = named_path(FRESHNESS_FILE if path is None else path, "the file", working_dir())
    if path is not None and not path_check(file_path.is_file, file_path):
        raise ConfigError(f"{file_path} does not exist", hint=f"name a file like {FRESHNESS_FILE}")
    document = read_settings(file_path, _FORM.check)
    settings = dict[str, Any]()
    for source, values in (document.get("source_due") or {}).items():
        settings |= {f"{source}.{key}": value for key, value in (values or {}).items()}
    for source, calendar in (document.get("calendars") or {}).items():
        settings.setdefault(f"{source}.calendar", calendar)
    cache = document.get("cache") or {}
    return settings | {f"cache.{key}": value for key, value in cache.items()}


def checked_settings(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings passed by user code after checking them; keys as in :func:`freshness_settings`.

    Raises:
        ConfigError: A key or value is invalid.
    """
    sources = dict[str, dict[str, Any]]()
    for name, value in (config or {}).items():
        source, _, key = str(name).rpartition(".")
        sources.setdefault(source, {})[key] = value
    sizes = sources.pop("cache", {})
    for problem in _FORM.check({"source_due": sources, "cache": sizes}, ()):
        raise ConfigError(
            f"config: {str(problem).removeprefix('source_due.')}",
            hint=f"valid keys are, for example, {MAX_SIZE}, yfinance.daily and yfinance.hourly_ttl",
        )
    return dict(config or {})


# --- the factory ----------------------------------------------------------------------------------

# Sources for stocks, by their documented names, and their default calendar.
_OF_SHARES = frozenset(map(canonical_vendor, ("yfinance", "polygon", "alpaca", "alphavantage")))
_USUAL_CALENDAR = "XNYS"


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
        return _choose_policy(adapter, frequency, config, None)

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
        return _choose_policy(data_source, frequency, None, calendar)

    load_config = staticmethod(freshness_settings)


def _choose_policy(
    source: Any, frequency: str, config: Mapping[str, Any] | None, calendar: Any
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
    unit = "hourly" if timeframe.unit == "h" else "minute" if timeframe.is_intraday else "daily"
    ttl_s = setting(f"{timeframe.label}{_TTL}", f"{unit}{_TTL}")
    rule = None if timeframe.is_intraday else setting("daily")
    if rule is None:
        rule = "ttl"
        if ttl_s is None and (family == "csv" or is_of_files(family)):
            rule = "never_stale"
        elif is_of_shares and (timeframe.is_intraday or ttl_s is None):
            rule = "hybrid" if timeframe.is_intraday else "market_close"
    if ttl_s is None:
        is_usual = is_of_shares or family == "ccxt"
        ttl_s = _TTLS_S.get(timeframe.label, _HOUR_S) if is_usual else _HOUR_S
    return _POLICIES[rule](ttl_s, market)
