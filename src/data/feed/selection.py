"""Chooses the feed for a symbol: streaming or polling, usable in Backtrader if it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Union

from ..core.interface import seconds_of
from ..core.model.identity.kind import ADJUSTMENTS
from ..core.model.market.bars import PRICES
from ..core.model.market.stream import LiveBar
from ..core.model.time.instant import from_ms
from ..core.model.words.caller import warn_user
from ..core.observability.logs import running, subject_of
from ..core.provider_selector import ProviderSelector
from ..errors import ConfigError, DataError
from .live_feed import LiveFeed
from .live_feeds import refuse
from .services import clock_of, feeds_of, services_of
from .sources.base import log
from .sources.history import Manager, check_lookback, check_seconds
from .sources.poll import polled
from .vendor_feeds import POLLED, STREAMED, VENDOR_FEEDS, own_feed, with_market

if TYPE_CHECKING:
    from ..core.model.identity.kind import AskedAdjustment
    from .backtrader.live import BaseLiveDataFeed

# With Backtrader installed, a feed is a Backtrader data feed that can also be iterated.
AnyFeed = Union["BaseLiveDataFeed", LiveFeed]
# Symbol, timeframe, and number of closed bars to deliver first.
Wanted = tuple[str, str, int]

# Options accepted by every feed, even if its vendor does not need them.
_OPTIONS = (
    "provider",
    "market",
    "adjustment",
    "timeout",
    "on_new_bar",
    "retry_interval",
    "polling_interval",
)
_SECONDS = ("retry_interval", "polling_interval")
_OWN = {option for source in VENDOR_FEEDS.values() for option in source.options}


def live_feed(
    manager: Manager, symbol: str, timeframe: str, lookback_bars: int = 1000, **options: Any
) -> AnyFeed:
    """Return a live feed that uses a data manager.

    The feed uses the stream of the first vendor in the rules that streams such bars; if no vendor
    does, bars are requested as they close. With Backtrader installed, the feed is also a Cerebro
    data feed.

    Args:
        manager: Data manager.
        symbol, timeframe: Symbol and timeframe of the bars.
        lookback_bars: Number of closed bars of history to deliver first.
        options: ``provider`` (the only vendor to use), ``market`` (``"futures"``: Binance's
            dollar-margined perpetuals), ``adjustment`` (for past prices: ``raw``, ``split``,
            ``all``), ``timeout`` (seconds allowed for each request for bars, see ``get_ohlcv``: for
            history, for bars that a stream lost and, without a stream, for each new bar; the wait
            for the next bar to close is not limited), ``on_new_bar``, ``retry_interval``,
            ``polling_interval``; and the options of the vendor's own class, such as ``testnet``.

    Raises:
        QueryError: The symbol, the timeframe or the timeout is invalid.
        ConfigError: An option is unknown or invalid, or a key or an extra (optional dependency) is
            missing.
        DataError: The history could not be obtained; see ``get_ohlcv``.
    """
    with running(subject_of(symbol, timeframe)):
        return _feed(manager, (symbol, timeframe, lookback_bars), options)


def live_feed_or_none(
    manager: Manager, symbol: str, timeframe: str, lookback_bars: int = 1000, **options: Any
) -> AnyFeed | None:
    """Return the result of :func:`live_feed` or, if that raises an error, warn once and return None."""
    with running(subject_of(symbol, timeframe)):
        try:
            return _feed(manager, (symbol, timeframe, lookback_bars), options)
        except DataError as error:
            message = f"no live feed for {symbol} {timeframe}: {error}"
            log.warning("%s", message)
            warn_user(message, UserWarning)
            return None


def _feed(manager: Manager, wanted: Wanted, options: dict[str, Any]) -> AnyFeed:
    """Return a live feed; report a failure as an event and raise the error.

    For errors, see :func:`live_feed`.
    """
    symbol, timeframe, lookback = wanted
    try:
        refuse(set(options) - {*_OPTIONS, *_OWN}, _OPTIONS)
        check_lookback(lookback)
        for name in _SECONDS:
            check_seconds(name, options.get(name, 60.0))
        _check_adjustment(options.get("adjustment", "split"))
        seconds_of(options.get("timeout"), symbol)
        options = with_market(options)
        streamer = feeds_of(manager).streamer(symbol, timeframe, options.get("provider"))
        make = _for_backtrader if find_spec("backtrader") else _build_feed
        return make(manager, wanted, streamer, options)
    except DataError as error:
        services = services_of(manager)
        if services is not None:
            services.observer.failed(error)
        raise
    except (ValueError, TypeError) as error:
        # The classes for Backtrader raise errors that older programs catch. If their call for
        # history failed, that was already reported.
        if isinstance(error.__cause__, DataError):
            raise error.__cause__  # noqa: B904 - it is the cause
        raise ConfigError(str(error)) from error


def _for_backtrader(
    manager: Manager, wanted: Wanted, streamer: str | None, options: dict[str, Any]
) -> BaseLiveDataFeed:
    symbol, timeframe, lookback = wanted
    selector: ProviderSelector = manager.provider_selector  # type: ignore[attr-defined]
    name, default = streamer, STREAMED
    if name is None:
        vendor = options.get("provider") or selector.get_best_provider(symbol, timeframe)
        name, default = selector.canonical(vendor), POLLED
    else:
        options.pop("polling_interval", None)
    vendor_feed = own_feed(name or "", is_stream=default.is_stream)
    if vendor_feed is not None:
        options.pop("provider", None)  # the class already determines the vendor
    feed: BaseLiveDataFeed = (vendor_feed or default).load()(
        symbol, timeframe, lookback_bars=lookback, data_manager=manager, **options
    )
    return feed


def _check_adjustment(adjustment: object) -> None:
    if adjustment not in ADJUSTMENTS:
        hint = f"use one of {', '.join(ADJUSTMENTS)}"
        raise ConfigError(f"unknown adjustment {adjustment!r}", hint=hint)


def _build_feed(
    manager: Manager, wanted: Wanted, streamer: str | None, options: dict[str, Any]
) -> LiveFeed:
    on_new_bar = options.get("on_new_bar")
    feed = plain_feed(
        manager,
        wanted,
        provider=options.get("provider"),
        interval_s=options.get("polling_interval", 60.0),
        adjustment=options.get("adjustment", "split"),
        timeout=options.get("timeout"),
    )
    if on_new_bar is not None:
        feed.on_bar(_listener_for(wanted[0], on_new_bar))
        feed.start()
    return feed


def plain_feed(
    manager: Manager,
    wanted: Wanted,
    *,
    provider: str | None = None,
    interval_s: float = 60.0,
    forming: bool = False,
    adjustment: AskedAdjustment = "split",
    timeout: float | None = None,
) -> LiveFeed:
    """Return a feed that does not use Backtrader and has not been started.

    Args:
        manager: Data manager.
        wanted: Symbol, timeframe, and number of closed bars to deliver first.
        provider: The only vendor to use.
        interval_s: Seconds between requests for the forming bar to a vendor without a stream.
        forming: Whether to request the forming bar from a vendor without a stream; streams always
            send it.
        adjustment: Adjustment of past prices; current prices are unadjusted.
        timeout: Seconds allowed for each request for bars; see :func:`live_feed`.

    Raises:
        QueryError: The symbol or the timeframe is invalid.
        UnknownProviderError: The vendor does not exist.
    """
    symbol, timeframe, lookback = wanted
    feeds = feeds_of(manager)
    if feeds.streamer(symbol, timeframe, provider) is not None:
        streamed = feeds.find(
            symbol,
            timeframe,
            lookback,
            provider=provider,
            adjustment=adjustment,
            timeout=timeout,
        )
        if streamed is not None:
            return streamed
    source = polled(
        manager,
        symbol,
        timeframe,
        lookback=lookback,
        provider=provider,
        interval_s=interval_s,
        forming=forming,
        adjustment=adjustment,
        timeout_s=timeout,
    )
    return LiveFeed(symbol, timeframe, source, clock=clock_of(manager), history=source.history)


def _listener_for(symbol: str, on_new_bar: Callable[..., object]) -> Callable[[LiveBar], None]:
    """Return a listener that passes each new bar's symbol, opening time and values to ``on_new_bar``."""

    def call(bar: LiveBar) -> None:
        """Call ``on_new_bar`` with the symbol, the opening time (naive UTC) and a dict of values.

        The values are the prices and the volume, by name.
        """
        if bar.origin != "history":
            values = dict(zip((*PRICES, "volume"), bar[1:6], strict=True))
            on_new_bar(symbol, from_ms(bar.stamp_ms), values)

    return call
