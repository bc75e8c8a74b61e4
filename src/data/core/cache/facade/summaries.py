"""Summaries of the cache for other programs: ``<cache>/ohlcv/_metadata/*.json``.

The summaries repeat the yearly metadata, and this library never reads them. They are written by
jobs, together with the statistics, and whenever a process that stored something exits.
"""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ....errors import CacheError
from ...disk.atomic import sweep, write_atomically
from ...disk.files import Disk
from ..format.json_document import dump_readable

log = logging.getLogger(__name__)

FOLDER = "_metadata"
FILES = ("symbols.json", "providers.json", "quality_scores.json", "cache_stats.json")
# Time to wait for another process that is writing the summaries.
LOCK_TIMEOUT_S = 5.0


class YearInfo(NamedTuple):
    """The metadata document of one year of a series, with the series and the year."""

    symbol: str
    timeframe: str
    year: int
    document: Mapping[str, Any]


def summaries(years: Iterable[YearInfo], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summaries for other programs, as a mapping from file names to contents.

    Args:
        years: Every year of every series.
        stats: Statistics with at least ``total_size_gb``, ``files_count`` and ``last_updated``.
    """
    symbols: dict[str, Any] = {}
    providers: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for info in years:
        entry = _entry(info.document)
        key = (info.symbol, info.timeframe)
        symbols.setdefault(key[0], {}).setdefault(key[1], {})[str(info.year)] = entry
        quality = dict(info.document.get("data_quality") or {})
        scores.setdefault(key[0], {}).setdefault(key[1], {})[str(info.year)] = quality
        _add_provider(providers, info, entry)
    for provider in providers.values():
        provider["symbols"] = [*provider["symbols"]]
    totals = {k: stats.get(k) for k in ("total_size_gb", "files_count", "last_updated")}
    return dict(zip(FILES, (symbols, providers, scores, totals), strict=True))


def _entry(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "provider": document.get("data_source"),
        "last_updated": document.get("last_updated"),
        "quality_score": (document.get("data_quality") or {}).get("score"),
        "rows": (document.get("file_info") or {}).get("rows", 0),
    }


def _add_provider(providers: dict[str, Any], info: YearInfo, entry: Mapping[str, Any]) -> None:
    name = str(entry["provider"] or "unknown")
    provider = providers.setdefault(
        name, {"symbols": {}, "files": 0, "rows": 0, "last_updated": None, "rate_limit": None}
    )
    provider["symbols"][info.symbol] = None
    provider["files"] += 1
    provider["rows"] += int(entry["rows"] or 0)
    provider["last_updated"] = max(
        filter(None, (provider["last_updated"], entry["last_updated"])), default=None
    )
    provider["rate_limit"] = (info.document.get("provider_info") or {}).get("rate_limit")


def write_summaries(disk: Disk, ohlcv: Path, contents: Mapping[str, Any]) -> bool:
    """Write the summary files under their lock; return whether that succeeded.

    A read-only cache, or a lock that another process holds for a long time, is not an error: the
    files are only for other programs, and the next process that is able to will write them.
    """
    folder = ohlcv / FOLDER
    try:
        disk.make_folders(folder)
        with disk.lock(folder / ".lock", LOCK_TIMEOUT_S):
            sweep(disk, folder)
            for name, content in contents.items():
                write_atomically(disk, folder / name, dump_readable(content), durable=False)
    except CacheError as exc:
        log.debug("summaries were not written: %s", exc)
        return False
    return True


# --- at exit -------------------------------------------------------------------------------


class Summarizes(Protocol):
    """A cache that can update its summaries."""

    def finish(self) -> None:
        """Write the summaries if anything has changed."""


# If a cache object no longer exists at exit, the next process writes the summaries.
_open: weakref.WeakSet[Summarizes] = weakref.WeakSet()


def finish_at_exit(cache: Summarizes) -> None:
    """Make ``cache`` update its summaries when the process exits."""
    _open.add(cache)


def _at_exit() -> None:
    for cache in tuple(_open):
        cache.finish()


atexit.register(_at_exit)
