"""Readers of one series: no lock, until data and metadata are found not to agree."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

from ..disk.files import errno_of
from ..errors import CorruptEntryError, StorageError
from ..model.bars import BarTable
from ..model.span import Span
from .lane import Lane
from .metadata import DamagedError
from .year_meta import YearMeta, YearState
from .years import MismatchError, open_year

T = TypeVar("T")
log = logging.getLogger(__name__)

_TRIES = 3
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def read_state(lane: Lane, year: int, lock_timeout_s: float) -> YearState | None:
    """Return what is known about ``year`` without looking at the data.

    Only where a rewrite is pending the data tell which state holds. Where a file has no document,
    or a damaged one, it is recovered under the lock first.

    Raises:
        CorruptEntryError: that would be needed, and the cache is read-only.
        FormatVersionError: a newer version of this library wrote it.
    """

    def look() -> YearMeta | None:
        meta = lane.meta(year)
        if meta is None and lane.disk.stat(lane.paths.data(year)) is not None:
            raise MismatchError("there are data, and no metadata")
        return meta

    meta = _patiently(lane, year, look, lock_timeout_s)
    if meta is None:
        return None
    if meta.pending is None:
        return meta.state
    found = read_year(lane, year, Span(0, 0), lock_timeout_s)
    return found[1] if found else None


def read_year(
    lane: Lane, year: int, span: Span, lock_timeout_s: float
) -> tuple[BarTable, YearState] | None:
    """Return the verified bars of ``year`` in ``span`` and the state of the year they belong to.

    None where nothing is stored. Raises as :func:`read_state`.
    """

    def look() -> tuple[BarTable, YearState] | None:
        file = open_year(lane, year, lane.meta(year))
        return None if file is None else (file.table(span), file.state)

    return _patiently(lane, year, look, lock_timeout_s)


def _patiently(lane: Lane, year: int, look: Callable[[], T], lock_timeout_s: float) -> T | None:
    """Look again, then repair under the lock, then look for the last time.

    Between reading the metadata and the data a writer may have committed: both are read again
    before anything is believed to be damaged.
    """
    problem: Exception | None = None
    for _ in range(_TRIES):
        try:
            return look()
        except (MismatchError, DamagedError) as exc:
            problem = exc
            lane.memory.forget(lane.paths.metadata(year))
    log.debug("%s %s: %s; looking again under the lock", lane.key, year, problem)
    try:
        with lane.disk.lock(lane.paths.lock, lock_timeout_s):
            from .recovery import recover  # what is sound needs none

            return look() if recover(lane, year) is not None else None
    except (MismatchError, DamagedError) as exc:
        raise _damaged(lane, year, exc) from exc
    except StorageError as exc:
        if errno_of(exc) in _READ_ONLY:
            raise _damaged(lane, year, problem) from exc
        raise


def _damaged(lane: Lane, year: int, problem: Exception | None) -> CorruptEntryError:
    return CorruptEntryError(
        f"{lane.key} {year} cannot be read: {problem}",
        symbol=lane.key.symbol,
        hint="it can only be repaired where the cache may be written",
    )
