"""Live feeds for Backtrader by symbol: history at construction, live bars behind it.

One class for each way that bars come by, and one for each vendor whose class is documented.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ...config.gateway import ibkr_gateway
from ...config.rules import Rules
from ...errors import DataError, NoDataError, NoProviderError
from ...model.instant import from_ms
from ...model.provenance import ATTRS_KEY
from ...model.stream import LiveBar, StreamState
from ...model.timeframe import Timeframe
from ...net.deadline import seconds_of
from ...provider_selector import ProviderSelector
from ...vendors.binance.stream import BinanceStream
from ...vendors.factory import downloader_class
from ..close_time import Closing
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
from ..sources.history import Manager, check_lookback, frame_of, live_bars, lookback_range
from ..sources.poll import PollSource, polled
from .feed import BacktraderFeed

if TYPE_CHECKING:
    import pandas as pd

    from ...model.kind import AskedAdjustment

OnNewBar = Callable[[str, "pd.Timestamp", dict[str, float]], object]

_HOOKS = ("_connect_realtime", "_disconnect_realtime", "_get_latest_data")
_VALUES = ("open", "high", "low", "close", "volume")
_LEAST_KEPT = 1000
_UPDATE_S = {"4h": 300, "1d": 3600}
# The window of CoinGecko's ``call_times``.
_MINUTE_S = 60.0
_CONNECTED = frozenset(StreamState) - {StreamState.CONNECTING, StreamState.CLOSED}


class BaseLiveDataFeed(BacktraderFeed):
    """Bars of a symbol for Backtrader: history first, then every closed bar as it comes.

    Without Cerebro it can be iterated, awaited, and looked at (:meth:`snapshot`); ``stream`` is the
    feed behind it. It starts with Cerebro or with the first iteration, at once where ``on_new_bar``
    is given. Subclasses of your own bring ``_connect_realtime``, ``_disconnect_realtime`` and
    ``_get_latest_data``.

    Args:
        symbol, interval: whose bars, and their timeframe.
        lookback_bars: how many closed bars come first.
        retry_interval: seconds after which a feed of your own is connected again; streams and polls
            have waits of their own.
        on_new_bar: called with symbol, the bar's open (naive UTC) and its values for every bar that
            closes from now on, in a thread of its own.
        data_manager: where history comes from; by default the installation's own.
        timeout: seconds that each question for bars has, as for ``get_ohlcv``; None: as long as
            pages come. A ``data_manager`` of your own is given it by the same name.

    Attributes:
        df: the frame of all bars so far, by their opens.
        is_connected: whether its source answers.
        last_update: the close of the newest bar after the history (naive UTC), or None.

    Raises:
        TypeError: the class lacks its three methods.
        QueryError: ``timeout`` is no time (a ``ValueError``).
        ValueError: there is no history, or only that of a substitute, whose prices are of another
            kind than the live bars; or ``lookback_bars`` is no count of bars.
    """

    # Older programs name columns as they do with frames.
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
            raise TypeError(f"{type(self).__name__} is abstract: it lacks {', '.join(lacking)}")
        check_lookback(lookback_bars)
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
            raise ValueError(
                f"there is no bar in the history of {symbol} {interval}: none can be one"
            )
        self.live_last_ms = past[-1].stamp_ms
        stream, backlog = self._stream(past)
        super().__init__(stream, Closing(self.live_timeframe, self.live_market), backlog)
        if on_new_bar is not None:
            stream.on_bar(self._call_back)
            stream.start()

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to be sent to another process.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"the live feed of {self.symbol} {self.interval} runs in one process and cannot be sent to "
            "another; cerebro.optstrategy takes a BacktestFeed, or maxcpus=1"
        )

    # --- for subclasses --------------------------------------------------------------------

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        """Return where live bars come from, and the bars that it does not give again itself."""
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
        """Connect; return whether that worked."""
        return False

    def _disconnect_realtime(self) -> None:
        """Leave."""

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the newest bars there are, or None."""
        return None

    def _get_update_interval(self) -> float:
        """Return seconds from one question to the next."""
        return _UPDATE_S.get(self.interval, 60)

    def _load_historical_data(self) -> pd.DataFrame | None:
        """Return the last ``lookback_bars`` closed bars."""
        now = self.live_clock.now_ms()
        range_ = lookback_range(self.live_market, self.live_timeframe, self.lookback_bars, now)
        return self.data_manager.get_ohlcv(
            symbol=self.symbol, timeframe=self.interval, **range_, **self._wishes()
        )

    def _wishes(self) -> dict[str, Any]:
        """Return what else is wanted of history, as keywords of ``get_ohlcv``."""
        return {} if self.live_timeout_s is None else {"timeout": self.live_timeout_s}

    def _process_new_data(self, new_data: pd.DataFrame) -> None:
        """Give bars by hand; those not newer than the last are dropped.

        Raises:
            TypeError: this feed has a source of its own.
        """
        source = self.stream.source
        if not isinstance(source, HookSource):
            raise TypeError(f"{type(self).__name__} takes bars from its source alone")
        source.push(live_bars(new_data, "live"))

    # --- without Cerebro -------------------------------------------------------------------

    def __iter__(self) -> Iterator[LiveBar]:
        """Start it if need be; give history, then closed bars until it ends."""
        yield from self.live_backlog
        yield from (bar for bar in self.stream if self._is_next(bar))

    async def __aiter__(self) -> AsyncIterator[LiveBar]:
        """Do the same without blocking the loop."""
        for bar in self.live_backlog:
            yield bar
        async for bar in self.stream:
            if self._is_next(bar):
                yield bar

    def _is_next(self, bar: LiveBar) -> bool:
        return not self.live_backlog or bar.stamp_ms > self.live_last_ms

    @property
    def df(self) -> pd.DataFrame:
        """The frame of all bars so far; where more came than are kept, of those that are kept."""
        import pandas as pd

        shown = self.stream.snapshot()
        new = [bar for bar in shown.bars if bar.stamp_ms > self.live_last_ms]
        if not new:
            return self.live_history
        grown = frame_of(new)
        whole = shown.bars[0].stamp_ms <= self.live_last_ms or len(shown.bars) == shown.given
        return pd.concat([self.live_history[list(_VALUES)], grown]) if whole else grown

    @property
    def is_connected(self) -> bool:
        """Whether its source answers; a subclass may set it."""
        connected = self.stream.is_running and self.stream.status.state in _CONNECTED
        return bool(self.live_overrides.get("is_connected", connected))

    @is_connected.setter
    def is_connected(self, value: bool) -> None:
        self.live_overrides["is_connected"] = value

    @property
    def last_update(self) -> datetime | None:
        """The close of the newest bar after the history, naive UTC; a subclass may set it."""
        bars = self.stream.snapshot().bars
        new = bars and bars[-1].stamp_ms > self.live_last_ms
        closed = from_ms(self.live_closing(bars[-1].stamp_ms)) if new else None
        return self.live_overrides.get("last_update", closed)

    @last_update.setter
    def last_update(self, value: datetime | None) -> None:
        self.live_overrides["last_update"] = value

    def get_status(self) -> dict[str, Any]:
        """Return its state as plain values; subclasses add keys of their own."""
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

    # --- inside ----------------------------------------------------------------------------

    def _history(self) -> pd.DataFrame:
        nothing = f"there is no history of {self.symbol} {self.interval} to begin with"
        try:
            frame = self._load_historical_data()
        except DataError as error:
            raise ValueError(f"{nothing}: {error}") from error
        if frame is None or frame.empty:
            raise ValueError(nothing) from NoDataError(nothing)
        instead = frame.attrs.get(ATTRS_KEY, {}).get("substitute")
        if instead and "provider" not in self._wishes():
            # Live bars are of the kind that is wanted: behind these prices they would jump.
            raise ValueError(f"{nothing}: only a substitute is available ({instead}); try again")
        named = {theirs: ours for ours in _VALUES if (theirs := getattr(self.p, ours)) != ours}
        return frame.set_axis([named.get(column, column) for column in frame.columns], axis=1)

    def _call_back(self, bar: LiveBar) -> None:
        import pandas as pd

        if self.on_new_bar is not None and bar.stamp_ms > self.live_last_ms:
            values = dict(zip(_VALUES, bar[1:6], strict=True))
            self.on_new_bar(self.symbol, pd.Timestamp(from_ms(bar.stamp_ms)), values)


# --- bars by a source of the library's: a stream, or questions


class SourcedLiveDataFeed(BaseLiveDataFeed):
    """A feed whose bars come from a source of the library's, history included.

    The three methods of older programs work on it from outside.
    """

    pinned: ClassVar[str | None] = None
    provider: str | None = None
    adjustment = "split"

    def _connect_realtime(self) -> bool:
        """Start the stream; return whether it runs."""
        self.stream.start()
        return self.stream.is_running

    def _disconnect_realtime(self) -> None:
        """Stop the stream."""
        self.stream.stop()

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the newest closed bar of the stream, or None."""
        bars = self.stream.snapshot().bars
        return frame_of(bars[-1:]) if bars else None

    def _pin(self) -> str | None:
        """Return the vendor that alone may be asked.

        None for the one that would be asked first anyway: its bars belong to the usual series.
        """
        if self.provider is None or not is_manager(self.data_manager):
            return self.provider
        selector: ProviderSelector = self.data_manager.provider_selector  # type: ignore[attr-defined]
        first = selector.get_best_provider(self.symbol, self.interval)
        return None if first == selector.canonical(self.provider) else self.provider

    def _wishes(self) -> dict[str, Any]:
        usual = super()._wishes()
        if not is_manager(self.data_manager):  # it may know the four usual arguments alone
            return usual
        pinned = self._pin()
        own = {"adjustment": self.adjustment} | ({} if pinned is None else {"provider": pinned})
        return usual | own


class StreamedLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that a vendor with a stream is routed to, as they close.

    Args:
        symbol, interval: whose bars, and their timeframe.
        provider: this vendor alone; default: the first one routed to that streams such bars.
        adjustment: what prices of the past are corrected for: ``raw``, ``split`` or ``all``.
        **others: as :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history, or no vendor streams such bars.
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
                f"no vendor streams {self.symbol} {self.interval}; the log says why"
            )
        return feed, []

    def get_status(self) -> dict[str, Any]:
        """Return its state; ``data_source`` is the vendor that is listened to."""
        return super().get_status() | {"data_source": self.source_name or self.live_vendor}


# --- vendors without a stream


class PolledLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that the rules can route, asked for as they close.

    Args:
        symbol, interval: whose bars, and their timeframe.
        polling_interval: seconds after which missing bars are asked for again, at the latest.
        provider: ask this vendor alone, such as ``yahoo`` or ``ccxt:kraken``; default: as routed.
        adjustment: what prices of the past are corrected for: ``raw``, ``split`` or ``all``.
        **others: as :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history.
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
        """Count a question that is about to be asked."""

    @property
    def last_poll_time(self) -> datetime | None:
        """When it asked last (naive UTC), or None."""
        source = self.stream.source
        asked_ms = source.asked_ms if isinstance(source, PollSource) else None
        return None if asked_ms is None else from_ms(asked_ms)

    def get_status(self) -> dict[str, Any]:
        """Return its state, with ``polling_interval`` and ``last_poll_time``."""
        polling = {"polling_interval": self.polling_interval, "last_poll_time": self.last_poll_time}
        source = self.source_name or self.provider or "routed"
        return super().get_status() | polling | {"data_source": source}


# --- vendors with classes of their own


class BinanceLiveDataFeed(StreamedLiveDataFeed):
    """Bars of a pair from Binance alone.

    Args:
        symbol, interval: whose bars, and their timeframe.
        api_key, api_secret: not needed for bars, and not used.
        testnet: history and stream of the exchange's test network, kept in a cache of its own.
            With a ``data_manager`` it is that one's rules that say which network is asked.
        **others: as :class:`BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history.
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
                "%s: testnet has no effect beside a data_manager: its rules say which network is asked "
                "(providers.binance.base_url and ws_url)",
                symbol,
            )
        super().__init__(symbol, interval, **others)

    @property
    def binance_interval(self) -> str | None:
        """The timeframe as Binance spells it, or None where it serves none such."""
        return downloader_class("binance").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return its state, with the stream's address."""
        status = super().get_status()
        return status | {
            "ws_connected": status["is_connected"],
            "ws_url": self._ws_url(),
            "binance_interval": self.binance_interval,
            "testnet": self.testnet,
        }

    def _ws_url(self) -> str:
        """Return where the stream is, by the rules of the data manager."""
        manager: Any = self.data_manager if is_manager(self.data_manager) else default_manager()
        rules: Rules = manager.provider_selector.parsed_rules
        return BinanceStream(rules.provider("binance").ws_url).address().shown


class YahooLiveDataFeed(PolledLiveDataFeed):
    """Bars of a symbol from Yahoo alone; arguments as :class:`PolledLiveDataFeed`."""

    source_name = "Yahoo Finance"
    pinned = "yahoo"

    @property
    def yahoo_interval(self) -> str | None:
        """The timeframe as Yahoo spells it, or None where it serves none such."""
        return downloader_class("yahoo").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return its state, with ``yahoo_interval`` and whether Yahoo knows the symbol."""
        own = {"yahoo_interval": self.yahoo_interval, "ticker_valid": not self.df.empty}
        return super().get_status() | own


class CoinGeckoLiveDataFeed(PolledLiveDataFeed):
    """Bars of a coin from CoinGecko alone; arguments as :class:`PolledLiveDataFeed`.

    Its limit holds for all feeds and processes together: a question waits where it must.

    Attributes:
        call_times: when it asked in the last minute, in seconds of the steady clock.
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
        """How many questions a minute CoinGecko grants."""
        return downloader_class("coingecko").limits.per_minute

    def _count_question(self) -> None:
        now = self.live_clock.monotonic()
        self.call_times = [at for at in self.call_times if now - at < _MINUTE_S] + [now]

    def get_status(self) -> dict[str, Any]:
        """Return its state, with the questions of the last minute."""
        own = {"calls": len(self.call_times), "max_calls_per_minute": self.max_calls_per_minute}
        return super().get_status() | own


class IBKRLiveDataFeed(PolledLiveDataFeed):
    """Bars of a symbol from a gateway of Interactive Brokers.

    Args:
        symbol, interval: whose bars, and their timeframe.
        host, port, client_id: of the gateway that is asked; what is left out is as the rules
            (``providers.ibkr``), the environment (``IBKR_HOST``, ...) or the usual give it.
        **others: as :class:`PolledLiveDataFeed`.

    Raises:
        ConfigError: a port or a client's number is none.
        ValueError: there is no history.
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
        """Return its state, with the gateway's address."""
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
