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

from os import path as _path
from typing import TYPE_CHECKING, Any

from . import _older_name
from .public import OF_DATA, door

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
    # Made by `make lists`.
    from . import aio as aio
    from . import bundles as bundles
    from . import currencies as currencies
    from . import db as db
    from . import errors as errors
    from . import feeds as feeds
    from . import futures as futures
    from . import jobs as jobs
    from . import receipts as receipts
    from . import sources as sources
    from . import testing as testing
    from . import vendors as vendors
    from . import yf as yf
    from .data._version import __version__ as __version__
    from .data.core.cache.facade.unified_cache import UnifiedCache as UnifiedCache
    from .data.core.model.answer.frame import (
        coerce_ohlcv_timestamp_column as coerce_ohlcv_timestamp_column,
    )
    from .data.core.model.answer.interchange import to_arrow as to_arrow
    from .data.core.model.answer.interchange import to_polars as to_polars
    from .data.core.model.answer.proof import describe as describe
    from .data.core.model.answer.proof import fingerprint as fingerprint
    from .data.core.model.identity.listings import Listing as Listing
    from .data.core.model.market.quote import Quote as Quote
    from .data.core.model.market.quote import Quotes as Quotes
    from .data.core.observability.logs import configure_logging as configure_logging
    from .data.core.own_loops.limiters import RateLimiter as RateLimiter
    from .data.core.provider_selector import ProviderSelector as ProviderSelector
    from .data.core.provider_selector import get_provider_selector as get_provider_selector
    from .data.core.vendors.factory import register as register
    from .data.data_manager import DataManager as DataManager
    from .data.data_manager import get_data_manager as get_data_manager
    from .data.data_manager import reset_data_manager as reset_data_manager
    from .data.doors.compat.data_feed_factory import DataFeedFactory as DataFeedFactory
    from .data.doors.compat.validation import get_data_quality_score as get_data_quality_score
    from .data.doors.compat.validation import validate_ohlcv_data as validate_ohlcv_data
    from .data.features.check import check_features as check_features
    from .data.features.recipes import register_recipe as register_recipe
    from .data.show.charts.picture import plot as plot
    from .errors import *  # noqa: F403 - the root has all of them
else:  # type checkers report names that do not exist
    __all__, _look_up, __dir__ = door(__name__)

    def __getattr__(name: str) -> Any:
        """Look up a public name in ``onetape.data``, each time, so that patches there take effect."""
        return getattr(data, name) if name in OF_DATA else _look_up(name)
