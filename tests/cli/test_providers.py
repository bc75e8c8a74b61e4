from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from src.data.core.registry import SERVED, VENDORS
from src.data.core.vendors.ccxt.bars import member_class
from src.data.core.vendors.ccxt.carrier import facts_of
from tests.cli.conftest import Run
from tests.core.cache.counts import some

ROOT = Path(__file__).parents[2]


def test_vendors_and_routes_for_machines(run: Run) -> None:
    told = run("providers", "--json").json
    vendors = {v["name"]: v for v in told["providers"]}
    assert vendors["binance"]["ready"]
    assert vendors["binance"]["per_minute"] == 1200
    assert vendors["yahoo"]["depth_days"]["1m"] == 29
    assert vendors["local"]["why_not"] == "no folder is set for the vendor `local`"
    assert (
        vendors["local"]["advice"]
        == "set providers.local.folder in a rules file, and start with --config FILE"
    )
    routes = {r["rule"]: r for r in told["routes"]}
    assert routes["crypto"]["ready"] == ["binance", "yahoo"]
    assert routes["stock_weekly_monthly"]["vendors"] == ["tiingo", "yahoo", "fmp"]
    assert routes["stock_weekly_monthly"]["ready"] == ["yahoo"]


def test_vendors_and_routes_for_people(run: Run, cache: Path) -> None:
    cache.rmdir()
    out = run("providers").out
    assert "(tiingo) → yahoo → (fmp)" in out
    assert "no folder is set for the vendor `local`" in out
    assert "→ set providers.local.folder" in out
    assert "only 1m 29 days back" in " ".join(out.split())
    assert not cache.exists(), "looking makes nothing"


def test_each_vendor_is_shown_with_its_limit_and_its_need_of_a_key(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = [line.split() for line in run("providers").out.splitlines()]
    assert ["binance", "ready", "raw", "1,200", "optional"] in rows
    assert ["mock", "ready", "split", "-", "none"] in rows, "it has no limit"
    [tiingo] = [row for row in rows if row[:3] == ["tiingo", "Tiingo", "needs"]]
    assert tiingo[-1] == "needed"


def test_a_vendor_that_cannot_be_queried_is_shown_in_brackets(bare: Run, tmp_path: Path) -> None:
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
def test_the_output_of_providers_fits_the_terminal(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, run("providers").out.splitlines())) <= int(columns)


def test_the_columns_of_providers_are_keys_of_its_document(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines, document = run("providers").out.splitlines(), run("providers", "--json").json
    for first, rows in ("name", document["providers"]), ("rule", document["routes"]):
        (head,) = (line for line in lines if line.startswith(f"{first} "))
        names = [name.replace(" ", "_") for name in re.split(r"  +", head.strip())]
        assert set(names) <= set(rows[0]), names


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


@pytest.mark.skipif(find_spec("ccxt") is None, reason="ccxt is not installed")
def test_exchanges_are_counted_and_no_number_is_written_by_hand(run: Run) -> None:
    import ccxt

    told = run("providers", "ccxt", "--json").json
    listed = {member["name"] for member in told["members"]}
    for name in some(ccxt.exchanges, 15):
        has_bars = getattr(ccxt, name)().has.get("fetchOHLCV") is True
        assert (f"ccxt:{name}" in listed) == has_bars, name
    assert told["count"] == len(listed) == len(told["members"])
    assert listed <= {f"ccxt:{name}" for name in ccxt.exchanges}
    (kraken,) = (m for m in told["members"] if m["name"] == "ccxt:kraken")
    assert (kraken["title"], "1h" in kraken["timeframes"]) == ("Kraken (ccxt)", True)
    out = run("providers", "CCXT").out
    assert f"{len(listed)} exchanges" in out and "ccxt:kraken" in out
    assert "hundred" not in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "words, why",
    [
        (["ccxt", "--matrix"], "vendor ccxt cannot be combined"),
        (["yahoo", "--probe"], "vendor yahoo cannot be combined"),
        (["yaho"], "did you mean 'yahoo'?"),
        (["ccxt:nobody"], "ccxt has no exchange named 'nobody'"),
        (["--timeout", "3"], "--timeout needs --probe"),
    ],
)
def test_an_invalid_provider_name_is_refused(run: Run, words: list[str], why: str) -> None:
    ran = run("providers", *words)
    assert (ran.code, why in ran.err) == (2, True), ran.err


def test_all_about_one_vendor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    ran = run("providers", "BNC")
    assert ran.code == 0
    said = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert said[0] == "binance Binance"
    assert "state ready" in said and "live streams bars" in said
    assert "now ready, 1,200 of 1,200 a minute left" in said
    assert "rules crypto (1 of 2)" in said
    told = run("providers", "fmp", "--json").json
    assert (told["ready"], told["advice"]) == (False, "set FMP_API_KEY")
    assert (told["fundamentals"], told["health"]) == (["profile", "ratios", "statements"], "")
    assert told["serves"][0]["timeframe"] == "1m"


@pytest.mark.parametrize("name", SERVED)
def test_every_vendor_can_be_shown(run: Run, name: str) -> None:
    if not VENDORS[name].is_family:
        assert run("providers", name).out.startswith(f"{name}  ")


def test_an_unknown_provider_lists_each_accepted_name_once(run: Run) -> None:
    known = run("providers", "nobody").err.partition("known: ")[2]
    listed = known.partition(";")[0].split()
    assert len(listed) == len({name.rstrip(",") for name in listed}) == len(SERVED)


def test_the_error_of_an_empty_replay_folder_gives_the_reason(run: Run) -> None:
    ran = run("providers", "replay:nowhere")
    assert (ran.code, "nowhere contains recorded answers from no vendor" in ran.err) == (2, True)


def test_a_family_whose_package_is_missing_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    member_class.cache_clear()
    facts_of.cache_clear()
    for name in ("ccxt", "ccxt:kraken"):
        ran = run("providers", name)
        assert ran.code != 0
        assert "[ccxt]" in ran.err


def test_sample_bars_are_marked_as_samples(bare: Run, rules: Path) -> None:
    told = bare("providers", "--json", "--config", str(rules)).json["providers"]
    assert {"demo"} <= {one["name"] for one in told if one["sample"]}
    shown = bare("providers", "--config", str(rules)).out
    assert "sample bars, for calls that name it: --provider demo" in " ".join(shown.split())
    alone = " ".join(bare("providers", "demo", "--config", str(rules)).out.split())
    assert "Sample bars (extra demo)" in alone and "none; these are historical bars" in alone
