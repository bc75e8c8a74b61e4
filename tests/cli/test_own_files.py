"""Jobs and reports about a user's own files: nothing is cached, so nothing is to be filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

DAYS = [f"2024-05-{day:02d}" for day in range(6, 11)]
WHERE = "your own files are read when requested"


@pytest.fixture
def own(bare: Run, rules: Path, cache: Path, tmp_path: Path) -> Run:
    """Return a runner of commands whose rules name a folder with a file of one share's days."""
    (tmp_path / "own").mkdir()
    rows = "".join(f"{day},1,2,1,2,3\n" for day in DAYS if day != "2024-05-08")
    (tmp_path / "own" / "MSFT_1d.csv").write_text(f"timestamp,open,high,low,close,volume\n{rows}")
    own = tmp_path / "own.yaml"
    own.write_text(
        "stock_daily: {primary: local, backup: [], timeframes: [1d]}\n"
        + rules.read_text()
        + f"  local: {{folder: '{tmp_path / 'own'}', adjustment: split, unit: USD, dense: true}}\n"
    )
    return lambda *words: bare(*words, "--config", str(own), "--cache-dir", str(cache))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("populate", "--provider", "local"), WHERE),
        (("populate", "--symbols", "MSFT", "--provider", "local"), WHERE),
        (("sync", "--provider", "local"), WHERE),
        (("sync",), f"no matching series is cached; {WHERE}"),
        (("sync", "MSFT"), f"no matching series is cached; {WHERE}"),
        (("populate", "--provider", "yahoo"), "queries the vendors in the rules"),
    ],
)
def test_a_job_says_that_own_files_are_read_when_requested(
    own: Run, words: tuple[str, ...], said: str
) -> None:
    ran = own(*words)
    assert ran.code != 0
    assert said in " ".join(ran.err.split())


def test_populate_reports_bars_of_own_files_as_read_and_none_as_new(own: Run, cache: Path) -> None:
    asked = ("--symbols", "MSFT", "--timeframes", "1d", "--start", DAYS[0], "--end", DAYS[1])
    ran = own("populate", *asked, "--json")
    (result,) = ran.json["results"]
    assert (result["rows"], result["fetched"], ran.code) == (2, 0, 0)
    assert "your own files" in result["note"]
    assert not list(cache.glob("ohlcv/*/1d*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gaps", "MSFT", "1d"), "2024-05-08"),  # the day that the file lacks
        (("validate", "MSFT", "1d"), "4 bars"),
    ],
)
def test_a_report_on_a_series_reads_the_own_file_first(
    own: Run, words: tuple[str, ...], said: str
) -> None:
    assert said in own(*words).out
