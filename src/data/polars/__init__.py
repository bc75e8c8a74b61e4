"""The documented import path of the portal and of lazy frames of stored bars (extra ``polars``).

``DataPortal`` is :class:`PolarsDataPortal`, or :class:`PandasDataPortal` if
``RUSTYBT_USE_POLARS`` is 0; Polars then need not be installed.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..config.settings import uses_polars

if TYPE_CHECKING:
    from ..layer.frames import pl
    from ..layer.polars_portal import PolarsDataPortal
    from ..layer.polars_portal import PolarsDataPortal as DataPortal
    from ..layer.portal import PandasDataPortal
    from ..layer.series import scan_series

# Maps each public name to its module, which is imported on first use.
_HOMES = {
    "PandasDataPortal": "portal",
    "PolarsDataPortal": "polars_portal",
    "pl": "frames",
    "scan_series": "series",
}

__all__ = ["DataPortal", "PandasDataPortal", "PolarsDataPortal", "pl", "scan_series"]


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name == "DataPortal":
        name = "PolarsDataPortal" if uses_polars() else "PandasDataPortal"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"..layer.{_HOMES[name]}", __name__), name)
