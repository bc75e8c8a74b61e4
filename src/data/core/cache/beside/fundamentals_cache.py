"""The cache of fundamentals: one JSON file per answer.

How long an answer is fresh depends on its type. Old answers are kept in case vendors fail.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...config.settings import load_settings
from ...disk.atomic import sweep, write_atomically
from ...model.market.fundamentals import Snapshot, canonical_type, plain_of, quality, snapshot_of
from ...model.time.instant import DAY_MS, SECOND_MS, from_ms, to_ms
from ...registry import canonical_vendor
from ..log_file import append_entry
from . import fundamentals_folder as files
from .fundamentals_folder import (
    COMBINED,
    LOCK_TIMEOUT_S,
    Ages,
    FundamentalsDocument,
    FundamentalsFolder,
    newest_first,
)

__all__ = ["CacheMetadata", "FundamentalsCache", "get_fundamentals_cache"]

log = logging.getLogger(__name__)

# Dates of past reports to keep: an older one has no effect, because later ones expire more.
_MOST_REPORTS = 5


@dataclass
class CacheMetadata:
    """One file in the cache.

    Attributes:
        provider: Canonical name of the vendor, or ``combined``.
        timestamp: Naive UTC time.
        symbol: Symbol of the company.
        data_quality_score: Fraction of the main fields that have a value, 0 to 1.
        file_path: Path of the file.
        is_valid: Whether the file is fresh.
    """

    provider: str
    timestamp: datetime
    symbol: str
    data_quality_score: float
    file_path: str
    is_valid: bool = True


class FundamentalsCache(FundamentalsFolder):
    """Cache of vendors' company data, one file per response. Safe across threads and processes.

    Args:
        cache_dir: Root of the cache. Default: the data manager's cache.
        combiner: Defines how long each type stays fresh. Default: 7 days for all types.
        clock: Clock to use instead of the system clock.
        disk: File system to use instead, for tests.

    Raises:
        ConfigError: The configuration is invalid.
    """

    # --- reading ---------------------------------------------------------------------------

    def find_latest_json(
        self,
        symbol: str,
        provider: str | None = None,
        data_type: str = "general",
        max_age_days: float | None = None,
    ) -> CacheMetadata | None:
        """Return the latest fresh file, or None.

        Args:
            symbol: Symbol of the company.
            provider: Vendor to which the search is limited, by any of its names. If None,
                ``combined`` takes precedence over other files of the same age.
            data_type: Required type; files written for other types are ignored.
            max_age_days: Maximum age. Default: the time for which the type stays fresh.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
        """
        vendor = None if provider is None else canonical_vendor(provider) or provider
        for entry in sorted(self._entries(symbol), key=newest_first):
            if vendor is not None and entry.vendor != vendor:
                continue
            if not self._is_fresh(entry.stamp_ms, max_age_days, data_type):
                continue
            document = self._document(entry, symbol)
            if document is not None and _serves(document, data_type):
                moment = from_ms(entry.stamp_ms)
                return CacheMetadata(
                    entry.vendor, moment, symbol, document.quality, str(entry.path)
                )
        return None

    def read_json(self, file_path: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the payload of a file; None if it does not exist or is damaged."""
        return files.payload(self._content(Path(file_path)))

    def latest(self, symbol: str, data_type: str | None = None) -> dict[str, Snapshot]:
        """Return each vendor's latest response for a data type (None: any type), however old.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
        """
        snapshots: dict[str, Snapshot] = {}
        for entry in sorted(self._entries(symbol), key=newest_first):
            if entry.vendor in snapshots or entry.vendor == COMBINED:
                continue
            document = self._document(entry, symbol)
            if document is not None and (data_type is None or _serves(document, data_type)):
                snapshots[entry.vendor] = document.snapshot
        return snapshots

    def announced(self, symbol: str) -> frozenset[str]:
        """Return the dates of the company's reports that vendors have announced.

        Among them are the latest ones that have passed, even if the responses that announced them
        have been replaced.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
        """
        documents = (self._document(entry, symbol) for entry in self._entries(symbol))
        return frozenset(day for d in documents if d is not None for day in d.announced)

    def is_cache_valid(
        self, timestamp: datetime, max_age_days: float | None = None, data_type: str = "general"
    ) -> bool:
        """Return whether a response from ``timestamp`` (naive UTC, or aware) is still fresh."""
        return self._is_fresh(to_ms(timestamp), max_age_days, data_type)

    # --- writing ---------------------------------------------------------------------------

    def write_json(
        self,
        symbol: str,
        provider: str,
        data: Mapping[str, Any],
        timestamp: datetime | None = None,
        *,
        data_type: str | None = None,
    ) -> str:
        """Store a response, and return its path.

        Args:
            symbol: Symbol of the company.
            provider: Vendor that gave the answer.
            data: JSON values; other values are stored as text.
            timestamp: Time of the answer, naive UTC or aware; default: now.
            data_type: Type that was requested; if None, the file is used for every type.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
            CacheError: The file could not be written.
        """
        stamp_ms = self._clock.now_ms() if timestamp is None else to_ms(timestamp)
        vendor = canonical_vendor(provider) or provider
        types = (canonical_type(data_type) or data_type,) if data_type else ()
        facts = snapshot_of(vendor, symbol, data).facts
        return str(self._write(symbol, vendor, data, stamp_ms, quality(facts), types))

    def keep(self, snapshot: Snapshot) -> Path:
        """Store a vendor's response; for errors, see :meth:`write_json`."""
        return self._write(
            snapshot.symbol,
            snapshot.vendor,
            plain_of(snapshot),
            snapshot.fetched_at_ms,
            quality(snapshot.facts),
            snapshot.data_types,
        )

    def _write(
        self,
        symbol: str,
        vendor: str,
        data: Mapping[str, Any],
        stamp_ms: int,
        score: float,
        types: tuple[str, ...],
    ) -> Path:
        folder, _ = files.folders(self.cache_dir, symbol)
        # A response that announced a report is replaced by one that announces the next report, while
        # responses from before the report are still in use. Reports are dated in local time.
        tomorrow = from_ms(self._clock.now_ms() + DAY_MS).date().isoformat()
        passed = sorted({d[:10] for d in self.announced(symbol) if d[:10] <= tomorrow})
        content = files.dump(vendor, symbol, data, stamp_ms, score, types, passed[-_MOST_REPORTS:])
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", LOCK_TIMEOUT_S):
            sweep(self._disk, folder)
            path = folder / files.file_name(vendor, from_ms(stamp_ms))
            while self._disk.stat(path) is not None and not self._replaces(path, types):
                stamp_ms += SECOND_MS
                path = folder / files.file_name(vendor, from_ms(stamp_ms))
            write_atomically(self._disk, path, content)
            entry = {"written": path.name, "types": list(types), "size": len(content)}
            append_entry(self._disk, folder / files.LOG, self._clock, entry)
        return path

    def _replaces(self, path: Path, types: tuple[str, ...]) -> bool:
        """Return whether the existing file at ``path`` was written for the same types."""
        try:
            head = json.loads(self._content(path) or b"{}")["metadata"]
            return tuple(head.get("data_types") or ()) == types
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False


def _serves(document: FundamentalsDocument, data_type: str) -> bool:
    """Return whether a file was written for ``data_type``; a file without types suits all."""
    canonical = canonical_type(data_type) or data_type
    return not document.data_types or canonical in document.data_types


# Guards the table below against threads that request the same folder for the first time.
_lock = threading.Lock()
_caches: dict[Path, FundamentalsCache] = {}


def get_fundamentals_cache(
    cache_dir: str | os.PathLike[str] | None = None, combiner: Ages | None = None
) -> FundamentalsCache:
    """Return this process's cache for a folder; ``combiner``, if given, replaces its combiner."""
    folder = Path(os.path.abspath(cache_dir or load_settings().cache_dir))
    with _lock:
        cache = _caches.get(folder)
        if cache is None:
            cache = _caches[folder] = FundamentalsCache(folder, combiner)
        if combiner is not None:
            cache.combiner = combiner
        return cache


def _after_fork() -> None:
    """Give a forked child its own lock, because a thread of the parent may hold the current one."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
