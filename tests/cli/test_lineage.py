"""``onetape bundle lineage``: exit codes, JSON, and printed text."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from src.data.bundles import lineage
from src.data.cli import main
from src.data.core.bars.client import BarsClient
from src.data.data_manager import DataManager
from src.data.errors import UnavailableError

RANGE = ("AAPL", "1d", "2023-12-20", "2024-02-09")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache out of which a run named ``seen`` has read."""
    manager = DataManager(cache_dir=tmp_path / "cache")
    with lineage("seen", folder=tmp_path / "bundles", manager=manager):
        manager.get_ohlcv(*RANGE, provider="mock")
    return tmp_path / "cache"


def run(cache: Path, *arguments: str) -> int:
    options = ("--bundles", str(cache.parent / "bundles"), "--cache-dir", str(cache))
    return main(["lineage", *arguments, *options])


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_run_is_listed_shown_and_checked(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert run(cache, "list", "--json") == 0
    (listed,) = answer(capsys)
    assert (listed["run"], listed["reads"], listed["failed"]) == ("seen", 1, 0)
    assert run(cache, "show", "seen") == 0
    shown = capsys.readouterr().out
    assert run(cache, "show", "seen", "--json") == 0
    ((_, _, _, digest),) = answer(capsys)["reads"][0]["pieces"]
    assert "AAPL 1d@mock" in shown and f" {digest[7:19]}\n" in shown
    assert run(cache, "check", "seen") == 0
    assert capsys.readouterr().out.endswith("seen: identical\n")
    assert run(cache, "check", "seen", "--as-today", "--json") == 0
    (series,) = answer(capsys)["series"]
    assert (series["state"], series["bars"]) == ("identical", 0)


def test_bars_that_are_gone_are_exit_1(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DataManager(cache_dir=cache).clear_cache("AAPL", "1d")
    assert run(cache, "check", "seen", "--json") == 1
    (series,) = answer(capsys)["series"]
    assert series["state"] == "gone"
    assert run(cache, "check", "seen") == 1
    assert capsys.readouterr().out.endswith("seen: not identical\n")


def test_vendors_that_are_down_are_no_revision(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise UnavailableError("the vendor is down")

    monkeypatch.setattr(BarsClient, "get", down)
    assert run(cache, "check", "seen", "--as-today", "--json") == 1
    (series,) = answer(capsys)["series"]
    assert (series["state"], series["reproducible"]) == ("unknown", True)
    assert "the vendor is down" in series["detail"]


def test_an_export_is_a_folder_with_a_fingerprint(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = cache.parent / "out"
    assert run(cache, "export", "seen", str(out), "--json") == 0
    first = answer(capsys)["fingerprint"]
    assert first.startswith("sha256:") and any(out.iterdir())
    assert run(cache, "export", "seen", str(out)) == 1, "a folder that is there is left as it is"
    capsys.readouterr()
    assert run(cache, "export", "seen", str(cache.parent / "again"), "--json") == 0
    assert answer(capsys)["fingerprint"] == first


@pytest.mark.parametrize("words", [["check", "nope"], ["show", "seem"], ["forget", "nope"]])
def test_an_unknown_run_is_exit_2(
    words: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cache, *words) == 2
    assert "onetape bundle lineage list" in capsys.readouterr().err


def test_a_forgotten_lineage_is_unknown(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cache, "forget", "seen") == 0
    assert run(cache, "check", "seen") == 2


def test_check_of_a_run_without_reads_exits_with_1(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lineage("idle", folder=cache.parent / "bundles", manager=DataManager(cache_dir=cache)):
        pass
    assert run(cache, "check", "idle") == 1
    told = capsys.readouterr().out
    assert "nothing was recorded" in told and told.endswith("idle: not identical\n")


@pytest.mark.filterwarnings("ignore:.*is not recorded")
def test_reads_in_other_threads_are_named(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manager = DataManager(cache_dir=cache)
    with lineage("both", folder=cache.parent / "bundles", manager=manager):
        manager.get_ohlcv(*RANGE, provider="mock")
        thread = threading.Thread(
            target=lambda: manager.get_ohlcv("MSFT", *RANGE[1:], provider="mock")
        )
        thread.start()
        thread.join()
    assert run(cache, "check", "both") == 1, "what was not recorded may have changed"
    *_, outside, verdict = capsys.readouterr().out.splitlines()
    assert outside == "not recorded, because read in other threads: MSFT 1d"
    assert verdict == "both: identical as far as recorded"
