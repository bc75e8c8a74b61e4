"""``onetape populate --fundamentals`` on cached fundamentals with made-up numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from src.data.cli.populate import main_periodic, main_refresh
from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import ManualClock
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.model.time.instant import DAY_MS
from tests.cli.conftest import Run
from tests.core.fundamentals.conftest import asking

REFRESH = ("populate", "--fundamentals")


@pytest.fixture(autouse=True)
def held(cache: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one vendor, which has no key here, said of two companies."""
    (rules.parent / "fundamentals.json").write_text(json.dumps(asking("fmp")))
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    kept = FundamentalsCache(cache, clock=clock)
    for symbol, days in (("AAPL", 1), ("MSFT", 40)):
        for kind in ("profile", "ratios"):
            facts = {"beta": Fact(1.5, "ratio")}
            at_ms = clock.now_ms() - days * DAY_MS
            kept.keep(Snapshot("fmp", symbol, at_ms, facts, data_types=(kind,)))


def test_a_dry_run_of_refresh_lists_the_oldest_first(run: Run) -> None:
    ran = run(*REFRESH, "--dry-run")
    assert ran.code == 1  # no vendor could be asked: there is no key
    assert "skipped without a key: fmp (FMP_API_KEY)" in " ".join(ran.out.split())
    assert (ran.err, "0 requests in total" in ran.out) == ("", True)
    assert [line.split() for line in ran.out.splitlines()[2:4]] == [
        ["MSFT", "40"], ["AAPL", "1"],
    ]  # fmt: skip
    chosen = run(*REFRESH, "--dry-run", "--json", "--chunk-fraction", "0.5", "--symbols",
                 "AAPL,MSFT,KO").json["selected"]  # fmt: skip
    assert [one["symbol"] for one in chosen] == ["KO", "MSFT"]


def test_symbols_that_could_not_be_refreshed_are_reported(run: Run) -> None:
    ran = run(*REFRESH, "--data-types", "profile")
    assert ran.code == 1
    assert "1/2 MSFT profile" in ran.err
    assert "MSFT profile: no vendor has profile for MSFT: none could be queried" in ran.out
    assert "1 of 2 symbols refreshed" in ran.out
    fresh = run(*REFRESH, "--symbols", "AAPL", "--data-types", "profile,ratios")
    assert fresh.code == 0
    assert "profile 1, ratios 1" in fresh.out


def test_replaced_copies_are_cleaned_up(run: Run, cache: Path) -> None:
    assert "0 replaced copies deleted" in run(*REFRESH, "--cleanup-only").out
    told = run(*REFRESH, "--cleanup-only", "--json", "--dry-run").json
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
    ran = run(*REFRESH, *words)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--fundamentals", "--timeframes", "1d"], "--timeframes does not apply to --fundamentals"),
        (["--fundamentals", "--start", "2024-01-01"], "--start does not apply to --fundamentals"),
        (["--symbols", "AAPL", "--shuffle"], "--shuffle needs --fundamentals"),
        (["--symbols", "AAPL", "--max-symbols", "3"], "--max-symbols needs --fundamentals"),
    ],
)
def test_options_of_the_other_job_are_refused(run: Run, words: list[str], said: str) -> None:
    ran = run("populate", *words)
    assert (ran.code, said in ran.err) == (2, True)


def test_older_names_take_the_same_options(
    cache: Path, rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--cache-dir", str(cache), "--config", str(rules), "--json"]
    (tmp_path / "mine.txt").write_text("AAPL\n")
    assert main_refresh(["--symbols-file", str(tmp_path / "mine.txt"), "--stale-fraction", "0.9",
                 "--dry-run", *places]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["selected"] == []
    assert main_periodic(["--symbols", "AAPL", "--max-symbols", "1", *places]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["results"][0]["data_types"]) == {"ratios", "profile"}
