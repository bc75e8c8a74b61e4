"""The state of an installation, for the first page: what needs attention, vendors, series, disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..charts.report import report_of
from ..data_manager import DataManager
from ..errors import DataError
from ..jobs.freshness import series_health
from ..jobs.health import SERVED, Installation
from ..model.instant import SECOND_MS, iso

__all__ = ["Board"]

# Seconds for which all browsers share a result: the checks, and the report on all series.
_CHECKS_S, _REPORT_S = 5.0, 60.0
# The command for series that are behind.
_STALE = "`onetape sync`"
# What is doubted, of the reasons for attention.
_DOUBTED = ("contradicted", "error", "unreadable")
T = TypeVar("T")


class Shared(Generic[T]):
    """A result that is computed by one thread at a time, and kept for some seconds. Thread-safe.

    Args:
        find: Function that computes the result.
        seconds: Time for which it is kept.
    """

    def __init__(self, find: Callable[[], T], seconds: float) -> None:
        self._find, self._seconds, self._lock = find, seconds, threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """Return the result, computed now if it is missing or too old."""
        with self._lock:
            now = time.monotonic()
            if self._found is None or now - self._found[0] > self._seconds:
                self._found = now, self._find()
            return self._found[1]


class Board:
    """Collects what commands print about an installation; no vendor is queried. Thread-safe.

    Args:
        manager: Data manager of the installation.
    """

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        settings = manager._services.settings
        self._place = Installation(
            manager.cache.cache_dir,
            settings.rules_path,
            clock=manager.client.clock,
            reach=None,
        )
        self.checks = Shared(lambda: self._place.checks(SERVED), _CHECKS_S)
        self.report = Shared(lambda: report_of(manager).data, _REPORT_S)
        self._health = Shared(self._series_health, _CHECKS_S)

    def _series_health(self) -> Any:
        manager = self._manager
        store, selector = manager.cache.store, manager.provider_selector
        return series_health(store, selector, manager.client.clock)

    def to_json(self) -> dict[str, Any]:
        """Return the board as a JSON-serializable dictionary.

        ``counts`` has the numbers of the first line; ``needs`` lists the causes, worst first, each
        with the series and the command to copy; ``checks`` are those of ``onetape doctor --json``,
        and ``series`` those of ``onetape report --json``.
        """
        checks, health = self.checks.get(), self._health.get()
        try:
            report = self.report.get()
        except DataError as error:
            report = {"series": [], "look": None, "problem": str(error)}
        series = report["series"]
        needs = [{**_named(one), **reason} for one in series for reason in one["attention"]]
        stale = [
            {
                "symbol": key.symbol,
                "timeframe": key.timeframe.label,
                "lane": key.lane_label,
                "behind": freshness.behind,
                "last": None if freshness.newest_ms is None else iso(freshness.newest_ms),
                "next_step": _STALE,
            }
            for key, freshness in health.stale
        ]
        kinds = [{reason["kind"] for reason in one["attention"]} for one in series]
        counts = {
            "series": health.total,
            "fresh": health.fresh,
            "stale": len(stale),
            "idle": health.at_rest,
            "with_gaps": sum("holes" in kind for kind in kinds),
            "doubted": sum(not kind.isdisjoint(_DOUBTED) for kind in kinds),
        }
        now_ms = self._manager.client.clock.now_ms()
        return {
            "as_of": iso(now_ms // SECOND_MS * SECOND_MS),
            "look": report["look"],
            "problem": report.get("problem", ""),
            "counts": counts,
            "needs": needs,
            "stale": stale,
            "checks": [check.to_json() for check in checks],
            "series": [_row(one) for one in series],
        }


def _named(series: dict[str, Any]) -> dict[str, Any]:
    return {name: series[name] for name in ("symbol", "timeframe", "lane")}


def _row(series: dict[str, Any]) -> dict[str, Any]:
    names = ("rows", "first", "last", "score", "vendors", "gaps", "confirmed", "contradicted")
    return _named(series) | {name: series[name] for name in names}
