"""Tests listing and delisting dates: learned, stored, shown, and used to avoid requests."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.cache.store import BarStore, Commit
from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import describe
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.lifetime import Bound, Lifetime
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.model.words.caller import collecting_warnings
from src.data.data_manager import DataManager
from src.data.errors import (
    EntitlementError,
    IncompleteDataError,
    IncompleteDataWarning,
    SeriesEndedWarning,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer

from .fixed_vendor import FixedVendor, Market, every
from .oracle import assert_true
from .scripted_vendor import ScriptedVendor, beside, gaps, provenance, route_to

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

DAY_S = 24 * 3600
LISTED, ENDED = "2024-06-03T10:00:00Z", "2022-05-13T01:00:00Z"
Make = Callable[[], DataManager]


@pytest.fixture
def make(
    tmp_path: Path,
    rules: Path,
    clock: ManualClock,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Return a maker of managers with a second venue, because one vendor proves no listing."""

    def made() -> DataManager:
        manager = DataManager(tmp_path / "cache", rules, clock=clock)
        beside(monkeypatch, manager, ScriptedVendor(vendors))
        return manager

    return made


Look = Callable[[DataManager], None]


@pytest.fixture(scope="module")
def _looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache to be copied; the beginning of one coin and the end of another were looked at."""
    folder, clock = tmp_path_factory.mktemp("looked"), ManualClock(WEDNESDAY)
    with (
        pytest.MonkeyPatch.context() as patch, VendorServer(clock) as vendors,
        warnings.catch_warnings(),
    ):  # fmt: skip
        warnings.simplefilter("ignore", IncompleteDataWarning)
        patch.setenv("ONETAPE_STATE_DIR", str(folder / "state"))
        own = {"base_url": vendors.base_url("binance"), "transport": "http"}
        rules = {"crypto": {"backup": []}, "providers": {"binance": own}}
        (folder / "rules.yaml").write_text(json.dumps(rules))
        manager = DataManager(folder / "cache", folder / "rules.yaml", clock=clock)
        beside(patch, manager, ScriptedVendor(vendors))
        manager.get_ohlcv("NEWUSDT", "1h", "2024-06-01", "2024-06-04")
        manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10")
    return folder / "cache"


@pytest.fixture
def look_at_both(_looked: Path) -> Look:
    """Return a function that copies that cache to a manager without earlier requests."""

    def look(manager: DataManager) -> None:
        shutil.copytree(_looked, manager.cache.cache_dir, dirs_exist_ok=True)

    return look


def test_the_time_before_a_listing_is_not_requested_again(
    manager: DataManager, make: Make, vendors: VendorServer, look_at_both: Look
) -> None:
    look_at_both(manager)
    vendors.clear_log()
    for one in (manager, make()):
        frame = one.get_ohlcv("NEWUSDT", "1h", "2021-03-01", "2021-09-30", strict=True)
        assert frame.empty
        assert gaps(frame) == [
            ("2021-03-01T00:00:00", "2021-10-01T00:00:00", "before the first bar")
        ]
        assert provenance(frame)["listed"] == LISTED
        plan = one.plan("NEWUSDT", "1h", "2020-01-01", "2020-12-31")
        assert plan.requests == 0
    assert len(manager.get_ohlcv("NEWUSDT", "1h", "2015-01-01", "2024-06-04", strict=True)) == 38
    assert vendors.count() == 0


def test_the_time_after_a_delisting_is_not_requested_again(
    manager: DataManager, make: Make, vendors: VendorServer, clock: ManualClock, look_at_both: Look
) -> None:
    look_at_both(manager)
    vendors.clear_log()
    for one in (manager, make()):
        frame = one.get_ohlcv("OLDUSDT", "1h", "2022-05-01T00:00:00", "2024-06-12")
        assert vendors.count("binance") == 1, (
            "the part of the time before that was not requested yet"
        )
        assert frame.index[-1].isoformat() == "2022-05-13T00:00:00"
        assert gaps(frame)[-1][2] == "after the last bar"
        assert provenance(frame)["complete"]
        assert (provenance(frame)["ended"], provenance(frame)["delisted"]) == (ENDED, ENDED)
        assert provenance(frame)["problems"] == []
        clock.advance(3600)


def test_the_last_bar_of_a_delisted_symbol_is_verified_again_after_weeks(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, look_at_both: Look
) -> None:
    look_at_both(manager)  # 761 days of nothing
    vendors.clear_log()
    bounds = ("OLDUSDT", "1h", "2023-01-01", "2023-01-05")
    for days, requests in [(25, 0), (1, 1)]:
        clock.advance(days * DAY_S)
        assert manager.get_ohlcv(*bounds).empty
        assert vendors.count("binance") == requests


def test_bars_that_arrive_after_a_delisting_remove_its_date(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, look_at_both: Look
) -> None:
    look_at_both(manager)
    vendors.truth.change("OLDUSDT", delisted="")
    clock.advance(26 * DAY_S)
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2023-01-01", "2023-01-05")
    assert_true(frame, vendors, clock, "OLDUSDT", "1h", "2023-01-01", "2023-01-06")
    assert "delisted" not in provenance(frame)
    later = manager.get_ohlcv("OLDUSDT", "1h", "2024-06-01", "2024-06-02")
    assert_true(later, vendors, clock, "OLDUSDT", "1h", "2024-06-01", "2024-06-03")


@pytest.mark.parametrize("symbol", ["NEWUSDT", "OLDUSDT"])
def test_force_refresh_requests_time_outside_a_listing(
    manager: DataManager, vendors: VendorServer, symbol: str, look_at_both: Look
) -> None:
    look_at_both(manager)
    vendors.clear_log()
    year = 2021 if symbol == "NEWUSDT" else 2023
    manager.get_ohlcv(symbol, "1h", f"{year}-01-01", f"{year}-01-02", force_refresh=True)
    assert vendors.count("binance") >= 1


@pytest.mark.parametrize(
    ("ended", "is_end"), [("2024-04-28T14:00", True), ("2024-04-28T15:00", False)]
)
def test_a_short_empty_span_is_not_a_delisting(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, ended: str, is_end: bool
) -> None:
    vendors.truth.change("OLDUSDT", delisted=ended)
    assert ("delisted" in provenance(manager.get_ohlcv("OLDUSDT", "1h", "2024-04-20"))) is is_end
    vendors.clear_log()
    clock.advance(DAY_S)
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2024-06-12T20:00:00", "2024-06-13T10:00:00")
    assert frame.empty
    assert vendors.count("binance") == (0 if is_end else 1)


def test_bars_after_a_pause_taken_for_a_delisting_are_fetched_again(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.change("OLDUSDT", delisted="", outages=(("2024-04-20", "2024-06-12T18:00"),))
    halted = provenance(manager.get_ohlcv("OLDUSDT", "1h", "2024-04-18", strict=True))
    assert halted["ended"] == "2024-04-20T00:00:00Z"
    clock.advance(2 * DAY_S)  # more than a thirtieth of it
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2024-04-18")
    assert_true(frame, vendors, clock, "OLDUSDT", "1h", "2024-04-18", "2024-06-15")
    assert frame.index[-1].isoformat() == "2024-06-14T14:00:00"
    assert not {"delisted", "ended"} & provenance(frame).keys()
    assert [reason for *_, reason in gaps(frame)] == ["the vendor has no bar"], "of the halt"
    assert not provenance(frame)["complete"]


def test_years_of_nothing_before_a_symbol_was_used_again_stay_a_gap(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.change("OLDUSDT", delisted="", outages=(("2021-02-01", "2024-06-20"),))
    first = provenance(manager.get_ohlcv("OLDUSDT", "1d", "2021-01-01", strict=True))
    assert (first["ended"], first["complete"]) == ("2021-02-01T00:00:00Z", True)
    clock.advance(50 * DAY_S)
    for asked in ("2021-01-01", None), ("2021-01-01", "2024-05-31"), ("2021-01-01", "2021-12-31"):
        frame = manager.get_ohlcv("OLDUSDT", "1d", *asked)
        assert not {"delisted", "ended"} & provenance(frame).keys()
        assert [reason for *_, reason in gaps(frame)] == ["the vendor has no bar"]
        assert not provenance(frame)["complete"]
    assert "no bars since" not in str(manager.explain("OLDUSDT", "1d"))


def test_a_range_behind_the_end_is_complete_and_says_so_once(
    manager: DataManager, make: Make, vendors: VendorServer, look_at_both: Look, clock: ManualClock
) -> None:
    look_at_both(manager)
    behind = ("OLDUSDT", "1h", "2022-05-10", "2022-06-01")
    with pytest.warns(SeriesEndedWarning) as caught, collecting_warnings() as collected:
        frame = manager.get_ohlcv(*behind, strict=True)
    assert collected == [], "it is not one of what a package collects about missing bars"
    (text,) = {str(warning.message) for warning in caught}
    assert text.startswith("OLDUSDT 1h")
    assert text.endswith("no bars since 2022-05-13 01:00; the symbol has ended or been renamed")
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("always")
        frames = [
            manager.get_ohlcv(*behind, offline=True, strict=True),
            make().get_ohlcv(*behind, strict=True),
            manager.get_ohlcv_batch(["OLDUSDT"], *behind[1:])["OLDUSDT"],
        ]
    assert not any(issubclass(warning.category, SeriesEndedWarning) for warning in again)
    for one in (frame, *frames):
        facts = provenance(one)
        assert (facts["ended"], facts["complete"], len(one)) == (ENDED, True, 73)
        assert [(start, reason) for start, _, reason in gaps(one)] == [
            (ENDED[:-1], "after the last bar")
        ]
    lines = [line.split() for line in str(describe(frame)).splitlines()]
    assert ["ended", "2022-05-13"] in lines
    assert ["complete", "yes"] in lines
    before = provenance(manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", "2022-05-12"))
    assert (before.get("ended"), before["delisted"]) == (None, ENDED)


def test_a_symbol_that_its_vendor_no_longer_recognizes_has_ended_after_45_days(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(parse_iso("2024-06-14T00:30:00"))
    vendor = FixedVendor(clock, every("1d", "2024-03-01", "2024-06-12"), "binance")
    manager = Market(tmp_path, clock, monkeypatch).manager(vendor)
    question = "OLDUSDT", "1d", "2024-03-01"
    assert len(manager.get_ohlcv(*question)) == 104
    # The first day counts as an outage.
    for days, is_over in ((40, False), (1, False), (8, True), (1, True)):
        clock.advance(days * DAY_S)
        vendor.errors = [SymbolNotFoundError("unknown", provider="binance") for _ in range(9)]
        facts = provenance(manager.get_ohlcv(*question))
        assert (facts["complete"], facts.get("ended")) == (
            is_over, "2024-06-13T00:00:00Z" if is_over else None,
        )  # fmt: skip


def test_weeks_of_a_symbol_that_its_vendor_no_longer_recognizes_end_too(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(parse_iso("2024-06-14T00:30:00"))
    vendor = FixedVendor(clock, every("1w", "2024-03-04", "2024-06-03"), "binance")
    manager = Market(tmp_path, clock, monkeypatch).manager(vendor)
    question = "OLDUSDT", "1w", "2024-03-04"
    manager.get_ohlcv(*question)
    clock.advance(60 * DAY_S)
    vendor.errors = [SymbolNotFoundError("unknown", provider="binance") for _ in range(9)]
    assert not provenance(manager.get_ohlcv(*question))["complete"], "it counts as an outage"
    clock.advance(DAY_S)
    facts = provenance(manager.get_ohlcv(*question))
    assert (facts["complete"], facts.get("ended")) == (True, "2024-06-10T00:00:00Z")


def test_an_expired_end_is_checked_again_by_one_request_up_to_now(
    manager: DataManager, vendors: VendorServer, look_at_both: Look, clock: ManualClock
) -> None:
    look_at_both(manager)
    behind = ("OLDUSDT", "1h", "2022-05-10", "2022-06-01")
    clock.advance(26 * DAY_S)
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv(*behind, offline=True, strict=True)
    vendors.clear_log()
    assert provenance(manager.get_ohlcv(*behind, strict=True))["ended"] == ENDED
    assert vendors.count("binance") == 1
    assert provenance(manager.get_ohlcv(*behind, offline=True, strict=True))["ended"] == ENDED
    assert vendors.count("binance") == 1


def test_counted_and_built_bars_end_with_the_series(
    manager: DataManager, vendors: VendorServer, look_at_both: Look
) -> None:
    look_at_both(manager)
    last = manager.get_ohlcv("OLDUSDT", "1h", bars=5, strict=True)
    assert (len(last), last.index[-1].isoformat()) == (5, "2022-05-13T00:00:00")
    built = manager.get_ohlcv("OLDUSDT", "4h", "2022-05-11", "2022-05-20", offline=True)
    assert provenance(built)["derived_from"]["timeframe"] == "1h"
    assert provenance(built)["ended"] == ENDED


def test_a_vendor_that_sends_no_bars_of_any_series_proves_no_end(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    names = ["OLDUSDT", "ETHUSDT", "SOLUSDT", "BTCUSDT"]
    for name in names:
        vendors.truth.change(name, delisted="2024-06-12T00:00")
        manager.get_ohlcv(name, "1d", "2024-05-01")
    clock.advance(90 * DAY_S)
    for _ in range(2):
        for name in names:
            facts = provenance(manager.get_ohlcv(name, "1d", "2024-05-01"))
            assert ("ended" in facts, facts["complete"]) == (False, False)
        clock.advance(DAY_S)
    vendors.truth.change("BTCUSDT", delisted="")  # it answers again, and the others are gone
    for name in (*names, *names[:3]):
        facts = provenance(manager.get_ohlcv(name, "1d", "2024-05-01", force_refresh=True))
    assert (facts["symbol"], facts["ended"]) == ("SOLUSDT", "2024-06-12T00:00:00Z")


def test_an_old_request_with_an_empty_end_does_not_prove_a_delisting(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.change("OLDUSDT", delisted="", outages=(("2022-05-13", "2022-08-01"),))
    assert "delisted" not in provenance(
        manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", "2022-07-20")
    )
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2024-06-01", "2024-06-02")
    assert_true(frame, vendors, clock, "OLDUSDT", "1h", "2024-06-01", "2024-06-03")


def test_a_vendor_that_failed_proves_no_delisting(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ScriptedVendor(vendors), ScriptedVendor(vendors)
    route_to(monkeypatch, manager, one=one, other=other)
    manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10")
    clock.advance(26 * DAY_S)  # the end has expired
    one.errors = [UnavailableError("made to fail")]
    manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", force_refresh=True)
    clock.advance(2 * DAY_S)  # and what the other one said of single stretches
    one.asked.clear()
    assert manager.get_ohlcv("OLDUSDT", "1h", "2023-01-01", "2023-01-05").empty
    assert one.asked != []


def test_a_vendor_plan_with_delayed_data_proves_no_delisting(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = ScriptedVendor(vendors)
    route_to(monkeypatch, manager, twin=twin)
    manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", "2024-06-10")
    twin.errors = [EntitlementError("this plan is a day behind")]
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10")
    assert "delisted" not in provenance(frame)
    assert gaps(frame)[-1][2] != "after the last bar"


def test_a_wrong_delisting_date_hides_no_stored_bar(
    manager: DataManager, make: Make, vendors: VendorServer, tmp_path: Path, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-05")
    store = BarStore(tmp_path / "cache")
    key, middle = SeriesKey("BTCUSDT", Timeframe.parse("1h")), parse_iso("2024-06-03T00:00:00Z")
    end = Bound(middle, "acme", clock.now_ms(), clock.now_ms() + 90 * DAY_MS)
    store.commit(key, Commit(lifetime=Lifetime(delisted=end)))
    vendors.clear_log()
    for one in (manager, make()):
        frame = one.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-05", strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-06")
        assert "delisted" not in provenance(frame)
        assert len(one.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-06", strict=True)) == 72


def test_no_request_covers_the_time_before_a_listing_date_from_a_vendor(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("YOUNG", "1d", "2024-05-01", "2024-05-31", strict=True)
    assert provenance(frame)["listed"] == "2024-04-24T00:00:00Z"
    vendors.clear_log()
    assert manager.get_ohlcv("YOUNG", "1d", "2023-01-01", "2023-12-31", strict=True).empty
    assert vendors.count() == 0
    frame = manager.get_ohlcv("YOUNG", "1d", "2023-01-01", "2024-05-31", strict=True)
    assert_true(frame, vendors, clock, "YOUNG", "1d", "2024-04-24", "2024-06-01", "split")
    assert vendors.count("yahoo") == 1, "the days not requested yet, and no proof"


def test_a_listing_is_known_even_if_the_series_document_is_lost(
    manager: DataManager, make: Make, tmp_path: Path, vendors: VendorServer, look_at_both: Look
) -> None:
    look_at_both(manager)
    for path in (tmp_path / "cache").rglob("series.json"):
        path.unlink()
    vendors.clear_log()
    frame = make().get_ohlcv("NEWUSDT", "1h", "2021-03-01", "2021-09-30", strict=True)
    assert gaps(frame)[0][2] == "before the first bar"
    assert vendors.count() == 0


def test_listing_and_delisting_dates_survive_repair_and_compaction(
    manager: DataManager, make: Make, vendors: VendorServer, look_at_both: Look
) -> None:
    look_at_both(manager)
    upkeep = manager.cache.maintenance
    upkeep.repair(upkeep.series())
    upkeep.compact(upkeep.series())
    vendors.clear_log()
    one = make()
    assert one.get_ohlcv("NEWUSDT", "1h", "2021-03-01", "2021-09-30").empty
    assert one.get_ohlcv("OLDUSDT", "1h", "2023-01-01", "2023-01-05").empty
    assert vendors.count() == 0


def test_listing_and_delisting_dates_are_shown_by_describe_explain_and_log(
    manager: DataManager,
    capsys: pytest.CaptureFixture[str],
    rules: Path,
    tmp_path: Path,
    look_at_both: Look,
) -> None:
    look_at_both(manager)
    frame = manager.get_ohlcv("NEWUSDT", "1h", "2024-06-04", "2024-06-05")
    lines = [line.split() for line in str(describe(frame)).splitlines()]
    assert ["listed", "2024-06-03"] in lines
    explained = manager.explain("OLDUSDT", "1h")
    assert "no bars since 2022-05-13 01:00 (binance" in " ".join(str(explained).split())
    assert explained.to_json()["stored"][0]["delisted"] == ENDED
    places = ["--cache-dir", str(tmp_path / "cache"), "--config", str(rules)]
    for options, said in (([], "listed 2024-06-03 10:00"), (["--json"], LISTED)):
        assert main(["cache", "log", "NEWUSDT", "1h", *options, *places]) == 0
        assert said in (out := " ".join(capsys.readouterr().out.split()))
    assert json.loads(out)[0]["listed"] == LISTED
