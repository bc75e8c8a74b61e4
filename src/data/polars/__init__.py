"""Bars as Polars frames with Decimal columns, and the Parquet files of bundles (extra ``polars``)."""

from ..errors import MissingExtraError, install_line

try:
    import polars as pl
except ImportError as missing:
    raise MissingExtraError("bundles need Polars", hint=install_line("polars")) from missing

__all__ = ["pl"]
