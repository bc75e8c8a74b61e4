"""``validate_gaps`` and ``fill_gaps``: flags, file layout and exit codes of the older tools."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.cache import fill_gaps as documented_fill
from src.data.cache import validate_gaps as documented_validate
from src.data.core.clock import ManualClock
from src.data.doors.compat.gap_commands import main_fill, main_validate
from src.data.doors.compat.gap_files import FILE
from src.data.errors import QueryError
from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

Older = Callable[..., int]


@pytest.fixture
def older(run: Run, rules: Path, cache: Path) -> Older:
    """Return a runner of the two mains on the cache folder."""

    def call(main: Callable[[list[str]], int], *words: str) -> int:
        return main([*words, "--config", str(rules), "--cache-dir", str(cache)])

    return call


def document(cache: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cache / FILE).read_text())
    return found


def fetch(run: Run, symbol: str, timeframe: str, start: str, end: str) -> None:
    run("fetch", symbol, timeframe, "--start", start, "--end", end)


def test_the_file_has_the_documented_layout(run: Run, older: Older, cache: Path) -> None:
    fetch(run, "HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    fetch(run, "AAPL", "1d", "2024-05-01", "2024-05-31")  # what was not asked for since is no gap
    assert older(main_validate, "--validate-all") == 0
    told = document(cache)
    assert told["validation_summary"] == {
        "total_symbols_intervals": 2, "valid": 1, "invalid": 1, "missing": 0,
        "validation_timestamp": "2024-06-12T15:00:30",
    }  # fmt: skip
    halted = told["detailed_results"]["HALTUSDT_1h"]
    year = halted["yearly_breakdown"]["2024"]
    assert (halted["overall_status"], year["status"], year["rows"]) == ("invalid", "invalid", 69)
    assert (year["gaps"][0]["start"], year["gaps"][0]["duration_hours"]) == (
        "2024-03-05T02:00:00", 3.0,
    )  # fmt: skip
    assert year["gaps"][0]["class"] == "vendor_hole"
    assert year["date_range"]["start"] == "2024-03-04T00:00:00"
    assert told["gap_analysis"]["HALTUSDT_1h"] == year["gaps"]
    assert told["yearly_analysis"]["AAPL_1d"]["2024"]["status"] == "valid"


def test_symbols_and_intervals_choose(run: Run, older: Older, cache: Path) -> None:
    fetch(run, "AAPL", "1d", "2024-06-03", "2024-06-11")
    fetch(run, "MSFT", "1d", "2024-06-03", "2024-06-11")
    assert older(main_validate, "--symbols", "AAPL,NVDA", "--intervals", "1d") == 0
    told = document(cache)
    assert list(told["detailed_results"]) == ["AAPL_1d"]
    assert told["validation_summary"]["missing"] == 1
    assert older(main_validate, "--symbols", "AAPL,NVDA", "--intervals", "1q") == 2


def test_a_hole_that_is_due_is_filled_and_one_that_no_vendor_has_stays(
    run: Run, older: Older, vendors: VendorServer, clock: ManualClock, cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fetch(run, "HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    older(main_validate)
    capsys.readouterr()
    assert older(main_fill) == 0
    assert "1 series as before; 0 gaps too long" in capsys.readouterr().out
    vendors.truth.change("HALTUSDT", outages=(("2024-03-05T02:00", "2024-03-05T03:00"),))
    clock.advance(25 * 3600)
    count = vendors.count("binance")
    assert older(main_fill, "--max-gap-hours", "0.5") == 0
    assert vendors.count("binance") == count, "longer gaps are left alone"
    assert older(main_fill, "--symbols", "BTCUSDT") == 0
    assert vendors.count("binance") == count
    capsys.readouterr()
    assert older(main_fill, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["filled"] == {"HALTUSDT_1h": 2}
    assert told["failed"] == {}


def test_a_gap_between_two_fetches_is_filled(
    run: Run, older: Older, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(run, "BTCUSDT", "1h", "2024-03-04", "2024-03-04")
    fetch(run, "BTCUSDT", "1h", "2024-03-06", "2024-03-06")
    older(main_validate)
    capsys.readouterr()
    older(main_fill, "--max-gap-hours", "23.5")
    assert "1 gap too long" in capsys.readouterr().out
    assert older(main_fill, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["filled"] == {"BTCUSDT_1h": 24}


def test_an_empty_list_selects_no_series_and_a_string_is_refused(
    run: Run, older: Older, vendors: VendorServer, rules: Path, cache: Path
) -> None:
    for day in ("2024-03-04", "2024-03-06"):
        fetch(run, "BTCUSDT", "1h", day, day)
    older(main_validate)
    count, where = vendors.count(), {"cache_dir": cache, "config_path": rules}
    for symbols, intervals in (([], None), (None, [])):
        report = documented_fill.fill_gaps(symbols, intervals, **where)
        assert (report["filled"], report["unchanged"]) == ({}, [])
    for tool in (documented_validate.validate_gaps, documented_fill.fill_gaps):
        with pytest.raises(QueryError, match="must be a list, not the string 'T'"):
            tool("T", **where)
    assert vendors.count() == count


def test_a_file_of_the_older_tool_is_read(
    run: Run, older: Older, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(run, "BTCUSDT", "1h", "2024-03-04", "2024-03-04")
    fetch(run, "BTCUSDT", "1h", "2024-03-06", "2024-03-06")
    gap = {"start": "2024-03-06T00:00:00", "duration_hours": 24.0}
    breakdown = {"2024": {"status": "valid", "rows": 48, "gaps": [gap]}}
    series = {"symbol": "BTCUSDT", "interval": "1h", "yearly_breakdown": breakdown}
    (cache / FILE).write_text(json.dumps({"detailed_results": {"BTCUSDT_1h": series}}))
    assert older(main_fill, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["filled"] == {"BTCUSDT_1h": 24}


def gap_file(**changes: Any) -> Any:
    """Return the file of the older tool with one gap of an hour, changed."""
    gap = {"start": "2024-03-06T00:00:00", "duration_hours": 1.0} | changes
    breakdown = {"2024": {"gaps": [gap]}}
    one = {"symbol": "BTCUSDT", "interval": "1h", "yearly_breakdown": breakdown}
    return {"detailed_results": {"BTCUSDT_1h": one | changes}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(gap_file(duration_hours=float("inf"))),
        json.dumps(gap_file(duration_hours=1e300)),
        json.dumps(gap_file(duration_hours=-5)),
        json.dumps(gap_file(start="9999-12-31T23:30:00", end="x")),
        json.dumps(gap_file(start=5)),
        json.dumps(gap_file(symbol=5)),
        json.dumps(gap_file(symbol="../x")),
        json.dumps(gap_file(interval=[])),
        json.dumps({"detailed_results": [1]}),
        json.dumps([1]),
        "[" * 100_000,
    ],
)
def test_an_invalid_gap_file_is_one_error(
    text: str, older: Older, vendors: VendorServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / FILE).write_text(text)
    assert (older(main_fill), vendors.count()) == (2, 0)
    assert capsys.readouterr().err.startswith("onetape: ")


@pytest.mark.parametrize("hours", ["x", -1, None, True, float("nan")])
def test_an_invalid_max_gap_hours_is_refused(hours: Any, cache: Path) -> None:
    with pytest.raises(QueryError, match="max_gap_hours"):
        documented_fill.fill_gaps(None, None, cache, hours)


def test_exit_codes_of_the_older_fill_and_validate_scripts(
    run: Run, older: Older, vendors: VendorServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert older(main_fill) == 2
    assert "the file validate-metadata.json is not in the cache folder" in capsys.readouterr().err
    (cache / FILE).write_text("{")
    assert older(main_fill) == 2
    assert older(main_fill, "--max-gap-hours", "-1") == 2
    assert older(main_validate) == 0, "an empty cache"
    fetch(run, "BTCUSDT", "1h", "2024-03-04", "2024-03-04")
    fetch(run, "BTCUSDT", "1h", "2024-03-06", "2024-03-06")
    older(main_validate)
    vendors.fault("binance", Fault.status(403))
    capsys.readouterr()
    assert older(main_fill, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["filled"], told["unchanged"]) == ({}, [])
    assert "Binance" in told["failed"]["BTCUSDT_1h"]


def test_the_documented_modules_run(
    run: Run, cache: Path, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert documented_validate.validate_gaps and documented_fill.fill_gaps
    for name, code in (("fill_gaps", 2), ("validate_gaps", 0)):
        words = [name, "--cache-dir", str(cache), "--config", str(rules)]
        monkeypatch.setattr(sys, "argv", words)
        for root in ("src", "onetape"):
            monkeypatch.delitem(sys.modules, f"{root}.data.cache.{name}", raising=False)
        with pytest.raises(SystemExit) as end:
            runpy.run_module(f"src.data.cache.{name}", run_name="__main__")
        assert end.value.code == code
