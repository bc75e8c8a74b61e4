"""The state of an installation, for the first page: what needs attention, vendors, series, disk."""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import PurePath
from typing import Any, Generic, TypeVar

from ..core.model.display.texts import counted
from ..core.model.time.instant import SECOND_MS, iso
from ..data_manager import DataManager
from ..errors import DataError
from ..jobs.doctor.health import SERVED, Installation
from ..jobs.fill.freshness import SeriesHealth, series_health
from ..jobs.run.job_report import never_text
from ..jobs.run.nights import never_had, nights_of
from ..show.reports.report import report_of

__all__ = ["Board"]

# Seconds for which all browsers share a result: the checks, and the report on all series.
_CHECKS_S, _REPORT_S = 5.0, 60.0
# Seconds that the page waits for new results, which take long if there are thousands of series.
_PATIENCE_S: float | None = 0.5
_UNKNOWN: dict[str, Any] = {
    "series": [],
    "look": None,
    "made": None,
    "problem": "The series are being examined.",
}
# The command for series that are behind.
_STALE = "`onetape sync`"
# The parts of the report on a series that name it, and those that its row has besides.
_NAME = ("symbol", "timeframe", "lane")
_ROW = (*_NAME, "rows", "first", "last", "score", "vendors", "gaps")
T = TypeVar("T")


class Shared(Generic[T]):
    """A result that one thread at a time computes, and that is kept for some seconds. Thread-safe.

    One that takes long is kept for longer, so that a tenth of the time at most is spent on it.

    Args:
        find: Function that computes the result.
        seconds: Time for which it is kept.
        turn: Lock that is held while it is computed, so that results do not slow each other down.
    """

    def __init__(self, find: Callable[[], T], seconds: float, turn: threading.Lock) -> None:
        self._find, self._seconds, self._turn = find, seconds, turn
        self._guard = threading.Lock()
        self._running: Future[T] | None = None
        self._found: T | None = None
        self._due = -math.inf

    def get(self, until: float | None) -> T | None:
        """Return the result, or the previous one if a new one takes too long; None if there is none.

        Args:
            until: Time of the monotonic clock until which to wait for a new result; None means
                until it is there.

        Raises:
            DataError: The result cannot be computed.
        """
        with self._guard:
            running = self._running
            if running is None and time.monotonic() > self._due:
                self._running = running = Future()
                threading.Thread(target=self._compute, args=[running], daemon=True).start()
        if running is not None:
            with suppress(TimeoutError):
                return running.result(until and max(0.0, until - time.monotonic()))
        return self._found

    def _compute(self, running: Future[T]) -> None:
        try:
            with self._turn:
                begun = time.monotonic()
                found = self._find()
        except BaseException as error:  # noqa: BLE001 - raised in the threads that wait
            self._running = None
            running.set_exception(error)
            return
        now = time.monotonic()
        with self._guard:
            self._found, self._running = found, None
            self._due = now + max(self._seconds, 9 * (now - begun))
        running.set_result(found)


class Board:
    """Collects what commands print about an installation; no vendor is queried. Thread-safe.

    Args:
        manager: Data manager of the installation.
    """

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        self._place = Installation(
            manager.cache.cache_dir,
            manager._services.settings.rules_path,
            clock=manager.client.clock,
            reach=None,
        )
        # So that a listing of series locks no lane to keep what it has read.
        manager.cache._inventory.keeps = False
        turn = threading.Lock()
        self.checks = Shared(self._checks, _CHECKS_S, turn)
        self.report = Shared(self._report, _REPORT_S, turn)
        self._health = Shared(self._series_health, _CHECKS_S, turn)

    def _checks(self) -> list[dict[str, Any]]:
        """Return the checks without the paths of folders, which are for this machine only."""
        settings, found = self._manager._services.settings, list[dict[str, Any]]()
        names = {settings.cache_dir: "the cache folder", settings.state_dir: "the state folder"}
        for check in self._place.shown(SERVED):
            texts = check.to_json()
            for folder, name in names.items():
                texts = {key: text.replace(str(folder), name) for key, text in texts.items()}
            found.append(texts)
        return found

    def _report(self) -> dict[str, Any]:
        try:
            data = report_of(self._manager).data
        except DataError as error:
            return _UNKNOWN | {"problem": str(error)}
        services = self._manager._services
        return data | {"health": self._series_health(), "never": never_had(services)}

    def _series_health(self) -> SeriesHealth:
        place = self._place
        return series_health(place.store, place.selector, place.clock)

    def to_json(self) -> dict[str, Any]:
        """Return the board as a JSON-serializable dictionary.

        ``made`` is the time of the report on all series; ``counts`` has the numbers of the first
        line; ``needs`` has one entry for each series that needs attention, with the causes and the
        command to copy: first series of lists without any bar so far (``kind`` is ``never``), then the worst;
        ``checks`` are those of ``onetape doctor --json``, ``series`` those of ``onetape report
        --json``, and ``nights`` those of ``nights_of``. What is not known yet is None.
        """
        until = None if _PATIENCE_S is None else time.monotonic() + _PATIENCE_S
        looked, checks = self._health.get(until), self.checks.get(until)
        report = self.report.get(until) or _UNKNOWN
        is_known = report["made"] is not None
        # All numbers on the page are of one time, that of the report.
        health, never = report.get("health", looked), report.get("never", [])
        names = {(one["stored"], one["timeframe"]) for one in never}
        series = [
            one
            for one in report["series"]
            if one["rows"] or (one["symbol"], one["timeframe"]) not in names
        ]
        without = len(report["series"]) - len(series)
        needs = [*map(_never, never), *(_need(one) for one in series if one["attention"])]
        stale = [
            {
                "symbol": key.symbol,
                "timeframe": key.timeframe.label,
                "lane": key.lane_label,
                "behind": freshness.behind,
                "last": None if freshness.newest_ms is None else iso(freshness.newest_ms),
                "next_step": _STALE,
            }
            for key, freshness in (health.stale if health else ())
        ]
        kinds = [{reason["kind"] for reason in one["attention"]} for one in series]
        with_gaps = sum("holes" in kind for kind in kinds)
        doubted = sum(bool(kind - {"holes"}) for kind in kinds)
        total = health and health.total - without + len(never)
        look = report["look"]
        if is_known:
            look = look | {"number": len(needs), "of": f"of {counted(total or 0, 'series')}"}
        if never:
            steps = {"state": "bad", "next_step": "`onetape sync` requests them again"}
            others = len(needs) - len(never)
            text = never_text(report) + (f"; {counted(others, 'other')} to look at" * bool(others))
            look |= {"text": text.removeprefix("; ")} | steps
        counts = {
            "to_look_at": len(needs) if is_known else None,
            "series": total,
            "never_had_bars": len(never) if is_known else None,
            "fresh": health and health.fresh,
            "stale": health and len(stale),
            "idle": health and health.at_rest - without,
            "with_gaps": with_gaps if is_known else None,
            "doubted": doubted if is_known else None,
        }
        return {
            "as_of": iso(self._place.clock.now_ms() // SECOND_MS * SECOND_MS),
            "made": report["made"],
            "look": look,
            "problem": report.get("problem", ""),
            "counts": counts,
            "needs": needs if is_known else None,
            "stale": stale if health else None,
            "nights": nights_of(self._manager._services),
            "checks": checks,
            "series": [_part(one, _ROW) for one in series] if is_known else None,
        }


def _never(one: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a series that has never had a bar."""
    lists = ", ".join(PurePath(name).name for name in one["lists"])
    name = shlex.quote(one["symbol"])
    return _part(one, _NAME[:2]) | {
        "lane": "",
        "kind": "never",
        "text": f"{one['reason']}; first failed on {one['since']}, on the list {lists}",
        "next_step": f"`onetape sync {name}`; or correct the list, or `onetape cache clear {name}`",
    }


def _need(series: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a series that needs attention, with its reasons in one text."""
    text = "; ".join(reason["text"] for reason in series["attention"])
    return {**_part(series, _NAME), **series["attention"][0], "text": text}


def _part(series: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: series[name] for name in names}
