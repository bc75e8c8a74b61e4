"""The cost of a small miss in counted calls and opened files, whatever the machine's load.

A job has thousands of them, and all of its threads share one interpreter.
"""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.bars.answer.answer import Answer
from src.data.core.bars.fetch.lane import LaneRun
from src.data.core.bars.selection.candidates import Candidate
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from tests.contract.source import PACKAGE, ROOT
from tests.effort import effort_of

pytestmark = pytest.mark.usefixtures("young_files")

FETCHED = parse_iso("2024-06-03T12:00:00")
MONTH = ("2024-05-01", "2024-05-31")
# Before views of absent folders, calendars and empty columns were kept: 14,800 and 26; 15,900 and 33.
MOST = {"1h": (12_300, 24), "1d": (12_700, 30)}


class Own:
    """A program's own downloader: hours or days whose prices stand still."""

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame:
        if interval == "1h":
            index = pd.date_range(start, end, freq="h", inclusive="left")
        else:
            days = pd.bdate_range(start, end)
            index = days[days != pd.Timestamp("2024-05-27")]
        columns = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict.fromkeys(columns, 100.0), index=index.rename("timestamp"))


@pytest.fixture
def manager(tmp_path: Path) -> DataManager:
    """Return a manager that uses the custom downloader in place of two vendors."""
    manager = DataManager(tmp_path / "cache", clock=ManualClock(FETCHED))
    rules = dict(manager.provider_selector.rules)
    for rule, name in {"crypto": "binance", "stock_daily": "yahoo"}.items():
        rules[rule] = rules[rule] | {"primary": name, "backup": []}
    manager.provider_selector.rules = rules
    manager.provider_selector.downloaders.update(dict.fromkeys(("binance", "yahoo"), Own()))
    return manager


def miss(manager: DataManager, symbol: str, label: str) -> None:
    client = manager.client
    answer = client.get_provenance(client.query(symbol, label, *MONTH))
    assert answer["rows"] == {"1h": 31 * 24, "1d": 22}[label]
    assert not answer["gaps"]


SYMBOLS = {"1h": ("QQQQUSDT", "QQQWUSDT", "QQQZUSDT"), "1d": ("QQQQ", "QQQW", "QQQZ")}


@pytest.mark.parametrize("label", MOST)
def test_a_small_miss_takes_no_more_calls_than_recorded(manager: DataManager, label: str) -> None:
    *first, last = SYMBOLS[label]
    for symbol in first:  # calendars, modules, the state of limits
        miss(manager, symbol, label)
    calls, files = effort_of(lambda: miss(manager, last, label))
    most_calls, most_files = MOST[label]
    assert calls <= most_calls
    assert files <= most_files


def test_a_miss_calls_seven_functions_before_its_lane_is_filled(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a miss, from the service to its lane; another frame on it is seen here."""
    names: list[str] = []
    fill = LaneRun.answer

    def seen(run: LaneRun) -> Answer:
        stack = traceback.walk_stack(sys._getframe(1))
        names[:] = reversed([frame.f_code.co_qualname for frame, _ in stack])
        return fill(run)

    monkeypatch.setattr(LaneRun, "answer", seen)
    assert len(manager.get_ohlcv("QQQQ", "1d", *MONTH)) == 22
    assert names[names.index("BarsService.get") :] == [
        "BarsService.get", "BarsService._get",
        "MissHandler.answer", "MissRun.answer", "MissRun._try_lanes", "MissRun._answer_from_lane",
        "MissRun._answer_of",
    ]  # fmt: skip


def test_the_page_shows_the_frames_of_a_miss(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the facade to the thread of the vendor; what a line says with "first" has returned by then."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = page.partition("### A miss, frame by frame")[2].split("```")[1]
    lines = [re.split(" {2,}", line.strip(), maxsplit=1) for line in block.strip().splitlines()]
    shown = [
        frame
        for frames, text in lines
        if not text.startswith("first,")
        for frame in frames.split(" → ")
    ]
    found: list[str] = []
    fetch = Candidate.fetch

    def seen(self: Candidate, *args: Any, **named: Any) -> Any:
        stack = [frame.f_code for frame, _ in traceback.walk_stack(sys._getframe(1))]
        ours = [code for code in stack if Path(code.co_filename).is_relative_to(PACKAGE)]
        found[:] = reversed([code.co_qualname for code in ours])
        return fetch(self, *args, **named)

    monkeypatch.setattr(Candidate, "fetch", seen)
    assert len(manager.get_ohlcv("QQQQ", "1d", *MONTH)) == 22
    recorded = found[found.index("DataManager.get_ohlcv") :]
    before = shown[: shown.index("Candidate.fetch")]
    assert len(before) > 15
    for frame, name in zip(recorded, before, strict=True):
        assert frame == name or frame.endswith(f".{name}")
