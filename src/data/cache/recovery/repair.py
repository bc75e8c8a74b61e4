"""Repairing what a check finds: the bars first, then what is derived from them."""

from __future__ import annotations

from ..parts import StoreParts
from ..write.series import SeriesFiles
from . import quarantine
from .check import COLUMNS, SERIES, Finding, check_series
from .recover import rebuild, recover


def repair_series(shop: StoreParts, lane: SeriesFiles) -> tuple[list[Finding], list[Finding]]:
    """Repair a series under its lock; return what was found, and what of it is left.

    Also takes in what was committed just before a power loss. Bars that cannot be kept count as
    missing afterwards; files are kept in quarantine before anything is taken from them.

    Raises:
        LockTimeoutError: another writer holds the series for too long.
        StorageError: the disk refused; what was stored is intact.
    """
    if shop.disk.stat(lane.paths.folder) is None:
        return [], []
    with shop.disk.lock(lane.paths.lock, shop.lock_timeout_s):
        found = check_series(shop, lane.key, is_locked=True)
        for finding in found:
            _mend(shop, lane, finding)
        lane.sweep()
        return found, check_series(shop, lane.key, is_locked=True) if found else []


def _mend(shop: StoreParts, lane: SeriesFiles, finding: Finding) -> None:
    if finding.cure == "none":
        return
    if finding.where == SERIES:
        content = lane.disk.read_if_exists(lane.paths.series) or b""
        quarantine.keep_bytes(lane, lane.paths.series.name, content, finding.what)
        lane.disk.remove(lane.paths.series)
        lane.memory.forget(lane.paths.series)
    elif finding.where == COLUMNS:
        shop.sidecars.drop(lane.key)
    elif finding.cure == "rebuild":
        rebuild(lane, int(finding.where))
    else:
        recover(lane, int(finding.where))
