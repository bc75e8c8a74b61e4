"""The portal that older programs choose by an environment variable, under their name ``DataPortal``."""

from __future__ import annotations

from typing import Any

from ...core.config.settings import uses_polars


def __getattr__(name: str) -> Any:
    """Return :class:`.PolarsDataPortal` or, if the variable is 0, :class:`.PandasDataPortal`."""
    if name != "DataPortal":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if uses_polars():
        from .polars_portal import PolarsDataPortal

        return PolarsDataPortal
    from .portal import PandasDataPortal

    return PandasDataPortal
