"""Market data behind one call: bars of one kind, with a record of their origin and their gaps.

::

    from onetape import get_data_manager

    df = get_data_manager().get_ohlcv("AAPL", "1d", "2024-01-01", "2024-12-31")

The code is in :mod:`src.data`, and each name here is the same object as there. Names are resolved
on first use, so importing this package loads neither pandas, nor an HTTP library, nor any vendor's
module.

If another package is named ``src``, importing this one makes ``src.data`` importable as well.

Raises:
    HiddenPackageError: The other package also contains a ``src.data``.
"""

from __future__ import annotations

from importlib import import_module
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
    """Look up a public name in ``src.data``; this is done every time, so that patches there take effect."""
    if name not in __all__:
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        guesses = import_module(f"{_data.__name__}.guesses")
        guesses.refuse_package_name(__name__, name, __all__, _data.DataManager)
    return getattr(_data, name)


def __dir__() -> list[str]:
    """List the public names and the module's attributes such as ``__file__``."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
