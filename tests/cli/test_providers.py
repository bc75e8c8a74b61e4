from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_vendors_and_routes_for_machines(run: Run) -> None:
    told = run("providers", "--json").json
    vendors = {v["name"]: v for v in told["providers"]}
    assert vendors["binance"]["ready"]
    assert vendors["binance"]["per_minute"] == 1200
    assert vendors["yahoo"]["depth_days"]["1m"] == 29
    assert vendors["local"]["why_not"] == "no folder is set for `local`"
    assert vendors["local"]["advice"] == "set providers.local.folder"
    routes = {r["rule"]: r for r in told["routes"]}
    assert routes["crypto"]["ready"] == ["binance", "yahoo"]
    assert routes["stock_weekly_monthly"]["vendors"] == ["tiingo", "yahoo", "fmp"]
    assert routes["stock_weekly_monthly"]["ready"] == ["yahoo"]


def test_vendors_and_routes_for_people(run: Run, cache: Path) -> None:
    cache.rmdir()
    out = run("providers").out
    assert "(tiingo) → yahoo → (fmp)" in out
    assert "no folder is set for `local`" in out
    assert "→ set providers.local.folder" in out
    assert not cache.exists(), "looking makes nothing"


def test_a_vendor_that_cannot_be_asked_stands_in_brackets(bare: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stock_daily: {primary: tiingo, backup: [local, yahoo]}\n")
    out = bare("providers", "--config", str(path), "--cache-dir", str(tmp_path / "c")).out
    assert "(tiingo) → (local) → yahoo" in out
    assert "brackets" in out


@pytest.mark.skipif(find_spec("ib_async") is None, reason="ib_async is not installed")
def test_a_gateway_is_no_more_than_needed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_HOST", "127.0.0.1")
    monkeypatch.setenv("IBKR_PORT", "4002")
    told = {v["name"]: v["gateway"] for v in run("providers", "--json").json["providers"]}
    assert {name: at for name, at in told.items() if at} == {"ibkr": "127.0.0.1:4002"}
    [line] = [line for line in run("providers").out.splitlines() if line.startswith("ibkr")]
    assert "needs a gateway at 127.0.0.1:4002" in line and "ready" not in line


@pytest.mark.parametrize("columns", ["40", "80"])
def test_it_fits(columns: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, run("providers").out.splitlines())) <= int(columns)


def test_the_matrix_for_machines(run: Run) -> None:
    told = run("providers", "--matrix", "--json").json["matrix"]
    minute = next(e for e in told if (e["vendor"], e["timeframe"]) == ("yahoo", "1m"))
    assert (minute["depth_days"], minute["page_days"], minute["adjustment"]) == (29, 7, "split")
    assert minute["kinds"]["stock"]["anchor"] == "session"
    assert minute["settles"]["stock"] == 2


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_matrix_for_people_fits(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = run("providers", "--matrix").out
    assert max(map(len, out.splitlines())) <= int(columns)
    assert "1000 bars" in out or columns != "200"
