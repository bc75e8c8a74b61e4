"""Readers of one series: no lock, until data and metadata are found not to agree."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

from ...disk.files import errno_of
from ...errors import CorruptEntryError, StorageError
from ...model.bars import BarTable
from ...model.span import Span
from ..format.json_document import DamagedError
from ..format.year_document import YearState
from ..write.series import SeriesFiles
from .year_file import MismatchError, YearFile, open_year

T = TypeVar("T")
_STATE = attrgetter("state")
log = logging.getLogger(__name__)

_TRIES = 3
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def read_state(lane: SeriesFiles, year: int, lock_timeout_s: float) -> YearState | None:
    """Return what is known about ``year`` without looking at the data.

    Only where a rewrite is pending the data tell which state holds. Where a file has no document,
    or a damaged one, it is recovered under the lock first.

    Raises:
        CorruptEntryError: that would be needed, and the cache is read-only.
        FormatVersionError: a newer version of this library wrote it.
    """

    def look() -> YearFile | None:
        meta = lane.meta(year)
        if meta is not None and meta.pending is None:
            return YearFile(meta.state)
        return open_year(lane, year, meta)

    state: YearState | None = _patiently(lane, year, look, _STATE, lock_timeout_s)
    return state


def read_year(
    lane: SeriesFiles, year: int, span: Span, lock_timeout_s: float
) -> tuple[BarTable, YearState] | None:
    """Return the verified bars of ``year`` in ``span`` and the state of the year they belong to.

    None where nothing is stored. Raises as :func:`read_state`.
    """

    def look() -> YearFile | None:
        return open_year(lane, year, lane.meta(year))

    def content(file: YearFile) -> tuple[BarTable, YearState]:
        return file.table(span), file.state

    return _patiently(lane, year, look, content, lock_timeout_s)


def _patiently(
    lane: SeriesFiles,
    year: int,
    look: Callable[[], YearFile | None],
    content: Callable[[YearFile], T],
    lock_timeout_s: float,
) -> T | None:
    """Return ``content`` of the file that ``look`` finds: look again, repair, look a last time.

    Between reading the metadata and the data a writer may have committed: both are read again
    before anything is believed to be damaged. A series that is only looked at is not repaired:
    what a repair would leave is read in its place, from then on.
    """

    def found(file: YearFile | None) -> T | None:
        return None if file is None else content(file)

    problem: Exception | None = None
    is_previewed = lane.previews is not None and year in lane.previews
    for _ in range(0 if is_previewed else _TRIES):
        try:
            return found(look())
        except (MismatchError, DamagedError) as exc:
            problem = exc
            lane.memory.forget(lane.paths.metadata(year))
    if lane.previews is not None:
        try:
            return found(_preview(lane, year, lane.previews))
        except MismatchError as exc:
            raise _damaged(lane, year, exc) from exc
    log.debug("%s %s: %s; looking again under the lock", lane.key, year, problem)
    try:
        with lane.disk.lock(lane.paths.lock, lock_timeout_s):
            from ..recovery.recover import recover  # what is sound needs none

            return found(look()) if recover(lane, year) is not None else None
    except (MismatchError, DamagedError) as exc:
        raise _damaged(lane, year, exc) from exc
    except StorageError as exc:
        if errno_of(exc) in _READ_ONLY:
            raise _damaged(lane, year, problem) from exc
        raise


def _preview(lane: SeriesFiles, year: int, previews: dict[int, YearFile | None]) -> YearFile | None:
    if year not in previews:
        from ..recovery.recover import preview  # what is sound needs none

        previews[year] = preview(lane, year)
    return previews[year]


def _damaged(lane: SeriesFiles, year: int, problem: Exception | None) -> CorruptEntryError:
    return CorruptEntryError(
        f"{lane.key} {year} cannot be read: {problem}",
        symbol=lane.key.symbol,
        hint="it can only be repaired where the cache may be written",
    )
