"""Jobs killed at any moment: nothing is lost, and little is requested twice."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core import wiring
from src.data.core.clock import ManualClock, SystemClock
from src.data.jobs.fill.populate import populate_cache
from src.data.jobs.run.runner import AT_WORK
from tests.processes import ended, fork
from tests.vendor_server import VendorServer

FULL = bool(os.environ.get("ONETAPE_FULL"))
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
STEPS = ("30m", "1h", "2h", "4h", "1d") if FULL else ("1h", "4h")
RANGE = ("2021-01-01" if FULL else "2024-05-17", "2024-05-31")
# A kill may take the requests of all series at work, four under way and others being stored; and in a
# full run, where series have up to sixty pages, those since the last commit of each, after four.
KILLS, LOST = (50, 4 * AT_WORK) if FULL else (1, AT_WORK)
Begun = Callable[[], int]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


@pytest.fixture
def begun(rules: Path, tmp_path: Path) -> Begun:
    """Return what begins the command in a child and returns its number."""
    # A child measures limits by the real time, and must not wait for minutes of it.
    limit = "rate_limits: {requests_per_minute: 1000000}"
    rules.write_text(rules.read_text().replace("  binance: {", f"  binance: {{{limit}, "))
    words = ["populate", "--symbols", ",".join(SYMBOLS), "--timeframes", ",".join(STEPS),
             "--start-date", RANGE[0], "--end-date", RANGE[1], "--config", str(rules),
             "--cache-dir", str(tmp_path / "killed"), "-q", "--json"]  # fmt: skip

    def work() -> None:
        wiring.SystemClock = SystemClock  # a child waits for the other one by the real time
        os.environ["ONETAPE_STATE_DIR"] = str(tmp_path / "state")
        assert main(words) == 0

    return lambda: fork(work)


def bars(folder: Path) -> dict[str, list[bytes]]:
    """Return the rows of each file, without the headers of what was appended when."""
    return {
        str(path.relative_to(folder)): sorted(set(gzip.decompress(path.read_bytes()).splitlines()))
        for path in folder.rglob("*.csv.gz")
    }


@forks
def test_a_job_killed_repeatedly_stores_the_bars_of_an_undisturbed_one(
    begun: Begun, tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert populate_cache(SYMBOLS, STEPS, *RANGE, undisturbed)["failed"] == []
    needed = vendors.count()
    vendors.clear_log()
    for killed in range(KILLS):
        clock.advance(60)  # the vendor's limit is one of a minute
        child, before = begun(), vendors.count("binance")
        assert vendors.wait_for("binance", before + 1 + killed % 8)
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
    clock.advance(60)
    assert ended(begun()) == 0
    assert bars(tmp_path / "killed") == bars(undisturbed)
    assert vendors.count() <= needed + LOST * KILLS


@forks
def test_two_jobs_on_one_list_send_no_request_twice(
    begun: Begun, tmp_path: Path, vendors: VendorServer
) -> None:
    assert populate_cache(SYMBOLS, STEPS, *RANGE, tmp_path / "alone")["failed"] == []
    needed = vendors.count()
    vendors.clear_log()
    jobs = [begun(), begun()]
    assert [ended(job) for job in jobs] == [0, 0]
    assert vendors.count() == needed
    assert bars(tmp_path / "killed") == bars(tmp_path / "alone")


def test_a_job_whose_quota_ends_resumes_the_next_day(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    symbols, steps = SYMBOLS[: 3 if FULL else 2], ["1d", "4h", "1h"]
    quota = 4 * len(symbols)
    limit = f"rate_limits: {{requests_per_day: {quota}, requests_per_minute: 1000}}"
    limited = rules.read_text().replace("  binance: {", f"  binance: {{{limit}, ")
    rules.write_text(f"crypto: {{backup: []}}\n{limited}")  # none stands in for it
    whole: list[tuple[str, str]] = []
    day, fetched = 0, 1
    while fetched:
        report = populate_cache(symbols, steps, "2024-05-17", "2024-05-31", tmp_path / "cache")
        late = [r["error"] for r in report["results"] if r["error"]]
        assert all(f"limit of {quota} a day is used up" in error for error in late)
        assert day or 0 < len(late) < len(symbols) * len(steps)
        # Longer bars that were made of stored ones, as no request was left for them, are asked for later.
        whole += [
            (r["symbol"], r["timeframe"])
            for r in report["results"]
            if r["fetched"] and not r["error"]
        ]
        fetched = sum(r["fetched"] for r in report["results"])
        assert fetched or not late, "a day with requests stores no new bars"
        day += 1
        clock.advance(86_400)
    assert sorted(whole) == sorted((symbol, step) for symbol in symbols for step in steps)
