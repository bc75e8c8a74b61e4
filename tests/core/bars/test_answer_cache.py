"""Tests the in-memory cache of answers: an answer is reused exactly as long as it is valid."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.bars.answer.answer import Answer, Gap, Rows
from src.data.core.bars.answer.reader import Reader
from src.data.core.bars.client import Wishes
from src.data.core.bars.lookup import (
    EACH_BYTES,
    MISS,
    MOST_ROWS,
    AnswerCache,
    CacheLookup,
    Hit,
    memory_key,
)
from src.data.core.bars.selection.lanes import LaneFinder
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.core.model.market.actions import Action
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import date_of, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.runtime.lru_cache import LruCache
from src.data.data_manager import DataManager
from src.data.errors import StorageError
from tests.core.cache import bars as plain
from tests.core.cache.bars import DAILY, MINUTES, NOW, at, lane_folder, mark, piece, store_in
from tests.core.cache.busy import busy
from tests.core.cache.crash import Quick
from tests.core.cache.test_columnar_processes import in_a_child
from tests.vendor_server import VendorServer

ASKED = ("BTCUSDT", "1m", "2024-01-01T00:00:00", "2024-01-01T01:39:00")
SHARE = ("AAPL", "1d", "2024-01-02", "2024-02-10")
BARS = 200
KNOWN = Basis("split", date(2024, 6, 3))
PAIR = Kind("24h", "clock", "binance", "USDT", "base")
Reads = list[str]
# The keys under which a test put answers and questions into a memory.
_PUT = list[tuple[Any, ...]]()


def minutes(first: int, end: int, **other: Any) -> CommitPiece:
    """Return a piece of minutes of the kind that the rules' first vendor serves."""
    return plain.minutes(first, end, **{"kind": PAIR} | other)


def store_at(root: Path) -> BarStore:
    """Return another program's store on the same folder."""
    return store_in(root / "cache", Quick(), columnar="map")


def settle(root: Path) -> None:
    """Make all files old enough to be trusted by their modification time."""
    for number, path in enumerate(sorted((root / "cache").rglob("*"))):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10 - number))


@pytest.fixture(autouse=True)
def puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the keys of what is kept of answers."""
    _PUT.clear()
    put = LruCache.put

    def noted(self: LruCache, key: Any, value: Any, size: int) -> None:
        if key[0] in ("answer", "seen") and key not in _PUT:
            _PUT.append(key)
        put(self, key, value, size)

    monkeypatch.setattr(LruCache, "put", noted)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Return the symbols of all answers that were read from the store."""
    found: Reads = []
    read = Reader.read

    def noted(self: Reader, query: object, key: object, *args: object, **more: object) -> object:
        found.append(str(key))
        return read(self, query, key, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "read", noted)
    return found


@pytest.fixture
def ticking() -> ManualClock:
    """Return the clock of the manager."""
    return ManualClock(NOW)


@pytest.fixture(scope="module")
def _stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bars of both questions, to be copied."""
    folder = tmp_path_factory.mktemp("stored")
    store = store_at(folder)
    store.commit(MINUTES, Commit((minutes(0, BARS),)))
    store.commit(DAILY, Commit((piece(0, 60, basis=KNOWN),)))
    store.add_actions("AAPL", [], Span(at(-400), at(400)), "acme", at(60))
    return folder


@pytest.fixture
def manager(tmp_path: Path, reads: Reads, ticking: ManualClock, _stored: Path) -> DataManager:
    """Return a manager that has answered both questions before."""
    shutil.copytree(_stored / "cache", tmp_path / "cache")
    made = DataManager(tmp_path / "cache", clock=ticking)
    settle(tmp_path)
    for _ in range(2):
        asked(made)
        asked(made, SHARE)
    reads.clear()
    return made


def asked(manager: DataManager, question: tuple[str, ...] = ASKED, **more: object) -> pd.DataFrame:
    return manager.get_ohlcv(*question, offline=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("question", [ASKED, SHARE], ids=["coin", "share"])
def test_a_repeated_request_is_answered_without_reading_files(
    manager: DataManager, reads: Reads, tmp_path: Path, question: tuple[str, ...]
) -> None:
    held, other = asked(manager, question), DataManager(tmp_path / "cache", clock=ManualClock(NOW))
    assert reads == []
    fresh = asked(other, question)
    assert len(reads) == 1
    pd.testing.assert_frame_equal(held, fresh)
    assert held.attrs["onetape"] == fresh.attrs["onetape"]
    batch = manager.get_ohlcv_batch([question[0]], *question[1:])
    pd.testing.assert_frame_equal(batch[question[0]], fresh)
    assert len(reads) == 1


@pytest.mark.parametrize("bounds", [(), ("2024-01-01", "2024-02-11")], ids=["bare", "asked"])
def test_bars_put_by_a_program_are_cached_with_the_holidays_around_them(
    manager: DataManager, tmp_path: Path, reads: Reads, bounds: tuple[str, ...]
) -> None:
    days = pd.bdate_range("2024-01-02", "2024-02-09").drop(pd.Timestamp("2024-01-15"))
    columns = ["open", "high", "low", "close", "volume"]
    assert manager.cache.put(pd.DataFrame(1.0, days, columns), "MSFT", "1d", *bounds)
    assert held_after(manager, tmp_path, "MSFT", "1d", "2024-01-01", "2024-02-11") == 1
    assert reads == ["MSFT 1d"] * 2
    assert held_after(manager, tmp_path, "MSFT", "1d", "2023-12-29", "2024-02-11") == 0


def test_an_answer_is_cached_from_the_second_request_on(manager: DataManager, reads: Reads) -> None:
    other = (*ASKED[:3], "2024-01-01T00:30:00")
    before = len(givens(manager))
    asked(manager, other)
    assert len(givens(manager)) == before
    asked(manager, other)
    assert len(givens(manager)) == before + 1
    assert len(reads) == 2
    asked(manager, other)
    assert len(reads) == 2


def test_a_cached_answer_has_the_time_of_its_request(
    tmp_path: Path, manager: DataManager, ticking: ManualClock
) -> None:
    ticking.advance(60.0)
    assert asked(manager).attrs["onetape"]["asked_at"] == "2025-01-01T00:01:00Z"


def test_changing_a_frame_does_not_change_the_cached_answer(
    manager: DataManager, reads: Reads
) -> None:
    truth = asked(manager).copy(deep=True)
    spoilt = asked(manager)
    spoilt.iloc[:, :] = -1.0
    spoilt.loc[:, "close"] = 7.0
    spoilt.index.name = "mine"
    spoilt.columns.name = "ours"
    spoilt.attrs["onetape"] = {}
    spoilt.attrs["more"] = 1
    spoilt["extra"] = 0.0
    stamps = asked(manager).index.to_numpy()
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(stamps)[:] = np.datetime64(0, "ns")
    with pytest.raises(ValueError, match=r"read-only|writ[e]?able"):
        asked(manager).index.asi8[:] = 0
    again = asked(manager)
    pd.testing.assert_frame_equal(again, truth)
    assert again.index.name == "timestamp"
    assert again.columns.name is None
    assert set(again.attrs) == {"onetape"}
    assert reads == []


def test_a_commit_by_another_process_replaces_a_cached_answer_at_once(
    manager: DataManager, tmp_path: Path
) -> None:
    store_at(tmp_path).commit(MINUTES, Commit((minutes(50, 60, shift=1.0),)))
    closes = asked(manager)["close"].to_numpy()
    assert closes[50] == pytest.approx(106.0)
    assert closes[49] == pytest.approx(104.9)


def test_an_outdated_cached_answer_is_removed_when_it_is_requested(
    manager: DataManager, tmp_path: Path
) -> None:
    before = len(givens(manager))
    store_at(tmp_path).commit(MINUTES, Commit(marks=(mark(3, 4, "suspect", 60_000),)))
    asked(manager)
    assert len(givens(manager)) == before - 1


def test_a_suspect_mark_by_another_process_replaces_a_cached_answer_at_once(
    manager: DataManager, tmp_path: Path
) -> None:
    store_at(tmp_path).commit(MINUTES, Commit(marks=(mark(3, 4, "suspect", 60_000),)))
    assert asked(manager).attrs["onetape"]["spans"][1]["state"] == "suspect"


def test_a_cached_answer_is_dropped_after_a_clear(
    manager: DataManager, tmp_path: Path, reads: Reads
) -> None:
    store_at(tmp_path).clear("BTCUSDT")
    with pytest.raises(RuntimeError):
        asked(manager)


@pytest.mark.parametrize("how", ["touched", "other bytes", "shorter", "another file", "gone"])
def test_a_data_file_that_was_tampered_with_is_read_again(
    manager: DataManager, tmp_path: Path, reads: Reads, how: str
) -> None:
    path = lane_folder(tmp_path / "cache", MINUTES) / "2024.csv.gz"
    folder, content = path.parent.stat(), bytearray(path.read_bytes())
    if how == "another file":
        path.with_suffix(".new").write_bytes(content)
        os.replace(path.with_suffix(".new"), path)
    elif how == "gone":
        path.unlink()
    elif how == "touched":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if how == "other bytes" else content[:-20])
    os.utime(path.parent, ns=(0, folder.st_mtime_ns))
    try:
        asked(manager)
    except RuntimeError:
        assert how in ("gone", "shorter", "other bytes")
    assert len(reads) >= 1


def test_a_newly_stored_split_changes_the_prices_of_a_cached_answer(
    manager: DataManager, tmp_path: Path
) -> None:
    before = asked(manager, SHARE)["close"].iloc[0]
    split = Action(date(2024, 6, 10), "split", at(161), 4.0, 1.0, source="acme", fetched_at=at(200))
    store_at(tmp_path).add_actions("AAPL", [split], Span(at(100), at(400)), "acme", at(200))
    assert asked(manager, SHARE)["close"].iloc[0] == pytest.approx(before / 4)


@pytest.mark.parametrize("has_actions", [False, True])
def test_a_newly_recorded_symbol_change_is_mentioned_even_if_no_split_applies_to_the_bars(
    manager: DataManager, tmp_path: Path, *, has_actions: bool
) -> None:
    """No split is applied to bars of unknown adjustment, such as those that a program put."""
    days = pd.bdate_range("2024-01-16", "2024-02-09")
    columns = ["open", "high", "low", "close", "volume"]
    assert manager.cache.put(pd.DataFrame(1.0, days, columns), "MSFT", "1d")
    if has_actions:
        store_at(tmp_path).add_actions("MSFT", [], Span(at(-400), at(400)), "acme", at(60))
    question = ("MSFT", "1d", "2024-01-16", "2024-02-09")
    assert held_after(manager, tmp_path, *question) == 1
    change = SymbolChange(date(2024, 2, 1), "listing", "MSFT", source="a test")
    other = DataManager(tmp_path / "cache", clock=ManualClock(NOW))
    other.client.record_symbol_changes({"MSFT": [change]})
    facts = asked(manager, question).attrs["onetape"]
    assert facts["symbol_changes"] == asked(other, question).attrs["onetape"]["symbol_changes"]


@pytest.mark.parametrize(
    "more",
    [{"columns": ("source",)}, {"closed_by": "2024-01-01T00:30:00"}, {"include_forming": True},
     {"adjustment": "raw"}, {"adjustment": "all"}, {"version": 1}],
    ids=lambda more: next(iter(more)) + str(next(iter(more.values()))),
)  # fmt: skip
def test_a_request_with_other_options_gets_its_own_answer(
    manager: DataManager, tmp_path: Path, more: dict[str, object]
) -> None:
    other = asked(DataManager(tmp_path / "cache", clock=ManualClock(NOW)), **more)
    mine = asked(manager, **more)
    pd.testing.assert_frame_equal(mine, other)
    assert mine.attrs["onetape"] == other.attrs["onetape"]


def lanes_of(manager: DataManager) -> LaneFinder:
    return LaneFinder(manager.provider_selector, manager.cache.store)


def recent_of(manager: DataManager) -> AnswerCache:
    """Return what finds the answers that the manager keeps: in the memory of its store."""
    store, clock = manager.cache.store, ManualClock(NOW)
    return AnswerCache(store, lanes_of(manager), Reader(store, clock).days)


def memory_of(manager: DataManager) -> LruCache:
    return manager.cache.store.memory


def small(manager: DataManager, most_bytes: int) -> LruCache:
    """Have no more kept than so many bytes, beside what the series take."""
    memory = memory_of(manager)
    memory.most_bytes = memory.size + most_bytes
    return memory


def rules_of_yahoo(folder: Path, vendors: VendorServer) -> Path:
    """Return rules whose Yahoo is the local server."""
    rules = folder / "rules.yaml"
    rules.write_text(
        f"providers: {{yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http}}}}"
    )
    return rules


def givens(manager: DataManager) -> dict[Any, Any]:
    """Return the answers that are kept."""
    memory = memory_of(manager)
    values = {key: memory.get(key) for key in _PUT if key[0] == "answer"}
    return {key: value for key, value in values.items() if value is not None}


def forget(manager: DataManager) -> None:
    """Keep no answer, and know of no question."""
    for key in _PUT:
        memory_of(manager).drop(key)


def held_after(manager: DataManager, root: Path, *question: str, **more: object) -> int:
    """Return the number of cached answers after one request was repeated often enough."""
    forget(manager)
    settle(root)
    for _ in range(2):
        asked(manager, question or ASKED, **more)
    return len(givens(manager))


def question_of(manager: DataManager) -> BarsQuery:
    return manager.client.query(*ASKED)


def wanted_again(manager: DataManager, query: BarsQuery) -> AnswerCache:
    """Return an empty cache that has seen a query often enough to keep its next answer."""
    forget(manager)
    memory_of(manager).put(("seen", *memory_key(query)), True, 1)
    assert recent_of(manager).find(query) is MISS
    return recent_of(manager)


@pytest.mark.parametrize(
    "commit",
    [Commit(marks=(mark(40, 50, "suspect", 60_000),)),
     Commit(marks=(mark(40, 50, "provisional", 60_000),)),
     Commit((minutes(40, 50, steps=()),), marks=(mark(40, 50, "empty", 60_000, reason="x"),))],
    ids=["suspect", "provisional", "a hole"],
)  # fmt: skip
def test_an_answer_that_may_still_change_is_not_cached(
    manager: DataManager, tmp_path: Path, commit: Commit
) -> None:
    store_at(tmp_path).commit(MINUTES, commit)
    assert held_after(manager, tmp_path) == 0


def test_an_incomplete_answer_is_not_cached(manager: DataManager, tmp_path: Path) -> None:
    gone = mark(40, 50, "empty", 60_000, reason="no bar", expires=NOW + 60_000)
    commit = Commit((minutes(0, 40), minutes(50, BARS)), marks=(gone,))
    store_at(tmp_path).commit(SeriesKey("ETHUSDT", MINUTES.timeframe), commit)
    assert held_after(manager, tmp_path, "ETHUSDT", *ASKED[1:]) == 0


def test_an_answer_whose_series_is_due_later_is_cached_until_then(
    manager: DataManager, tmp_path: Path, reads: Reads
) -> None:
    commit = Commit((minutes(0, 60),), next_due=NOW + 60_000)
    store_at(tmp_path).commit(SeriesKey("ETHUSDT", MINUTES.timeframe), commit)
    assert held_after(manager, tmp_path, "ETHUSDT", *ASKED[1:]) == 1
    (given,) = givens(manager).values()
    assert given.until_ms == NOW + 60_000


def test_an_answer_with_an_empty_span_is_cached_until_the_span_expires(
    manager: DataManager, tmp_path: Path, reads: Reads, ticking: ManualClock
) -> None:
    closed = mark(40, 50, "empty", 60_000, reason="market closed", expires=NOW + 60_000)
    key, question = SeriesKey("ETHUSDT", MINUTES.timeframe), ("ETHUSDT", *ASKED[1:])
    store_at(tmp_path).commit(key, Commit((minutes(0, 40), minutes(50, BARS)), marks=(closed,)))
    settle(tmp_path)
    for _ in range(3):
        asked(manager, question)
    reads.clear()
    asked(manager, question)
    assert reads == []
    ticking.advance(60.0)
    asked(manager, question)
    assert reads != []


def test_a_cached_answer_is_a_miss_if_the_clock_is_earlier_than_its_time(
    manager: DataManager,
) -> None:
    query = question_of(manager)
    assert isinstance(recent_of(manager).find(query), Hit)
    assert recent_of(manager).find(replace(query, now_ms=at(50, 60_000))) is MISS


def test_frames_of_one_cached_answer_share_no_values(manager: DataManager) -> None:
    one, other = asked(manager), asked(manager)
    assert not np.shares_memory(one["close"].to_numpy(), other["close"].to_numpy())


def test_cached_answers_are_bounded_in_memory(tmp_path: Path, manager: DataManager) -> None:
    memory = small(manager, 10 * EACH_BYTES)
    for minute in (*range(10, 99, 3), *range(10, 99, 3)):
        question = (*ASKED[:3], f"2024-01-01T01:{minute % 60:02d}:00")
        for _ in range(2):
            asked(manager, question)
        assert memory.size <= memory.most_bytes
    assert 0 < len(givens(manager)) <= 20


def test_a_cached_frame_shares_the_memory_of_its_rows(manager: DataManager) -> None:
    for given in givens(manager).values():
        frame, rows = given.frame, given.answer.table
        assert np.array_equal(frame["close"].to_numpy(), rows.close)
        assert all(np.shares_memory(frame.to_numpy(), values) for values in rows.values())


def test_each_thread_and_forked_process_gets_its_own_frame(
    manager: DataManager, reads: Reads
) -> None:
    truth, wrong = asked(manager).copy(deep=True), []

    def work() -> None:
        for _ in range(20):
            frame = asked(manager)
            if not frame.equals(truth):
                wrong.append(frame)
            frame.iloc[:, :] = 0.0

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    if not hasattr(os, "fork"):
        return

    def child() -> None:
        work()
        assert wrong == []
        asked(manager, SHARE)

    with busy(memory_of(manager)):  # as if another thread had it when the process forked
        assert in_a_child(child) == 0
    work()
    assert wrong == []


# --- what is never held ---------------------------------------------------------------------

HOURS = SeriesKey("AAPL", Timeframe(1, "h"))
HOURLY = ("AAPL", "1h", "2024-01-03T00:00:00", "2024-01-15T00:00:00")


def test_dividend_adjusted_hours_that_depend_on_daily_closes_are_not_cached(
    manager: DataManager, tmp_path: Path
) -> None:
    paid = Action(date(2024, 1, 10), "dividend", at(9), amount=50.0, source="acme",
                  fetched_at=at(200))  # fmt: skip
    writer = store_at(tmp_path)
    writer.commit(HOURS, Commit((piece(0, 480, size=3_600_000, basis=KNOWN),)))
    writer.add_actions("AAPL", [paid], Span(at(-400), at(400)), "acme", at(200))
    assert held_after(manager, tmp_path, *HOURLY, adjustment="all") == 0
    before = asked(manager, HOURLY, adjustment="all")["close"].iloc[0]
    assert before < asked(manager, HOURLY)["close"].iloc[0]
    writer.commit(DAILY, Commit((piece(8, 9, shift=100.0, basis=KNOWN),)))
    assert asked(manager, HOURLY, adjustment="all")["close"].iloc[0] > before


def test_converted_daily_prices_are_cached(manager: DataManager, tmp_path: Path) -> None:
    assert held_after(manager, tmp_path, *SHARE) == 1
    assert held_after(manager, tmp_path, *SHARE, adjustment="raw") == 1


def test_the_newest_session_without_an_as_of_date_is_not_converted(
    manager: DataManager, tmp_path: Path
) -> None:
    """What a night fetches of its last session is stored so; its stretch begins at a weekend."""
    newest = date_of(at(62))
    nights = (
        piece(0, 60, basis=Basis("split", newest), adj=True),
        piece(60, 63, steps=(62,), basis=Basis("split"), adj=True),
    )
    store_at(tmp_path).commit(DAILY, Commit(nights))
    question = ("AAPL", "1d", "2024-01-02", str(newest))
    assert held_after(manager, tmp_path, *question) == 1
    answer = asked(manager, question)
    assert answer.attrs["onetape"]["as_of"] == str(newest)
    assert (answer["adj_close"] == answer["close"] / 2).all()


def test_a_fully_adjusted_answer_for_a_coin_is_cached_because_it_needs_no_conversion(
    manager: DataManager, tmp_path: Path
) -> None:
    assert held_after(manager, tmp_path, adjustment="all") == 1


def test_an_answer_of_a_series_with_quarantined_rows_is_not_cached(
    manager: DataManager, tmp_path: Path
) -> None:
    store_at(tmp_path).commit(MINUTES, Commit((minutes(50, 60, shift=1.0),)))
    assert held_after(manager, tmp_path) == 1
    writer = store_at(tmp_path)
    writer.commit(MINUTES, Commit((minutes(50, 60, steps=(50, 51)),)))
    writer.commit(MINUTES, Commit((minutes(50, 60),)))
    assert (lane_folder(tmp_path / "cache", MINUTES) / "_quarantine").exists()
    assert held_after(manager, tmp_path) == 0


def test_answers_above_the_row_limit_are_not_cached(manager: DataManager, tmp_path: Path) -> None:
    store_at(tmp_path).commit(MINUTES, Commit((minutes(BARS, MOST_ROWS + 1),)))
    longest = str(pd.Timestamp(at(MOST_ROWS - 1, 60_000), unit="ms"))
    longer = str(pd.Timestamp(at(MOST_ROWS, 60_000), unit="ms"))
    assert held_after(manager, tmp_path, *ASKED[:3], longest) == 1
    assert held_after(manager, tmp_path, *ASKED[:3], longer) == 0


def test_an_answer_is_not_cached_if_a_commit_happened_while_it_was_read(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted_again(manager, question_of(manager))
    read = Reader.read

    def late(self: Reader, query: object, *args: object, **more: object) -> object:
        monkeypatch.setattr(Reader, "read", read)
        store_at(tmp_path).commit(MINUTES, Commit((minutes(50, 60, shift=1.0),)))
        return read(self, query, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "read", late)
    assert asked(manager)["close"].iloc[50] == pytest.approx(106.0)
    assert len(givens(manager)) == 0
    assert asked(manager)["close"].iloc[50] == pytest.approx(106.0)


def answered(manager: DataManager) -> tuple[BarsQuery, Answer, pd.DataFrame]:
    """Return a question, its answer of the store, and the frame made of it."""
    query = question_of(manager)
    store, clock = manager.cache.store, ManualClock(NOW)
    result = CacheLookup(store, lanes_of(manager), Reader(store, clock), clock).find(query)
    assert isinstance(result, Hit)
    return query, result.answer, asked(manager)


@pytest.mark.parametrize("what", ["another lane", "not the store alone", "a view of before"])
def test_an_answer_that_depends_on_more_than_its_series_is_not_cached(
    manager: DataManager, tmp_path: Path, what: str
) -> None:
    query, answer, frame = answered(manager)
    recent = wanted_again(manager, query)
    recent.keep(query, answer, frame)
    assert len(givens(manager)) == 1
    assert answer.depends_on is not None
    store, view = manager.cache.store, answer.depends_on.view
    if what == "another lane":
        query = replace(query, provider="binance")
    elif what == "not the store alone":
        answer = replace(answer, depends_on=None)
    else:
        store_at(tmp_path).commit(DAILY, Commit((piece(60, 61, basis=KNOWN),)))
        store_at(tmp_path).commit(MINUTES, Commit((minutes(BARS, BARS + 1),)))
        settle(tmp_path)
        assert store.view(MINUTES) is not view
    wanted_again(manager, query)
    recent.keep(query, answer, frame)
    assert givens(manager) == {}


@pytest.mark.parametrize(
    "more",
    [{"gaps": (Gap(Span(0, 1), "x"),)}, {"doubts": ("x",)}, {"substitute": "x"}],
    ids=lambda more: next(iter(more)),
)  # fmt: skip
def test_an_answer_with_gaps_doubts_or_a_substitute_is_not_cached(
    manager: DataManager, more: dict[str, Any]
) -> None:
    query, answer, frame = answered(manager)
    recent = wanted_again(manager, query)
    recent.keep(query, replace(answer, **more), frame)
    assert givens(manager) == {}


@pytest.mark.parametrize(
    "more",
    [{"refresh": True}, {"include_forming": True}, {"closed_by_ms": at(30, 60_000)},
     {"columns": ("source",)}, {"version": 1}],
    ids=lambda more: next(iter(more)),
)  # fmt: skip
def test_a_query_with_extra_options_neither_uses_nor_stores_a_cached_answer(
    manager: DataManager, more: dict[str, Any]
) -> None:
    query, answer, frame = answered(manager)
    recent = recent_of(manager)
    assert isinstance(recent.find(query), Hit)
    assert recent.find(replace(query, **more)) is MISS
    wanted_again(manager, query)
    recent.keep(replace(query, **more), answer, frame)
    assert givens(manager) == {}


def test_stored_weeks_of_a_share_are_not_cached_because_days_may_replace_them(
    manager: DataManager, tmp_path: Path
) -> None:
    weeks = SeriesKey("MSFT", Timeframe(1, "w"))
    known = piece(0, 40, steps=range(0, 40, 7), basis=KNOWN)
    writer = store_at(tmp_path)
    writer.commit(weeks, Commit((known,)))
    writer.add_actions("MSFT", [], Span(at(-400), at(400)), "acme", at(60))
    assert held_after(manager, tmp_path, "MSFT", "1w", "2024-01-01", "2024-02-02") == 0
    assert len(asked(manager, ("MSFT", "1w", "2024-01-01", "2024-02-02"))) == 5


# --- the last bars, bars up to now, bars made of others ---------------------------------------

COIN = SeriesKey("ETHUSDT", MINUTES.timeframe)
LAST = (NOW - at(0)) // 60_000
LATEST: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "the last bars": (("ETHUSDT", "1m"), {"bars": 50}),
    "bars up to now": (("ETHUSDT", "1m", "2024-12-31T23:10:00"), {}),
    "the last bars of others": (("ETHUSDT", "45m"), {"bars": 3}),
}


@pytest.fixture
def latest(tmp_path: Path, manager: DataManager, reads: Reads) -> DataManager:
    """Return a manager that has answered questions up to now before; the next bar is due later."""
    bars = minutes(LAST - 300, LAST)
    store_at(tmp_path).commit(COIN, Commit((bars,), next_due=NOW + 60_000))
    settle(tmp_path)
    for _ in range(2):
        for question, more in LATEST.values():
            asked(manager, question, **more)
    reads.clear()
    return manager


@pytest.mark.parametrize("what", LATEST)
def test_an_answer_up_to_now_is_not_read_again_until_a_bar_is_due(
    latest: DataManager, tmp_path: Path, reads: Reads, what: str, ticking: ManualClock
) -> None:
    question, more = LATEST[what]
    ticking.advance(30.0)
    held = asked(latest, question, **more)
    assert reads == []
    fresh = asked(
        DataManager(tmp_path / "cache", clock=ManualClock(NOW + 30_000)), question, **more
    )
    pd.testing.assert_frame_equal(held, fresh)
    assert held.attrs["onetape"] == fresh.attrs["onetape"]
    assert len(held) >= 3
    reads.clear()
    ticking.advance(30.0)
    asked(latest, question, **more)
    assert reads != []


@pytest.mark.parametrize("what", LATEST)
def test_an_answer_up_to_now_shows_the_next_bar_at_once(
    latest: DataManager, tmp_path: Path, what: str, ticking: ManualClock
) -> None:
    question, more = LATEST[what]
    before = asked(latest, question, **more)
    ticking.advance(60 * 45.0)
    now = NOW + 45 * 60_000
    newer = Commit((minutes(LAST, LAST + 45),), next_due=now + 60_000)
    store_at(tmp_path).commit(COIN, newer)
    after = asked(latest, question, **more)
    assert after.index[-1] > before.index[-1]
    fresh = asked(DataManager(tmp_path / "cache", clock=ManualClock(now)), question, **more)
    pd.testing.assert_frame_equal(after, fresh)


@pytest.mark.parametrize("what", LATEST)
def test_an_answer_up_to_now_is_read_again_after_the_clock_is_set_back(
    latest: DataManager, reads: Reads, what: str, ticking: ManualClock
) -> None:
    question, more = LATEST[what]
    ticking.set(NOW - 1)
    asked(latest, question, **more)
    assert reads != []


def test_a_request_for_a_number_of_bars_does_not_share_an_answer_with_one_from_a_start(
    manager: DataManager, tmp_path: Path
) -> None:
    """Both begin fifty minutes ago; ten of these had no trade, for which fifty bars reach back."""
    closed = mark(LAST - 20, LAST - 10, "empty", 60_000, reason="market closed")
    bars = minutes(LAST - 300, LAST - 20), minutes(LAST - 10, LAST)
    store_at(tmp_path).commit(COIN, Commit(bars, marks=(closed,), next_due=NOW + 60_000))
    settle(tmp_path)
    for _ in range(3):
        assert len(asked(manager, ("ETHUSDT", "1m"), bars=50)) == 50
        assert len(asked(manager, ("ETHUSDT", "1m", "2024-12-31T23:10:00"))) == 40
        assert len(asked(manager, ("ETHUSDT", "1m"), bars=7)) == 7


MADE = ("BTCUSDT", "45m", "2024-01-01T00:00:00", "2024-01-01T01:29:00")


def test_derived_bars_are_cached_and_not_derived_again(
    manager: DataManager, tmp_path: Path, reads: Reads
) -> None:
    first = asked(manager, MADE)
    assert len(first) == 2
    asked(manager, MADE)
    reads.clear()
    held = asked(manager, MADE)
    assert reads == []
    fresh = asked(DataManager(tmp_path / "cache", clock=ManualClock(NOW)), MADE)
    pd.testing.assert_frame_equal(held, fresh)
    assert held.attrs["onetape"] == fresh.attrs["onetape"]


def test_derived_bars_up_to_now_are_cached_only_until_the_next_bar_if_the_market_is_closed(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    """On a weekend, the first bar that has not closed has not opened yet, either."""
    rules = rules_of_yahoo(tmp_path, vendors)
    clock.set(parse_iso("2024-06-08T12:00:00"))
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("AAPL", "30m", "2024-06-07", "2024-06-07")

    def last() -> str:
        frame = manager.get_ohlcv("AAPL", "2h", "2024-06-07T19:30", adjustment="raw")
        return str(frame.index[-1])

    assert last() == "2024-06-07 19:30:00"
    settle(tmp_path)
    assert [last() for _ in range(2)] == ["2024-06-07 19:30:00"] * 2
    assert "2h" in {key[2] for key in givens(manager)}
    clock.set(parse_iso("2024-06-10T18:00:00"))
    assert last() == "2024-06-10 15:30:00"


def test_bars_derived_while_vendors_fail_are_not_cached(
    manager: DataManager, tmp_path: Path
) -> None:
    """The vendors that serve them may be back the next time."""
    assert held_after(manager, tmp_path, "BTCUSDT", "30m", *MADE[2:]) == 0
    assert len(asked(manager, ("BTCUSDT", "30m", *MADE[2:]))) == 3


@pytest.mark.parametrize("what", ["their source", "of their own"])
def test_bars_are_derived_again_after_a_commit_to_their_source(
    manager: DataManager, tmp_path: Path, what: str
) -> None:
    for _ in range(3):
        before = asked(manager, MADE)
    if what == "their source":
        store_at(tmp_path).commit(MINUTES, Commit((minutes(44, 45, shift=50.0),)))
    else:
        own = SeriesKey("BTCUSDT", Timeframe(45, "m"))
        bars = piece(0, 4, size=45 * 60_000, shift=50.0, kind=Kind())
        store_at(tmp_path).commit(own, Commit((bars,)))
    after = asked(manager, MADE)
    assert after["close"].iloc[0] > before["close"].iloc[0] + 40
    fresh = asked(DataManager(tmp_path / "cache", clock=ManualClock(NOW)), MADE)
    pd.testing.assert_frame_equal(after, fresh)


# --- how it is held -------------------------------------------------------------------------


def test_a_cached_answer_shares_no_memory_with_the_files(manager: DataManager) -> None:
    query, answer, frame = answered(manager)
    recent_of(manager).keep(query, answer, frame)
    (held,) = [g for g in givens(manager).values() if g.instrument is query.instrument]
    rows, theirs = held.answer.table, answer.table
    for mine, read in zip((rows.stamps, *rows.values()), (theirs.stamps, *theirs.values()),
                          strict=True):  # fmt: skip
        assert np.array_equal(mine, read)
        assert not np.shares_memory(mine, read)
    for name in frame.columns:
        assert not np.shares_memory(held.frame[name].to_numpy(), frame[name].to_numpy())
    assert not np.shares_memory(held.frame.index.asi8, frame.index.asi8)


def test_cached_rows_are_shared_and_read_only(manager: DataManager) -> None:
    def given() -> Rows:
        symbol, timeframe, *ends = ASKED
        bounds, wishes = (*ends, None), Wishes(offline=True)
        return manager.client.get_rows_by_symbol([symbol], timeframe, bounds, wishes)[symbol]

    before, one, other = asked(manager), given(), given()
    assert np.shares_memory(one.arrays().values, other.frame.to_numpy())
    assert one.arrays().columns == tuple(before) and one.facts == before.attrs["onetape"]
    for write in (
        lambda: one.arrays().values.fill(0),
        lambda: one.arrays().stamps.fill(0),
        lambda: one.frame["close"].to_numpy().fill(0),
        lambda: one.frame.iloc.__setitem__((0, 0), 0.0),
    ):
        with pytest.raises(ValueError, match="read-only"):
            write()
    mine = one.owned()
    pd.testing.assert_frame_equal(mine, before)
    mine.iloc[:, :] = 0
    mine.attrs["onetape"] = {}
    mine.index.name = "renamed"
    pd.testing.assert_frame_equal(other.owned(), before)
    pd.testing.assert_frame_equal(asked(manager), before)


def test_an_instrument_is_released_with_its_cached_answer(manager: DataManager) -> None:
    query, answer, frame = answered(manager)
    instrument = replace(query.instrument)
    recent = wanted_again(manager, replace(query, instrument=instrument))
    recent.keep(replace(query, instrument=instrument), answer, frame)
    assert recent.find(query) is MISS, "the frame may now be interpreted differently"
    known = weakref.ref(instrument)
    del instrument
    assert known() is not None
    forget(manager)
    assert known() is None


def test_an_answer_without_bars_is_cached_until_its_empty_span_expires(
    manager: DataManager, tmp_path: Path, reads: Reads, ticking: ManualClock
) -> None:
    closed = mark(40, 50, "empty", 60_000, reason="market closed", expires=NOW + 60_000)
    key = SeriesKey("ETHUSDT", MINUTES.timeframe)
    store_at(tmp_path).commit(key, Commit((minutes(0, 40), minutes(50, BARS)), marks=(closed,)))
    question = ("ETHUSDT", "1m", "2024-01-01T00:40:00", "2024-01-01T00:49:00")
    assert held_after(manager, tmp_path, *question) == 1
    fresh = asked(DataManager(tmp_path / "cache", clock=ManualClock(NOW)), question)
    reads.clear()
    pd.testing.assert_frame_equal(asked(manager, question), fresh)
    assert reads == []
    ticking.advance(60.0)
    with pytest.raises(RuntimeError, match="is not cached"):
        asked(manager, question)


def test_an_answer_is_read_again_if_stat_of_its_year_file_fails(
    manager: DataManager, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, failed = asked(manager), []
    disk = manager.cache.store.parts.disk
    stat = disk.stat

    def refused(path: Path) -> object:
        if Path(path).name == "2024.csv.gz" and not failed:
            failed.append(path)
            raise StorageError("made to refuse")
        return stat(path)

    monkeypatch.setattr(disk, "stat", refused)
    pd.testing.assert_frame_equal(asked(manager), truth)
    assert failed != []
    assert reads != []


@pytest.mark.parametrize("name", ["1d", "actions.json"])
def test_a_cached_answer_is_a_miss_if_stat_of_its_documents_fails(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    query = manager.client.query(*SHARE)
    recent = recent_of(manager)
    assert isinstance(recent.find(query), Hit)
    disk = manager.cache.store.parts.disk
    stat = disk.stat

    def refused(path: Path) -> object:
        if Path(path).name == name:
            raise StorageError("made to refuse")
        return stat(path)

    monkeypatch.setattr(disk, "stat", refused)
    assert recent.find(query) is MISS


def test_a_request_does_not_wait_for_the_lock_of_the_cached_answers(manager: DataManager) -> None:
    other = (*ASKED[:3], "2024-01-01T00:30:00")
    asked(manager, other)
    waiting = threading.Thread(target=lambda: asked(manager, other), daemon=True)
    with busy(memory_of(manager)):
        waiting.start()
        waiting.join(30.0)
        assert not waiting.is_alive()
    assert asked(manager, other).shape[0] == 31


def test_bars_with_adjusted_closes_are_cached_with_that_column(tmp_path: Path) -> None:
    store_at(tmp_path).commit(MINUTES, Commit((minutes(0, BARS, adj=True),)))
    made = DataManager(tmp_path / "cache", clock=ManualClock(NOW))
    settle(tmp_path)
    first = asked(made)
    for _ in range(3):
        pd.testing.assert_frame_equal(asked(made), first)
    (given,) = givens(made).values()
    assert list(first.columns) == list(given.answer.table.columns)
    assert first.columns[-1] == "adj_close"
    assert np.array_equal(given.answer.table.adj_close, first["adj_close"])


@pytest.mark.parametrize(
    "now", ["2024-06-12T15:00:00Z", "2024-06-15T15:00:00Z", "2024-06-16T22:00:00Z"]
)
def test_bars_of_shares_are_cached_until_the_next_session(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, now: str
) -> None:
    """The same on a weekend, when no session has opened since the actions were requested."""
    clock.set(parse_iso(now))
    rules = rules_of_yahoo(tmp_path, vendors)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    for _ in range(3):
        manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-31")
        settle(tmp_path)
    (given,) = givens(manager).values()
    opening = "2024-06-13" if now < "2024-06-13" else "2024-06-17"
    assert given.until_ms == parse_iso(f"{opening}T04:00:00Z")


BEFORE_OPEN = ("2024-06-11T15:00", "2024-06-12T09:15")
# The last bars begin on Saturday in UTC.
AFTER_CLOSE = ("2024-01-19T15:00", "2024-01-19T20:00")


@pytest.mark.parametrize(
    ("span", "asked_at", "is_kept", "opened_at", "dates"),
    [
        (BEFORE_OPEN, "2024-06-12T12:00", False, "2024-06-12T14:00", ("2024-06-11", "2024-06-12")),
        (AFTER_CLOSE, "2024-01-20T02:00", True, "2024-01-22T15:00", ("2024-01-19", "2024-01-19")),
    ],
)
def test_an_answer_in_extended_hours_is_kept_until_the_next_session_may_open(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, span: tuple[str, str],
    asked_at: str, is_kept: bool, opened_at: str, dates: tuple[str, str],
) -> None:  # fmt: skip
    vendors.truth.change("AAPL", extended=True)
    rules = rules_of_yahoo(tmp_path, vendors)
    clock.set(parse_iso(f"{asked_at}:00Z"))
    manager = DataManager(tmp_path / "cache", rules, clock=clock)

    def as_of() -> str:
        frame = manager.get_ohlcv("AAPL", "15m", *span, adjustment="raw", session="extended")
        return str(frame.attrs["onetape"]["as_of"])

    assert as_of() == dates[0]
    settle(tmp_path)
    assert [as_of() for _ in range(3)] == [dates[0]] * 3
    assert bool(givens(manager)) == is_kept
    clock.set(parse_iso(f"{opened_at}:00Z"))
    assert as_of() == dates[1]
    assert [as_of() for _ in range(2)] == [dates[1]] * 2
    assert givens(manager)
