"""The folder of fundamentals: its files, their age, and their deletion.

The files are ``<cache>/fundamentals/<SYMBOL>/<vendor>_<YYYYMMDD>_<HHMMSS>.json`` (UTC). Files from
older tools, which called yahoo ``yfinance``, are read from ``<cache>/<SYMBOL>/fundamentals/``.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ....errors import CacheError, CorruptEntryError, StorageError
from ...clock import Clock, SystemClock
from ...config.settings import is_private, load_settings
from ...disk.files import Disk, FileState
from ...model.market.fundamentals import (
    METADATA,
    NEXT_REPORT,
    Snapshot,
    canonical_type,
    snapshot_of,
)
from ...model.time.instant import DAY_MS, SECOND_MS, from_ms, parse_iso, to_ms
from ...registry import canonical_vendor
from ..format import json_document
from ..layout import decode_symbol, encode_symbol
from ..log_file import append_entry, entries_of_log
from ..recovery.quarantine import Damage, Quarantine

log = logging.getLogger(__name__)

COMBINED = "combined"
DEFAULT_TTL_DAYS = 7.0
_MOST_CACHED = 512
LOCK_TIMEOUT_S = 10.0


class Ages(Protocol):
    """The part of a combiner's interface that is used here: how long a response stays fresh."""

    def get_ttl_for_data_type(self, data_type: str) -> float:
        """Return the number of days for which a response of this type stays fresh."""


class FundamentalsFolder:
    """The fundamentals files of all symbols. Thread-safe, and safe across processes.

    Args:
        cache_dir: Root of the cache. Default: the data manager's cache.
        combiner: Defines how long each type stays fresh. Default: 7 days for all types.
        clock: Clock to use instead of the system clock.
        disk: File system to use instead, for tests.
        private: Whether the files are readable only by their owner; None means the value of
            ``cache.private`` in the rules.

    Raises:
        ConfigError: The configuration is invalid.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        combiner: Ages | None = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        private: bool | None = None,
    ) -> None:
        self.cache_dir = Path(cache_dir) if cache_dir else load_settings().cache_dir
        self.combiner = combiner
        self._clock = clock or SystemClock()
        self._disk = disk or Disk(
            root=self.cache_dir, private=is_private() if private is None else private
        )
        # Maps each path read to its file state and content; entries are replaced as a whole.
        self._read: dict[Path, tuple[FileState, FundamentalsDocument | None]] = {}

    # --- removing --------------------------------------------------------------------------

    def cleanup_stale_data(self, symbol: str, provider: str, new_timestamp: datetime) -> list[str]:
        """Delete a vendor's files that are older than ``new_timestamp``; return their paths."""
        vendor, limit = canonical_vendor(provider) or provider, to_ms(new_timestamp)
        limit -= limit % SECOND_MS  # file names have full seconds
        older = [e for e in self._entries(symbol) if e.vendor == vendor and e.stamp_ms < limit]
        return self._remove(symbol, older, "cleanup_stale_data")

    def tidy(
        self, symbol: str, copies: int = 1, min_quality: float = 0.8, *, dry_run: bool = False
    ) -> list[str]:
        """Delete copies that newer, good copies have replaced; return their paths.

        For each vendor and type, the latest ``copies`` good copies are kept, as is any copy newer
        than these. A copy is good if its quality is at least ``min_quality`` times that of the best
        copy. A dry run returns the paths without deleting anything.
        """
        groups: dict[tuple[str, tuple[str, ...]], _Copies] = {}
        for entry in sorted(self._entries(symbol), key=newest_first):
            document = self._document(entry, symbol)
            if document is not None:
                groups.setdefault((entry.vendor, document.data_types), []).append((entry, document))
        replaced = [e for group in groups.values() for e in _outdated(group, copies, min_quality)]
        return (
            [str(entry.path) for entry in replaced]
            if dry_run
            else self._remove(symbol, replaced, "tidy")
        )

    def cleanup_expired_data(
        self, max_age_days: float | None = None, data_type: str = "general"
    ) -> dict[str, int]:
        """Delete all files that are no longer fresh, even a symbol's last one.

        Returns:
            ``removed_files``, and ``removed_symbols``: the number of symbols with no files left.
        """
        removed = emptied = 0
        for symbol in self.symbols():
            entries = list(self._entries(symbol))
            old = [e for e in entries if not self._is_fresh(e.stamp_ms, max_age_days, data_type)]
            removed_now = len(self._remove(symbol, old, "cleanup_expired_data"))
            removed += removed_now
            emptied += bool(removed_now) and removed_now == len(entries)
        return {"removed_files": removed, "removed_symbols": emptied}

    def get_cache_stats(self, symbol: str | None = None) -> dict[str, Any]:
        """Return cache statistics for one symbol, or for all of them.

        The statistics contain counts, and the size in bytes as ``total_size``.
        """
        if symbol is not None:
            entries = list(self._entries(symbol))
            vendors: dict[str, int] = {}
            for entry in entries:
                vendors[entry.vendor] = vendors.get(entry.vendor, 0) + 1
            return {
                "symbol": symbol,
                "files": len(entries),
                "total_size": self._size(entries),
                "providers": vendors,
            }
        symbols = self.symbols()
        each = {name: self.get_cache_stats(name) for name in symbols}
        return {
            "total_symbols": len(each),
            "total_files": sum(stats["files"] for stats in each.values()),
            "total_size": sum(stats["total_size"] for stats in each.values()),
            "symbols": each,
        }

    def symbols(self) -> list[str]:
        """Return the symbols that may have files, in alphabetical order."""
        return symbols(self._disk, self.cache_dir)

    def log(self, symbol: str) -> list[dict[str, Any]]:
        """Return the files written, deleted and quarantined for a symbol, oldest first.

        Each entry has ``time``, ``file``, its ``size`` in bytes (None if unknown), ``types``,
        ``deleted`` (the call that deleted it), and ``quarantined`` with its ``reason``.
        """
        folder, _ = folders(self.cache_dir, symbol)
        return [_log_entry(entry) for entry in entries_of_log(self._disk, folder / LOG)]

    # --- checks and repair ---------------------------------------------------------------------

    def damage(self, symbol: str) -> list[Damage]:
        """Return a symbol's files that cannot be trusted; nothing is changed.

        Raises:
            StorageError: A file cannot be read.
        """
        return [
            Damage(entry.path, data, reason)
            for entry in self._entries(symbol)
            if (data := self._disk.read_if_exists(entry.path)) is not None
            and (reason := _objection(entry, data, symbol))
        ]

    def repair(self, symbol: str) -> None:
        """Move files that cannot be trusted to the quarantine, even new ones."""
        for damage in self.damage(symbol):
            self._set_aside(symbol, damage)

    # --- inside ----------------------------------------------------------------------------

    def _entries(self, symbol: str) -> list[FundamentalsFile]:
        """Return the files of ``symbol`` in this library's folder and in the one used by older tools."""
        now_ms = self._clock.now_ms()
        both = folders(self.cache_dir, symbol)
        return [e for folder in both for e in entries(self._disk, folder, now_ms)]

    def _document(self, entry: FundamentalsFile, symbol: str) -> FundamentalsDocument | None:
        """Return a file's content; None if it is missing, or cannot be trusted and is set aside."""
        state = self._disk.stat(entry.path)
        cached = self._read.get(entry.path)
        if cached is not None and cached[0] == state:
            return cached[1]
        data = self._content(entry.path)
        if data is None or state is None:
            return None
        document = None
        try:
            document = load(entry, data, symbol)
        except CorruptEntryError as exc:
            log.warning("%s is ignored: %s", entry.path.name, exc)
            if is_settled(self._disk, state):
                self._set_aside(symbol, Damage(entry.path, data, str(exc)))
        if len(self._read) >= _MOST_CACHED:
            self._read = {}
        self._read[entry.path] = state, document
        return document

    def _content(self, path: Path) -> bytes | None:
        """Return the bytes of a file; None if it does not exist or cannot be read.

        An unreadable file does not prevent the use of the others; a check reports it.
        """
        try:
            return self._disk.read_if_exists(path)
        except StorageError as exc:
            _warn_once(path, exc.args[0])
            return None

    def _is_fresh(self, stamp_ms: int, max_age_days: float | None, data_type: str) -> bool:
        days = max_age_days
        if days is None:
            name = canonical_type(data_type) or data_type
            days = self.combiner.get_ttl_for_data_type(name) if self.combiner else DEFAULT_TTL_DAYS
        return self._clock.now_ms() - stamp_ms <= days * DAY_MS

    def _set_aside(self, symbol: str, damage: Damage) -> None:
        """Move an untrusted file to the quarantine, with the reason next to it."""
        folder = damage.path.parent
        quarantine = Quarantine(self._disk, self._clock, folder / QUARANTINE, folder.name)
        try:
            with self._disk.lock(folder / ".lock", LOCK_TIMEOUT_S):
                if self._disk.read_if_exists(damage.path) != damage.content:
                    return
                kept = quarantine.keep(damage)
        except CacheError as exc:  # read-only or locked; the file is ignored in any case
            log.debug("%s stays where it is: %s", damage.path.name, exc)
            return
        entry = {"quarantined": kept.name, "reason": damage.reason, "size": len(damage.content)}
        self._log(symbol, entry)

    def _log(self, symbol: str, *entries: dict[str, Any]) -> None:
        """Add lines to the symbol's log; a failure is reported, not raised."""
        folder, _ = folders(self.cache_dir, symbol)
        try:
            self._disk.make_folders(folder)
            with self._disk.lock(folder / ".lock", LOCK_TIMEOUT_S):
                for entry in entries:
                    append_entry(self._disk, folder / LOG, self._clock, entry)
        except CacheError as exc:
            log.warning("the log of fundamentals for %s could not be written: %s", symbol, exc)

    def _remove(self, symbol: str, entries: list[FundamentalsFile], by: str) -> list[str]:
        removed, lines = [], []
        for entry in entries:
            size = self._size([entry])
            try:
                self._disk.remove(entry.path)
            except StorageError as exc:
                log.warning("%s could not be removed: %s", entry.path.name, exc)
                continue
            self._read.pop(entry.path, None)
            removed.append(str(entry.path))
            lines.append({"removed": entry.path.name, "size": size, "deleted": by})
        if removed:
            self._log(symbol, *lines)
        return removed

    def _size(self, entries: list[FundamentalsFile]) -> int:
        states = (self._disk.stat(entry.path) for entry in entries)
        return sum(state.size for state in states if state is not None)


def _log_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a log line in the form that :meth:`FundamentalsFolder.log` documents."""
    removed = entry.get("removed")
    return {
        "time": entry.get("time"),
        "file": entry.get("written") or removed or entry.get("quarantined"),
        "size": entry.get("size"),
        "types": list(entry.get("types") or ()),
        "deleted": entry.get("deleted"),
        "quarantined": entry.get("quarantined"),
        "reason": entry.get("reason"),
    }


def _objection(entry: FundamentalsFile, data: bytes, symbol: str) -> str:
    """Return the reason why a file cannot be trusted; empty if it can."""
    try:
        load(entry, data, symbol)
    except CorruptEntryError as exc:
        return str(exc)
    return ""


def newest_first(entry: FundamentalsFile) -> tuple[int, bool, str]:
    """Return a sort key: newest first and, for equal age, combined files first."""
    return -entry.stamp_ms, entry.vendor != COMBINED, entry.vendor


def _outdated(ranked: _Copies, copies: int, min_quality: float) -> list[FundamentalsFile]:
    least = min_quality * max(document.quality for _, document in ranked)
    good = [index for index, (_, doc) in enumerate(ranked) if doc.quality >= least]
    last_kept = good[: max(1, copies)][-1]
    return [entry for entry, _ in ranked[last_kept + 1 :]]


# --- files -------------------------------------------------------------------------------


FOLDER = "fundamentals"
QUARANTINE = "_quarantine"
LOG = "files.log"
VERSION = "1.0"
_FILE_NAME = re.compile(r"(?P<vendor>[A-Za-z0-9_.-]+)_(?P<stamp>\d{8}_\d{6})\.json")
_STAMP_FORMAT = "%Y%m%d_%H%M%S"
# Age up to which an unreadable file may be one that another program is still writing.
_SETTLED_NS = 60 * 10**9


class FundamentalsFile(NamedTuple):
    """One stored response of a vendor, as described by its file name."""

    path: Path
    vendor: str
    stamp_ms: int


class FundamentalsDocument(NamedTuple):
    """The parsed content of one file with fundamentals."""

    quality: float
    data_types: tuple[str, ...]
    snapshot: Snapshot
    inner: Mapping[str, Any]
    announced: frozenset[str]


_Copies = list[tuple[FundamentalsFile, FundamentalsDocument]]


def folders(root: Path, symbol: str) -> tuple[Path, Path]:
    """Return the folder for ``symbol``, and the one that older tools used.

    Raises:
        BadSymbolError: The symbol cannot name a folder.
    """
    name = encode_symbol(symbol)
    return root / FOLDER / name, root / name / FOLDER


def symbols(disk: Disk, root: Path) -> list[str]:
    """Return the symbols that have a folder in either layout."""
    here = {decode_symbol(name) for name in disk.list(root / FOLDER) if name != QUARANTINE}
    older = {
        decode_symbol(name)
        for name in disk.list(root)
        if name[:1].isupper() and disk.stat(root / name / FOLDER) is not None
    }
    return sorted(symbol for symbol in here | older if symbol)


def file_name(vendor: str, stamp: datetime) -> str:
    """Return the name of the file for an answer from ``vendor`` at the time ``stamp``."""
    return f"{vendor}_{stamp.strftime(_STAMP_FORMAT)}.json"


@lru_cache(4096)
def _parse_name(name: str) -> tuple[str, int] | None:
    """Parse the vendor and the timestamp from a file name; None if the name has another form.

    Raises:
        ValueError: The stamp in the name is not a valid time.
    """
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        return None
    vendor = canonical_vendor(match["vendor"]) or match["vendor"]
    return vendor, to_ms(datetime.strptime(match["stamp"], _STAMP_FORMAT))


def entries(disk: Disk, folder: Path, now_ms: int) -> Iterator[FundamentalsFile]:
    """Yield the files of a folder; a file name with an impossible time is skipped with a warning."""
    for name in disk.list(folder):
        try:
            parts = _parse_name(name)
        except ValueError:
            _warn_once(folder / name, "its name has an impossible time")
            continue
        if parts is None:
            continue
        if parts[1] > now_ms + DAY_MS:
            _warn_once(folder / name, "its name has a time in the future")
            continue
        yield FundamentalsFile(folder / name, *parts)


def dump(
    vendor: str,
    symbol: str,
    data: Mapping[str, Any],
    stamp_ms: int,
    quality: float,
    data_types: tuple[str, ...],
    announced: Sequence[str],
) -> bytes:
    """Return the bytes of a file, with a digest to check that it is complete."""
    head = {
        "provider": vendor,
        "symbol": symbol,
        "timestamp": from_ms(stamp_ms).isoformat(),  # UTC without a zone, as in older tools
        "cache_version": VERSION,
        "data_quality_score": quality,
        "data_types": list(data_types),
        "announced": announced,
    }
    return json_document.dump({"metadata": head, "fundamentals": _json(data)})


def load(entry: FundamentalsFile, data: bytes, symbol: str) -> FundamentalsDocument:
    """Parse a file, from this library or an older tool.

    Raises:
        CorruptEntryError: The file is incomplete, damaged, malformed or about another symbol.
    """
    try:
        document = json.loads(data)
        head, inner = document["metadata"], document["fundamentals"]
        if not isinstance(head, Mapping) or not isinstance(inner, Mapping):
            raise TypeError("neither its header nor its content is a mapping")
        if "sha256" in document:
            json_document.load(data)
        recorded = str(head.get("symbol") or symbol)
        if _name_key(recorded) != _name_key(symbol):
            raise ValueError(f"it is about {recorded}")
        snapshot = snapshot_of(entry.vendor, symbol, inner, _stamp_of(inner, entry.stamp_ms))
        types = tuple(map(str, head.get("data_types") or snapshot.data_types))
        coming = snapshot.facts.get(NEXT_REPORT)
        dates = [*(head.get("announced") or ()), *([coming.value] if coming else ())]
        quality = float(head.get("data_quality_score") or 0.0)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
        CorruptEntryError,
    ) as exc:
        raise CorruptEntryError(f"{entry.path.name} is not a fundamentals file: {exc}") from exc
    return FundamentalsDocument(quality, types, snapshot, inner, frozenset(map(str, dates)))


def is_settled(disk: Disk, state: FileState) -> bool:
    """Return whether a file is old enough that another program cannot still be writing it."""
    return disk.now_ns() - state.mtime_ns >= _SETTLED_NS


def payload(data: bytes | None) -> dict[str, Any] | None:
    """Return the payload in a file's bytes; None if the bytes are missing or not trusted."""
    try:
        document = json.loads(data or b"")
        if "sha256" in document:
            json_document.load(data or b"")
        inner = document["fundamentals"]
    except (ValueError, TypeError, KeyError, RecursionError, CorruptEntryError):
        return None
    return inner if isinstance(inner, dict) else None


def _stamp_of(inner: Mapping[str, Any], otherwise: int) -> int:
    """Return the time when the vendor was queried: from the content or else ``otherwise``."""
    metadata = inner.get(METADATA)
    fetched_at = metadata.get("fetched_at") if isinstance(metadata, Mapping) else None
    return parse_iso(fetched_at) if isinstance(fetched_at, str) else otherwise


def _name_key(symbol: str) -> str:
    return re.sub(r"[-./]", "", symbol).upper()


def _json(value: Any) -> Any:
    """Return ``value`` in JSON types: NaN and infinity become null, other types their text."""
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


_warned: set[Path] = set()


def _warn_once(path: Path, what: str) -> None:
    if path not in _warned:
        _warned.add(path)
        log.warning("%s/%s is skipped: %s", path.parent.name, path.name, what)
