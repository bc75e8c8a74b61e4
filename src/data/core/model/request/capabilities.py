"""Capabilities that a vendor declares, the queries sent to it, and its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from ..identity.instrument import AssetClass, Instrument
from ..identity.kind import Adjustment, Basis, Kind
from ..market.actions import Action
from ..market.bars import Bar, BarTable
from ..time.instant import DAY_MS, MINUTE_MS
from ..time.span import Span
from ..time.timeframe import Timeframe

_UNDECLARED = Kind()
# Bounds on a job's simultaneous calls to one vendor. There are at least two, so that a call that
# hangs does not hold up the others.
MOST_AT_ONCE = 10
_LEAST_AT_ONCE = 2
# Used for a vendor that declares no limit, which does not mean that it tolerates any number.
_UNDECLARED_AT_ONCE = 4
# Time that a slow answer takes. More calls than the limits allow in it would only wait.
_SLOW_ANSWER_S = 6.0


@dataclass(frozen=True)
class Limits:
    """Limits on how often a vendor may be queried; 0 means no limit.

    Attributes:
        per_minute, per_second, per_day, per_month: Units of cost allowed per period; a request
            costs one or more units.
        burst: Units that may be spent at once.
    """

    per_minute: int = 0
    per_second: float = 0.0
    per_day: int = 0
    burst: int = 5
    per_month: int = 0

    @property
    def at_once(self) -> int:
        """Number of simultaneous calls that a job makes: 2 to 10, depending on the limits."""
        if not self.per_second and not self.per_minute:
            return _UNDECLARED_AT_ONCE
        allowed: list[float] = [MOST_AT_ONCE]
        if self.per_second > 0:
            allowed += [self.burst, self.per_second * _SLOW_ANSWER_S]
        if self.per_minute > 0:
            allowed += [self.per_minute / 60 * _SLOW_ANSWER_S]
        return max(int(min(allowed)), _LEAST_AT_ONCE)


@dataclass(frozen=True)
class Capabilities:
    """The data that a vendor declares it can serve; it is never queried for anything else.

    Attributes:
        asset_classes: Asset classes that the vendor serves.
        timeframes: Maps each timeframe served, by this library's label, to the vendor's spelling.
        page_bars: Maximum number of bars in one answer; 0 if an answer can hold any number.
        page_days: Maximum number of calendar days in one answer, by timeframe; a timeframe that is
            absent has no such limit.
        depth_days: How many days back the history goes, by timeframe; for a timeframe that is
            absent, the history goes back to the listing.
        begins_ms: Time before which the vendor has no bars at all, UTC milliseconds; None if bars of
            any age may exist.
        kinds: Maps each asset class to the kind of its bars; an empty ``unit`` is taken from the
            answer or the instrument.
        intraday_kinds: Kinds of intraday bars, for the asset classes in which they differ from
            daily bars: for example, minute bars include extended hours and daily bars do not.
        adjustment: Adjustment of the prices: ``raw``, ``split``, ``all`` or ``unknown``.
        intraday_adjustment: Adjustment of intraday prices, if it differs.
        settle_ms: Milliseconds after an intraday bar closes during which it may still change.
        dense: Whether the vendor sends a bar even if there was no trade, so that a missing bar is a
            gap.
        actions: Whether bars come with the splits and dividends of their days.
        actions_only: Timeframes whose bars come with actions, if not all of them do.
        has_forming: Whether answers include the forming bar.
        actions_apart: Whether splits and dividends can be requested separately from bars.
        action_requests: Number of additional requests needed to fetch actions, if each answer is
            one page.
        actions_by_bar: Whether actions are attached to the bar of their ex-date, so that the
            actions of a session are unknown until its bar is published.
        archive_days: Days from the end of a month until its bars, all final, are available as a
            file in the vendor's archive; 0 means no archive.
        only: Maps each asset class for which only some of ``timeframes`` are served to those
            timeframes.
        made_up: Whether the bars are synthetic, and so are never combined with real ones.
        extended: Timeframes of the stock bars that are also served, on request, with pre-market and
            after-hours trading. Bars that ``intraday_kinds`` declares as extended-hours bars always
            include it.
    """

    asset_classes: frozenset[AssetClass]
    timeframes: Mapping[str, str]
    page_bars: int = 0
    page_days: Mapping[str, int] = field(default_factory=dict)
    depth_days: Mapping[str, int] = field(default_factory=dict)
    begins_ms: int | None = None
    kinds: Mapping[AssetClass, Kind] = field(default_factory=dict)
    intraday_kinds: Mapping[AssetClass, Kind] = field(default_factory=dict)
    adjustment: Adjustment = "raw"
    intraday_adjustment: Adjustment | None = None
    settle_ms: int = 2 * MINUTE_MS
    dense: bool = True
    actions: bool = False
    actions_only: frozenset[str] = frozenset()
    has_forming: bool = True
    actions_apart: bool = False
    action_requests: int = 1
    actions_by_bar: bool = False
    only: Mapping[AssetClass, frozenset[str]] = field(default_factory=dict)
    archive_days: int = 0
    made_up: bool = False
    extended: frozenset[str] = frozenset()

    @property
    def tells_actions(self) -> bool:
        """Whether the vendor supplies splits and dividends, either with its bars or separately."""
        return self.actions or self.actions_apart

    def at(self, timeframe: Timeframe) -> Capabilities:
        """Return the capabilities for bars of ``timeframe``.

        The price adjustment, and whether bars come with actions, can depend on the timeframe.
        """
        intraday = self.intraday_adjustment if timeframe.is_intraday else None
        sent = self.actions and (not self.actions_only or timeframe.label in self.actions_only)
        if sent == self.actions and intraday is None:
            return self
        return replace(self, adjustment=intraday or self.adjustment, actions=sent)

    def serving(self, instrument: Instrument) -> Capabilities:
        """Return the capabilities for bars of an instrument in its trading hours, regular or extended.

        For extended hours, only stocks are served, in the timeframes listed in ``extended``.
        """
        if not instrument.is_extended:
            return self
        kind = self.intraday_kinds.get("stock", _UNDECLARED)
        labels = frozenset(
            label
            for label in self.labels("stock")
            if label in self.extended
            or (kind.session == "extended" and Timeframe.parse(label).is_intraday)
        )
        classes: frozenset[AssetClass] = frozenset({"stock"} if labels else ())
        return replace(self, asset_classes=classes, only={"stock": labels})

    def labels(self, asset_class: AssetClass) -> list[str]:
        """Return this library's labels of the timeframes served for ``asset_class``."""
        if asset_class not in self.asset_classes:
            return []
        only = self.only.get(asset_class, self.timeframes)
        return [label for label in self.timeframes if label in only]

    def kind(self, instrument: Instrument, timeframe: Timeframe | None = None) -> Kind:
        """Return the kind (hours, anchor, venue, units) of the bars served for ``instrument``.

        Daily and longer bars are aligned to sessions, even if shorter bars are aligned to the
        clock.
        """
        declared = self.kinds.get(instrument.asset_class, _UNDECLARED)
        by_session = timeframe is not None and not timeframe.is_intraday
        if timeframe is not None and timeframe.is_intraday:
            declared = self.intraday_kinds.get(instrument.asset_class, declared)
            if instrument.is_extended:
                declared = replace(declared, session="extended", anchor="clock")
        return _kind_of(declared, instrument.quote or "", by_session)


@lru_cache(1024)
def _kind_of(declared: Kind, quote: str, by_session: bool) -> Kind:
    anchor = "session" if by_session and declared.anchor else declared.anchor
    return replace(declared, anchor=anchor, unit=declared.unit or quote)


class Supply(NamedTuple):
    """The vendors from which missing bars can be fetched.

    Attributes:
        vendor: Vendor that is queried first; empty if none is configured.
        depth_days: How many days back the available vendors' history goes; None if one of them has
            all of it.
    """

    vendor: str
    depth_days: int | None

    def lost_ms(self, missing_ms: int) -> float:
        """Return the time (UTC milliseconds) when the bar at ``missing_ms`` becomes unavailable.

        The result is infinite if a vendor keeps all of its history.
        """
        return math.inf if self.depth_days is None else missing_ms + self.depth_days * DAY_MS


@dataclass(frozen=True)
class FetchQuery:
    """A query to one vendor: bars ``[start, end)`` of one instrument.

    Attributes:
        instrument, timeframe: Bars to fetch.
        span: Half-open span, in UTC milliseconds.
        now_ms: Time of the request, UTC milliseconds, needed by vendors that take a range "up to
            now".
        insist: Whether to query the vendor even if it recently did not recognize the symbol.
        is_known: Whether the vendor has supplied bars of the instrument, so that no report that it does
            not recognize the symbol is remembered.
        adjustment: Price adjustment to request, set only by code that calls a vendor directly; None
            for the adjustment that the vendor declares.
    """

    instrument: Instrument
    timeframe: Timeframe
    span: Span
    now_ms: int
    insist: bool = False
    is_known: bool = False
    adjustment: Adjustment | None = None


class Derivative(NamedTuple):
    """A contract other than spot that a vendor lists under a symbol.

    Attributes:
        hint: Text for users that describes the contract and how to request it; empty if there is no
            such contract.
        requests: Number of HTTP requests that were sent to find it.
    """

    hint: str = ""
    requests: int = 0


@dataclass(frozen=True)
class BarPage:
    """One parsed page of a vendor's response.

    Attributes:
        bars: Bars in any order, as rows or columns, exactly as sent but with canonical timestamps;
            nothing is dropped.
        actions: Splits and dividends on the days of this page; empty if there are none, None if
            this page does not report actions at all.
        cursor: Start of the next page, in the vendor's own terms; None if this is the last.
        unit: Currency or unit of prices, if the answer gives it.
        next_ms: Start of the next page in UTC milliseconds if the vendor pages by time; None if
            this is the last.
        listed_ms: Time of the first trade, in UTC milliseconds, if the vendor gives it.
        behind_ms: Delay of the data in milliseconds, if the answer states that they are delayed.
            Bars that closed later than that before the answer count as forming.
    """

    bars: Sequence[Bar] | BarTable
    actions: Sequence[Action] | None = None
    cursor: str | None = None
    unit: str = ""
    next_ms: int | None = None
    listed_ms: int | None = None
    behind_ms: int = 0


@dataclass(frozen=True)
class Fetched:
    """Everything that one vendor returned for one query, over all its pages.

    Attributes:
        table: Rows as received, in the order received; unchecked.
        vendor: Canonical name of the vendor.
        kind, basis: Kind and basis of the rows.
        actions: Splits and dividends on the days of the query; None if any page did not report
            them.
        server_now_ms: Time of the request by the local clock or the vendor's, whichever is earlier.
            The vendor's time is taken from the ``Date`` header, minus the time that the answer
            took. If the data are delayed, it is earlier by the delay.
        requests: Number of HTTP requests sent.
        settle_ms, dense: Settling time and density that the vendor declares; see
            :class:`Capabilities`.
        way: How the bars were fetched if not page by page (from the archive, for example), or why
            the archive was not used.
        listed_ms: Time of the first trade, in UTC milliseconds, if the vendor gives it.
        seams: Spans between the last bar of one page and the first of the next.
        dated: Whether every answer carried the vendor's time. If not, only the local clock decides
            which bars have closed.
        vendor_now_ms: Time of the request by the vendor's clock; None if the vendor gave none.
    """

    table: BarTable
    vendor: str
    kind: Kind
    basis: Basis
    server_now_ms: int
    actions: Sequence[Action] | None = None
    requests: int = 1
    settle_ms: int = 2 * MINUTE_MS
    dense: bool = True
    way: str = ""
    listed_ms: int | None = None
    dated: bool = True
    seams: tuple[Span, ...] = ()
    vendor_now_ms: int | None = None

    @property
    def adjusted_at_ms(self) -> int:
        """The instant as of which prices are adjusted, in UTC milliseconds.

        This is the vendor's time if known, because the vendor adjusts the prices. If the local
        clock were behind and used instead, a split between the two times would be applied twice.
        """
        return self.server_now_ms if self.vendor_now_ms is None else self.vendor_now_ms
