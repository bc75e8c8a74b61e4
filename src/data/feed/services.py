"""Access to bars for feeds that were created without a data manager."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..core.bars.client import Wishes
from ..core.calendars.calendar import MarketCalendar, calendar_for
from ..core.clock import Clock, SystemClock
from ..core.config.gateway import Gateway, ibkr_gateway
from ..core.config.packaged import rules_of_testnets
from ..core.config.settings import load_settings
from ..core.provider_selector import ProviderSelector
from ..core.vendors.factory import apply_settling
from ..core.wiring import MANAGER, Services, build
from ..errors import QueryError
from .live_feeds import LiveFeeds

if TYPE_CHECKING:
    import pandas as pd

    from ..core.bars.observer import Observer


class FeedBars:
    """Access to bars, configured by files and the environment like a data manager. Thread-safe.

    Args:
        cache_dir, config_path, clock: See the data manager.
        observer: Observer that counts calls and passes on events; by default, a new observer.

    Attributes:
        provider_selector: Routes symbols to vendors.
    """

    def __init__(
        self,
        cache_dir: str | Path | None = None,
        config_path: str | Path | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._services = build(cache_dir, config_path, clock=clock, observer=observer)
        self._feeds = LiveFeeds(self, self._services)
        self.provider_selector = self._services.selector

    def get_ohlcv(
        self,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        force_refresh: bool = False,
        *,
        bars: int | None = None,
        **wishes: Any,
    ) -> pd.DataFrame:
        """Return bars; see ``DataManager.get_ohlcv``."""
        client, how = self._services.client, Wishes(refresh=force_refresh, **wishes)
        return client.get(client.query(symbol, timeframe, start_date, end_date, bars, how))


def default_manager() -> Any:
    """Return this process's data manager or, if none exists, a :class:`FeedBars` with its settings."""
    return MANAGER.existing() or _default_bars()


@lru_cache(1)
def _default_bars() -> FeedBars:
    return FeedBars()


@lru_cache(1)
def bars_of_testnets() -> FeedBars:
    """Return access to bars from test networks, whose fictitious prices have a separate cache."""
    default = load_settings().cache_dir
    return FeedBars(default.with_name(f"{default.name}-testnet"), rules_of_testnets())


_gateways: WeakKeyDictionary[Any, dict[Gateway, Any]] = WeakKeyDictionary()
# Guards the table above against threads that create feeds for one gateway at the same time.
_gateways_lock = threading.Lock()


def manager_for_gateway(manager: Any, wanted: Gateway) -> Any:
    """Return a source of bars that uses an IBKR gateway; ``manager`` itself, if it uses that gateway.

    Otherwise, the source shares the manager's cache, rules and clock, and is always the same object
    for a given gateway. If ``manager`` is a user's own object, it is returned unchanged, and
    chooses the gateway itself.
    """
    services = services_of(manager)
    if services is None:
        return manager
    configured = ibkr_gateway(services.selector.parsed_rules.provider("ibkr").options)
    if wanted == configured:
        return manager
    with _gateways_lock:
        managers = _gateways.setdefault(manager, {})
        if wanted not in managers:
            managers[wanted] = _gateway_bars(services, wanted)
        return managers[wanted]


def _gateway_bars(services: Services, wanted: Gateway) -> FeedBars:
    from ..core.vendors.ibkr.bars import IBKRDataDownloader

    settings = services.settings
    # Events from the gateway go to the manager's listeners.
    manager = FeedBars(settings.cache_dir, settings.rules_path, services.clock, services.observer)
    sender = manager._services.networks.sender("ibkr")
    downloader = IBKRDataDownloader(**wanted._asdict(), sender=sender)
    apply_settling(downloader, services.selector.parsed_rules.provider("ibkr"))
    manager.provider_selector.downloaders["ibkr"] = downloader
    return manager


def services_of(manager: Any) -> Services | None:
    """Return the shared services of a data manager; None if the manager is a user's own object."""
    services = getattr(manager, "_services", None)
    return services if isinstance(services, Services) else None


def feeds_of(manager: Any) -> LiveFeeds:
    """Return a data manager's stream factory, or this process's if the manager is a user's own object."""
    feeds = getattr(manager, "_feeds", None)
    if not isinstance(feeds, LiveFeeds):
        feeds = default_manager()._feeds
        assert isinstance(feeds, LiveFeeds)
    return feeds


def clock_of(manager: Any) -> Clock:
    """Return a data manager's clock, or the system clock if the manager is a user's own object."""
    services = services_of(manager)
    return SystemClock() if services is None else services.clock


def is_manager(manager: Any) -> bool:
    """Return whether ``manager`` is a ``DataManager`` rather than another object with ``get_ohlcv``."""
    return isinstance(getattr(manager, "provider_selector", None), ProviderSelector)


def market_of(manager: Any, symbol: str) -> MarketCalendar | None:
    """Return the calendar that a data manager uses for ``symbol``.

    The result is None for a user's own object, and for an unknown symbol.
    """
    if not is_manager(manager):
        return None
    try:
        selector = manager.provider_selector
        return calendar_for(selector.instrument(selector.split_vendor(symbol)[0]))
    except QueryError:
        return None
