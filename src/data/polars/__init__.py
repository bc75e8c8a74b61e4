"""Bars as Polars frames with Decimal columns, and the Parquet files of bundles (extra ``polars``)."""

from ..errors import MissingExtraError, install_line

try:
    import polars as _polars  # noqa: F401 - one place tells which extra is missing
except ImportError as missing:
    raise MissingExtraError(
        "src.data.polars needs Polars", hint=install_line("polars")
    ) from missing
