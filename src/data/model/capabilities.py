"""A vendor's declared capabilities, the queries that it receives, and its answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from .actions import Action
from .bars import Bar, BarTable
from .instant import DAY_MS, MINUTE_MS
from .instrument import AssetClass, Instrument
from .kind import Adjustment, Basis, Kind
from .span import Span
from .timeframe import Timeframe

_UNDECLARED = Kind()
# No job makes more calls to a vendor at once, nor fewer than two: one that hangs holds up no other.
MOST_AT_ONCE = 10
_LEAST_AT_ONCE = 2
# To a vendor that declares no limit, which need not mean that it stands any number.
_UNDECLARED_AT_ONCE = 4
# What limits let pass while a slow answer comes: more calls would only wait for each other.
_SLOW_ANSWER_S = 6.0


@dataclass(frozen=True)
class Limits:
    """How often a vendor may be asked; 0 means no such limit.

    Attributes:
        per_minute, per_second, per_day, per_month: units of cost allowed in that time.
        burst: units that may go out at once.
    """

    per_minute: int = 0
    per_second: float = 0.0
    per_day: int = 0
    burst: int = 5
    per_month: int = 0

    @property
    def at_once(self) -> int:
        """How many calls a job makes at once: 2 to 10, as a second, a burst and a minute allow."""
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
    """What a vendor can serve; a vendor is never asked for more than it declares.

    Attributes:
        asset_classes: classes it knows.
        timeframes: our label to its own spelling.
        page_bars: most bars in one answer; 0 when one answer holds any range.
        page_days: most calendar days in one answer, by label; absent means no limit.
        depth_days: how far back it goes, by label; absent means as far as the listing.
        kinds: asset class to the kind of its bars; an empty ``unit`` is taken from the answer or
            the instrument.
        intraday_kinds: the same for bars shorter than a day, for classes where those are of another
            kind than its days: minutes of extended hours beside days of the official session.
        adjustment: what its prices are adjusted for: ``raw``, ``split``, ``all`` or ``unknown``.
        intraday_adjustment: the same for bars shorter than a day, where those are of another.
        settle_ms: how long after its close an intraday bar may still change.
        dense: whether a bar without trades is sent all the same, so that a missing one is a hole.
        actions: whether its bars come with the splits and dividends of their days.
        actions_only: the labels of the bars that they come with, where not all of them do.
        has_forming: whether the running bar is in the answer.
        actions_apart: whether it has requests of its own for splits and dividends.
        action_requests: how many of these it takes, where each answer is one page.
        actions_by_bar: whether they stand on the bar of their ex-date, so that nothing is known of
            a session before its bar is published.
        archive_days: days after its end until a month of bars, where every bar of it exists, lies as
            a file in its archive; 0 where it has none.
        only: the labels it serves of an asset class, where it does not serve all of them.
        made_up: whether its bars are no market's, and so never stand beside real ones.
        extended: the labels of the bars of shares that it also serves with the hours before the open
            and behind the close, where these are requested. Those that ``intraday_kinds`` declares
            to be of extended hours are of such anyway.
    """

    asset_classes: frozenset[AssetClass]
    timeframes: Mapping[str, str]
    page_bars: int = 0
    page_days: Mapping[str, int] = field(default_factory=dict)
    depth_days: Mapping[str, int] = field(default_factory=dict)
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
        """Whether the vendor serves splits and dividends, with its bars or by a request of their own."""
        return self.actions or self.actions_apart

    def at(self, timeframe: Timeframe) -> Capabilities:
        """Return what holds of bars of ``timeframe``: their adjustment, what comes with them."""
        own = self.intraday_adjustment if timeframe.is_intraday else None
        sent = self.actions and (not self.actions_only or timeframe.label in self.actions_only)
        if sent == self.actions and own is None:
            return self
        return replace(self, adjustment=own or self.adjustment, actions=sent)

    def serving(self, instrument: Instrument) -> Capabilities:
        """Return what holds of an instrument in the hours that it is meant with.

        Of extended hours that is the declared lengths of bars of shares, counted from the clock.
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

    def sends_forming(self, asset_class: AssetClass, timeframe: Timeframe) -> bool:
        """Return whether the running bar is in the answer; where splits stand on it, it is not."""
        is_late = self.actions_by_bar and asset_class == "stock" and not timeframe.is_intraday
        return self.has_forming and not is_late

    def labels(self, asset_class: AssetClass) -> list[str]:
        """Return our labels of the bars it serves of ``asset_class``."""
        if asset_class not in self.asset_classes:
            return []
        only = self.only.get(asset_class, self.timeframes)
        return [label for label in self.timeframes if label in only]

    def kind(self, instrument: Instrument, timeframe: Timeframe | None = None) -> Kind:
        """Return the kind of bars it serves for ``instrument``, of the hours that it is meant with.

        Daily and longer bars are counted by sessions, whatever the anchor of shorter ones.
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
    """Where bars that are missing come from.

    Attributes:
        vendor: which is asked first; empty where none is configured.
        depth_days: how far back those go that are asked at all; None where one has all history.
    """

    vendor: str
    depth_days: int | None

    def lost_ms(self, missing_ms: int) -> float:
        """Return when a bar of ``missing_ms`` can be had no more, both UTC milliseconds."""
        return math.inf if self.depth_days is None else missing_ms + self.depth_days * DAY_MS


@dataclass(frozen=True)
class FetchQuery:
    """What to fetch from one vendor: stamps ``[start, end)`` of one instrument.

    Attributes:
        instrument, timeframe: which bars.
        span: stamps in UTC milliseconds.
        now_ms: the time of the request, UTC milliseconds; vendors that want a range "up to now"
            use it.
        insist: ask even for a symbol that the vendor lately did not know.
        adjustment: set by direct callers of a vendor that has a choice; None means what it
            declares.
    """

    instrument: Instrument
    timeframe: Timeframe
    span: Span
    now_ms: int
    insist: bool = False
    adjustment: Adjustment | None = None


class Derivative(NamedTuple):
    """What a vendor lists under a symbol beside its spot market.

    Attributes:
        hint: what it is, and how to ask for it, for people; empty where there is nothing.
        requests: HTTP requests that it took to learn this.
    """

    hint: str = ""
    requests: int = 0


@dataclass(frozen=True)
class BarPage:
    """One answer, read.

    Attributes:
        bars: in any order, exactly as sent, stamps in our terms; nothing dropped.
        actions: splits and dividends of the days of this page; None where the page does not cover
            them, which is not the same as none.
        cursor: where the next page starts, in the vendor's own terms; None when this is the last.
        unit: currency or unit of prices where the answer says so.
        next_ms: stamp from which to ask on when the vendor pages by time; None when done.
        listed_ms: instant of the first trade, in UTC milliseconds, where the vendor gives it.
    """

    bars: Sequence[Bar]
    actions: Sequence[Action] | None = None
    cursor: str | None = None
    unit: str = ""
    next_ms: int | None = None
    listed_ms: int | None = None


@dataclass(frozen=True)
class Fetched:
    """All that one vendor answered for one query, over all its pages.

    Attributes:
        table: the rows as received, in the order received; unchecked.
        vendor: canonical name of the vendor.
        kind, basis: of the rows.
        actions: splits and dividends of the days of the query; None where not every page covers
            them.
        server_now_ms: time of the request, by our clock or the vendor's, whichever is earlier; that
            of the vendor is its ``Date`` header less the time that the answer took.
        requests: HTTP requests it took.
        settle_ms, dense: as declared by the vendor.
        way: how the bars were fetched where not page by page, or why the archive did not serve.
        listed_ms: instant of the first trade, in UTC milliseconds, where the vendor gives it.
        seams: what lies between the last bar of one page and the first of the next.
        dated: whether every answer carried the vendor's time. Without it our own clock alone
            decides which bars have closed.
        vendor_now_ms: time of the request by the vendor's clock alone; None where it gave none.
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

        By the vendor's clock, for it is the vendor that adjusts: ours may be behind, and a split that
        lies between the two would be applied twice.
        """
        return self.server_now_ms if self.vendor_now_ms is None else self.vendor_now_ms
