"""Dated tables other than bars, such as funding rates: one gzip CSV and one document per year.

``<cache>/<data type>/<SYMBOL>/<timeframe>/<YYYY>.csv.gz`` with ``<YYYY>.metadata.json`` beside it,
which has the digest of the data. They are small and come rarely, so a change writes the year anew:
first a document with the digests of both states, then the data, then the document of the new state.
Readers take no lock; damaged files go to the quarantine, and what they answered for is missing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock, SystemClock
from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..errors import CacheError, FormatVersionError, QueryError, ResponseFormatError, StorageError
from ..model.figures import MEASURES
from ..model.instant import from_ms, to_ms
from ..model.series import SeriesKey
from ..model.span import Span, coalesce, subtract
from .format import json_document as metadata
from .format.csv_rows import csv_text, read_csv
from .format.gzip_member import inflated
from .layout import (
    QUARANTINE,
    decode_lane,
    decode_symbol,
    encode_lane,
    encode_symbol,
    year_of_name,
    years_in,
)
from .recovery.quarantine import Damage, Quarantine, barred
from .write.coverage_update import year_span, years_of
from .write.log_file import append_entry, entries_of_log, logged_years

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_DATA_TYPE = re.compile(r"[a-z][a-z0-9_]{0,40}")
# Folders of the cache that hold something else.
_TAKEN = frozenset({"ohlcv", "fundamentals"})
# A commit by another process between two reads looks like damage once, not three times.
_LOOKS = 3


@dataclass(frozen=True)
class TableYear:
    """The files of one year."""

    data: Path
    metadata: Path
    log: Path


class LostYear(NamedTuple):
    """What a data file in quarantine held.

    Attributes:
        span: the stamps that it had answered; the year where nothing tells.
        rows: how many it had; None where nothing tells.
        file: its place below the cache folder, and why it was set aside.
    """

    span: Span
    rows: int | None
    file: str


@dataclass(frozen=True)
class _Stored:
    """What is stored of one year.

    Attributes:
        rows: None where no file has any.
        record: what our document has under ``onetape``; empty where another tool wrote it.
        answered: the stamps that were asked and answered, within the year.
        digest: of the data file.
        damage: files that cannot be believed; with any, the other attributes are empty.
    """

    rows: pd.DataFrame | None = None
    record: dict[str, Any] = field(default_factory=dict)
    answered: tuple[Span, ...] = ()
    digest: str | None = None
    damage: tuple[Damage, ...] = ()


class TableStore:
    """Tables of one data type. Thread-safe, and safe across processes.

    Args:
        root: the cache folder.
        data_type: such as ``funding_rate``; it names the folder.
        disk, clock: as for the store of bars.

    Raises:
        QueryError: ``data_type`` cannot be a folder of its own.
    """

    def __init__(
        self,
        root: Path,
        data_type: str,
        disk: Disk | None = None,
        clock: Clock | None = None,
        *,
        lock_timeout_s: float = 30.0,
    ) -> None:
        if not _DATA_TYPE.fullmatch(str(data_type)) or data_type in _TAKEN:
            raise QueryError(f"{data_type!r} is no data type of tables")
        self.data_type = data_type
        # Columns that are numbers; of other types of tables nothing is known.
        self._numbers = MEASURES[data_type].columns if data_type in MEASURES else ()
        # Files to their digest and rows: an answer reads each twice. Entries are replaced whole.
        self._parsed: dict[Path, tuple[str, pd.DataFrame]] = {}
        self._folder = root / data_type
        self._disk = disk or Disk(root=root)
        self._clock = clock or SystemClock()
        self._lock_timeout_s = lock_timeout_s

    def put(
        self,
        key: SeriesKey,
        frame: pd.DataFrame,
        span: Span | None,
        vendor: str,
        *,
        lacking: Sequence[Span] = (),
    ) -> int:
        """Merge rows into what is stored, later ones winning; return the number of rows taken.

        Args:
            key: the series of the table.
            frame: rows on a ``DatetimeIndex`` (aware stamps are converted, naive ones mean UTC).
            span: the stamps that were asked and answered; None: nothing is known of that.
            vendor: the vendor that answered.
            lacking: what of ``span`` was answered without rows that are known to exist: it counts as
                not answered.

        Raises:
            ResponseFormatError: the frame has no time index, or text where a number is needed.
            StorageError, LockTimeoutError: the disk or another process refused.
        """
        import pandas as pd

        rows = _on_utc(frame)
        self._check_numbers(rows)
        folder = self._lane(key)
        stamped = pd.DatetimeIndex(rows.index).year
        years = sorted({int(year) for year in stamped} | set(_years(span)))
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            sweep(self._disk, folder)
            for year in years:
                self._merge_year(key, year, rows[stamped == year], (span, lacking), vendor)
        return len(rows)

    def read(self, key: SeriesKey, span: Span) -> pd.DataFrame | None:
        """Return the rows whose stamps lie in ``span``, or None when there are none."""
        import pandas as pd

        frames = (self._sound(key, year).rows for year in self._years(key, span))
        parts = [frame for frame in frames if frame is not None and len(frame)]
        if not parts:
            return None
        joined = pd.concat(parts)
        first, last = pd.Timestamp(from_ms(span.start)), pd.Timestamp(from_ms(span.end))
        inside = joined[(joined.index >= first) & (joined.index < last)]
        return inside if len(inside) else None

    def answered(self, key: SeriesKey, span: Span | None = None) -> list[Span]:
        """Return the stamps that were asked and answered, coalesced; of damaged years none.

        Args:
            key: the series of the table.
            span: only the years that it touches are read; default: all.
        """
        years = self.years(key) if span is None else self._years(key, span)
        return coalesce(part for year in years for part in self._sound(key, year).answered)

    def answered_until(self, key: SeriesKey) -> int | None:
        """Return the end of the answered stamps as the documents tell it; the data are not read.

        In UTC milliseconds; None where no document tells any.
        """
        for year in reversed(self.years(key)):
            try:
                content = self._disk.read_if_exists(self._files(key, year).metadata)
                spans = _answered(_record(content, key, year), year)
            except (metadata.DamagedError, FormatVersionError, StorageError):
                continue
            if spans:
                return spans[-1].end
        return None

    def quarantined(self, key: SeriesKey, span: Span) -> list[LostYear]:
        """Return what the data files held of ``span`` that were set aside, as far as it is known."""
        years = {f"{year:04d}" for year in _years(span)}
        lane = self._lane(key)
        kept = [
            file
            for file in self._quarantine(lane).files()
            if file.path.name[:4] in years and file.path.name.endswith(".csv.gz")
        ]
        noted = {entry["quarantined"]: entry for entry in self.log(key)} if kept else {}
        lost = []
        for file in kept:
            entry = noted.get(file.path.name, {})
            logged = entry.get("span") if entry.get("reason") else None
            whole = Span(*logged) if logged else year_span(int(file.path.name[:4]))
            if whole.overlaps(span):
                place = file.path.relative_to(self._folder.parent).as_posix()
                rows = entry.get("removed") if logged else None
                lost.append(LostYear(whole, rows, f"{place} ({file.reason})"))
        return lost

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years of which rows are stored, ascending."""
        names = self._disk.list(self._lane(key))
        return sorted({y for n in names if n.endswith(".gz") and (y := year_of_name(n))})

    def keys(self) -> list[SeriesKey]:
        """Return every table that has files, by symbol."""
        lanes = ((s, n) for s in self.symbols() for n in self._disk.list(self._symbol(s)))
        keys = (decode_lane(symbol, name) for symbol, name in lanes)
        return [key for key in keys if key and years_in(self._disk.list(self._lane(key)))]

    def damage(self, key: SeriesKey) -> list[Damage]:
        """Return the files of a table that are not as they were written; nothing is changed.

        Raises:
            FormatVersionError: a newer version of this library wrote one of them.
            StorageError: one cannot be read.
        """
        lane = self._lane(key)
        names = self._disk.list(lane)
        logs = barred(lane / f"{year:04d}.log" for year in logged_years(names))
        years = years_in(names)
        return [*logs, *(damage for year in years for damage in self._looked(key, year).damage)]

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return what was done to a table, oldest first: commits, deletions, damage set aside.

        Each has ``time``, ``year``, ``vendor``, ``span``, rows ``added``, ``changed`` and
        ``removed`` (None where nothing told), ``size``, ``deleted`` (the call that deleted) and
        ``quarantined`` with its ``reason``.
        """
        lane = self._lane(key)
        entries = [
            _log_entry(entry, year)
            for year in logged_years(self._disk.list(lane))
            if not barred([path := lane / f"{year:04d}.log"])
            for entry in entries_of_log(self._disk, path)
        ]
        return sorted(entries, key=lambda entry: str(entry["time"]).rstrip("Z"))

    def logged(self, symbol: str) -> list[SeriesKey]:
        """Return the tables of a symbol that have a log, deleted ones among them."""
        folder = self._symbol(symbol)
        keys = {name: decode_lane(symbol, name) for name in self._disk.list(folder)}
        return [k for n, k in keys.items() if k and logged_years(self._disk.list(folder / n))]

    def repair(self, key: SeriesKey) -> None:
        """Set damaged files aside; what they answered for is asked again. Raises as :meth:`put`."""
        folder = self._lane(key)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            names = sweep(self._disk, folder)
            for damage in barred(folder / f"{year:04d}.log" for year in logged_years(names)):
                self._keep(damage, {"span": None, "removed": 0})
            for year in years_in(names):
                self._settled(key, year, moves=True)

    def symbols(self) -> list[str]:
        """Return the symbols that have tables."""
        return sorted(filter(None, map(decode_symbol, self._disk.list(self._folder))))

    def clear(
        self, symbol: str | None = None, key: SeriesKey | None = None, *, by: str = "clear"
    ) -> None:
        """Remove the tables of one series, of a symbol, or all; lock files and logs stay.

        In the logs ``by`` names the call that deleted.
        """
        if key is not None:
            return self._clear_lane(self._lane(key), by)
        names = [encode_symbol(symbol)] if symbol else self._disk.list(self._folder)
        for name in names:
            for lane in self._disk.list(self._folder / name):
                self._clear_lane(self._folder / name / lane, by)
        return None

    def clear_years(
        self,
        key: SeriesKey,
        years: Iterable[int],
        closed_by: int,
        *,
        by: str = "clear",
        wait_s: float | None = None,
    ) -> int:
        """Remove years of a table whose newest row is not younger than ``closed_by``.

        Each is looked at under the lock; the log stays, in which ``by`` names the call. ``wait_s``
        is how long to wait for a writer; None: as everywhere.

        Returns:
            How many went.

        Raises:
            LockTimeoutError, StorageError: what was not removed yet is still whole.
        """
        folder, gone = self._lane(key), 0
        wait_s = self._lock_timeout_s if wait_s is None else wait_s
        with self._disk.lock(folder / ".lock", wait_s):
            for year in years:
                content = self.holding(key, year)
                if content is not None and content[1] <= closed_by:
                    self._remove_years(folder, [year], by)
                    gone += 1
        return gone

    def holding(self, key: SeriesKey, year: int) -> tuple[int, int] | None:
        """Return how many rows a year has, and the stamp of the newest, in UTC milliseconds.

        None where it has none, or where that cannot be told; nothing is changed.
        """
        try:
            rows = self._looked(key, year).rows
        except CacheError:
            return None
        if rows is None or not len(rows):
            return None
        return len(rows), to_ms(rows.index[-1])

    def files(self, key: SeriesKey, year: int) -> list[Path]:
        """Return the files of a year that a deletion takes, those in quarantine among them."""
        lane = self._lane(key)
        return _files_of(self._disk, lane, f"{year:04d}")

    # --- one year --------------------------------------------------------------------------

    def _symbol(self, symbol: str) -> Path:
        return self._folder / encode_symbol(symbol)

    def _lane(self, key: SeriesKey) -> Path:
        return self._symbol(key.symbol) / encode_lane(key)

    def _years(self, key: SeriesKey, span: Span) -> list[int]:
        return [year for year in self.years(key) if year in _years(span)]

    def _quarantine(self, lane: Path) -> Quarantine:
        owner = lane.relative_to(self._folder.parent).as_posix()
        return Quarantine(self._disk, self._clock, lane / QUARANTINE, owner)

    def _merge_year(
        self,
        key: SeriesKey,
        year: int,
        rows: pd.DataFrame,
        requested: tuple[Span | None, Sequence[Span]],
        vendor: str,
    ) -> None:
        import pandas as pd

        span, lacking = requested
        files, stored = self._files(key, year), self._settled(key, year)
        both = rows if stored.rows is None else pd.concat([stored.rows, rows])
        both = both[~both.index.duplicated(keep="last")].sort_index()
        packed = gzip.compress(csv_text(both), compresslevel=6, mtime=0)
        digest = _digest(packed)
        before = self.document(key, year) or {}

        def write(rows: pd.DataFrame | None, size: int, onetape: dict[str, Any]) -> None:
            """Write the document of the year."""
            facts = self._describe(key, year, rows, size, vendor)
            facts["created_at"] = before.get("created_at", facts["created_at"])
            facts["onetape"] = stored.record | {"format": metadata.FORMAT} | onetape
            write_atomically(self._disk, files.metadata, metadata.dump(facts))

        if digest != stored.digest:
            # Whichever of the two files a crash leaves, the document knows its digest.
            answered = [list(part) for part in stored.answered]
            state = self._disk.stat(files.data)
            write(
                stored.rows,
                state.size if state else 0,
                {"answered": answered, "digest": stored.digest, "pending": digest},
            )
            write_atomically(self._disk, files.data, packed)
        added = subtract([span.clip(year_span(year))] if span else [], lacking)
        answered = [list(part) for part in coalesce([*stored.answered, *added])]
        write(both, len(packed), {"answered": answered, "digest": digest, "pending": None})
        entry = {"vendor": vendor, "span": list(span) if span else None, "size": len(packed)}
        append_entry(self._disk, files.log, self._clock, entry | _changes(stored.rows, both))

    def _files(self, key: SeriesKey, year: int) -> TableYear:
        lane = self._lane(key)
        ends = (".csv.gz", ".metadata.json", ".log")
        return TableYear(*(lane / f"{year:04d}{end}" for end in ends))

    def document(self, key: SeriesKey, year: int) -> dict[str, Any] | None:
        """Return the documented keys of a year, written by this library or another tool, or None."""
        try:
            content = self._disk.read_if_exists(self._files(key, year).metadata)
            plain = json.loads(content) if content else None
        except (ValueError, RecursionError, StorageError):
            return None
        return (
            {k: v for k, v in plain.items() if k != "sha256"} if isinstance(plain, dict) else None
        )

    # --- sound or not ----------------------------------------------------------------------

    def _sound(self, key: SeriesKey, year: int) -> _Stored:
        """Return what is stored of a year; damaged files are set aside and count as missing.

        Raises:
            FormatVersionError: a newer version of this library wrote it.
            StorageError: it cannot be read.
        """
        stored = self._looked(key, year)
        if not stored.damage:
            return stored
        self._refuse_barred(stored)
        try:
            with self._disk.lock(self._lane(key) / ".lock", self._lock_timeout_s):
                return self._settled(key, year)
        except FormatVersionError:
            raise
        except CacheError as exc:
            why = "; ".join(damage.reason for damage in stored.damage)
            log.warning("%s %s %s counts as missing: %s (%s)", self.data_type, key, year, why, exc)
            return _Stored()

    def _looked(self, key: SeriesKey, year: int) -> _Stored:
        """Read a year without its lock, again where a commit may have come in between."""
        stored = self._stored(key, year)
        for _ in range(_LOOKS - 1):
            if not stored.damage:
                break
            stored = self._stored(key, year)
        return stored

    def _settled(
        self, key: SeriesKey, year: int, *, moves: bool = False, is_told: bool = False
    ) -> _Stored:
        """Read a year under its lock; set aside what is damaged, whole and with the reason.

        Args:
            key, year: of the files.
            moves: whether what stands in the place of a file is set aside too: it may be a user's.
            is_told: whether the log has what went with the data file already.

        Raises:
            StorageError: something stands in the place of a file, and is not to be moved.
        """
        stored = self._stored(key, year)
        if not stored.damage:
            return stored
        if not moves:
            self._refuse_barred(stored)
        files = self._files(key, year)
        nothing: dict[str, Any] = {"span": None, "removed": 0}
        # The document alone can be damaged: then the rows are still there.
        is_gone = files.data in [one.path for one in stored.damage]
        is_gone = is_gone or self._disk.stat(files.data) is None
        lost = self._recorded(files.metadata) if is_gone and not is_told else nothing
        for damage in stored.damage:
            # The data first: a document without data claims nothing, data alone would be believed.
            self._keep(damage, lost)
            lost = nothing  # what went is told once
        if any(damage.barred for damage in stored.damage):  # what lies behind them shows now
            return self._settled(key, year, moves=moves, is_told=is_gone)
        return self._stored(key, year)

    def _keep(self, damage: Damage, lost: Mapping[str, Any]) -> None:
        """Set a file aside and log it, with what was lost by it."""
        lane = damage.path.parent
        place = self._quarantine(lane).keep(damage)
        entry = {"quarantined": place.name, "reason": damage.reason, "size": 0, **lost}
        append_entry(self._disk, lane / f"{damage.path.name[:4]}.log", self._clock, entry)

    def _refuse_barred(self, stored: _Stored) -> None:
        """Raise the ``StorageError`` that names what stands in the place of a file of a year."""
        for damage in stored.damage:
            if damage.barred:
                self._disk.read_if_exists(damage.path)

    def _stored(self, key: SeriesKey, year: int) -> _Stored:
        """Read both files of a year once; the document first, for it is older than the data."""
        files = self._files(key, year)
        try:
            document = self._disk.read_if_exists(files.metadata)
            content = self._disk.read_if_exists(files.data)
        except StorageError:
            if others := barred([files.data, files.metadata]):
                return _Stored(damage=tuple(others))
            raise
        damage: list[Damage] = []
        record: dict[str, Any] = {}
        answered: tuple[Span, ...] = ()
        try:
            record = _record(document, key, year)
            answered = _answered(record, year)
        except metadata.DamagedError as exc:
            damage.append(Damage(files.metadata, document or b"", str(exc)))
        if content is None:
            if record.get("digest") and document:
                damage.append(Damage(files.metadata, document, "its data file is missing"))
            return _Stored(damage=tuple(damage))
        digest, rows = _digest(content), None
        try:
            _check_digest(record, digest)
            rows = self._rows(files.data, content, digest)
        except metadata.DamagedError as exc:
            damage.insert(0, Damage(files.data, content, str(exc)))
            if document and len(damage) == 1:
                damage.append(Damage(files.metadata, document, "its data file is damaged"))
        if damage:
            return _Stored(damage=tuple(damage))
        return _Stored(rows, record, answered, digest)

    def _rows(self, path: Path, content: bytes, digest: str) -> pd.DataFrame:
        """Return the rows in a data file.

        Raises:
            DamagedError: it cannot be read as a table, or has text where a number is meant.
        """
        kept = self._parsed.get(path)
        if kept is not None and kept[0] == digest:
            return kept[1]
        try:
            rows = _parsed(content)
            self._check_numbers(rows)
        except (OSError, EOFError, zlib.error, ValueError, ResponseFormatError) as exc:
            raise metadata.DamagedError(f"it cannot be read: {exc}"[:300]) from exc
        self._parsed[path] = digest, rows
        return rows

    def _check_numbers(self, rows: pd.DataFrame) -> None:
        """Raise ``ResponseFormatError`` for text in a column of numbers."""
        import pandas as pd

        for name in self._numbers:
            if name not in rows.columns:
                continue
            try:
                pd.to_numeric(rows[name])
            except (ValueError, TypeError) as exc:
                raise ResponseFormatError(f"{name} is not a number: {exc}") from exc

    def _describe(
        self, key: SeriesKey, year: int, rows: pd.DataFrame | None, size: int, vendor: str
    ) -> dict[str, Any]:
        now = from_ms(self._clock.now_ms()).isoformat(timespec="seconds")
        count = 0 if rows is None else len(rows)
        ends = [rows.index[i].isoformat() if rows is not None and count else None for i in (0, -1)]
        return {
            "symbol": key.symbol,
            "timeframe": key.timeframe.label,
            "year": year,
            "data_source": vendor,
            "created_at": now,
            "last_updated": now,
            "start_date": ends[0],
            "end_date": ends[1],
            "file_info": {
                "format": "csv.gz",
                "size_bytes": size,
                "rows": count,
                "columns": [] if rows is None else [str(c) for c in rows.columns],
            },
            "provider_info": {"name": vendor},
        }

    def _clear_lane(self, lane: Path, by: str) -> None:
        names = [n for n in self._disk.list(lane) if year_of_name(n) is not None]
        aside = [name for name in self._disk.list(lane / QUARANTINE) if name[:4].isdecimal()]
        if not names and not aside:
            return
        with self._disk.lock(lane / ".lock", self._lock_timeout_s):
            self._remove_years(lane, sorted({int(name[:4]) for name in (*names, *aside)}), by)

    def _remove_years(self, lane: Path, years: Iterable[int], by: str) -> None:
        """Remove all files of the years and log it; only under the lock of the folder."""
        for year in years:
            gone = self._recorded(lane / f"{year:04d}.metadata.json")
            paths = _files_of(self._disk, lane, f"{year:04d}")
            for path in paths:
                self._disk.remove_whole(path)
            for damage in barred([lane / f"{year:04d}.log"]):
                self._disk.remove_whole(damage.path)
            for folder in {path.parent for path in paths}:
                self._disk.sync_folder(folder)
            entry = {"vendor": "", "added": 0, "changed": 0, "size": 0, "deleted": by}
            append_entry(self._disk, lane / f"{year:04d}.log", self._clock, gone | entry)

    def _recorded(self, document: Path) -> dict[str, Any]:
        """Return what a document says of rows that go: ``span`` that was answered, ``removed``.

        What it does not say, or cannot any more, is None.
        """
        try:
            plain = json.loads(self._disk.read_if_exists(document) or b"null")
            rows, answered = plain["file_info"]["rows"], (plain.get("onetape") or {})["answered"]
            ends = [int(ms) for pair in answered for ms in pair]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StorageError):
            return {"span": None, "removed": None}
        is_count = isinstance(rows, int)
        return {
            "span": [min(ends), max(ends)] if ends else None,
            "removed": rows if is_count else None,
        }


def _files_of(disk: Disk, lane: Path, year: str) -> list[Path]:
    """Return the files of a year, documents first, logs and locks apart."""
    names = [name for name in disk.list(lane) if year_of_name(name) == int(year)]
    aside = [name for name in disk.list(lane / QUARANTINE) if name.startswith(f"{year}.")]
    ordered = sorted(names, key=lambda name: not name.endswith(".json"))
    return [*(lane / name for name in ordered), *(lane / QUARANTINE / name for name in aside)]


def _log_entry(entry: Mapping[str, Any], year: int) -> dict[str, Any]:
    """Return a line of a log as :meth:`TableStore.log` has it; lines of before say less."""
    removed = None if entry.get("cleared") or entry.get("quarantined") else 0
    usual = {"added": 0, "changed": 0, "removed": removed, "size": 0}
    return {
        "time": entry.get("time"),
        "year": year,
        "vendor": entry.get("vendor") or "",
        "span": entry.get("span"),
        **{name: entry.get(name, count) for name, count in usual.items()},
        "deleted": entry.get("deleted") or ("clear" if entry.get("cleared") else None),
        "quarantined": entry.get("quarantined"),
        "reason": entry.get("reason"),
    }


def _on_utc(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows on a naive UTC index, ascending and unique; the input is not changed."""
    import pandas as pd

    if not isinstance(frame.index, pd.DatetimeIndex):
        name = next((c for c in frame.columns if str(c).lower() in ("timestamp", "time")), None)
        if name is None:
            raise ResponseFormatError("a table needs a time index or a column `timestamp`")
        frame = frame.set_index(pd.DatetimeIndex(pd.to_datetime(frame[name], utc=True)))
        frame = frame.drop(columns=[name])
    times = frame.index
    assert isinstance(times, pd.DatetimeIndex)
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    if times.hasnans:
        raise ResponseFormatError("a table has stamps that are not times (NaT)")
    rows = frame.set_axis(pd.DatetimeIndex(times.as_unit("ns"), name="timestamp"), axis=0)
    return rows[~rows.index.duplicated(keep="last")].sort_index()


def _parsed(content: bytes) -> pd.DataFrame:
    import pandas as pd

    frame = read_csv(inflated(content))
    times = frame.pop(frame.columns[0])
    frame.index = pd.DatetimeIndex(pd.to_datetime(times, utc=True, format="ISO8601"))
    return _on_utc(frame)


def _years(span: Span | None) -> Iterable[int]:
    return () if span is None else years_of(span)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _record(document: bytes | None, key: SeriesKey, year: int) -> dict[str, Any]:
    """Return what our document has under ``onetape``; {} where another tool wrote it, or none.

    Raises:
        DamagedError: it is not as it was written, or about another table.
        FormatVersionError: a newer version of this library wrote it.
    """
    if document is None or _is_of_another_tool(document):
        return {}
    plain = metadata.load(document)
    ours = plain.get("onetape")
    if not isinstance(ours, dict):
        raise metadata.DamagedError("it lacks the answered spans")
    metadata.check_format(
        ours,
        f"{key} {year}: the table has",
        symbol=key.symbol,
        hint="update this library; the file was left as it is",
    )
    about = {"symbol": key.symbol, "timeframe": key.timeframe.label, "year": year}
    metadata.check_about(plain, about, "table")
    return ours


def _is_of_another_tool(document: bytes) -> bool:
    """Tell whether this is a document without digest, as older tools wrote them."""
    try:
        plain = json.loads(document)
    except (ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and not {"sha256", "onetape"} & plain.keys()


def _answered(record: dict[str, Any], year: int) -> tuple[Span, ...]:
    """Return the answered stamps that a document tells, of its own year only.

    Raises:
        DamagedError: they are no spans.
    """
    try:
        spans = [Span(*map(int, pair)) for pair in record.get("answered", ())]
    except (TypeError, ValueError) as exc:
        raise metadata.DamagedError(f"its answered stamps are no spans: {exc}") from exc
    return tuple(coalesce(part.clip(year_span(year)) for part in spans))


def _check_digest(record: dict[str, Any], digest: str) -> None:
    """Raise ``DamagedError`` for data of another digest; older files have none recorded."""
    if "digest" in record and digest not in (record["digest"], record.get("pending")):
        raise metadata.DamagedError("its digest is not the one in the document")


def _changes(before: pd.DataFrame | None, after: pd.DataFrame) -> dict[str, int]:
    """Return how many rows are new, and how many of the others have other values."""
    if before is None:
        return {"added": len(after), "changed": 0}
    one, other = before.align(after.loc[before.index], axis=None)
    same = (one == other) | (one.isna() & other.isna())
    return {"added": len(after) - len(before), "changed": int((~same).any(axis=1).sum())}
