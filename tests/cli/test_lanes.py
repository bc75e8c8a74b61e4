"""Commands on the lane that the rules select: a coin's bars from Binance, and averages from Yahoo."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.doors.compat.gap_commands import main_fill, main_validate
from src.data.doors.compat.gap_files import FILE
from src.data.jobs.fill.populate import sync_cache
from tests.cli.conftest import Ran, Run
from tests.e2e.oracle import ms
from tests.vendor_server import Fault, VendorServer

BINANCE, YAHOO = "binance, yahoo", "yahoo, binance"
OWN_LANE = {BINANCE: "", YAHOO: "aggregate"}
By = Callable[..., Ran]


@pytest.fixture
def rules_of(rules: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a maker of rules that name the vendors of coins in an order."""

    def make(order: str) -> Path:
        first, _, others = order.partition(", ")
        path = tmp_path / f"{first}.yaml"
        own = f"crypto: {{primary: {first}, backup: [{others}]}}\n"
        path.write_text(own + rules.read_text().split("\n", 1)[1])
        return path

    return make


@pytest.fixture
def by(bare: Run, rules_of: Callable[[str], Path], cache: Path) -> By:
    """Return a runner of commands under rules that name the vendors of coins in an order."""
    return lambda order, *words: bare(
        *words, "--config", str(rules_of(order)), "--cache-dir", str(cache)
    )


def fetch(by: By, order: str, days: str, *more: str) -> None:
    start, _, end = days.partition(" ")
    asked = by(order, "fetch", "BTCUSDT", "1h", "--start", start, "--end", end, "--json", *more)
    assert asked.code == 0, asked.err


@pytest.fixture
def both(by: By, vendors: VendorServer) -> None:
    """Fill a cache by rules that name Binance first, then by rules that name Yahoo first."""
    fetch(by, BINANCE, "2024-06-10 2024-06-10")
    fetch(by, YAHOO, "2024-06-09 2024-06-11")
    vendors.clear_log()


@pytest.mark.parametrize("order", OWN_LANE)
@pytest.mark.usefixtures("both")
def test_commands_use_the_lane_that_answers(
    by: By, order: str, tmp_path: Path, vendors: VendorServer
) -> None:
    lane, series = OWN_LANE[order], ("BTCUSDT", "1h")
    bars = 72 if lane else 24
    assert by(order, "gaps", *series, "--json").json["spans"][0]["lane"] == lane
    assert by(order, "validate", *series, "--json").json[0]["lane"] == lane
    out = tmp_path / "out.csv"
    assert by(order, "cache", "export", *series, "--out", str(out)).code == 0
    assert len(out.read_text().splitlines()) == bars + 1
    assert by(order, "gaps", *series, "--json").json["series"][0]["lane"] == lane
    explained = by(order, "plan", *series, "--json").json["explanation"]
    assert explained["stored"][0]["lane"] == "@".join(filter(None, ("1h", lane)))
    assert vendors.count() == 0
    (synced,) = by(order, "sync", "--json").json["results"]
    assert synced["rows"] > bars, synced
    assert vendors.count() == vendors.count(order.partition(",")[0]) > 0


def steps(by: By, order: str) -> dict[str, list[str]]:
    """Return the lanes with what is to be done about the gaps that were never asked for."""
    found: dict[str, list[str]] = {}
    for series in by(order, "gaps", "--all", "--json").json["series"]:
        never = [gap["next_step"] for gap in series["gaps"] if gap["class"] == "never_asked"]
        found[series["lane"]] = never
    return found


@pytest.mark.parametrize("order", OWN_LANE)
@pytest.mark.usefixtures("both")
def test_the_command_of_a_gap_fills_the_gap_in_its_lane(by: By, order: str) -> None:
    for vendor in ("yahoo", "binance"):
        fetch(by, order, "2024-06-09 2024-06-10", "--provider", vendor)
    before = steps(by, order)
    assert set(before) == {"", "aggregate", "yahoo", "binance"}
    other = OWN_LANE[YAHOO if order == BINANCE else BINANCE]
    for lane, commands in before.items():
        for command in commands:
            if lane == other:  # no question by these rules is answered out of it
                own = "@".join(filter(None, ("BTCUSDT 1h", OWN_LANE[order])))
                assert (
                    command
                    == f"under the current rules, no request fills it: {own} is returned instead"
                )
                continue
            assert by(order, *shlex.split(command)[1:]).code == 0, command
    after = steps(by, order)
    assert after.pop(other) == before.pop(other) != []
    assert not any(after.values()) and all(before.values())


@pytest.mark.parametrize("order", OWN_LANE)
def test_the_older_tools_fill_the_gaps_of_the_lane_that_answers(
    by: By, rules_of: Callable[[str], Path], order: str, cache: Path
) -> None:
    places = ["--config", str(rules_of(order)), "--cache-dir", str(cache)]
    for first in (YAHOO if order == BINANCE else BINANCE, order):
        for day in ("2024-06-09", "2024-06-11"):
            fetch(by, first, f"{day} {day}")
    assert main_validate(["--symbols", "BTCUSDT", "--intervals", "1h", *places]) == 0
    told = json.loads((cache / FILE).read_text())
    assert told["validation_summary"]["missing"] == 0
    (series,) = told["detailed_results"].values()
    assert (series["total_rows"], series["gap_summary"]["total_gaps"]) == (48, 1)
    assert series["yearly_breakdown"]["2024"]["date_range"]["start"] == "2024-06-09T00:00:00"
    assert main_fill([*places, "--json"]) == 0
    assert main_validate(places) == 0
    told = json.loads((cache / FILE).read_text())
    (series,) = told["detailed_results"].values()
    assert (series["total_rows"], series["gap_summary"]["total_gaps"]) == (72, 0)
    spans = by(order, "gaps", "BTCUSDT", "1h", "--json").json["spans"]
    assert len({span["lane"] for span in spans}) == 2


@pytest.mark.parametrize("order", OWN_LANE)
def test_a_missing_day_counts_once_a_symbol_in_the_lane_that_answers(
    by: By, order: str, vendors: VendorServer
) -> None:
    truth = vendors.truth
    for symbol in ("ETH-USD", "LTC-USD"):
        truth.add(replace(truth.listing("BTC-USD"), symbol=symbol))
        truth.add(replace(truth.listing("BTCUSDT"), symbol=symbol.replace("-USD", "USDT")))
    day = ms("2024-06-10T00:00:00")
    for first in OWN_LANE:
        vendor = first.partition(",")[0]
        vendors.fault(vendor, Fault.drop_stamps(day))
        # One symbol a command: the clock stands still in it, and Yahoo allows one request a second.
        for symbol in ("BTCUSDT", "ETHUSDT", "LTCUSDT"):
            words = ("fetch", symbol, "1d", "--start", "2024-06-07", "--end", "2024-06-11")
            for more in ((), ("--provider", vendor)):
                by(first, *words, *more)
    found = by(order, "gaps", "--all", "--json").json["incidents"]
    assert [(one["vendor"], one["day"], one["symbols"]) for one in found] == [
        (order.partition(",")[0], "2024-06-10", 3)
    ]


@pytest.mark.parametrize("late", [BINANCE, "yahoo"])
def test_perishable_bars_are_reported_for_the_lane_that_answers(
    by: By, late: str, rules_of: Callable[[str], Path], cache: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    for order in (BINANCE, "yahoo"):
        by(order, "fetch", "BTCUSDT", "5m", "--start", "2024-06-10", "--end", "2024-06-10")
    clock.advance(50 * 86_400)
    by(late, "fetch", "BTCUSDT", "5m", "--start", "2024-07-31", "--end", "2024-07-31")
    # Yahoo goes back 59 days.
    wanted = [] if late == "yahoo" else ["2024-06-10T23:55:00Z"]
    soon = sync_cache("NONE*", cache, config_path=rules_of("yahoo"))["perishable"]
    assert [one["last"] for one in soon] == wanted
    checks = by("yahoo", "doctor", "--no-network", "--json").json["checks"]
    assert len([one for one in checks if one["name"] == "health perishable"]) == len(wanted)


@pytest.mark.parametrize("order", OWN_LANE)
@pytest.mark.usefixtures("both")
def test_the_remedy_of_a_difference_is_of_its_lane(
    by: By, order: str, vendors: VendorServer
) -> None:
    at = ms("2024-06-10T07:00:00")
    vendors.revise("BTCUSDT", "1h", at, 1.5, ms("2099-01-01T00:00:00"))
    plain = by(order, "verify", "BTCUSDT", "1h", "--json").json
    (advice,) = [d["advice"] for one in plain["comparisons"] for d in one["differences"]]
    if order == YAHOO:  # it would be fetched into another lane
        assert advice == "nothing: under the current rules, no request returns these bars"
        return
    vendors.clear_log()
    assert by(order, *shlex.split(advice)[1:]).code == 0
    assert vendors.count("binance") > 0 == vendors.count("yahoo")
