"""The facade's other door: what is told of an instrument beside its bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from .wiring import Services

When = datetime | date | str | None


class BeyondBars:
    """Figures of perpetual futures, and fundamentals of companies and coins. Thread-safe.

    Funding rates, open interest and long/short ratios are frames on a naive UTC index
    (``timestamp``, ns), float64, ascending; a stretch that was answered once comes from the cache.
    ``BTCUSDT`` is the future settled in dollars, ``BTCUSD`` (or ``BTCUSD_PERP``) the one settled
    in the coin.
    """

    _services: Services

    def get_funding_rate(
        self,
        symbol: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return the rates that were paid: column ``fundingRate``, at every funding time.

        Args:
            symbol: of the pair, such as ``BTCUSDT``.
            start_date, end_date: inclusive; datetimes are UTC instants (naive means UTC), dates
                and ``YYYY-MM-DD`` texts whole UTC days. Default: from 29 days ago, until now.
            force_refresh: ask for all of it again.
            timeout: seconds after which nothing is waited for any more, as for ``get_ohlcv``.

        Raises:
            QueryError: an argument cannot be understood, or the symbol is no crypto pair.
            AllProvidersFailedError: nobody could supply it and nothing is cached.

        Warns:
            IncompleteDataWarning: part of it could not be had; ``attrs["onetape"]`` says which.
        """
        from .model.figures import FUNDING, FUNDING_PERIOD

        bounds = (start_date, end_date)
        with self._services.observer.call_beside(symbol, FUNDING_PERIOD):
            return self._services.figures.get(
                FUNDING, symbol, FUNDING_PERIOD, bounds, force_refresh, timeout
            )

    def get_open_interest(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return open contracts: columns ``sumOpenInterest``, ``sumOpenInterestValue``.

        The exchange keeps the last 30 days; what was fetched stays in the cache.

        Args:
            symbol, start_date, end_date, force_refresh, timeout: as for :meth:`get_funding_rate`.
            period: time between two rows: 5m 15m 30m 1h 2h 4h 6h 12h 1d.

        Raises:
            QueryError, AllProvidersFailedError: as :meth:`get_funding_rate`.
        """
        from .model.figures import OPEN_INTEREST

        bounds = (start_date, end_date)
        with self._services.observer.call_beside(symbol, period):
            return self._services.figures.get(
                OPEN_INTEREST, symbol, period, bounds, force_refresh, timeout
            )

    def get_long_short_ratio(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return accounts: columns ``longShortRatio``, ``longAccount``, ``shortAccount``.

        Arguments, depth and errors as for :meth:`get_open_interest`.
        """
        from .model.figures import LONG_SHORT

        bounds = (start_date, end_date)
        with self._services.observer.call_beside(symbol, period):
            return self._services.figures.get(
                LONG_SHORT, symbol, period, bounds, force_refresh, timeout
            )

    def get_fundamentals(
        self,
        symbol: str,
        providers: Sequence[str] | None = None,
        force_refresh: bool = False,
        combination_strategy: str = "priority_based",
        data_type: str = "general",
        max_age_days: float | None = None,
        *,
        as_of: When = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return what vendors tell of a company or coin, as one record; {} where nobody knows.

        It never raises; why it is empty is logged. ``_metadata`` tells for each field who said it
        and when, what vendors disagree about, who was asked and who failed. ``docs/fundamentals.md``
        lists the fields with their units.

        Args:
            symbol: such as ``AAPL``, ``BRK.B``, ``BTCUSDT``.
            providers: ask and use these alone; where they differ, an earlier one is believed before
                a later one, whatever the rules' order.
            force_refresh: ask again though what is cached is fresh.
            combination_strategy: ``priority_based``, ``quality_based`` or ``consensus``.
            data_type: ``general``, ``profile``, ``ratios``, ``statements`` or one of their aliases.
            max_age_days: how old what is cached may be; by default the type's own age.
            as_of: only what was public by this date; of an instant, by the day before.
            timeout: seconds after which no vendor and no other caller is waited for any more, in
                place of ``time_budget_seconds`` of the fundamentals file (20).
        """
        from .fundamentals.request import Wish

        wish = Wish(
            providers, force_refresh, combination_strategy, data_type, max_age_days, as_of, timeout
        )
        return self._services.fundamentals.get(symbol, wish)

    def _normalize_symbol(self, symbol: Any) -> str:
        """Return how a company's symbol is written here (``BRK-B``), empty where it is none.

        Older programs reach in for it.
        """
        from .fundamentals.request import normalized

        return normalized(symbol)
