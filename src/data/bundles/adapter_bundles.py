"""The documented import path of four functions for older programs; each of them issues a warning."""

from ..compat.adapter_bundles import (
    ccxt_hourly_profiling_bundle,
    ccxt_minute_profiling_bundle,
    csv_profiling_bundle,
    yfinance_profiling_bundle,
)

__all__ = [
    "ccxt_hourly_profiling_bundle",
    "ccxt_minute_profiling_bundle",
    "csv_profiling_bundle",
    "yfinance_profiling_bundle",
]
