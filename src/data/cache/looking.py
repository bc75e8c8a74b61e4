"""The documents of a series looked at for what they say: read at once, and only as far as needed.

What is ordinary is told here. Whatever is not (damaged, pending, of another version, another
tool's) is left to those who look with care, under the lock where there is something to repair.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from . import series_meta, year_glance
from .lane import Lane
from .members import file_ids
from .series_meta import SeriesMeta
from .year_glance import Glance

_SERIES = "series.json"
# More has no ordinary document; of a longer one the digest does not fit what is read.
_MOST = 1 << 16


class Looked(NamedTuple):
    """The ordinary documents of a series.

    Attributes:
        years: by year, ascending.
        series: what has no year; None where there is none, or none that is ordinary.
    """

    years: Mapping[int, Glance]
    series: SeriesMeta | None


def look(lane: Lane, years: list[int], names: Collection[str]) -> Looked:
    """Return what the ordinary documents of a series say.

    Args:
        lane: the series.
        years: those that have data or a document, ascending.
        names: what lies in its folder.
    """
    # As text: every first look at a series comes by here, and making paths takes longer.
    start, key, glimpse = lane.paths.text + os.sep, lane.key, lane.disk.glimpse
    found: dict[int, Glance] = {}
    for year, identity in zip(years, file_ids(key, years), strict=True):
        document = glimpse(f"{start}{year:04d}.metadata.json", _MOST)
        told = year_glance.glance(document, identity) if document else None
        if told is not None:
            found[year] = told
    document = glimpse(start + _SERIES, _MOST) if _SERIES in names else None
    return Looked(found, series_meta.glance(document, key) if document else None)
