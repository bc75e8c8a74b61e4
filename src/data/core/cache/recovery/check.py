"""Checks stored series, and symbols' actions, for damage, without changing anything.

The defects of a year, and how to repair them, are determined by :func:`.recover.examine`, which the
repair itself uses. In addition, this module compares bars that recovery does not examine with their
metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ....errors import CorruptEntryError, DataError, FormatVersionError, StorageError
from ...disk.files import FileState
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable
from ...model.stored.coverage import WITH_BARS
from ...model.time.instant import SECOND_MS
from ...model.time.span import Span, coalesce, uncovered, year_span
from ..acceptances import ACCEPTED, parsed
from ..actions import load_book
from ..format.documents import YearState
from ..format.gzip_member import file_id
from ..format.json_document import DamagedError
from ..format.lane_entry import LaneEntry
from ..lane_files import LaneFiles
from ..layout import ACTIONS, SERIES
from ..read.columnar_reader import ColumnarFile, DamagedColumnsError, open_columns
from ..read.year_file import MismatchError, open_year, rows_of, same_bits
from ..store_parts import StoreParts
from .recover import Diagnosis, examine

_ACCEPTED_LOST = "it is kept in quarantine; its findings count until they are accepted again"
COLUMNS = "columns"
_MOST_LISTED = 20


@dataclass(frozen=True)
class Finding:
    """One defect in the stored data.

    Attributes:
        symbol, timeframe, lane: Affected series; for a symbol's other data, the timeframe is empty.
        where: Location of the defect: year, ``series.json``, ``confirmed.json``, ``actions.json``
            or ``columns`` (the columnar file).
        what: Description of the defect.
        remedy: Action that ``repair`` takes, or that the user can take.
        cure: Kind of repair; ``none`` if it cannot be repaired.
    """

    symbol: str
    timeframe: str
    lane: str
    where: str
    what: str
    remedy: str
    cure: Cure = "recover"

    def __str__(self) -> str:
        """Return the location and description of the defect."""
        lane = "@".join(filter(None, (self.timeframe, self.lane)))
        return f"{' '.join(filter(None, (self.symbol, lane, self.where)))}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary, with the additional key ``repairable``."""
        names = ("symbol", "timeframe", "lane", "where", "what", "remedy")
        entry: dict[str, Any] = {name: getattr(self, name) for name in names}
        return entry | {"repairable": self.cure != "none"}


@dataclass(frozen=True)
class Inspection:
    """Result of reading stored files within a time limit.

    Attributes:
        findings: Defects found.
        problems: Series that could not be read, and why.
        files: Number of files read.
        total: Number of files that exist.
        is_whole: Whether everything was read.
        others: Number of files, among ``total``, that are tables and fundamentals.
    """

    findings: tuple[Finding, ...]
    problems: tuple[tuple[SeriesKey, str], ...]
    files: int
    total: int
    is_whole: bool
    others: int = 0

    def plus(self, other: Inspection) -> Inspection:
        """Combine the results of two inspections."""
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
        """Whether everything is intact; None if only part of it was read, without finding damage."""
        if self.findings or self.problems:
            return False
        return True if self.is_whole else None

    @property
    def damage(self) -> list[str]:
        """Descriptions of all defects and problems."""
        return [*map(str, self.findings), *(f"{key}: {reason}" for key, reason in self.problems)]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary.

        If there is much damage, only the first entries are included.
        """
        damage = self.damage
        return {
            "ok": self.ok,
            "files_read": self.files,
            "files_count": self.total,
            "damaged_count": len(damage),
            "damage": damage[:_MOST_LISTED],
        }


def inspect(
    store: StoreParts, keys: Sequence[SeriesKey], has_time: Callable[[], bool], total: int
) -> Inspection:
    """Check the series in turn while time is left, and at least one file; nothing is changed.

    ``total`` is the number of existing files.
    """
    findings: list[Finding] = []
    problems: list[tuple[SeriesKey, str]] = []
    files, is_whole = 0, True
    for count, part in _inspect(store, keys, problems):
        if not is_whole:
            break
        findings += part
        files += count
        is_whole = has_time() or not files
    return Inspection(tuple(findings), tuple(problems), files, total, is_whole)


def _inspect(
    store: StoreParts, keys: Sequence[SeriesKey], problems: list[tuple[SeriesKey, str]]
) -> Iterator[tuple[int, list[Finding]]]:
    """Yield the number of files read and the defects found, one part of a series at a time."""
    symbols: set[str] = set()
    for key in keys:
        try:
            for files, flaws in _parts(store, store.lane(key), is_locked=False):
                yield files, _findings(key, flaws)
            if key.symbol not in symbols:
                symbols.add(key.symbol)
                yield 0, check_actions(store, key.symbol)
        except DataError as error:
            problems.append((key, str(error)))


def years_listed(lane: LaneFiles) -> list[int]:
    """Return the years for which a series has files; none if its folder cannot be listed."""
    try:
        return lane.years()
    except DataError:
        return []


def check_series(store: StoreParts, key: SeriesKey, *, is_locked: bool = False) -> list[Finding]:
    """Check a series: its years, ``series.json`` and its columnar file; return the defects.

    Every byte is read. Concurrent commits are not mistaken for damage.

    Args:
        store: Parts of the store.
        key: Series to check.
        is_locked: Whether the caller holds the series' lock, which excludes concurrent commits.
    """
    parts = _parts(store, store.lane(key), is_locked=is_locked)
    return [finding for _, flaws in parts for finding in _findings(key, flaws)]


def _findings(key: SeriesKey, flaws: Iterable[tuple[str, Flaw]]) -> list[Finding]:
    return [
        Finding(key.symbol, key.timeframe.label, key.lane_label, where, a.what, a.remedy, a.cure)
        for where, a in flaws
    ]


def _parts(
    store: StoreParts, lane: LaneFiles, *, is_locked: bool
) -> Iterator[tuple[int, Iterable[tuple[str, Flaw]]]]:
    """Yield the number of files read, with their defects, for each part of a series in turn.

    The parts are each year, and the rest.
    """
    for year in lane.years():
        flaw = diagnose(lane, year, is_locked=is_locked)
        yield 1, [] if flaw is None else [(str(year), flaw)]
    yield 0, _other_files(store, lane)


def _other_files(store: StoreParts, lane: LaneFiles) -> Iterator[tuple[str, Flaw]]:
    try:
        lane.series()
    except DamagedError as exc:
        yield SERIES, Flaw(str(exc), "it is kept in quarantine; it only saves requests", "drop")
    except FormatVersionError as exc:
        yield SERIES, Flaw(str(exc.args[0]), "update this library", "none")
    path = lane.paths.folder / ACCEPTED
    data = lane.disk.read_if_exists(path)
    try:
        if data is not None:
            parsed(data, lane.key)
    except DamagedError as exc:
        yield ACCEPTED, Flaw(str(exc), _ACCEPTED_LOST, "drop")
    except FormatVersionError as exc:
        yield ACCEPTED, Flaw(str(exc.args[0]), "update this library", "none")
    flaw = columns_flaw(store, lane)
    if flaw is not None:
        yield COLUMNS, flaw


# --- the columnar file ---------------------------------------------------------------------


def columns_flaw(store: StoreParts, lane: LaneFiles) -> Flaw | None:
    """Compare the columnar file, bit by bit, with the bars it was made from; return any defect.

    An outdated file is not a defect, because the next reader rebuilds it.
    """
    path = store.sidecars.path(lane.key)
    if store.disk.stat(path) is None:
        return None
    file = open_columns(store.disk, path, file_id(lane.key, 0), may_map=False)
    if file is None:
        return _drop("the columnar file cannot be read")
    try:
        years = list(file.head.years)
        differing = [year for year in years if _differs(lane, year, file)]
    except DamagedColumnsError as exc:
        return _drop(f"the columnar file is damaged: {exc}")
    if differing:
        return _drop(f"the columnar file differs from the bars of {differing[0]}")
    return None


def _drop(what: str) -> Flaw:
    return Flaw(what, "it is removed, and rebuilt when needed", "drop")


def _differs(lane: LaneFiles, year: int, file: ColumnarFile) -> bool:
    try:
        meta = lane.meta(year)
        if meta is None or not is_current(file, year, meta.state):
            return False
        whole = open_year(lane, year, meta)
        truth = whole.table() if whole is not None else BarTable.empty()
    except (MismatchError, DamagedError, FormatVersionError):
        return False  # the year itself is damaged
    return not same_bits(truth, file.all_of(year))


def is_current(file: ColumnarFile, year: int, state: YearState) -> bool:
    """Return whether the columnar file contains the year in exactly this state."""
    return file.serves({year: (state.rows, state.size, str(state.head or "")[:16])})


# --- data that a symbol has besides its series ------------------------------------------------


def check_actions(store: StoreParts, symbol: str) -> list[Finding]:
    """Return the defects in the splits and dividends of a symbol."""
    path = store.layout.actions(symbol)
    try:
        data = store.disk.read_if_exists(path)
    except StorageError as exc:
        remedy = "make it readable, or remove it"
        return [Finding(symbol, "", "", ACTIONS, str(exc), remedy, "none")]
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


# --- by file size only ---------------------------------------------------------------------


def waiting(
    store: StoreParts, listed: Iterable[tuple[SeriesKey, LaneEntry | None]]
) -> list[tuple[SeriesKey, int]]:
    """Return the years whose data file is longer than recorded, so that its last bars are not read.

    Only file sizes are compared. A power loss right after a commit can leave such a file behind.

    Args:
        store: Parts of the store.
        listed: Series, each with its index entry.
    """
    longer: list[tuple[SeriesKey, int]] = []
    for key, entry in listed:
        lane = store.lane(key)
        sizes = {} if entry is None else {year.year: year.size for year in entry.years}
        years = sizes or years_listed(lane)
        longer += [(key, year) for year in years if _is_longer(lane, year, sizes.get(year))]
    return longer


def _is_longer(lane: LaneFiles, year: int, size: int | None) -> bool:
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


# --- one year ----------------------------------------------------------------------------

Cure = Literal["recover", "rebuild", "drop", "none"]
# Time after the last change to a file during which a writer may still be active.
IN_FLIGHT_MS = 10 * SECOND_MS
# Maximum number of attempts to examine a year whose files keep changing.
_MOST_EXAMINATIONS = 3
# Maps each case of a diagnosis to descriptions of the defect and of the repair.
_CASE_TEXTS = {
    "overwritten": (
        "another tool has replaced the data file, and {recorded} with it",
        "its file is converted: {left}; what it lacks counts as missing and is fetched again",
    ),
    "half_adopted": (
        "the conversion of another tool's file was not finished",
        "its own metadata are restored",
    ),
    "lost": ("{document}, and there are no bars", "the metadata are kept in quarantine"),
    "gone": (
        "the data file is gone, and {recorded} with it",
        "they count as missing and are fetched again",
    ),
    "behind": (
        "committed but missing from the metadata, and so not read: {fresh}",
        "they are added to the metadata",
    ),
    "torn": (
        "an interrupted append left {tail:,} bytes after the bars",
        "they are moved to quarantine",
    ),
    "forward": ("a rewrite was not finished", "the new file is complete and is used"),
    "back": ("a rewrite was not finished", "the old file is kept"),
    "rebuild": ("{document}", "they are rebuilt from the {left}"),
    "replace": (
        "the data are damaged at byte {end:,} of {size:,}",
        "the file is moved to quarantine; its replacement has {left}",
    ),
}
# Cases that may also be a commit in progress, unless a document is damaged.
_IN_FLIGHT = frozenset({"half_adopted", "behind", "torn", "forward", "back", "rebuild"})


@dataclass(frozen=True)
class Flaw:
    """A defect of a file.

    Attributes:
        what: Description of the defect.
        remedy: Action that a repair takes, or that the user can take.
        cure: Kind of repair; ``none`` if it cannot be repaired.
        in_flight: Whether a commit in progress would look the same.
    """

    what: str
    remedy: str
    cure: Cure = "recover"
    in_flight: bool = False


def diagnose(lane: LaneFiles, year: int, *, is_locked: bool = False) -> Flaw | None:
    """Return the defect of a year, or None if it is intact or another tool's readable file.

    A commit in progress is distinguished from damage by the age of the files. If the files have
    changed in the meantime, there was a commit, and they are examined again. This cannot happen if
    the caller holds the lane's lock.
    """
    for _ in range(_MOST_EXAMINATIONS):
        before = _states(lane, year)
        flaw = _diagnose(lane, year)
        if flaw is None or is_locked:
            return flaw
        if before == _states(lane, year):
            return None if flaw.in_flight and is_young(lane, year) else flaw
    return None  # a writer keeps changing it


def _states(lane: LaneFiles, year: int) -> tuple[FileState | None, FileState | None]:
    paths = lane.paths
    return lane.disk.stat(paths.data(year)), lane.disk.stat(paths.metadata(year))


def is_young(lane: LaneFiles, year: int) -> bool:
    """Return whether the year's files changed so recently that a commit may still be in progress."""
    now_ns = lane.disk.now_ns()
    states = [state for state in _states(lane, year) if state is not None]
    return any(now_ns - state.mtime_ns < IN_FLIGHT_MS * 1_000_000 for state in states)


def _diagnose(lane: LaneFiles, year: int) -> Flaw | None:
    try:
        diagnosis = examine(lane, year)
    except FormatVersionError as exc:
        what = (exc.__cause__ or exc).args[0]  # the finding already names the file
        return Flaw(str(what), "it is not changed; update this library", "none")
    return _span_flaw(year, diagnosis) if diagnosis.case == "sound" else _flaw(diagnosis)


def _flaw(diagnosis: Diagnosis) -> Flaw | None:
    """Return the defect in a diagnosis, and its repair; None if nothing is wrong."""
    if damage := next((older.damage for older in diagnosis.older if older.damage), ""):
        what = f"another tool's file cannot be read: {damage}"
        remedy = "it is moved to _legacy, with a copy in quarantine; its bars are fetched again"
        return Flaw(what, remedy)
    texts = _CASE_TEXTS.get(diagnosis.case)
    if texts is None:
        return None
    recorded = diagnosis.meta.state.rows if diagnosis.meta is not None else 0
    rows = diagnosis.state.rows if diagnosis.state is not None else 0
    facts = {
        "document": _document(diagnosis),
        "recorded": _bars(recorded),
        "left": _bars(rows),
        "fresh": _bars(sum(member.header.rows for member in diagnosis.fresh)),
        "tail": len(diagnosis.scan.tail),
        "end": diagnosis.scan.end,
        "size": len(diagnosis.scan.content),
    }
    what, remedy = (text.format(**facts) for text in texts)
    if diagnosis.case == "replace" and recorded > rows:
        remedy += f"; to be fetched again: {_bars(recorded - rows)}"
    return Flaw(what, remedy, in_flight=diagnosis.case in _IN_FLIGHT and not diagnosis.flaw)


def _document(diagnosis: Diagnosis) -> str:
    """Describe what is wrong with a year's document: damaged, missing, or not matching the data."""
    if diagnosis.flaw:
        return f"the metadata are damaged ({diagnosis.flaw})"
    return "the metadata do not match the data" if diagnosis.meta else "there are no metadata"


# --- bars compared with their metadata -------------------------------------------------------


def _span_flaw(year: int, diagnosis: Diagnosis) -> Flaw | None:
    """Return a defect if a bar is outside the range of its gzip member or the metadata, else None."""
    if diagnosis.state is None:
        return None
    last: int | None = None
    covered = coalesce(entry.span for entry in diagnosis.state.coverage if entry.state in WITH_BARS)
    outside = 0
    for index, member in enumerate(diagnosis.members):
        try:
            table = rows_of(member, diagnosis.state.columns, first=index == 0)
        except MismatchError as exc:
            return _beyond_repair(str(exc))
        problem = _contradiction(table, member.header.span, year_span(year), last)
        if problem:
            return _beyond_repair(problem)
        outside += len(table) - sum(len(table.within(span)) for span in covered)
        last = int(table.stamps[-1]) if len(table) else last
    if outside:
        return Flaw(
            f"the metadata do not list {_bars(outside)} in the file",
            "the metadata are rebuilt from the bars",
            "rebuild",
        )
    return None


def _contradiction(table: BarTable, span: Span, year: Span, last: int | None) -> str:
    """Describe how the bars of a gzip member contradict its header; empty if they do not."""
    stamps = table.stamps
    if not len(stamps):
        return ""
    if (np.diff(stamps) <= 0).any() or (last is not None and stamps[0] <= last):
        return "timestamps are not in ascending order"
    if uncovered(Span(int(stamps[0]), int(stamps[-1]) + 1), [span.clip(year)]):
        return "bars are outside the range of their member or year"
    return ""


def _beyond_repair(what: str) -> Flaw:
    return Flaw(
        f"intact bytes with impossible content: {what}",
        "this cannot be repaired: run `onetape cache clear`, then fetch the bars again",
        "none",
    )


def _bars(count: int) -> str:
    return f"{count:,} bar" if count == 1 else f"{count:,} bars"
