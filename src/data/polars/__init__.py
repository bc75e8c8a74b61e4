"""Bars in Polars: Decimal columns, lazy frames of stored bars, the portal (extra ``polars``).

``DataPortal`` is :class:`PolarsDataPortal`, or :class:`PandasDataPortal` if
``RUSTYBT_USE_POLARS`` is 0; Polars then need not be installed.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..config.settings import uses_polars
from ..errors import MissingExtraError, install_line

if TYPE_CHECKING:
    import polars as pl

    from ..layer.series import scan_series
    from .data_portal import PolarsDataPortal
    from .data_portal import PolarsDataPortal as DataPortal
    from .pandas_portal import PandasDataPortal

# Maps each public name to its module, which is imported on first use.
_HOMES = {
    "PandasDataPortal": "pandas_portal",
    "PolarsDataPortal": "data_portal",
    "scan_series": ".layer.series",
}

__all__ = ("DataPortal", "PandasDataPortal", "PolarsDataPortal", "pl", "scan_series")


def _library() -> Any:
    """Import and return Polars; if it is missing, raise an error that names the extra."""
    if not find_spec("polars"):
        raise MissingExtraError(
            "onetape.data.polars needs the `polars` extra", hint=install_line("polars")
        )
    return import_module("polars")


if uses_polars():
    _library()


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name == "pl":
        return _library()
    if name == "DataPortal":
        name = "PolarsDataPortal" if uses_polars() else "PandasDataPortal"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
