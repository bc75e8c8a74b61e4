"""Progress of jobs and batches: to a callable, or as a bar on a terminal or in a notebook."""

from __future__ import annotations

import builtins
import io
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.jobs.fill.populate import populate_cache
from src.data.jobs.progress.bar import bar_in_notebook, bar_on, listening
from src.data.jobs.progress.events import JobProgress, Progress
from src.data.jobs.progress.results import SeriesResult
from tests.vendor_server import Fault, VendorServer

MAY = ("2024-05-01", "2024-05-04")
COINS = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "NO?"]


class Terminal(io.StringIO):
    """A standard error that a person looks at."""

    def isatty(self) -> bool:
        """Return what a terminal does."""
        return True


def looked_at(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard error be a terminal until the test ends; a fixture would come too early for it."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    return shown


@pytest.fixture
def manager(rules: Path, tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache; Binance and Yahoo are at the vendor server."""
    return DataManager(tmp_path / "cache", rules, clock=clock)


def test_a_batch_reports_progress_by_symbol_in_the_calling_thread(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", *MAY)
    vendors.fault("binance", Fault.status(451), symbol="SOLUSDT")
    heard: list[Progress] = []
    threads: set[threading.Thread] = set()

    def listen(now: Progress) -> None:
        threads.add(threading.current_thread())
        heard.append(now)

    frames = manager.get_ohlcv_batch(COINS, "1h", *MAY, progress=listen)
    assert [len(frame) for frame in frames.values()][:2] == [96, 96]
    assert threads == {threading.current_thread()}
    reported = [(p.result.symbol, p.result.rows, p.result.ok, p.done, p.total) for p in heard]
    assert reported == [
        ("ETHUSDT", 0, True, 1, 3), ("ETHUSDT", 96, True, 2, 3), ("SOLUSDT", 0, False, 3, 3),
    ]  # fmt: skip
    assert [p.share for p in heard] == [1 / 3, 2 / 3, 1.0]
    assert heard[0].left_s is not None and heard[0].left_s > 0, "as planned"
    heard.clear()
    manager.get_ohlcv_batch(COINS[:2], "1h", *MAY, progress=listen)
    assert heard == [], "stored bars take no time"


def test_an_awaited_batch_reports_each_symbol_once(manager: DataManager) -> None:
    import asyncio

    from onetape.aio import AsyncDataManager

    heard: list[Progress] = []
    batch = AsyncDataManager(manager).aget_ohlcv_batch(COINS[:2], "1h", *MAY, progress=heard.append)
    asyncio.run(batch)
    assert [(p.done, p.total, p.result.rows) for p in heard] == [(1, 2, 96), (2, 2, 96)]


def test_the_time_for_each_vendor_is_planned_before_its_first_request(
    rules: Path, tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests a minute: the plan of six takes more than a minute. Waits pass at once here."""
    limit = "rate_limits: {requests_per_minute: 2, burst_size: 2}"
    rules.write_text(rules.read_text().replace("  binance: {", f"  binance: {{{limit}, "))
    planned, plan = list[tuple[str, float, int]](), JobProgress.plan

    def noted(self: JobProgress, vendor: str, seconds: float) -> None:
        planned.append((vendor, seconds, vendors.count()))
        plan(self, vendor, seconds)

    monkeypatch.setattr(JobProgress, "plan", noted)
    fill = partial(populate_cache, COINS[:3], ["1h", "1d"], *MAY, tmp_path / "cache")
    fill(progress=lambda _: None)
    ((vendor, seconds, asked),) = planned
    assert (vendor, seconds >= 60, asked) == ("binance", True, 0)
    planned.clear()
    fill()
    assert planned == [], "no listener is registered"
    text = Progress(SeriesResult("A", "1d"), 0, 3, left_s=seconds).text()
    assert text.startswith("A 1d, about ") and text.endswith(" left")


def test_the_planned_time_left_is_replaced_by_the_measured_one(clock: ManualClock) -> None:
    heard: list[float | None] = []
    progress = JobProgress(clock, lambda now: heard.append(now.left_s), 3, 3)
    progress.expect("v", 3)
    progress.tell(SeriesResult("A", "1d"))
    progress.plan("v", 90.0)
    progress.tell(SeriesResult("A", "1d"))
    clock.advance(40)
    progress.tell(SeriesResult("A", "1d"))
    progress.advance("v", 1)
    progress.tell(SeriesResult("A", "1d"))
    assert heard == [None, 90.0, 50.0, 80.0]


@pytest.mark.parametrize("what", ["batch", "job"])
def test_on_a_terminal_there_is_a_bar_by_default(
    what: str, manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = looked_at(monkeypatch)
    if what == "batch":
        manager.get_ohlcv_batch(COINS[:2], "1h", *MAY)
    else:
        populate_cache(COINS[:2], ["1h"], *MAY, tmp_path / "cache")
    assert "2/2" in terminal.getvalue() and "USDT 1h 96 bars" in terminal.getvalue()
    terminal = looked_at(monkeypatch)
    manager.get_ohlcv_batch(COINS[:2], "1h", *MAY, progress=lambda _: None)
    manager.get_ohlcv_batch(COINS[:2], "1h", *MAY)
    assert terminal.getvalue() == "", "a callable takes its place, and what is stored needs none"


def test_a_progress_bar_is_shown_in_a_notebook_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening(None) as listener:
        assert listener is None
    monkeypatch.setitem(sys.modules, "ipykernel", Any)
    with listening(None) as listener:
        assert listener is None, "imported, and no notebook"
    monkeypatch.setattr(Console, "is_jupyter", True, raising=False)
    shell = type("ZMQInteractiveShell", (), {})()  # the one of a notebook's kernel
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace())
    with listening(None) as listener:
        assert listener is not None


def test_in_a_notebook_one_display_is_updated_without_widgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    plain: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(data["text/html"])
            plain.append(data["text/plain"])

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert display_id
        handle = Handle()
        handle.update(data, raw=raw)
        return handle

    own = SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=own))
    monkeypatch.setitem(sys.modules, "IPython.display", own)
    with bar_in_notebook() as show:
        assert shown == []
        for _ in range(3):
            show(Progress(SeriesResult("<b>", "1d", rows=7), 1, 4, 0.25))
        show(Progress(SeriesResult("B", "1d"), 2, 4, 0.5))
    assert len(shown) == 3, "what is shown already is not sent again; in the end it is taken away"
    assert shown[0].startswith("<div><progress") and "1/4 &lt;b&gt; 1d 7 bars" in shown[0]
    assert 'value="0.500"' in shown[1] and shown[2] == ""
    assert "1/4 <b> 1d 7 bars" in plain[0] and plain[2] == "", "no name of an empty object is left"


def test_a_display_passed_by_the_program_is_not_replaced() -> None:
    screen = Console(file=Terminal(), force_terminal=True)
    with Live(console=screen), bar_on(screen) as show:
        show(Progress(SeriesResult("A", "1d"), 1, 2, 0.5))
