"""Every vendor once as the one that fails and once as the one that helps out, wholly and in part.

The provenance names the vendor whose rows they are. The rows of one of the two are marked: its
volumes end in a half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    IncompleteDataWarning,
    QueryError,
    UnavailableError,
    UnknownProviderError,
)
from src.data.model.bars import Bar
from tests.vendor_server import Fault, VendorServer

from .oracle import ms
from .twin import Twin, route_to, told

COIN, SHARE = (
    ("BTCUSDT", "1h", "2024-06-03", "2024-06-03"),
    ("AAPL", "1d", "2024-06-03", "2024-06-07"),
)
COIN_DAYS = ("BTCUSDT", "1d", "2024-06-03", "2024-06-07")
MARK = 0.5
HEADER = "timestamp,open,high,low,close,volume\n"


class Stage:
    """A manager over all vendors, each of which can be told to fail or to answer half."""

    def __init__(self, manager: DataManager, vendors: VendorServer, folder: Path) -> None:
        self.manager, self.vendors, self.folder = manager, vendors, folder
        selector = manager.provider_selector
        self.twin = Twin(vendors)
        self.twin.spoil = marked
        self.by_name: dict[str, Any] = {"twin": self.twin} | {
            name: selector._initialize_downloader(name) for name in ("binance", "yahoo", "local")
        }
        self.write_file(lambda rows: rows)

    def write_file(self, keep: Callable[[list[Bar]], list[Bar]]) -> None:
        """Write the days of the share as the user's own file, marked."""
        rows = self.vendors.truth.expected(
            "AAPL", "1d", ms("2024-05-01"), ms("2024-06-12"), "split", self.vendors.clock.now_ms()
        )
        bars = marked(keep([Bar(*row) for row in rows]))
        lines = (f"{pd.Timestamp(b.stamp_ms, unit='ms'):%Y-%m-%d},{','.join(map(repr, b[1:6]))}\n"
                 for b in bars)  # fmt: skip
        self.folder.mkdir(exist_ok=True)
        (self.folder / "AAPL_1d.csv").write_text(HEADER + "".join(lines))

    def fail(self, name: str) -> None:
        """Let a vendor fail for good."""
        if name == "twin":
            self.twin.errors = [UnavailableError("down")] * 9
        elif name == "local":
            (self.folder / "AAPL_1d.csv").write_text("something else\n")
        else:
            self.vendors.fault(name, Fault.status(503))

    def halve(self, name: str) -> None:
        """Let a vendor lack the second and third bar of what is asked."""
        if name == "twin":
            self.twin.spoil = lambda rows: marked([rows[0], *rows[3:]])
        elif name == "local":
            self.write_file(lambda rows: [r for r in rows if not ms("2024-06-04") <= r.stamp_ms
                                          < ms("2024-06-06")])  # fmt: skip
        elif name == "yahoo":
            self.vendors.fault(name, Fault.nulls(1, 2))
        else:
            self.vendors.fault(name, Fault.drop(1, 2))


def marked(rows: list[Bar]) -> list[Bar]:
    """Return the rows with volumes that end in a half."""
    return [row._replace(volume=math.floor(row.volume) + MARK) for row in rows]


@pytest.fixture
def stage(
    rules: Path, make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path
) -> Stage:
    files = tmp_path / "files"
    own = f"  local: {{folder: '{files}', adjustment: split, unit: USD}}\n"
    rules.write_text(rules.read_text() + own)
    return Stage(make(), vendors, files)


class Pair(NamedTuple):
    """Who fails, who helps out, with what."""

    failing: str
    helping: str
    request: tuple[str, str, str, str]


PAIRS = [
    Pair("binance", "twin", COIN), Pair("twin", "binance", COIN),
    Pair("yahoo", "local", SHARE), Pair("local", "yahoo", SHARE),
]  # fmt: skip
pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.failing} helped by {p.helping}")


def vendor_by_row(frame: pd.DataFrame) -> list[str]:
    """Return whom the provenance names for each row."""
    spans = [(s["vendor"], pd.Timestamp(s["start"][:-1]), pd.Timestamp(s["end"][:-1]))
             for s in told(frame)["spans"]]  # fmt: skip
    return [next(v for v, start, end in spans if start <= at < end) for at in frame.index]


def owner_by_row(frame: pd.DataFrame, pair: Pair) -> list[str]:
    """Return whose rows they are by their marks."""
    own, other = (
        (pair.failing, pair.helping)
        if pair.failing in ("twin", "local")
        else (pair.helping, pair.failing)
    )
    return [own if volume % 1 == MARK else other for volume in frame["volume"]]


def ask(stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    names = (pair.failing, pair.helping)
    route_to(monkeypatch, stage.manager, **{name: stage.by_name[name] for name in names})
    return stage.manager.get_ohlcv(*pair.request, strict=True)


@pairs
def test_who_fails_wholly_is_named_nowhere(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    stage.fail(pair.failing)
    frame = ask(stage, pair, monkeypatch)
    assert len(frame) == (24 if pair.request is COIN else 5)
    assert told(frame)["vendors"] == [pair.helping]
    assert vendor_by_row(frame) == owner_by_row(frame, pair) == [pair.helping] * len(frame)
    noted = [(a["provider"], a["outcome"] == "ok") for a in told(frame)["attempts"]]
    assert noted == [(pair.failing, False), (pair.helping, True)]


@pairs
def test_who_lacks_some_is_named_for_the_rest(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    stage.halve(pair.failing)
    frame = ask(stage, pair, monkeypatch)
    rest = (24 if pair.request is COIN else 5) - 3
    assert vendor_by_row(frame) == owner_by_row(frame, pair) == [
        pair.failing, pair.helping, pair.helping, *[pair.failing] * rest,
    ]  # fmt: skip
    assert told(frame)["vendors"] == sorted([pair.failing, pair.helping])
    again = stage.manager.get_ohlcv(*pair.request, strict=True, offline=True)
    assert vendor_by_row(again) == vendor_by_row(frame), "from the cache as from the vendors"


@pytest.mark.parametrize("failing, helping", [("binance", "yahoo"), ("yahoo", "binance")])
def test_a_vendor_of_another_kind_helps_out_wholly_and_is_named_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, failing: str, helping: str
) -> None:
    names = {name: stage.by_name[name] for name in (failing, helping)}
    route_to(monkeypatch, stage.manager, **names)
    stage.fail(failing)
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = stage.manager.get_ohlcv(*COIN_DAYS)
    assert len(frame) == 5
    assert told(frame)["vendors"] == [helping]
    assert told(frame)["substitute"].startswith(helping)
    assert set(vendor_by_row(frame)) == {helping}


@pytest.mark.parametrize("wrong", [
    {"symbol": "no symbol!"}, {"timeframe": "7x"}, {"start_date": "2024-06-09"},
    {"adjustment": "twice"}, {"provider": "nobody"},
], ids=lambda wrong: next(iter(wrong)))  # fmt: skip
def test_the_callers_mistakes_end_at_once_and_nobody_is_asked(
    manager: DataManager, vendors: VendorServer, wrong: dict[str, str]
) -> None:
    call = {"symbol": "BTCUSDT", "timeframe": "1h", "start_date": "2024-06-03",
            "end_date": "2024-06-03"} | wrong  # fmt: skip
    with pytest.raises((QueryError, UnknownProviderError)):
        manager.get_ohlcv(**call)  # type: ignore[arg-type]
    assert vendors.count() == 0
