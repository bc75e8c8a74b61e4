"""The class of each gap; gaps that most symbols of a vendor share are one incident."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import CacheError, IncompleteDataWarning, QueryError, UnavailableError
from src.data.jobs.validation.gap_classes import ClassifiedGap
from src.data.jobs.validation.gaps import find_vendor_days
from tests.conftest import WEDNESDAY

from .fixed_vendor import FixedVendor, Market, at, days, every

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


SESSIONS = [at(f"{day}") for day in days("2024-05-01", "2024-06-11") if str(day) != "2024-05-27"]
SPRING = ("1d", "2024-05-01", "2024-05-31")


def without(stamps: Sequence[int], *gone: str) -> list[int]:
    return [stamp for stamp in stamps if stamp not in {at(day) for day in gone}]


def found(manager: DataManager, *ask: Any) -> list[tuple[str, str, int, tuple[str, ...]]]:
    """Return class, first day, bars and vendors of each gap."""
    return [
        (gap.gap_class, gap.as_dict()["start"].removesuffix("T00:00:00Z"), gap.bars, gap.vendors)
        for gap in manager.gaps(*ask).gaps
    ]


def only(manager: DataManager, *ask: Any) -> ClassifiedGap:
    (gap,) = manager.gaps(*ask).gaps
    return gap


BOUNDS = ("2024-05-01", "2024-05-31")


def test_a_hole_seen_at_one_vendor_is_a_vendor_hole(market: Market, clock: ManualClock) -> None:
    one = FixedVendor(clock, without(SESSIONS, "2024-05-14"), "yahoo")
    two = FixedVendor(clock, SESSIONS, "tiingo")
    two.errors = [UnavailableError("down")] * 9
    manager = market.manager(one, two)
    manager.get_ohlcv("AAPL", *SPRING)
    gap = only(manager, "AAPL", "1d", *BOUNDS)
    assert (gap.gap_class, gap.bars, gap.vendors) == ("vendor_hole", 1, ("yahoo",))
    assert gap.evidence.endswith("queried 2024-06-12 15:00 UTC, once")
    assert gap.next_step == "requested again from 2024-06-13 15:00 UTC"


def test_a_hole_of_all_vendors_becomes_a_halt_at_the_second_sighting(
    market: Market, clock: ManualClock
) -> None:
    one, two = (
        FixedVendor(clock, without(SESSIONS, "2024-05-14"), name) for name in ("yahoo", "tiingo")
    )
    market.manager(one, two).get_ohlcv("AAPL", *SPRING)
    seen = ("2024-05-14", 1, ("tiingo", "yahoo"))
    assert found(market.manager(one, two), "AAPL", "1d", *BOUNDS) == [("common_hole", *seen)]
    clock.advance(24 * 3600)
    market.manager(one, two).get_ohlcv("AAPL", *SPRING)
    manager = market.manager(one, two)
    assert found(manager, "AAPL", "1d", *BOUNDS) == [("halt", *seen)]
    gap = only(manager, "AAPL", "1d", *BOUNDS)
    assert gap.evidence.endswith("UTC and before; there are bars around it")
    assert (gap.next_step, gap.may_be_filled) == ("", False)


def test_time_before_a_listing_proved_by_two_vendors_is_a_before_listing_gap(
    market: Market, clock: ManualClock
) -> None:
    listed = [stamp for stamp in SESSIONS if stamp >= at("2024-05-20")]
    one, two = (FixedVendor(clock, listed, name) for name in ("yahoo", "tiingo"))
    manager = market.manager(one, two)
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-05-31")
    gap = only(manager, "AAPL", "1d", "2024-01-02", "2024-05-31")
    assert (gap.gap_class, gap.span.end) == ("before_listing", at("2024-05-20"))
    assert not gap.may_be_filled


def test_time_after_a_delisting_is_an_after_delisting_gap(
    market: Market, clock: ManualClock
) -> None:
    old = [at(f"{day}") for day in days("2024-01-02", "2024-01-31") if str(day) != "2024-01-15"]
    one, two = (FixedVendor(clock, old, name) for name in ("yahoo", "tiingo"))
    manager = market.manager(one, two)
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-06-11")
    gap = only(manager, "AAPL", "1d")
    assert (gap.gap_class, gap.evidence) == ("after_delisting", "no bar since 2024-02-01")


def test_unrequested_days_are_never_asked_gaps_with_the_command_that_fills_them(
    manager: DataManager,
) -> None:
    manager.get_ohlcv("AAPL", *SPRING)
    manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-03-08")
    first, last = manager.gaps("AAPL", "1d").gaps[:2]
    assert (first.gap_class, first.bars) == ("never_asked", 36)
    assert first.next_step == "onetape fetch AAPL 1d --start 2024-03-11 --end 2024-04-30"
    assert first.evidence == "no vendor has answered for it"
    assert (last.gap_class, last.bars) == ("never_asked", 7)
    assert last.evidence.startswith(
        "after everything that was requested; last request 2024-06-12 15:00"
    )


def test_a_closed_bar_that_has_not_settled_is_a_gap_of_class_not_published(
    manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07")
    clock.advance(6.5 * 3600)
    late = manager.gaps("AAPL", "1d").gaps[-1]
    assert (late.gap_class, late.bars) == ("not_published", 1)
    assert late.next_step == "final from 2024-06-13 13:30 UTC"


def test_a_recent_hole_at_the_end_is_of_class_not_published(
    market: Market, clock: ManualClock
) -> None:
    today = every("1h", "2024-06-12T00:00", "2024-06-12T14:00")
    fixed = FixedVendor(clock, today[:12], "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T00:00", "2024-06-12T13:00")
    gap = only(manager, "BTCUSDT", "1h", "2024-06-12T00:00", "2024-06-12T13:00")
    assert (gap.gap_class, gap.bars) == ("not_published", 2)
    assert gap.next_step == "requested again from 2024-06-12 15:15 UTC"


def test_a_weekend_is_a_closed_gap_without_bars(manager: DataManager) -> None:
    manager.get_ohlcv("AAPL", *SPRING)
    gap = only(manager, "AAPL", "1d", "2024-04-27", "2024-04-28")
    assert (gap.gap_class, gap.bars) == ("closed", 0)
    assert found(manager, "AAPL", "1d", "2024-05-25", "2024-05-27") == [], "within what is known"


def test_an_outage_of_a_venue_on_the_server_is_a_vendor_hole(manager: DataManager) -> None:
    ask = ("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    manager.get_ohlcv(*ask)
    gap = only(manager, *ask)
    assert (gap.gap_class, gap.bars, gap.vendors) == ("vendor_hole", 3, ("binance",))
    assert gap.as_dict()["start"] == "2024-03-05T02:00:00Z"


def test_gaps_in_a_span_in_doubt_are_listed_bar_by_bar(market: Market, clock: ManualClock) -> None:
    minutes = every("1m", "2024-06-03T00:00", "2024-06-03T23:59")
    fixed = FixedVendor(clock, [s for n, s in enumerate(minutes) if n % 5 != 2], "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1m", "2024-06-03", "2024-06-03")
    (one,) = manager.gaps("BTCUSDT", "1m", "2024-06-03", "2024-06-03").series
    assert one.bars == {"vendor_hole": 288}
    assert (one.counts, len(one.listed)) == ({"vendor_hole": 288}, 64)
    assert one.listed[0].evidence.startswith("in doubt: ")


def test_rows_that_cannot_be_bars_are_gaps_unless_their_bars_are_stored(
    market: Market, clock: ManualClock
) -> None:
    one, bad = FixedVendor(clock, SESSIONS, "yahoo"), {at("2024-05-14"), at("2024-05-31")}
    one.spoil = lambda rows: [r._replace(low=-1.0) if r.stamp_ms in bad else r for r in rows]
    manager = market.manager(one)
    frame = manager.get_ohlcv("AAPL", *SPRING)
    gaps = manager.gaps("AAPL", "1d", *BOUNDS).gaps
    assert [gap.span.start for gap in gaps] == sorted(bad)
    reasons = [gap["reason"] for gap in frame.attrs["onetape"]["gaps"]]
    assert [gap.evidence for gap in gaps] == reasons == [
        "a row that cannot be a bar: price not positive"
    ] * 2  # fmt: skip
    for gap in gaps:
        assert (gap.gap_class, gap.bars, gap.vendors) == ("vendor_hole", 1, ("yahoo",))
        assert gap.next_step.startswith("requested again from 2024-06-")
    bad.clear()
    manager.get_ohlcv("AAPL", *SPRING, refresh=True)
    assert manager.gaps("AAPL", "1d", *BOUNDS).gaps == []
    bad.add(at("2024-05-20"))
    assert len(manager.get_ohlcv("AAPL", *SPRING, refresh=True)) == len(frame) + 2
    assert manager.gaps("AAPL", "1d", *BOUNDS).gaps == []


def test_a_gap_report_converts_to_a_dictionary_and_a_frame(
    manager: DataManager, clock: ManualClock
) -> None:
    clock.advance(600)
    manager.get_ohlcv("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    report = manager.gaps()
    assert list(report.as_dict()) == ["incidents", "series"]
    frame = report.to_frame()
    assert frame["class"].tolist() == ["vendor_hole", "never_asked"]
    assert frame["start"].dtype == "M8[ns]"
    assert frame["start"][0] == pd.Timestamp("2024-03-05 02:00")
    assert len(manager.gaps("HALTUSDT", "1h", "2024-03-04", "2024-03-04").to_frame()) == 0


def test_gaps_of_a_series_without_stored_bars_are_an_error(manager: DataManager) -> None:
    with pytest.raises(CacheError, match="nothing is cached for AAPL 1d"):
        manager.gaps("AAPL", "1d")
    assert manager.gaps().series == (), "an empty cache"
    manager.get_ohlcv("AAPL", *SPRING)
    with pytest.raises(QueryError, match="an end was given without a start: 2024-05-03"):
        manager.gaps("AAPL", "1d", None, "2024-05-03")
    with pytest.raises(QueryError, match="unknown timeframe"):
        manager.gaps("AAPL", "1q")


def test_gaps_reports_a_damaged_year_and_examines_the_other_series(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("AAPL", "MSFT"):
        manager.get_ohlcv(symbol, *SPRING)
    client = manager.client
    outline = type(client).outline

    def failing(self: Any, key: Any) -> Any:
        if key.symbol == "AAPL":
            raise CacheError("2024.metadata.json cannot be read")
        return outline(self, key)

    monkeypatch.setattr(type(client), "outline", failing)
    apple, other = manager.gaps().series
    assert (apple.problem, apple.counts) == ("2024.metadata.json cannot be read", {})
    assert other.counts == {"never_asked": 1}


# --- the condition of a vendor and day ------------------------------------------------------------

NAMES = [f"SY{letter}" for letter in "ABCDEFGH"]


def fleet(clock: ManualClock, gone: str, lacking: int, vendor: str = "yahoo") -> FixedVendor:
    """Return a vendor that lacks a session for the first ``lacking`` of its symbols."""
    fixed = FixedVendor(clock, SESSIONS, vendor)
    fetch = fixed.fetch

    def with_lack(query: Any) -> Any:
        lost = query.instrument.symbol in NAMES[:lacking]
        fixed.stamps = without(SESSIONS, gone) if lost else SESSIONS
        return fetch(query)

    fixed.fetch = with_lack  # type: ignore[method-assign]
    return fixed


def incidents(manager: DataManager) -> list[str]:
    return [str(day) for day in manager.gaps().incidents]


def test_a_session_that_a_vendor_lacks_for_most_symbols_is_one_incident_one_event_and_counted(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(fleet(clock, "2024-06-05", 4))
    reported: list[Any] = []
    manager.on_event(reported.append)
    for name in NAMES[:5]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
    for _ in range(2):
        report = manager.gaps()
    (event,) = [event for event in reported if event.name == "VendorDayLacking"]
    assert (event.vendor, event.day, event.condition) == ("yahoo", "2024-06-05", "missing")
    assert (event.symbols, event.lacking) == (5, 4)
    assert manager.metrics()["vendor_days"] == {"yahoo": 1}
    assert [str(day) for day in report.incidents] == [
        "yahoo 2024-06-05 1d: missing for 4 of 5 symbols"
    ]
    outages = [gap for gap in report.gaps if gap.gap_class == "vendor_outage"]
    assert [gap.series.symbol for gap in outages] == NAMES[:4]
    assert {gap.evidence for gap in outages} == {str(report.incidents[0])}
    assert outages[0].next_step.startswith("requested again from")


def test_a_session_that_few_symbols_lack_is_not_an_incident(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(fleet(clock, "2024-06-05", 3))
    for name in NAMES[:6]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
    report = manager.gaps()
    assert report.incidents == ()
    assert [gap.gap_class for gap in report.gaps] == ["vendor_hole"] * 3


def test_two_symbols_with_the_same_gap_are_not_an_incident(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(fleet(clock, "2024-06-05", 2))
    for name in NAMES[:2]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
    assert incidents(manager) == []


def test_gaps_filled_by_another_vendor_count_towards_an_incident(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(fleet(clock, "2024-06-05", 4), FixedVendor(clock, SESSIONS, "tiingo"))
    for name in NAMES[:5]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11", strict=True)
    assert incidents(manager) == ["yahoo 2024-06-05 1d: missing for 4 of 5 symbols"]
    assert manager.gaps().gaps == []
    clock.advance(31 * 86_400)
    assert [day for day in incidents(manager) if "06-05" in day] == [], "past after a month"


def test_bars_first_published_by_another_vendor_are_not_an_incident_of_the_usual_one(
    market: Market, clock: ManualClock
) -> None:
    clock.advance(6 * 3600)  # an hour after the close of 12 June
    both = [*SESSIONS, at("2024-06-12"), at("2024-06-13")]
    one, two = FixedVendor(clock, SESSIONS, "yahoo"), FixedVendor(clock, both, "tiingo")
    manager = market.manager(one, two)
    for _ in range(2):
        for name in NAMES[:4]:
            frame = manager.get_ohlcv(name, "1d", "2024-06-10", columns=("source",))
            assert frame["source"].loc["2024-06-12"] == "tiingo"
        assert incidents(manager) == []
        one.stamps = both
        clock.advance(24 * 3600)


def test_an_incident_of_half_a_session_is_degraded(market: Market, clock: ManualClock) -> None:
    hours = [
        s for day in SESSIONS[-9:-1] for s in range(day + 48_600_000, day + 72_000_000, HOUR_MS)
    ]
    lost = [s for s in hours if s // DAY_MS * DAY_MS == at("2024-06-05")][3:]
    fixed = FixedVendor(clock, [s for s in hours if s not in lost], "tiingo", timeframes={"1h": "1h"},
                  dense=True)  # fmt: skip
    manager = market.manager(fixed)
    for name in NAMES[:4]:
        manager.get_ohlcv(name, "1h", "2024-06-03", "2024-06-07")
    assert incidents(manager) == ["tiingo 2024-06-05 1h: degraded for 4 of 4 symbols"]


def test_the_newest_session_is_pending_for_a_day(market: Market, clock: ManualClock) -> None:
    manager = market.manager(fleet(clock, "2024-06-11", 4))
    for name in NAMES[:5]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
    reported: list[Any] = []
    manager.on_event(reported.append)
    assert incidents(manager) == ["yahoo 2024-06-11 1d: pending for 4 of 5 symbols"]
    assert (reported, manager.metrics()["vendor_days"]) == ([], {})
    two = FixedVendor(clock, SESSIONS, "tiingo")
    market.manager(fleet(clock, "2024-06-11", 4), two).get_ohlcv(
        "OTHER", "1d", "2024-06-10", "2024-06-11", strict=True
    )
    assert two.asked == [], "the usual order"
    clock.advance(6 * 3600)
    assert incidents(manager) == ["yahoo 2024-06-11 1d: missing for 4 of 6 symbols"]
    assert [event.name for event in reported] == ["VendorDayLacking"]


# --- what follows from it --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache and a state folder, to be copied, of a market where a vendor lacks a session."""
    folder, clock = tmp_path_factory.mktemp("known"), ManualClock(WEDNESDAY)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        patch.setenv("ONETAPE_STATE_DIR", str(folder / "state"))
        manager = Market(folder, clock, patch).manager(fleet(clock, "2024-06-05", 5))
        for name in NAMES[:4]:
            manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
        assert len(manager.gaps().incidents) == 1
    # The state file is closed with its last owner: a copy taken meanwhile would miss its parts.
    del manager
    gc.collect()
    return folder


@pytest.fixture
def known(
    _known: Path, market: Market, clock: ManualClock, state_dir: Path
) -> tuple[FixedVendor, FixedVendor]:
    """Return two vendors of a market where it is known that the first one lacks a session."""
    shutil.copytree(_known / "cache", market.folder / "cache")
    shutil.copytree(_known / "state", state_dir)
    return fleet(clock, "2024-06-05", 5), FixedVendor(clock, SESSIONS, "tiingo")


def test_a_session_that_a_vendor_lacks_comes_from_the_next_vendor_in_the_usual_order(
    market: Market, clock: ManualClock, known: tuple[FixedVendor, FixedVendor]
) -> None:
    one, two = known
    frame = market.manager(one, two).get_ohlcv(
        "OTHER", "1d", "2024-06-03", "2024-06-07", strict=True, columns=("source",)
    )
    assert set(frame["source"]) == {"yahoo"}, "this symbol has the session"
    frame = market.manager(one, two).get_ohlcv(
        NAMES[3], "1d", "2024-06-03", "2024-06-07", strict=True, columns=("source",)
    )
    assert frame["source"].tolist() == ["yahoo", "yahoo", "tiingo", "yahoo", "yahoo"]


@pytest.mark.usefixtures("known")
def test_a_session_that_comes_back_is_no_incident_any_more(
    market: Market, clock: ManualClock
) -> None:
    back = FixedVendor(clock, SESSIONS, "yahoo")
    clock.advance(24 * 3600)
    manager = market.manager(back)
    for name in NAMES[:4]:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11", strict=True)
    assert manager.gaps().incidents == ()
    assert manager.metrics()["vendor_days"] == {}
    assert market.services().network.vendor_days() == []


def test_an_incident_shown_by_many_symbols_is_not_withdrawn_by_few(
    market: Market, clock: ManualClock
) -> None:
    one = fleet(clock, "2024-06-05", 5)
    manager = market.manager(one)
    for name in NAMES:
        manager.get_ohlcv(name, "1d", "2024-06-03", "2024-06-11")
    (known,) = manager.gaps().incidents
    step = Timeframe.parse("1d")
    there = [SeriesKey(name, step) for name in NAMES[5:8]]
    lacking = [SeriesKey(name, step) for name in NAMES[:3]]
    services = market.services()
    assert find_vendor_days(services, there) == [known]
    assert find_vendor_days(services, lacking) == [known]
    assert str(known) == "yahoo 2024-06-05 1d: missing for 5 of 8 symbols"


def test_an_incident_that_is_not_found_again_is_deleted_after_a_week(
    market: Market, clock: ManualClock, known: tuple[FixedVendor, FixedVendor]
) -> None:
    network = market.services().network
    clock.advance(6.9 * 86_400)
    assert len(network.vendor_days()) == 1
    clock.advance(0.2 * 86_400)
    assert network.vendor_days() == []
