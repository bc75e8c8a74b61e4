"""Gathers the known facts about a symbol through the facade, before anything is written.

Volume, turnover and volatility are computed from the last 30 stored daily bars, split-adjusted.
Volatility is the sample standard deviation of the last 30 daily log returns times the square root
of the sessions in a year (252; 365 for a market that never closes): J. C. Hull, *Options, Futures,
and Other Derivatives*, "Estimating volatility from historical data". Dividends are not added back.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ...core.bars.client import BarsClient
from ...core.model.identity.series import SeriesKey
from ...core.model.identity.symbol_changes import SymbolChange
from ...core.model.market.actions import Action, amount_on
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.stored.stored import CoverageSpan, KnownAction
from ...core.model.time.instant import from_ms, iso
from ...core.model.time.timeframe import Timeframe
from ...errors import CacheError, DataError

if TYPE_CHECKING:
    from ...data_manager import DataManager

BARS = 30
_DAY = Timeframe.parse("1d")
_SESSIONS, _ALWAYS_OPEN = 252, 365
_FORMULA = "sample deviation of {n} daily log returns, times the root of {year} (Hull)"
# Number of digits of fractions without a finite decimal form, such as 1/15.
_CONTEXT = Context(prec=50)
_TEXTS = ("company_name", "sector", "industry", "exchange", "currency")
_OF_BARS = (
    "first_price_date",
    "last_price_date",
    "available_timeframes",
    "data_quality_score",
    "avg_daily_volume",
    "avg_daily_dollar_volume",
    "volatility_30d",
    "ipo_date",
    "delisting_date",
    "is_active",
)


@dataclass(frozen=True)
class ActionFacts:
    """A split or dividend as stored in the table: exact, and one row for each ex-date and type."""

    ex_date: date
    action_type: str
    ratio: Decimal | None
    numerator: Decimal | None
    denominator: Decimal | None
    amount: Decimal | None
    currency: str
    description: str
    source: str
    source_at: datetime


@dataclass
class SymbolFacts:
    """The facts gathered about a symbol.

    Attributes:
        symbol: Canonical symbol.
        values: Maps each column to its value, or to None if the symbol has no such value. A column
            that could not be determined is missing; its stored value is kept.
        sources: Maps each column to ``source`` and ``at`` (ISO 8601, UTC), and further details that
            explain the value.
        actions: Splits and dividends; None if they could not be read.
        problems: Reasons why facts are missing.
    """

    symbol: str
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    actions: tuple[ActionFacts, ...] | None = None
    problems: list[str] = field(default_factory=list)

    def note(self, column: str, value: Any, source: str, at: str, **more: Any) -> None:
        """Record a value with its source and time; if the value is None, no source is recorded."""
        self.values[column] = value
        if value is not None:
            self.sources[column] = {"source": source, "at": at, **more}


def gather(
    manager: DataManager, symbol: str, keys: Sequence[SeriesKey], *, ask: bool
) -> SymbolFacts:
    """Return the known facts about a symbol; vendors are queried only for due fundamentals.

    Args:
        manager: Data manager with the cache and the vendors.
        symbol: Canonical symbol.
        keys: Stored series of the symbol.
        ask: Whether to query vendors; False for a former name, which vendors no longer know.
    """
    facts = SymbolFacts(symbol)
    instrument = manager.client.query(symbol, _DAY).instrument
    for column, value in (("exchange", instrument.exchange), ("currency", instrument.quote)):
        if value is not None:
            facts.note(column, value, "rules", "")
    if ask:
        _fundamentals(manager, facts)
    try:
        _add_bar_facts(manager, facts, keys)
    except DataError as error:
        facts.problems.append(f"bars: {error.args[0]}")
    try:
        facts.actions = action_facts(manager.client.actions(symbol))
    except CacheError as error:
        facts.problems.append(f"splits and dividends: {error.args[0]}")
    return facts


def _fundamentals(manager: DataManager, facts: SymbolFacts) -> None:
    with warnings.catch_warnings():  # `problems` reports what is missing
        warnings.simplefilter("ignore")
        record = manager.get_fundamentals(facts.symbol)
    if not record:
        facts.problems.append("no vendor has fundamentals")
        return
    fields: Mapping[str, Mapping[str, Any]] = record["_metadata"]["fields"]
    for column in (*_TEXTS, "market_cap"):
        value, source = record.get(column), fields.get(column, {})
        if value is None:
            continue
        more = {"currency": source["currency"]} if source.get("currency") else {}
        exact = round(value) if column == "market_cap" else value
        facts.note(column, exact, source.get("source", ""), source.get("fetched_at", ""), **more)


def _add_bar_facts(manager: DataManager, facts: SymbolFacts, keys: Sequence[SeriesKey]) -> None:
    """Add to ``facts`` the values from the stored series, or None if nothing is stored."""
    client = manager.client
    facts.values |= dict.fromkeys(_OF_BARS)
    coverage = {
        key: [entry for entry in client.coverage(key) if entry.state in WITH_BARS] for key in keys
    }
    with_parts = {key: entries for key, entries in coverage.items() if entries}
    if not with_parts:
        return
    timeframes = sorted(
        {key.timeframe for key in with_parts}, key=lambda timeframe: timeframe.longest_ms
    )
    newest = max(entry.fetched_at for entries in with_parts.values() for entry in entries)
    labels = [timeframe.label for timeframe in timeframes]
    facts.note("available_timeframes", labels, "coverage", _time_text(newest))
    answering = [key for key in client.answering(with_parts) if key in with_parts]
    days = next((key for key in answering if key.timeframe == _DAY), None)
    key = days or max(answering or with_parts, key=lambda series: series.timeframe.longest_ms)
    entries = with_parts[key]
    source, at = _vendors(entries), _time_text(max(entry.fetched_at for entry in entries))
    ends = [client.columns(key, entries[index].span).table.stamps for index in (0, -1)]
    for column, stamps, index in zip(_OF_BARS[:2], ends, (0, -1), strict=True):
        if len(stamps):
            day = _day(int(stamps[index]), client, key)
            facts.note(column, day, source, at, timeframe=key.timeframe.label)
    score = manager.validate(facts.symbol, key.timeframe.label, lane=key.lane_label or None).score
    if score is not None:
        exact = Decimal(repr(round(score, 4)))
        facts.note("data_quality_score", exact, "validation", at, timeframe=key.timeframe.label)
    life = client.outline(key).lifetime
    for column, bound in (("ipo_date", life.listed), ("delisting_date", life.ended)):
        if bound is not None:
            day = _day(bound.at, client, key)
            facts.note(column, day, bound.source, _time_text(bound.learned_at))
            if column == "delisting_date":
                facts.note("is_active", False, bound.source, _time_text(bound.learned_at))
    if days is not None:
        _add_day_facts(manager, facts, days, entries)


def _add_day_facts(
    manager: DataManager, facts: SymbolFacts, key: SeriesKey, entries: Sequence[CoverageSpan]
) -> None:
    """Add to ``facts`` the volume, turnover and volatility of the last daily bars."""
    # Twice as many days as sessions, plus the longest pause of a market.
    last = from_ms(entries[-1].span.end).date()
    days = (last - timedelta(days=2 * BARS + 30), last)
    with warnings.catch_warnings():  # gaps do not count
        warnings.simplefilter("ignore")
        frame = manager.get_ohlcv(facts.symbol, "1d", *days, offline=True).tail(BARS + 1)
    window, instrument = frame.tail(BARS), manager.client.instrument(key)
    source, at = _vendors(entries), _time_text(max(entry.fetched_at for entry in entries))
    pairs = window[["close", "volume"]].dropna()
    if len(pairs):
        text = (
            f"{len(window)} daily bars, {window.index[0]:%Y-%m-%d} to {window.index[-1]:%Y-%m-%d}"
        )
        facts.note("avg_daily_volume", round(pairs["volume"].mean()), source, at, window=text)
        turnover = Decimal(repr(round(float((pairs["close"] * pairs["volume"]).mean()), 2)))
        more = {"currency": instrument.quote, "window": text}
        facts.note("avg_daily_dollar_volume", turnover, source, at, **more)
    year = _ALWAYS_OPEN if instrument.calendar == "24/7" else _SESSIONS
    deviation = volatility(frame["close"].tolist(), year)
    if deviation is not None:
        formula, exact = _FORMULA.format(n=BARS, year=year), Decimal(repr(round(deviation, 6)))
        facts.note("volatility_30d", exact, source, at, formula=formula, window=text)


def volatility(closes: Sequence[float], sessions_a_year: int) -> float | None:
    """Return the annualized volatility of the last 30 daily log returns; None if fewer exist.

    Args:
        closes: Closes of daily bars, ascending, adjusted for splits.
        sessions_a_year: Number of sessions per year, used to scale the daily deviation to a year.
    """
    last = closes[-BARS - 1 :]
    if len(last) <= BARS or not all(math.isfinite(close) and close > 0 for close in last):
        return None
    returns = [math.log(b / a) for a, b in pairwise(last)]
    return statistics.stdev(returns) * math.sqrt(sessions_a_year)


def _vendors(entries: Iterable[CoverageSpan]) -> str:
    return ",".join(
        dict.fromkeys(name for entry in entries for name in entry.vendor.split(",") if name)
    )


def _time_text(ms: int) -> str:
    return iso(ms) if ms else ""


def _day(stamp_ms: int, client: BarsClient, key: SeriesKey) -> date:
    """Return the session date of a bar."""
    if not key.timeframe.is_intraday:
        return from_ms(stamp_ms).date()
    zone = ZoneInfo(client.instrument(key).timezone)
    return (
        (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=stamp_ms)).astimezone(zone).date()
    )


# --- splits and dividends ------------------------------------------------------------------------


def action_facts(actions: Sequence[KnownAction]) -> tuple[ActionFacts, ...]:
    """Convert the accepted splits and dividends to rows, one for each ex-date and type.

    The amount is per share, in terms of the shares on the ex-date. Several dividends on one day
    become one row with their sum; the description names each of them.
    """
    counted = [known for known in actions if known.counts and known.action.is_sound]
    splits = [known.action for known in counted if known.action.type == "split"]
    return tuple(_facts_of(known, splits) for known in counted)


def _facts_of(reported: KnownAction, splits: Sequence[Action]) -> ActionFacts:
    action = reported.action
    ratio = numerator = denominator = amount = None
    if action.type == "split":
        numerator, denominator = Decimal(str(action.numerator)), Decimal(str(action.denominator))
        ratio = exact(action.ratio)
        text = f"{action.numerator:g}:{action.denominator:g}"
    else:
        parts = action.parts or (action.amount,)
        unit = Action(
            action.ex_date,
            "dividend",
            action.ex_at,
            amount=1.0,
            fetched_at=action.fetched_at,
            as_paid=action.as_paid,
        )
        share = amount_on(unit, splits, None)
        paid = [Fraction(str(part)) * share for part in parts]
        amount = exact(sum(paid, Fraction(0)))
        text = " + ".join(f"{exact(part)}" for part in paid)
    dispute = f"; {reported.dispute}" if reported.dispute else ""
    return ActionFacts(
        action.ex_date,
        action.type,
        ratio,
        numerator,
        denominator,
        amount,
        reported.currency,
        f"{action.type} of {text} ({action.source}){dispute}",
        action.source,
        from_ms(action.fetched_at).replace(tzinfo=UTC),
    )


def exact(number: Fraction) -> Decimal:
    """Convert a fraction to a decimal, rounded to 50 digits if it has no finite decimal form."""
    return _CONTEXT.divide(Decimal(number.numerator), Decimal(number.denominator)).normalize(
        _CONTEXT
    )


def ended(changes: Iterable[SymbolChange], symbol: str, today: date) -> SymbolChange | None:
    """Return the change that ended a symbol's use, or None if the symbol is still in use."""
    past = [change for change in changes if change.concerns(symbol) and change.ex_date <= today]
    # A symbol that ends and begins on one day is in use.
    last = max(past, key=lambda change: (change.ex_date, change.begins(symbol)), default=None)
    return last if last is not None and last.ends(symbol) else None
