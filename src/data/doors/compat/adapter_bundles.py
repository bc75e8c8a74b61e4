"""Deprecated wrappers of a source's ``ingest_to_bundle``; each of them warns."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ...core.model.words.caller import warn_user
from ...research.sources.sources import BundlePath
from ...research.sources.vendor_sources import DataSourceRegistry, VendorDataSource


class ProfilingBundle(Protocol):
    """A function that writes bars to one bundle."""

    def __call__(
        self, symbols: list[str], start_date: Any, end_date: Any, **config: Any
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write bars to the bundle; return its folder, or a task as ``ingest_to_bundle`` does.

        Args:
            symbols, start_date, end_date: See :meth:`.VendorDataSource.ingest_to_bundle`.
            **config: Arguments for the source's class.

        Raises:
            DataError: See :meth:`.VendorDataSource.ingest_to_bundle`.

        Warns:
            DeprecationWarning: Issued by every call.
        """


def _writer(name: str, frequency: str, bundle: str) -> ProfilingBundle:
    """Return the function that writes a source's bars to a bundle."""

    def write(
        symbols: list[str], start_date: Any, end_date: Any, **config: Any
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write bars to the bundle; see :meth:`.VendorDataSource.ingest_to_bundle`."""
        warn_user(
            (
                "adapter bundles are deprecated; use "
                f"DataSourceRegistry.get_source({name!r}).ingest_to_bundle({bundle!r}, symbols, "
                f"start, end, {frequency!r}) instead"
            ),
            DeprecationWarning,
        )
        source = DataSourceRegistry.get_source(name, **config)
        assert isinstance(source, VendorDataSource)
        return source.ingest_to_bundle(bundle, symbols, start_date, end_date, frequency)

    return write


yfinance_profiling_bundle = _writer("yfinance", "1d", "yfinance-profiling")
ccxt_hourly_profiling_bundle = _writer("ccxt", "1h", "ccxt-hourly-profiling")
ccxt_minute_profiling_bundle = _writer("ccxt", "1m", "ccxt-minute-profiling")
csv_profiling_bundle = _writer("csv", "1d", "csv-profiling")
