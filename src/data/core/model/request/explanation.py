"""Explanation of a series: the vendors in order, the excluded vendors and why, and the stored bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..display.texts import (
    InLines,
    Line,
    by_reason,
    counted,
    duration,
    listed,
    stamp,
)
from ..identity.instrument import Instrument
from ..stored.coverage import VendorDay
from ..stored.incident import incidents_of
from ..stored.lifetime import Lifetime
from ..time.instant import DAY_MS, iso
from ..time.span import Span
from ..time.timeframe import Timeframe
from .health import Health


@dataclass(frozen=True)
class VendorOption:
    """A vendor that can be queried for the bars of a series.

    Attributes:
        vendor: Name of the vendor, as spelled in the rules.
        health: Whether the vendor can currently be queried for these bars.
        spelling: The vendor's spelling of the symbol.
        adjustment: Adjustment of the vendor's prices.
        depth_days: How many days back the vendor's history goes; None if it goes back to the
            listing.
        substitute: Reason why the vendor's bars cannot be combined with other vendors' bars; empty
            if they can. Such a vendor is only queried for the whole range, and only if each vendor
            before it has no bars, or cannot be reached and the store is incomplete.
    """

    vendor: str
    health: Health
    spelling: str = ""
    adjustment: str = "unknown"
    depth_days: int | None = None
    substitute: str = ""

    @property
    def serves(self) -> str:
        """A description of the vendor's prices and depth of history."""
        depth = (
            "its whole history"
            if self.depth_days is None
            else f"{counted(self.depth_days, 'day')} back"
        )
        return f"{self.adjustment} prices, {depth}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return {
            "vendor": self.vendor,
            "spelling": self.spelling,
            "adjustment": self.adjustment,
            "depth_days": self.depth_days,
            "substitute": self.substitute or None,
            "health": self.health.to_json(),
        }


@dataclass(frozen=True)
class StoredSeries:
    """The stored bars of a series in one lane.

    Attributes:
        lane: Folder of the lane, such as ``1d`` or ``1d@yahoo``.
        rows, first, last: Number of bars, and the open times of the first and last bar.
        states: Maps each state, such as ``final``, to the number of spans in that state.
        vendors: Vendors that supplied the bars.
        generation: Number of the latest commit to the lane.
        next_due: Time (UTC milliseconds) from which a request could return more bars. If None, the
            time is unknown, and a request beyond the stored bars always queries the vendor.
        lifetime: Earliest and latest time at which bars can exist, if known.
    """

    lane: str
    rows: int
    first: int | None
    last: int | None
    states: Mapping[str, int]
    vendors: tuple[str, ...]
    generation: int
    next_due: int | None
    lifetime: Lifetime = Lifetime()

    def text(self, timeframe: Timeframe, now_ms: int) -> str:
        """Describe the stored bars."""
        if self.first is None or self.last is None:
            bars = "no bars"
        else:
            ends = f"{stamp(self.first, timeframe)} .. {stamp(self.last, timeframe)}"
            bars = f"{counted(self.rows, 'bar')}, {ends}, from {listed(self.vendors)}"
        states = ", ".join(f"{count} {state}" for state, count in self.states.items())
        ends = "".join(f"{bound}; " for bound in self.lifetime.ends(timeframe))
        return f"{self.lane}: {bars}; {ends}spans: {states}; {self._due_text(now_ms)}"

    def _due_text(self, now_ms: int) -> str:
        if self.next_due is None:
            return "does not reach now"
        if self.next_due <= now_ms:
            return "a new request may return more"
        wait = duration((self.next_due - now_ms) / 1000)
        return f"nothing newer before {stamp(self.next_due)} (in {wait})"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return {
            "lane": self.lane,
            "rows": self.rows,
            "first": _iso(self.first),
            "last": _iso(self.last),
            "states": dict(self.states),
            "vendors": list(self.vendors),
            "generation": self.generation,
            "next_due": _iso(self.next_due),
            **self.lifetime.dates(),
        }


@dataclass(frozen=True, repr=False)
class Explanation(InLines):
    """An explanation of where the bars for a series come from: vendors and stored bars.

    Attributes:
        instrument: Instrument that the symbol stands for.
        timeframe: Timeframe of the series.
        now_ms: Time of the explanation, UTC milliseconds.
        rule: Name of the rule that applies, or an empty string.
        rule_from: File that contains this rule.
        named: Vendors that the rule names.
        ways: Vendors that are queried, in order.
        unasked: Maps each vendor that is not queried to the reason.
        stored: Stored bars, one entry per lane.
        source: Timeframe of the shorter bars from which the bars are or would be built; may be
            empty.
        why_not: Reason why no vendor can be queried; empty if one can.
        lacking: Sessions in which one of the vendors lacks bars for most of its symbols.
        span: Half-open span that the explanation is about; None for the series as a whole.
    """

    instrument: Instrument
    timeframe: Timeframe
    now_ms: int
    rule: str = ""
    rule_from: str = ""
    named: tuple[str, ...] = ()
    ways: tuple[VendorOption, ...] = ()
    unasked: Mapping[str, str] = field(default_factory=dict)
    stored: tuple[StoredSeries, ...] = ()
    source: str = ""
    why_not: str = ""
    lacking: tuple[VendorDay, ...] = ()
    span: Span | None = None

    def with_days(self, days: Iterable[VendorDay]) -> Explanation:
        """Return a copy with ``lacking`` set to those ``days`` that concern the same market and vendors."""
        market = self.instrument.calendar, self.timeframe.label
        vendors = {way.vendor for way in self.ways}
        days_of_market = [day for day in days if (day.calendar, day.timeframe) == market]
        return replace(self, lacking=tuple(day for day in days_of_market if day.vendor in vendors))

    @property
    def is_served(self) -> bool:
        """Whether a vendor can be queried for these bars, or for shorter bars to build them from."""
        return bool(self.ways or self.source)

    @property
    def title(self) -> str:
        """A line that names the series and the vendor that is queried first."""
        first = f"{self.ways[0].vendor} first" if self.ways else "no usable vendor"
        origin = f"built from {self.source} bars" if self.source else first
        return f"{self.instrument.symbol} {self.timeframe}: {origin}"

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the explanation, each as a label and a text."""
        yield "instrument", self._instrument()
        if self.rule and self.named:
            order = ", then ".join(self.named)
            yield "rule", f"{self.rule} of {self.rule_from}: {order}"
        for number, way in enumerate(self.ways, start=1):
            alias = f", as {way.spelling}" if way.spelling != self.instrument.symbol else ""
            yield f"{number}. {way.vendor}", f"{way.serves}{alias}; {way.health}{self._reach(way)}"
            if way.substitute:
                yield "", f"only in whole, as a substitute: {way.substitute}"
        if self.source:
            series = f"{self.instrument.symbol} {self.source}"
            yield "made of", f"{self.source} bars: `onetape plan {series}` shows its vendors"
        for reason in by_reason(self.unasked):
            yield "not asked", reason
        if self.why_not and not self.is_served:
            yield "why", self.why_not
        for incident in incidents_of(self.lacking):
            yield "incident", incident.text
        for stored in self.stored:
            yield "cached", stored.text(self.timeframe, self.now_ms)
        if not self.stored:
            yield "cached", "nothing yet"

    def _reach(self, way: VendorOption) -> str:
        """Return a note if a vendor's history begins only after the start of the span, else ""."""
        if self.span is None or way.depth_days is None:
            return ""
        since = self.now_ms - way.depth_days * DAY_MS
        if since <= self.span.start:
            return ""
        if since >= self.span.end:
            return "; this range is too old for it"
        return f"; nothing before {stamp(since, self.timeframe)}"

    def _instrument(self) -> str:
        what = self.instrument
        where = f" on {what.exchange}" if what.exchange else ""
        unit = f", prices in {what.quote}" if what.quote else ""
        return f"{what.asset_class}{where}, calendar {what.calendar} ({what.timezone}){unit}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; times are ISO 8601 in UTC."""
        what, span = self.instrument, self.span
        requested = {"start": iso(span.start), "end": iso(span.end)} if span else {}
        return requested | {
            "symbol": what.symbol,
            "timeframe": self.timeframe.label,
            "now": iso(self.now_ms),
            "is_served": self.is_served,
            "instrument": {
                "asset_class": what.asset_class,
                "exchange": what.exchange,
                "quote": what.quote,
                "base": what.base,
                "calendar": what.calendar,
                "timezone": what.timezone,
                "spellings": dict(what.spellings),
            },
            "rule": {"name": self.rule, "from": self.rule_from, "vendors": list(self.named)}
            if self.rule
            else None,
            "route": [way.to_json() for way in self.ways],
            "unasked": dict(self.unasked),
            "stored": [series.to_json() for series in self.stored],
            "out_of": self.source or None,
            "why_not": self.why_not or None,
            "incidents": [day.to_json() for day in self.lacking],
        }


def _iso(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
