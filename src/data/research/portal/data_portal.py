"""The portal that the settings choose, under the name ``DataPortal`` of older programs."""

from __future__ import annotations

from typing import Any

from ...core.config.settings import uses_polars


def __getattr__(name: str) -> Any:
    """Return :class:`.PandasDataPortal` if ``RUSTYBT_USE_POLARS`` is 0, else :class:`.PolarsDataPortal`."""
    if name != "DataPortal":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if uses_polars():
        from .polars_portal import PolarsDataPortal

        return PolarsDataPortal
    from .portal import PandasDataPortal

    return PandasDataPortal
