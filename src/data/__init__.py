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

from onetape.public import OF_DATA, find

if TYPE_CHECKING:
    # Made by `make lists`.
    from ._version import __version__ as __version__
    from .core.cache.facade.unified_cache import UnifiedCache as UnifiedCache
    from .core.model.answer.frame import (
        coerce_ohlcv_timestamp_column as coerce_ohlcv_timestamp_column,
    )
    from .core.model.answer.interchange import to_arrow as to_arrow
    from .core.model.answer.interchange import to_polars as to_polars
    from .core.model.answer.proof import describe as describe
    from .core.model.answer.proof import fingerprint as fingerprint
    from .core.model.identity.listings import Listing as Listing
    from .core.model.market.quote import Quote as Quote
    from .core.model.market.quote import Quotes as Quotes
    from .core.observability.logs import configure_logging as configure_logging
    from .core.own_loops.limiters import RateLimiter as RateLimiter
    from .core.provider_selector import ProviderSelector as ProviderSelector
    from .core.provider_selector import get_provider_selector as get_provider_selector
    from .core.vendors.factory import register as register
    from .data_manager import DataManager as DataManager
    from .data_manager import get_data_manager as get_data_manager
    from .data_manager import reset_data_manager as reset_data_manager
    from .doors.compat.data_feed_factory import DataFeedFactory as DataFeedFactory
    from .doors.compat.validation import get_data_quality_score as get_data_quality_score
    from .doors.compat.validation import validate_ohlcv_data as validate_ohlcv_data
    from .errors import AllProvidersFailedError as AllProvidersFailedError
    from .errors import AuthenticationError as AuthenticationError
    from .errors import BadRangeError as BadRangeError
    from .errors import BadSymbolError as BadSymbolError
    from .errors import BadTimeframeError as BadTimeframeError
    from .errors import BundleError as BundleError
    from .errors import BundleNotFoundError as BundleNotFoundError
    from .errors import CacheError as CacheError
    from .errors import CapabilityError as CapabilityError
    from .errors import CircuitOpenError as CircuitOpenError
    from .errors import ConfigError as ConfigError
    from .errors import CorruptEntryError as CorruptEntryError
    from .errors import DatabaseError as DatabaseError
    from .errors import DatabaseUrlError as DatabaseUrlError
    from .errors import DataError as DataError
    from .errors import DataPortalError as DataPortalError
    from .errors import DataProviderError as DataProviderError
    from .errors import DecimalRangeError as DecimalRangeError
    from .errors import EntitlementError as EntitlementError
    from .errors import FeatureError as FeatureError
    from .errors import FeedLagError as FeedLagError
    from .errors import ForeignError as ForeignError
    from .errors import FormatVersionError as FormatVersionError
    from .errors import IncompleteDataError as IncompleteDataError
    from .errors import IncompleteDataWarning as IncompleteDataWarning
    from .errors import KindMismatchError as KindMismatchError
    from .errors import LockTimeoutError as LockTimeoutError
    from .errors import LogUnreachableError as LogUnreachableError
    from .errors import LookaheadError as LookaheadError
    from .errors import MissingCredentialsError as MissingCredentialsError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NoDataAvailableError as NoDataAvailableError
    from .errors import NoDataError as NoDataError
    from .errors import NoProviderError as NoProviderError
    from .errors import OvertakenError as OvertakenError
    from .errors import ProviderError as ProviderError
    from .errors import ProviderTimeoutError as ProviderTimeoutError
    from .errors import QualityError as QualityError
    from .errors import QueryError as QueryError
    from .errors import RateLimitedError as RateLimitedError
    from .errors import ReadOnlyCacheWarning as ReadOnlyCacheWarning
    from .errors import RefusedError as RefusedError
    from .errors import RegionError as RegionError
    from .errors import ResponseFormatError as ResponseFormatError
    from .errors import RulesError as RulesError
    from .errors import SchemaError as SchemaError
    from .errors import SeriesEndedWarning as SeriesEndedWarning
    from .errors import SpliceConflictError as SpliceConflictError
    from .errors import StorageError as StorageError
    from .errors import SurvivorshipWarning as SurvivorshipWarning
    from .errors import SymbolNotFoundError as SymbolNotFoundError
    from .errors import TransientError as TransientError
    from .errors import UnavailableError as UnavailableError
    from .errors import UniverseError as UniverseError
    from .errors import UnknownProviderError as UnknownProviderError
    from .errors import UnknownSymbolError as UnknownSymbolError
    from .errors import UnsupportedError as UnsupportedError
    from .features.check import check_features as check_features
    from .features.recipes import register_recipe as register_recipe
    from .show.charts.picture import plot as plot

__all__ = tuple(OF_DATA)


def __getattr__(name: str) -> Any:
    """Return a public name from its module, without caching it, so that a patched module is respected."""
    if name in OF_DATA:
        return find(name, OF_DATA[name])
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
    return sorted({*globals(), *OF_DATA})
