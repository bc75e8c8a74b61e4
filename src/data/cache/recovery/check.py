"""A whole series, and a symbol's actions, held against what they should be. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...disk.files import FileState
from ...errors import CorruptEntryError, DataError, FormatVersionError
from ...model.bars import BarTable
from ...model.series import SeriesKey
from ..actions import load_book
from ..format.gzip_member import file_id
from ..format.json_document import DamagedError
from ..format.lane_entry import LaneEntry
from ..format.year_document import YearState
from ..parts import StoreParts
from ..read.columnar_reader import ColumnarFile, DamagedColumnsError, open_columns
from ..read.year_file import MismatchError, open_year
from ..write.series import SeriesFiles
from .diagnosis import Ailment, Cure, diagnose, is_young

SERIES, ACTIONS, COLUMNS = "series.json", "actions.json", "columns"
_MOST_TOLD = 20


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        symbol, timeframe, lane: whose; no timeframe where it is the symbol's own.
        where: the year, ``series.json``, ``actions.json`` or ``columns`` (the columnar file).
        what: is wrong.
        remedy: what ``repair`` does about it, or what the user can do.
        cure: how it is repaired; ``none`` where it cannot be.
    """

    symbol: str
    timeframe: str
    lane: str
    where: str
    what: str
    remedy: str
    cure: Cure = "recover"

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, with ``repairable``."""
        names = ("symbol", "timeframe", "lane", "where", "what", "remedy")
        plain: dict[str, Any] = {name: getattr(self, name) for name in names}
        return plain | {"repairable": self.cure != "none"}


@dataclass(frozen=True)
class Inspection:
    """What reading stored files found, as far as the time for it went.

    Attributes:
        findings: what is wrong.
        problems: series that could not be read, and why.
        files: how many files were read.
        total: how many there are.
        is_whole: whether everything was read.
        others: how many of the total are of tables and fundamentals.
    """

    findings: tuple[Finding, ...]
    problems: tuple[tuple[SeriesKey, str], ...]
    files: int
    total: int
    is_whole: bool
    others: int = 0

    def plus(self, other: Inspection) -> Inspection:
        """Return both together."""
        return Inspection(
            self.findings + other.findings,
            self.problems + other.problems,
            self.files + other.files,
            self.total + other.total,
            self.is_whole and other.is_whole,
            self.others + other.others,
        )

    @property
    def ok(self) -> bool | None:
        """Whether all of it is sound; None where nothing was found and not everything was read."""
        if self.findings or self.problems:
            return False
        return True if self.is_whole else None

    @property
    def damage(self) -> list[str]:
        """What is wrong, in sentences."""
        told = []
        for one in self.findings:
            lane = "@".join(filter(None, (one.timeframe, one.lane)))
            told.append(f"{' '.join(filter(None, (one.symbol, lane, one.where)))}: {one.what}")
        return told + [f"{key}: {why}" for key, why in self.problems]

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping; of much damage the first."""
        damage = self.damage
        return {
            "ok": self.ok,
            "files_read": self.files,
            "files_count": self.total,
            "damaged_count": len(damage),
            "damage": damage[:_MOST_TOLD],
        }


def inspect(
    shop: StoreParts, keys: Sequence[SeriesKey], has_time: Callable[[], bool], total: int
) -> Inspection:
    """Read series after series while there is time, at least one file; nothing is changed.

    ``total``: how many files there are.
    """
    findings: list[Finding] = []
    problems: list[tuple[SeriesKey, str]] = []
    files, is_whole = 0, True
    for count, found in _inspected(shop, keys, problems):
        if not is_whole:
            break
        findings += found
        files += count
        is_whole = has_time() or not files
    return Inspection(tuple(findings), tuple(problems), files, total, is_whole)


def _inspected(
    shop: StoreParts, keys: Sequence[SeriesKey], problems: list[tuple[SeriesKey, str]]
) -> Iterator[tuple[int, list[Finding]]]:
    """Yield what is wrong part by part, and of how many files each part is."""
    symbols: set[str] = set()
    for key in keys:
        try:
            for files, ailments in _parts(shop, shop.lane(key), is_locked=False):
                yield files, _findings(key, ailments)
            if key.symbol not in symbols:
                symbols.add(key.symbol)
                yield 0, check_actions(shop, key.symbol)
        except DataError as error:
            problems.append((key, str(error)))


def file_count(lane: SeriesFiles) -> int:
    """Return how many years of a series there are; none where it cannot be listed."""
    try:
        return len(lane.years())
    except DataError:
        return 0


def check_series(shop: StoreParts, key: SeriesKey, *, is_locked: bool = False) -> list[Finding]:
    """Return what is wrong with a series: its years, the document without a year, its columns.

    Every byte of it is read. Commits that go on meanwhile are not taken for damage.

    Args:
        shop: the parts of the store.
        key: the series.
        is_locked: whether its lock is held, so that nobody commits meanwhile.
    """
    parts = _parts(shop, shop.lane(key), is_locked=is_locked)
    return [finding for _, ailments in parts for finding in _findings(key, ailments)]


def _findings(key: SeriesKey, ailments: Iterable[tuple[str, Ailment]]) -> list[Finding]:
    return [
        Finding(key.symbol, key.timeframe.label, key.lane_label, where, a.what, a.remedy, a.cure)
        for where, a in ailments
    ]


def _parts(
    shop: StoreParts, lane: SeriesFiles, *, is_locked: bool
) -> Iterator[tuple[int, Iterable[tuple[str, Ailment]]]]:
    """Yield the ailments of one year after the other, then of the rest, with the count of files."""
    years = lane.years()
    for year in years:
        found = diagnose(lane, year, is_locked=is_locked)
        yield 1, [] if found is None else [(str(year), found)]
    yield 0, _beside(shop, lane, years)


def _beside(shop: StoreParts, lane: SeriesFiles, years: list[int]) -> Iterator[tuple[str, Ailment]]:
    yield from _older(shop, lane, years)
    try:
        lane.series()
    except DamagedError as exc:
        yield SERIES, Ailment(str(exc), "it is kept in quarantine; it only saves requests", "drop")
    except FormatVersionError as exc:
        yield SERIES, Ailment(str(exc.args[0]), "update this library", "none")
    found = columns_ailment(shop, lane)
    if found is not None:
        yield COLUMNS, found


def _older(shop: StoreParts, lane: SeriesFiles, years: list[int]) -> Iterator[tuple[str, Ailment]]:
    """Yield files of older tools that cannot be read; they are nobody's to repair."""
    try:
        files = sorted(shop.old.of(lane, years).items())
    except FormatVersionError:
        return  # told already; whose the files are, only a newer version knows
    for year, path in files:
        damage = shop.old.read(lane.key, path).damage
        if damage:
            yield (
                str(year),
                Ailment(
                    f"another tool's file cannot be read: {damage}",
                    "`onetape cache migrate` sets it aside; its bars are asked for again",
                    "none",
                ),
            )


# --- the columnar file ---------------------------------------------------------------------


def columns_ailment(shop: StoreParts, lane: SeriesFiles) -> Ailment | None:
    """Compare the columnar file with the bars it was made from, bit by bit.

    A file of an older state is none: whoever reads next makes it anew.
    """
    path = shop.sidecars.path(lane.key)
    if shop.disk.stat(path) is None:
        return None
    file = open_columns(shop.disk, path, file_id(lane.key, 0), may_map=False)
    if file is None:
        return _drop("the columnar file cannot be read")
    try:
        differing = [year for year in file.head.years if _differs(lane, year, file)]
    except DamagedColumnsError as exc:
        return _drop(f"the columnar file is damaged: {exc}")
    if differing:
        return _drop(f"the columnar file says other than the bars of {differing[0]}")
    return None


def _drop(what: str) -> Ailment:
    return Ailment(what, "it is removed, and made anew when it is needed", "drop")


def _differs(lane: SeriesFiles, year: int, file: ColumnarFile) -> bool:
    try:
        meta = lane.meta(year)
        if meta is None or not is_current(file, year, meta.state):
            return False
        whole = open_year(lane, year, meta)
        truth = whole.table() if whole is not None else BarTable.empty()
    except (MismatchError, DamagedError, FormatVersionError):
        return False  # then the year itself is what is wrong
    return not same_bits(truth, file.all_of(year))


def is_current(file: ColumnarFile, year: int, state: YearState) -> bool:
    """Tell whether the file holds a year in just that state."""
    return file.serves({year: (state.rows, state.size, str(state.head or "")[:16])})


def same_bits(one: BarTable, other: BarTable) -> bool:
    """Tell whether two tables hold the same bars bit by bit; no column is a column of nothing."""
    if not np.array_equal(one.stamps, other.stamps):
        return False
    pairs = list(zip(one.values()[:5], other.values()[:5], strict=True))
    adj = [
        t.adj_close if t.adj_close is not None else np.full(len(t), np.nan) for t in (one, other)
    ]
    return all(_same_column(a, b) for a, b in [*pairs, (adj[0], adj[1])])


def _same_column(one: Any, other: Any) -> bool:
    same = one.view(np.int64) == other.view(np.int64)
    return bool((same | (np.isnan(one) & np.isnan(other))).all())


# --- what a symbol has beside its series ---------------------------------------------------


def check_actions(shop: StoreParts, symbol: str) -> list[Finding]:
    """Return what is wrong with the splits and dividends of a symbol."""
    data = shop.disk.read_if_exists(shop.layout.actions(symbol))
    if data is None:
        return []
    try:
        load_book(data, symbol)
    except CorruptEntryError as exc:
        remedy = f"fetch them again: `onetape fetch {symbol} 1d --refresh`"
        return [Finding(symbol, "", "", ACTIONS, str(exc), remedy, "none")]
    except FormatVersionError as exc:
        return [Finding(symbol, "", "", ACTIONS, str(exc.args[0]), "update this library", "none")]
    return []


# --- at a glance ---------------------------------------------------------------------------


def waiting(
    shop: StoreParts, listed: Iterable[tuple[SeriesKey, LaneEntry | None]]
) -> list[tuple[SeriesKey, int]]:
    """Return the years whose data file is longer than recorded: bars that are not read yet.

    Only sizes are compared. A power loss right behind a commit leaves such a file.

    Args:
        shop: the parts of the store.
        listed: the series, each with what the index knows of it.
    """
    found: list[tuple[SeriesKey, int]] = []
    for key, entry in listed:
        lane = shop.lane(key)
        sizes = {} if entry is None else {year.year: year.size for year in entry.years}
        years = sizes or lane.years()
        found += [(key, year) for year in years if _is_longer(lane, year, sizes.get(year))]
    return found


def _is_longer(lane: SeriesFiles, year: int, size: int | None) -> bool:
    if size is not None:
        data = lane.disk.stat(lane.paths.data_text(year))
        return data is not None and data.size > size and not is_young(lane, year)
    try:
        meta = lane.meta(year)
    except (DamagedError, FormatVersionError):
        return False
    now: FileState | None = lane.disk.stat(lane.paths.data(year))
    if meta is None or now is None or meta.pending is not None or not meta.state.size:
        return False
    return now.size > meta.state.size and not is_young(lane, year)
