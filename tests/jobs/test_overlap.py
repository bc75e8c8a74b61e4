"""Vendors with separate limits on one shared clock: none waits for the limit of another."""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import MOST_AT_ONCE, Limits
from src.data.core.model.time.instant import parse_iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.limits.limiter import Limiter
from src.data.data_manager import DataManager
from src.data.jobs.fill.fill_job import Job
from src.data.jobs.fill.populate import fill

DAY, DAYS, SERIES, ANSWER_S = "1d", ("2024-05-06", "2024-05-10"), 6, 0.3
# Requests a minute of the vendor of each rule; the first is the slowest.
LIMITS = {"stock_daily": ("yahoo", 2), "crypto": ("binance", 3), "forex": ("twelvedata", 3)}
Work = Callable[[DataManager, list[str]], object]


class SharedClock(ManualClock):
    """Goes on to the next wake-up as soon as so many threads wait on it as vendors could let wait."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.at_once: dict[str, int] = {}
        self.unanswered: Counter[str] = Counter()
        self.is_stalled = False
        self._change = threading.Condition()
        self._wakes: list[float] = []

    def sleep(self, seconds: float) -> None:
        with self._change:
            until = self._elapsed + seconds
            heapq.heappush(self._wakes, until)
            self._go_on()
            while self._elapsed < until:
                if not self._change.wait(120.0):
                    self.is_stalled = True
                    self._go_on()

    def answered(self, vendor: str) -> None:
        with self._change:
            self.unanswered[vendor] -= 1
            self._go_on()

    def _go_on(self) -> None:
        most = (min(self.at_once[name], left) for name, left in self.unanswered.items())
        if self._wakes and (self.is_stalled or len(self._wakes) >= sum(most)):
            self.advance(max(0.0, self._wakes[0] - self._elapsed))
            while self._wakes and self._wakes[0] <= self._elapsed:
                heapq.heappop(self._wakes)
            self._change.notify_all()


class Own:
    """A downloader of the program's own that takes its time."""

    def __init__(self, clock: SharedClock, manager: DataManager) -> None:
        self._clock = clock
        self._instrument = manager.provider_selector.instrument

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame:
        self._clock.sleep(ANSWER_S)
        span, frame = Span(to_ms(start), to_ms(end) + 1), Timeframe.parse(interval)
        stamps = calendar_for(self._instrument(symbol)).opens(frame, span)
        index = pd.DatetimeIndex(pd.to_datetime(stamps, unit="ms"), name="timestamp")
        columns = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict.fromkeys(columns, np.full(len(stamps), 100.0)), index=index)


def symbols() -> dict[str, list[str]]:
    """Return the symbols that each vendor is queried for."""
    shares = ["".join(letters) for letters in product("QWZXK", repeat=4)][:SERIES]
    currencies = ("EUR", "USD", "GBP", "CHF", "JPY", "CAD")
    pairs = [f"{a}/{b}" for a, b in product(currencies, repeat=2) if a != b][:SERIES]
    own = {"stock_daily": shares, "crypto": [f"{s}USDT" for s in shares], "forex": pairs}
    return {LIMITS[rule][0]: names for rule, names in own.items()}


def seconds(folder: Path, vendors: list[str], at_once: int | None, work: Work) -> float:
    """Return how long the series of some vendors take, one vendor after the other in the list."""
    folder.mkdir()
    rules = folder / "rules.yaml"
    lines = (f"{rule}: {{primary: {name}, backup: []}}\n" for rule, (name, _) in LIMITS.items())
    rules.write_text("".join(lines))
    clock = SharedClock(parse_iso("2024-06-12T15:00:30"))
    manager = DataManager(folder / "cache", rules, clock=clock)
    manager.provider_selector.downloaders.update(
        {name: Own(clock, manager) for name, _ in LIMITS.values()}
    )
    asked = {name: names for name, names in symbols().items() if name in vendors}
    most = {name: Limits(per_minute=limit).at_once for name, limit in LIMITS.values()}
    clock.at_once = most if at_once is None else dict.fromkeys(most, at_once)
    clock.unanswered.update({name: len(names) for name, names in asked.items()})
    guard = Limiter.guard

    @contextmanager
    def counted(limiter: Limiter, *about: Any) -> Iterator[Any]:
        """Let a call take place; only after it is over the clock may go on without it."""
        with guard(limiter, *about) as call:
            yield call
        clock.answered(limiter.vendor)

    with patch.object(Limiter, "guard", counted):
        work(manager, [symbol for names in asked.values() for symbol in names])
    assert not +clock.unanswered, "each series was requested once"
    assert not clock.is_stalled, "a vendor that could be queried was not"
    return clock.monotonic()


def populated(manager: DataManager, names: list[str]) -> None:
    client = manager.client
    report = fill(client, Job.of(names, (DAY,), DAYS, client.clock.now_ms()))
    assert all(one.complete for one in report.results)


def batched(manager: DataManager, names: list[str]) -> None:
    frames = manager.get_ohlcv_batch(names, DAY, *DAYS, timeout=3600)
    assert {len(frame) for frame in frames.values()} <= {5, 6}


@pytest.mark.parametrize(
    "at_once, work", [(None, populated), (MOST_AT_ONCE, batched)], ids=["job", "batch"]
)
def test_three_vendors_take_no_longer_than_the_slowest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int | None, work: Work
) -> None:
    limits = {name: {"requests_per_minute": most} for name, most in LIMITS.values()}
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", json.dumps(limits))
    spent: dict[str, float] = {}
    slowest, *others = (name for name, _ in LIMITS.values())
    for what, vendors in (("alone", [slowest]), ("all", [slowest, *others])):
        monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / f"state-{what}"))
        spent[what] = seconds(tmp_path / what, vendors, at_once, work)
    assert spent["alone"] >= 60 * (SERIES / LIMITS["stock_daily"][1] - 1), "its limit was obeyed"
    assert spent["all"] <= 1.05 * spent["alone"]
