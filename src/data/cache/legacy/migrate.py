"""Files of older tools taken over on demand, proved bar by bar before their old names go.

The originals stay, under ``_legacy`` in the folder of their series. A process that dies on the way
leaves each of them under its old name or under that one, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import CorruptEntryError
from ...model.bars import BarTable
from ...model.coverage import Coverage
from ...model.series import SeriesKey
from ..format.gzip_member import file_id
from ..format.year_document import YearState
from ..layout import encode_symbol
from ..parts import StoreParts
from ..read.year_file import YearFile, open_year
from ..recovery import quarantine
from ..recovery.check import same_bits
from ..recovery.recover import sound_meta
from ..values import Commit, CommitPiece
from ..write.commit import CommitRun
from ..write.compose import Target, columns_for, compose
from ..write.coverage_update import by_year
from ..write.segments import with_pieces
from ..write.series import SeriesFiles
from .adopt import OldYear, remove_elsewhere, set_aside
from .prune import Pruned, compared
from .reader import describe_legacy, legacy_files, read_legacy


@dataclass(frozen=True)
class OldFile:
    """One file of an older tool.

    Attributes:
        key: the series.
        year: of its bars.
        path: where it lies, from the cache folder on.
        rows: bars in it.
        taken: of these the ones that count: not the last one, which may not have been closed.
        said: what becomes of it.
        problem: why its bars cannot be taken over, or empty.
    """

    key: SeriesKey
    year: int
    path: str
    rows: int = 0
    taken: int = 0
    said: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        names = ("year", "path", "rows", "taken", "said", "problem")
        plain = {"symbol": self.key.symbol, "timeframe": self.key.timeframe.label}
        return plain | {name: getattr(self, name) for name in names}


def migrate_series(shop: StoreParts, key: SeriesKey, *, dry_run: bool) -> list[OldFile]:
    """Take over what older tools left of a series; return what was, or would be, done to each file.

    Raises:
        CorruptEntryError: the bars do not come back as they were; nothing was moved.
        LockTimeoutError: another writer holds the series for too long.
        StorageError: the disk refused; every bar is still there.
    """
    shop.old.forget(key)
    lane = shop.lane(key)
    taken = dict(shop.old.of(lane, lane.years()))
    hidden = _hidden(shop, lane, taken)
    files = [_described(shop, key, year, path) for year, path in sorted(taken.items())]
    files += [_as_hidden(_described(shop, key, year, path)) for year, path in hidden]
    if dry_run or not files:
        return files
    years = {year: shop.old.read(key, path) for year, path in taken.items()}
    for year, old in years.items():
        _prove(key, year, old)
    shop.disk.make_folders(lane.paths.folder)
    with shop.disk.lock(lane.paths.lock, shop.lock_timeout_s):
        for year in years:
            sound_meta(lane, year)  # somebody may have died over it
    CommitRun(lane, Commit(), shop.old).run(shop.lock_timeout_s)
    with shop.disk.lock(lane.paths.lock, shop.lock_timeout_s):
        for year, old in years.items():
            if old.pieces():
                _check_held(lane, year, old)
            else:
                _put_aside(lane, year, old.path, old.damage)
        for year, path in hidden:
            _put_aside(lane, year, path, "")
    shop.old.forget(key)
    return files


def _described(shop: StoreParts, key: SeriesKey, year: int, path: Path) -> OldFile:
    file = OldFile(key, year, path.relative_to(shop.layout.root).as_posix())
    if describe_legacy(shop.disk, path).is_sample:
        return replace(file, said="sample data: set aside, and never part of an answer")
    old = shop.old.read(key, path)
    if old.damage:
        return replace(file, said="set aside, and a copy kept in quarantine", problem=old.damage)
    rows = len(read_legacy(shop.disk, path, key.timeframe))
    said = "taken over" if len(old.table) else "set aside: no bar of it is known to be closed"
    return replace(file, rows=rows, taken=len(old.table), said=said)


def _hidden(
    shop: StoreParts, lane: SeriesFiles, taken: Mapping[int, Path]
) -> list[tuple[int, Path]]:
    """Return older files of years that the series, or a better layout, has bars of."""
    encoded = encode_symbol(lane.key.symbol)
    return [
        (year, path)
        for year, path in legacy_files(shop.layout.root, lane.key, encoded)
        if path not in taken.values() and path.parent != lane.paths.folder
    ]


def _as_hidden(file: OldFile) -> OldFile:
    return replace(file, taken=0, said="set aside: other bars of that year are there already")


# --- proof ---------------------------------------------------------------------------------


def _prove(key: SeriesKey, year: int, old: OldYear) -> None:
    """Write the bars in memory and read them back, before anything is touched.

    Raises:
        CorruptEntryError: they are not the same to the last bit.
    """
    parts = by_year(Commit(pieces=old.pieces()))
    pieces: list[CommitPiece] = parts[year].pieces if year in parts else []
    segments, _ = with_pieces([], pieces, file_id(key, year), 1)
    columns = columns_for(segments)
    members = compose(segments, [], Target(key, year, columns, 1))
    state = YearState(columns=columns)
    if not same_bits(old.table, YearFile(state, tuple(members)).table()):
        raise _unlike(key, year, "written and read back they differ; nothing was moved")


def _check_held(lane: SeriesFiles, year: int, old: OldYear) -> None:
    """Compare what the series holds by now with the original under its new name."""
    file = open_year(lane, year, lane.meta(year))
    now = file.table() if file is not None else BarTable.empty()
    coverage = file.state.coverage if file is not None else Coverage()
    if compared(Pruned(lane.key, old.path.name), old.table, now, coverage).lacking:
        raise _unlike(lane.key, year, "the originals are in its folder _legacy")


def _unlike(key: SeriesKey, year: int, said: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"the bars of {key} {year} do not come back as another tool left them: {said}",
        symbol=key.symbol,
    )


def _put_aside(lane: SeriesFiles, year: int, path: Path, damage: str) -> None:
    content = lane.disk.read_if_exists(path)
    if content is None:
        return
    if damage:
        quarantine.keep_file(lane, path, content, damage)
    set_aside(lane, year, path, make_room=True)
    remove_elsewhere(lane, year, path)
