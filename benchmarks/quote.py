"""The cost of a thousand callers for the same last price: requests at the vendor, and time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import parse_iso
from onetape.data.data_manager import DataManager
from tests.vendor_server import VendorServer

from .harness import Figure, Report, Row, race

_ASKERS = 1_000
_GOAL = "1 request"
_NOTE = (
    f"{_ASKERS:,} threads request one coin at the same time. Yesterday's close is cached. The "
    "table shows:\n\n"
    "- *requests*: the number that arrive at the vendor;\n"
    "- *ms*: the time until the last thread has its answer (the vendor is a server on this "
    "machine);\n"
    "- *µs*: the time of one call that gets a reused quote."
)


def measure() -> Report:
    """Count and time."""
    clock = ManualClock(parse_iso("2024-06-12T15:00:30"))
    with TemporaryDirectory() as folder, VendorServer(clock) as server:
        rules = Path(folder) / "rules.yaml"
        rules.write_text(
            f"providers: {{binance: {{base_url: '{server.base_url('binance')}', transport: http}}}}"
        )
        manager = DataManager(Path(folder) / "cache", rules, clock=clock)
        manager.get_ohlcv("BTCUSDT", "1d", bars=2)
        requests, millis = [], []
        for _ in range(5):
            clock.advance(60)
            server.clear_log()
            millis.append(_asked_at_once(lambda: manager.get_quote("BTCUSDT")))
            requests.append(float(server.count()))
        again = race({"again": lambda: manager.get_quote("BTCUSDT", 60)})["again"]
    figures = {"requests": Figure.of(requests), "ms": Figure.of(millis)}
    rows = [
        Row(f"{_ASKERS:,} threads at once", figures, _GOAL),
        Row("reused within its age", {"µs": Figure.of(again)}),
    ]
    return Report("Last prices", _NOTE, rows, less=("requests",))


def _asked_at_once(ask: Callable[[], object]) -> float:
    """Return the milliseconds until all threads have their answer."""
    barrier = threading.Barrier(_ASKERS + 1)

    def waited() -> None:
        barrier.wait(60)
        ask()

    with ThreadPoolExecutor(_ASKERS) as pool:
        answers = [pool.submit(waited) for _ in range(_ASKERS)]
        barrier.wait(60)
        started = perf_counter()
        for answer in answers:
            answer.result(60)
        return (perf_counter() - started) * 1e3
