"""The documents of a series looked at for what they say: read at once, and only as far as needed.

What is ordinary is told here. Whatever is not (damaged, pending, of another version, another
tool's) is left to those who look with care, under the lock where there is something to repair.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ...disk.files import Disk
from ..format import series_document, year_document
from ..format.gzip_member import file_id
from ..format.series_document import SeriesMeta
from ..format.year_document import YearMeta, YearState, YearSummary
from ..write.series import SeriesFiles

_SERIES = "series.json"
# Nearly every document has less: one read tells all of it, and no look at its size is needed.
_USUAL = 1 << 14


class MetadataScan(NamedTuple):
    """The ordinary documents of a series.

    Attributes:
        years: by year, ascending; its state where that is known.
        series: what has no year; None where there is none, or none that is ordinary.
        read: how many documents were read for it.
    """

    years: Mapping[int, YearSummary | YearState]
    series: SeriesMeta | None
    read: int


def look(lane: SeriesFiles, years: list[int], names: Collection[str]) -> MetadataScan:
    """Return what the ordinary documents of a series say.

    Args:
        lane: the series.
        years: those that have data or a document, ascending.
        names: what lies in its folder.
    """
    # As text: every first look at a series comes by here, and making paths takes longer.
    start, key = lane.paths.text + os.sep, lane.key
    paths = [f"{start}{year:04d}.metadata.json" for year in years]
    states = [_known(lane, path) for path in paths]
    unread = [path for path, state in zip(paths, states, strict=True) if state is None]
    series: SeriesMeta | None = lane.memory.known(start + _SERIES) if _SERIES in names else None
    if _SERIES in names and series is None:
        unread.append(start + _SERIES)
    documents = iter(_documents(lane.disk, unread))
    found: dict[int, YearSummary | YearState] = {}
    for year, state in zip(years, states, strict=True):
        told = state or _glance(next(documents), file_id(key, year))
        if told is not None:
            found[year] = told
    document = next(documents, None)
    if document:
        series = series_document.glance(document, key)
    return MetadataScan(found, series, len(unread))


def _known(lane: SeriesFiles, path: str) -> YearState | None:
    """Return what is known already of an ordinary year: who commits to it has read it all."""
    meta: YearMeta | None = lane.memory.known(path)
    is_ordinary = meta is not None and meta.pending is None and meta.state.generation
    return meta.state if meta is not None and is_ordinary else None


def _glance(document: bytes | None, identity: str) -> YearSummary | None:
    return year_document.glance(document, identity) if document else None


def _documents(disk: Disk, paths: list[str]) -> list[bytes | None]:
    """Return documents; where one is cut short, its digest tells."""
    found = list(disk.glimpses(paths, _USUAL))
    for place, data in enumerate(found):
        if data is not None and len(data) >= _USUAL:
            whole = disk.read_with_state(paths[place])
            found[place] = whole[0] if whole is not None else None
    return found
