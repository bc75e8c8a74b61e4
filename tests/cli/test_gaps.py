"""``onetape gaps``: tables and JSON, exit codes, incidents, and damaged years."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.bars.client import BarsClient
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer


def test_gaps_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    run("fetch", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
    count = vendors.count()
    shown = run("gaps", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
    assert shown.code == 0
    assert "vendor hole" in shown.out and "2024-03-05 02:00" in shown.out
    assert "1 series; vendor hole 1" in shown.out
    told = run("gaps", "--all", "--start", "2024-03-04", "--end", "2024-03-06", "--json").json
    assert told["incidents"] == []
    (series,) = told["series"]
    assert series["counts"] == {"vendor_hole": 1}
    (gap,) = series["gaps"]
    assert gap["evidence"].startswith("binance: the vendor has no bar, queried 2024-06-12 15:00")
    assert gap["next_step"] == "requested again from 2024-06-13 15:00 UTC"
    assert vendors.count() == count
    whole = run("gaps", "HALTUSDT", "--start", "2024-03-06", "--end", "2024-03-06")
    assert whole.out == "1 series, no gaps\n"


def test_gaps_without_series_or_with_unknown_series_exits_with_the_hint(run: Run) -> None:
    for words in ((), ("AAPL", "--all")):
        refused = run("gaps", *words)
        assert refused.code == 2 and "`onetape gaps --all`" in refused.err
    none = run("gaps", "AAPL", "1d")
    assert none.code == 1 and "nothing is cached for AAPL 1d" in none.err
    assert run("gaps", "--all").out == "0 series, no gaps\n"


def test_a_damaged_year_is_reported_and_not_a_never_asked_gap(run: Run, cache: Path) -> None:
    run("fetch", "BTCUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
    folder = cache / "ohlcv" / "BTCUSDT" / "1h"
    data = (folder / "2024.csv.gz").read_bytes()
    (folder / "2024.csv.gz").write_bytes(data[:100] + bytes(50) + data[150:])
    bounds = ("--start", "2024-03-04", "--end", "2024-03-06")
    shown = run("gaps", "BTCUSDT", "1h", *bounds)
    assert shown.code == 0 and "no gap" in shown.out, "its documents stand: nothing is lacking yet"
    (folder / "2024.metadata.json").write_text("{")
    shown = run("gaps", "BTCUSDT", "1h", *bounds)
    assert "never asked" in shown.out
    assert list((folder / "_quarantine").iterdir()), "what was damaged is kept"


def test_an_incident_is_listed_first_without_its_gaps(
    run: Run, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    symbols = ["SPY", "MSFT", "AAPL", "NVDA"]
    for symbol in symbols[:3]:
        listing = vendors.truth.listing(symbol)
        outage = ("2024-06-05T00:00", "2024-06-06T00:00")
        vendors.truth.add(replace(listing, outages=(outage,)))
    bounds = ("--start-date", "2024-06-03", "--end-date", "2024-06-11")
    ahead = ManualClock(clock.now_ms() + 300_000)  # of the vendors' dates
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: ahead)
    done = run("populate", "--symbols", ",".join(symbols), "--timeframes", "1d", *bounds, "--json")
    (incident,) = done.json["incidents"]
    assert (incident["vendor"], incident["day"], incident["lacking"]) == ("yahoo", "2024-06-05", 3)
    shown = run("gaps", "--all")
    first = "incident: yahoo 2024-06-05 1d: missing for 3 of 4 symbols"
    assert shown.out.splitlines() == [first, "4 series; vendor outage 3"]
    told = run("gaps", "MSFT", "--json").json
    assert told["incidents"] == [incident]
    assert [gap["class"] for gap in told["series"][0]["gaps"]] == ["vendor_outage"]
    checks = run("doctor", "--no-network", "--json").json["checks"]
    (check,) = [check for check in checks if check["name"] == "health vendor day"]
    assert check["sentence"] == first.removeprefix("incident: ")
    explained = run("explain", "KO", "1d")
    assert "yahoo 2024-06-05 1d: missing for 3 of 4 symbols" in explained.out
    assert run("plan", "KO", "1h", "--json").json["explanation"]["incidents"] == []
    fill = ("populate", "--symbols", "KO", "--timeframes", "1d,1h", "--dry-run", "--start-date")
    assert run(*fill, "2024-06-03", "--json").json["incidents"] == [incident]
    assert f"{first}; `onetape gaps --all`" in run(*fill, "2024-06-03").out
    assert run(*fill, "2024-06-07", "--json").json["incidents"] == [], "it is asked for no more"
    checks = run("doctor", "--watch", "--no-network", "--json").json["checks"]
    assert [check["name"] for check in checks if check["sentence"] in first] == [
        "health vendor day"
    ]


def test_gaps_of_all_series_read_each_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = ["BTCUSDT", "ETHUSDT"]
    run(
        "populate",
        "--symbols",
        ",".join(symbols),
        "--timeframes",
        "1d",
        "--start-date",
        "2024-06-03",
    )
    outline, read = BarsClient.outline, list[str]()

    def noted(self: BarsClient, key: SeriesKey) -> Any:
        read.append(key.symbol)
        return outline(self, key)

    monkeypatch.setattr(BarsClient, "outline", noted)
    assert run("gaps", "--all").out.startswith("2 series")
    assert sorted(read) == symbols


def test_samples_and_made_up_bars_are_no_part_of_everything(run: Run) -> None:
    """Nor of `verify`; each is looked at where a call names it."""
    pytest.importorskip("bokeh_sampledata.stocks")
    days = ("--start", "2012-01-03", "--end", "2012-02-03")
    assert run("fetch", "AAPL", "1d", *days, "--provider", "demo").code == 0
    assert run("fetch", "BTCUSDT", "1d", "--bars", "5", "--provider", "mock").code == 0
    every = run("gaps", "--all", "--json")
    assert (every.code, every.json["series"]) == (0, [])
    (own,) = run("gaps", "AAPL", "1d", "--json").json["series"]
    assert own["lane"] == "demo" and own["gaps"]
    assert "no bars for AAPL 1d are cached" in run("verify", "AAPL", "1d", *days).err
    assert run("verify", "AAPL", "1d", *days, "--provider", "demo").code == 0
    assert run("fetch", "MSFT", "1d", "--bars", "5").code == 0
    (series,) = run("gaps", "--all", "--json").json["series"]
    assert series["symbol"] == "MSFT"
