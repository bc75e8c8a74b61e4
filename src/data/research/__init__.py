"""What strategies and backtests read: frames, bundles, portals, sources, lineage.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations
