"""The documented import path of exported runs."""

from ..layer.lineage_export import export, exported

__all__ = ["export", "exported"]
