"""Failover with every vendor as the failing one and as the fallback, for all bars and for some.

The provenance must name the vendor that supplied the rows. To identify the rows of one of the two, its
prices are a millionth too high. A vendor that the vendor server does not imitate is simulated in process,
with the capabilities that it declares, so that the routing is the same as for the vendor itself; the
names of the imitated ones are in ``FACES``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.core.registry import SAMPLES, SERVED
from src.data.core.vendors.factory import downloader_class, downloader_for
from src.data.data_manager import DataManager
from src.data.errors import (
    IncompleteDataWarning,
    QueryError,
    UnavailableError,
    UnknownProviderError,
)
from tests.vendor_server import Fault, VendorServer

from .oracle import ms
from .scripted_vendor import ScriptedVendor, provenance, route_to

COIN, SHARE = (
    ("BTCUSDT", "1h", "2024-06-03", "2024-06-03"),
    ("AAPL", "1d", "2024-06-03", "2024-06-07"),
)
COIN_DAYS = ("BTCUSDT", "1d", "2024-06-03", "2024-06-07")
MARK = 1 + 1e-6
# Asked over sockets, or from a file; the others are played.
FACES = ("binance", "yahoo", "local")
# Of a family, one member. What is made up never stands beside real bars.
VENDORS = tuple(
    {"ccxt": "ccxt:binance"}.get(name, name) for name in SERVED if name not in {"mock", *SAMPLES}
)
HEADER = "timestamp,open,high,low,close,volume\n"


class Stage:
    """A manager over all vendors, each of which can be made to fail or to omit bars."""

    def __init__(self, manager: DataManager, vendors: VendorServer, folder: Path) -> None:
        self.manager, self.vendors, self.folder = manager, vendors, folder
        selector = manager.provider_selector
        self.by_name: dict[str, Any] = {
            name: downloader_for(selector, name)
            if name in FACES
            else ScriptedVendor(vendors, downloader_class(name))
            for name in VENDORS
        }
        self.spoil: dict[str, Callable[[list[Bar]], list[Bar]]] = {}
        self.write_file(lambda rows: rows)

    def spoiling(self, name: str, spoil: Callable[[list[Bar]], list[Bar]]) -> None:
        """Change the rows of every answer of a vendor, after those changes that it has already."""
        before = self.spoil.get(name, lambda rows: rows)
        self.spoil[name] = lambda rows: spoil(before(rows))
        if name == "local":
            self.write_file(self.spoil[name])
        else:
            self.by_name[name].spoil = self.spoil[name]

    def write_file(self, spoil: Callable[[list[Bar]], list[Bar]]) -> None:
        """Write the days of the share as the user's own file."""
        rows = self.vendors.truth.expected(
            "AAPL", "1d", ms("2024-05-01"), ms("2024-06-12"), "split", self.vendors.clock.now_ms()
        )
        lines = (f"{pd.Timestamp(b.stamp_ms, unit='ms'):%Y-%m-%d},{','.join(map(repr, b[1:6]))}\n"
                 for b in spoil([Bar(*row) for row in rows]))  # fmt: skip
        self.folder.mkdir(exist_ok=True)
        (self.folder / "AAPL_1d.csv").write_text(HEADER + "".join(lines))

    def fail(self, name: str) -> None:
        """Let a vendor fail for good."""
        if name == "local":
            (self.folder / "AAPL_1d.csv").write_text("something else\n")
        elif name in FACES:
            self.vendors.fault(name, Fault.status(503))
        else:
            self.by_name[name].errors = [UnavailableError("down")] * 9

    def halve(self, name: str, request: tuple[str, str, str, str]) -> None:
        """Make a vendor omit the second and third requested bar."""
        if name == "yahoo":
            self.vendors.fault(name, Fault.nulls(1, 2))
        elif name == "binance":
            self.vendors.fault(name, Fault.drop(1, 2))
        else:
            step = HOUR_MS if request[1] == "1h" else DAY_MS
            lost = range(ms(request[2]) + step, ms(request[2]) + 3 * step)
            self.spoiling(name, lambda rows: [r for r in rows if r.stamp_ms not in lost])


def marked(rows: list[Bar]) -> list[Bar]:
    """Return the rows with prices that identify their vendor."""
    return [Bar(row.stamp_ms, *(price * MARK for price in row[1:5]), row.volume) for row in rows]


@pytest.fixture
def stage(
    rules: Path, make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path
) -> Stage:
    """Return a stage over all vendors; ``local`` serves split-adjusted files in US dollars."""
    files = tmp_path / "files"
    own = f"  local: {{folder: '{files}', adjustment: split, unit: USD}}\n"
    rules.write_text(rules.read_text() + own)
    return Stage(make(), vendors, files)


class Pair(NamedTuple):
    """Who fails, who helps out, with what."""

    failing: str
    helping: str
    request: tuple[str, str, str, str]

    @property
    def marks(self) -> str:
        """The one of the two whose rows are marked; those of a socket are as they are."""
        return next(n for n in (self.failing, self.helping) if n == "local" or n not in FACES)


DECLARED = {
    name: downloader_class(name).capabilities
    for name in VENDORS
    if name not in ("local", "ccxt:binance")
}
# Each helps out the one before it: days of shares are of one kind with all of them.
RING = [name for name, declared in DECLARED.items() if "stock" in declared.asset_classes]
# Who tells the coins of Binance, besides itself.
OF_BINANCE = ["ccxt:binance", *(
    name for name, declared in DECLARED.items()
    if name != "binance" and declared.kinds.get("crypto", Kind()).venue == "binance"
)]  # fmt: skip
PAIRS = [
    *(Pair(one, other, SHARE) for one, other in zip(RING, (*RING[1:], RING[0]), strict=True)),
    # Bars of own files stand in no lane of others: they help none out, but as a substitute.
    Pair("local", "yahoo", SHARE),
    # One venue's bars, told by two; averages over venues.
    *(Pair("binance", other, COIN) for other in OF_BINANCE),
    *(Pair(other, "binance", COIN) for other in OF_BINANCE),
    Pair("coingecko", "polygon", COIN_DAYS), Pair("eodhd", "coingecko", COIN_DAYS),
]  # fmt: skip
pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.failing} helped by {p.helping}")


def test_each_vendor_is_tested_as_the_failing_and_as_the_helping_one() -> None:
    # A vendor of a venue of its own, whose bars no other vendor has, can help none and be helped by none.
    venues = Counter(
        one.kinds["crypto"].venue for one in DECLARED.values() if "crypto" in one.kinds
    )
    alone = {
        name for name, one in DECLARED.items()
        if one.asset_classes == {"crypto"} and venues[one.kinds["crypto"].venue] == 1
    }  # fmt: skip
    assert {pair.failing for pair in PAIRS} == set(VENDORS) - alone
    assert {pair.helping for pair in PAIRS} == set(VENDORS) - alone - {"local"}


def vendor_by_row(frame: pd.DataFrame) -> list[str]:
    """Return whom the provenance names for each row."""
    spans = [(s["vendor"], pd.Timestamp(s["start"][:-1]), pd.Timestamp(s["end"][:-1]))
             for s in provenance(frame)["spans"]]  # fmt: skip
    return [next(v for v, start, end in spans if start <= at < end) for at in frame.index]


def owner_by_row(stage: Stage, frame: pd.DataFrame, pair: Pair) -> list[str]:
    """Return whose rows they are by their marks."""
    other = next(name for name in (pair.failing, pair.helping) if name != pair.marks)
    symbol, label, now = pair.request[0], pair.request[1], stage.vendors.clock.now_ms()
    first, last = (frame.index[i].value // 1_000_000 for i in (0, -1))
    rows = stage.vendors.truth.expected(symbol, label, first, last + 1, "split", now)
    truth = {row[0]: row[4] for row in rows}
    shares = [close / truth[at.value // 1_000_000] for at, close in frame["close"].items()]
    return [pair.marks if share > (1 + MARK) / 2 else other for share in shares]


def ask(stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    names = (pair.failing, pair.helping)
    route_to(monkeypatch, stage.manager, **{name: stage.by_name[name] for name in names})
    return stage.manager.get_ohlcv(*pair.request, strict=True)


@pairs
def test_a_vendor_that_fails_for_all_bars_is_named_for_none(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    stage.spoiling(pair.marks, marked)
    stage.fail(pair.failing)
    frame = ask(stage, pair, monkeypatch)
    assert len(frame) == (24 if pair.request is COIN else 5)
    assert provenance(frame)["vendors"] == [pair.helping]
    assert provenance(frame)["substitute"] is None
    assert vendor_by_row(frame) == owner_by_row(stage, frame, pair) == [pair.helping] * len(frame)
    bars = [a for a in provenance(frame)["attempts"] if "splits and dividends" not in a["message"]]
    noted = [(a["provider"], a["outcome"] == "ok") for a in bars]
    assert noted == [(pair.failing, False), (pair.helping, True)]


@pairs
def test_a_vendor_that_lacks_some_bars_is_named_for_the_others(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    stage.spoiling(pair.marks, marked)
    stage.halve(pair.failing, pair.request)
    frame = ask(stage, pair, monkeypatch)
    rest = (24 if pair.request is COIN else 5) - 3
    assert vendor_by_row(frame) == owner_by_row(stage, frame, pair) == [
        pair.failing, pair.helping, pair.helping, *[pair.failing] * rest,
    ]  # fmt: skip
    assert provenance(frame)["vendors"] == sorted([pair.failing, pair.helping])
    again = stage.manager.get_ohlcv(*pair.request, strict=True, offline=True)
    assert vendor_by_row(again) == vendor_by_row(frame), "from the cache as from the vendors"


@pytest.mark.parametrize("failing, helping", [
    ("binance", "yahoo"), ("yahoo", "binance"), ("binance", "coingecko"), ("coingecko", "binance"),
    ("alpha_vantage", "binance"), ("binance", "alpha_vantage"),
])  # fmt: skip
def test_a_vendor_of_another_kind_supplies_all_bars_and_is_named_as_a_substitute(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, failing: str, helping: str
) -> None:
    names = {name: stage.by_name[name] for name in (failing, helping)}
    route_to(monkeypatch, stage.manager, **names)
    stage.fail(failing)
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = stage.manager.get_ohlcv(*COIN_DAYS)
    assert len(frame) == 5
    assert provenance(frame)["vendors"] == [helping]
    assert provenance(frame)["substitute"].startswith(helping)
    assert set(vendor_by_row(frame)) == {helping}


@pytest.mark.parametrize("wrong", [
    {"symbol": "no symbol!"}, {"timeframe": "7x"}, {"start_date": "2024-06-09"},
    {"adjustment": "twice"}, {"provider": "nobody"},
], ids=lambda wrong: next(iter(wrong)))  # fmt: skip
def test_an_invalid_call_raises_at_once_without_a_request(
    manager: DataManager, vendors: VendorServer, wrong: dict[str, str]
) -> None:
    call = {"symbol": "BTCUSDT", "timeframe": "1h", "start_date": "2024-06-03",
            "end_date": "2024-06-03"} | wrong  # fmt: skip
    with pytest.raises((QueryError, UnknownProviderError)):
        manager.get_ohlcv(**call)  # type: ignore[arg-type]
    assert vendors.count() == 0
