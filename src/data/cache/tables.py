"""Dated tables that are no bars, such as funding rates: one gzip CSV and one document a year.

``<cache>/<data type>/<SYMBOL>/<timeframe>/<YYYY>.csv.gz`` with ``<YYYY>.metadata.json`` beside it.
They are small and come rarely, so a change writes the year anew; readers take no lock.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock
from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..errors import QueryError, ResponseFormatError
from ..model.instant import from_ms, year_of
from ..model.series import SeriesKey
from ..model.span import Span, coalesce
from . import metadata
from .deflate import inflated
from .layout import decode_symbol, encode_lane, encode_symbol, year_of_name
from .plain_csv import csv_text, read_csv

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_DATA_TYPE = re.compile(r"[a-z][a-z0-9_]{0,40}")
# Folders of the cache that hold something else.
_TAKEN = frozenset({"ohlcv", "fundamentals"})


@dataclass(frozen=True)
class TableYear:
    """The files of one year."""

    data: Path
    metadata: Path


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
        self._folder = root / data_type
        self._disk = disk or Disk(root=root)
        self._clock = clock or SystemClock()
        self._lock_timeout_s = lock_timeout_s

    def put(self, key: SeriesKey, frame: pd.DataFrame, span: Span | None, vendor: str) -> int:
        """Merge rows into what is stored, later ones winning; return the number of rows taken.

        Args:
            key: whose table.
            frame: rows on a ``DatetimeIndex`` (aware stamps are converted, naive ones mean UTC).
            span: the stamps that were asked and answered; None: nothing is known of that.
            vendor: who answered.

        Raises:
            ResponseFormatError: the frame has no time index.
            StorageError, LockTimeoutError: the disk or another process refused.
        """
        import pandas as pd

        rows = _on_utc(frame)
        folder = self._lane(key)
        stamped = pd.DatetimeIndex(rows.index).year
        years = sorted({int(year) for year in stamped} | set(_years(span)))
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            sweep(self._disk, folder)
            for year in years:
                self._merge_year(key, year, rows[stamped == year], span, vendor)
        return len(rows)

    def read(self, key: SeriesKey, span: Span) -> pd.DataFrame | None:
        """Return the rows whose stamps lie in ``span``, or None when there are none."""
        import pandas as pd

        held = (self._load(key, year) for year in self.years(key) if year in _years(span))
        parts = [frame for frame in held if frame is not None and len(frame)]
        if not parts:
            return None
        joined = pd.concat(parts)
        first, last = pd.Timestamp(from_ms(span.start)), pd.Timestamp(from_ms(span.end))
        inside = joined[(joined.index >= first) & (joined.index < last)]
        return inside if len(inside) else None

    def answered(self, key: SeriesKey) -> list[Span]:
        """Return the stamps that were asked and answered, coalesced."""
        documents = (self._document(key, year) for year in self.years(key))
        return coalesce(
            Span(*pair) for d in documents for pair in d.get("onetape", {}).get("answered", ())
        )

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years of which rows are stored, ascending."""
        names = self._disk.list(self._lane(key))
        return sorted({y for n in names if n.endswith(".gz") and (y := year_of_name(n))})

    def symbols(self) -> list[str]:
        """Return the symbols that have tables."""
        return sorted(filter(None, map(decode_symbol, self._disk.list(self._folder))))

    def clear(self, symbol: str | None = None, key: SeriesKey | None = None) -> None:
        """Remove the tables of one series, of a symbol, or all; lock files stay."""
        if key is not None:
            return self._clear_lane(self._lane(key))
        names = [encode_symbol(symbol)] if symbol else self._disk.list(self._folder)
        for name in names:
            for lane in self._disk.list(self._folder / name):
                self._clear_lane(self._folder / name / lane)
        return None

    # --- one year --------------------------------------------------------------------------

    def _lane(self, key: SeriesKey) -> Path:
        return self._folder / encode_symbol(key.symbol) / encode_lane(key)

    def _merge_year(
        self, key: SeriesKey, year: int, rows: pd.DataFrame, span: Span | None, vendor: str
    ) -> None:
        import pandas as pd

        stored = self._load(key, year, repair=True)
        known = [] if stored is None else self.answered_of(key, year)
        both = rows if stored is None else pd.concat([stored, rows])
        both = both[~both.index.duplicated(keep="last")].sort_index()
        if len(rows) or stored is None:
            packed = gzip.compress(csv_text(both), compresslevel=6, mtime=0)
            write_atomically(self._disk, self._files(key, year).data, packed)
        answered = coalesce([*known, *([span] if span else [])])
        document = self._describe(key, year, both, vendor, answered)
        write_atomically(self._disk, self._files(key, year).metadata, metadata.dump(document))

    def answered_of(self, key: SeriesKey, year: int) -> list[Span]:
        """Return the answered stamps recorded with ``year``."""
        recorded = self._document(key, year).get("onetape", {}).get("answered", ())
        return [Span(*pair) for pair in recorded]

    def _files(self, key: SeriesKey, year: int) -> TableYear:
        lane = self._lane(key)
        return TableYear(lane / f"{year:04d}.csv.gz", lane / f"{year:04d}.metadata.json")

    def _document(self, key: SeriesKey, year: int) -> dict[str, Any]:
        """Return what is recorded of a year; other tools' documents carry no digest."""
        content = self._disk.read_if_exists(self._files(key, year).metadata) or b"{}"
        try:
            return metadata.load(content)
        except metadata.DamagedError:
            return {}

    def document(self, key: SeriesKey, year: int) -> dict[str, Any] | None:
        """Return the documented keys of a year, whoever wrote them, or None."""
        content = self._disk.read_if_exists(self._files(key, year).metadata)
        try:
            plain = json.loads(content) if content else None
        except ValueError:
            return None
        return (
            {k: v for k, v in plain.items() if k != "sha256"} if isinstance(plain, dict) else None
        )

    def _load(self, key: SeriesKey, year: int, *, repair: bool = False) -> pd.DataFrame | None:
        """Return the rows of a year; an unreadable file counts as missing, and is kept aside."""
        path = self._files(key, year).data
        content = self._disk.read_if_exists(path)
        if content is None:
            return None
        try:
            return _parsed(content)
        except (OSError, EOFError, zlib.error, ValueError, ResponseFormatError) as exc:
            log.warning("%s %s %s cannot be read: %s", self.data_type, key, year, exc)
        if repair:
            place = path.parent / "_quarantine"
            self._disk.make_folders(place)
            self._disk.replace(path, place / f"{year:04d}.{self._clock.now_ms()}.csv.gz")
            self._disk.remove(self._files(key, year).metadata)
        return None

    def _describe(
        self, key: SeriesKey, year: int, rows: pd.DataFrame, vendor: str, answered: list[Span]
    ) -> dict[str, Any]:
        now = from_ms(self._clock.now_ms()).isoformat(timespec="seconds")
        before = self.document(key, year) or {}
        ends = [rows.index[i].isoformat() if len(rows) else None for i in (0, -1)]
        size = self._disk.stat(self._files(key, year).data)
        return {
            "symbol": key.symbol,
            "timeframe": key.timeframe.label,
            "year": year,
            "data_source": vendor,
            "created_at": before.get("created_at", now),
            "last_updated": now,
            "start_date": ends[0],
            "end_date": ends[1],
            "file_info": {
                "format": "csv.gz",
                "size_bytes": size.size if size else 0,
                "rows": len(rows),
                "columns": [str(c) for c in rows.columns],
            },
            "provider_info": {"name": vendor},
            "onetape": {"format": metadata.FORMAT, "answered": [list(s) for s in answered]},
        }

    def _clear_lane(self, lane: Path) -> None:
        names = [n for n in self._disk.list(lane) if year_of_name(n) is not None]
        if not names:
            return
        with self._disk.lock(lane / ".lock", self._lock_timeout_s):
            for name in sorted(names, key=lambda name: not name.endswith(".json")):
                self._disk.remove(lane / name)
            self._disk.sync_folder(lane)


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
    if span is None or span.is_empty:
        return ()
    return range(year_of(span.start), year_of(span.end - 1) + 1)
