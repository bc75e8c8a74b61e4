"""Tests the store after commits: coverage, bars, and replaced bars."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import NAN, BadRow, Bar
from src.data.core.model.stored.lifetime import FIELD, Bound, Lifetime
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, year_start
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadSymbolError, KindMismatchError
from tests.core.cache.bars import (
    BASIS,
    DAILY,
    EVER,
    KIND,
    MINUTES,
    at,
    days,
    lane_folder,
    mark,
    minutes,
    numbers,
    piece,
    same,
    states,
    store_in,
    table,
)  # fmt: skip
from tests.core.cache.counts import FULL


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return an empty store at 2025-01-01 UTC."""
    return store_in(tmp_path)


def members_of(root: Path, key: SeriesKey = DAILY, year: int = 2024) -> int:
    plain = json.loads((lane_folder(root, key) / f"{year}.metadata.json").read_bytes())
    return int(plain["onetape"]["members"])


class TestNothing:
    def test_an_unknown_series_is_empty_and_leaves_no_trace(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        view = store.view(DAILY)
        assert not view.exists
        assert (view.coverage, view.generation, view.rows, view.next_due) == ((), 0, 0, None)
        rows, coverage = store.read(DAILY, EVER)
        assert (len(rows), coverage) == (0, ())
        assert store.suspects(DAILY, EVER) == ()
        store.commit(DAILY, Commit())
        assert store.view(DAILY) == view
        assert list(tmp_path.iterdir()) == []

    def test_a_bad_symbol_is_refused(self, store: BarStore) -> None:
        with pytest.raises(BadSymbolError):
            store.view(SeriesKey("A\x00B", DAILY.timeframe))


class TestPieces:
    def test_bars_are_read_back_bit_for_bit_with_their_coverage(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 10, adj=True),), kind=KIND, next_due=7))
        view = store.view(DAILY)
        assert (view.rows, view.first, view.last) == (10, at(0), at(9))
        assert (view.kind, view.next_due, view.generation) == (KIND, 7, 1)
        rows, coverage = store.read(DAILY, days(2, 5))
        assert same(rows, table(range(2, 5), adj=True))
        (only,) = coverage
        assert (only.span, only.state, only.vendor, only.basis) == (
            days(2, 5), "final", "acme", BASIS,
        )  # fmt: skip

    def test_a_later_bar_is_appended(self, store: BarStore, tmp_path: Path) -> None:
        store.commit(DAILY, Commit((piece(0, 3),)))
        before = (lane_folder(tmp_path) / "2024.csv.gz").read_bytes()
        store.commit(DAILY, Commit((piece(3, 4),)))
        after = (lane_folder(tmp_path) / "2024.csv.gz").read_bytes()
        assert after.startswith(before)
        assert len(after) > len(before)
        assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3]

    def test_a_hole_is_filled_in_place(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 3),)))
        store.commit(DAILY, Commit((piece(6, 9),)))
        assert states(store) == [(0, 3, "final"), (6, 9, "final")]
        store.commit(DAILY, Commit((piece(3, 6),)))
        assert states(store) == [(0, 9, "final")]
        assert same(store.read(DAILY, EVER)[0], table(range(9)))

    def test_bars_inside_a_stored_span_are_inserted_in_order(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 10, [0, 1, 8, 9]),)))
        store.commit(DAILY, Commit((piece(3, 6, vendor="other"),)))
        rows, coverage = store.read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 3, 4, 5, 8, 9]
        assert [c.vendor for c in coverage] == ["acme", "other", "acme"]

    def test_a_piece_replaces_all_bars_of_its_span(self, store: BarStore, tmp_path: Path) -> None:
        store.commit(DAILY, Commit((piece(0, 10),)))
        store.commit(DAILY, Commit((piece(3, 6, [3, 5], shift=50.0, vendor="other"),)))
        rows, _ = store.read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert same(rows.within(days(3, 6)), table([3, 5], 50.0))
        text = gzip.decompress(
            (lane_folder(tmp_path) / "_quarantine/2024.rows.csv.gz").read_bytes()
        )
        header, gone = text.decode().splitlines()
        assert header == "timestamp,open,high,low,close,volume,adj_close,reason"
        assert gone.startswith("2024-01-05 00:00:00,100.4,")
        assert gone.endswith(",withdrawn by other")
        assert store.suspects(DAILY, EVER) == ()

    def test_bars_replaced_by_a_revision_can_still_be_read(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 10),)))
        old = (lane_folder(tmp_path) / "2024.csv.gz").read_bytes()
        store.commit(DAILY, Commit((piece(3, 4, shift=1.0),)))
        assert (lane_folder(tmp_path) / "_versions/2024.1.csv.gz").read_bytes() == old

    def test_a_piece_that_spans_the_new_year_is_split_between_two_files(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        store.commit(DAILY, Commit((piece(-3, 4),)))
        view = store.view(DAILY)
        assert store.years(DAILY) == [2023, 2024]
        assert (view.rows, len(view.coverage)) == (7, 1)
        assert numbers(store.read(DAILY, days(-1, 2))[0]) == [-1, 0, 1]
        assert (lane_folder(tmp_path) / "2023.csv.gz").exists()

    def test_a_piece_without_bars_writes_coverage_and_no_year_file(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 5, []),)))
        assert states(store) == [(0, 5, "final")]
        assert not (lane_folder(tmp_path) / "2024.csv.gz").exists()
        store.commit(DAILY, Commit((piece(5, 7),)))
        assert states(store) == [(0, 7, "final")]
        assert numbers(store.read(DAILY, EVER)[0]) == [5, 6]

    def test_an_answer_without_bars_withdraws_stored_ones(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 2),)))
        store.commit(DAILY, Commit((piece(0, 2, []),)))
        view = store.view(DAILY)
        assert (view.rows, view.first, view.last) == (0, None, None)
        assert len(store.read(DAILY, EVER)[0]) == 0
        assert members_of(store.root) == 1  # a header line and no bars
        store.commit(DAILY, Commit((piece(1, 3),)))
        store.commit(DAILY, Commit((piece(0, 1),)))
        assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2]
        assert members_of(store.root) == 1

    def test_empty_and_suspect_marks_of_a_first_answer_without_bars_are_kept(
        self, store: BarStore
    ) -> None:
        marks = (mark(0, 3, "empty", reason="none"), mark(3, 4, "suspect", reason="odd"))
        store.commit(DAILY, Commit(marks=marks))
        assert states(store) == [(0, 3, "empty"), (3, 4, "suspect")]

    def test_holes_in_a_committed_piece_stay_missing(self, store: BarStore) -> None:
        holes = (days(1, 2), days(4, 6))
        store.commit(DAILY, Commit((piece(0, 8, [0, 2, 3, 6, 7], holes=holes),)))
        assert states(store) == [(0, 1, "final"), (2, 4, "final"), (6, 8, "final")]

    def test_a_hole_in_a_newer_answer_removes_the_coverage_of_its_span(
        self, store: BarStore
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 8, [0, 1, 2, 3, 5, 6, 7]),)))
        assert states(store) == [(0, 8, "final")]
        store.commit(DAILY, Commit((piece(3, 6, [3, 5], holes=(days(4, 5),)),)))
        assert states(store) == [(0, 4, "final"), (5, 8, "final")]
        store.commit(DAILY, Commit((piece(6, 9, [], holes=(days(6, 7),)),)))
        assert states(store) == [(0, 4, "final"), (5, 6, "final"), (7, 9, "final")]
        (lane_folder(store.root) / "2024.metadata.json").unlink()
        assert states(store_in(store.root)) == [(0, 4, "final"), (5, 6, "final")]

    def test_a_piece_with_more_holes_than_a_member_can_list_is_split(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        holes = tuple(days(n, n + 1) for n in range(1, 301, 2))
        store.commit(DAILY, Commit((piece(0, 301, range(0, 301, 2), holes=holes),)))
        assert len(store.view(DAILY).coverage) == 151
        assert members_of(tmp_path) == 3

    def test_overlapping_pieces_of_one_commit_count_in_their_order(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 6), piece(2, 4, shift=9.0))))
        rows, _ = store.read(DAILY, EVER)
        assert same(rows.within(days(2, 4)), table([2, 3], 9.0))
        assert numbers(rows) == [0, 1, 2, 3, 4, 5]

    def test_the_first_adjusted_closes_rewrite_the_earlier_bars_of_the_year(
        self, store: BarStore
    ) -> None:
        for n, vendor in ((0, "acme"), (2, "other")):
            store.commit(DAILY, Commit((piece(n, n + 2, vendor=vendor),)))
        store.commit(DAILY, Commit((piece(4, 6, adj=True, vendor="third"),)))
        rows, _ = store.read(DAILY, EVER)
        assert numbers(rows) == [*range(6)]
        assert rows.adj_close is not None
        assert same(rows.take(slice(4, 6)), table(range(4, 6), adj=True))

    def test_adjusted_closes_are_nan_for_bars_stored_without_them(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 2),)))
        assert store.read(DAILY, EVER)[0].adj_close is None
        store.commit(DAILY, Commit((piece(2, 4, adj=True),)))
        store.commit(DAILY, Commit((piece(4, 5),)))
        adj = store.read(DAILY, EVER)[0].adj_close
        assert adj is not None
        assert [value == value for value in adj.tolist()] == [False, False, True, True, False]

    @pytest.mark.parametrize(
        "bad, message",
        [
            (piece(0, 3, [1, 0]), "ascending"),
            (piece(0, 3, [1, 1]), "unique"),
            (piece(0, 3, [3]), "outside"),
            (piece(3, 3, []), "empty"),
            (piece(0, 3, state="empty"), "final or provisional"),
            (piece(0, 3, shift=float("inf")), "infinite"),
            (piece(0, 2, [0, 1], size=MINUTE_MS + 1), "full second"),
        ],
    )
    def test_commits_that_break_a_promise_are_refused(
        self, store: BarStore, tmp_path: Path, bad: object, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            store.commit(DAILY, Commit((bad,)))  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []

    def test_a_mark_that_could_not_be_read_back_is_refused(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="'missing' is not one of final, provisional"):
            store.commit(DAILY, Commit((piece(0, 3),), marks=(mark(0, 3, "missing"),)))
        assert list(tmp_path.iterdir()) == []

    def test_bars_of_another_kind_are_refused(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 3),)))
        with pytest.raises(KindMismatchError, match="GBp"):
            store.commit(DAILY, Commit((piece(3, 4, kind=Kind(venue="consolidated", unit="GBp")),)))
        assert store.view(DAILY).rows == 3


class TestMarks:
    def test_a_provisional_bar_found_equal_is_settled(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 2), piece(2, 3, state="provisional"))))
        data = (lane_folder(tmp_path) / "2024.csv.gz").read_bytes()
        store.commit(DAILY, Commit(marks=(mark(2, 3, "final"),)))
        assert states(store) == [(0, 3, "final")]
        assert (lane_folder(tmp_path) / "2024.csv.gz").read_bytes() == data

    def test_a_final_mark_does_not_cover_a_span_that_was_never_requested(
        self, store: BarStore
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 2, state="provisional"),)))
        store.commit(DAILY, Commit(marks=(mark(0, 9, "final"),)))
        assert states(store) == [(0, 2, "final")]

    def test_an_empty_mark_never_covers_a_bar(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 3), piece(5, 8))))
        store.commit(DAILY, Commit(marks=(mark(1, 9, "empty", reason="no bar"),)))
        assert states(store) == [
            (0, 3, "final"), (3, 5, "empty"), (5, 8, "final"), (8, 9, "empty"),
        ]  # fmt: skip

    def test_a_suspect_span_keeps_its_vendor_and_basis(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 4, basis=Basis("all")),)))
        store.commit(DAILY, Commit(marks=(mark(1, 2, "suspect", reason="split", expires=9),)))
        _, middle, _ = store_in(store.root).view(DAILY).coverage
        assert (middle.state, middle.basis, middle.vendor) == ("suspect", Basis("all"), "acme")
        assert (middle.reason, middle.expires) == ("split", 9)
        store.commit(DAILY, Commit(marks=(mark(1, 2, "final"),)))
        assert states(store) == [(0, 4, "final")]

    def test_empty_marks_before_the_bars_create_no_year_files(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        before = Span(year_start(1990), at(5))
        store.commit(DAILY, Commit((piece(5, 8),)))
        nothing = mark(0, 1, "empty", reason="before the listing")
        store.commit(DAILY, Commit(marks=(type(nothing)(before, "empty", "acme", reason="old"),)))
        first, second = store.view(DAILY).coverage
        assert (first.span, first.state, second.state) == (before, "empty", "final")
        names = sorted(p.name for p in lane_folder(tmp_path).iterdir() if p.is_file())
        assert names == [
            ".lock", "2024.csv.gz", "2024.log", "2024.metadata.json", "series.json",
        ]  # fmt: skip
        store.commit(DAILY, Commit((piece(-3, 0),)))
        kept = store_in(tmp_path).view(DAILY).coverage
        assert [c.state for c in kept] == ["empty", "final", "empty", "final"]
        assert kept[0].span == Span(before.start, at(-3))

    def test_next_due_is_ignored_if_a_year_is_older_than_its_document(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        store.commit(DAILY, Commit((piece(0, 2),), next_due=5))
        old = (lane_folder(tmp_path) / "2024.metadata.json").read_bytes()
        store.commit(DAILY, Commit((piece(2, 3),)))
        assert store.view(DAILY).next_due == 5
        store.commit(DAILY, Commit(next_due=9))
        assert store.view(DAILY).next_due == 9
        (lane_folder(tmp_path) / "2024.metadata.json").write_bytes(old)
        assert store_in(tmp_path).view(DAILY).next_due is None

    def test_a_lifetime_is_kept_until_bars_disprove_it(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        listed, ended = (Bound(at(n), "acme", 1, 2, FIELD) for n in (0, 10))
        store.commit(DAILY, Commit((piece(0, 10),), lifetime=Lifetime(listed, ended)))
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime(listed, ended)
        store.commit(DAILY, Commit((piece(4, 5, shift=1.0),)))
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime(listed, ended)
        store.commit(DAILY, Commit((piece(10, 11),)))
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime(listed)
        store.commit(DAILY, Commit((piece(-400, -399),)))
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime()
        store.clear_years(DAILY, [2022])
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime()

    def test_a_lifetime_from_a_document_older_than_the_bars_is_ignored(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        old = Commit((piece(0, 10),), lifetime=Lifetime(Bound(at(0), "acme", 1, 2, FIELD)))
        store.commit(DAILY, old)
        document = lane_folder(tmp_path) / "series.json"
        before = document.read_bytes()
        store.commit(DAILY, Commit((piece(-2, 0),)))
        document.write_bytes(before)
        assert store_in(tmp_path).view(DAILY).lifetime == Lifetime()


class TestSuspects:
    BAD = BadRow(Bar(at(3), 1.0, 0.5, 2.0, NAN, float("inf")), 'high < low, "odd"')

    def test_bad_rows_are_quarantined_in_the_series_folder(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        doubt = mark(3, 4, "suspect", reason="high < low")
        for _ in range(2):
            store.commit(DAILY, Commit((piece(0, 6, [0, 1, 2, 4, 5]),), (doubt,), (self.BAD,)))
        (found,) = store.suspects(DAILY, EVER)
        assert repr(found) == repr(self.BAD)
        assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 4, 5]
        assert store.suspects(DAILY, days(0, 3)) == ()
        text = gzip.decompress(
            (lane_folder(tmp_path) / "_quarantine/2024.rows.csv.gz").read_bytes()
        )
        assert len(text.splitlines()) == 2

    def test_a_good_bar_replaces_a_suspect_row(self, store: BarStore) -> None:
        store.commit(DAILY, Commit(marks=(mark(3, 4, "suspect"),), suspects=(self.BAD,)))
        assert len(store.suspects(DAILY, EVER)) == 1
        store.commit(DAILY, Commit((piece(3, 4),)))
        assert store.suspects(DAILY, EVER) == ()


class TestTheWhole:
    def test_series_and_years_are_listed(self, store: BarStore) -> None:
        lane = SeriesKey("BRK/B", Timeframe(1, "M"), ("raw",))
        store.commit(DAILY, Commit((piece(0, 1),)))
        store.commit(lane, Commit((piece(0, 1),)))
        store.commit(MINUTES, Commit((minutes(0, 1),)))
        assert store.keys() == [DAILY, lane, MINUTES]
        assert store.years(lane) == [2024]

    def test_clearing_a_series_deletes_all_its_lanes_and_no_other_series(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        raw = SeriesKey("AAPL", DAILY.timeframe, ("raw",))
        for key in (DAILY, raw):
            store.commit(key, Commit((piece(0, 5),), (mark(9, 10, "empty"),)))
        store.commit(MINUTES, Commit((minutes(0, 1),)))
        store.clear("AAPL", DAILY.timeframe)
        assert store.keys() == [MINUTES]
        assert not store.view(DAILY).exists
        left = [p for p in (tmp_path / "ohlcv/AAPL").rglob("*") if p.is_file()]
        assert {p.name for p in left} == {".lock", "2024.log"}
        store.commit(DAILY, Commit((piece(0, 1),)))
        store.clear()
        assert store.keys() == []

    def test_a_view_uses_no_pandas_and_no_lock(self, store: BarStore) -> None:
        store.commit(DAILY, Commit((piece(0, 5),)))
        code = (
            "import sys; from pathlib import Path\n"
            "from src.data.core.cache.store import BarStore\n"
            "from src.data.core.model.identity.series import SeriesKey\n"
            "from src.data.core.model.time.timeframe import Timeframe\n"
            f"view = BarStore(Path({str(store.root)!r})).view(SeriesKey('AAPL', Timeframe(1, 'd')))\n"
            "assert view.rows == 5\n"
            "assert not {'pandas', 'filelock', 'requests'} & set(sys.modules), sys.modules.keys()\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_day_is_read_from_a_year_of_minute_bars(store: BarStore) -> None:
    count = 120_000 if FULL else 24_000
    store.commit(MINUTES, Commit((minutes(0, count),)))
    rows, _ = store.read(MINUTES, EVER)
    assert same(rows, table(range(count), size=MINUTE_MS))
    part, _ = store.read(MINUTES, Span(at(0) + DAY_MS, at(0) + DAY_MS + 3 * MINUTE_MS))
    assert numbers(part, MINUTE_MS) == [1440, 1441, 1442]
