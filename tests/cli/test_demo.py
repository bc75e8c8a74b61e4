from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.data.errors import install_line
from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

SAMPLES = pytest.importorskip("bokeh_sampledata.stocks")


def test_with_a_network_the_vendors_answer(bare: Run, rules: Path, vendors: VendorServer) -> None:
    ran = bare("demo", "--config", str(rules))
    assert ran.code == 0
    assert ran.err == ""
    assert "BTCUSDT 1h  735 bars · binance · 0% from cache" in ran.out
    assert "AAPL 1d  21 bars · yahoo · 0% from cache · split prices · USD" in ran.out
    assert "substitute: aggregate instead of binance" in ran.out
    assert "no key" not in ran.out and "needs a key" not in ran.out, "nothing is lacking"
    assert " ".join(ran.out.split()).count("times as fast") == 2
    bars = [entry for entry in vendors.log() if entry.path.startswith(("/api", "/v8"))]
    assert len(bars) == 2, "each was asked once, though every question was put twice"


def test_without_a_network_the_samples_answer_by_name(
    bare: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("".join(
        f"{'providers:' if name == 'binance' else ''}\n"
        f"  {name}: {{base_url: '{vendors.refused_url(name)}', transport: http}}"
        for name in ("binance", "coingecko", "yahoo")
    ))  # fmt: skip
    ran = bare("demo", "--config", str(path), "--json")
    assert ran.code == 0
    assert {name: door["ok"] for name, door in ran.json["network"].items()} == {
        "binance": False, "coingecko": False, "yahoo": False,
    }  # fmt: skip
    assert vendors.count() == 0
    (answer,) = ran.json["answers"]
    assert answer["question"]["provider"] == "demo"
    assert answer["provenance"]["vendors"] == ["demo"]
    shown = bare("demo", "--config", str(path)).out
    assert shown.count("no connection to") == 3
    assert "no vendor can be reached from this machine" in shown


def test_demo_offline_shows_the_sample_bars_without_a_request(
    bare: Run, rules: Path, vendors: VendorServer
) -> None:
    ran = bare("demo", "--offline", "--config", str(rules))
    assert ran.code == 0
    assert vendors.count() == 0
    assert "AAPL 1d  250 bars · demo (SAMPLE) · 0% from cache · split prices · USD" in ran.out
    assert "demo (SAMPLE)" in ran.out
    closes = dict(zip(SAMPLES.AAPL["date"], SAMPLES.AAPL["close"], strict=True))
    (first,) = [line for line in ran.out.splitlines() if line.startswith("2012-01-03")]
    assert f"{closes['2012-01-03']:.2f}" in first.split()
    (following,) = re.findall(r"^next: onetape (.+?) · onetape doctor$", ran.out, re.M)
    again = bare(*following.split(), "--config", str(rules))
    assert (again.code, again.err) == (0, "")
    assert "AAPL 1d  500 bars · demo (SAMPLE)" in again.out


def test_vendors_that_fail_give_way_to_the_samples(
    bare: Run, rules: Path, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.status(451))
    ran = bare("demo", "--config", str(rules))
    assert ran.code == 0
    assert "it does not serve this region (HTTP 451)" in ran.out
    assert "binance: " in ran.out and "503" in ran.out
    assert "demo (SAMPLE)" in ran.out


def test_neither_network_nor_samples_is_exit_1(
    bare: Run, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.vendors.demo.bars.PACKAGE", "no_such_package_here")
    ran = bare("demo", "--offline", "--config", str(rules))
    assert ran.code == 1
    assert install_line("demo") in " ".join(ran.err.split())


def test_demo_removes_its_cache_unless_a_folder_is_given(
    bare: Run, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    bare("demo", "--offline", "--config", str(rules))
    assert list(scratch.iterdir()) == []
    kept = tmp_path / "kept"
    bare("demo", "--offline", "--config", str(rules), "--cache-dir", str(kept))
    assert (kept / "ohlcv" / "AAPL" / "1d@demo" / "2012.csv.gz").is_file()


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_the_output_of_demo_fits_the_terminal(
    columns: str, bare: Run, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, bare("demo", "--config", str(rules)).out.splitlines())) <= int(columns)


def test_a_split_in_the_sample_data_is_not_a_finding(bare: Run) -> None:
    year = ("--start", "2005-01-03", "--end", "2005-12-30")
    assert bare("fetch", "AAPL", "1d", "--provider", "demo", *year).code == 0
    ran = bare("validate", "AAPL", "1d", "--json")
    told = [one["cause"] for one in ran.json[0]["findings"]]
    assert (ran.code, set(told) - {"return_outlier", "volume_outlier"}) == (0, set())
