"""The contents of a cache folder: symbols, timeframes, years, and the records about each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import CorruptEntryError, DataError
from ...disk.files import Disk
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, merge
from ...model.time.instant import from_ms, parse_iso
from ...model.time.span import Span, years_of
from ...model.time.timeframe import Timeframe
from ..format.documents import dump_meta
from ..format.gzip_member import PEEK_BYTES, is_ours
from ..layout import Layout, decode_symbol, encode_symbol, is_data_type
from ..legacy.reader import (
    SAMPLE_LANE,
    describe_legacy,
    files_elsewhere,
    folder_timeframes,
    is_plain,
    older_names,
    older_path,
    older_symbols,
    read_legacy,
    symbol_of,
)
from ..retention.eviction import BYTES_IN_GB
from ..store import BarStore
from .summaries import YearInfo

if TYPE_CHECKING:
    from ..format.lane_entry import LaneEntry
    from ..retention.inventory import Holdings, Inventory, StoredLane

# The lanes that are read if none is named; the one with sample data only if there is nothing else.
_DEFAULT_LANES = ((), SAMPLE_LANE)
_NOT_LISTED = object()


class Catalog:
    """Lists the contents of one cache, including files from older tools. Thread-safe.

    Args:
        root: Cache folder.
        store: Store of bars in the folder.
        disk: File system.
        inventory: Function that returns the inventory of the folder; by default an inventory that
            does not store anything.

    Attributes:
        store: Store of bars in the folder.
    """

    def __init__(
        self,
        root: Path,
        store: BarStore,
        disk: Disk,
        inventory: Callable[[], Inventory] | None = None,
    ) -> None:
        self._root = root
        self._inventory = inventory or self._of_its_own
        self.store = store
        self._disk = disk
        self._layout = Layout(root)

    # --- lists -----------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """Return the symbols that have files with bars, sorted."""
        ohlcv = self._layout.ohlcv
        names = [n for n in self._disk.list(ohlcv) if is_plain(n) and folder_timeframes(ohlcv / n)]
        return sorted(set(map(symbol_of, (*names, *older_symbols(self._root)))))

    def timeframes(self, symbol: str) -> list[Timeframe]:
        """Return the timeframes for which ``symbol`` has files with bars, shortest first."""
        names = [n for n in (encode_symbol(symbol), *older_names(symbol)) if is_plain(n)]
        folders = [base / name for base in (self._layout.ohlcv, self._root) for name in names]
        frames = {frame for folder in folders for frame in folder_timeframes(folder)}
        return sorted(frames, key=lambda frame: (frame.unit == "M", frame.step_ms or frame.count))

    def lane_of(self, key: SeriesKey) -> SeriesKey:
        """Return ``key``, or the key of the sample-data series if only that series exists."""
        if self.store.view(key).exists:
            return key
        sample = SeriesKey(key.symbol, key.timeframe, SAMPLE_LANE)
        return sample if self.store.view(sample).exists else key

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years for which a series has stored bars, in ascending order."""
        return self.store.years(key)

    def _of_its_own(self) -> Inventory:
        from ..retention.inventory import Inventory

        return Inventory(self.store.parts, keeps=False)

    def holdings(self) -> Holdings:
        """Return the contents of the folder; raises ``StorageError``."""
        return self._inventory().contents()

    def listing(self, holdings: Holdings | None = None) -> list[tuple[SeriesKey, LaneEntry | None]]:
        """Return every series in every lane, including older tools' series, with its index entry.

        The entry is None if the series' documents are damaged, or if the series may contain bars
        from older tools, which only the store can describe.
        """
        holdings = holdings or self.holdings()
        keys = {
            lane.key: lane.entry
            if lane.entry.is_sound and not holdings.has_foreign(lane.key.symbol)
            else None
            for lane in holdings.lanes
        }
        for name in sorted(holdings.foreign):
            symbol = symbol_of(name)
            for frame in self.timeframes(symbol):
                key = SeriesKey(symbol, frame)
                if key not in keys and self.store.parts.lane(key).elsewhere:
                    keys[key] = None
        return list(keys.items())

    def stored_keys(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[SeriesKey]:
        """Return the series of a symbol or timeframe, or all, in all lanes, including older tools'."""
        return [
            key
            for key, _ in self.listing()
            if symbol in (None, key.symbol) and timeframe in (None, key.timeframe)
        ]

    def all_years(self) -> Iterator[YearInfo]:
        """Yield the metadata of every year in the series that are read by default (without naming a lane)."""
        holdings = self._inventory().contents("outer_keys")
        lanes = {lane.key: lane for lane in holdings.lanes}
        listed = {key: entry for key, entry in self.listing(holdings) if key.lane in _DEFAULT_LANES}
        pairs = dict.fromkeys((key.symbol, key.timeframe) for key in sorted(listed, key=_sort_key))
        for symbol, frame in pairs:
            default, sample = (SeriesKey(symbol, frame, lane) for lane in _DEFAULT_LANES)
            key = default if default in listed else sample
            if listed.get(default, _NOT_LISTED) is None or listed.get(sample, _NOT_LISTED) is None:
                with suppress(DataError):
                    yield from self._years_read(self.lane_of(default))
            else:
                yield from _reported_years(lanes[key])

    def _years_read(self, key: SeriesKey) -> Iterator[YearInfo]:
        for year in self.years(key):
            document = self.document(key, year)
            if document is not None:
                yield YearInfo(key.symbol, key.timeframe.label, year, document)

    def data_types(self) -> list[str]:
        """Return the folder names for tables other than bars."""
        return [
            name
            for name in filter(is_data_type, self._disk.list(self._root))
            if any(
                folder_timeframes(self._root / name / s) for s in self._disk.list(self._root / name)
            )
        ]

    # --- records -------------------------------------------------------------------------------

    def document(self, key: SeriesKey, year: int) -> dict[str, Any] | None:
        """Return the metadata of one year of a series, or None if the year has no bars."""
        entry = self._json(self._layout.lane(key).metadata(year))
        if entry is None or "onetape" not in entry:
            entry = self._older_document(key, year)
        if entry is None or not (entry.get("file_info") or {}).get("rows"):
            return None
        return {name: value for name, value in entry.items() if name != "sha256"}

    def _json(self, path: Path) -> dict[str, Any] | None:
        try:
            value = json.loads(self._disk.read_if_exists(path) or b"null")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _older_document(self, key: SeriesKey, year: int) -> dict[str, Any] | None:
        """Return the document that a year will have once its file from another tool is converted."""
        from ..recovery.recover import document_of, examine  # not needed for this library's files

        lane = self.store.parts.lane(key)
        diagnosis = examine(lane, year)
        if not diagnosis.older or diagnosis.file is None:
            return None
        meta = document_of(lane, diagnosis.file).committed(diagnosis.file.state)
        data = dump_meta(meta, key, year, lane.vendor_facts.get(meta.vendor))
        return dict(json.loads(data))

    def unproven(self, key: SeriesKey, span: Span) -> BarTable:
        """Return all other tools' bars in ``span``, even bars that count as missing.

        The last bar in each file is included, although it may have been written before it closed.
        The result is meant for callers that read the cache directly, not for answers.
        """
        lane, bars = self.store.parts.lane(key), BarTable.empty()
        for year in years_of(span):
            for path in (lane.paths.legacy / f"{year}.csv.gz", older_path(lane, year)):
                if path is not None and self._is_foreign(path):
                    bars = merge(bars, self._foreign_rows(path, key.timeframe).within(span))
        return bars

    def _is_foreign(self, path: Path) -> bool:
        """Return whether ``path`` exists and contains neither this library's data nor sample data."""
        handle = self._disk.open_read(path)
        if handle is None:
            return False
        try:
            start = self._disk.read_at(handle, 0, PEEK_BYTES)
        finally:
            self._disk.close(handle)
        return not is_ours(start) and not describe_legacy(self._disk, path).is_sample

    def _foreign_rows(self, path: Path, timeframe: Timeframe) -> BarTable:
        try:
            return read_legacy(self._disk, path, timeframe)
        except CorruptEntryError:
            return BarTable.empty()  # the store reports it when it imports the file

    def updated_ms(self, key: SeriesKey, year: int) -> int | None:
        """Return when a year was last updated, in UTC milliseconds; None if unknown."""
        document = self.document(key, year) or {}
        try:
            return parse_iso(document["last_updated"])
        except (KeyError, TypeError, ValueError):
            return None

    def stats(self, max_size_gb: float, holdings: Holdings | None = None) -> dict[str, Any]:
        """Return statistics on the whole folder, counting all lanes."""
        holdings = holdings or self.holdings()
        listed = dict(self.listing(holdings))
        rows = {key: entry.rows if entry else self._rows(key) for key, entry in listed.items()}
        stored = [key for key, count in rows.items() if count]
        answering = (key for key in stored if key.lane in _DEFAULT_LANES)
        updated = max((self._updated_ms(key, listed[key]) for key in answering), default=0)
        lanes = [lane for lane in holdings.lanes if lane.entry.quarantined]
        aside = [self.store.quarantined(lane.key) for lane in lanes]
        # Tables and fundamentals have only files in quarantine, and so may a series without bars.
        elsewhere = holdings.size.quarantined - sum(lane.entry.quarantined for lane in lanes)
        return {
            "total_size_gb": holdings.size.bytes / BYTES_IN_GB,
            "files_count": holdings.size.data_files,
            "last_updated": from_ms(updated).isoformat(timespec="seconds") if updated else None,
            "max_size_gb": max_size_gb,
            "symbols_count": len({key.symbol for key in stored}),
            "series_count": len(stored),
            "bars_count": sum(rows.values()),
            "quarantined_rows": sum(len(rows) for rows, _ in aside),
            "quarantined_files": sum(len(files) for _, files in aside) + elsewhere,
            "quarantined_other_files": elsewhere,
        }

    def _rows(self, key: SeriesKey) -> int:
        """Return the number of bars in a series; 0 if it cannot be read, which a check reports."""
        with suppress(DataError):
            return self.store.view(key).rows
        return 0

    def _updated_ms(self, key: SeriesKey, entry: LaneEntry | None) -> int:
        if entry is not None:
            return entry.updated_ms
        return max((self.updated_ms(key, year) or 0 for year in self.years(key)), default=0)

    # --- removal -------------------------------------------------------------------------------

    def every_symbol(self) -> list[str]:
        """Return all symbols in the cache, with or without bars."""
        folders = self._disk.list(self._layout.ohlcv)
        return sorted({*self.symbols(), *filter(None, map(decode_symbol, folders))})

    def clear(self, symbol: str, frames: list[Timeframe] | None = None) -> None:
        """Delete a symbol's series in all lanes or, without ``frames``, everything stored for it."""
        for frame in self.timeframes(symbol) if frames is None else frames:
            key, parts = SeriesKey(symbol, frame), self.store.parts
            years = [year for year, _ in files_elsewhere(parts.lane(key))]
            if years:  # the store searches only the series' own folders
                self.store.clear_years(key, years)
            self.store.clear(symbol, frame)
        if frames is None:
            self.store.clear(symbol)

    def unchanged_since(self, oldest_ms: int) -> Iterator[tuple[SeriesKey, list[int]]]:
        """Yield the years last updated before ``oldest_ms``, by series."""
        for key in self.stored_keys():
            updates = {year: self.updated_ms(key, year) for year in self.years(key)}
            old = [year for year, ms in updates.items() if ms is not None and ms < oldest_ms]
            if old:
                yield key, old


def _sort_key(key: SeriesKey) -> tuple[str, bool, int]:
    frame = key.timeframe
    return key.symbol, frame.unit == "M", frame.step_ms or frame.count


def _reported_years(lane: StoredLane) -> Iterator[YearInfo]:
    for year, outer in sorted((lane.outer or {}).items()):
        if outer.file_info.rows:
            frame = lane.key.timeframe.label
            yield YearInfo(lane.key.symbol, frame, year, outer.to_json())
