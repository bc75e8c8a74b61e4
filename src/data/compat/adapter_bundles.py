"""Deprecated wrappers of a source's ``ingest_to_bundle``; each of them warns."""

from __future__ import annotations

import asyncio
from typing import Any

from ..model.caller import warn_user
from ..sources.foreign_source import BundlePath
from ..sources.registry import DataSourceRegistry
from ..sources.vendor_source import VendorDataSource

__all__ = [
    "ccxt_hourly_profiling_bundle",
    "ccxt_minute_profiling_bundle",
    "csv_profiling_bundle",
    "yfinance_profiling_bundle",
]


def yfinance_profiling_bundle(
    symbols: list[str], start_date: Any, end_date: Any, **config: Any
) -> BundlePath | asyncio.Task[BundlePath]:
    """Write daily bars from Yahoo Finance to the bundle ``yfinance-profiling``; return its folder.

    Args:
        symbols, start_date, end_date: See :meth:`.VendorDataSource.ingest_to_bundle`.
        **config: Arguments for the source's class.

    Raises:
        DataError: See :meth:`.VendorDataSource.ingest_to_bundle`.

    Warns:
        DeprecationWarning: Issued by every call.
    """
    return _write("yfinance", symbols, start_date, end_date, "1d", "yfinance-profiling", config)


def ccxt_hourly_profiling_bundle(
    symbols: list[str], start_date: Any, end_date: Any, **config: Any
) -> BundlePath | asyncio.Task[BundlePath]:
    """Write hourly bars from an exchange to the bundle ``ccxt-hourly-profiling``.

    See :func:`yfinance_profiling_bundle`.
    """
    return _write("ccxt", symbols, start_date, end_date, "1h", "ccxt-hourly-profiling", config)


def ccxt_minute_profiling_bundle(
    symbols: list[str], start_date: Any, end_date: Any, **config: Any
) -> BundlePath | asyncio.Task[BundlePath]:
    """Write minute bars from an exchange to the bundle ``ccxt-minute-profiling``.

    See :func:`yfinance_profiling_bundle`.
    """
    return _write("ccxt", symbols, start_date, end_date, "1m", "ccxt-minute-profiling", config)


def csv_profiling_bundle(
    symbols: list[str], start_date: Any, end_date: Any, **config: Any
) -> BundlePath | asyncio.Task[BundlePath]:
    """Write daily bars from the user's own files to the bundle ``csv-profiling``.

    See :func:`yfinance_profiling_bundle`.
    """
    return _write("csv", symbols, start_date, end_date, "1d", "csv-profiling", config)


def _write(
    name: str,
    symbols: list[str],
    start: Any,
    end: Any,
    frequency: str,
    bundle: str,
    config: dict[str, Any],
) -> BundlePath | asyncio.Task[BundlePath]:
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
    return source.ingest_to_bundle(bundle, symbols, start, end, frequency)
