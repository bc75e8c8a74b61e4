"""Providers of the second data layer: one for each vendor, which is queried through the data manager."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ...core.vendors.factory import canonical_name
from ...errors import QueryError, UnknownProviderError
from ..calls import in_thread, prices
from ..sources.vendor_sources import VendorDataSource, manager_like

if TYPE_CHECKING:
    from datetime import date, datetime

    from ...data_manager import DataManager
    from ...feed.selection import AnyFeed
    from ..frames.frames import pl

__all__ = [
    "AlphaVantageProvider",
    "DataProvider",
    "FMPProvider",
    "VendorProvider",
    "YFinanceProvider",
    "provider_for",
]


class DataProvider(ABC):
    """A source of bars, fundamentals and universes. Programs can write their own."""

    @abstractmethod
    async def fetch_prices(
        self, symbol: str, timeframe: str, start: date, end: date
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive, in ascending order.

        The columns are ``date`` (daily and longer bars) or ``timestamp``, ``open``, ``high``,
        ``low``, ``close``, ``volume`` and ``adj_close``. If no bars exist, the frame is
        empty.
        """

    @abstractmethod
    async def fetch_fundamentals(self, symbol: str) -> dict[str, Any]:
        """Return facts about a company; empty if there are none."""

    @abstractmethod
    async def fetch_universe(self, name: str) -> list[str]:
        """Return the symbols of a named universe."""


class VendorProvider(DataProvider):
    """One vendor, queried through a data manager each time; its bars are stored.

    Constructing it neither opens a connection nor needs an event loop. Usable from several threads
    and event loops at once.

    Args:
        api_key: Key to use for this object only, instead of the one in the environment.
        manager: Data manager to use; None means :func:`~onetape.get_data_manager`, called on
            first use.
        timeout: Seconds to wait for the vendor in each call; None means until 60 s pass without
            anything received.

    Attributes:
        vendor: Name of the vendor.
        per_minute: Requests a minute that the account allows, if the rules do not set a lower
            limit; None means the limit in the rules. A response that reports a lower limit lowers
            it.

    Raises:
        QueryError: The key, the manager or the timeout has the wrong type.
        UnknownProviderError: The vendor does not exist.
    """

    vendor: ClassVar[str]
    per_minute: ClassVar[int | None] = None

    def __init__(
        self,
        api_key: str | None = None,
        *,
        manager: DataManager | None = None,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and not isinstance(timeout, int | float):
            raise QueryError(f"the timeout must be a number of seconds, not {timeout!r:.80}")
        self._source = _LimitedSource(self.per_minute, manager, self.vendor, api_key)
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.vendor}>"

    async def fetch_prices(
        self, symbol: str, timeframe: str, start: date | datetime, end: date | datetime
    ) -> pl.DataFrame:
        """Request bars from the vendor, store them, and return them.

        Args:
            symbol, timeframe: See ``get_ohlcv``.
            start, end: First and last date or time, both inclusive.

        Returns:
            A frame as described in :func:`.prices_frame`, adjusted for splits.

        Raises:
            DataError: As for ``get_ohlcv``. Bars that do not exist are not an error.
        """
        return await prices(
            self._source.manager,
            symbol,
            timeframe,
            start,
            end,
            provider=self.vendor,
            force_refresh=True,
            timeout=self._timeout,
        )

    async def live_feed(self, symbol: str, timeframe: str, lookback_bars: int = 200) -> AnyFeed:
        """Return the vendor's live feed for a series, without starting it; see ``live_feed``.

        Raises:
            QueryError: The symbol or timeframe is invalid.
            ConfigError: The vendor has no feed for this series, or a key or an extra is missing.
        """
        manager = self._source.manager
        return await in_thread(
            lambda: manager.live_feed(symbol, timeframe, lookback_bars, provider=self.vendor),
            looks=False,
        )

    async def fetch_fundamentals(self, symbol: str) -> dict[str, Any]:
        """Return the vendor's data about a company or coin; see ``get_fundamentals``."""
        manager = self._source.manager
        return await in_thread(
            lambda: manager.get_fundamentals(
                symbol, [self.vendor], force_refresh=True, timeout=self._timeout
            ),
            looks=False,
        )

    async def fetch_universe(self, name: str) -> list[str]:
        """Return today's members of a universe in the database, in the universe's order.

        Raises:
            UniverseError: The universe does not exist.
            MissingExtraError: The extra ``db`` is not installed.
        """
        manager = self._source.manager
        return await in_thread(lambda: list(manager.universes.members(name)), looks=False)


class FMPProvider(VendorProvider):
    """Financial Modeling Prep, with 300 requests a minute."""

    vendor, per_minute = "fmp", 300


class AlphaVantageProvider(VendorProvider):
    """Alpha Vantage, for replacing or confirming another provider."""

    vendor = "alpha_vantage"


class YFinanceProvider(VendorProvider):
    """Yahoo Finance, which needs no key."""

    vendor = "yahoo"


def provider_for(
    vendor: str,
    api_key: str | None = None,
    *,
    manager: DataManager | None = None,
    timeout: float | None = None,
) -> VendorProvider:
    """Return a provider for any of the library's vendors.

    Args:
        vendor: Name or alias of the vendor, such as ``tiingo``; ``onetape providers`` lists them.
        api_key, manager, timeout: See :class:`VendorProvider`.

    Raises:
        UnknownProviderError: The vendor does not exist.
    """
    name = canonical_name(vendor) if isinstance(vendor, str) else None
    if name is None:
        raise UnknownProviderError(
            f"unknown vendor {vendor!r:.80}", hint="`onetape providers` lists them"
        )
    declared = {cls.vendor: cls for cls in (FMPProvider, AlphaVantageProvider, YFinanceProvider)}
    made = type("VendorProvider", (VendorProvider,), {"vendor": name})
    cls: type[VendorProvider] = declared.get(name, made)
    return cls(api_key, manager=manager, timeout=timeout)


class _LimitedSource(VendorDataSource):
    """A source with its own key and, unless the rules set a lower one, the account's rate limit."""

    def __init__(
        self, per_minute: int | None, manager: DataManager | None, vendor: str, api_key: str | None
    ) -> None:
        self._per_minute = per_minute
        keys = {} if api_key is None else {"api_key": api_key}
        super().__init__(manager, provider=vendor, **keys)

    @property
    def _is_apart(self) -> bool:
        return bool(self._keys) or self._per_minute is not None

    def _separate_manager(self, base: DataManager) -> DataManager:
        rules = base.provider_selector.rules
        if self._per_minute is not None:
            providers = rules.get("providers") or {}
            vendor = providers.get(self.provider) or {}
            limits = vendor.get("rate_limits") or {}
            most = min(self._per_minute, limits.get("requests_per_minute") or self._per_minute)
            vendor = vendor | {"rate_limits": limits | {"requests_per_minute": most}}
            rules = rules | {"providers": providers | {self.provider: vendor}}
        made = manager_like(base, rules)
        self._use_keys(made)
        return made
