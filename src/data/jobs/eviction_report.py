"""What of a cache above its limit could go, in words."""

from __future__ import annotations

from pathlib import Path

from ..bars.refetchable import Refetchability
from ..cache.retention.eviction import BYTES_IN_GB, Freeable
from ..cache.retention.manager import RetentionLimits, RetentionManager
from ..cache.store import BarStore
from ..clock import Clock
from ..disk.files import Disk
from ..provider_selector import ProviderSelector

_REASONS_TOLD = 3


def freeable_of(folder: Path, selector: ProviderSelector, clock: Clock) -> Freeable:
    """Return what of a cache folder could go, and why the rest must stay; nothing is changed.

    Args:
        folder: the cache.
        selector: tells who could supply what again.
        clock: the time.
    """
    disk = Disk(root=folder, private=selector.parsed_rules.cache.private)
    store = BarStore(folder, disk, clock)
    house = RetentionLimits(limit=lambda: 0, must_keep=Refetchability(selector))
    return RetentionManager(store, clock, house, keeps=False).freeable()


def in_words(found: Freeable) -> str:
    """Return the same in one sentence."""
    again = found.derived + found.bars
    said = f"{again / BYTES_IN_GB:,.3f} GB could be had again"
    kept = [f"{why} ({size / BYTES_IN_GB:,.3f} GB)" for why, size in found.kept.items()]
    if kept:
        said += "; what must stay: " + "; ".join(kept[:_REASONS_TOLD])
    return said
