"""What backtests read, and the files that are made of it: bundles, lineage."""

from __future__ import annotations

from .lineage import LineageRun, Lineages, lineage

__all__ = ["LineageRun", "Lineages", "lineage"]
