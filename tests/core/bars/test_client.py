"""Tests the bars client on a store that holds one day of hourly bars; the vendor counts its queries."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.bars.client import BarsClient, Wishes
from src.data.core.bars.lookup import Derived, Hit, LookupResult, Miss, PartialHit
from src.data.core.bars.service import BarsService
from src.data.core.cache.clear import evict_year
from src.data.core.cache.retention.eviction import PINNED
from src.data.core.cache.retention.inventory import Inventory
from src.data.core.cache.retention.trim import drop_derived
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BadRow, Bar, BarTable
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.stored.retention import Age
from src.data.core.model.stored.stored import CommitNotice
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.errors import BadRangeError, BadTimeframeError, QueryError
from tests.core.cache.bars import repaired
from tests.e2e.fixed_vendor import FixedVendor

KIND = Kind("24h", "clock", "binance", "USDT", "base")
HOURS = SeriesKey("BTCUSDT", Timeframe.parse("1h"))
DAY = Span(parse_iso("2024-06-01"), parse_iso("2024-06-02"))
NOW = parse_iso("2024-06-12T15:00:30")


def piece(span: Span, price: float = 100.0, state: Any = "final") -> CommitPiece:
    stamps = np.arange(*span, HOUR_MS, dtype=np.int64)
    close = np.full(len(stamps), price)
    table = BarTable.of_columns(stamps, [close, close, close, close, close])
    return CommitPiece(table, span, "binance", NOW, KIND, Basis("raw"), state)


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Services:
    """Return the services on one cache folder, at 2024-06-12 15:00:30 UTC."""
    return build(tmp_path / "cache", clock=clock)


@pytest.fixture
def store(services: Services) -> BarStore:
    """Return the store of ``services``; it holds the hours of BTCUSDT on 2024-06-01."""
    services.cache.store.commit(HOURS, Commit((piece(DAY),), kind=KIND))
    return services.cache.store


@pytest.fixture
def client(services: Services, store: BarStore) -> BarsClient:
    """Return the client of ``services``; the hours of BTCUSDT on 2024-06-01 are stored."""
    return services.client


@pytest.fixture
def manager(services: Services, clock: ManualClock) -> DataManager:
    """Return a manager on the cache folder of ``services``."""
    return DataManager(services.settings.cache_dir, clock=clock)


@pytest.fixture
def vendor(services: Services, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> FixedVendor:
    """Return the one vendor queried, as Binance, with hourly bars of 2024-06-01 and 2024-06-02."""
    fixed = FixedVendor(clock, range(DAY.start, DAY.end + 24 * HOUR_MS, HOUR_MS), "binance")
    monkeypatch.setattr(services.selector, "get_provider_with_failover", lambda *_: ["binance"])
    monkeypatch.setitem(services.selector.downloaders, "binance", fixed)
    return fixed


# --- bars ----------------------------------------------------------------------------------


def test_options_of_a_query_are_passed_by_name() -> None:
    """Four switches in a row would otherwise be swapped without an error of any kind."""
    given: Any = ("mock", "raw", True)
    with pytest.raises(TypeError, match="positional argument"):
        Wishes(*given)


def test_a_lookup_describes_stored_bars_as_get_does_and_builds_no_frame(
    client: BarsClient, services: Services, vendor: FixedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    for path in services.settings.cache_dir.rglob("*"):
        os.utime(path, (1e9, 1e9))  # what has just changed is looked at twice
    reported = client.get(query).attrs["onetape"]
    client = build(services.settings.cache_dir, clock=services.clock).client
    names: list[str] = []
    read = Disk.read_all

    def noted(disk: Disk, folder: str, wanted: Iterable[str]) -> Any:
        names.extend(wanted := list(wanted))
        return read(disk, folder, wanted)

    with monkeypatch.context() as patched:
        patched.setattr("src.data.core.model.answer.frame.build_frame", None)
        patched.setattr(Disk, "read_all", noted)
        found = client.lookup(query)
    assert sorted(names) == ["2024.metadata.json", "series.json"], "each document is read once"
    assert found.is_hit and found.missing == ()
    assert found.provenance == reported
    assert not vendor.asked


def test_a_lookup_lists_missing_spans_and_queries_no_vendor(
    client: BarsClient, vendor: FixedVendor
) -> None:
    found = client.lookup(client.query("BTCUSDT", "1h", "2024-05-31", "2024-06-02"))
    lacking = (Span(parse_iso("2024-05-31"), DAY.start), Span(DAY.end, parse_iso("2024-06-03")))
    assert found[:2] == (None, lacking)
    # Of what is counted, refreshed or made of others the whole is missing: more must be looked at.
    assert [
        client.lookup(client.query("BTCUSDT", *asked)).missing
        for asked in [
            ("1h", "2024-06-01", "2024-06-01", None, Wishes(refresh=True)),
            ("2h", "2024-06-01", "2024-06-01"),
        ]
    ] == [(DAY,), (DAY,)]
    assert not client.lookup(client.query("BTCUSDT", "1h", bars=3)).is_hit
    assert not vendor.asked


def test_a_lookup_of_the_service_has_one_of_four_results(
    client: BarsClient, services: Services
) -> None:
    service = BarsService(services.cache.store, services.selector, services.clock)

    def result(*asked: Any) -> LookupResult:
        return service.lookup(client.query(*asked))

    hit = result("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert isinstance(hit, Hit) and hit.rows is not None
    late = result("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert late == PartialHit((Span(DAY.end, DAY.end + DAY_MS),))
    # Yahoo serves weeks too; they break at splits.
    assert result("AAPL", "1w", "2024-01-01", "2024-02-01") == Derived(Timeframe.parse("1d"))
    assert result("ETHUSDT", "1h", "2024-06-01", "2024-06-01") == Miss()


def test_a_batch_returns_a_frame_for_each_query_in_order(
    client: BarsClient, vendor: FixedVendor
) -> None:
    held = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    unknown = client.query("ETHUSDT", "1h", "2024-06-01", wishes=Wishes(offline=True))
    late = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    frames = client.get_batch([late, unknown, held, held])
    assert [len(frame) for frame in frames] == [48, 0, 24, 24]
    error = frames[1].attrs["onetape"]["error"]
    assert error["type"] == "AllProvidersFailedError"
    assert frames[2] is not frames[3]
    assert vendor.asked


def test_rows_equal_the_frames(client: BarsClient) -> None:
    names, bounds = ["BTCUSDT", "NOPE!"], ("2024-06-01", "2024-06-01", None)
    for columns in ((), ("state", "dividend"), ()):
        wishes = Wishes(columns=columns)
        frames = client.get_by_symbol(names, "1h", bounds, wishes)
        rows = client.get_rows_by_symbol(names, "1h", bounds, wishes)
        assert list(rows) == names
        for name, frame in frames.items():
            one = rows[name]
            held, stamps, values = one.arrays()
            assert held == tuple(frame.columns) and stamps.tolist() == frame.index.asi8.tolist()
            assert np.array_equal(values.T, frame.to_numpy())
            assert one.facts == frame.attrs["onetape"] == one.owned().attrs["onetape"]
            pd.testing.assert_frame_equal(one.owned(), frame)
    assert "error" in rows["NOPE!"].facts


def test_plan_and_explain_query_no_vendor(client: BarsClient, vendor: FixedVendor) -> None:
    query = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert client.plan(query).is_hit
    assert client.explain(query).is_served
    assert not vendor.asked


# --- coverage ------------------------------------------------------------------------------


def test_coverage_lists_each_span_with_its_reason_and_due_time(
    client: BarsClient, store: BarStore, manager: DataManager
) -> None:
    soon = NOW + 5 * HOUR_MS
    running = Span(parse_iso("2024-06-12T14:00"), parse_iso("2024-06-12T15:00"))
    hole = Covered(
        Span(DAY.end, DAY.end + HOUR_MS), "empty", "binance", reason="no bar", expires=soon
    )
    due = NOW + HOUR_MS // 30
    parts = (piece(running, state="provisional"),)
    store.commit(HOURS, Commit(parts, (hole,), kind=KIND, next_due=due))
    raw = SeriesKey("BTCUSDT", HOURS.timeframe, ("yahoo",))
    store.commit(raw, Commit((piece(DAY),), kind=KIND))
    found = client.coverage(HOURS)
    assert [(p.span, p.state, p.vendor, p.reason, p.next_due) for p in found] == [
        (DAY, "final", "binance", "", None),
        (hole.span, "empty", "binance", "no bar", soon),
        (running, "provisional", "binance", "", due),
    ]
    frame = manager.coverage("BTC/USDT", "1h")
    assert list(frame.columns) == "lane start end state vendor reason next_due".split()
    assert frame["lane"].tolist() == ["", "", "", "yahoo"]
    assert frame["start"].dtype == frame["next_due"].dtype == "datetime64[ns]"
    assert frame["end"][0] == pd.Timestamp("2024-06-02")
    assert frame["next_due"].isna().tolist() == [True, False, False, True]
    store.commit(raw, Commit((piece(DAY, state="provisional"),), kind=KIND))
    assert [entry.next_due for entry in client.coverage(raw)] == [NOW], "since they were fetched"


def test_coverage_of_a_series_that_is_not_stored_is_empty(manager: DataManager) -> None:
    frame = manager.coverage("ETHUSDT", "1d")
    assert len(frame) == 0 and frame["next_due"].dtype == "datetime64[ns]"
    with pytest.raises(BadTimeframeError):
        manager.coverage("ETHUSDT", "1x")
    assert not list((manager.cache.cache_dir / "ohlcv").glob("ETH*")), "a lookup creates no folder"


@pytest.mark.parametrize("symbol", ["AAPL", "EURUSD=X"])
def test_bars_longer_than_a_session_are_whole_days(manager: DataManager, symbol: str) -> None:
    with pytest.raises(BadTimeframeError, match=f"longer than a session of {symbol}"):
        manager.get_ohlcv(symbol, "30h", "2024-06-03", "2024-06-07", offline=True)
    assert manager.plan("BTCUSDT", "30h", "2024-06-03", "2024-06-07") is not None
    assert manager.plan(symbol, "48h", "2024-06-03", "2024-06-07").timeframe.label == "2d"


def test_a_year_file_of_an_older_tool_is_in_the_coverage(manager: DataManager) -> None:
    folder = manager.cache.cache_dir / "ETHUSDT" / "1h"
    folder.mkdir(parents=True)
    rows = [f"2024-06-01 0{hour}:00:00,1,1,1,1,1" for hour in range(4)]
    text = "\n".join(["timestamp,open,high,low,close,volume", *rows, ""])
    (folder / "2024.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame = manager.coverage("ETHUSDT", "1h")
    assert frame["start"].tolist() == [pd.Timestamp("2024-06-01")]


# --- sessions ------------------------------------------------------------------------------


def test_sessions_follow_the_calendar_of_the_venue(manager: DataManager) -> None:
    frame = manager.sessions("AAPL", "2024-07-02", "2024-07-05")
    assert frame.index.strftime("%Y-%m-%d").tolist() == ["2024-07-02", "2024-07-03", "2024-07-05"]
    assert frame["open"].dt.strftime("%H:%M").tolist() == ["13:30"] * 3
    assert frame["close"].dt.strftime("%H:%M").tolist() == ["20:00", "17:00", "20:00"]
    assert frame["early_close"].tolist() == [False, True, False]
    # A day is final when the next session opens: the third's bar on the fifth, that one's on Monday.
    due = frame["next_due"].dt.strftime("%m-%d %H:%M").tolist()
    assert due == ["07-03 13:30", "07-05 13:30", "07-08 13:30"]


@pytest.mark.parametrize(
    "symbol, bounds, days",
    [
        ("BTCUSDT", ("2030-01-05", "2030-01-06"), ["2030-01-05", "2030-01-06"]),  # to come
        ("EURUSD=X", ("2024-06-07", "2024-06-10"), ["2024-06-07", "2024-06-10"]),
        ("EURUSD=X", ("2024-06-09T21:00", "2024-06-09T21:00"), ["2024-06-10"]),  # Sunday's open
        ("AAPL", ("2024-06-12T20:00", "2024-06-13T13:29"), []),  # the close is no part of it
        ("AAPL", ("2024-06-12T19:59:59", "2024-06-13T13:30"), ["2024-06-12", "2024-06-13"]),
    ],
)
def test_both_ends_of_a_range_are_included(
    manager: DataManager, symbol: str, bounds: tuple[str, str], days: list[str]
) -> None:
    assert manager.sessions(symbol, *bounds).index.strftime("%Y-%m-%d").tolist() == days


@pytest.mark.parametrize(
    "bounds, said",
    [
        (("2024-06-02", "2024-06-01"), "end '2024-06-01' is before start"),
        (("2024-06-02", None), "end must be a time, not None"),
        (("soon", "2024-06-02"), "start 'soon' is not a time"),
    ],
)
def test_sessions_reject_invalid_bounds(
    manager: DataManager, bounds: tuple[Any, Any], said: str
) -> None:
    with pytest.raises(BadRangeError, match=said):
        manager.sessions("AAPL", *bounds)


def test_the_session_of_an_instrument_at_an_instant_lists_its_breaks(
    client: BarsClient, manager: DataManager
) -> None:
    who = manager.provider_selector.instrument("0700.HK")
    noon = parse_iso("2024-06-13T04:30")  # the market of Hong Kong pauses for lunch
    (session,) = client.sessions(who, Span(noon, noon + 1))
    assert session.day == date(2024, 6, 13)
    assert session.breaks and noon in session.breaks[0]


# --- what is stored ------------------------------------------------------------------------


def test_columns_are_read_only_views_of_one_generation(client: BarsClient, store: BarStore) -> None:
    part = Span(DAY.start, DAY.start + 3 * HOUR_MS)
    found = client.columns(HOURS, part)
    assert found.table.stamps.tolist() == list(range(*part, HOUR_MS))
    assert found.table.close.tolist() == [100.0] * 3
    assert [(p.span, p.vendor, p.basis) for p in found.coverage] == [
        (part, "binance", Basis("raw"))
    ]
    for values in (found.table.stamps, found.table.close):
        assert not values.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    store.commit(HOURS, Commit((piece(DAY, 101.0),)))
    assert client.columns(HOURS, part).generation == found.generation + 1
    assert found.table.close.tolist() == [100.0] * 3, "returned columns do not change"
    assert client.columns(HOURS, part).table.close.tolist() == [101.0] * 3


def test_series_are_listed_by_symbol_timeframe_and_lane(
    client: BarsClient, store: BarStore
) -> None:
    days = SeriesKey("BTCUSDT", Timeframe.parse("1d"), ("raw",))
    other = SeriesKey("ETHUSDT", HOURS.timeframe)
    for key in (days, other):
        store.commit(key, Commit((piece(Span(DAY.start, DAY.start + HOUR_MS)),)))
    assert set(client.series()) == {HOURS, days, other}
    assert set(client.series("BTC*")) == {HOURS, days}
    assert set(client.series("* 1h")) == {HOURS, other}
    assert client.series("* 1d@raw") == [days]
    assert client.series("btc*") == client.series("BTC") == []


def test_commits_list_changed_bars_and_kept_versions(client: BarsClient, store: BarStore) -> None:
    store.commit(HOURS, Commit((piece(DAY, 101.0),)))
    client.pin(HOURS, 1)
    first, second = client.commits(HOURS)
    assert (first.generation, first.vendor, first.span, first.added) == (1, "binance", DAY, 24)
    assert (first.at_ms, first.years, first.is_kept, first.is_pinned) == (NOW, (2024,), True, True)
    assert (second.changed, second.removed, second.is_pinned) == (24, 0, False)
    store.clear("BTCUSDT", HOURS.timeframe)
    assert client.commits(HOURS)[-1].deleted == "clear"
    assert client.commits(SeriesKey("NONE", HOURS.timeframe)) == []


def test_quarantined_rows_and_files_are_listed_with_the_reason(
    client: BarsClient, store: BarStore, services: Services
) -> None:
    bad = Bar(DAY.end, 1.0, 0.5, 2.0, 1.0, 1.0)
    store.commit(HOURS, Commit(suspects=(BadRow(bad, "high below low"),)))
    assert client.quarantined(HOURS).files == ()
    ((row, reason),) = client.quarantined(HOURS).rows
    assert (row[:6], reason) == (bad[:6], "high below low")
    (path,) = services.cache.cache_dir.rglob("BTCUSDT/1h/2024.csv.gz")
    path.write_bytes(path.read_bytes()[:-20] + b"\0" * 20)
    repaired(store, HOURS)
    ((name, why),) = client.quarantined(HOURS).files
    assert name.startswith("2024.") and why


# --- commits as they happen ----------------------------------------------------------------


def test_subscribers_are_notified_of_each_commit_from_any_writer(
    client: BarsClient, store: BarStore, manager: DataManager, vendor: FixedVendor
) -> None:
    heard: list[CommitNotice] = []
    take_out = client.subscribe(heard.append)
    manager.cache.store.commit(HOURS, Commit((piece(DAY, 101.0),)))  # another store on the folder
    client.get(client.query("BTCUSDT", "1h", "2024-06-02", "2024-06-02"))
    assert [(n.series, n.generation, n.vendor) for n in heard] == [
        (HOURS, 2, "binance"), (HOURS, 3, "binance"),
    ]  # fmt: skip
    assert [n.bars for n in heard] == [24, 29], "five stored bars were fetched for comparison"
    assert heard[0].span == DAY and heard[0].at_ms == NOW
    client.plan(client.query("BTCUSDT", "1h", "2024-06-03", "2024-06-03"))
    assert len(heard) == 2, "a plan commits nothing"
    take_out()
    store.commit(HOURS, Commit((piece(DAY, 102.0),)))
    assert len(heard) == 2


def test_a_symbol_that_no_rule_recognizes_is_answered_from_its_default_lane(
    client: BarsClient, store: BarStore
) -> None:
    """Bars of a symbol whose rule was removed hide no other series from jobs over the whole cache."""
    odd = SeriesKey("ODDLONGNAME", HOURS.timeframe)
    beside = replace(odd, lane=("split",))
    with pytest.raises(QueryError):
        client.query(odd.symbol, odd.timeframe)
    for key in (odd, beside):
        store.commit(key, Commit((piece(DAY),), kind=KIND))
    assert client.answering([odd, beside, HOURS]) == [odd, HOURS]
    assert client.answering([beside, HOURS]) == [HOURS]


def test_a_subscriber_that_raises_affects_neither_commits_nor_other_subscribers(
    client: BarsClient, store: BarStore, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[CommitNotice] = []

    def broken(notice: CommitNotice) -> None:
        raise RuntimeError(f"no room for {notice.generation}")

    client.subscribe(broken)
    client.subscribe(heard.append)
    for price in (101.0, 102.0):
        store.commit(HOURS, Commit((piece(DAY, price),)))
    assert [notice.generation for notice in heard] == [2, 3]
    assert client.columns(HOURS, DAY).table.close[0] == 102.0
    assert len([r for r in caplog.records if "no room" in r.getMessage()]) == 1


# --- pins ----------------------------------------------------------------------------------


def test_a_pinned_generation_stays_readable_as_the_series_changes(
    tmp_path: Path, clock: ManualClock
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("cache: {keep_versions: 1}\n")

    def made() -> tuple[BarsClient, BarStore]:
        services = build(tmp_path / "cache", rules, clock=clock)
        return services.client, services.cache.store

    client, store = made()
    for price in (100.0, 101.0, 102.0):
        store.commit(HOURS, Commit((piece(DAY, price),), kind=KIND))
    with pytest.raises(QueryError, match="no longer kept"):
        client.pin(HOURS, 1)
    client.pin(HOURS, 2)
    client.pin(HOURS, 2)
    # In another process, as it were: what is pinned there is what counts.
    client, store = made()
    for price in (103.0, 104.0, 105.0):
        store.commit(HOURS, Commit((piece(DAY, price),), kind=KIND))
    assert [c.generation for c in client.commits(HOURS) if c.is_kept] == [2, 5, 6]

    def then(version: int) -> float:
        asked = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01", None, Wishes(version=version))
        return float(client.get(client.query(*asked))["close"].iloc[0])

    assert then(2) == 101.0
    drop_derived(store.parts, Inventory(store.parts).contents().lanes, lambda lane: 0, 1 << 40)
    assert then(2) == 101.0, "space is freed from other files"
    client.unpin(HOURS, 2)
    client.unpin(HOURS, 2)
    store.commit(HOURS, Commit((piece(DAY, 106.0),), kind=KIND))
    with pytest.raises(QueryError, match="no longer kept"):
        then(2)


@pytest.mark.parametrize("keep", [0, 1])
def test_a_pinned_generation_survives_rewrites_and_compaction(
    tmp_path: Path, clock: ManualClock, keep: int
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"cache: {{keep_versions: {keep}}}\n")
    services = build(tmp_path / "cache", rules, clock=clock)
    client, store = services.client, services.cache.store
    days = [Span(DAY.start + n * DAY_MS, DAY.end + n * DAY_MS) for n in range(3)]
    for place, day in enumerate(days):
        store.commit(HOURS, Commit((piece(day, 100.0 + place),), kind=KIND))
        if place == 1:
            client.pin(HOURS, 2)
    # Log lines of commits that were found after a crash do not contain where they begin.
    log = store.parts.lane(HOURS).paths.log(2024)
    log.write_text(log.read_text().replace('"touched"', '"other"'))
    services.cache.maintenance.compact([HOURS])
    whole = Span(DAY.start, days[-1].end)
    for price in (7.0, 8.0, 9.0):
        store.commit(HOURS, Commit((piece(whole, price),), kind=KIND))
    table, _ = store.read_version(HOURS, whole, 2)
    assert table.close.tolist() == [100.0] * 24 + [101.0] * 24
    assert store.read(HOURS, whole)[0].close[0] == 9.0


def test_pinned_generations_are_neither_evicted_nor_deleted_by_age(
    client: BarsClient, store: BarStore, services: Services, clock: ManualClock
) -> None:
    lane = store.parts.lane(HOURS)
    client.pin(HOURS, 1)
    clock.advance(90 * 86_400)
    services.cache.max_age = Age.parse("10d")
    other = SeriesKey("ETHUSDT", HOURS.timeframe)
    newer = Span(clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS, clock.now_ms() // HOUR_MS * HOUR_MS)
    late = replace(piece(newer), fetched_at=clock.now_ms())
    store.commit(other, Commit((replace(piece(DAY), fetched_at=clock.now_ms()),), kind=KIND))
    store.commit(SeriesKey("XRPUSDT", HOURS.timeframe), Commit((late,), kind=KIND))
    clock.advance(86_400)
    services.cache.look_after()
    assert store.view(other).rows == 0, "old data were deleted"
    assert store.view(HOURS).rows == 24
    assert not evict_year(lane, 2024, 1)
    assert PINNED in services.cache.freeable().kept
    client.unpin(HOURS, 1)
    assert evict_year(lane, 2024, 1)


def test_a_generation_that_does_not_exist_cannot_be_pinned(
    client: BarsClient, services: Services
) -> None:
    with pytest.raises(QueryError, match="has no version 2"):
        client.pin(HOURS, 2)
    with pytest.raises(QueryError, match="nothing is stored"):
        client.pin(SeriesKey("ETHUSDT", HOURS.timeframe), 1)
    assert not list(services.cache.ohlcv_dir.glob("ETH*"))


def test_columns_can_be_pinned_after_a_commit_that_changed_no_year(
    client: BarsClient, store: BarStore
) -> None:
    store.commit(HOURS, Commit(next_due=NOW + HOUR_MS))
    generation = client.columns(HOURS, DAY).generation
    assert generation == 2, "no year was changed, and no log lists the generation"
    client.pin(HOURS, generation)
    store.commit(HOURS, Commit((piece(DAY, 101.0),), kind=KIND))
    table, _ = store.read_version(HOURS, DAY, generation)
    assert table.close.tolist() == [100.0] * 24


def test_a_read_only_table_shares_memory_with_the_original() -> None:
    stamps, values = np.arange(3, dtype=np.int64), np.ones(3)
    shown = BarTable(stamps, values, values, values, values, values).read_only()
    assert np.shares_memory(shown.stamps, stamps) and np.shares_memory(shown.close, values)
    assert shown.adj_close is None and values.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        shown.close[0] = 2.0
