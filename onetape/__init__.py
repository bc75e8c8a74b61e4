"""One door to market data: bars that are complete, final, of one kind, and able to prove it.

::

    from onetape import get_data_manager

    df = get_data_manager().get_ohlcv("AAPL", "1d", "2024-01-01", "2024-12-31")

Each name is the very object of :mod:`src.data`, which is where the code lives, and is resolved when
it is first used: importing this package loads neither pandas nor an HTTP library nor any vendor.

Where another package is called ``src``, importing this one makes ``src.data`` importable beside it.

Raises:
    HiddenPackageError: another package has a ``src.data``, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._path import HiddenPackageError, find_src_data

if TYPE_CHECKING:
    from src.data import (
        AllProvidersFailedError,
        DataError,
        DataFeedFactory,
        DataManager,
        IncompleteDataError,
        IncompleteDataWarning,
        Listing,
        ProviderSelector,
        QueryError,
        Quote,
        Quotes,
        RateLimiter,
        UnifiedCache,
        __version__,
        coerce_ohlcv_timestamp_column,
        configure_logging,
        describe,
        fingerprint,
        get_data_manager,
        get_data_quality_score,
        get_provider_selector,
        plot,
        register,
        reset_data_manager,
        to_arrow,
        to_polars,
        validate_ohlcv_data,
    )

__all__ = (
    "DataManager",
    "get_data_manager",
    "reset_data_manager",
    "ProviderSelector",
    "get_provider_selector",
    "UnifiedCache",
    "coerce_ohlcv_timestamp_column",
    "to_polars",
    "to_arrow",
    "DataFeedFactory",
    "configure_logging",
    "describe",
    "fingerprint",
    "plot",
    "Listing",
    "Quote",
    "Quotes",
    "RateLimiter",
    "register",
    "validate_ohlcv_data",
    "get_data_quality_score",
    "DataError",
    "QueryError",
    "AllProvidersFailedError",
    "IncompleteDataError",
    "IncompleteDataWarning",
    "HiddenPackageError",
    "__version__",
)

_data = find_src_data()


def __getattr__(name: str) -> Any:
    """Resolve a public name in ``src.data``; nothing is kept here, so a patch there is seen."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_data, name)


def __dir__() -> list[str]:
    """List the public names together with what is already loaded."""
    return sorted({*globals(), *__all__})
