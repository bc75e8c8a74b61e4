from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from tests.cli.conftest import Ran, Run
from tests.vendor_server import VendorServer


def about(ran: Ran, topic: str) -> list[dict[str, Any]]:
    return [check for check in ran.json["checks"] if check["name"].partition(" ")[2] == topic]


def test_a_machine_on_which_all_works(run: Run, cache: Path) -> None:
    cache.rmdir()
    ran = run("doctor", "--json")
    assert ran.code == 0
    assert ran.json["ok"] is True
    (where,) = about(ran, "cache")
    assert where["sentence"].startswith(f"{cache} (from the argument)")
    assert "GB free" in where["sentence"]
    assert about(ran, "binance")[-1]["sentence"].startswith("reached in ")
    assert not cache.exists(), "looking makes nothing"
    shown = run("doctor")
    assert shown.code == 0
    assert "everything works" in shown.out


def test_the_words_for_a_full_look(run: Run, cache: Path) -> None:
    assert run("fetch", "AAPL", "1d", "--bars", "5").code == 0
    (found,) = about(run("doctor", "--no-network", "--json", "--full"), "integrity")
    assert (found["level"], found["sentence"]) == (
        "ok",
        "1 bar file, all read, nothing in quarantine",
    )
    path = next(cache.rglob("2024.csv.gz"))
    path.write_bytes(path.read_bytes()[:-3])
    for file in path.parent.iterdir():
        os.utime(file, (1e9, 1e9))
    ran = run("doctor", "--no-network", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert about(ran, "integrity")[0]["level"] == "fault"
    assert run("doctor", "--full", "--watch").code == 2


def test_a_missing_key_is_named_once(
    bare: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "your_api_key")
    shown = bare("doctor", "--no-network", "--cache-dir", str(cache))
    lines = shown.out.splitlines()
    for variable, vendor in (("FMP_API_KEY", "fmp"), ("EODHD_API_KEY", "eodhd")):
        (line,) = [line for line in lines if variable in line]
        assert line.split()[1] == vendor, "in the section of the keys"
        assert [line for line in lines if f" {vendor} " in line] == [line]
    assert "FMP_API_KEY not set: the vendor is in the rules" in shown.out
    # A placeholder is a fault: it is told where it belongs, and once more at the end.
    assert [line.split()[0] for line in lines if " tiingo " in line] == ["✗", "✗"]


def test_doctor_ends_with_a_list_of_faults_to_fix(
    bare: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "your_api_key")
    path = tmp_path / "mine.yaml"
    path.write_text("cache: {private: true}\n")
    shown = bare("doctor", "--no-network", "--cache-dir", str(cache), "--config", str(path))
    found = bare("doctor", "--no-network", "--json", "--cache-dir", str(cache))
    assert shown.code == 1
    head, _, tail = shown.out.partition("to fix:\n")
    last = [line for line in tail.splitlines() if line.lstrip().startswith("✗")]
    assert head.rstrip().endswith(f"{len(last)} thing" + ("" if len(last) == 1 else "s"))
    assert len(last) >= len([c for c in found.json["checks"] if c["level"] == "fault"]) >= 1
    assert "TIINGO_API_KEY: the value is a placeholder" in tail and "→ set the real key" in tail
    assert tail.rstrip().splitlines()[-1].strip(), "nothing comes after them"


def test_vendors_that_cannot_be_reached(
    bare: Run, vendors: VendorServer, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"providers:\n  binance: {{base_url: '{vendors.refused_url('binance')}'}}\n"
        f"  coingecko: {{base_url: '{vendors.refused_url('coingecko')}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}'}}\n"
    )
    ran = bare("doctor", "--json", "--config", str(path), "--cache-dir", str(cache))
    assert ran.code == 1
    (binance,) = [c for c in about(ran, "binance") if c["name"].startswith("vendors ")]
    assert binance["level"] == "fault"
    assert "no connection" in binance["sentence"]
    assert "providers.binance.base_url" in binance["remedy"]
    assert about(ran, "yahoo")[0]["level"] == "ok"
    assert (
        bare("doctor", "--no-network", "--config", str(path), "--cache-dir", str(cache)).code == 0
    )


def test_a_broken_rules_file_is_a_finding_with_all_its_mistakes(
    bare: Run, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "config" / "data" / "provider_rules.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("crypto:\n  primry: binance\n  backup: [yahooo]\nversion: 1\nversion: 1\n")
    ran = bare("doctor", "--no-network", "--json", "--cache-dir", str(cache))
    assert ran.code == 1
    said = " ".join(check["sentence"] for check in about(ran, "rules"))
    assert "3 mistakes" in said
    assert all(text in said for text in ("primry", "yahooo", "version"))
    assert about(ran, "yahoo")[-1]["sentence"].startswith("usable; its network connection")
    shown = bare("doctor", "--no-network", "--cache-dir", str(cache))
    assert "primry" in shown.out
    assert "3 things to fix" in shown.out


def test_a_rules_file_that_is_not_there(bare: Run, cache: Path) -> None:
    ran = bare(
        "doctor", "--no-network", "--json", "--config", "none.yaml", "--cache-dir", str(cache)
    )
    assert ran.code == 1
    (settings,) = about(ran, "settings")
    assert "does not exist" in settings["sentence"]
    assert about(ran, "cache")[0]["level"] == "ok"


def test_the_environment_is_looked_at(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BINANCE_API_KEY=your_api_key\n")
    monkeypatch.setenv("BINANCE_API_KEY", "your_api_key")
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"yahooo": {"requests_per_minute": 5}}')
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", "plenty")
    ran = run("doctor", "--no-network", "--json")
    assert ran.code == 1
    (env,) = about(ran, ".env")
    assert "not loaded automatically" in env["sentence"]
    assert "set -a" in env["remedy"]
    (key,) = [
        c for c in about(ran, "binance") if c["name"].startswith("keys ") and c["level"] == "fault"
    ]
    assert (
        key["sentence"]
        == "BINANCE_API_KEY: the value is a placeholder from the documentation, not a key"
    )
    (limits,) = about(ran, "environment")
    assert "did you mean yahoo?" in limits["sentence"]
    (size,) = about(ran, "settings")
    assert "'plenty'" in size["sentence"]
    assert "your_api_key" not in ran.out


def test_where_the_cache_comes_from(
    bare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        return str(about(bare("doctor", "--no-network", "--json"), "cache")[0]["sentence"])

    assert "(from the user's cache folder)" in said()
    (tmp_path / "data-cache").mkdir()
    assert "(from ./data-cache)" in said()
    monkeypatch.setenv("DATA_CACHE_DIR", "c:/data-cache")
    ran = bare("doctor", "--no-network", "--json")
    assert "(from DATA_CACHE_DIR)" in about(ran, "cache")[0]["sentence"]
    assert "colon" in about(ran, "cache name")[0]["sentence"]


def test_a_cache_that_cannot_be_written(bare: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        ran = bare("doctor", "--no-network", "--json", "--cache-dir", str(folder))
        assert ran.code == 1
        (where,) = about(ran, "cache")
        assert "cannot be written" in where["sentence"]
        assert where["remedy"]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_output_of_doctor_fits_the_terminal(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, run("doctor").out.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    "mode, version, code, level, said",
    [
        ("http", "9.1", 0, "note",
         "alpaca-py 9.1, not used: Alpaca is queried over plain HTTP (transport: http)"),
        ("sdk", "9.1", 0, "ok", "alpaca-py 9.1: sends Alpaca's requests (transport: sdk)"),
        ("sdk", "", 1, "fault", "transport: sdk needs alpaca-py, which is not installed"),
    ],
)  # fmt: skip
def test_doctor_reports_the_effect_of_a_vendors_package(
    bare: Run,
    mode: str,
    version: str,
    code: int,
    level: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.data.jobs.vendors.extras.installed", lambda _: (version, ""))
    path = tmp_path / "mine.yaml"
    path.write_text(f"providers:\n  alpaca: {{transport: {mode}}}\n  fmp: {{transport: sdk}}\n")
    asked = ("--config", str(path), "--cache-dir", str(tmp_path / "cache"))
    ran = bare("doctor", "--no-network", "--json", *asked)
    assert ran.code == code
    (found,) = about(ran, "extra alpaca")
    assert (found["name"], found["level"], found["sentence"]) == (
        "installation extra alpaca",
        level,
        said,
    )
    assert any("no effect on fmp" in check["sentence"] for check in about(ran, "rules"))
    assert said in " ".join(bare("doctor", "--no-network", *asked).out.split())
    assert said in " ".join(bare("providers", "alpaca", "--config", str(path)).out.split())
    assert said in bare("providers", "alpaca", "--json", "--config", str(path)).json["package"]


def test_history_that_will_be_lost(
    run: Run, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    run("fetch", "AAPL", "5m", "--start", "2024-06-10", "--end", "2024-06-11")
    assert "lose history" not in run("doctor", "--no-network").out
    clock.advance(50 * 86_400)
    said = " ".join(run("doctor", "--no-network").out.split())
    assert (
        "1 series will lose history, first AAPL 5m: the history at yahoo goes back 59 days" in said
    )
    assert "onetape sync" in said
