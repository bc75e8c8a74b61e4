"""Tests that many small appends are merged into few gzip members without changing a bar."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from src.data.core.cache.format.gzip_member import Member, file_id, walk
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.cache.write import year_commit
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.stored.reasons import CLOSED
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    lane_folder,
    mark,
    minutes,
    piece,
    same,
    states,
    store_in,
    table,
)  # fmt: skip
from tests.core.cache.counts import FULL

A_DAY = DAY_MS // MINUTE_MS


def members(root: Path, key: object = DAILY) -> list[Member]:
    folder = lane_folder(root, key)  # type: ignore[arg-type]
    data = (folder / "2024.csv.gz").read_bytes()
    found = [m for _, m in walk(data, file_id(key, 2024))]  # type: ignore[arg-type]
    assert sum(len(m.raw) for m in found) == len(data)
    return found


def test_daily_members_become_one_at_eight(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(7):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    assert len(members(tmp_path)) == 7
    store.commit(DAILY, Commit((piece(7, 8),)))
    (one,) = members(tmp_path)
    assert (one.header.rows, one.header.span) == (8, piece(0, 8).span)
    assert one.header.fetched_at == piece(7, 8).fetched_at
    assert same(store.read(DAILY, EVER)[0], table(range(8)))
    assert not (lane_folder(tmp_path) / "_versions").exists()


def test_settled_states_are_written_into_the_members(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 1, state="provisional"),)))
    for n in range(1, 9):
        settled = mark(n - 1, n, "final")
        store.commit(DAILY, Commit((piece(n, n + 1, state="provisional"),), (settled,)))
    kept = [(m.header.rows, m.header.state) for m in members(tmp_path)]
    assert kept == [(7, "final"), (1, "provisional"), (1, "provisional")]
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    assert states(store_in(tmp_path)) == [(0, 7, "final"), (7, 9, "provisional")]


def test_neighbouring_members_with_different_facts_are_not_joined(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(30):
        store.commit(DAILY, Commit((piece(n, n + 1, vendor=f"v{n % 2}"),)))
    assert [m.header.vendor for m in members(tmp_path)] == [f"v{n % 2}" for n in range(30)]
    assert same(store.read(DAILY, EVER)[0], table(range(30)))


def test_members_of_spans_that_do_not_adjoin_are_not_joined(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    assert len(members(tmp_path)) == 8
    assert len(states(store)) == 8


def test_members_are_joined_over_answered_spans_without_bars(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((piece(n, n + 1), piece(n + 1, n + 2, []))))
    (one,) = members(tmp_path)
    assert one.header.span == piece(0, 15).span
    assert states(store) == [(0, 16, "final")]


def test_members_before_the_first_joined_one_are_copied(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3, vendor="other"),)))
    first = members(tmp_path)[0].raw
    for n in range(3, 10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    found = members(tmp_path)
    assert [m.header.rows for m in found] == [3, 7]
    assert found[0].raw == first


def test_later_members_keep_their_compressed_body(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for first, end, vendor in ((0, 2, "a"), (2, 4, "b"), (4, 6, "c")):
        store.commit(DAILY, Commit((piece(first, end, vendor=vendor),)))
    before = members(tmp_path)
    store.commit(DAILY, Commit((piece(2, 4, vendor="b", shift=1.0),)))
    after = members(tmp_path)
    assert after[0].raw == before[0].raw
    assert after[2].raw[after[2].body_at :] == before[2].raw[before[2].body_at :]
    assert after[2].header.prev == after[1].digest[:16] != before[2].header.prev
    assert [m.header.seq for m in after] == [1, 4, 4]


def test_minutes_are_joined_with_the_first_bar_of_a_new_day(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, 3 * A_DAY - 3),)))
    bulk = members(tmp_path, MINUTES)[0].raw
    for n in range(3 * A_DAY - 3, 3 * A_DAY):
        store.commit(MINUTES, Commit((minutes(n, n + 1),)))
    assert len(members(tmp_path, MINUTES)) == 4
    store.commit(MINUTES, Commit((minutes(3 * A_DAY, 3 * A_DAY + 1),)))
    found = members(tmp_path, MINUTES)
    assert [m.header.rows for m in found] == [3 * A_DAY - 3, 4], (
        "few bars do not get one member per day"
    )
    assert found[0].raw == bulk
    assert same(store.read(MINUTES, EVER)[0], table(range(3 * A_DAY + 1), size=MINUTE_MS))


def test_whole_days_of_minutes_are_appended_and_never_rewritten(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, A_DAY),)))
    file = lane_folder(tmp_path, MINUTES) / "2024.csv.gz"
    first = tmp_path / "first"
    first.hardlink_to(file)
    for day in range(1, 5):
        store.commit(MINUTES, Commit((minutes(day * A_DAY, (day + 1) * A_DAY),)))
    assert file.samefile(first), "there was nothing to join"
    assert [m.header.rows for m in members(tmp_path, MINUTES)] == [A_DAY] * 5
    assert same(store.read(MINUTES, EVER)[0], table(range(5 * A_DAY), size=MINUTE_MS))


def test_a_day_stored_in_two_parts_is_joined_with_the_first_bar_of_the_next_day(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, A_DAY),)))
    for first, end in ((A_DAY, 2 * A_DAY - 1), (2 * A_DAY - 1, 2 * A_DAY)):
        store.commit(MINUTES, Commit((minutes(first, end),)))
    store.commit(MINUTES, Commit((minutes(2 * A_DAY, 3 * A_DAY),)))
    assert [m.header.rows for m in members(tmp_path, MINUTES)] == [A_DAY] * 3


def test_minutes_are_joined_at_512_open_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At that many by default, which is lowered but for full runs: the rule is the same."""
    assert year_commit._MOST_OPEN_INTRADAY == 512
    most = 512 if FULL else 32
    monkeypatch.setattr(year_commit, "_MOST_OPEN_INTRADAY", most)
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, 2),)))
    for n in range(2, most):
        vendor = "acme" if n > 3 else "other"
        store.commit(MINUTES, Commit((minutes(n, n + 1, vendor=vendor),)))
    assert len(members(tmp_path, MINUTES)) == most - 1
    store.commit(MINUTES, Commit((minutes(most, most + 2),)))
    assert len(members(tmp_path, MINUTES)) == most
    store.commit(MINUTES, Commit((minutes(most + 2, most + 3),)))
    assert [m.header.rows for m in members(tmp_path, MINUTES)] == [2, 2, most - 1]


def test_a_member_of_several_days_has_a_thousand_bars_at_most(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    hourly = SeriesKey("BTCUSDT", Timeframe(1, "h"))
    for day in range(60):
        store.commit(hourly, Commit((piece(day * 24, day * 24 + 24, size=HOUR_MS),)))
    rows = [m.header.rows for m in members(tmp_path, hourly)]
    assert rows[0] == 42 * 24
    assert len(rows) <= 4
    assert same(store.read(hourly, EVER)[0], table(range(60 * 24), size=HOUR_MS))


def test_bars_of_a_night_that_crosses_midnight_are_joined(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    hourly = SeriesKey("BTCUSDT", Timeframe(1, "h"))
    for night in range(20):
        first = night * 24 + 23  # from eleven to eleven: each begins in the day of the one before
        store.commit(hourly, Commit((piece(first, first + 24, size=HOUR_MS),)))
    assert len(members(tmp_path, hourly)) <= 3


# --- bases ---------------------------------------------------------------------------------


def day(number: int) -> date:
    """Return the date of a bar of days."""
    return date_of(piece(number, number + 1).span.start)


def shares(number: int, until: int, count: int = 1) -> CommitPiece:
    """Return bars of a share that know of splits up to the day ``until``."""
    return replace(piece(number, number + count), basis=Basis("split", day(until)))


def asked(store: BarStore, until: int, *, late_days: int, actions: tuple[Action, ...] = ()) -> None:
    """Store a vendor's answer with all actions up to the day ``until``, requested later."""
    first, last = piece(0, 1).span.start, piece(until, until + 1).span.end
    store.add_actions(DAILY.symbol, actions, Span(first, last), "acme", last + late_days * DAY_MS)


def bases(root: Path) -> list[tuple[int, Basis]]:
    return [(m.header.rows, m.header.basis) for m in members(root)]


def test_members_with_meaningless_as_of_dates_are_joined(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(7):
        store.commit(DAILY, Commit((shares(n, n),)))
    assert len(members(tmp_path)) == 7
    store.commit(DAILY, Commit((shares(7, 7),)))
    assert bases(tmp_path) == [(8, Basis("split"))]
    assert len(store.view(DAILY).coverage) == 1
    assert same(store.read(DAILY, EVER)[0], table(range(8)))


def test_compaction_on_demand_joins_members_with_meaningless_as_of_dates(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(5):
        store.commit(DAILY, Commit((shares(n, n),)))
    done = compact_series(store_in(tmp_path).parts, DAILY, dry_run=False)
    assert done.members == (5, 1)
    assert done.bytes[1] < done.bytes[0]
    assert bases(tmp_path) == [(5, Basis("split"))]
    assert same(store.read(DAILY, EVER)[0], table(range(5)))


@pytest.mark.parametrize(("late_days", "joined"), [(8, True), (0, False)])
def test_bars_fetched_days_later_are_joined_if_no_split_can_be_between(
    tmp_path: Path, late_days: int, joined: bool
) -> None:
    store = store_in(tmp_path)
    asked(store, 20, late_days=late_days)
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((shares(n, n + 1, 2),)))
    if joined:
        assert bases(tmp_path) == [(16, Basis("split"))]
    else:  # a split of the last days may still be told
        assert bases(tmp_path)[-1] == (2, Basis("split", day(15)))


def test_bars_on_both_sides_of_a_split_keep_their_basis(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    ex = Action(day(5), "split", piece(5, 6).span.start, 4.0, 1.0)
    asked(store, 30, late_days=8, actions=(ex,))
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((shares(n, n + 1, 2),)))
    assert bases(tmp_path) == [
        (4, Basis("split")), (2, Basis("split", day(5))), (10, Basis("split"))]  # fmt: skip


def test_bars_fetched_long_after_their_day_keep_their_as_of_date(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    asked(store, 60, late_days=8)
    for n in range(8):
        store.commit(DAILY, Commit((shares(n, 40),)))
    assert bases(tmp_path) == [(8, Basis("split", day(40)))]


def test_extended_hours_keep_the_as_of_date_of_their_own_day(tmp_path: Path) -> None:
    # At nine a share is traded as on the day before; what is fetched at night knows of a split.
    hourly, nine = SeriesKey("BTCUSDT", Timeframe(1, "h")), 9
    for session, basis in (("regular", Basis("split")), ("extended", Basis("split", day(0)))):
        store = store_in(tmp_path / session)
        for n in range(2):
            bars = piece(nine + 24 * n, nine + 24 * n + 1, size=HOUR_MS)
            kind = replace(bars.kind, session=session)
            store.commit(hourly, Commit((replace(bars, kind=kind, basis=Basis("split", day(n))),)))
        assert members(tmp_path / session, hourly)[0].header.basis == basis


def test_closed_hours_without_an_answer_of_a_vendor_are_not_final(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(0, 16, 2):
        closed = replace(mark(n + 1, n + 2, "empty"), reason=CLOSED, vendor="", expires=None)
        store.commit(DAILY, Commit((piece(n, n + 1),), (closed,)))
    (one,) = members(tmp_path)
    assert len(one.header.holes) == 7
    coverage = store.view(DAILY).coverage
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    final = [c.span for c in coverage if c.state == "final"]
    assert [c.span for c in store_in(tmp_path).view(DAILY).coverage] == final
