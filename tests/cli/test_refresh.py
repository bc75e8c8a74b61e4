"""``onetape refresh`` on cached fundamentals with made-up numbers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from src.data.cache.fundamentals_cache import FundamentalsCache
from src.data.cli import refresh
from src.data.cli.refresh import main, main_periodic
from src.data.clock import ManualClock
from src.data.jobs.refresh_fundamentals import Refresh
from src.data.jobs.refresh_plan import Choice
from src.data.model.fundamentals import Fact, Snapshot
from src.data.model.instant import DAY_MS
from tests.cli.conftest import Run
from tests.fundamentals.conftest import asking


@pytest.fixture(autouse=True)
def held(cache: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one vendor, which has no key here, said of two companies."""
    (rules.parent / "fundamentals.json").write_text(json.dumps(asking("fmp")))
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    monkeypatch.setattr("src.data.wiring.SystemClock", lambda: clock)
    kept = FundamentalsCache(cache, clock=clock)
    for symbol, days in (("AAPL", 1), ("MSFT", 40)):
        for kind in ("profile", "ratios"):
            facts = {"beta": Fact(1.5, "ratio")}
            at_ms = clock.now_ms() - days * DAY_MS
            kept.keep(Snapshot("fmp", symbol, at_ms, facts, data_types=(kind,)))


def test_a_dry_run_of_refresh_lists_the_oldest_first(run: Run) -> None:
    ran = run("refresh", "--dry-run")
    assert ran.code == 1  # no vendor could be asked: there is no key
    assert "skipped without a key: fmp (FMP_API_KEY)" in " ".join(ran.out.split())
    assert (ran.err, "0 requests in total" in ran.out) == ("", True)
    assert [line.split() for line in ran.out.splitlines()[2:4]] == [
        ["MSFT", "40.0d"], ["AAPL", "1.0d"],
    ]  # fmt: skip
    chosen = run("refresh", "--dry-run", "--json", "--chunk-fraction", "0.5", "--symbols",
                 "AAPL,MSFT,KO").json["selected"]  # fmt: skip
    assert [one["symbol"] for one in chosen] == ["KO", "MSFT"]


def test_symbols_that_could_not_be_refreshed_are_reported(run: Run) -> None:
    ran = run("refresh", "--data-types", "profile")
    assert ran.code == 1
    assert "1/2 MSFT profile" in ran.err
    assert "MSFT profile: no vendor has profile for MSFT: none could be queried" in ran.out
    assert "1 of 2 symbols refreshed" in ran.out
    fresh = run("refresh", "--symbols", "AAPL", "--data-types", "profile,ratios")
    assert fresh.code == 0
    assert "profile 1, ratios 1" in fresh.out


def test_replaced_copies_are_cleaned_up(run: Run, cache: Path) -> None:
    assert "0 replaced copies deleted" in run("refresh", "--cleanup-only").out
    told = run("refresh", "--cleanup-only", "--json", "--dry-run").json
    assert told == {"removed": [], "total_removed_files": 0, "dry_run": True}


@pytest.mark.parametrize(
    "words, said",
    [
        (["--chunk-fraction", "1.5"], "chunk_fraction is 1.5"),
        (["--data-types", "nope"], "unknown data type 'nope'"),
        (["--symbols-file", "nowhere.txt"], "nowhere.txt cannot be read: No such file"),
        (["--symbols-file", "/"], "/ cannot be read: Is a directory"),
        (["--symbols-file", "/dev/zero"], "/dev/zero is too large; the limit is 10,000,000"),
        (["--symbols-file", sys.executable], "is not UTF-8 text"),
    ],
)
def test_a_wrong_question_is_refused(run: Run, words: list[str], said: str) -> None:
    ran = run("refresh", *words)
    assert ran.code == 2
    assert said in ran.err


def test_refresh_without_options_uses_the_defaults_of_the_job() -> None:
    usual, periodic = argparse.ArgumentParser(), argparse.ArgumentParser()
    refresh.configure(usual)
    refresh.configure_periodic(periodic)
    assert refresh.wanted(usual.parse_args([])) == Refresh(data_types=[*Refresh().data_types])
    fewer = refresh.wanted(periodic.parse_args([]))
    assert fewer == Refresh(data_types=["ratios", "profile"], choice=Choice(max_symbols=50))


def test_older_names_take_the_same_options(
    cache: Path, rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--cache-dir", str(cache), "--config", str(rules), "--json"]
    (tmp_path / "mine.txt").write_text("AAPL\n")
    assert main(["--symbols-file", str(tmp_path / "mine.txt"), "--stale-fraction", "0.9",
                 "--dry-run", *places]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["selected"] == []
    assert main_periodic(["--symbols", "AAPL", "--max-symbols", "1", *places]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["results"][0]["data_types"]) == {"ratios", "profile"}
    with pytest.raises(SystemExit):
        main_periodic(["--chunk-fraction", "0.5"])
