"""Fetches the bars that the next query for a series will probably need, while no caller waits."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DataError
from ..model.instant import from_ms
from .calls import in_thread
from .frames import bounds_ms

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..model.plan import Plan

__all__ = ["Prefetch"]

# Series that are waiting, and series whose questions are remembered.
_MOST_WAITING, _MOST_KNOWN = 256, 10_000
# Fraction of a vendor's remaining quota that all prefetches together may use.
_SHARE = 0.1
_TIMEOUT_S = 10.0
_log = logging.getLogger("onetape.v2")


class _Range(NamedTuple):
    """Bars of a series to be fetched, both ends inclusive."""

    symbol: str
    timeframe: str
    start: datetime
    end: datetime


class Prefetch:
    """Fetches the range after the last one requested, for series that were requested twice.

    The range is as long as the requested one, but ends no later than now. Series are fetched one at
    a time, and none while a query is waiting. The data manager's vendors, limits and store are
    used, but at most a tenth of what a vendor's limits still allow. For one event loop.

    Args:
        manager: Data manager that fetches.
    """

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        # Maps each series to the range fetched for it last; None after the first question.
        self._known: dict[tuple[str, str], _Range | None] = {}
        self._waiting: dict[tuple[str, str], _Range] = {}
        self._used: dict[str, deque[tuple[float, int]]] = {}
        self._questions = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def question(self) -> Iterator[None]:
        """Prevent prefetches from starting during the block."""
        self._questions += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._questions -= 1
            if not self._questions:
                self._is_idle.set()

    def note(self, symbol: str, timeframe: str, start: date, end: date) -> None:
        """Note a requested range; from the second request on, queue the range that follows it."""
        series = symbol, timeframe
        is_first = series not in self._known
        last = self._known.pop(series, None)
        following = None if is_first else self._range_after(symbol, timeframe, start, end)
        if following is not None and following != last:
            self._waiting.pop(series, None)
            self._waiting[series] = following
            if len(self._waiting) > _MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]
        self._known[series] = following or last
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    def clear(self) -> None:
        """Drop all queued series. May be called from any thread."""
        self._waiting.clear()

    async def close(self) -> None:
        """Drop all queued series, and wait until a series that is being fetched has ended."""
        self.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _range_after(self, symbol: str, timeframe: str, start: date, end: date) -> _Range | None:
        """Return the range after a requested one; None if that is in the future."""
        first_ms, last_ms = bounds_ms(start, end)
        until_ms = min(2 * last_ms - first_ms + 1, self._manager.client.clock.now_ms())
        if until_ms <= last_ms:
            return None
        after = timedelta(milliseconds=1)
        return _Range(symbol, timeframe, from_ms(last_ms) + after, from_ms(until_ms))

    async def _run(self) -> None:
        while self._waiting:
            await self._is_idle.wait()
            if not self._waiting:
                return
            _, wanted = self._waiting.popitem()  # the newest one: its program is still running
            work = asyncio.ensure_future(self._fetch(wanted))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.gather(work, return_exceptions=True)
                raise
            except DataError as error:
                _log.debug("Did not prefetch %s %s: %s", *wanted[:2], error)

    async def _fetch(self, wanted: _Range) -> None:
        """Fetch a range if the vendors' limits allow it."""
        plan = await in_thread(partial(self._manager.plan, *wanted), looks=True)
        units = self._affordable_units(plan)
        if not units:
            return
        await self._is_idle.wait()
        now_s = self._manager.client.clock.monotonic()
        for vendor, count in units.items():
            self._used.setdefault(vendor, deque(maxlen=_MOST_KNOWN)).append((now_s, count))
        symbol, timeframe, start, end = wanted
        # A batch, even of one series, warns of no gap: nobody requested these bars.
        ask = partial(
            self._manager.get_ohlcv_batch,
            [symbol],
            timeframe,
            start,
            end,
            timeout=_TIMEOUT_S,
            progress=_ignore_progress,
        )
        await in_thread(ask, looks=True, timeout=_TIMEOUT_S)
        _log.debug("Prefetched %s %s: %s to %s", *wanted)

    def _affordable_units(self, plan: Plan) -> dict[str, int]:
        """Return the units that a plan needs from each vendor; empty if it should not be executed.

        A plan is not executed if it exceeds the prefetch's share of the limits, if there is nothing
        to fetch, a vendor is paused, or a request would wait.
        """
        if plan.is_hit or plan.error or plan.wait_s or not plan.requests:
            return {}
        units = dict(plan.units)
        for segment in plan.segments:
            for offer in segment.offers:  # they are queried if the first one fails
                units[offer.vendor] = max(units.get(offer.vendor, 0), offer.requests * offer.cost)
        health = {vendor.vendor: vendor for vendor in plan.health}
        now_s = self._manager.client.clock.monotonic()
        for vendor, count in units.items():
            state = health.get(vendor)
            if state is None or state.until_ms:
                return {}
            used = self._used.get(vendor, ())
            for quota in state.quotas:
                used_here = sum(n for at_s, n in used if now_s - at_s < quota.length_s)
                # A limit by the second only spaces requests.
                if quota.length_s > 1 and used_here + count > _SHARE * (quota.left + used_here):
                    return {}
        return units


def _ignore_progress(_: object) -> None:
    """Show no progress."""
