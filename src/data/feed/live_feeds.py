"""Creates a feed for a symbol from the stream of the first vendor in the rules that has one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..core.bars.client import Wishes
from ..core.bars.derive.sources import SourceTimeframes
from ..core.bars.selection.lanes import LaneFinder
from ..core.bars.stream_store import (
    Origin,
    StreamKeeper,
    declared_kind,
    differences,
    kind_of_series,
    namesakes_of,
    objection,
)
from ..core.calendars.bar_builders import MinuteBars, TradeBars
from ..core.calendars.calendar import calendar_for
from ..core.calendars.grid import BarGrid
from ..core.config.credentials import vendor_credentials
from ..core.config.offered import STREAMS, offer_of
from ..core.interface import StreamProtocol, call_foreign, keys_declared, own_secrets, stream_of
from ..core.model.identity.instrument import Instrument
from ..core.model.identity.kind import AskedAdjustment, Basis, Kind
from ..core.model.market.quote import LivePrice
from ..core.model.market.stream import LiveBar, Topic
from ..core.model.request.query import BarsQuery
from ..core.model.time.instant import SECOND_MS
from ..core.model.time.timeframe import Timeframe
from ..core.net.http.websocket import Dialer, library
from ..core.observability.events import BarCorrected, BarRefused
from ..core.observability.logs import running, subject_of
from ..core.prices.conversions import build_objection
from ..core.wiring import Services
from ..errors import (
    ConfigError,
    DataError,
    ForeignError,
    MissingCredentialsError,
    NoProviderError,
    UnknownProviderError,
)
from .live_feed import LiveFeed
from .queue import CAPACITY
from .sources.bar_versions import StreamJudge
from .sources.base import Sink
from .sources.history import Manager, ManagerHistory
from .sources.stream import GapFreeSource, Start, StreamTimings
from .streams.connection import Connection, ConnectionTimings
from .streams.listeners import BarListener, Listener, MinuteListener, TradeListener
from .streams.pool import Hub, Subscription

if TYPE_CHECKING:
    from ..core.wiring import Services

log = logging.getLogger("onetape.feed")


@dataclass(frozen=True)
class FeedTimings:
    """Durations used by feeds; tests use shorter durations."""

    pulse: ConnectionTimings = ConnectionTimings()
    patience: StreamTimings = StreamTimings()


@dataclass(frozen=True)
class _StreamRoute:
    """A vendor's stream that can supply the requested bars, either directly or built from minute bars."""

    name: str
    make: Callable[[], StreamProtocol]
    protocol: StreamProtocol
    topic: Topic
    kind: Kind
    url: str
    account: Callable[[], str]
    sent: Timeframe | None = None


class LiveFeeds:
    """Creates feeds for one data manager; the feeds share connections. Thread-safe.

    Args:
        manager: Data manager that supplies history and missing bars.
        services: Shared services: routing, limits and the store.
        tempo: Durations used by the feeds.

    Attributes:
        hub: Open connections, shared by the feeds.
        tempo: Durations for feeds and connections created later.
    """

    def __init__(
        self, manager: Manager, services: Services, tempo: FeedTimings | None = None
    ) -> None:
        self.hub = Hub()
        self._manager = manager
        self._services = services
        self.tempo = tempo or FeedTimings()
        self._keeper = StreamKeeper(services.selector, services.cache.store, services.clock)
        # Feeds streamed by a vendor in the rules, which supply last prices; the references are
        # weak.
        self._routed: WeakSet[_RoutedFeed] = WeakSet()

    def find(
        self,
        symbol: str,
        timeframe: str,
        lookback_bars: int = 1000,
        *,
        provider: str | None = None,
        after_ms: int | None = None,
        adjustment: AskedAdjustment = "split",
        timeout: float | None = None,
        on_new_bar: Callable[[LiveBar], object] | None = None,
        **unknown: object,
    ) -> LiveFeed | None:
        """Return a feed that has not been started; if none is possible, log the reason and return None.

        Args:
            symbol, timeframe: Symbol and timeframe of the bars.
            lookback_bars: Number of closed bars of history to deliver first.
            provider: The only vendor to use, for both the stream and the history.
            after_ms: Timestamp of the last bar that the caller already has; used instead of
                ``lookback_bars``.
            adjustment: Adjustment of past prices.
            timeout: Seconds allowed for each request for past bars; see ``get_ohlcv``.
            on_new_bar: Function called with every closed bar.
            unknown: Unknown options; if any are passed, the result is None.
        """
        with running(subject_of(symbol, timeframe)):
            try:
                refuse(unknown, ("provider", "after_ms", "adjustment", "timeout", "on_new_bar"))
                library()
                start = Start(lookback_bars, after_ms)
                feed = self._feed(symbol, timeframe, start, provider, adjustment, timeout)
            except DataError as error:
                log.warning("no live feed for %s %s: %s", symbol, timeframe, error)
                return None
        if on_new_bar is not None:
            feed.on_bar(on_new_bar)
        return feed

    def streamer(self, symbol: str, timeframe: str, provider: str | None = None) -> str | None:
        """Return the vendor whose stream :meth:`find` would use, or None.

        Raises:
            QueryError: The symbol or the timeframe is invalid.
        """
        parsed = Timeframe.parse(timeframe)
        symbol, provider = self._services.selector.split_vendor(symbol, provider)
        instrument = self._services.selector.instrument(symbol)
        try:
            library()
            return self._route(instrument, parsed, provider).name
        except UnknownProviderError:
            raise
        except (NoProviderError, ConfigError) as error:
            log.info("%s %s is polled as bars close: %s", instrument.symbol, parsed, error)
            return None

    def _feed(
        self,
        symbol: str,
        timeframe: str,
        start: Start,
        provider: str | None,
        adjustment: str,
        timeout_s: float | None,
    ) -> LiveFeed:
        """Return a feed for a symbol from the vendor whose stream was selected.

        Raises:
            DataError: No vendor that the rules name for the symbol streams such bars.
        """
        parsed = Timeframe.parse(timeframe)
        symbol, provider = self._services.selector.split_vendor(symbol, provider)
        instrument = self._services.selector.instrument(symbol)
        route = self._route(instrument, parsed, provider)
        kind = route.kind
        grid = BarGrid(calendar_for(instrument), parsed, kind.anchor or "session")
        clock, traits = self._services.clock, route.protocol.traits
        patience = self._patience(route)
        history = ManagerHistory(
            self._manager,
            symbol,
            grid,
            clock,
            pinned=provider,
            adjustment=adjustment,
            patience_ms=120_000 if traits.dense else 30_000,
            timeout_s=timeout_s,
        )
        # Current prices already include every past split.
        basis = Basis("split" if instrument.asset_class == "stock" else "raw")
        origin = Origin(route.name, kind, self._settle_ms(route.name), basis)

        def keep(bars: Sequence[LiveBar]) -> None:
            """Store closed bars, unless the caller named their vendor."""
            if provider is None:  # bars of a pinned vendor are in a lane of their own
                self._keeper.keep(instrument, grid, origin, [bar.bar for bar in bars])

        def correct(bar: LiveBar) -> None:
            """Store a corrected bar in place of the previous one, and notify event listeners."""
            is_stored = provider is None and self._keeper.keep(
                instrument, grid, origin, [bar.bar], is_revision=True
            )
            self._services.observer.tell(
                BarCorrected, vendor=route.name, opens_ms=bar.stamp_ms, is_stored=bool(is_stored)
            )

        source = GapFreeSource(
            self._subscription(route, grid),
            history,
            grid,
            clock,
            start=start,
            keep=keep,
            correct=correct,
            patience=patience,
            call=partial(self._services.observer.call_beside, instrument.symbol, parsed.label),
        )
        # History arrives all at once, so a listener that needs time to read it is not treated as
        # slow.
        capacity = CAPACITY + start.lookback
        feed = _RoutedFeed(
            symbol,
            parsed.label,
            source,
            clock=clock,
            keep=max(1, start.lookback),
            capacity=capacity,
            history=history,
        )
        feed.set_origin(instrument, origin, parsed, sends_trades=route.sent is None)
        selector = self._services.selector
        routed = selector.get_provider_with_failover(instrument.symbol, parsed.label)
        if route.name in map(selector.canonical, routed):
            self._routed.add(feed)
        return feed

    def live_price(self, instrument: Instrument) -> LivePrice | None:
        """Return the latest price from the running feeds, or None if no feed has a price.

        Feeds whose vendor is not named in the instrument's rule, such as a futures vendor, are
        ignored.
        """
        prices = [
            price
            for feed in tuple(self._routed)
            if feed.instrument.symbol == instrument.symbol and (price := feed.price()) is not None
        ]
        return max(prices, key=lambda price: price.time_ms, default=None)

    def _patience(self, route: _StreamRoute) -> StreamTimings:
        traits = route.protocol.traits
        return replace(
            self.tempo.patience, dense=traits.dense, quiet=traits.quiet_s, sent=route.sent
        )

    def _settle_ms(self, name: str) -> int:
        downloader = self._services.selector.downloaders.get(name)
        return int(downloader.capabilities.settle_ms) if downloader is not None else 120_000

    def _route(
        self, instrument: Instrument, timeframe: Timeframe, provider: str | None
    ) -> _StreamRoute:
        """Return the first stream, in the order of the rules, that can supply bars for ``instrument``.

        Raises:
            NoProviderError: No vendor has such a stream.
            UnknownSymbolError: The symbol may mean a different instrument at every vendor.
            UnknownProviderError, ForeignError: The pinned vendor comes from another package, which
                is faulty.
        """
        selector = self._services.selector
        routed = selector.get_provider_with_failover(instrument.symbol, timeframe.label)
        reasons: list[str] = []
        query = self._services.client.query(
            instrument.symbol, timeframe.label, bars=1, wishes=Wishes(provider=provider)
        )
        namesakes = namesakes_of(selector, query)
        for name in [provider] if provider else routed:
            if name in namesakes:
                reasons.append(f"{name} is not used: {namesakes[name]}")
                continue
            vendor = str(selector.canonical(name))
            try:
                stream = call_foreign(partial(self._stream, vendor, query), name)
            except (MissingCredentialsError, UnknownProviderError, ForeignError) as error:
                if provider and not isinstance(error, MissingCredentialsError):
                    raise  # no other vendor may replace it
                reasons.append(str(error))
                continue
            if isinstance(stream, _StreamRoute):
                if reasons:
                    passed = "; ".join(reasons)
                    log.info("%s streams %s %s: %s", name, instrument.symbol, timeframe, passed)
                return stream
            reasons.append(f"{name} does not stream such bars{stream}")
        raise NoProviderError(
            "; ".join(reasons) or "the rules name no usable vendor",
            symbol=instrument.symbol,
        )

    def _stream(self, name: str, query: BarsQuery) -> _StreamRoute | str:
        """Return a vendor's stream for the requested bars, or the reason (possibly empty) why it has none."""
        instrument = query.instrument
        factory = stream_of(name)
        if factory is None:
            return ""
        rules = self._services.selector.parsed_rules.provider(name)
        keys = vendor_credentials(
            name, rules.api_key_env, rules.secret_key_env, names=own_secrets(name)
        )

        def make() -> StreamProtocol:
            """Create a protocol object with the vendor's address and keys.

            Errors raised by other packages are converted to this library's errors.
            """
            return call_foreign(lambda: factory(rules.ws_url, keys), name)

        def account() -> str:
            """Return the account name under which requests with the current keys are counted."""
            given = [key for key in keys_declared(name) if key in keys]
            limiter = self._services.network.limiter(name)
            return limiter.acting_for(keys[key] for key in given).account()

        protocol = make()
        kind, url = protocol.kind(instrument), protocol.address().url
        sent, why = None, ""
        topic = protocol.spelling(instrument, query.timeframe)
        if topic is not None:
            why = series_objection(self._services, name, kind, query)
        elif (topic := protocol.spelling(instrument, MINUTE)) is not None:
            sent, why = MINUTE, minutes_objection(self._services, name, kind, query)
        if topic is None or why:
            return why and f": {why}"
        return _StreamRoute(name, make, protocol, topic, kind, url, account, sent)

    def _subscription(self, route: _StreamRoute, grid: BarGrid) -> Subscription:
        clock = self._services.clock

        def report(topic: Topic, stamp_ms: int, why: str) -> None:
            """Count an item that was rejected, and notify event listeners."""
            facts = {"spelled": topic.symbol, "bars": topic.timeframe, "opens_ms": stamp_ms}
            self._services.observer.tell(BarRefused, vendor=route.name, reason=why, **facts)

        def listen(sink: Sink) -> StreamJudge:
            """Return a judge whose listener passes bars on, or builds them from minutes or trades."""
            listener: Listener
            if route.sent is not None:
                quiet_ms = round(route.protocol.traits.quiet_s * SECOND_MS)
                listener = MinuteListener(sink, clock, MinuteBars(grid, quiet_ms))
            elif route.topic.timeframe:
                listener = BarListener(sink, clock, grid)
            else:
                listener = TradeListener(sink, clock, TradeBars(grid))
            return StreamJudge(listener, route.topic, route.protocol, clock, report)

        def make() -> Connection:
            """Create a connection with its own protocol, subject to the vendor's limit on new connections."""
            protocol = route.make()
            limiter = self._services.network.stream_limiter(route.name, protocol.traits.connects)
            dial = Dialer(protocol.address)
            pulse = self.tempo.pulse
            return Connection(
                protocol, dial, limiter, clock, pulse, account=route.account, report=report
            )

        account = f"{route.name} {hash(route.url)}"
        return Subscription(self.hub, account, route.topic, make, listen)


class _RoutedFeed(LiveFeed):
    """A feed that records its instrument and vendor, so that it can return the latest price."""

    def set_origin(
        self, instrument: Instrument, origin: Origin, timeframe: Timeframe, *, sends_trades: bool
    ) -> None:
        """Record the instrument that is streamed, and the vendor.

        Args:
            instrument, origin: Instrument of the prices, and the vendor that sends them.
            timeframe: Timeframe of the bars.
            sends_trades: Whether a forming bar contains the last trade, not just the last closed
                minute.
        """
        self.instrument, self._origin = instrument, origin
        self._timeframe, self._sends_trades = timeframe, sends_trades

    def price(self) -> LivePrice | None:
        """Return the feed's latest price.

        The result is None if the feed is not running or has delivered only history.
        """
        if not self.is_running:
            return None
        snapshot, step_ms = self.snapshot(), self._timeframe.step_ms
        bar = snapshot.forming if self._sends_trades else None
        if (bar is None or not bar.volume) and self._timeframe.is_intraday:
            # A bar without a trade repeats the last price.
            bar = next((closed for closed in reversed(snapshot.bars) if closed.volume), None)
        if bar is None or bar.origin != "live":
            return None
        # If a vendor's bars arrive late, the time of the price is at most the end of the bar.
        is_bounded = self._timeframe.is_intraday and step_ms is not None
        end_ms = (
            bar.stamp_ms + step_ms if is_bounded and step_ms is not None else snapshot.traded_ms
        )
        time_ms = min(snapshot.traded_ms, end_ms)
        return LivePrice(bar.close, time_ms, self._origin.vendor, self._origin.kind)


def refuse(unknown: Collection[str], options: Iterable[str]) -> None:
    """Reject options that no feed supports.

    Raises:
        ConfigError: Some options are unknown.
    """
    if unknown:
        raise ConfigError(
            f"unknown live feed option{'s' if len(unknown) > 1 else ''}: {', '.join(sorted(unknown))}",
            hint=f"use one of {', '.join(options)}",
        )


# --- may a stream's bars continue another vendor's? If instrument and kind are the same ---


def series_objection(services: Services, vendor: str, kind: Kind, query: BarsQuery) -> str:
    """Return why a stream's bars cannot continue the stored series; empty if they can.

    The streamed bars must be of the kind of the bars that the rules select, tape included. For a
    vendor from another package that serves such bars only as a stream, other vendors supply the
    history, so the streamed bars must also be of the same instrument.

    Args:
        services: Shared services; routing and the store are used.
        vendor: Canonical name of the vendor.
        kind: Kind of the stream's bars, in the hours that are delivered.
        query: Bars that the stream would continue.

    Raises:
        DataError: No vendor serves such bars.
    """
    selector, store = services.selector, services.cache.store
    is_own = offer_of(STREAMS, vendor) is None
    if not is_own and declared_kind(selector, vendor, query.instrument, query.timeframe) is None:
        return objection(selector, store, query, vendor, kind)
    try:
        series = kind_of_series(selector, store, query)
    except NoProviderError:  # they may be built from shorter ones
        shorter = SourceTimeframes(selector, LaneFinder(selector, store)).best(query)
        if shorter is None:
            raise
        # Hours and anchor of shorter bars are converted to those requested.
        series = replace(shorter.kind, session="", anchor="")
    return _lack(differences(kind, series), "its bars are", "the series has bars of")


def _lack(differing: list[tuple[str, str]], ours: str, theirs: str) -> str:
    """Return a sentence about the properties in which two kinds differ; empty if there are none."""
    kinds = ", ".join(f"of {sent}, {theirs} {other}" for sent, other in differing)
    return f"{ours} {kinds}" if kinds else ""


# --- may bars be built from a stream's minutes? If these are the minutes in the cache -----

MINUTE = Timeframe(1, "m")


def minutes_objection(services: Services, vendor: str, kind: Kind, query: BarsQuery) -> str:
    """Return why bars cannot be built from a vendor's streamed minute bars; empty if they can.

    Two conditions must be met. First, the vendor must also serve the longer bars themselves, so
    that bars built from the stream match those in its history. Second, minute and longer bars must
    be of the same kind, with the same anchor, and with volume from the same tape. Daily bars are
    not built, because the minute bars do not include the auctions.

    Args:
        services: Shared services; routing and the store are used.
        vendor: Canonical name of the vendor.
        kind: Kind of the vendor's minute bars, in the hours that are delivered.
        query: Bars that would be built.

    Raises:
        DataError: No vendor serves such bars.
    """
    instrument, timeframe = query.instrument, query.timeframe
    if reason := build_objection(
        MINUTE, timeframe, calendar_for(instrument), anchor=kind.anchor or "session"
    ):
        return f"no {timeframe} bars are built from its minute bars: {reason}"
    own = declared_kind(services.selector, vendor, instrument, timeframe)
    if own is None:
        return f"it does not serve {timeframe} bars that its minute bars could continue"
    # Hours and anchor are converted to those of the series if that is exact.
    own = replace(own, session=kind.session, anchor=kind.anchor)
    series = kind_of_series(services.selector, services.cache.store, query)
    minutes, bars = "its minute bars are", f"{timeframe} bars of"
    return _lack(differences(kind, own), minutes, f"its {bars}") or _lack(
        differences(kind, series), minutes, f"the series has {bars}"
    )
