"""The documents of a series looked at for what they say: read at once, and only as far as needed.

What is ordinary is told here. Whatever is not (damaged, pending, of another version, another
tool's) is left to those who look with care, under the lock where there is something to repair.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..disk.files import Disk
from . import series_meta, year_meta
from .lane import Lane
from .members import file_id
from .series_meta import SeriesMeta
from .year_meta import Glance, YearMeta, YearState

_SERIES = "series.json"
# Nearly every document has less: one read tells all of it, and no look at its size is needed.
_USUAL = 1 << 14


class Looked(NamedTuple):
    """The ordinary documents of a series.

    Attributes:
        years: by year, ascending; its state where that is known.
        series: what has no year; None where there is none, or none that is ordinary.
    """

    years: Mapping[int, Glance | YearState]
    series: SeriesMeta | None


def look(lane: Lane, years: list[int], names: Collection[str]) -> Looked:
    """Return what the ordinary documents of a series say.

    Args:
        lane: the series.
        years: those that have data or a document, ascending.
        names: what lies in its folder.
    """
    # As text: every first look at a series comes by here, and making paths takes longer.
    start, key, disk = lane.paths.text + os.sep, lane.key, lane.disk
    found: dict[int, Glance | YearState] = {}
    for year in years:
        path = f"{start}{year:04d}.metadata.json"
        told = _known(lane, path) or _glance(disk, path, file_id(key, year))
        if told is not None:
            found[year] = told
    return Looked(found, _series(lane, start + _SERIES) if _SERIES in names else None)


def _series(lane: Lane, path: str) -> SeriesMeta | None:
    known: SeriesMeta | None = lane.memory.known(path)
    document = _document(lane.disk, path) if known is None else None
    return series_meta.glance(document, lane.key) if document else known


def _known(lane: Lane, path: str) -> YearState | None:
    """Return what is known already of an ordinary year: who commits to it has read it all."""
    meta: YearMeta | None = lane.memory.known(path)
    is_ordinary = meta is not None and meta.pending is None and meta.state.generation
    return meta.state if meta is not None and is_ordinary else None


def _glance(disk: Disk, path: str, identity: str) -> Glance | None:
    document = _document(disk, path)
    return year_meta.glance(document, identity) if document else None


def _document(disk: Disk, path: str) -> bytes | None:
    """Return a document; where it is cut short, its digest tells."""
    data = disk.glimpse(path, _USUAL)
    if data is None or len(data) < _USUAL:
        return data
    whole = disk.read_with_state(path)
    return whole[0] if whole is not None else None
