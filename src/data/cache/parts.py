"""What the maintenance of a cache folder works with: the inner parts of its store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..disk.files import Disk
from ..model.series import SeriesKey
from .layout import Layout
from .legacy.adopt import OldYears
from .read.columnar_cache import Sidecars
from .write.series import SeriesFiles


@dataclass(frozen=True)
class StoreParts:
    """Parts of one store, for modules of this package.

    Attributes:
        layout, disk, old, sidecars: of the store.
        lane: gives the lane of a series.
        lock_timeout_s: how long to wait for another writer.
    """

    layout: Layout
    disk: Disk
    lane: Callable[[SeriesKey], SeriesFiles]
    old: OldYears
    sidecars: Sidecars
    lock_timeout_s: float
