"""Market data behind one call: bars of one kind, with a record of their origin and their gaps.

::

    from onetape import get_data_manager

    df = get_data_manager().get_ohlcv("AAPL", "1d", "2024-01-01", "2024-12-31")

The code is in :mod:`onetape.data`. Names are resolved on first use, so importing this package loads
neither pandas, nor an HTTP library, nor any vendor's module.

Raises:
    ImportError: The package is in an archive that is not unpacked.
"""

from __future__ import annotations

from os import path as _path
from typing import TYPE_CHECKING, Any

_home = _path.dirname(_path.realpath(__file__))
_data = _path.join(_home, "data")
if _path.islink(_data) or not _path.isdir(_data):
    # A checkout: `data` is in its folder `src`. The link is for type checkers, and may be missing.
    _tree = _path.join(_path.dirname(_home), "src")
    if not _path.isdir(_tree):
        raise ImportError(
            f"onetape cannot be imported from the archive {_path.dirname(_home)}, because it reads files "
            "next to its modules: install it with pip, or unpack the archive",
            name=__name__,
            path=__file__,
        )
    __path__.insert(0, _tree)
    from ._older_name import offer

    offer()

from . import data  # noqa: E402 - in a checkout it is found only now

if TYPE_CHECKING:
    from .data import (
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
        SeriesEndedWarning,
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
    "SeriesEndedWarning",
    "__version__",
)


def __getattr__(name: str) -> Any:
    """Look up a public name in ``onetape.data``, every time, so that patches there take effect."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(data, name)


def __dir__() -> list[str]:
    """List the public names and the module's other attributes."""
    return sorted({*globals(), *__all__})
