"""Live Backtrader feeds for a symbol: history, loaded by the constructor, followed by live bars.

There is one class for each way of obtaining bars, and one for each vendor whose class is
documented.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ...core.config.gateway import ibkr_gateway
from ...core.config.rules import Rules
from ...core.interface import downloader_class, seconds_of
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.market.stream import LiveBar, StreamState
from ...core.model.time.instant import from_ms
from ...core.model.time.timeframe import Timeframe
from ...core.provider_selector import ProviderSelector
from ...core.vendors.binance.stream import BinanceStream
from ...errors import DataError, NoDataError, NoProviderError
from ..close_time import CloseTimes
from ..live_feed import LiveFeed
from ..services import (
    bars_of_testnets,
    clock_of,
    default_manager,
    feeds_of,
    is_manager,
    manager_for_gateway,
    market_of,
)
from ..sources.base import Source, log
from ..sources.callback import HookSource
from ..sources.history import (
    Manager,
    check_lookback,
    check_seconds,
    frame_of,
    live_bars,
    lookback_range,
)
from ..sources.poll import PollSource, polled
from .feed import BacktraderFeed

if TYPE_CHECKING:
    import pandas as pd

    from ...core.model.identity.kind import AskedAdjustment

OnNewBar = Callable[[str, "pd.Timestamp", dict[str, float]], object]

_HOOKS = ("_connect_realtime", "_disconnect_realtime", "_get_latest_data")
_VALUES = ("open", "high", "low", "close", "volume")
_LEAST_KEPT = 1000
_UPDATE_S = {"4h": 300, "1d": 3600}
# Length of the window of CoinGecko's ``call_times``.
_MINUTE_S = 60.0
_CONNECTED = frozenset(StreamState) - {StreamState.CONNECTING, StreamState.CLOSED}


class BaseLiveDataFeed(BacktraderFeed):
    """A Backtrader data feed for a symbol: history first, then every closed bar as it arrives.

    Without Cerebro, the feed can be iterated (with ``for`` or ``async for``) and inspected
    (:meth:`snapshot`); ``stream`` is the underlying feed. The feed starts with Cerebro or with the
    first iteration, or immediately if ``on_new_bar`` is given. Your own subclasses implement
    ``_connect_realtime``, ``_disconnect_realtime`` and ``_get_latest_data``.

    Args:
        symbol, interval: Symbol and timeframe of the bars.
        lookback_bars: Number of closed bars of history to deliver first.
        retry_interval: Seconds to wait before your own feed is reconnected; streams and polled
            feeds have their own waits.
        on_new_bar: Function called, in a separate thread, for every bar that closes after the
            history, with the symbol, the bar's opening time (naive UTC) and its values.
        data_manager: Source of history; by default the installation's own manager.
        timeout: Seconds allowed for each request for bars, as in ``get_ohlcv``; if None, a request
            may take as long as pages keep arriving. The value is passed to your own
            ``data_manager`` under the same name.

    Attributes:
        df: Frame of all bars so far, indexed by their opening times.
        is_connected: Whether the feed's source is responding.
        last_update: Closing time of the latest bar after the history (naive UTC), or None.

    Raises:
        TypeError: The class does not define the three methods.
        QueryError: ``timeout`` is not a valid time (a ``ValueError``).
        ValueError: History is unavailable, or only a substitute is available, with prices of a
            different kind than the live bars; or ``lookback_bars`` is invalid.
    """

    # Older programs name columns as they do for frames.
    params = (
        ("datetime", None),
        ("open", "open"),
        ("high", "high"),
        ("low", "low"),
        ("close", "close"),
        ("volume", "volume"),
        ("openinterest", None),
    )
    source_name: ClassVar[str] = ""

    def __init__(
        self,
        symbol: str,
        interval: str,
        lookback_bars: int = 1000,
        retry_interval: float = 60,
        on_new_bar: OnNewBar | None = None,
        data_manager: Manager | None = None,
        timeout: float | None = None,
    ) -> None:
        lacking = [n for n in _HOOKS if getattr(type(self), n) is getattr(BaseLiveDataFeed, n)]
        if lacking:
            raise TypeError(
                f"{type(self).__name__} is abstract: it does not define {', '.join(lacking)}"
            )
        check_lookback(lookback_bars)
        check_seconds("retry_interval", retry_interval)
        self.live_timeout_s = seconds_of(timeout, symbol)
        self.symbol, self.interval = symbol, interval
        self.lookback_bars, self.retry_interval = lookback_bars, retry_interval
        self.on_new_bar = on_new_bar
        self.data_manager: Manager = default_manager() if data_manager is None else data_manager
        self.live_clock = clock_of(self.data_manager)
        self.live_overrides: dict[str, Any] = {}
        self.live_timeframe = Timeframe.parse(interval)
        self.live_market = market_of(self.data_manager, symbol)
        self.live_history = self._history()
        past = live_bars(self.live_history)
        if not past:
            raise ValueError(f"the history of {symbol} {interval} contains no valid bars")
        self.live_last_ms = past[-1].stamp_ms
        stream, backlog = self._stream(past)
        super().__init__(stream, CloseTimes(self.live_timeframe, self.live_market), backlog)
        if on_new_bar is not None:
            stream.on_bar(self._call_back)
            stream.start()

    def __getstate__(self) -> dict[str, Any]:
        """Raise an error, because a live feed cannot be sent to another process.

        Raises:
            TypeError: Always raised.
        """
        raise TypeError(
            f"the live feed of {self.symbol} {self.interval} belongs to one process and "
            "cannot be sent to another; use a BacktestFeed with cerebro.optstrategy, or "
            "maxcpus=1"
        )

    # --- for subclasses --------------------------------------------------------------------

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        """Return the stream of live bars, and those ``past`` bars that it will not deliver."""
        name = f"{self.symbol} {self.interval}"
        source = HookSource(name, self.live_timeframe, self, self.live_clock)
        return self._feed_of(source), past

    def _feed_of(self, source: Source) -> LiveFeed:
        return LiveFeed(
            self.symbol,
            self.live_timeframe.label,
            source,
            clock=self.live_clock,
            keep=max(self.lookback_bars, _LEAST_KEPT),
        )

    def _connect_realtime(self) -> bool:
        """Connect to the source; return whether that succeeded."""
        return False

    def _disconnect_realtime(self) -> None:
        """Disconnect from the source."""

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the latest available bars, or None if there are none."""
        return None

    def _get_update_interval(self) -> float:
        """Return the number of seconds between two requests."""
        return _UPDATE_S.get(self.interval, 60)

    def _load_historical_data(self) -> pd.DataFrame | None:
        """Return the last ``lookback_bars`` closed bars."""
        now_ms = self.live_clock.now_ms()
        range_ = lookback_range(self.live_market, self.live_timeframe, self.lookback_bars, now_ms)
        return self.data_manager.get_ohlcv(
            symbol=self.symbol, timeframe=self.interval, **range_, **self._wishes()
        )

    def _wishes(self) -> dict[str, Any]:
        """Return the keyword arguments for requesting history with ``get_ohlcv``."""
        return {} if self.live_timeout_s is None else {"timeout": self.live_timeout_s}

    def _process_new_data(self, new_data: pd.DataFrame) -> None:
        """Deliver bars manually; bars not newer than the last delivered one are dropped.

        Raises:
            TypeError: This feed has its own source.
        """
        source = self.stream.source
        if not isinstance(source, HookSource):
            raise TypeError(f"{type(self).__name__} accepts bars only from its own source")
        source.push(live_bars(new_data, "live"))

    # --- without Cerebro -------------------------------------------------------------------

    def __iter__(self) -> Iterator[LiveBar]:
        """Start the feed if necessary; yield the history, then closed bars until the feed ends."""
        yield from self.live_backlog
        yield from (bar for bar in self.stream if self._is_next(bar))

    async def __aiter__(self) -> AsyncIterator[LiveBar]:
        """Iterate asynchronously over the same bars, without blocking the event loop."""
        for bar in self.live_backlog:
            yield bar
        async for bar in self.stream:
            if self._is_next(bar):
                yield bar

    def _is_next(self, bar: LiveBar) -> bool:
        return not self.live_backlog or bar.stamp_ms > self.live_last_ms

    @property
    def df(self) -> pd.DataFrame:
        """A frame of all bars so far or, if the feed no longer keeps all of them, of the latest bars."""
        import pandas as pd

        snapshot = self.stream.snapshot()
        new = [bar for bar in snapshot.bars if bar.stamp_ms > self.live_last_ms]
        if not new:
            return self.live_history
        grown = frame_of(new)
        whole = (
            snapshot.bars[0].stamp_ms <= self.live_last_ms or len(snapshot.bars) == snapshot.given
        )
        return pd.concat([self.live_history[list(_VALUES)], grown]) if whole else grown

    @property
    def is_connected(self) -> bool:
        """Whether the feed's source is responding; a subclass may set it."""
        connected = self.stream.is_running and self.stream.status.state in _CONNECTED
        return bool(self.live_overrides.get("is_connected", connected))

    @is_connected.setter
    def is_connected(self, value: bool) -> None:
        self.live_overrides["is_connected"] = value

    @property
    def last_update(self) -> datetime | None:
        """The closing time (naive UTC) of the latest live bar, ignoring history; a subclass may set it."""
        bars = self.stream.snapshot().bars
        new = bars and bars[-1].stamp_ms > self.live_last_ms
        closed = from_ms(self.live_closing(bars[-1].stamp_ms)) if new else None
        return self.live_overrides.get("last_update", closed)

    @last_update.setter
    def last_update(self, value: datetime | None) -> None:
        self.live_overrides["last_update"] = value

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state as a dictionary; subclasses add their own keys."""
        status = self.stream.status
        return {
            "symbol": self.symbol,
            "interval": self.interval,
            "is_connected": self.is_connected,
            "last_update": self.last_update,
            "data_points": len(self.df),
            "should_stop": self.should_stop,
            "data_source": self.source_name or type(self).__name__,
            "state": str(status.state),
            "reason": status.reason,
        }

    # --- internals -------------------------------------------------------------------------

    def _history(self) -> pd.DataFrame:
        no_history = f"no history of {self.symbol} {self.interval} to start with"
        try:
            frame = self._load_historical_data()
        except DataError as error:
            raise ValueError(f"{no_history}: {error}") from error
        if frame is None or frame.empty:
            raise ValueError(no_history) from NoDataError(no_history)
        facts = frame.attrs.get(ATTRS_KEY, {})
        instead = facts.get("substitute")
        if instead and "provider" not in self._wishes():
            # Live bars are of the requested kind, so there would be a jump after these prices.
            remedy = f"pass provider={facts['vendors'][0]!r} for a feed from there"
            raise ValueError(
                f"{no_history}: only a substitute is available ({instead}); {remedy}, or wait until "
                "the other vendors answer"
            )
        named = {
            parameter: ours for ours in _VALUES if (parameter := getattr(self.p, ours)) != ours
        }
        return frame.set_axis([named.get(column, column) for column in frame.columns], axis=1)

    def _call_back(self, bar: LiveBar) -> None:
        import pandas as pd

        if self.on_new_bar is not None and bar.stamp_ms > self.live_last_ms:
            values = dict(zip(_VALUES, bar[1:6], strict=True))
            self.on_new_bar(self.symbol, pd.Timestamp(from_ms(bar.stamp_ms)), values)


# --- bars from one of the library's sources: a stream or polling


class SourcedLiveDataFeed(BaseLiveDataFeed):
    """A feed whose bars, including its history, come from one of the library's own sources.

    Older programs can control the feed through the three methods that a custom feed must define.
    """

    pinned: ClassVar[str | None] = None
    provider: str | None = None
    adjustment = "split"

    def _connect_realtime(self) -> bool:
        """Start the stream; return whether it is running."""
        self.stream.start()
        return self.stream.is_running

    def _disconnect_realtime(self) -> None:
        """Stop the stream."""
        self.stream.stop()

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the stream's latest closed bar, or None if there is none."""
        bars = self.stream.snapshot().bars
        return frame_of(bars[-1:]) if bars else None

    def _pin(self) -> str | None:
        """Return the only vendor that may be queried; None lets the rules decide.

        The result is also None if the requested vendor is the first one in the rules, because its
        bars then belong to the usual series.
        """
        if self.provider is None or not is_manager(self.data_manager):
            return self.provider
        selector: ProviderSelector = self.data_manager.provider_selector  # type: ignore[attr-defined]
        first = selector.get_best_provider(self.symbol, self.interval)
        return None if first == selector.canonical(self.provider) else self.provider

    def _wishes(self) -> dict[str, Any]:
        usual = super()._wishes()
        if not is_manager(self.data_manager):  # it may take only the four usual arguments
            return usual
        pinned = self._pin()
        wishes = {"adjustment": self.adjustment} | ({} if pinned is None else {"provider": pinned})
        return usual | wishes


class StreamedLiveDataFeed(SourcedLiveDataFeed):
    """A feed of bars as they close, for any symbol that the rules route to a vendor with a stream.

    Args:
        symbol, interval: Symbol and timeframe of the bars.
        provider: The only vendor to use; by default, the first vendor in the rules that streams
            such bars is used.
        adjustment: Adjustment of past prices: ``raw``, ``split`` or ``all``.
        **others: Same as for :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: There is no history, or no vendor streams bars for this symbol and timeframe.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        **others: Any,
    ) -> None:
        self.provider = provider or self.pinned
        self.adjustment: AskedAdjustment = adjustment
        super().__init__(symbol, interval, **others)

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        feeds, pinned = feeds_of(self.data_manager), self._pin()
        self.live_vendor = feeds.streamer(self.symbol, self.interval, pinned)
        feed = feeds.find(
            self.symbol,
            self.interval,
            self.lookback_bars,
            provider=pinned,
            adjustment=self.adjustment,
            timeout=self.live_timeout_s,
        )
        if feed is None:
            raise NoProviderError(
                f"no vendor streams {self.symbol} {self.interval}; the log gives the reasons"
            )
        return feed, []

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state; ``data_source`` is the vendor whose stream is used."""
        return super().get_status() | {"data_source": self.source_name or self.live_vendor}


# --- vendors without a stream


class PolledLiveDataFeed(SourcedLiveDataFeed):
    """A feed for any symbol that the rules can route; each bar is requested when it closes.

    Args:
        symbol, interval: Symbol and timeframe of the bars.
        polling_interval: Maximum time in seconds before missing bars are requested again.
        provider: The only vendor to query, such as ``yahoo`` or ``ccxt:kraken``; by default, the
            rules decide.
        adjustment: Adjustment of past prices: ``raw``, ``split`` or ``all``.
        **others: Same as for :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: There is no history.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        polling_interval: float = 60,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        **others: Any,
    ) -> None:
        check_seconds("polling_interval", polling_interval)
        self.polling_interval = polling_interval
        self.provider, self.adjustment = provider or self.pinned, adjustment
        super().__init__(symbol, interval, **others)

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        source = polled(
            self.data_manager,
            self.symbol,
            self.interval,
            lookback=self.lookback_bars,
            provider=self._pin(),
            interval_s=self.polling_interval,
            adjustment=self.adjustment,
            timeout_s=self.live_timeout_s,
            on_ask=self._count_question,
        )
        return self._feed_of(source), []

    def _count_question(self) -> None:
        """Count a request that is about to be sent."""

    @property
    def last_poll_time(self) -> datetime | None:
        """The time of the last request (naive UTC), or None."""
        source = self.stream.source
        polled_ms = source.asked_ms if isinstance(source, PollSource) else None
        return None if polled_ms is None else from_ms(polled_ms)

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state, including ``polling_interval`` and ``last_poll_time``."""
        polling = {"polling_interval": self.polling_interval, "last_poll_time": self.last_poll_time}
        source = self.source_name or self.provider or "routed"
        return super().get_status() | polling | {"data_source": source}


# --- vendors with their own classes


class BinanceLiveDataFeed(StreamedLiveDataFeed):
    """A feed for a pair whose bars come only from Binance.

    Args:
        symbol, interval: Symbol and timeframe of the bars.
        api_key, api_secret: Ignored, because bars do not require a key.
        testnet: Whether to use the history and stream of the exchange's test network, with a
            separate cache. If ``data_manager`` is given, its rules determine the network instead.
        **others: Same as for :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: There is no history.
    """

    source_name = "Binance"
    pinned = "binance"

    def __init__(
        self,
        symbol: str,
        interval: str,
        api_key: str | None = None,
        api_secret: str | None = None,
        testnet: bool = False,
        **others: Any,
    ) -> None:
        self.testnet = testnet
        if testnet and others.get("data_manager") is None:
            others["data_manager"] = bars_of_testnets()
        elif testnet:
            log.warning(
                (
                    "%s: testnet has no effect together with a data_manager, whose rules set the "
                    "network (providers.binance.base_url and ws_url)"
                ),
                symbol,
            )
        super().__init__(symbol, interval, **others)

    @property
    def binance_interval(self) -> str | None:
        """The timeframe in Binance's spelling, or None if Binance does not serve it."""
        return downloader_class("binance").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state, including the stream's address."""
        status = super().get_status()
        return status | {
            "ws_connected": status["is_connected"],
            "ws_url": self._ws_url(),
            "binance_interval": self.binance_interval,
            "testnet": self.testnet,
        }

    def _ws_url(self) -> str:
        """Return the WebSocket URL that the data manager's rules configure."""
        manager: Any = self.data_manager if is_manager(self.data_manager) else default_manager()
        rules: Rules = manager.provider_selector.parsed_rules
        return BinanceStream(rules.provider("binance").ws_url).address().shown


class YahooLiveDataFeed(PolledLiveDataFeed):
    """A feed whose bars come only from Yahoo; arguments as for :class:`PolledLiveDataFeed`."""

    source_name = "Yahoo Finance"
    pinned = "yahoo"

    @property
    def yahoo_interval(self) -> str | None:
        """The timeframe in Yahoo's spelling, or None if Yahoo does not serve it."""
        return downloader_class("yahoo").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state, ``yahoo_interval``, and whether Yahoo recognizes the symbol."""
        status = {"yahoo_interval": self.yahoo_interval, "ticker_valid": not self.df.empty}
        return super().get_status() | status


class CoinGeckoLiveDataFeed(PolledLiveDataFeed):
    """A feed whose bars come only from CoinGecko; arguments as for :class:`PolledLiveDataFeed`.

    CoinGecko's rate limit applies to all feeds and processes taken together; requests wait if
    necessary.

    Attributes:
        call_times: Times of the requests in the last minute, in seconds of the monotonic clock.
    """

    source_name = "CoinGecko"
    pinned = "coingecko"

    def __init__(
        self, symbol: str, interval: str, polling_interval: float = 60, **others: Any
    ) -> None:
        self.call_times: list[float] = []
        super().__init__(symbol, interval, polling_interval, **others)

    @property
    def max_calls_per_minute(self) -> int | None:
        """The number of requests per minute that CoinGecko allows."""
        return downloader_class("coingecko").limits.per_minute

    def _count_question(self) -> None:
        now = self.live_clock.monotonic()
        self.call_times = [at for at in self.call_times if now - at < _MINUTE_S] + [now]

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state, including the number of requests in the last minute."""
        status = {"calls": len(self.call_times), "max_calls_per_minute": self.max_calls_per_minute}
        return super().get_status() | status


class IBKRLiveDataFeed(PolledLiveDataFeed):
    """A feed whose bars come from an Interactive Brokers gateway.

    Args:
        symbol, interval: Symbol and timeframe of the bars.
        host, port, client_id: Address of the gateway, and the client id; by default from the rules
            (``providers.ibkr``), the environment (``IBKR_HOST``, ...) or the usual values.
        **others: Same as for :class:`PolledLiveDataFeed`.

    Raises:
        ConfigError: The port or the client id is invalid.
        ValueError: There is no history.
    """

    source_name = "IBKR"
    pinned = "ibkr"

    def __init__(
        self,
        symbol: str,
        interval: str,
        host: str | None = None,
        port: int | None = None,
        client_id: int | None = None,
        **others: Any,
    ) -> None:
        manager = others.pop("data_manager", None) or default_manager()
        named = {"host": host, "port": port, "client_id": client_id}
        named = {name: value for name, value in named.items() if value is not None}
        rules = (
            manager.provider_selector.parsed_rules.provider("ibkr") if is_manager(manager) else None
        )
        wanted = ibkr_gateway({**(rules.options if rules else {}), **named})
        self.host, self.port, self.client_id = wanted
        if named:
            manager = manager_for_gateway(manager, wanted)
        super().__init__(symbol, interval, data_manager=manager, **others)

    def get_status(self) -> dict[str, Any]:
        """Return the feed's state, including the gateway's address."""
        status = super().get_status()
        return status | {
            "ibkr_connected": status["is_connected"],
            "host": self.host,
            "port": self.port,
            "client_id": self.client_id,
            "ibkr_interval": self.live_timeframe.label,
            "contract_valid": not self.df.empty,
            "data_subscribed": self.stream.is_running,
        }
