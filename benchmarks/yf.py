"""``yf.download`` of cached tickers, next to the batch that it is made of and to yfinance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from unittest.mock import patch

import onetape.yf as ours
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import to_ms
from onetape.data.core.wiring import MANAGER
from onetape.data.data_manager import DataManager
from tests.doors.yf.real import real_yfinance
from tests.vendor_server import VendorServer

from .harness import Figure, Report, Row

_NOTE = (
    "The table shows the CPU time in milliseconds that `yf.download` takes to return a year "
    "of daily bars of 50 shares, which an earlier call has cached. The other columns compare "
    "it, in the same round, with other ways to get the same bars:\n\n"
    "- *batch*: how many times as long it takes as `get_ohlcv_batch` with the same range;\n"
    "- *yfinance*: how many times as long yfinance 1.7 takes, which requests the bars again "
    "from a local server in another process. The CPU time of that server is not counted, nor "
    "is any wait."
)
_COUNT, _ROUNDS, _THEIRS_EVERY = 50, 9, 4
_RANGE = ("2023-06-01", "2024-06-01")
_NOW = to_ms(datetime(2024, 6, 12, 15, 0, 30, tzinfo=UTC))
_RULES = """
stock_daily: {{primary: yahoo, backup: []}}
providers:
  yahoo:
    base_url: '{}'
    transport: http
    rate_limits: {{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}}
"""


def measure() -> Report:
    """Race the three ways against each other."""
    found: list[dict[str, float]] = []
    with _served() as url, TemporaryDirectory() as folder, _manager(url, Path(folder)) as manager:
        ways: dict[str, Callable[[], object]] = {
            "batch": lambda: manager.get_ohlcv_batch(_symbols(), "1d", *_RANGE),
            "yf": lambda: ours.download(_symbols(), *_RANGE, progress=False),
        }
        with real_yfinance(url, Path(folder)) as real:
            theirs: dict[str, Callable[[], object]] = {}
            theirs["yfinance"] = lambda: real.download(_symbols(), *_RANGE, progress=False)
            for way in (*ways.values(), *theirs.values()):
                way()
            for turn in range(_ROUNDS):
                of_turn = list((ways | (theirs if turn % _THEIRS_EVERY == 0 else {})).items())
                random.shuffle(of_turn)
                found.append({name: _timed(way) for name, way in of_turn})
    figures = {
        "ms": Figure.of([one["yf"] for one in found]),
        "batch": Figure.of([one["yf"] / one["batch"] for one in found]),
        "yfinance": Figure.of([one["yfinance"] / one["yf"] for one in found if "yfinance" in one]),
    }
    rows = [Row("`yf.download`, 50 tickers", figures, "batch <= 3, yfinance >= 20")]
    return Report("Calls of yfinance", _NOTE, rows, more=("yfinance",), less=("batch",))


def _symbols() -> list[str]:
    return [f"Q{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(_COUNT)]


def _timed(way: Callable[[], object]) -> float:
    begin = process_time()
    way()
    return (process_time() - begin) * 1000


@contextmanager
def _served() -> Iterator[str]:
    """Yield the address of Yahoo on a local server in a process of its own."""
    here, there = get_context("spawn").Pipe()
    server = get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        server.join()


def _serve(there: Connection) -> None:
    with VendorServer(ManualClock(_NOW)) as server:
        apple = server.truth.listing("AAPL")
        for symbol in _symbols():
            server.truth.add(replace(apple, symbol=symbol, listed="2023-05-01T13:30"))
        there.send(server.base_url("yahoo"))
        there.recv()


@contextmanager
def _manager(url: str, folder: Path) -> Iterator[DataManager]:
    """Yield the manager of the process, on an empty cache."""
    (folder / "rules.yaml").write_text(_RULES.format(url))
    with patch.dict("os.environ", ONETAPE_STATE_DIR=str(folder / "state")):
        MANAGER.forget()
        clock = ManualClock(_NOW)
        yield MANAGER.get(lambda: DataManager(folder / "cache", folder / "rules.yaml", clock=clock))
        MANAGER.forget()
