"""The gist of the documents of a series in one file: a first look at two files instead of at all.

It is derived, and believed for as long as the folder and each document in it are those that it was
made of. Documents are only ever replaced, which changes the folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...disk.atomic import write_atomically
from ...disk.files import Disk, FileState
from ...errors import LockTimeoutError, StorageError
from ...model.coverage import Coverage, Covered
from ...model.series import SeriesKey
from ..format import json_document, series_document
from ..format.gzip_member import file_id
from ..format.series_document import SeriesMeta
from ..format.year_document import Extent, YearState, YearSummary
from ..write.series import SeriesFiles
from .derived_paths import GIST, path_of, writing

log = logging.getLogger(__name__)

_FORMAT = 1


class SeriesManifest(NamedTuple):
    """What the documents of a series say together.

    Attributes:
        years: what each says of its year, ascending, without the coverage.
        series: what has no year; None where there is no such document.
        coverage: of all of them.
        has_quarantine: whether there can be rows that were not believed.
    """

    years: Mapping[int, YearSummary | YearState]
    series: SeriesMeta | None
    coverage: Coverage
    has_quarantine: bool


class ManifestStore:
    """The gists of one cache. Thread-safe, and safe across processes.

    Nothing of it can lose a bar: whatever goes wrong here costs a look at every document.

    Args:
        root: the cache folder.
        disk: the file system.
        are_kept: whether there are derived files at all.
        has_room: tells whether so many bytes may be written that nobody needs.
    """

    def __init__(
        self, root: Path, disk: Disk, has_room: Callable[[int], bool], *, are_kept: bool
    ) -> None:
        self._root = os.fspath(root)
        self._disk = disk
        self._has_room = has_room
        self._are_kept, self._may_write = are_kept, are_kept

    def of(self, lane: SeriesFiles, folder: FileState) -> SeriesManifest | None:
        """Return the gist of a series whose folder is in this state, if there is a true one."""
        if not self._are_kept:
            return None
        try:
            found = self._disk.read_with_state(path_of(self._root, lane.key, GIST))
            text = json_document.sealed(found[0]) if found is not None else None
            told = json_document.inner(text) if text is not None else {}
            if told.get("format") != _FORMAT or told["id"] != file_id(lane.key, 0):
                return None
            is_true = told["folder"] == [*folder] and self._are_there(lane, told["documents"])
        except StorageError:
            return None
        return _read(told, lane) if is_true else None

    def _are_there(self, lane: SeriesFiles, documents: Mapping[str, list[int]]) -> bool:
        start, stat = lane.paths.text + os.sep, self._disk.stat
        return all(stat(start + name) == tuple(state) for name, state in documents.items())

    def keep(
        self,
        lane: SeriesFiles,
        folder: FileState | None,
        names: Collection[str],
        gist: SeriesManifest,
    ) -> None:
        """Keep a gist that was read while the folder was in this state.

        Nothing is raised: who cannot keep it reads the documents again.
        """
        if not self._may_write:
            return
        try:
            states = {name: self._disk.stat(lane.paths.text + os.sep + name) for name in names}
            if self._disk.stat(lane.paths.text) == folder:  # nothing has changed meanwhile
                self._write(lane, _plain(lane, gist) | {"folder": folder, "documents": states})
        except LockTimeoutError:
            log.debug("%s: somebody else is at the derived files", lane.key)
        except StorageError as exc:
            self._may_write = False  # or it would be tried at every look
            log.debug("%s: the gist of its documents is not kept: %s", lane.key, exc)

    def _write(self, lane: SeriesFiles, told: Mapping[str, Any]) -> None:
        data = json_document.dump(told)
        if self._has_room(len(data)):
            path = Path(path_of(self._root, lane.key, GIST))
            with writing(self._disk, path.parent):
                write_atomically(self._disk, path, data, durable=False)

    def drop(self, key: SeriesKey) -> None:
        """Remove the gist of a series."""
        try:
            self._disk.remove(Path(path_of(self._root, key, GIST)))
        except StorageError as exc:
            log.debug("%s: the gist of its documents stays: %s", key, exc)


def _plain(lane: SeriesFiles, gist: SeriesManifest) -> dict[str, Any]:
    years = [
        [year, told.generation, told.rows, told.first, told.last, *told.extent[1:]]
        for year, told in gist.years.items()
    ]
    return {
        "format": _FORMAT,
        "id": file_id(lane.key, 0),
        "years": years,
        "series": None if gist.series is None else series_document.plain(gist.series, lane.key),
        "coverage": [part.to_json() for part in gist.coverage],
        "has_quarantine": gist.has_quarantine,
    }


def _read(told: Mapping[str, Any], lane: SeriesFiles) -> SeriesManifest:
    years = {
        year: YearSummary(
            generation, rows, first, last, [], Extent(rows, size, head, tuple(columns))
        )
        for year, generation, rows, first, last, size, head, columns in told["years"]
    }
    series = None if told["series"] is None else series_document.told(told["series"], lane.key)
    coverage = Coverage(map(Covered.from_json, told["coverage"]))
    return SeriesManifest(years, series, coverage, told["has_quarantine"])
