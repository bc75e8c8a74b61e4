"""What a receipt contains, and when there is none."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.bundles import lineage
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.research.bundles.bundle import Bundle
from src.data.research.receipts.made import make
from src.data.research.receipts.receipt import Receipt, read_receipt
from src.data.research.receipts.verify import verify
from tests.contract.source import ROOT
from tests.e2e.fixed_vendor import Market
from tests.e2e.oracle import ms
from tests.universe_doubles import DatedUniverse
from tests.vendor_server import VendorServer
from tests.vendor_server.listings import dividend, split

from .many_shares import Shares
from .test_receipts import ASKED, made

WEEK = ("BTCUSDT", "1h", "2024-05-01", "2024-05-07")


def texts(receipt: Receipt, *kinds: str) -> list[str]:
    """Return the lines of some kinds, without digests."""
    return [line.text.partition(" sha256:")[0] for line in receipt.of_kind(*kinds)]


def states(path: Path, manager: DataManager, **options: Any) -> dict[str, str]:
    """Return the state of each line."""
    found = verify(path, manager=manager, **options)
    return {f"{one.line.kind} {one.line}": one.state for one in found.findings}


def test_a_run_is_made_read_and_verified_without_and_with_requests(
    manager: DataManager, make: Callable[[], DataManager], bundles: Path, vendors: VendorServer,
    tmp_path: Path, clock: ManualClock,
) -> None:  # fmt: skip
    for month in range(1, 6):
        vendors.truth.act("AAPL", dividend(f"2024-{month:02d}-12", 0.2 + month / 100))
    with lineage("momentum", folder=bundles, manager=manager) as run:
        manager.get_ohlcv("AAPL", "1d", "2023-10-01", "2024-06-10")
        manager.get_ohlcv("NVDA", "1w", "2023-10-02", "2024-06-07", adjustment="all")
        manager.get_ohlcv(*WEEK)
    path = tmp_path / "x.receipt"
    run.receipt(path)
    receipt = read_receipt(path)
    assert receipt.fault == "" and receipt.months is not None
    assert texts(receipt, "bars", "actions") == [
        "bars AAPL 1d regular yahoo 2023-10-02..2024-06-10 rows 174 raw/3",
        "actions AAPL yahoo 2023-10-02..2024-06-12 splits 0 dividends 8",
        "bars BTCUSDT 1h spot binance 2024-05-01..2024-05-07T23Z rows 168 exact raw/1 exact-volume",
        "bars NVDA 1d regular yahoo 2023-10-02..2024-06-07 rows 173 raw/3",
        "actions NVDA yahoo 2023-10-02..2024-06-12 splits 1 dividends 1 joined",
    ]
    text = path.read_text()
    # On every Python, pandas and NumPy.
    expected = {"a9dd1bcff7dc6df6", "c6b2041185b1a6ff", "5bba69953d75872c"}
    assert {digest for digest in expected if f"sha256:{digest}" in text} == expected
    assert str(tmp_path) not in text and "127.0.0.1" not in text and "cache" not in text
    vendors.clear_log()
    assert set(states(path, manager, offline=True).values()) == {"same"}
    assert not vendors.count()
    other = DataManager(tmp_path / "other", tmp_path / "rules.yaml", clock=clock)
    assert set(states(path, other, offline=True).values()) == {"unread", "same"}
    assert not vendors.count()
    assert set(states(path, other).values()) == {"same"}
    assert vendors.count()


def test_fetching_again_uses_nothing_that_is_stored_here(
    manager: DataManager, bundles: Path, vendors: VendorServer, tmp_path: Path
) -> None:
    """Stored are a dividend that its vendor took back, and a split that it reported and took back."""
    for day in ("2024-01-12", "2024-02-12", "2024-03-12", "2024-04-12", "2024-06-05"):
        vendors.truth.act("AAPL", dividend(day, 0.25))
    known = vendors.truth.listing("AAPL").actions
    with lineage("momentum", folder=bundles, manager=manager) as run:
        manager.get_ohlcv("AAPL", "1d", "2023-10-02", "2024-05-31", adjustment="all")
    run.receipt(tmp_path / "x")

    def now() -> dict[str, str]:
        """Return the states of the bars and actions that the vendor sends now."""
        found = states(tmp_path / "x", manager, fetch=True)
        return {name.split()[0]: state for name, state in found.items()}

    vendors.truth.change("AAPL", actions=known[:-1])
    assert now() == {"bars": "same", "actions": "rebased", "calendar": "same", "all": "same"}
    vendors.truth.change("AAPL", actions=(*known, split("2024-06-06", 3)))
    manager.get_ohlcv("AAPL", "1d", "2024-05-31", "2024-06-10", refresh=True)
    vendors.truth.change("AAPL", actions=known)
    assert set(now().values()) == {"same"}
    assert "2024-06-06" in str(manager.get_actions("AAPL"))  # the user's own cache is as it was


def test_the_receipt_at_a_past_time_has_only_dividends_that_had_come(
    manager: DataManager, bundles: Path, vendors: VendorServer, tmp_path: Path
) -> None:
    for day in ("2024-02-09", "2024-03-11", "2024-04-12", "2024-05-10", "2024-06-07"):
        vendors.truth.act("AAPL", dividend(day, 0.25))
    with lineage("then", folder=bundles, manager=manager) as run:
        manager.at("2024-05-15").get_ohlcv("AAPL", "1d", "2023-11-01", adjustment="all")
    receipt = run.receipt(tmp_path / "x")
    assert texts(receipt, "run", "bars", "actions") == [
        "run then at 2024-05-16T00:00Z made-by onetape 0.1.0",
        "bars AAPL 1d regular yahoo 2023-11-01..2024-05-15 rows 135 raw/3",
        "actions AAPL yahoo 2023-11-01..2024-05-16 splits 0 dividends 5",
    ]
    assert set(states(tmp_path / "x", manager, offline=True).values()) == {"same"}


def test_gaps_are_a_line_and_a_bar_that_comes_later_is_revised(
    manager: DataManager, bundles: Path, vendors: VendorServer, tmp_path: Path, clock: ManualClock
) -> None:
    span = ("2024-05-03T05:00", "2024-05-03T08:00"), ("2024-05-04T05:00", "2024-05-04T06:00")
    vendors.truth.change("BTCUSDT", outages=span)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with lineage("gaps", folder=bundles, manager=manager) as run:
            manager.get_ohlcv(*WEEK)
    receipt = run.receipt(tmp_path / "x")
    assert texts(receipt, "gaps") == ["gaps BTCUSDT 1h spot 4 bars 2 spans"]
    assert set(states(tmp_path / "x", manager, offline=True).values()) == {"same"}
    vendors.truth.change("BTCUSDT", outages=span[:1])
    other = DataManager(tmp_path / "other", tmp_path / "rules.yaml", clock=clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = verify(tmp_path / "x", manager=other)
    bars, gaps = (
        next(f for f in found.findings if f.line.kind == kind) for kind in ("bars", "gaps")
    )
    assert (bars.state, bars.months, bars.detail) == ("revised", ("2024-05",), "+1 rows")
    assert (gaps.state, found.code) == ("unread", 1)


def test_a_bar_that_had_not_closed_is_a_line_that_nobody_can_check(
    manager: DataManager, bundles: Path, tmp_path: Path
) -> None:
    with lineage("now", folder=bundles, manager=manager) as run:
        manager.get_ohlcv("BTCUSDT", "1h", bars=30, include_forming=True)
    receipt = run.receipt(tmp_path / "x")
    assert (
        texts(receipt, "bars")[0]
        == "bars BTCUSDT 1h forming - 2024-06-12T15Z..2024-06-12T15Z rows 1 raw/0 none"
    )
    found = verify(tmp_path / "x", manager=manager, offline=True)
    assert (found.code, found.findings[0].state) == (3, "unread")


def test_what_was_read_without_a_record_is_named_and_there_is_no_receipt(
    manager: DataManager, bundles: Path
) -> None:
    warned = pytest.warns(UserWarning, match="not recorded")
    with warned, lineage("threads", folder=bundles, manager=manager) as run:
        other = threading.Thread(target=manager.get_ohlcv, args=WEEK)
        other.start()
        other.join()
    why = "'threads' has no receipt: BTCUSDT 1h was read in another thread"
    with pytest.raises(QueryError, match=why):
        run.receipt()
    with lineage("open", folder=bundles, manager=manager) as run:
        manager.get_ohlcv(*WEEK)
        with pytest.raises(QueryError, match="has no recorded end"):
            run.receipt()
    with lineage("nothing", folder=bundles, manager=manager) as run:
        pass
    with pytest.raises(QueryError, match="nothing was read"):
        run.receipt()
    with lineage("mock", folder=bundles, manager=manager) as run:
        manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-05-07", provider="mock")
    with pytest.raises(QueryError, match="no receipt: AAPL from mock is made up"):
        run.receipt()
    with pytest.raises(QueryError, match="there is no run and no bundle 'none'"):
        make("none", folder=bundles, manager=manager)


def test_bars_that_are_gone_and_two_versions_of_a_bar_make_no_receipt(
    manager: DataManager, bundles: Path, vendors: VendorServer
) -> None:
    with lineage("gone", folder=bundles, manager=manager) as run:
        manager.get_ohlcv(*WEEK)
    manager.clear_cache("BTCUSDT", "1h")
    with pytest.raises(QueryError, match="BTCUSDT 1h cannot be read as it was"):
        run.receipt()


def test_a_bundle_has_a_receipt_while_it_is_equal_to_the_store(
    manager: DataManager, bundles: Path, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    bundle = Bundle("mine", bundles)
    bundle.create(manager, ["BTCUSDT", "ETHUSDT"], "1h", "2024-05-01", "2024-05-07")
    receipt = make("mine", tmp_path / "x", folder=bundles, manager=manager)
    with lineage("mine-again", folder=bundles, manager=manager) as run:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            manager.get_ohlcv(symbol, *WEEK[1:])
    assert texts(receipt, "bars") == texts(run.receipt(), "bars")
    assert receipt.of_kind("bars") == run.receipt().of_kind("bars")
    manager.clear_cache("ETHUSDT", "1h")
    with pytest.raises(QueryError, match="bundle mine is stale"):
        make("mine", folder=bundles, manager=manager)


@pytest.mark.parametrize("symbol", ["AAPL", "IBM"])
def test_a_run_over_samples_is_the_same_on_its_machine_without_requests(
    manager: DataManager, bundles: Path, tmp_path: Path, symbol: str
) -> None:
    """Its vendor knows no splits and dividends after its last bar; AAPL's are part of the digest of bars."""
    pytest.importorskip("bokeh_sampledata.stocks")
    with lineage("samples", folder=bundles, manager=manager) as run:
        manager.get_ohlcv(symbol, "1d", "2012-01-03", "2012-12-31", provider="demo")
    run.receipt(tmp_path / "x")
    assert set(states(tmp_path / "x", manager, offline=True).values()) == {"same"}


def test_members_of_a_past_day_are_a_line(
    manager: DataManager, bundles: Path, tmp_path: Path
) -> None:
    universe = DatedUniverse({"AAPL": ("2010-01-04", None), "GONE": ("2010-01-04", "2023-03-13")})
    manager.universes = universe
    with lineage("members", folder=bundles, manager=manager) as run:
        manager.at("2023-01-05").universes.members("mine")
        manager.at("2023-06-05").universes.members("mine")
    receipt = run.receipt(tmp_path / "x")
    assert texts(receipt, "members") == [
        "members mine as-known 2023-01-05 rows 2", "members mine as-known 2023-06-05 rows 1",
    ]  # fmt: skip
    assert set(states(tmp_path / "x", manager, offline=True).values()) == {"same"}
    manager.universes = DatedUniverse({"AAPL": ("2010-01-04", None)})
    assert verify(tmp_path / "x", manager=manager, offline=True).code == 1


def test_another_vendor_is_never_the_same(market: Market) -> None:
    path = made(market, Shares(market.clock, ["AAPL"], 1))
    other = Shares(market.clock, ["AAPL"], 2, "tiingo")
    rows = other.bars["AAPL"]
    rows[rows[:, 0] == ms("2023-03-15"), 4] += 0.01
    manager = market.manager(other, folder="other")
    manager.get_ohlcv("AAPL", *ASKED, adjustment="all")
    found = verify(path, offline=True, manager=manager)
    bars = next(one for one in found.findings if one.line.kind == "bars")
    assert (bars.state, bars.months, found.code) == ("other vendor", ("2023-03",), 1)
    assert bars.detail == "of tiingo: 480 of 503 rows are equal"


def test_a_checker_without_onetape_agrees(market: Market, tmp_path: Path) -> None:
    """Actions are part of the digest of MSFT, whose vendor reports few, and not of AAPL's."""
    shares = Shares(market.clock, ["AAPL", "MSFT"], 1)
    shares.events["MSFT"] = shares.events["MSFT"][:3]
    path, reader = made(market, shares), market.manager(shares, folder="reader")
    program = ROOT / "examples" / "check_receipt.py"

    def check(symbol: str, csv: str, *actions: str) -> tuple[int, str]:
        """Run the checker on an exported file."""
        command = [sys.executable, str(program), str(path), symbol, "1d", csv, *actions]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout.strip() + done.stderr[-300:]

    for symbol in ("AAPL", "MSFT"):
        reader.get_ohlcv(symbol, *ASKED, adjustment="raw").to_csv(tmp_path / f"{symbol}.csv")
        reader.get_actions(symbol).to_csv(tmp_path / f"{symbol}-actions.csv")
    assert check("AAPL", "AAPL.csv") == (0, "AAPL 1d: same, 503 rows")
    assert check("MSFT", "MSFT.csv", "MSFT-actions.csv") == (0, "MSFT 1d: same, 503 rows")
    frame = pd.read_csv(tmp_path / "AAPL.csv", index_col=0)
    frame.assign(volume=frame["volume"] + 1).to_csv(tmp_path / "AAPL.csv")
    prices = "AAPL 1d: the same prices, other volumes, 503 rows"
    assert check("AAPL", "AAPL.csv") == (1, prices)
    frame.iloc[100, 3] += 0.01
    frame.to_csv(tmp_path / "AAPL.csv")
    assert check("AAPL", "AAPL.csv") == (1, "AAPL 1d: not the same, 503 rows")
    text = path.read_text()
    path.write_text(text.replace("rows 503", "rows 504"))
    assert check("AAPL", "AAPL.csv")[0] == 2
    manager = market.manager(shares, folder="maker")
    with lineage("parts", folder=market.folder / "bundles", manager=manager) as run:
        for span in (("2022-06-01", "2022-07-29"), ("2023-01-03", "2023-03-31")):
            manager.get_ohlcv("MSFT", "1d", *span)
    (line,) = run.receipt(path).of_kind("bars")
    assert line.values["ranges"] == "2022-06-01..2022-07-29,2023-01-03..2023-03-31"
    assert check("MSFT", "MSFT.csv", "MSFT-actions.csv") == (0, "MSFT 1d: same, 103 rows")
    assert "onetape" not in "".join(
        line
        for line in program.read_text().splitlines()
        if line.lstrip().startswith(("import", "from"))
    )
