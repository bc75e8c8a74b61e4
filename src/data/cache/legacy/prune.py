"""Deleting what older tools left, once every bar of it is held or was replaced by a vendor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptEntryError
from ...model.bars import BarTable
from ...model.coverage import Coverage
from ...model.instant import iso
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.json_document import DamagedError
from ..parts import StoreParts
from ..read.year_file import MismatchError, open_year
from ..write.series import SeriesFiles
from .reader import describe_legacy, read_legacy

_DATA = re.compile(r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})\.csv\.gz")
_ABOUT = re.compile(r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})\.metadata\.json|metadata\.json")


@dataclass(frozen=True)
class Pruned:
    """One original, and whether it may go.

    Attributes:
        key: the series.
        path: where it lies, from the cache folder on.
        bytes: its size.
        rows: bars in it.
        held: of these the ones that the series holds, bit by bit.
        superseded: vendor to the number of bars that it told otherwise, or took back, since.
        lacking: stamps of the others.
        problem: why it stays; empty where it goes.
    """

    key: SeriesKey
    path: str
    bytes: int = 0
    rows: int = 0
    held: int = 0
    superseded: dict[str, int] = field(default_factory=dict)
    lacking: tuple[int, ...] = ()
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, with ``deleted``: whether it goes."""
        names = ("path", "bytes", "rows", "held", "superseded", "problem")
        plain = {"symbol": self.key.symbol, "timeframe": self.key.timeframe.label}
        plain |= {name: getattr(self, name) for name in names}
        return plain | {"lacking": [iso(s) for s in self.lacking], "deleted": not self.problem}


def prune_series(shop: StoreParts, key: SeriesKey, *, dry_run: bool) -> list[Pruned]:
    """Delete the originals of a series that hold nothing which the series does not.

    Raises:
        LockTimeoutError: another writer holds the series for too long.
        StorageError: the disk refused; what was not deleted yet is still whole.
    """
    lane = shop.lane(key)
    if shop.disk.stat(lane.paths.legacy) is None:
        return []
    if dry_run:
        return _weighed(shop, lane)
    with shop.disk.lock(lane.paths.lock, shop.lock_timeout_s):
        found = _weighed(shop, lane)
        for one in found:
            if not one.problem:
                shop.disk.remove(shop.layout.root / one.path)
        _drop_documents(lane)
        shop.disk.sync_folder(lane.paths.legacy)
    return found


def _weighed(shop: StoreParts, lane: SeriesFiles) -> list[Pruned]:
    return [
        _weigh(shop, lane, int(match[1]), lane.paths.legacy / name)
        for name in shop.disk.list(lane.paths.legacy)
        if (match := _DATA.fullmatch(name)) is not None
    ]


def _weigh(shop: StoreParts, lane: SeriesFiles, year: int, path: Path) -> Pruned:
    """Compare every bar of an original with what is held now."""
    about = shop.disk.stat(path)
    place, size = path.relative_to(shop.layout.root).as_posix(), about.size if about else 0
    if describe_legacy(shop.disk, path).is_sample:
        return Pruned(lane.key, place, size, problem="sample data, which are held nowhere else")
    try:
        table = read_legacy(shop.disk, path, lane.key.timeframe, year)
    except CorruptEntryError:
        return Pruned(lane.key, place, size, problem="it cannot be read")
    try:
        file = open_year(lane, year, lane.meta(year))
    except (MismatchError, DamagedError):
        problem = "what is held is damaged: `onetape cache repair` first"
        return Pruned(lane.key, place, size, len(table), problem=problem)
    now = file.table() if file is not None else BarTable.empty()
    coverage = file.state.coverage if file is not None else Coverage()
    return compared(Pruned(lane.key, place, size, len(table)), table, now, coverage)


def compared(one: Pruned, table: BarTable, now: BarTable, coverage: Coverage) -> Pruned:
    """Return ``one`` with what became of the bars in ``table``.

    Args:
        one: the original.
        table: its bars.
        now, coverage: what is held of that year, and where it comes from.
    """
    held = _held(table, now)
    superseded: dict[str, int] = {}
    lacking: list[int] = []
    for stamp in table.stamps[~held].tolist():
        vendor = _replaced_by(stamp, now, coverage)
        if vendor:
            superseded[vendor] = superseded.get(vendor, 0) + 1
        else:
            lacking.append(stamp)
    problem = ""
    if lacking:
        bars = "a bar of it is" if len(lacking) == 1 else f"{len(lacking):,} bars of it are"
        problem = f"{bars} held nowhere else, first {iso(lacking[0])}: fetch that stretch first"
    return Pruned(
        one.key, one.path, one.bytes, one.rows, int(held.sum()), superseded, tuple(lacking), problem
    )


def _replaced_by(stamp: int, now: BarTable, coverage: Coverage) -> str:
    """Return who answered for a stamp since, empty where nobody did, or not to be trusted."""
    part = next(iter(coverage.touching(Span(stamp, stamp + 1))), None)
    if part is None or (part.state != "empty" and part.basis.adjustment == "unknown"):
        return ""
    is_doubted = part.state == "suspect" and not np.isin(stamp, now.stamps)
    return "" if is_doubted else part.vendor


def _held(table: BarTable, now: BarTable) -> NDArray[np.bool_]:
    """Tell row by row whether the very same bar is held."""
    if not len(now):
        return np.zeros(len(table), dtype=bool)
    places = np.minimum(np.searchsorted(now.stamps, table.stamps), len(now) - 1)
    same = now.stamps[places] == table.stamps
    for mine, theirs in zip(_columns(table), _columns(now), strict=True):
        there = theirs[places]
        same &= (mine.view(np.int64) == there.view(np.int64)) | (np.isnan(mine) & np.isnan(there))
    return np.asarray(same, dtype=bool)


def _columns(table: BarTable) -> Sequence[NDArray[np.float64]]:
    adj = table.adj_close if table.adj_close is not None else np.full(len(table), np.nan)
    return [*table.values()[:5], adj]


def _drop_documents(lane: SeriesFiles) -> None:
    """Remove the metadata of originals that are gone."""
    names = lane.disk.list(lane.paths.legacy)
    years = {match[1] for match in map(_DATA.fullmatch, names) if match is not None}
    for name in names:
        match = _ABOUT.fullmatch(name)
        if match is not None and (match[1] not in years if match[1] else not years):
            lane.disk.remove(lane.paths.legacy / name)
