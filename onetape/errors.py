"""All errors and warnings of this library; ``docs/errors.md`` has the remedy for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.errors import AllProvidersFailedError as AllProvidersFailedError
    from .data.errors import AuthenticationError as AuthenticationError
    from .data.errors import BadRangeError as BadRangeError
    from .data.errors import BadSymbolError as BadSymbolError
    from .data.errors import BadTimeframeError as BadTimeframeError
    from .data.errors import BundleError as BundleError
    from .data.errors import BundleNotFoundError as BundleNotFoundError
    from .data.errors import CacheError as CacheError
    from .data.errors import CapabilityError as CapabilityError
    from .data.errors import CircuitOpenError as CircuitOpenError
    from .data.errors import ConfigError as ConfigError
    from .data.errors import CorruptEntryError as CorruptEntryError
    from .data.errors import DatabaseError as DatabaseError
    from .data.errors import DatabaseUrlError as DatabaseUrlError
    from .data.errors import DataError as DataError
    from .data.errors import DataPortalError as DataPortalError
    from .data.errors import DataProviderError as DataProviderError
    from .data.errors import DecimalRangeError as DecimalRangeError
    from .data.errors import EntitlementError as EntitlementError
    from .data.errors import FeatureError as FeatureError
    from .data.errors import FeedLagError as FeedLagError
    from .data.errors import ForeignError as ForeignError
    from .data.errors import FormatVersionError as FormatVersionError
    from .data.errors import IncompleteDataError as IncompleteDataError
    from .data.errors import IncompleteDataWarning as IncompleteDataWarning
    from .data.errors import KindMismatchError as KindMismatchError
    from .data.errors import LockTimeoutError as LockTimeoutError
    from .data.errors import LogUnreachableError as LogUnreachableError
    from .data.errors import LookaheadError as LookaheadError
    from .data.errors import MissingCredentialsError as MissingCredentialsError
    from .data.errors import MissingExtraError as MissingExtraError
    from .data.errors import NoDataAvailableError as NoDataAvailableError
    from .data.errors import NoDataError as NoDataError
    from .data.errors import NoProviderError as NoProviderError
    from .data.errors import OvertakenError as OvertakenError
    from .data.errors import ProviderError as ProviderError
    from .data.errors import ProviderTimeoutError as ProviderTimeoutError
    from .data.errors import QualityError as QualityError
    from .data.errors import QueryError as QueryError
    from .data.errors import RateLimitedError as RateLimitedError
    from .data.errors import ReadOnlyCacheWarning as ReadOnlyCacheWarning
    from .data.errors import RefusedError as RefusedError
    from .data.errors import RegionError as RegionError
    from .data.errors import ResponseFormatError as ResponseFormatError
    from .data.errors import RulesError as RulesError
    from .data.errors import SchemaError as SchemaError
    from .data.errors import SeriesEndedWarning as SeriesEndedWarning
    from .data.errors import SpliceConflictError as SpliceConflictError
    from .data.errors import StorageError as StorageError
    from .data.errors import SurvivorshipWarning as SurvivorshipWarning
    from .data.errors import SymbolNotFoundError as SymbolNotFoundError
    from .data.errors import TransientError as TransientError
    from .data.errors import UnavailableError as UnavailableError
    from .data.errors import UniverseError as UniverseError
    from .data.errors import UnknownProviderError as UnknownProviderError
    from .data.errors import UnknownSymbolError as UnknownSymbolError
    from .data.errors import UnsupportedError as UnsupportedError
else:
    __all__, __getattr__, __dir__ = door(__name__)
