"""Keeps everything that cannot be trusted: bad files, torn tails, bad rows. Nothing is discarded.

Files are named after the digest of their bytes, so that identical files are kept only once; each
has a JSON document next to it with the reason.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ...clock import Clock
from ...disk.atomic import link_or_copy, write_atomically
from ...disk.files import Disk
from ...model.market.bars import BadRow, Bar, BarTable, inside
from ...model.stored.coverage import Coverage
from ...model.stored.reasons import OFF_GRID, WITHDRAWN
from ...model.time.instant import SECOND_MS, from_ms, iso, parse_iso, year_of
from ...model.time.span import Span, year_span
from ..format import json_document
from ..format.csv_rows import ALL_COLUMNS
from ..format.gzip_member import inflated, zipped
from ..lane_files import LaneFiles

log = logging.getLogger(__name__)

# Limits per timestamp and per year on the rows that are kept although they cannot be bars. The last
# row for a timestamp counts; a few more show what errors its vendor makes.
_MOST_OF_A_STAMP, MOST_ROWS = 3, 10_000
# Prefixes of the reasons for rows that do not replace a bar.
_NOT_FOR_BARS = (WITHDRAWN, OFF_GRID)
# Memory for parsed rows, as a multiple of the size of their file.
_MEMORY_FACTOR = 40
_HEADER = ("timestamp", *ALL_COLUMNS, "reason")
_SECOND_CHARS = len("2024-06-03 12:00:00")
T = TypeVar("T")


def keep_file(lane: LaneFiles, source: Path, content: bytes, reason: str) -> None:
    """Durably link a file into the quarantine; the original stays in place.

    Args:
        lane: Series of the file.
        source: Path of the file.
        content: Bytes of the file, from which its name in the quarantine is derived.
        reason: Defect of the file.
    """
    _folder(lane).keep_file(source, content, reason)


def keep_bytes(lane: LaneFiles, name: str, content: bytes, reason: str) -> None:
    """Durably copy bytes that are about to be cut off into the quarantine."""
    _folder(lane).keep_bytes(name, content, reason)


def _folder(lane: LaneFiles) -> Quarantine:
    return Quarantine(lane.disk, lane.clock, lane.paths.quarantine, str(lane.key))


# --- bad rows ------------------------------------------------------------------------------


def keep_rows(lane: LaneFiles, year: int, rows: Sequence[BadRow]) -> None:
    """Durably add bad rows to the quarantined rows for ``year``.

    Rows that are already in quarantine are not added again.
    """
    if not rows:
        return
    content = lane.disk.read_if_exists(lane.paths.rows(year))
    old_cells = _held_cells(content)
    if old_cells is None:
        assert content is not None
        keep_bytes(lane, lane.paths.rows(year).name, content, "the file of bad rows is damaged")
    if len({row.bar.stamp_ms for row in rows}) == len(rows) and not any(map(_is_bar, rows)):
        rows = rows[-MOST_ROWS:]  # no more rows are kept
    cells = dict.fromkeys(old_cells or ())
    before = len(cells)
    cells |= dict.fromkeys(_cells(rows))
    if len(cells) == before:
        # The process that added them may have been killed before their name was durable ...
        lane.disk.sync_folder(lane.paths.quarantine)
        return
    lane.disk.make_folders(lane.paths.quarantine)
    if content is None:
        # ... or before the name of the folder was.
        lane.disk.sync_folder(lane.paths.folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    newest = _newest_rows(list(cells))
    writer.writerows(newest)
    packed = zipped(text.getvalue().encode("utf-8"))
    write_atomically(lane.disk, lane.paths.rows(year), packed)
    if not before and len(newest) == len(rows):  # then parsing is not necessary
        sent = [row for row in rows if not row.reason.startswith(_NOT_FOR_BARS)]
        lane.document_cache.wrote(lane.paths.rows(year), packed, sent, _MEMORY_FACTOR)


def _is_bar(row: BadRow) -> bool:
    return row.reason.startswith(WITHDRAWN)


def _newest_rows(cells: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the latest invalid rows for each timestamp, and all withdrawn (once valid) bars.

    The number of invalid rows is limited, so that the file does not grow forever if a vendor sends
    new ones with each call.
    """
    counts = Counter([row[0] for row in cells])
    if len(cells) <= MOST_ROWS and max(counts.values()) <= _MOST_OF_A_STAMP:
        return cells
    rows: list[tuple[str, ...]] = []
    counts.clear()
    invalid = 0
    for row in reversed(cells):
        is_bar = row[-1].startswith(WITHDRAWN)
        counts[row[0]] += not is_bar
        if is_bar or (counts[row[0]] <= _MOST_OF_A_STAMP and invalid < MOST_ROWS):
            rows.append(row)
            invalid += not is_bar
    return rows[::-1]


def withdrawn(table: BarTable, vendor: str) -> list[BadRow]:
    """Return the bars in ``table``, which ``vendor`` has withdrawn, as rows for the quarantine."""
    return [BadRow(bar, WITHDRAWN + vendor) for bar in table.bars()]


def files_of(lane: LaneFiles) -> Iterator[KeptFile]:
    """Yield the quarantined files of a series, with the reasons."""
    return _folder(lane).files()


def rows_kept(lane: LaneFiles, year: int) -> list[BadRow]:
    """Return the bad rows of ``year`` in order of arrival; a damaged file counts as empty."""
    return _parse(lane.disk.read_if_exists(lane.paths.rows(year))) or []


def _parse(content: bytes | None, out: tuple[str, ...] = ()) -> list[BadRow] | None:
    """Parse the bytes of a file of bad rows; return None if it is damaged.

    Rows whose reason begins with one of ``out`` are omitted.
    """

    def suspects(table: Iterator[list[str]]) -> list[BadRow]:
        """Parse the table's rows, except those whose reason begins with one of ``out``."""
        rows = [row for row in table if not row[-1].startswith(out)]
        _check_width(rows)
        return _suspects(rows)

    return _read(content, suspects)


def _held_cells(content: bytes | None) -> list[tuple[str, ...]] | None:
    """Return the rows in a file of bad rows as strings; None if it is damaged.

    Existing rows are written back exactly as read, because converting them to numbers and back
    would slow down every call.
    """
    return _read(content, _checked)


def _read(content: bytes | None, read: Callable[[Iterator[list[str]]], list[T]]) -> list[T] | None:
    """Return the result of ``read`` for the rows in a file.

    The list is empty if the file does not exist. The result is None if the file is damaged.
    """
    if content is None:
        return []
    try:
        text = inflated(content).decode("utf-8")
        table = csv.reader(io.StringIO(text, newline=""))
        next(table)
        return read(table)
    except (
        OSError,
        EOFError,
        zlib.error,
        LookupError,
        ValueError,
        StopIteration,
        csv.Error,
    ) as exc:
        log.warning("a file of bad rows is damaged: %s", exc)
        return None


def _checked(table: Iterator[list[str]]) -> list[tuple[str, ...]]:
    """Return the cells of rows after checking that they can be parsed.

    Raises:
        ValueError: A cell cannot be parsed.
    """
    rows = list(map(tuple, table))
    _check_width(rows)
    stamps, *columns = zip(*(row[:-1] for row in rows), strict=True) if rows else ((),)
    deque(map(datetime.fromisoformat, stamps), maxlen=0)
    for column in columns:
        deque(map(float, filter(None, column)), maxlen=0)
    return rows


def _check_width(rows: Sequence[Sequence[str]]) -> None:
    wrong = set(map(len, rows)) - {len(_HEADER)}
    if wrong:
        raise ValueError(f"a row has {min(wrong)} cells; expected {len(_HEADER)}")


def years_with_rows(lane: LaneFiles) -> list[int]:
    """Return the years that have bad rows, in ascending order."""
    names = lane.disk.list(lane.paths.quarantine)
    years = (name.partition(".rows.")[0] for name in names)
    return [int(year) for year in years if year.isdecimal()]


def rows_in(lane: LaneFiles, years: Iterable[int], span: Span | None = None) -> list[BadRow]:
    """Return the bad rows that vendors sent in place of bars, for several years.

    Withdrawn bars are excluded, as are rows at timestamps where no bar can open.
    """
    paths, load = map(lane.paths.rows, years), lane.document_cache.load
    rows = [row for path in paths for row in load(path, _sent_for_bars, _MEMORY_FACTOR) or ()]
    return rows if span is None else [row for row in rows if row.bar.stamp_ms in span]


def _sent_for_bars(content: bytes) -> list[BadRow] | None:
    return _parse(content, _NOT_FOR_BARS)


def _cells(rows: Sequence[BadRow]) -> Iterator[tuple[str, ...]]:
    """Yield each row as strings; missing values become empty strings."""
    stamps, *columns = zip(*(row.bar for row in rows), strict=True)
    texts = [
        [repr(value) if value == value else "" for value in map(float, column)]
        for column in columns
    ]
    return zip(_stamp_texts(stamps), *texts, (row.reason for row in rows), strict=True)


def _stamp_texts(stamps: Sequence[int]) -> list[str]:
    """Return the text of each timestamp, like :func:`_stamp_text` but in one pass."""
    times = np.array(stamps, dtype=np.int64)
    if (times % SECOND_MS != 0).any() or year_of(min(stamps)) < 1000:
        return [_stamp_text(stamp) for stamp in stamps]
    texts = np.datetime_as_string(times.astype("M8[ms]"), unit="s").tolist()
    return [text.replace("T", " ") for text in texts]


def _stamp_text(stamp: int) -> str:
    return from_ms(stamp).isoformat(" ", "milliseconds" if stamp % SECOND_MS else "seconds")


def _suspects(rows: Sequence[Sequence[str]]) -> list[BadRow]:
    """Parse bad rows that are stored as strings.

    Raises:
        ValueError: A cell is neither a time nor a number.
    """
    if not rows:
        return []
    stamps, *columns, reasons = zip(*rows, strict=True)
    if all(len(stamp) == _SECOND_CHARS for stamp in stamps):
        times = np.array(stamps, dtype="M8[ms]").astype(np.int64).tolist()
    else:
        times = [parse_iso(stamp) for stamp in stamps]
    numbers = [list(map(float, [value or "nan" for value in column])) for column in columns]
    bars = map(Bar._make, zip(times, *numbers, strict=True))
    return list(map(BadRow._make, zip(bars, reasons, strict=True)))


def rows_without_bar(
    lane: LaneFiles, span: Span, coverage: Callable[[], Coverage]
) -> tuple[BadRow, ...]:
    """Return the last bad row for each timestamp in ``span`` without a good bar.

    ``coverage`` returns the series' current coverage; it is called only if there are bad rows.
    """
    years = [y for y in years_with_rows(lane) if year_span(y).overlaps(span)]
    rows = rows_in(lane, years, span)
    if not rows:
        return ()
    trusted = coverage().within(span).where(lambda entry: entry.state in ("final", "provisional"))
    latest = dict(sorted({r.bar.stamp_ms: r for r in rows if r.bar.stamp_ms in span}.items()))
    is_trusted = inside(np.fromiter(latest, np.int64, len(latest)), trusted)
    return tuple(compress(latest.values(), ~is_trusted))


# --- folders of a quarantine -------------------------------------------------------------

# Damaged files are kept whole, each with a JSON document next to it that gives the reason. Files
# are named after the digest of their bytes: identical bytes are kept only once, and nothing in the
# quarantine is ever overwritten by other bytes.


class Damage(NamedTuple):
    """A damaged file, and its defect."""

    path: Path
    content: bytes
    reason: str


class KeptFile(NamedTuple):
    """A quarantined file, and the reason for quarantining it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Quarantine:
    """A quarantine folder for damaged files.

    Attributes:
        disk, clock: File system, and source of the current time.
        folder: Folder, created when it is first needed.
        owner: Name of the data that the files belong to, for the log.
    """

    disk: Disk
    clock: Clock
    folder: Path
    owner: str

    def keep_file(self, source: Path, content: bytes, reason: str) -> Path:
        """Durably link a file into this folder and return the new path; the original stays in place."""
        target = self._target(source.name, content)
        if self.disk.read_if_exists(target) != content:
            link_or_copy(self.disk, source, target)
        self._write_reason(target, reason)
        return target

    def keep_bytes(self, name: str, content: bytes, reason: str) -> None:
        """Durably save bytes that are about to be cut off or replaced."""
        target = self._target(name, content)
        if self.disk.read_if_exists(target) != content:
            write_atomically(self.disk, target, content)
        self._write_reason(target, reason)

    def keep(self, damage: Damage) -> Path:
        """Durably move a damaged file into this folder, and return its new path."""
        kept = self.keep_file(damage.path, damage.content, damage.reason)
        self.disk.remove(damage.path)
        self.disk.sync_folder(damage.path.parent)
        return kept

    def files(self) -> Iterator[KeptFile]:
        """Yield the files that have a readable document with the reason, sorted by name."""
        for name in self.disk.list(self.folder):
            content = self.disk.read_if_exists(self.folder / f"{name}.json")
            try:
                note = json_document.load(content) if content else {}
            except json_document.DamagedError:
                continue
            if "reason" in note:
                yield KeptFile(self.folder / name, str(note["reason"]))

    def _target(self, name: str, content: bytes) -> Path:
        self.disk.make_folders(self.folder)
        stem, _, suffix = name.partition(".")
        return self.folder / f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"

    def _write_reason(self, target: Path, reason: str) -> None:
        """Write the reason into a file next to ``target``; this also makes new folder entries durable."""
        log.warning("%s: kept %s in quarantine: %s", self.owner, target.name, reason)
        note = {"file": target.name, "reason": reason, "time": iso(self.clock.now_ms())}
        write_atomically(
            self.disk, target.with_name(f"{target.name}.json"), json_document.dump(note)
        )
