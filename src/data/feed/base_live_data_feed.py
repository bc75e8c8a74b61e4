"""Live feeds for Backtrader by symbol: history at construction, live bars behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import DataError, NoDataError
from ..model.instant import from_ms
from ..model.provenance import ATTRS_KEY
from ..model.stream import LiveBar, StreamState
from ..model.timeframe import Timeframe
from ..net.deadline import seconds_of
from .backtrader.feed import BacktraderFeed
from .close_time import Closing
from .live_feed import LiveFeed
from .services import clock_of, get_door, market_of
from .sources.base import Source
from .sources.callback import HookSource
from .sources.history import Manager, check_lookback, frame_of, live_bars, lookback_range

if TYPE_CHECKING:
    import pandas as pd

OnNewBar = Callable[[str, "pd.Timestamp", dict[str, float]], object]

_HOOKS = ("_connect_realtime", "_disconnect_realtime", "_get_latest_data")
_VALUES = ("open", "high", "low", "close", "volume")
_LEAST_KEPT = 1000
_UPDATE_S = {"4h": 300, "1d": 3600}
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
        self.data_manager: Manager = get_door() if data_manager is None else data_manager
        self.live_clock = clock_of(self.data_manager)
        self.live_said: dict[str, Any] = {}
        self.live_timeframe = Timeframe.parse(interval)
        self.live_market = market_of(self.data_manager, symbol)
        self.live_history = self._history()
        past = live_bars(self.live_history)
        self.live_last_ms = past[-1].stamp_ms
        stream, backlog = self._stream(past)
        super().__init__(stream, Closing(self.live_timeframe, self.live_market), backlog)
        if on_new_bar is not None:
            stream.on_bar(self._call_back)
            stream.start()

    # --- for subclasses --------------------------------------------------------------------

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        """Return where live bars come from, and the bars that it does not give again itself."""
        source = HookSource(f"{self.symbol} {self.interval}", self, self.live_clock)
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
        """Whether its source answers; a subclass may say so itself."""
        known = self.stream.is_running and self.stream.status.state in _CONNECTED
        return bool(self.live_said.get("is_connected", known))

    @is_connected.setter
    def is_connected(self, said: bool) -> None:
        self.live_said["is_connected"] = said

    @property
    def last_update(self) -> datetime | None:
        """The close of the newest bar after the history, naive UTC; a subclass may say another."""
        bars = self.stream.snapshot().bars
        new = bars and bars[-1].stamp_ms > self.live_last_ms
        known = from_ms(self.live_closing(bars[-1].stamp_ms)) if new else None
        return self.live_said.get("last_update", known)

    @last_update.setter
    def last_update(self, said: datetime | None) -> None:
        self.live_said["last_update"] = said

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, as plain values; subclasses add keys of their own."""
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
            raise ValueError(f"{nothing}: a substitute alone can be had ({instead}); try again")
        named = {theirs: ours for ours in _VALUES if (theirs := getattr(self.p, ours)) != ours}
        return frame.set_axis([named.get(column, column) for column in frame.columns], axis=1)

    def _call_back(self, bar: LiveBar) -> None:
        import pandas as pd

        if self.on_new_bar is not None and bar.stamp_ms > self.live_last_ms:
            values = dict(zip(_VALUES, bar[1:6], strict=True))
            self.on_new_bar(self.symbol, pd.Timestamp(from_ms(bar.stamp_ms)), values)
