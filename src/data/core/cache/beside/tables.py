"""Dated tables other than bars, such as funding rates: one gzip CSV and one document per year.

``<cache>/<data type>/<SYMBOL>/<timeframe>/<YYYY>.csv.gz`` has ``<YYYY>.metadata.json`` next to it,
which contains the digest of the data. Tables are small and change rarely, so a change rewrites the
year: first a document with the digests of the old and the new data, then the data, then the final
document. Readers do not take a lock. Damaged files go to the quarantine, and the spans that they
covered count as missing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ....errors import CacheError, FormatVersionError, QueryError, ResponseFormatError, StorageError
from ...clock import Clock, SystemClock
from ...disk.atomic import sweep, write_atomically
from ...disk.files import Disk
from ...model.identity.series import SeriesKey
from ...model.market.figures import MEASURES
from ...model.time.instant import from_ms, to_ms
from ...model.time.span import Span, coalesce, subtract, year_span, years_of
from ..format import json_document as metadata
from ..format.csv_rows import csv_text, read_csv, times_of
from ..format.gzip_member import inflated
from ..layout import (
    DATA,
    LOG,
    METADATA,
    QUARANTINE,
    decode_lane,
    decode_symbol,
    encode_lane,
    encode_symbol,
    is_data_type,
    year_of_name,
    years_in,
)
from ..log_file import append_entry, entries_of_log, logged_years
from ..recovery.quarantine import Damage, Quarantine

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Number of reads before a file counts as damaged. A commit by another process between two reads
# looks like damage once, but not three times.
_MOST_READS = 3


@dataclass(frozen=True)
class TableYear:
    """The files of one year."""

    data: Path
    metadata: Path
    log: Path


class LostYear(NamedTuple):
    """The former content of a data file in quarantine.

    Attributes:
        span: Span that the file covered; the whole year if unknown.
        rows: Number of rows in the file; None if unknown.
        file: Path below the cache folder, and the reason why the file was set aside.
    """

    span: Span
    rows: int | None
    file: str


@dataclass(frozen=True)
class _StoredYear:
    """The stored state of one year.

    Attributes:
        rows: Rows of the year; None if no file contains rows.
        record: Content under ``onetape`` in this library's document; empty if another tool wrote
            the document.
        answered: Spans that were requested and answered, within the year.
        digest: Digest of the data file.
        damage: Files that cannot be trusted. If there are any, all other attributes are empty.
    """

    rows: pd.DataFrame | None = None
    record: dict[str, Any] = field(default_factory=dict)
    answered: tuple[Span, ...] = ()
    digest: str | None = None
    damage: tuple[Damage, ...] = ()


class TableStore:
    """Tables of one data type. Thread-safe, and safe across processes.

    Args:
        root: Cache folder.
        data_type: Name of the data type and its folder, such as ``funding_rate``.
        disk, clock: File system, and source of the current time.

    Raises:
        QueryError: ``data_type`` is not a valid name, or is the name of bars or fundamentals.
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
        if not is_data_type(str(data_type)):
            raise QueryError(
                f"invalid data type for tables: {data_type!r}",
                hint="use lowercase letters, digits and _, but neither ohlcv nor fundamentals",
            )
        self.data_type = data_type
        # Numeric columns, which are known only for some types of tables.
        self._numbers = MEASURES[data_type].columns if data_type in MEASURES else ()
        # Cache of digest and rows by file, because an answer reads each file twice. Entries are
        # replaced as a whole.
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
        """Merge rows into the table; return the number of rows accepted.

        A later row replaces an earlier one that has the same timestamp.

        Args:
            key: Series of the table.
            frame: Rows with a ``DatetimeIndex`` (aware times are converted, naive ones mean UTC).
            span: Span that was requested and answered; None if unknown.
            vendor: Vendor that answered.
            lacking: Parts of ``span`` for which rows are known to exist but missing from the
                answer; these parts count as not answered.

        Raises:
            ResponseFormatError: The frame has no time index, or text instead of a number.
            StorageError, LockTimeoutError: A file cannot be written, or another process held the
                lock for too long.
        """
        import pandas as pd

        rows = _utc_rows(frame)
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
        """Return the rows in ``span``, or None if there are none."""
        import pandas as pd

        frames = (self._read_sound(key, year).rows for year in self._years(key, span))
        filled = [frame for frame in frames if frame is not None and len(frame)]
        if not filled:
            return None
        joined = pd.concat(filled)
        first, last = pd.Timestamp(from_ms(span.start)), pd.Timestamp(from_ms(span.end))
        inside = joined[(joined.index >= first) & (joined.index < last)]
        return inside if len(inside) else None

    def answered(self, key: SeriesKey, span: Span | None = None) -> list[Span]:
        """Return the spans that were requested and answered, merged where adjacent, without damaged years.

        Args:
            key: Series of the table.
            span: Only years that overlap this span are read; None means all years.
        """
        years = self.years(key) if span is None else self._years(key, span)
        return coalesce(answer for year in years for answer in self._read_sound(key, year).answered)

    def answered_until(self, key: SeriesKey) -> int | None:
        """Return the end of the last answered span (UTC milliseconds), from the documents only.

        The result is None if no document contains such a span.
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
        """Return the known content of data files in the quarantine, for the years in ``span``."""
        years = {f"{year:04d}" for year in _years(span)}
        lane = self._lane(key)
        aside = [
            file
            for file in self._quarantine(lane).files()
            if file.path.name[:4] in years and file.path.name.endswith(DATA)
        ]
        entries = {entry["quarantined"]: entry for entry in self.log(key)} if aside else {}
        years_lost = []
        for file in aside:
            entry = entries.get(file.path.name, {})
            logged = entry.get("span") if entry.get("reason") else None
            whole = Span(*logged) if logged else year_span(int(file.path.name[:4]))
            if whole.overlaps(span):
                name = file.path.relative_to(self._folder.parent).as_posix()
                rows = entry.get("removed") if logged else None
                years_lost.append(LostYear(whole, rows, f"{name} ({file.reason})"))
        return years_lost

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years with stored rows, in ascending order."""
        names = self._disk.list(self._lane(key))
        return sorted({y for n in names if n.endswith(".gz") and (y := year_of_name(n))})

    def keys(self) -> list[SeriesKey]:
        """Return every table that has files, ordered by symbol."""
        lanes = ((s, n) for s in self.symbols() for n in self._disk.list(self._symbol(s)))
        keys = (decode_lane(symbol, name) for symbol, name in lanes)
        return [key for key in keys if key and years_in(self._disk.list(self._lane(key)))]

    def damage(self, key: SeriesKey) -> list[Damage]:
        """Return the files of a table that differ from what was written; nothing is changed.

        Raises:
            FormatVersionError: A newer version of this library wrote one of the files.
            StorageError: A file cannot be read.
        """
        years = years_in(self._disk.list(self._lane(key)))
        return [damage for year in years for damage in self._peek(key, year).damage]

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the log of a table, oldest first: commits, deletions, damaged files set aside.

        Each entry has ``time``, ``year``, ``vendor``, ``span``, the numbers of rows ``added``,
        ``changed`` and ``removed`` (None if unknown), ``size``, ``deleted`` (the call that deleted
        the rows) and ``quarantined`` with its ``reason``.
        """
        lane = self._lane(key)
        entries = [
            _log_entry(entry, year)
            for year in logged_years(self._disk.list(lane))
            for entry in entries_of_log(self._disk, lane / f"{year:04d}{LOG}")
        ]
        return sorted(entries, key=lambda entry: str(entry["time"]).rstrip("Z"))

    def logged(self, symbol: str) -> list[SeriesKey]:
        """Return a symbol's tables that have a log, including deleted ones."""
        folder = self._symbol(symbol)
        keys = {name: decode_lane(symbol, name) for name in self._disk.list(folder)}
        return [k for n, k in keys.items() if k and logged_years(self._disk.list(folder / n))]

    def repair(self, key: SeriesKey) -> None:
        """Move damaged files to the quarantine, so that the spans they covered are requested again.

        Raises the same errors as :meth:`put`.
        """
        folder = self._lane(key)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            names = sweep(self._disk, folder)
            for year in years_in(names):
                self._read_locked(key, year)

    def symbols(self) -> list[str]:
        """Return the symbols that have tables."""
        return sorted(filter(None, map(decode_symbol, self._disk.list(self._folder))))

    def clear(
        self, symbol: str | None = None, key: SeriesKey | None = None, *, by: str = "clear"
    ) -> None:
        """Remove the tables of a series or a symbol, or all tables; lock files and logs are kept.

        ``by`` is the name of the deleting call, for the logs.
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
        """Remove years of a table whose latest row is not newer than ``closed_by``.

        Each year is checked under the lock. The log is kept, and names the deleting call ``by``.
        ``wait_s`` is the maximum wait for another writer in seconds; None means the time set for
        the store.

        Returns:
            Number of years removed.

        Raises:
            LockTimeoutError, StorageError: The removal failed; years not removed yet are intact.
        """
        folder, removed = self._lane(key), 0
        wait_s = self._lock_timeout_s if wait_s is None else wait_s
        with self._disk.lock(folder / ".lock", wait_s):
            for year in years:
                content = self.holding(key, year)
                if content is not None and content[1] <= closed_by:
                    self._remove_years(folder, [year], by)
                    removed += 1
        return removed

    def holding(self, key: SeriesKey, year: int) -> tuple[int, int] | None:
        """Return a year's number of rows, and the timestamp of the latest row (UTC milliseconds).

        Return None if the year has no rows or cannot be read; nothing is changed.
        """
        try:
            rows = self._peek(key, year).rows
        except CacheError:
            return None
        if rows is None or not len(rows):
            return None
        return len(rows), to_ms(rows.index[-1])

    def files(self, key: SeriesKey, year: int) -> list[Path]:
        """Return the files that deleting a year would remove, including those in quarantine."""
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
        files, stored = self._files(key, year), self._read_locked(key, year)
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
            # The document has the digests of both data files, so a crash may leave either.
            answered = [list(answer) for answer in stored.answered]
            state = self._disk.stat(files.data)
            write(
                stored.rows,
                state.size if state else 0,
                {"answered": answered, "digest": stored.digest, "pending": digest},
            )
            write_atomically(self._disk, files.data, packed)
        newly_answered = subtract([span.clip(year_span(year))] if span else [], lacking)
        answered = [list(answer) for answer in coalesce([*stored.answered, *newly_answered])]
        write(both, len(packed), {"answered": answered, "digest": digest, "pending": None})
        entry = {"vendor": vendor, "span": list(span) if span else None, "size": len(packed)}
        append_entry(self._disk, files.log, self._clock, entry | _changes(stored.rows, both))

    def _files(self, key: SeriesKey, year: int) -> TableYear:
        lane = self._lane(key)
        ends = (DATA, METADATA, LOG)
        return TableYear(*(lane / f"{year:04d}{end}" for end in ends))

    def document(self, key: SeriesKey, year: int) -> dict[str, Any] | None:
        """Return the documented keys in a year's document, whichever tool wrote it, or None."""
        try:
            content = self._disk.read_if_exists(self._files(key, year).metadata)
            parsed = json.loads(content) if content else None
        except (ValueError, RecursionError, StorageError):
            return None
        return (
            {k: v for k, v in parsed.items() if k != "sha256"} if isinstance(parsed, dict) else None
        )

    # --- checks and repair ---------------------------------------------------------------------

    def _read_sound(self, key: SeriesKey, year: int) -> _StoredYear:
        """Return the stored state of a year; damaged files are set aside and count as missing.

        Raises:
            FormatVersionError: A newer version of this library wrote the year.
            StorageError: The year cannot be read.
        """
        stored = self._peek(key, year)
        if not stored.damage:
            return stored
        try:
            with self._disk.lock(self._lane(key) / ".lock", self._lock_timeout_s):
                return self._read_locked(key, year)
        except FormatVersionError:
            raise
        except CacheError as exc:
            why = "; ".join(damage.reason for damage in stored.damage)
            log.warning("%s %s %s counts as missing: %s (%s)", self.data_type, key, year, why, exc)
            return _StoredYear()

    def _peek(self, key: SeriesKey, year: int) -> _StoredYear:
        """Read a year without its lock; read it again if there may have been a commit in the meantime."""
        stored = self._read_year(key, year)
        for _ in range(_MOST_READS - 1):
            if not stored.damage:
                break
            stored = self._read_year(key, year)
        return stored

    def _read_locked(self, key: SeriesKey, year: int) -> _StoredYear:
        """Read a year under its lock; set damaged files aside whole, along with the reason."""
        stored = self._read_year(key, year)
        if not stored.damage:
            return stored
        files = self._files(key, year)
        no_loss: dict[str, Any] = {"span": None, "removed": 0}
        # If only the document is damaged, the rows are still there.
        is_gone = files.data in [damage.path for damage in stored.damage]
        is_gone = is_gone or self._disk.stat(files.data) is None
        loss = self._log_facts(files.metadata) if is_gone else no_loss
        for damage in stored.damage:
            # The data first, because a document without data claims nothing, but data without a
            # document would be trusted.
            self._keep(damage, loss)
            loss = no_loss  # the loss is logged only once
        return self._read_year(key, year)

    def _keep(self, damage: Damage, loss: Mapping[str, Any]) -> None:
        """Move a damaged file to the quarantine; log the move and the rows that were lost."""
        lane = damage.path.parent
        kept = self._quarantine(lane).keep(damage)
        entry = {"quarantined": kept.name, "reason": damage.reason, "size": 0, **loss}
        append_entry(self._disk, lane / f"{damage.path.name[:4]}{LOG}", self._clock, entry)

    def _read_year(self, key: SeriesKey, year: int) -> _StoredYear:
        """Read both files of a year once, the document first, so that it is never newer than the data."""
        files = self._files(key, year)
        document = self._disk.read_if_exists(files.metadata)
        content = self._disk.read_if_exists(files.data)
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
            return _StoredYear(damage=tuple(damage))
        digest, rows = _digest(content), None
        try:
            _check_digest(record, digest)
            rows = self._rows(files.data, content, digest)
        except metadata.DamagedError as exc:
            damage.insert(0, Damage(files.data, content, str(exc)))
            if document and len(damage) == 1:
                damage.append(Damage(files.metadata, document, "its data file is damaged"))
        if damage:
            return _StoredYear(damage=tuple(damage))
        return _StoredYear(rows, record, answered, digest)

    def _rows(self, path: Path, content: bytes, digest: str) -> pd.DataFrame:
        """Return the rows in a data file.

        Raises:
            DamagedError: The file cannot be read as a table, or has text instead of a number.
        """
        cached = self._parsed.get(path)
        if cached is not None and cached[0] == digest:
            return cached[1]
        try:
            rows = _parsed(content)
            self._check_numbers(rows)
        except (OSError, EOFError, zlib.error, ValueError, ResponseFormatError) as exc:
            raise metadata.DamagedError(f"it cannot be read: {exc}"[:300]) from exc
        self._parsed[path] = digest, rows
        return rows

    def _check_numbers(self, rows: pd.DataFrame) -> None:
        """Raise ``ResponseFormatError`` for text in a numeric column."""
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
        """Remove all files of the given years and log the removal; the caller holds the folder's lock."""
        for year in years:
            recorded = self._log_facts(lane / f"{year:04d}.metadata.json")
            paths = _files_of(self._disk, lane, f"{year:04d}")
            for path in paths:
                self._disk.remove_whole(path)
            for folder in {path.parent for path in paths}:
                self._disk.sync_folder(folder)
            entry = {"vendor": "", "added": 0, "changed": 0, "size": 0, "deleted": by}
            append_entry(self._disk, lane / f"{year:04d}{LOG}", self._clock, recorded | entry)

    def _log_facts(self, document: Path) -> dict[str, Any]:
        """Return the facts to log about rows to be deleted: the answered ``span``, and ``removed`` rows.

        Facts that the document lacks, or that cannot be read, are None.
        """
        try:
            parsed = json.loads(self._disk.read_if_exists(document) or b"null")
            rows, answered = parsed["file_info"]["rows"], (parsed.get("onetape") or {})["answered"]
            ends = [int(ms) for pair in answered for ms in pair]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StorageError):
            return {"span": None, "removed": None}
        is_count = isinstance(rows, int)
        return {
            "span": [min(ends), max(ends)] if ends else None,
            "removed": rows if is_count else None,
        }


def _files_of(disk: Disk, lane: Path, year: str) -> list[Path]:
    """Return the files of a year, documents first, without logs and locks."""
    names = [name for name in disk.list(lane) if year_of_name(name) == int(year)]
    aside = [name for name in disk.list(lane / QUARANTINE) if name.startswith(f"{year}.")]
    ordered = sorted(names, key=lambda name: not name.endswith(".json"))
    return [*(lane / name for name in ordered), *(lane / QUARANTINE / name for name in aside)]


def _log_entry(entry: Mapping[str, Any], year: int) -> dict[str, Any]:
    """Return a log line in the form that :meth:`TableStore.log` documents."""
    removed = None if entry.get("quarantined") else 0
    defaults = {"added": 0, "changed": 0, "removed": removed, "size": 0}
    return {
        "time": entry.get("time"),
        "year": year,
        "vendor": entry.get("vendor") or "",
        "span": entry.get("span"),
        **{name: entry.get(name, count) for name, count in defaults.items()},
        "deleted": entry.get("deleted"),
        "quarantined": entry.get("quarantined"),
        "reason": entry.get("reason"),
    }


def _utc_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a naive UTC index, ascending and unique; the input is not modified."""
    import pandas as pd

    if not isinstance(frame.index, pd.DatetimeIndex):
        name = next((c for c in frame.columns if str(c).lower() in ("timestamp", "time")), None)
        if name is None:
            raise ResponseFormatError("a table needs a time index or a `timestamp` column")
        frame = frame.set_index(pd.DatetimeIndex(pd.to_datetime(frame[name], utc=True)))
        frame = frame.drop(columns=[name])
    times = frame.index
    assert isinstance(times, pd.DatetimeIndex)
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    if times.hasnans:
        raise ResponseFormatError("the table has missing timestamps (NaT)")
    rows = frame.set_axis(pd.DatetimeIndex(times.as_unit("ns"), name="timestamp"), axis=0)
    return rows[~rows.index.duplicated(keep="last")].sort_index()


def _parsed(content: bytes) -> pd.DataFrame:
    frame = read_csv(inflated(content))
    frame.index = times_of(frame.pop(frame.columns[0]))
    return _utc_rows(frame)


def _years(span: Span | None) -> Iterable[int]:
    return () if span is None else years_of(span)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _record(document: bytes | None, key: SeriesKey, year: int) -> dict[str, Any]:
    """Return the content under ``onetape`` in a document; empty unless this library wrote it.

    Raises:
        DamagedError: The document was altered, or is about another table.
        FormatVersionError: A newer version of this library wrote the document.
    """
    if document is None or _is_of_another_tool(document):
        return {}
    parsed = metadata.load(document)
    ours = parsed.get("onetape")
    if not isinstance(ours, dict):
        raise metadata.DamagedError("the document lacks the answered spans")
    metadata.check_format(
        ours,
        f"{key} {year}: the table has",
        symbol=key.symbol,
        hint="update this library; the file was left unchanged",
    )
    expected = {"symbol": key.symbol, "timeframe": key.timeframe.label, "year": year}
    metadata.check_about(parsed, expected, "table")
    return ours


def _is_of_another_tool(document: bytes) -> bool:
    """Return whether a document has no digest, as in older tools' files."""
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and not {"sha256", "onetape"} & parsed.keys()


def _answered(record: dict[str, Any], year: int) -> tuple[Span, ...]:
    """Return the answered spans in a document, limited to its own year.

    Raises:
        DamagedError: The entries are not spans.
    """
    try:
        spans = [Span(*map(int, pair)) for pair in record.get("answered", ())]
    except (TypeError, ValueError) as exc:
        raise metadata.DamagedError(f"the `answered` entry is not a list of spans: {exc}") from exc
    return tuple(coalesce(span.clip(year_span(year)) for span in spans))


def _check_digest(record: dict[str, Any], digest: str) -> None:
    """Raise ``DamagedError`` if the data does not match the digest; older tools' data has none."""
    if record and digest not in (record.get("digest"), record.get("pending")):
        raise metadata.DamagedError("the digest of the data differs from the one in the document")


def _changes(before: pd.DataFrame | None, after: pd.DataFrame) -> dict[str, int]:
    """Return the number of new rows, and the number of existing rows with changed values."""
    if before is None:
        return {"added": len(after), "changed": 0}
    first, second = before.align(after.loc[before.index])
    same = (first == second) | (first.isna() & second.isna())
    return {"added": len(after) - len(before), "changed": int((~same).any(axis=1).sum())}
