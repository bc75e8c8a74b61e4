"""Timeouts that callers set for jobs which query vendors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.cli.demo import SAMPLE_QUESTION, ask
from src.data.core.bars.client import BarsClient
from src.data.core.clock import ManualClock
from src.data.core.fundamentals.fetch import FundamentalsSupply
from src.data.core.fundamentals.request import Wish
from src.data.core.fundamentals.service import FundamentalsService
from src.data.core.model.request.query import BarsQuery
from src.data.core.net.calls.deadline import Deadline, current_deadline
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.doors.compat import populator as older
from src.data.doors.compat.populator import CachePopulator
from src.data.errors import DataError, NoDataError, QueryError
from src.data.jobs.fill.populate import BackfillReport, Job
from src.data.jobs.fill.refresh_fundamentals import (
    Refresh,
    periodic_refresh,
    refresh_fundamentals,
    refresh_symbol_fundamentals,
)
from src.data.jobs.validation import verify as verification
from src.data.jobs.validation.verify import VerifyQuestion
from src.data.jobs.vendors.key_probe import probe
from tests.vendor_server import VendorServer

pytestmark = pytest.mark.usefixtures("rules")
Times = list[float | None]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    """Return the timeout of each request for fundamentals, without querying a vendor."""
    noted: Times = []

    def find(self: FundamentalsService, symbol: str, wish: Wish) -> dict[str, Any]:
        noted.append(wish.timeout)
        return {}

    def ask(
        self: FundamentalsSupply, vendors: list[str], question: Any, *, must_keep: bool
    ) -> dict[str, DataError]:
        noted.append(math.ceil(current_deadline(self.clock).left_s()))
        return {vendor: DataError("no vendor is asked") for vendor in vendors}

    monkeypatch.setattr(FundamentalsService, "find", find)
    monkeypatch.setattr(FundamentalsSupply, "ask", ask)
    return noted


def test_each_request_for_fundamentals_has_the_timeout_of_the_job(
    tmp_path: Path, times: Times
) -> None:
    wanted = Refresh(["AAPL", "KO"], ("profile", "ratios"))
    refresh_fundamentals(wanted, tmp_path / "cache", timeout=7)
    assert times == [7] * 4  # of one vendor, as the others have no key
    periodic_refresh(["AAPL"], tmp_path / "cache", timeout=8)
    assert times[4:] == [8] * 2
    refresh_symbol_fundamentals(DataManager(tmp_path / "cache"), "KO", ["profile"], timeout=9)
    assert times[6:] == [9.0]
    refresh_fundamentals(wanted, tmp_path / "cache")
    assert times[7:] == [600] * 4  # jobs.timeout_s of the rules


@pytest.mark.usefixtures("times")
@pytest.mark.parametrize(
    "ask",
    [
        lambda folder: refresh_fundamentals(Refresh(["KO"]), folder, timeout=0),
        lambda folder: refresh_symbol_fundamentals(DataManager(folder), "KO", ["x"], timeout=-1),
        lambda folder: verification.verify("BTCUSDT", "1h", timeout=True, cache_dir=folder),
        lambda folder: CachePopulator(folder).populate_ticker("BTCUSDT", ["1h"], timeout=0),
    ],
    ids=["refresh", "symbol", "verify", "populator"],
)
def test_an_invalid_timeout_of_a_job_is_refused_before_any_request(
    ask: Callable[[Path], object], tmp_path: Path, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError, match="use a number of seconds above 0"):
        ask(tmp_path / "cache")
    assert vendors.count() == 0


def test_a_verification_has_one_deadline_for_the_whole_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[Deadline] = []

    def compare(services: Services, question: VerifyQuestion) -> None:
        deadlines.append(current_deadline(services.clock))

    monkeypatch.setattr(verification, "verify_with", compare)
    for timeout in (7, None):
        verification.verify("BTCUSDT", "1h", timeout=timeout, cache_dir=tmp_path / "cache")
    assert [deadline.is_fixed for deadline in deadlines] == [True, False]
    assert deadlines[0].what == "the time for this call (7 seconds)"


def test_each_request_of_a_key_probe_has_the_full_timeout(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    def fetch(*_: object) -> None:
        left.append(current_deadline(clock).left_s())
        clock.advance(5)
        raise NoDataError("nothing of that time")

    monkeypatch.setattr(BinanceDataDownloader, "fetch", fetch)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    found = list(probe(manager.provider_selector, "binance", clock, timeout=7))
    assert left == [7.0] * len(found)
    assert len(found) > 1


def test_a_populator_passes_its_timeout_to_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def fill(client: object, job: Job, listener: object = None) -> BackfillReport:
        jobs.append(job)
        return BackfillReport()

    monkeypatch.setattr(older, "fill", fill)
    populator = CachePopulator(tmp_path / "cache")
    populator.populate_cache(["BTCUSDT"], ["1h"], timeout=7)
    populator.populate_ticker("BTCUSDT", ["1h"], timeout=8)
    populator.populate_missing_data("BTCUSDT", {"1h": [2024], "1d": []}, timeout=9)
    populator.populate_cache(["BTCUSDT"], ["1h"])
    assert [job.timeout_s for job in jobs] == [7, 8, 9, 600]


def test_each_call_of_a_demonstration_has_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float | None] = []

    def get(_: BarsClient, query: BarsQuery) -> None:
        times.append(query.timeout_s)

    monkeypatch.setattr(BarsClient, "get", get)
    assert ask(build(tmp_path), SAMPLE_QUESTION, timeout=7).error is None
    assert times == [7, 7]
