"""Market data behind one call: bars of one kind, with a record of their origin and their gaps.

Bars: ``get_data_manager().get_ohlcv("AAPL", "1d", start="2024-01-01", end="2024-12-31")``.
Batch: ``get_ohlcv_batch(["AAPL", "MSFT"], "1d", start="-30d")`` returns a dict of frames.
Strict: with ``strict=True``, an incomplete answer is an error; otherwise it is a warning.
Offline: with ``offline=True``, only the cache answers; ``provider="demo"`` has sample bars.
Provenance: ``describe(frame)`` and ``frame.attrs["onetape"]`` name vendors, gaps and states.
Errors: all are a ``DataError``; ``QueryError`` for arguments, ``AllProvidersFailedError`` for
vendors, ``IncompleteDataError`` for ``strict``. Each has ``reason``, ``brief`` and ``candidates``.
Help: ``help(DataManager.get_ohlcv)``; ``onetape docs`` prints the pages, ``onetape docs llms`` a list.
"""

from __future__ import annotations

from importlib import import_module
from os import path as _path
from typing import TYPE_CHECKING, Any

from . import _older_name

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
    _older_name.offer()
_older_name.serve_paths()

from . import data  # noqa: E402 - in a checkout it is found only now

if TYPE_CHECKING:
    from . import aio as aio
    from . import testing as testing
    from . import yf as yf
    from .data import (
        AllProvidersFailedError,
        AuthenticationError,
        BadRangeError,
        BadSymbolError,
        BadTimeframeError,
        BundleError,
        BundleNotFoundError,
        CacheError,
        CapabilityError,
        CircuitOpenError,
        ConfigError,
        CorruptEntryError,
        DatabaseError,
        DatabaseUrlError,
        DataError,
        DataFeedFactory,
        DataManager,
        DataPortalError,
        DataProviderError,
        DecimalRangeError,
        EntitlementError,
        FeatureError,
        FeedLagError,
        ForeignError,
        FormatVersionError,
        IncompleteDataError,
        IncompleteDataWarning,
        KindMismatchError,
        Listing,
        LockTimeoutError,
        LogUnreachableError,
        LookaheadError,
        MissingCredentialsError,
        MissingExtraError,
        NoDataAvailableError,
        NoDataError,
        NoProviderError,
        OvertakenError,
        ProviderError,
        ProviderSelector,
        ProviderTimeoutError,
        QualityError,
        QueryError,
        Quote,
        Quotes,
        RateLimitedError,
        RateLimiter,
        ReadOnlyCacheWarning,
        RefusedError,
        RegionError,
        ResponseFormatError,
        RulesError,
        SchemaError,
        SeriesEndedWarning,
        SpliceConflictError,
        StorageError,
        SurvivorshipWarning,
        SymbolNotFoundError,
        TransientError,
        UnavailableError,
        UnifiedCache,
        UniverseError,
        UnknownProviderError,
        UnknownSymbolError,
        UnsupportedError,
        __version__,
        check_features,
        coerce_ohlcv_timestamp_column,
        configure_logging,
        describe,
        fingerprint,
        get_data_manager,
        get_data_quality_score,
        get_provider_selector,
        plot,
        register,
        register_recipe,
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
    "register_recipe",
    "to_arrow",
    "DataFeedFactory",
    "configure_logging",
    "check_features",
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
    "ConfigError",
    "RulesError",
    "MissingCredentialsError",
    "UnknownProviderError",
    "MissingExtraError",
    "QueryError",
    "BadSymbolError",
    "BadTimeframeError",
    "BadRangeError",
    "UniverseError",
    "FeatureError",
    "NoProviderError",
    "ProviderError",
    "TransientError",
    "ProviderTimeoutError",
    "UnavailableError",
    "ForeignError",
    "RateLimitedError",
    "RefusedError",
    "AuthenticationError",
    "EntitlementError",
    "RegionError",
    "UnsupportedError",
    "SymbolNotFoundError",
    "CapabilityError",
    "NoDataError",
    "ResponseFormatError",
    "QualityError",
    "KindMismatchError",
    "SpliceConflictError",
    "CircuitOpenError",
    "AllProvidersFailedError",
    "DataProviderError",
    "UnknownSymbolError",
    "IncompleteDataError",
    "FeedLagError",
    "DataPortalError",
    "NoDataAvailableError",
    "LookaheadError",
    "IncompleteDataWarning",
    "SeriesEndedWarning",
    "SurvivorshipWarning",
    "ReadOnlyCacheWarning",
    "CacheError",
    "CorruptEntryError",
    "FormatVersionError",
    "LockTimeoutError",
    "StorageError",
    "LogUnreachableError",
    "OvertakenError",
    "BundleError",
    "BundleNotFoundError",
    "DecimalRangeError",
    "DatabaseError",
    "DatabaseUrlError",
    "SchemaError",
    "__version__",
)

_MODULES = ("aio", "testing", "yf")


if not TYPE_CHECKING:  # type checkers report names that do not exist

    def __getattr__(name: str) -> Any:
        """Look up a public name in ``onetape.data``, each time, so that patches there take effect."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            if name.startswith("_"):
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
            guesses = import_module(".data.core.guesses", __name__)
            guesses.refuse_package_name(__name__, name, __all__, data.DataManager)
        return getattr(data, name)


def __dir__() -> list[str]:
    """List the public names and the module's attributes such as ``__file__``."""
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
