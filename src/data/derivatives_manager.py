"""The facade's other door: figures of perpetual futures that are no bars."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from .model.figures import FUNDING, FUNDING_PERIOD, LONG_SHORT, OPEN_INTEREST

if TYPE_CHECKING:
    import pandas as pd

    from .wiring import Services

When = datetime | date | str | None


class DerivativesManager:
    """Funding rates, open interest and long/short ratios of perpetual futures. Thread-safe.

    All answers are frames on a naive UTC index (``timestamp``, ns), float64, ascending; a stretch
    that was answered once comes from the cache. ``BTCUSDT`` is the future settled in dollars,
    ``BTCUSD`` (or ``BTCUSD_PERP``) the one settled in the coin.
    """

    _services: Services

    def get_funding_rate(
        self,
        symbol: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
    ) -> pd.DataFrame:
        """Return the rates that were paid: column ``fundingRate``, at every funding time.

        Args:
            symbol: of the pair, such as ``BTCUSDT``.
            start_date, end_date: inclusive; datetimes are UTC instants (naive means UTC), dates
                and ``YYYY-MM-DD`` texts whole UTC days. Default: from 29 days ago, until now.
            force_refresh: ask for all of it again.

        Raises:
            QueryError: an argument cannot be understood, or the symbol is no crypto pair.
            AllProvidersFailedError: nobody could supply it and nothing is cached.

        Warns:
            IncompleteDataWarning: part of it could not be had; ``attrs["onetape"]`` says which.
        """
        bounds = (start_date, end_date)
        return self._services.figures.get(FUNDING, symbol, FUNDING_PERIOD, bounds, force_refresh)

    def get_open_interest(
        self, symbol: str, period: str, start_date: When = None, end_date: When = None,
        force_refresh: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Return open contracts: columns ``sumOpenInterest``, ``sumOpenInterestValue``.

        The exchange keeps the last 30 days; what was fetched stays in the cache.

        Args:
            symbol, start_date, end_date, force_refresh: as for :meth:`get_funding_rate`.
            period: time between two rows: 5m 15m 30m 1h 2h 4h 6h 12h 1d.

        Raises:
            QueryError, AllProvidersFailedError: as :meth:`get_funding_rate`.
        """
        bounds = (start_date, end_date)
        return self._services.figures.get(OPEN_INTEREST, symbol, period, bounds, force_refresh)

    def get_long_short_ratio(
        self, symbol: str, period: str, start_date: When = None, end_date: When = None,
        force_refresh: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Return accounts: columns ``longShortRatio``, ``longAccount``, ``shortAccount``.

        Arguments, depth and errors as for :meth:`get_open_interest`.
        """
        bounds = (start_date, end_date)
        return self._services.figures.get(LONG_SHORT, symbol, period, bounds, force_refresh)
