"""Reads year files from older tools without converting them.

Two layouts are known, both with one gzip CSV file per year::

    <cache>/ohlcv/<SYMBOL>/<timeframe>/<YYYY>.csv.gz      with or without <YYYY>.metadata.json
    <cache>/<SYMBOL>/<timeframe>/<YYYY>.csv.gz

It is unknown how the prices in these files were adjusted, whether the last bar had closed when it
was written, and which spans were requested. The basis is therefore ``unknown``, and the coverage
consists only of uninterrupted runs of bars, without the last bar of a file. Sample data (``mock``)
is never covered. Nothing here changes a file; the first access to a year converts it
(:mod:`.adopt`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import BadSymbolError, CorruptEntryError, ResponseFormatError, StorageError
from ...calendars.buckets import doubted, next_stamps
from ...model.identity.kind import Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, Stamps
from ...model.stored.coverage import Coverage, Covered
from ...model.stored.reasons import DOUBTFUL
from ...model.time.edges import distinct
from ...model.time.instant import DAY_MS, MINUTE_MS, NEVER_MS, WEEK_MS, parse_iso
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...registry import MADE_UP
from ..format.csv_rows import BASE_COLUMNS, read_csv, times_of
from ..format.gzip_member import inflated, is_ours
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..layout import BARS, DATA, METADATA, decode_symbol, encode_symbol

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# File that one older tool wrote for all years of a series.
SHARED = "metadata.json"
YEAR_FILE = re.compile(r"([12][0-9]{3})\.csv\.gz")
SAMPLE_LANE = ("mock",)
_FRAME_FOLDER = re.compile(r"([1-9][0-9]{0,3})(m|h|d|w|mo|M)")
_NO_SEPARATOR = frozenset("/\\:\0")
# Longest name of a vendor; a longer text is not a name.
_LONGEST_VENDOR = 64
# Bars that are fetched again with the next request for them.
CONTRADICTED = {"reason": f"{DOUBTFUL}rows of older tools contradict each other", "expires": 0}
UNCLOSED = {"reason": f"{DOUBTFUL}not closed when an older tool wrote the file", "expires": 0}
_ANY_KIND = Kind(session="", anchor="")
_UNKNOWN_BASIS = Basis("unknown")


class Reads(Protocol):
    """The part of the disk interface used here: reading a whole file."""

    def read(self, path: Path) -> bytes:
        """Return the bytes of ``path``."""


@dataclass(frozen=True)
class LegacyYear:
    """The values used from the metadata next to an older tool's year file.

    Attributes:
        vendor: Value of ``data_source``, or ``unknown``.
        fetched_at: Value of ``last_updated`` in UTC milliseconds, or else the modification time of
            the file.
    """

    vendor: str = "unknown"
    fetched_at: int = 0

    @property
    def is_sample(self) -> bool:
        """Whether the vendor's name stands for sample data, which is invented for tests."""
        return self.vendor.lower() in MADE_UP


# --- finding -------------------------------------------------------------------------------


def legacy_files(
    root: Path, key: SeriesKey, encoded: str, *, left_out: str = ""
) -> list[tuple[int, Path]]:
    """Return all older year files, best first, even if another file for the same year hides them.

    Args:
        root: Cache folder.
        key: Series to look up; older files exist only for default lanes.
        encoded: The symbol's current folder name; older tools used the symbol as typed.
        left_out: Folder to skip.
    """
    if key.lane or not older_names(key.symbol):
        return []
    # If case is ignored, or one of them is a link, two names may lead to the same folder.
    folders: dict[tuple[int, int] | str | None, str] = {}
    for folder in _folders(root, key, encoded):
        folders.setdefault(_identity(folder), folder)
    folders.pop(_identity(left_out), None)
    return [
        (int(match[1]), Path(folder, name))
        for folder in folders.values()
        for name in _names(folder)
        if (match := YEAR_FILE.fullmatch(name))
    ]


def _identity(folder: str) -> tuple[int, int] | str | None:
    """Return a folder's device and inode, or its path if it has no inode; None if it does not exist."""
    try:
        state = os.stat(folder)
    except OSError:
        return None
    return (state.st_dev, state.st_ino) if state.st_ino else folder


def _folders(root: Path, key: SeriesKey, encoded: str) -> list[str]:
    """Return the folders to search for older tools' files of a series, the preferred layout first."""
    symbols = dict.fromkeys((encoded, *older_names(key.symbol)))
    frames = dict.fromkeys((key.timeframe.folder, key.timeframe.label))
    # As strings, because every first access to a series comes through here and nearly always finds
    # nothing.
    names, top = [name for name in symbols if is_plain(name)], os.fspath(root)
    bases = (f"{top}{os.sep}ohlcv", top)
    # If case is ignored, another spelling leads to a folder that this library uses.
    folders = [
        f"{base}{os.sep}{name}"
        for base in bases
        for name in names
        if name == encoded or (os.access(f"{base}{os.sep}{name}", os.F_OK) and name in _names(base))
    ]
    # `1m` and `1M` are the same folder if case is ignored: only the exact name counts there.
    folded = key.timeframe.unit in "mM"
    return [
        f"{folder}{os.sep}{frame}"
        for folder in folders
        for frame in frames
        if not folded or frame in _names(folder)
    ]


def files_elsewhere(lane: LaneFiles) -> list[tuple[int, Path]]:
    """Return older tools' files outside the lane folder, best first, each with its year.

    Files that are hidden by others, or by the series' own bars, are included.
    """
    root, key, encoded = lane.paths.folder.parents[2], lane.key, encode_symbol(lane.key.symbol)
    if key.timeframe.folder == key.timeframe.label and not _are_others(root, key, encoded):
        return []
    return legacy_files(root, key, encoded, left_out=lane.paths.text)


def look_elsewhere(lane: LaneFiles) -> None:
    """Search for older tools' files outside the lane folder, and record one for each year."""
    files = dict(reversed(files_elsewhere(lane)))
    lane.elsewhere.update(files)  # other threads read it, so no file that is still there leaves it
    for year in lane.elsewhere.keys() - files.keys():
        lane.elsewhere.pop(year, None)


def _are_others(root: Path, key: SeriesKey, encoded: str) -> bool:
    """Return whether a folder exists under another spelling of the symbol, or outside ``ohlcv``."""
    symbol, top = key.symbol, f"{root}{os.sep}"
    ours, low = f"{top}ohlcv{os.sep}", symbol.lower()
    paths = {ours + symbol, ours + low, top + encoded, top + symbol, top + low} - {ours + encoded}
    return any(os.access(path, os.F_OK) for path in paths)


def older_path(lane: LaneFiles, year: int) -> Path | None:
    """Return the path of an older tool's file with the bars of a year; None if there is none.

    A file in the lane folder takes precedence. Raises ``FormatVersionError``.
    """
    try:
        if lane.meta(year) is not None:
            return None
    except DamagedError:
        pass  # metadata of older tools has no digest; the data shows the owner
    content = lane.disk.read_if_exists(lane.paths.data(year))
    if content is not None:
        return None if is_ours(content) else lane.paths.data(year)
    path = lane.elsewhere.get(year)
    return path if path is not None and lane.disk.stat(path) is not None else None


def symbol_of(name: str) -> str:
    """Return the symbol for which a folder has bars; older tools wrote, for example, ``btcusdt``."""
    return decode_symbol(name) or _named(name)


def older_names(symbol: str) -> tuple[str, ...]:
    """Return the names that older tools may have given to a symbol's folder.

    A symbol in lowercase has none, because such a folder belongs to the symbol in uppercase.
    """
    return (symbol, symbol.lower()) if _named(symbol) == symbol else ()


def _named(name: str) -> str:
    return name.upper() if name == name.lower() else name


def is_plain(name: str) -> bool:
    """Return whether ``name`` can be a symbol's folder that an older tool has named."""
    is_safe = name[:1] not in ("", ".", "_") and _NO_SEPARATOR.isdisjoint(name)
    with suppress(BadSymbolError):  # it cannot be stored as a symbol
        return is_safe and name == name.strip() and bool(encode_symbol(symbol_of(name)))
    return False


def _names(folder: str | Path) -> list[str]:
    """Return the sorted names in ``folder``; empty if it does not exist."""
    if not os.access(folder, os.F_OK):  # much faster than a failed scandir
        return []
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise StorageError(f"cannot list {folder}: {exc.strerror}") from exc


def older_symbols(root: Path) -> list[str]:
    """Return the names of the folders next to ``ohlcv`` in which an older tool left bars.

    A folder that cannot be listed is left out, with a warning unless it belongs to something else,
    such as ``lost+found``.
    """
    names = []
    for name in _names(root):
        try:
            if name != BARS and is_plain(name) and folder_timeframes(root / name):
                names.append(name)
        except StorageError as exc:
            if decode_symbol(name.upper()) is not None:
                log.warning("bars of an older tool are left out: %s", exc)
    return names


def folder_timeframes(folder: Path) -> set[Timeframe]:
    """Return the timeframes for which ``folder`` has year files in its default lanes.

    Sample data is included, because it is listed if a symbol has no other bars.
    """
    frames = {name: _timeframe(name.removesuffix(f"@{SAMPLE_LANE[0]}")) for name in _names(folder)}
    return {
        frame
        for name, frame in frames.items()
        if frame is not None and any(map(YEAR_FILE.fullmatch, _names(folder / name)))
    }


def _timeframe(name: str) -> Timeframe | None:
    """Return the timeframe that a folder's name means, or None.

    The name may be from this library or from older tools.
    """
    match = _FRAME_FOLDER.fullmatch(name)
    frame = Timeframe.parse(match[1] + match[2].replace("mo", "M")) if match else None
    return frame if frame is not None and name in (frame.folder, frame.label) else None


# --- reading -------------------------------------------------------------------------------


def describe_legacy(disk: Reads, path: Path) -> LegacyYear:
    """Read an older tool's metadata next to ``path``; an unreadable file counts as absent.

    In ``_legacy``, the metadata that was shared by the years of a folder has each year's name.
    """
    year = path.name.removesuffix(DATA)
    for name in (f"{year}{METADATA}", f"{year}.shared.{SHARED}", SHARED):
        try:
            document = json.loads(disk.read(path.with_name(name)))
        except (StorageError, ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            return LegacyYear(_vendor(document), _updated_ms(document) or _file_time(path))
    return LegacyYear(fetched_at=_file_time(path))


def _vendor(document: Mapping[str, Any]) -> str:
    """Return the vendor in a document: ``mock`` for any sample, ``unknown`` for an impossible name."""
    for name in ("data_source", "provider"):
        if isinstance(document.get(name), str) and (vendor := document[name].strip()):
            if MADE_UP.intersection(re.findall("[a-z]+", vendor.lower())):
                return SAMPLE_LANE[0]
            if len(vendor) <= _LONGEST_VENDOR and vendor.isprintable() and "," not in vendor:
                return str(vendor)
            log.warning(
                "not the name of a vendor: %.40r; bars of an older tool count as unknown's", vendor
            )
    return "unknown"


def _updated_ms(document: Mapping[str, Any]) -> int:
    for name in ("last_updated", "created_at"):
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            return parse_iso(document[name])
    return 0


def _file_time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def read_legacy(disk: Reads, path: Path, timeframe: Timeframe, year: int | None = None) -> BarTable:
    """Read one year file from an older tool, and return its bars; see :func:`legacy_rows`."""
    return legacy_rows(disk, path, timeframe, year)[0]


def legacy_rows(
    disk: Reads, path: Path, timeframe: Timeframe, year: int | None = None
) -> tuple[BarTable, Stamps]:
    """Read one year file from an older tool; return its ``timeframe`` bars, ascending and unique.

    The second value contains the timestamps whose rows contradict each other, as in a vendor's answer.

    The time column is ``timestamp``, ``datetime`` or else the first; naive times mean UTC. Rows
    that are not valid bars, belong to another year, or have an uncertain timestamp are omitted, so
    that they become gaps. Unless given, the year is the one at the beginning of the file name.

    Raises:
        CorruptEntryError: The file is damaged, is not a table of bars, or has another timeframe.
        StorageError: The file cannot be read at all.
    """
    # Only old caches need the slow, tolerant parser, so it is imported here.
    from ...prices.bar_rule import are_bars
    from ...prices.quality import unique_rows

    raw = disk.read(path)
    try:
        table = _parse(inflated(raw))
    except (ResponseFormatError, ValueError, zlib.error) as exc:
        raise CorruptEntryError(f"{path}: not a readable year file: {exc}") from exc
    if not _fits(distinct(table.stamps[are_bars(table)]), timeframe):
        raise CorruptEntryError(f"{path} does not contain {timeframe} bars")
    rows = _own_stamps(table, timeframe, int(path.name[:4]) if year is None else year)
    rows, are_valid, contradicted = unique_rows(rows, are_bars(rows))
    return rows.take(are_valid), contradicted


def unread_rows(disk: Reads, path: Path, table: BarTable) -> int:
    """Return the number of a readable file's rows with prices that are not in ``table``, its bars.

    Among them are rows whose timestamps are uncertain or in another year. Equal rows count once, in
    whatever form their times are written.
    """
    frame = read_csv(inflated(disk.read(path)))
    stamps = _pop_times(frame)
    frame = frame.assign(stamp=stamps).drop_duplicates()
    prices = frame[[n for n in frame.columns if str(n).strip().lower() in BASE_COLUMNS[:4]]]
    return int((prices.notna() & (prices != "")).any(axis=1).sum()) - len(table)


def _pop_times(frame: pd.DataFrame) -> pd.DatetimeIndex:
    """Remove the column of times from a frame, and return the times in UTC; empty cells are ``NaT``.

    Raises:
        ValueError: The column contains something else.
    """
    names = {str(c).strip().lower(): c for c in frame.columns}
    times = frame.pop(names.get("timestamp", names.get("datetime", frame.columns[0])))
    if times.dtype.kind in "iufcb" and len(times):
        raise ValueError("its first column contains numbers instead of times")
    return times_of(times)


def _parse(text: bytes) -> BarTable:
    """Parse CSV text with a header into rows with times and prices, in the order of the file."""
    from ...model.answer.frame import table_of

    frame = read_csv(text)
    stamps = _pop_times(frame)
    table = table_of(frame[stamps.notna()].set_axis(stamps.dropna()))
    adj_close = table.adj_close
    if adj_close is not None:  # a value that cannot be stored is unknown; the prices are valid
        table = replace(table, adj_close=np.where(np.isinf(adj_close), np.nan, adj_close))
    return table.take(~np.logical_and.reduce([np.isnan(prices) for prices in table.values()[:4]]))


def _fits(stamps: Stamps, timeframe: Timeframe) -> bool:
    """Return whether the median distance between bars matches ``timeframe``.

    Fewer than three bars always match. The check is needed because one tool wrote monthly bars to
    folders named ``1m``.
    """
    if len(stamps) < 3:
        return True
    median_ms = float(np.median(np.diff(stamps)))
    step_ms = timeframe.step_ms or 28 * timeframe.count * DAY_MS
    return median_ms >= 0.9 * step_ms and (not timeframe.is_intraday or median_ms < 20 * DAY_MS)


def _own_stamps(table: BarTable, timeframe: Timeframe, year: int) -> BarTable:
    """Return the rows in ``year`` whose timestamps can be converted to this library's with certainty."""
    stamps, are_certain = session_stamps(table.stamps, timeframe)
    years = stamps.astype("M8[ms]").astype("M8[Y]").astype(np.int64) + 1970
    return replace(table, stamps=stamps).take(are_certain & (years == year))


# --- coverage ------------------------------------------------------------------------------


def legacy_coverage(
    table: BarTable, timeframe: Timeframe, legacy: LegacyYear, written_ms: int = NEVER_MS
) -> Coverage:
    """Return the coverage of an older year file: its uninterrupted runs of bars, without the last bar.

    A night or a weekend ends a run, which is harmless, because the calendar does not expect bars
    then. Bars that had not closed when the file was written are suspect: some tools fill up a file
    with the last price. ``written_ms`` is its time of modification, which a copy may have reset, so
    that the time in the metadata counts as well.
    """
    if legacy.is_sample:
        return Coverage()
    spans = runs(table.stamps[:-1], timeframe)
    if spans:
        spans[-1] = spans[-1]._replace(end=min(spans[-1].end, int(table.stamps[-1])))
    coverage = Coverage(
        Covered(span, "final", legacy.vendor, _ANY_KIND, _UNKNOWN_BASIS, legacy.fetched_at)
        for span in spans
    )
    is_ahead = next_stamps(table.stamps, timeframe) > max(legacy.fetched_at, written_ms)
    return doubted(coverage, table.stamps[is_ahead], timeframe, **UNCLOSED)


# --- stamps ------------------------------------------------------------------------------

_FIRST_MONDAY_MS = 4 * DAY_MS  # 1970-01-05
_FRIDAY_NIGHT = 5 * DAY_MS


def runs(stamps: Stamps, timeframe: Timeframe) -> list[Span]:
    """Return the spans of uninterrupted runs, in which consecutive bars are exactly one step apart.

    A run ends where the next one begins, even if its last bar is longer.
    """
    if not len(stamps):
        return []
    nexts = next_stamps(stamps, timeframe)
    breaks = np.flatnonzero(stamps[1:] != nexts[:-1]) + 1
    starts, ends = stamps[[0, *breaks]], nexts[[*(breaks - 1), -1]]
    ends[:-1] = np.minimum(ends[:-1], starts[1:])
    return [Span(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def session_stamps(stamps: Stamps, timeframe: Timeframe) -> tuple[Stamps, NDArray[np.bool_]]:
    """Convert other tools' timestamps to this library's, and return a mask of those that are certain.

    Intraday timestamps are kept, and are certain if they are full minutes. For daily bars, a time
    of day up to noon is dropped, because midnight west of Greenwich is on the same date in UTC;
    after noon, the date is uncertain, because the next one may be meant. For weekly bars, any
    working day means the Monday of its week, but a weekend day could mean either week. For monthly
    bars, any day means the 1st.
    """
    if timeframe.is_intraday:
        return stamps, stamps % MINUTE_MS == 0
    are_certain = stamps % DAY_MS <= DAY_MS // 2
    days = stamps - stamps % DAY_MS
    if timeframe.unit == "w":
        into_week = (days - _FIRST_MONDAY_MS) % WEEK_MS
        return days - into_week, are_certain & (into_week < _FRIDAY_NIGHT)
    if timeframe.unit == "M":
        return days.astype("M8[ms]").astype("M8[M]").astype("M8[ms]").astype(np.int64), are_certain
    return days, are_certain
