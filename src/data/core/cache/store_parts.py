"""Parts of a store, for modules other than those that read and write its bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..disk.files import Disk
from ..model.identity.series import SeriesKey
from .lane_files import LaneFiles
from .layout import Layout
from .read.columnar_cache import Sidecars
from .read.series_reader import SeriesIndex


@dataclass(frozen=True)
class StoreParts:
    """The parts of a store that repairs, retention, upkeep and shared stores use.

    Attributes:
        layout, disk, sidecars, index: The store's paths, file system, columnar files, and views of series.
        lane: Function that returns the files of a series.
        lock_timeout_s: Maximum wait for another writer, in seconds.
    """

    layout: Layout
    disk: Disk
    lane: Callable[[SeriesKey], LaneFiles]
    sidecars: Sidecars
    index: SeriesIndex
    lock_timeout_s: float
