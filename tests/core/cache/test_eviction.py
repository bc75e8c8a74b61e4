"""Tests how the size limit is kept: what is deleted first, what stays and why, and crashes meanwhile."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.cache import values
from src.data.core.cache.clear import evict_year
from src.data.core.cache.retention import eviction, manager, time_mark
from src.data.core.cache.retention.eviction import StoredYear, choose, keep_all
from src.data.core.cache.retention.inventory import Inventory
from src.data.core.cache.retention.manager import LastUses, RetentionLimits, RetentionManager
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.coverage import Covered, Splice
from src.data.core.model.time.instant import DAY_MS, year_start
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import ProviderError, StorageError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    START,
    at,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    states,
    table,
)
from tests.core.cache.counts import FULL, some
from tests.core.cache.crash import Platter, Recorder
from tests.core.cache.crash import states as states_after
from tests.core.cache.disks import DyingDisk, Killed

# The bars end on the third of June 2026, and so does the time but for an hour.
NOW = at(885) - DAY_MS // 24
LAST_YEAR, THIS_YEAR = range(366, 731), range(731, 884)  # 2025 and 2026, by days since 2024
OTHER = SeriesKey("MSFT", Timeframe(1, "d"))
MOST = 400 if FULL else 4


def anything_goes(key: SeriesKey, part: Covered, now_ms: int) -> str:
    return ""


def days_of(*years: range, **other: Any) -> Commit:
    return Commit(tuple(piece(y.start, y.stop, **other) for y in years))


class Cache:
    """A store with a retention manager, a clock and a limit."""

    def __init__(self, root: Path, must_keep: Any = anything_goes, columnar: Any = "off") -> None:
        self.clock = ManualClock(NOW)
        self.limit = 0
        self.store = BarStore(root, None, self.clock, columnar=columnar)
        self.manager = RetentionManager(
            self.store, self.clock, RetentionLimits(lambda: self.limit, 0, must_keep)
        )
        self.store.listener = self.manager

    def commit(self, commit: Commit, key: SeriesKey = DAILY, *, later_s: float = 3600) -> Cache:
        self.store.commit(key, commit)
        self.clock.advance(later_s)
        return self

    def shrink(self, by: int) -> int:
        """Enforce, this once, a limit that is so many bytes below what there is."""
        self.limit = max(1, self.manager.inventory.contents().size.bytes - by)
        dropped = self.manager.enforce()
        self.limit = 0
        return dropped

    def rest(self) -> None:
        """Let an hour pass without any use."""
        self.manager.write_uses()
        self.clock.advance(3600)

    def years(self, key: SeriesKey = DAILY) -> list[int]:
        return self.store.years(key)

    def kept(self) -> dict[str, int]:
        return dict(self.manager.freeable().kept)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache at 2026-06-03 23:00 UTC, without a size limit until a test sets one."""
    return Cache(tmp_path)


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see the warning that is logged once per cache folder."""
    monkeypatch.setattr(manager, "warned", set())


# --- the order -----------------------------------------------------------------------------------


def test_the_least_recently_used_years_are_evicted_and_no_more_than_needed() -> None:
    held = [
        StoredYear(OTHER, year, 100, 1, used, kept)
        for year, used, kept in ((2020, 5, ""), (2021, 3, ""), (2022, 1, "why not"), (2023, 4, ""))
    ]
    assert [one.year for one in choose(held, 101)] == [2021, 2023]
    assert choose(held, 0) == []
    assert [one.year for one in choose(held, 10**9)] == [2021, 2023, 2020]


def test_a_year_file_that_was_read_is_evicted_after_those_that_were_not(cache: Cache) -> None:
    cache.commit(days_of(LAST_YEAR, THIS_YEAR)).commit(days_of(LAST_YEAR, THIS_YEAR), OTHER)
    cache.store.read(DAILY, Span(at(400), at(500)))  # of 2025 alone
    cache.rest()
    assert cache.shrink(1) == 1
    assert (cache.years(), cache.years(OTHER)) == ([2025, 2026], [2026])
    assert cache.shrink(1) == 1
    assert (cache.years(), cache.years(OTHER)) == ([2025, 2026], [])


def test_eviction_counts_the_reads_of_another_process(tmp_path: Path) -> None:
    mine, theirs = Cache(tmp_path), Cache(tmp_path)
    mine.commit(days_of(LAST_YEAR)).commit(days_of(LAST_YEAR, THIS_YEAR), OTHER)
    theirs.clock.advance(5 * 3600)
    theirs.store.read(DAILY, Span(at(400), at(401)))
    theirs.rest()
    mine.clock.advance(5 * 3600)
    assert mine.shrink(1) == 1
    assert (mine.years(), mine.years(OTHER)) == ([2025], [2026])


def test_years_are_evicted_by_their_last_commit_if_uses_are_unknown(
    cache: Cache, tmp_path: Path
) -> None:
    cache.commit(days_of(THIS_YEAR)).commit(days_of(THIS_YEAR), OTHER)
    cache.manager.write_uses()
    (tmp_path / "ohlcv/_metadata/index.sqlite").write_text("{ not ours")
    another = Cache(tmp_path)
    another.clock.advance(6 * 3600)
    assert another.shrink(1) == 1
    assert (another.years(), another.years(OTHER)) == ([], [2026])


def test_derived_files_are_deleted_before_any_bar(tmp_path: Path) -> None:
    cache = Cache(tmp_path, columnar="map")
    cache.commit(days_of(THIS_YEAR)).commit(days_of(THIS_YEAR), OTHER)
    cache.commit(Commit((piece(800, 801, shift=1.0),)))  # a revision keeps the file of before
    for key in (DAILY, OTHER):
        cache.store.read(key, EVER)
        cache.manager.write_uses()
        cache.clock.advance(2 * 24 * 3600)
    columns = {key: tmp_path / "_columnar" / key.symbol / "1d.bars" for key in (DAILY, OTHER)}
    versions = lane_folder(tmp_path) / "_versions"
    cache.commit(Commit((piece(883, 884),)))  # so that somebody trades
    assert cache.shrink(1) == 0
    assert [columns[key].exists() for key in (DAILY, OTHER)] == [False, True]
    assert list(versions.iterdir())
    assert cache.shrink(columns[OTHER].stat().st_size + 1) == 0
    assert not columns[OTHER].exists()
    assert not list(versions.iterdir())
    assert (columns[OTHER].parent / ".lock").exists()
    assert cache.years() == cache.years(OTHER) == [2026]


def test_tables_read_before_an_eviction_do_not_change(tmp_path: Path) -> None:
    cache = Cache(tmp_path, columnar="map")
    cache.commit(days_of(LAST_YEAR)).commit(days_of(THIS_YEAR), OTHER)
    first, _ = cache.store.read(DAILY, EVER)  # makes the columnar file
    mapped, _ = cache.store.read(DAILY, EVER)
    cache.commit(Commit((piece(883, 884),)))
    cache.rest()
    assert cache.shrink(10**9) == 3
    assert same(mapped, table(LAST_YEAR))
    assert same(first, table(LAST_YEAR))


# --- what stays ----------------------------------------------------------------------------------

PUT = Kind(session="", anchor="")
SPLICE = Splice(at(800), "other", "constant", 2.0, 9, "a split of 2 for 1")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (days_of(THIS_YEAR), ""),
        (days_of(THIS_YEAR, state="provisional"), ""),
        (replace(days_of(THIS_YEAR), marks=(mark(740, 750, "suspect"),)), eviction.DOUBTED),
        (days_of(THIS_YEAR, basis=Basis("unknown")), eviction.UNKNOWN_BASIS),
        (days_of(THIS_YEAR, kind=PUT), eviction.HANDED_IN),
        (days_of(THIS_YEAR, splices=(SPLICE,)), eviction.FITTED),
        (days_of(THIS_YEAR, splices=(replace(SPLICE, verdict="equal"),)), ""),
        (days_of(range(731, 853)), eviction.MAYBE_DELISTED),
        (days_of(range(731, 856)), ""),
        (Commit((piece(731, 884, range(731, 853)),)), eviction.MAYBE_DELISTED),
        (Commit((piece(731, 880), piece(880, 884, [], vendor="rare"))), eviction.MAYBE_DELISTED),
        (replace(days_of(THIS_YEAR), marks=(mark(884, 890, "empty", vendor="rare"),)), ""),
    ],
    ids=["final", "provisional", "suspect", "unknown basis", "put", "fitted", "checked",
         "no new bars", "new bars", "answered without bars", "another's word",
         "nothing there"],
)  # fmt: skip
def test_a_year_file_that_cannot_be_fetched_again_is_not_evicted(
    cache: Cache, answer: Commit, why: str
) -> None:
    cache.commit(answer)
    held = (lane_folder(cache.store.root) / "2026.csv.gz").stat().st_size
    freeable = cache.manager.freeable()
    assert list(freeable.kept) == ([why] if why else [])
    assert (freeable.bars > held) == (not why)
    before, _ = cache.store.read(DAILY, EVER)
    cache.rest()
    assert cache.shrink(10**9) == (0 if why else 1)
    if why:
        assert same(cache.store.read(DAILY, EVER)[0], before)


def test_recent_monthly_bars_show_that_a_symbol_is_still_traded(cache: Cache) -> None:
    months = SeriesKey("AAPL", Timeframe(1, "M"))
    cache.commit(Commit((piece(731, 884, [731, 762, 790, 821, 851]),)), months)
    assert cache.kept() == {}


def test_an_answer_without_bars_does_not_show_that_a_symbol_is_still_traded(cache: Cache) -> None:
    cache.commit(days_of(LAST_YEAR)).commit(Commit((piece(731, 884, []),)))
    assert list(cache.kept()) == [eviction.MAYBE_DELISTED]


def test_a_year_is_kept_for_a_possible_delisting_or_the_reason_of_its_vendor(cache: Cache) -> None:
    (lane,) = cache.commit(days_of(THIS_YEAR)).manager.inventory.contents().lanes

    def why(told: str, newest: int) -> str:
        judge = eviction.Judge(lambda *_: told, {"acme": newest}, NOW + DAY_MS, NOW)
        return next(judge.years(lane, values.Use())).kept

    just = NOW - eviction.ALIVE_MS
    assert (why("", just), why("", just - 1)) == ("", eviction.MAYBE_DELISTED)
    assert why("gone out of business", just - 1) == "gone out of business"


def test_a_year_without_its_data_file_is_not_counted_as_evictable(cache: Cache) -> None:
    cache.commit(days_of(LAST_YEAR, THIS_YEAR))
    held = cache.manager.freeable().bars
    (lane_folder(cache.store.root) / "2025.csv.gz").unlink()
    left = cache.manager.freeable()
    assert (0 < left.bars < held, left.kept) == (True, {})


def test_a_year_that_its_vendor_can_no_longer_serve_is_not_evicted(tmp_path: Path) -> None:
    asked: list[tuple[SeriesKey, str, Span]] = []

    def must_keep(key: SeriesKey, part: Covered, now_ms: int) -> str:
        asked.append((key, part.vendor, part.span))
        return "" if part.vendor == "acme" else "gone out of business"

    cache = Cache(tmp_path, must_keep=must_keep)
    cache.commit(days_of(LAST_YEAR)).commit(days_of(THIS_YEAR))
    cache.commit(Commit((piece(884, 885, vendor="rare"),)))  # one bar of many
    assert list(cache.kept()) == ["gone out of business"]
    assert (DAILY, "acme", Span(at(366), at(884))) in asked
    assert cache.shrink(10**9) == 1
    assert cache.years() == [2026]


def test_a_cache_whose_owner_keeps_all_years_evicts_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path, must_keep=keep_all).commit(days_of(THIS_YEAR))
    assert cache.shrink(10**9) == 0
    assert cache.years() == [2026]


def test_new_bars_of_one_timeframe_make_other_timeframes_of_the_symbol_and_vendor_evictable(
    cache: Cache,
) -> None:
    hours = SeriesKey("AAPL", Timeframe(1, "h"))
    cache.commit(days_of(LAST_YEAR), OTHER).commit(days_of(LAST_YEAR), hours)
    assert list(cache.kept()) == [eviction.MAYBE_DELISTED]
    cache.commit(Commit((piece(883, 884, vendor="another"),)))
    assert cache.shrink(10**9) == 1  # that bar itself; its vendor says nothing of acme
    cache.commit(Commit((piece(883, 884),)))
    assert cache.shrink(10**9) == 2
    assert (cache.years(hours), cache.years(OTHER)) == ([], [2025])


def test_a_clock_behind_the_newest_commit_evicts_no_delisted_symbol(cache: Cache) -> None:
    delisted = SeriesKey("GONE", Timeframe(1, "d"))
    cache.commit(days_of(LAST_YEAR), delisted).commit(days_of(THIS_YEAR))
    assert list(cache.kept()) == [eviction.MAYBE_DELISTED]
    cache.clock.set(at(LAST_YEAR[-1] + 2))  # a day after its last bar
    assert cache.shrink(10**9) == 0
    assert cache.years(delisted) == [2025]


GONE = SeriesKey("GONE", Timeframe(1, "d"))


def without_what_told_the_time(root: Path) -> Cache:
    """Return a cache with a delisted symbol, and a clock that stands a day after its last bar.

    The series that told how late it is has been dropped since the last look.
    """
    cache = Cache(root)
    cache.commit(days_of(LAST_YEAR), GONE).commit(days_of(THIS_YEAR))
    cache.clock.set(at(LAST_YEAR[-1] + 2))
    assert cache.shrink(0) == 0
    cache.store.clear(DAILY.symbol)
    again = Cache(root)
    again.clock.set(at(LAST_YEAR[-1] + 3))
    return again


def test_a_delisted_symbol_is_not_evicted_after_the_newest_commit_is_gone(
    tmp_path: Path,
) -> None:
    """The next look, of a new process, still has it."""
    cache = without_what_told_the_time(tmp_path)
    assert list(cache.kept()) == [eviction.MAYBE_DELISTED]
    assert cache.shrink(10**9) == 0
    assert cache.years(GONE) == [2025]


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"latest_ms":0}'])
def test_without_the_time_file_no_year_is_evicted_until_a_newer_answer_comes(
    tmp_path: Path, content: bytes | None
) -> None:
    cache = without_what_told_the_time(tmp_path)
    file = tmp_path / "ohlcv" / ".time"
    file.unlink() if content is None else file.write_bytes(content)
    for _ in range(3):
        assert list(cache.kept()) == [eviction.NO_TIME]
        assert cache.shrink(10**9) == 0
    assert cache.years(GONE) == [2025]
    cache.clock.set(NOW)
    cache.commit(days_of(THIS_YEAR), OTHER)
    assert cache.kept().keys() == {eviction.NO_TIME}, "a read-only check writes no file"
    assert cache.shrink(10**9) == 1
    assert (cache.years(GONE), cache.years(OTHER)) == ([2025], [])
    assert json.loads(file.read_bytes())["latest_ms"] == at(THIS_YEAR.stop)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_folder_link_or_pipe_in_place_of_the_time_file_counts_as_a_lost_file(
    tmp_path: Path, kind: str
) -> None:
    cache = without_what_told_the_time(tmp_path)
    (file := tmp_path / "ohlcv" / ".time").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"latest_ms":0}')
    make: dict[str, Callable[[], None]] = {
        "folder": file.mkdir,
        "link": lambda: file.symlink_to(elsewhere),
        "pipe": lambda: os.mkfifo(file),
    }
    make[kind]()
    for _ in range(2):
        assert list(cache.kept()) == [eviction.NO_TIME]
        assert cache.shrink(10**9) == 0
    cache.clock.set(NOW)
    cache.commit(days_of(THIS_YEAR), OTHER)
    assert cache.shrink(10**9) == (kind != "folder"), "what is not a folder is replaced"
    assert elsewhere.read_text() == '{"latest_ms":0}'


def test_a_run_with_a_clock_a_year_ahead_does_not_affect_later_runs(cache: Cache) -> None:
    """The vendor returned the right time."""
    cache.commit(days_of(LAST_YEAR)).commit(days_of(LAST_YEAR), GONE)
    cache.clock.set(NOW + 366 * DAY_MS)
    cache.commit(Commit((piece(731, 884),)))
    assert cache.kept().keys() == {eviction.MAYBE_DELISTED}, (
        "no year is evicted while the clock is wrong"
    )
    assert cache.shrink(10**9) == 0
    cache.clock.set(NOW + DAY_MS)
    assert cache.shrink(10**9) == 2
    assert (cache.years(), cache.years(GONE)) == ([], [2025])


def test_no_year_is_evicted_if_the_time_cannot_be_written(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.commit(days_of(LAST_YEAR)).commit(days_of(THIS_YEAR))

    def fail(*_: Any) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(time_mark, "write_atomically", fail)
    assert cache.shrink(10**9) == 0
    monkeypatch.undo()
    assert cache.shrink(10**9) == 2


def test_a_year_file_in_use_is_not_evicted_and_nothing_is_logged(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.commit(days_of(LAST_YEAR)).commit(days_of(THIS_YEAR))
    cache.manager.used(DAILY, Span(at(800), at(801)))
    assert cache.shrink(1) == 0
    assert list(cache.kept()) == [eviction.IN_USE]
    assert "limit" not in caplog.text
    cache.clock.advance(values.IN_USE_MS / 1000)
    assert cache.shrink(1) == 1
    assert cache.years() == [2026]


def test_unreadable_years_are_not_evicted(cache: Cache, tmp_path: Path) -> None:
    cache.commit(days_of(THIS_YEAR))
    document = lane_folder(tmp_path) / "2026.metadata.json"
    document.write_text("{}")
    another = Cache(tmp_path)
    another.clock.advance(3600)
    assert another.shrink(10**9) == 0
    assert list(another.kept()) == [eviction.UNREADABLE]


def test_a_cache_above_its_limit_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path, must_keep=keep_all).commit(days_of(THIS_YEAR))
    with caplog.at_level(logging.WARNING):
        assert cache.shrink(1) == cache.shrink(1) == 0
    assert caplog.text.count("above its limit") == 1


@pytest.mark.parametrize("fails", ["uses", "word"])
def test_a_failure_of_the_eviction_does_not_fail_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def word_of_nobody(key: SeriesKey, part: Covered, now_ms: int) -> str:
        raise ProviderError("it lacks a key")

    cache = Cache(tmp_path, word_of_nobody).commit(days_of(LAST_YEAR))
    cache.limit = 1

    def refusing(*_: object, **__: object) -> None:
        raise StorageError("made to fail")

    if fails == "uses":
        monkeypatch.setattr(LastUses, "write", refusing)
    cache.clock.advance(3600)
    cache.commit(days_of(THIS_YEAR))
    assert cache.years() == [2025, 2026]


def test_a_folder_is_measured_seldom_while_it_is_within_its_limit(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    look = Inventory.contents

    def counted(self: Inventory, part: Any = "") -> Any:
        looks.append(cache.clock.monotonic())
        return look(self, part)

    monkeypatch.setattr(Inventory, "contents", counted)
    cache.limit = 10**6
    for day in range(731, 751):  # each takes more of the limit than a look is begun after
        cache.commit(days_of(range(day, day + 1)), later_s=1)
    assert len(looks) == 1
    cache.clock.advance(3600)
    cache.commit(days_of(range(751, 752)))
    assert len(looks) == 2
    cache.limit = 1
    cache.commit(days_of(range(752, 753)), later_s=1)
    assert len(looks) == 3


# --- others at the same time ---------------------------------------------------------------------


def test_a_process_does_not_wait_for_an_eviction_by_another(cache: Cache, tmp_path: Path) -> None:
    cache.commit(days_of(THIS_YEAR))
    lock = tmp_path / "ohlcv/_metadata/.eviction.lock"
    lock.parent.mkdir()
    with Disk().lock(lock, 1.0):
        assert cache.shrink(10**9) == 0
    assert cache.shrink(10**9) == 1


def test_a_locked_series_is_not_evicted(cache: Cache, tmp_path: Path) -> None:
    cache.commit(days_of(THIS_YEAR)).commit(days_of(THIS_YEAR), OTHER)
    with Disk().lock(lane_folder(tmp_path) / ".lock", 1.0):
        assert cache.shrink(10**9) == 1
    assert (cache.years(), cache.years(OTHER)) == ([2026], [])


def test_a_year_that_changed_after_it_was_measured_is_not_evicted(cache: Cache) -> None:
    cache.commit(days_of(THIS_YEAR))
    lane = cache.store.parts.lane(DAILY)
    generation = cache.store.view(DAILY).generation
    cache.commit(Commit((piece(884, 885),)))
    assert not evict_year(lane, 2026, generation)
    assert evict_year(lane, 2026, cache.store.view(DAILY).generation)


def test_readers_during_an_eviction_read_a_whole_year_or_none(cache: Cache) -> None:
    cache.commit(days_of(LAST_YEAR)).commit(days_of(THIS_YEAR))
    reader = BarStore(cache.store.root, clock=ManualClock(NOW))
    counts: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            rows, known = reader.read(DAILY, EVER)
            counts.add(len(rows))
            covered = [n for c in known if c.state != "empty" for n in days_in(c.span)]
            assert numbers(rows) == covered
            assert same(rows, table(numbers(rows)))

    threads = [threading.Thread(target=_kept(read)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            # Where a reader repairs just then, the year stays: somebody is at the series.
            assert any(cache.shrink(1) for _ in range(1000))
            cache.commit(days_of(LAST_YEAR, THIS_YEAR))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert _failures == []
    assert counts <= {len(THIS_YEAR), len(LAST_YEAR), len(THIS_YEAR) + len(LAST_YEAR)}


_failures: list[str] = []


def _kept(work: Any) -> Any:
    def run() -> None:
        try:
            work()
        except AssertionError as error:
            _failures.append(str(error))

    return run


def days_in(span: Span) -> Iterator[int]:
    return iter(range((span.start - START) // DAY_MS, (span.end - START) // DAY_MS))


# --- after it ------------------------------------------------------------------------------------


def test_an_evicted_year_is_missing_and_nothing_else_changes(cache: Cache) -> None:
    both = days_of(LAST_YEAR, THIS_YEAR)
    cache.commit(replace(both, next_due=NOW + 90 * DAY_MS))
    before = cache.store.view(DAILY)
    cache.store.read(DAILY, Span(at(800), at(801)))
    cache.rest()
    assert cache.shrink(1) == 1
    view = cache.store.view(DAILY)
    assert states(cache.store) == [(731, 884, "final")]
    assert view.next_due is None
    assert view.generation > before.generation
    assert view.kind == before.kind
    cache.commit(days_of(LAST_YEAR))
    rows, _ = cache.store.read(DAILY, EVER)
    assert same(rows, table([*LAST_YEAR, *THIS_YEAR]))


def test_an_eviction_is_logged_and_an_earlier_version_is_refused(cache: Cache) -> None:
    cache.commit(days_of(THIS_YEAR))
    first = cache.store.view(DAILY).generation
    cache.shrink(10**9)
    lane = cache.store.parts.lane(DAILY)
    entry = lane.log_entries(2026)[-1]
    assert (entry["evicted"], entry["removed"], entry["size"]) == (True, len(THIS_YEAR), 0)
    with pytest.raises(ValueError, match="no longer kept"):  # and not a version without the year
        cache.store.read_version(DAILY, EVER, first)
    cache.commit(days_of(THIS_YEAR))
    rows, _ = cache.store.read_version(DAILY, EVER, cache.store.view(DAILY).generation)
    assert same(rows, table(THIS_YEAR))
    with pytest.raises(ValueError, match="no longer kept"):
        cache.store.read_version(DAILY, EVER, first)


# --- crashes -------------------------------------------------------------------------------------


def test_a_power_failure_during_an_eviction_leaves_no_wrong_bar_or_coverage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is left, no bar is wrong, none is claimed that is not there, and none is mourned."""
    live = tmp_path / "live"
    whole = days_of(LAST_YEAR, THIS_YEAR)
    Cache(live).commit(replace(whole, next_due=year_start(2027)))
    platter, disk = Platter(live), Recorder()
    lane = BarStore(live, disk, ManualClock(NOW)).parts.lane(DAILY)
    assert evict_year(lane, 2026, 1)
    left = states_after(platter, disk.events, MOST)
    assert len(left) > 4
    for state in left if FULL else left[::2]:
        state.tree.put(tmp_path / "after")
        _check_sound(tmp_path / "after", f"behind call {state.step}")
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_process_killed_during_an_eviction_leaves_a_sound_cache(tmp_path: Path) -> None:
    whole = days_of(LAST_YEAR, THIS_YEAR)
    calls = 0
    counting = Recorder()
    Cache(tmp_path / "counted").commit(replace(whole, next_due=year_start(2027)))
    evict_year(
        BarStore(tmp_path / "counted", counting, ManualClock(NOW)).parts.lane(DAILY), 2026, 1
    )
    calls = len(counting.disk_calls())
    for dies_at in some(range(1, calls + 1), 3):
        root = tmp_path / str(dies_at)
        Cache(root).commit(replace(whole, next_due=year_start(2027)))
        lane = BarStore(root, DyingDisk(dies_at), ManualClock(NOW)).parts.lane(DAILY)
        with pytest.raises(Killed):
            evict_year(lane, 2026, 1)
        _check_sound(root, f"before call {dies_at}")


def test_a_process_killed_while_clearing_years_leaves_a_sound_cache(tmp_path: Path) -> None:
    whole = days_of(LAST_YEAR, THIS_YEAR)
    for dies_at in range(1, 12):
        root = tmp_path / str(dies_at)
        Cache(root).commit(replace(whole, next_due=year_start(2027)))
        store = BarStore(root, DyingDisk(dies_at), ManualClock(NOW))
        try:
            store.clear_years(DAILY, [2026])
        except Killed:
            _check_sound(root, f"before call {dies_at}")
        else:
            break
    assert dies_at > 5


def _check_sound(root: Path, where: str) -> None:
    """Check what a new process finds, and that it can go on."""
    store = BarStore(root, clock=ManualClock(NOW))
    rows, known = store.read(DAILY, EVER)
    there = numbers(rows)
    assert there in ([*LAST_YEAR], [*LAST_YEAR, *THIS_YEAR]), where
    assert same(rows, table(there)), where
    assert [n for c in known if c.state != "empty" for n in days_in(c.span)] == there, where
    if there == [*LAST_YEAR]:
        # Else a question for this year would be answered by what is left, as if nothing were due.
        assert store.view(DAILY).next_due is None, where
    store.commit(DAILY, days_of(THIS_YEAR))
    assert np.array_equal(
        store.read(DAILY, EVER)[0].stamps, table([*LAST_YEAR, *THIS_YEAR]).stamps
    ), where


def test_the_dates_assumed_in_this_file_are_right() -> None:
    """The clock has the time that the tests assume."""
    assert isinstance(days_of(THIS_YEAR).pieces[0], CommitPiece)
    assert year_start(2026) == at(731)
    assert at(884) < NOW < at(885)
