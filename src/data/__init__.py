"""Market data behind one call: bars of one kind, with a record of their origin and their gaps.

::

    from onetape import get_data_manager

    df = get_data_manager().get_ohlcv("AAPL", "1d", "2024-01-01", "2024-12-31")

The package is ``onetape.data``, in a checkout ``src.data`` as well. Names are resolved on first use, so
importing it does not load pandas, an HTTP library or any vendor's module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if __name__ == "src.data":  # in a checkout, this file has both names
    from onetape._older_name import serve

    serve()

from ._version import __version__

if TYPE_CHECKING:
    from .core.cache.facade.unified_cache import UnifiedCache
    from .core.model.answer.frame import coerce_ohlcv_timestamp_column
    from .core.model.answer.interchange import to_arrow, to_polars
    from .core.model.answer.proof import describe, fingerprint
    from .core.model.identity.listings import Listing
    from .core.model.market.quote import Quote, Quotes
    from .core.observability.logs import configure_logging
    from .core.own_loops.limiters import RateLimiter
    from .core.provider_selector import ProviderSelector, get_provider_selector
    from .core.vendors.factory import register
    from .data_manager import DataManager, get_data_manager, reset_data_manager
    from .doors.compat.data_feed_factory import DataFeedFactory
    from .doors.compat.validation import get_data_quality_score, validate_ohlcv_data
    from .errors import (
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
        ProviderTimeoutError,
        QualityError,
        QueryError,
        RateLimitedError,
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
        UniverseError,
        UnknownProviderError,
        UnknownSymbolError,
        UnsupportedError,
    )
    from .features.check import check_features
    from .features.recipes import register_recipe
    from .show.charts.picture import plot

# Maps each public name to its module. No submodule may have the same name as one of them, because
# importing the submodule would overwrite the name.
_HOMES = {
    "DataManager": "data_manager",
    "get_data_manager": "data_manager",
    "reset_data_manager": "data_manager",
    "ProviderSelector": "core.provider_selector",
    "get_provider_selector": "core.provider_selector",
    "UnifiedCache": "core.cache.facade.unified_cache",
    "coerce_ohlcv_timestamp_column": "core.model.answer.frame",
    "to_polars": "core.model.answer.interchange",
    "register_recipe": "features.recipes",
    "to_arrow": "core.model.answer.interchange",
    "DataFeedFactory": "doors.compat.data_feed_factory",
    "configure_logging": "core.observability.logs",
    "check_features": "features.check",
    "describe": "core.model.answer.proof",
    "fingerprint": "core.model.answer.proof",
    "plot": "show.charts.picture",
    "Listing": "core.model.identity.listings",
    "Quote": "core.model.market.quote",
    "Quotes": "core.model.market.quote",
    "RateLimiter": "core.own_loops.limiters",
    "register": "core.vendors.factory",
    "validate_ohlcv_data": "doors.compat.validation",
    "get_data_quality_score": "doors.compat.validation",
    "DataError": "errors",
    "ConfigError": "errors",
    "RulesError": "errors",
    "MissingCredentialsError": "errors",
    "UnknownProviderError": "errors",
    "MissingExtraError": "errors",
    "QueryError": "errors",
    "BadSymbolError": "errors",
    "BadTimeframeError": "errors",
    "BadRangeError": "errors",
    "UniverseError": "errors",
    "FeatureError": "errors",
    "NoProviderError": "errors",
    "ProviderError": "errors",
    "TransientError": "errors",
    "ProviderTimeoutError": "errors",
    "UnavailableError": "errors",
    "ForeignError": "errors",
    "RateLimitedError": "errors",
    "RefusedError": "errors",
    "AuthenticationError": "errors",
    "EntitlementError": "errors",
    "RegionError": "errors",
    "UnsupportedError": "errors",
    "SymbolNotFoundError": "errors",
    "CapabilityError": "errors",
    "NoDataError": "errors",
    "ResponseFormatError": "errors",
    "QualityError": "errors",
    "KindMismatchError": "errors",
    "SpliceConflictError": "errors",
    "CircuitOpenError": "errors",
    "AllProvidersFailedError": "errors",
    "DataProviderError": "errors",
    "UnknownSymbolError": "errors",
    "IncompleteDataError": "errors",
    "FeedLagError": "errors",
    "DataPortalError": "errors",
    "NoDataAvailableError": "errors",
    "LookaheadError": "errors",
    "IncompleteDataWarning": "errors",
    "SeriesEndedWarning": "errors",
    "SurvivorshipWarning": "errors",
    "ReadOnlyCacheWarning": "errors",
    "CacheError": "errors",
    "CorruptEntryError": "errors",
    "FormatVersionError": "errors",
    "LockTimeoutError": "errors",
    "StorageError": "errors",
    "LogUnreachableError": "errors",
    "OvertakenError": "errors",
    "BundleError": "errors",
    "BundleNotFoundError": "errors",
    "DecimalRangeError": "errors",
    "DatabaseError": "errors",
    "DatabaseUrlError": "errors",
    "SchemaError": "errors",
}

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


def __getattr__(name: str) -> Any:
    """Return a public name from its module, without caching it, so that a patched module is respected."""
    from .core.parts import load_part

    if name in _HOMES:
        if _HOMES[name] != "errors":
            # First, because a fork then waits for the imports that follow.
            from .core.runtime import forks as forks
        return getattr(load_part(_HOMES[name]), name)
    from .doors.older_paths import NAMES, refuse_name

    if name in NAMES:
        refuse_name(name)
    from importlib.util import find_spec  # here: programs rarely look up other names

    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is None:
        from .core.guesses import refuse_package_name

        refuse_package_name(__name__, name, __all__, __getattr__("DataManager"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, and all other names that have already been loaded."""
    return sorted({*globals(), *_HOMES})
