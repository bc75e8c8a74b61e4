"""A job during which the clock passes a session's close, midnight, or a change to summer time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from itertools import product

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import from_ms, parse_iso
from src.data.data_manager import DataManager
from src.data.jobs.fill.fill_job import Job
from src.data.jobs.fill.populate import fill
from src.data.jobs.progress.events import Progress
from tests.vendor_server import VendorServer

from .oracle import assert_true

_SYMBOLS, _LABELS = ["AAPL", "BTCUSDT"], ["1h", "1d", "5m"]


@pytest.mark.parametrize(
    ("start", "began"),
    [
        ("2024-06-03", "2024-06-05T19:40"),  # twenty minutes before the close
        ("2024-06-03", "2024-06-05T23:40"),
        ("2024-03-06", "2024-03-08T20:40"),
        ("2024-03-07", "2024-03-10T06:40"),  # summer time begins in New York at 07:00
        ("2024-10-30", "2024-11-03T05:40"),  # and ends at 06:00
    ],
)
def test_no_bar_is_stored_before_its_close_and_none_is_lost(
    make: Callable[[], DataManager],
    clock: ManualClock,
    vendors: VendorServer,
    start: str,
    began: str,
) -> None:
    clock.set(parse_iso(began))
    end = str(from_ms(clock.now_ms()).date())
    job = replace(Job.of(_SYMBOLS, _LABELS, (start, end), clock.now_ms()), timeout_s=7200.0)

    def pass_time(now: Progress) -> None:
        if now.is_over:
            clock.advance(270)

    report = fill(make().client, job, pass_time, at_work=1)
    assert [result.error for result in report.results] == [""] * 6
    manager = make()
    for symbol, label in product(_SYMBOLS, _LABELS):
        stored = manager.get_ohlcv(symbol, label, start, end, offline=True)
        whole = manager.get_ohlcv(symbol, label, start, end, strict=True)
        assert_true(whole, vendors, clock, symbol, label, start, _after(end))
        assert stored.equals(whole[: len(stored)]), "no bar was stored before its close"


def _after(day: str) -> str:
    return str(date.fromisoformat(day) + timedelta(days=1))
