"""Bars off the time grid or outside the calendar, and rows that contradict each other.

A row off the grid is quarantined with its own timestamp and never moved, and its place in the grid is a
gap unless another vendor has the bar. Bars that are not trusted are never final.
"""

from __future__ import annotations

import csv
import gzip
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS
from src.data.core.vendors.factory import downloader_for
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Page

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, Spoil, gaps, provenance, route_to, states

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
SHARE = ("AAPL", "1h", "2024-06-03", "2024-06-04")
# Binance, 2018-02-09: after a halt its hours opened at hh:28:14.789.
LATE_MS = 28 * MINUTE_MS + 14_789


def late(first: int, end: int) -> Fault:
    """Return what labels the hours ``[first, end)`` of a day as Binance once did."""

    def change(page: Page) -> Page:
        shifts = [LATE_MS * (first <= label // HOUR_MS % 24 < end) for label in page.labels]
        return replace(page, labels=tuple(map(sum, zip(page.labels, shifts, strict=True))))

    return Fault.on_rows("late", change)


def shifted(by_ms: int) -> Spoil:
    return lambda rows: [row._replace(stamp_ms=row.stamp_ms + by_ms) for row in rows]


def doubled(rows: list[Bar]) -> list[Bar]:
    """Return every row, followed by a different one with the same timestamp."""
    return [copy for row in rows for copy in (row, row._replace(close=row.close * 1.001))]


def quarantined(folder: Path) -> list[dict[str, str]]:
    """Return the rows that are kept aside, wherever they lie."""
    rows = []
    for file in sorted(folder.rglob("*.rows.csv.gz")):
        rows += list(csv.DictReader(gzip.decompress(file.read_bytes()).decode().splitlines()))
    return rows


def hours_of(frame: pd.DataFrame) -> list[int]:
    return [at.hour for at in frame.index]


class TestOffTheGrid:
    def test_bars_of_the_only_vendor_are_kept_around_rows_off_the_grid(
        self, make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path,
        clock: ManualClock,
    ) -> None:  # fmt: skip
        vendors.fault("binance", late(9, 12))
        with pytest.warns(IncompleteDataWarning, match="at which no bar can open"):
            frame = make().get_ohlcv(*DAY, provider="binance")
        assert hours_of(frame) == [*range(9), *range(12, 24)]
        assert set(states(frame).values()) == {"final"}
        assert gaps(frame) == [("2024-06-01T09:00:00", "2024-06-01T12:00:00", "off_grid")]
        assert not provenance(frame)["flagged"]
        kept = quarantined(tmp_path / "cache")
        assert [row["timestamp"] for row in kept] == [
            f"2024-06-01 {hour:02}:28:14.789" for hour in (9, 10, 11)
        ]
        assert all("T" in row["reason"] and ":28:14.789Z" in row["reason"] for row in kept)
        with pytest.raises(IncompleteDataError, match="at which no bar can open"):
            make().get_ohlcv(*DAY, provider="binance", strict=True)
        vendors.clear_log()
        with pytest.warns(IncompleteDataWarning, match="at which no bar can open"):
            again = make().get_ohlcv(*DAY, provider="binance")
        pd.testing.assert_frame_equal(frame, again)
        assert vendors.count() == 0, "after a restart, no vendor is queried again for a while"
        vendors.heal("binance")
        clock.advance(25 * 3600)
        whole = make().get_ohlcv(*DAY, provider="binance", strict=True)
        assert_true(whole, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")

    def test_a_whole_day_off_the_grid_is_a_gap(
        self, manager: DataManager, vendors: VendorServer
    ) -> None:
        vendors.fault("binance", late(0, 24))
        with pytest.warns(IncompleteDataWarning, match="at which no bar can open"):
            frame = manager.get_ohlcv(*DAY, provider="binance")
        assert len(frame) == 0
        assert gaps(frame) == [("2024-06-01T00:00:00", "2024-06-02T00:00:00", "off_grid")]

    @pytest.mark.parametrize("first, end", [(9, 12), (0, 24), (0, 1), (23, 24)])
    def test_bars_in_place_of_rows_off_the_grid_come_from_the_next_vendor(
        self, manager: DataManager, vendors: VendorServer, clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch, first: int, end: int,
    ) -> None:  # fmt: skip
        binance = downloader_for(manager.provider_selector, "binance")
        route_to(monkeypatch, manager, binance=binance, twin=ScriptedVendor(vendors))
        vendors.fault("binance", late(first, end))
        frame = manager.get_ohlcv(*DAY, strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
        assert "twin" in provenance(frame)["vendors"]

    def test_a_gap_keeps_the_reason_off_grid_if_the_next_vendor_lacks_the_bar(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        binance, twin = (
            downloader_for(manager.provider_selector, "binance"),
            ScriptedVendor(vendors),
        )
        twin.spoil = lambda rows: [r for r in rows if r.stamp_ms // HOUR_MS % 24 != 10]
        route_to(monkeypatch, manager, binance=binance, twin=twin)
        vendors.fault("binance", late(9, 12))
        with pytest.warns(IncompleteDataWarning, match="at which no bar can open"):
            frame = manager.get_ohlcv(*DAY)
        assert gaps(frame) == [("2024-06-01T10:00:00", "2024-06-01T11:00:00", "off_grid")]

    def test_rows_off_the_grid_of_one_symbol_do_not_end_a_batch(
        self, manager: DataManager, vendors: VendorServer
    ) -> None:
        vendors.fault("binance", late(0, 24), symbol="BTCUSDT")
        with pytest.warns(IncompleteDataWarning):
            found = manager.get_ohlcv_batch(
                ["BTCUSDT", "ETHUSDT"], "1h", DAY[2], DAY[3], provider="binance"
            )
        assert [len(found["BTCUSDT"]), len(found["ETHUSDT"])] == [0, 24]

    def test_half_hours_among_hours_are_quarantined(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        twin = ScriptedVendor(vendors)
        twin.spoil = lambda rows: sorted([*rows, *shifted(30 * MINUTE_MS)(rows)])
        route_to(monkeypatch, manager, twin=twin)
        frame = manager.get_ohlcv(*DAY, strict=True)
        assert hours_of(frame) == [*range(24)]
        assert set(frame.index.minute) == {0}
        assert len(quarantined(tmp_path / "cache")) == 24
        problems = provenance(frame)["problems"]
        assert [p for p in problems if "24 rows are stamped where no 1h bar opens" in p] != [], (
            problems
        )

    def test_a_row_off_the_grid_does_not_replace_a_stored_bar(
        self, manager: DataManager, vendors: VendorServer
    ) -> None:
        first = manager.get_ohlcv(*DAY)
        vendors.fault("binance", late(5, 6))
        frame = manager.get_ohlcv(*DAY, force_refresh=True)
        pd.testing.assert_frame_equal(first, frame)
        assert states(frame)["2024-06-01T05:00:00Z"] == "suspect"

    def test_an_older_downloader_may_count_hours_from_the_clock_or_from_the_open(
        self, manager: DataManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, at in (("clock", "14:00"), ("opening", "13:30")):
            index = pd.date_range(f"2024-06-03 {at}", periods=6, freq="h", name="timestamp")
            odd = index.append(index[1:2] + pd.Timedelta(minutes=7)).sort_values()
            rows = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 9.0), odd)
            route_to(
                monkeypatch,
                manager,
                **{name: type(name, (), {"get_ohlcv": lambda *_, r=rows: r})()},
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frame = manager.get_ohlcv("AAPL", "1h", "2024-06-03", "2024-06-03", provider=name)
            assert list(frame.index) == list(index), name


class TestOutsideTheCalendar:
    def weekend(self, rows: list[Bar]) -> list[Bar]:
        """Return days with made-up bars on a Saturday and a Sunday."""
        friday = next(r for r in rows if r.stamp_ms == ms("2024-06-07"))
        invented = [friday._replace(stamp_ms=ms(day)) for day in ("2024-06-08", "2024-06-09")]
        return sorted([*rows, *invented])

    def share(self, vendors: VendorServer) -> ScriptedVendor:
        from src.data.core.vendors.yahoo.bars import YahooDataDownloader

        return ScriptedVendor(vendors, YahooDataDownloader)

    def test_weekend_bars_are_kept_flagged_and_never_final(
        self, manager: DataManager, make: Callable[[], DataManager], vendors: VendorServer,
        monkeypatch: pytest.MonkeyPatch, clock: ManualClock,
    ) -> None:  # fmt: skip
        clock.set(ms("2024-06-14T12:00"))
        twin = self.share(vendors)
        twin.spoil = self.weekend
        route_to(monkeypatch, manager, yahoo=twin)
        query = ("AAPL", "1d", "2024-06-03", "2024-06-12")
        frame = manager.get_ohlcv(*query)
        assert len(frame) == 10
        state = manager.get_ohlcv(*query, columns=["state"])["state"]
        assert [str(at)[:10] for at in state.index[state != "final"]] == [
            "2024-06-08",
            "2024-06-09",
        ]
        assert states(frame)["2024-06-08T00:00:00Z"] == "suspect"
        flagged = [(f["stamp"][:10], f["reason"]) for f in provenance(frame)["flagged"]]
        assert [day for day, _ in flagged] == ["2024-06-08", "2024-06-09"]
        assert all("calendar" in why for _, why in flagged)
        again = make()
        route_to(monkeypatch, again, yahoo=twin)
        asked = len(twin.asked)
        clock.advance(400 * 86_400)
        later = again.get_ohlcv(*query)
        assert states(later)["2024-06-08T00:00:00Z"] == "suspect"
        assert len(twin.asked) == asked, "no vendor is queried only for them"
        refreshed = again.get_ohlcv(*query, force_refresh=True)
        assert states(refreshed)["2024-06-08T00:00:00Z"] == "suspect", "a repetition is not a proof"

    @pytest.mark.parametrize("offline", [False, True])
    def test_weekend_bars_of_a_share_are_refused_under_strict(
        self, manager: DataManager, make: Callable[[], DataManager], vendors: VendorServer,
        monkeypatch: pytest.MonkeyPatch, clock: ManualClock, *, offline: bool,
    ) -> None:  # fmt: skip
        clock.set(ms("2024-06-14T12:00"))
        twin = self.share(vendors)
        twin.spoil = self.weekend
        route_to(monkeypatch, manager, yahoo=twin)
        query = ("AAPL", "1d", "2024-06-03", "2024-06-12")
        said = "2 bars outside the sessions of the market's calendar, first 2024-06-08"
        with pytest.warns(IncompleteDataWarning, match=said):
            frame = manager.get_ohlcv(*query)
        assert len(frame) == 10, "they are returned"
        assert not provenance(frame)["complete"]
        again = make() if offline else manager
        with pytest.raises(IncompleteDataError, match=said) as refused:
            again.get_ohlcv(*query, strict=True, offline=offline)
        assert len(refused.value.frame) == 10
        week = again.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", strict=True, offline=True)
        assert provenance(week)["complete"], "the week before has none"

    def test_weekend_bars_missing_from_the_next_answer_are_withdrawn(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
        clock: ManualClock,
    ) -> None:  # fmt: skip
        clock.set(ms("2024-06-14T12:00"))
        twin = self.share(vendors)
        twin.spoil = self.weekend
        route_to(monkeypatch, manager, yahoo=twin)
        manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-12")
        twin.spoil = lambda rows: rows
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-12", force_refresh=True)
        assert len(frame) == 8 and set(states(frame).values()) == {"final"}
        again = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-12", strict=True)
        pd.testing.assert_frame_equal(frame, again)

    def test_a_running_bar_outside_the_calendar_is_neither_returned_nor_stored(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
        clock: ManualClock,
    ) -> None:  # fmt: skip
        clock.set(ms("2024-06-08T15:45"))  # a Saturday
        twin = self.share(vendors)

        def run(rows: list[Bar]) -> list[Bar]:
            extra = [
                rows[-1]._replace(stamp_ms=ms(f"2024-06-08T{at}")) for at in ("14:30", "15:30")
            ]
            return [*rows, *extra]

        twin.spoil = run
        route_to(monkeypatch, manager, yahoo=twin)
        query = ("AAPL", "1h", "2024-06-07", "2024-06-08")
        frame = manager.get_ohlcv(*query)
        assert str(frame.index[-1]) == "2024-06-08 14:30:00"
        assert states(frame)["2024-06-08T14:30:00Z"] == "suspect"
        running = manager.get_ohlcv(*query, include_forming=True, force_refresh=True)
        assert str(running.index[-1]) == "2024-06-08 15:30:00"
        clock.advance(5 * 3600)
        assert str(manager.get_ohlcv(*query).index[-1]) == "2024-06-08 14:30:00"

    def test_bars_outside_all_sessions_are_not_trusted_and_come_from_the_next_vendor(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
        clock: ManualClock,
    ) -> None:  # fmt: skip
        right, astray = self.share(vendors), self.share(vendors)
        right.name = "right"
        astray.spoil = shifted(-12 * HOUR_MS)
        route_to(monkeypatch, manager, yahoo=astray, right=right)
        frame = manager.get_ohlcv(*SHARE)
        during = frame[(frame.index.hour >= 13) & (frame.index.hour < 20)]
        assert_true(during, vendors, clock, "AAPL", "1h", "2024-06-03", "2024-06-05", "split")
        assert provenance(frame)["complete"]


class TestContradictions:
    def test_rows_that_contradict_each_other_come_from_the_next_vendor(
        self, manager: DataManager, vendors: VendorServer, clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
        one.spoil, two.name = doubled, "second"
        route_to(monkeypatch, manager, twin=one, second=two)
        frame = manager.get_ohlcv(*DAY, strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
        assert "second" in provenance(frame)["vendors"]

    @pytest.mark.parametrize("doubles", [1, 24])
    def test_contradicting_rows_of_the_only_vendor_are_doubted(
        self, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch, doubles: int,
    ) -> None:  # fmt: skip
        twin, manager = ScriptedVendor(vendors), make()
        twin.spoil = lambda rows: [*doubled(rows[:doubles]), *rows[doubles:]]
        route_to(monkeypatch, manager, twin=twin)
        with pytest.warns(IncompleteDataWarning, match="contradict"):
            frame = manager.get_ohlcv(*DAY)
        assert len(frame) == 24
        assert states(frame)["2024-06-01T00:00:00Z"] == "suspect"
        assert ("final" in states(frame).values()) is (doubles == 1)
        with pytest.raises(IncompleteDataError):
            manager.get_ohlcv(*DAY, strict=True)
        again = make()
        route_to(monkeypatch, again, twin=twin)
        with pytest.warns(IncompleteDataWarning, match="contradict"):
            again.get_ohlcv(*DAY)
        assert len(twin.asked) == 1
        twin.spoil = lambda rows: rows
        clock.advance(25 * 3600)
        frame = again.get_ohlcv(*DAY, strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
        assert set(states(frame).values()) == {"final"}

    def test_stored_bars_are_not_replaced_by_bars_that_are_not_trusted(
        self, manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        twin = ScriptedVendor(vendors)
        route_to(monkeypatch, manager, twin=twin)
        first = manager.get_ohlcv(*DAY)
        twin.spoil = doubled
        with pytest.warns(IncompleteDataWarning, match="not trusted"):
            frame = manager.get_ohlcv(*DAY, force_refresh=True)
        pd.testing.assert_frame_equal(first, frame)
        pd.testing.assert_frame_equal(first, manager.get_ohlcv(*DAY, strict=True))

    def test_the_rules_set_how_many_contradictions_are_accepted(
        self, tmp_path: Path, rules: Path, vendors: VendorServer, clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        twin = ScriptedVendor(vendors)
        twin.spoil = lambda rows: [*doubled(rows[:2]), *rows[2:]]
        for least, believed in (("0.95", False), ("0.9", True)):
            rules.write_text(f"{rules.read_text()}validation: {{min_quality_score: {least}}}\n")
            manager = DataManager(tmp_path / least, rules, clock=clock)
            route_to(monkeypatch, manager, twin=twin)
            with pytest.warns(IncompleteDataWarning):
                frame = manager.get_ohlcv(*DAY)
            assert ("final" in states(frame).values()) is believed
            rules.write_text(rules.read_text().rpartition("validation")[0])


def test_a_downloader_called_directly_returns_rows_off_the_grid(vendors: VendorServer) -> None:
    """Without the manager there is no grid: the row is the vendor's own."""
    from src.data.core.vendors.binance.bars import BinanceDataDownloader

    vendors.fault("binance", late(9, 12))
    loader: Any = BinanceDataDownloader(base_url=vendors.base_url("binance"))
    assert len(loader.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")) == 24


def nightly(rows: list[Bar]) -> list[Bar]:
    """Return the rows, and a bar for each hour of trade overnight before and after them."""
    night = [rows[0]._replace(stamp_ms=ms(hour)) for hour in NIGHT] if rows else []
    return sorted([*rows, *night])


# Sunday 20:00 and Monday 03:00 in New York.
NIGHT = ("2024-06-03T00:00", "2024-06-03T07:00")


def test_overnight_rows_are_quarantined_and_belong_to_the_next_session(
    manager: DataManager, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a vendor's other bars stay; what it sends at night is neither a bar nor a gap."""
    vendor = TestOutsideTheCalendar().share(vendors)
    vendor.spoil = nightly
    route_to(monkeypatch, manager, yahoo=vendor)
    frame = manager.get_ohlcv("AAPL", "1h", "2024-05-31", "2024-06-07", strict=True)
    assert provenance(frame)["complete"]
    assert not {*frame.index} & {pd.Timestamp(hour) for hour in NIGHT}
    assert set(states(frame).values()) == {"final"}
    assert provenance(frame)["quality"]["score"] == 1.0
    rows = quarantined(tmp_path / "cache")
    assert [row["reason"] for row in rows] == [
        "off_grid: overnight trading at 2024-06-03T00:00:00Z, before the session of 2024-06-03",
        "off_grid: overnight trading at 2024-06-03T07:00:00Z, before the session of 2024-06-03",
    ]
