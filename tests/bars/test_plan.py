"""The requests that a span costs, by its pages and windows; the drafted bars of a dry run."""

from __future__ import annotations

import random
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from src.data.bars.dry_run.draft import DraftStore, OutlineStore
from src.data.bars.dry_run.vendors import begun
from src.data.bars.fetch.plan import requests_for
from src.data.cache.actions import Asked
from src.data.cache.store import BarStore, Commit, CommitPiece
from src.data.calendars.calendar import calendar_for
from src.data.calendars.grid import BarGrid
from src.data.model.actions import Action
from src.data.model.bars import BarTable, merge
from src.data.model.capabilities import Capabilities
from src.data.model.coverage import Covered
from src.data.model.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.model.instrument import Instrument
from src.data.model.kind import Basis, Kind
from src.data.model.query import BarsQuery
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from src.data.vendors.paging import windows
from src.data.vendors.yahoo.bars import YahooDataDownloader
from tests.effort import calls_of

BTC, AAPL = Instrument("BTCUSDT", "crypto"), Instrument("AAPL", "stock", "XNYS", "America/New_York")
HOUR = Timeframe.parse("1h")
START = parse_iso("2024-06-03")
KEY = SeriesKey("BTCUSDT", HOUR)


def grid(instrument: Instrument, label: str) -> BarGrid:
    return BarGrid(calendar_for(instrument), Timeframe.parse(label))


@pytest.mark.parametrize("bars", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("late_ms", [0, 1])
def test_counted_pages_equal_the_pages_of_a_simulated_download(bars: int, late_ms: int) -> None:
    caps = Capabilities(frozenset({"crypto"}), {"1h": "1h"}, page_bars=3)
    span = Span(START, START + bars * HOUR_MS + late_ms)
    stamps = list(range(START, span.end, HOUR_MS))
    walked, at = 0, span.start
    while at < span.end:  # as a vendor that pages by time is followed
        page = [s for s in stamps if s >= at][:3]
        walked += 1
        if len(page) < 3:
            break
        at = page[-1] + HOUR_MS
    assert requests_for(caps, span, grid(BTC, "1h")) == walked


@pytest.mark.parametrize(("instrument", "label"), [(AAPL, "1m"), (BTC, "1h"), (AAPL, "1d")])
@pytest.mark.parametrize("days", [1, 3, 40, 200])
def test_outlines_of_many_windows_equal_those_computed_one_by_one(
    instrument: Instrument, label: str, days: int
) -> None:
    of, start = grid(instrument, label), parse_iso("2024-03-27T15:00")
    asked = windows(Span(start, start + 250 * DAY_MS), of.timeframe, days=days)
    assert list(of.outlines(asked)) == [of.outline(window) for window in asked]
    assert any(outline.bars == 0 for outline in of.outlines(asked)) or days > 1 or instrument is BTC


def test_counting_requests_for_a_long_span_does_not_read_the_calendar_per_window() -> None:
    caps = Capabilities(frozenset({"stock"}), {"1m": "1m"}, page_bars=1200, page_days={"1m": 2})
    of = grid(AAPL, "1m")
    first, second = (Span(START - days * DAY_MS, START) for days in (720, 1440))
    requests_for(caps, second, of)  # loads the sessions
    counts = [calls_of(lambda span=span: requests_for(caps, span, of)) for span in (first, second)]  # type: ignore[misc]
    assert (counts[1] - counts[0]) / 360 < 20  # a look takes some 100


def test_a_full_page_costs_another_request_only_if_the_span_goes_past_the_close() -> None:
    caps = Capabilities(frozenset({"stock"}), {"1h": "1h"}, page_bars=7)
    session = Span(START, START + DAY_MS)
    assert len(grid(AAPL, "1h").opens(session)) == 7
    assert requests_for(caps, session, grid(AAPL, "1h")) == 2
    closing = Span(START, parse_iso("2024-06-03T20:30"))
    assert requests_for(caps, closing, grid(AAPL, "1h")) == 1


def test_request_counts_respect_windows_limited_in_days() -> None:
    caps = YahooDataDownloader.capabilities
    week = Span(START, START + 7 * DAY_MS)
    assert requests_for(caps, week, grid(AAPL, "1m")) == 1
    assert requests_for(caps, Span(week.start, week.end + 1), grid(AAPL, "1m")) == 2
    assert requests_for(caps, Span(START - 900 * DAY_MS, START), grid(AAPL, "1d")) == 1
    assert requests_for(None, week, grid(AAPL, "1m")) == 1


def test_a_day_begins_when_its_session_opens() -> None:
    span = Span(START, START + 10 * DAY_MS)
    before, after = (parse_iso(f"2024-06-05T13:{minute}") for minute in ("29", "30"))
    assert begun(grid(AAPL, "1d"), span, before)[-1] == parse_iso("2024-06-04")
    assert begun(grid(AAPL, "1d"), span, after)[-1] == parse_iso("2024-06-05")
    assert begun(grid(AAPL, "1h"), span, after)[-1] == after
    weekend = parse_iso("2024-06-08T12:00")
    assert begun(grid(AAPL, "1d"), span, weekend)[-1] == parse_iso("2024-06-07")
    assert not len(begun(grid(AAPL, "1d"), Span(START, START + 1), START - MINUTE_MS))


def bars(first: int, count: int, price: float) -> BarTable:
    stamps = np.arange(first, first + count * HOUR_MS, HOUR_MS, dtype=np.int64)
    flat = np.full(count, price)
    return BarTable(stamps, flat, flat, flat, flat, flat)


def piece(first: int, count: int, price: float) -> Commit:
    span = Span(first, first + count * HOUR_MS)
    table = bars(first, count, price)
    return Commit((CommitPiece(table, span, "v", START, Kind(), Basis("raw"), "final"),))


def test_a_draft_is_read_as_if_stored_and_changes_no_file(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.commit(KEY, piece(START, 4, 1.0))
    held = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    draft = DraftStore(store)
    draft.commit(KEY, piece(START + 3 * HOUR_MS, 3, 2.0))
    day = Span(START, START + DAY_MS)
    rows, coverage = draft.read(KEY, day)
    assert rows.close.tolist() == [1, 1, 1, 2, 2, 2]
    assert coverage.standing(START) == [Span(START, START + 6 * HOUR_MS)]
    assert draft.stored_span(KEY, day).table.close.tolist() == [1, 1, 1, 2, 2, 2]
    assert draft.view(KEY).last == START + 5 * HOUR_MS
    assert draft.view(KEY).generation == store.view(KEY).generation + 1
    mark = Covered(day, "empty", reason="nothing")
    draft.commit(KEY, Commit(marks=(mark,)))
    assert [c.state for c in draft.view(KEY).coverage.within(day)] == ["final", "empty"]
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == held


def test_the_store_of_a_dry_run_has_only_reading_methods_with_the_signatures_of_the_real_store() -> (
    None
):
    ours = {name for name in vars(DraftStore) if not name.startswith("_")}
    for name in ours:
        drafted = list(signature(getattr(DraftStore, name)).parameters)
        assert drafted == list(signature(getattr(BarStore, name)).parameters), name
    drafts = {"commit", "add_actions", "forget_actions"}
    assert ours - drafts == {
        "actions",
        "check",
        "lanes_beside",
        "log",
        "position",
        "pull",
        "read",
        "read_version",
        "stored_span",
        "symbols",
        "view",
    }


def test_a_draft_on_a_damaged_file_shows_the_bars_that_a_repair_would_keep(
    tmp_path: Path,
) -> None:
    BarStore(tmp_path).commit(KEY, piece(START, 4, 1.0))
    (path,) = tmp_path.rglob("*.csv.gz")
    path.write_bytes(b"\xff" * path.stat().st_size)
    draft = DraftStore(BarStore(tmp_path).preview())
    draft.commit(KEY, piece(START + 6 * HOUR_MS, 2, 2.0))
    day, later = Span(START, START + DAY_MS), Span(START + 6 * HOUR_MS, START + 8 * HOUR_MS)
    known = draft.view(KEY).coverage.standing(START)
    assert known == [Span(START, START + 4 * HOUR_MS), later], "only the document is sound"
    rows, coverage = draft.read(KEY, day)
    assert rows.close.tolist() == [2, 2]
    assert coverage.standing(START) == draft.view(KEY).coverage.standing(START) == [later]


def test_actions_added_to_a_draft_are_not_stored(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    draft = DraftStore(store)
    split = Action(day := __import__("datetime").date(2024, 6, 10), "split", 0, numerator=10)
    asked = Asked(Span(START, START + 30 * DAY_MS), "v", START)
    draft.add_actions("AAPL", [split], *asked)
    assert [a.ex_date for a in draft.actions("AAPL").splits] == [day]
    assert draft.actions("AAPL").covers(asked.span)
    assert store.actions("AAPL").splits == ()


def random_bars(dice: random.Random, first: int, count: int) -> BarTable:
    """Return bars with some stamps missing, and now and then with one price for all."""
    stamps = first + HOUR_MS * np.array(sorted(dice.sample(range(count), dice.randint(1, count))))
    prices = [1.0] * len(stamps) if dice.random() < 0.5 else [dice.random() for _ in stamps]
    column = np.array(prices)
    adj_close = column if dice.random() < 0.2 else None
    return BarTable(stamps.astype(np.int64), column, column, column, column, column, adj_close)


def rows_of(table: BarTable) -> str:
    return repr([column.tolist() for column in (table.stamps, *table.values())])


@pytest.mark.parametrize("seed", range(10))
def test_a_draft_returns_all_bars_and_its_outline_only_the_ends_of_each_run(
    tmp_path: Path, seed: int
) -> None:
    dice, store = random.Random(seed), BarStore(tmp_path)
    store.commit(KEY, piece(START + 20 * HOUR_MS, 10, 3.0))
    draft, expected = DraftStore(store), bars(START + 20 * HOUR_MS, 10, 3.0)
    for _ in range(6):
        table = random_bars(dice, START + dice.randrange(60) * HOUR_MS, dice.randint(1, 30))
        span = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
        one = CommitPiece(table, span, "v", START, Kind(), Basis("raw"), "final", keeps=True)
        draft.commit(KEY, Commit((one,)))
        expected = merge(expected, table)
    query = BarsQuery(BTC, HOUR, Span(START, START + 4 * DAY_MS), START + 5 * DAY_MS)
    outlined = OutlineStore(draft, query)
    for _ in range(20):
        begin = START + dice.randrange(90) * HOUR_MS
        span = Span(begin, begin + dice.randrange(60) * HOUR_MS)
        rows, wanted = draft.read(KEY, span)[0], expected.within(span)
        assert rows_of(rows.with_adj_close(None)) == rows_of(wanted.with_adj_close(None))
        some = outlined.stored_span(KEY, span).table
        assert set(some.stamps) <= set(wanted.stamps)
        assert some.stamps[:1].tolist() == wanted.stamps[:1].tolist()
        assert some.stamps[-1:].tolist() == wanted.stamps[-1:].tolist()
        assert len(some) + outlined.left_out(KEY, span, some) == len(wanted)
    for whole in (replace(query, bars=5), replace(query, timeframe=Timeframe.parse("1d"))):
        assert not OutlineStore(draft, whole).is_outlined(KEY)


def test_an_outline_of_a_long_run_consists_of_two_bars(tmp_path: Path) -> None:
    draft = DraftStore(BarStore(tmp_path))
    draft.commit(KEY, piece(START, 1000, 1.0))
    query = BarsQuery(BTC, HOUR, Span(START, START + 90 * DAY_MS), START + 90 * DAY_MS)
    table = OutlineStore(draft, query).stored_span(KEY, query.span).table
    assert table.stamps.tolist() == [START, START + 999 * HOUR_MS]
