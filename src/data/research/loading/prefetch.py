"""Fetches the bars that the next query for a series will probably need, while no caller waits."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ...core.model.time.instant import from_ms
from ...errors import DataError
from ..calls import in_thread
from ..frames.prices import bounds_ms

if TYPE_CHECKING:
    from ...core.model.request.plan import Plan
    from ...data_manager import DataManager

__all__ = ["Prefetch"]

# Series that are waiting, and series whose questions are remembered.
_MOST_WAITING, _MOST_KNOWN = 256, 10_000
_TIMEOUT_S = 10.0
_log = logging.getLogger("onetape.v2")


class Prefetch:
    """Fetches the range after the last one requested, for series that were requested twice.

    The range is as long as the requested one, but ends no later than now. Series are fetched one at
    a time, and none while a query is waiting. The data manager's vendors, limits and store are
    used, but half of each limit remains for other queries. For one event loop, in which it is made.

    Args:
        manager: Data manager that fetches.

    Attributes:
        loop: The event loop.
    """

    def __init__(self, manager: DataManager) -> None:
        self._manager, self.loop = manager, asyncio.get_running_loop()
        # Maps each series to the end of the range queued for it last; None after the first question.
        self._known: OrderedDict[tuple[str, str], datetime | None] = OrderedDict()
        # Maps each series to the first and last time of the bars to fetch.
        self._waiting: OrderedDict[tuple[str, str], tuple[datetime, datetime]] = OrderedDict()
        self._questions = 0
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def question(self) -> Iterator[None]:
        """Prevent prefetches from starting during the block; those that wait start after it."""
        self._questions += 1
        try:
            yield
        finally:
            self._questions -= 1
            self._start()

    def note(self, symbol: str, timeframe: str, start: date, end: date) -> None:
        """Note a requested range; from the second request on, queue the range that follows it."""
        series, is_second = (symbol, timeframe), (symbol, timeframe) in self._known
        done = self._known.pop(series, None)
        first_ms, last_ms = bounds_ms(start, end)
        until_ms = min(2 * last_ms - first_ms + 1, self._manager.client.clock.now_ms())
        if is_second and until_ms > last_ms and from_ms(until_ms) != done:
            done = from_ms(until_ms)
            self._waiting[series] = from_ms(last_ms) + timedelta(milliseconds=1), done
            self._waiting.move_to_end(series)
        self._known[series] = done
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        self._start()

    async def close(self) -> None:
        """Drop all queued series, and wait until a series that is being fetched has ended."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _start(self) -> None:
        is_running = self._task is not None and not self._task.done()
        if self._waiting and not self._questions and not is_running:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting and not self._questions:
            # The newest one: its program is still running.
            series, bounds = self._waiting.popitem()
            work = asyncio.ensure_future(self._fetch(*series, *bounds))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.gather(work, return_exceptions=True)
                raise
            except DataError as error:
                _log.debug("Did not prefetch %s %s: %s", *series, error)

    async def _fetch(self, symbol: str, *range_: object) -> None:
        """Fetch a range if the vendors' limits allow it."""
        plan = await in_thread(partial(self._manager.plan, symbol, *range_), looks=True)
        if _is_affordable(plan):
            # A batch, even of one series, warns of no gap: nobody requested these bars.
            fetch, options = self._manager.get_ohlcv_batch, {"progress": lambda _: None}
            ask = partial(fetch, [symbol], *range_, timeout=_TIMEOUT_S, **options)
            await in_thread(ask, looks=True, timeout=_TIMEOUT_S)
            _log.debug("Prefetched %s %s: %s to %s", symbol, *range_)


def _is_affordable(plan: Plan) -> bool:
    """Return whether a plan has something to fetch at once, and leaves half of every limit."""
    if plan.is_hit or plan.error or plan.wait_s or not plan.requests:
        return False
    units = dict(plan.units)
    for segment in plan.segments:
        for offer in segment.offers:  # they are queried if the first one fails
            units[offer.vendor] = max(units.get(offer.vendor, 0), offer.requests * offer.cost)
    health = {vendor.vendor: vendor for vendor in plan.health}
    for vendor, count in units.items():
        state = health.get(vendor)
        if state is None or state.until_ms:
            return False
        # A limit by the second only spaces requests.
        quotas = [quota for quota in state.quotas if quota.length_s > 1]
        if any(2 * (quota.used + count) > quota.limit for quota in quotas):
            return False
    return True
