"""Tests the views of a series: many documents, and files of older tools, seen as one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from src.data.core.cache.read.series_reader import IndexEntry
from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.market.bars import BadRow, Bar
from src.data.core.model.time.instant import year_start
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    at,
    index_of,
    lane_folder,
    make_older,
    mark,
    numbers,
    piece,
    states,
    store_in,
    write_older_year,
)
from tests.core.cache.crash import Quick


def known(store: BarStore) -> IndexEntry:
    return index_of(store).entry(store.parts.lane(DAILY))


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return an empty store at 2025-01-01 UTC."""
    return store_in(tmp_path)


@pytest.fixture
def mixed(store: BarStore, tmp_path: Path) -> BarStore:
    """A series of which an older tool left the later year, after ours was committed."""
    store.commit(DAILY, Commit((piece(-9, -3),)))
    write_older_year(tmp_path / "AAPL/1d")
    return store_in(tmp_path)


@pytest.mark.parametrize("name", ["2024.csv.gz", "2024.metadata.json"])
def test_corrupt_files_seen_by_a_plan_are_repaired_by_the_next_read(
    store: BarStore, tmp_path: Path, name: str
) -> None:
    store.commit(DAILY, Commit((piece(0, 5),)))
    store.commit(DAILY, Commit((piece(5, 9),)))
    path = lane_folder(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-30])
    damaged = path.read_bytes()
    make_older(lane_folder(tmp_path))
    shown = store.preview()
    assert shown.view(DAILY).rows == 9
    left = numbers(shown.read(DAILY, EVER)[0])
    assert left == [*range(5 if name == "2024.csv.gz" else 9)]
    foreseen = shown.view(DAILY)
    assert path.read_bytes() == damaged
    store.view(DAILY)
    assert (path.read_bytes() == damaged) == (name == "2024.csv.gz"), "detecting it takes a read"
    assert numbers(store.read(DAILY, EVER)[0]) == left
    assert store.view(DAILY) == foreseen
    assert path.read_bytes() != damaged, "it is repaired"


# --- older tools' files beside ours -----------------------------------------------------------


def test_bars_of_this_library_and_of_an_older_file_form_one_series(mixed: BarStore) -> None:
    view = mixed.view(DAILY)
    assert (view.rows, view.first, view.last, view.generation) == (6 + 5, at(-9), at(4), 2)
    assert states(mixed) == [(-9, -3, "final"), (0, 5, "final")]
    assert numbers(mixed.read(DAILY, EVER)[0]) == [*range(-9, -3), *range(5)]
    assert mixed.years(DAILY) == [2023, 2024]
    assert [*known(mixed).years(EVER)] == [2023, 2024]


def test_empty_spans_after_the_last_bar_are_listed_after_the_bars(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(-9, -3),), (mark(400, 500, "empty"),)))
    assert states(store_in(tmp_path)) == [(-9, -3, "final"), (400, 500, "empty")]
    write_older_year(tmp_path / "AAPL/1d")
    expected = [(-9, -3, "final"), (0, 5, "final"), (400, 500, "empty")]
    assert states(store_in(tmp_path)) == expected


def test_suspect_rows_are_listed_even_with_an_older_file(store: BarStore, tmp_path: Path) -> None:
    bad = BadRow(Bar(at(-2), 1.0, 0.5, 2.0, 1.0, 1.0, 1.0), "high < low")
    store.commit(DAILY, Commit((piece(-9, -3),), (mark(-2, -1, "suspect"),), (bad,)))
    before = store_in(tmp_path).suspects(DAILY, EVER)
    assert [suspect.bar.stamp_ms for suspect in before] == [at(-2)]
    write_older_year(tmp_path / "AAPL/1d")
    assert store_in(tmp_path).suspects(DAILY, EVER) == before


def test_the_first_and_last_bar_of_an_older_file_are_known(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    view = store_in(tmp_path).view(DAILY)
    assert (view.rows, view.first, view.last, view.generation) == (5, at(0), at(4), 1)


# --- what there is ----------------------------------------------------------------------------


def test_years_without_stored_bars_are_not_listed(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 2),), (mark(-5, -3, "suspect"),)))
    assert store.years(DAILY) == [2024]


def test_a_series_folder_without_files_is_an_empty_series(store: BarStore, tmp_path: Path) -> None:
    lane_folder(tmp_path).mkdir(parents=True)
    view = store.view(DAILY)
    assert (view.exists, view.rows, view.generation, view.first, view.last) == (
        False, 0, 0, None, None,
    )  # fmt: skip


def test_a_span_that_ends_with_a_year_needs_no_file_of_the_next_year(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(-500, 400),)))
    border = year_start(2024)
    for span, years in (
        (Span(border - 1, border), [2023]),
        (Span(border, border + 1), [2024]),
        (Span(border - 1, border + 1), [2023, 2024]),
    ):
        assert [*known(store).years(span)] == years


def test_an_indexed_series_changes_with_a_commit_of_another_process(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    make_older(lane_folder(tmp_path))
    reader = store_in(tmp_path)
    assert [reader.view(DAILY).rows for _ in range(2)] == [2, 2]
    store.commit(DAILY, Commit((piece(2, 3),)))
    assert reader.view(DAILY).rows == 3


def test_next_due_from_a_series_document_older_than_its_bars_is_ignored(
    store: BarStore, tmp_path: Path
) -> None:
    """After a power loss: the bars are durable, that document need not be."""
    store.commit(DAILY, Commit((piece(0, 2),), next_due=NOW))
    path = lane_folder(tmp_path) / "series.json"
    older = path.read_bytes()
    store.commit(DAILY, Commit((piece(2, 3),)))
    assert store_in(tmp_path).view(DAILY).next_due == NOW
    path.write_bytes(older)
    assert store_in(tmp_path).view(DAILY).next_due is None


def test_the_size_of_an_index_entry_counts_its_years_and_coverage(tmp_path: Path) -> None:
    sizes = []
    for n, commit in enumerate((
        Commit((piece(0, 9),)),
        Commit((piece(-500, 400),)),
        Commit(tuple(piece(day, day + 1) for day in range(-500, 400, 2))),
    )):  # fmt: skip
        store = store_in(tmp_path / str(n))
        store.commit(DAILY, commit)
        sizes.append(known(store).size)
    one, years, holes = sizes
    assert 0 < one < years < holes
    assert holes > 450 * 100, "each stretch is a separate object"


# --- whatever is done to a series -------------------------------------------------------------

BAD = BadRow(Bar(at(3), 1.0, 0.5, 2.0, 1.0, 1.0, 1.0), "high < low")


def any_change(dice: random.Random) -> Callable[[BarStore], object]:
    first = dice.randrange(-900, 900)
    end = first + dice.randrange(1, 300)
    state = dice.choice(["suspect", "empty", "provisional"])
    commit = dice.choice([
        Commit((piece(first, end, shift=dice.random()),)),
        Commit((piece(900, 900 + dice.randrange(1, 9)),), next_due=NOW),
        Commit(marks=(mark(first, end, "empty", reason="x", expires=NOW),)),
        Commit(marks=(mark(first, end, state),)),
        Commit(marks=(mark(3, 4, "suspect"),), suspects=(BAD,)),
    ])  # fmt: skip
    if dice.random() < 0.2:
        return lambda store: store.clear_years(DAILY, [dice.randrange(2021, 2027)])
    return lambda store: store.commit(DAILY, commit)


@pytest.mark.parametrize("seed", range(2))
def test_a_used_index_equals_a_new_one(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    writer = store_in(tmp_path, Quick(), columnar="map")
    writer.commit(DAILY, Commit((piece(-900, 900),), next_due=NOW))
    for _ in range(20):
        any_change(dice)(store_in(tmp_path, Quick(), columnar="map"))
        if dice.random() < 0.7:
            make_older(lane_folder(tmp_path))
        first, again = (known(store_in(tmp_path, Quick())), known(writer))
        assert again.view == first.view
        assert again.years(EVER) == first.years(EVER)
        assert again.has_quarantine == first.has_quarantine


@pytest.mark.parametrize("seed", range(2))
def test_a_tail_has_the_same_last_bar_and_coverage_end_as_a_view(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    writer, shorter = store_in(tmp_path), 0
    for _ in range(15):
        any_change(dice)(writer)
        view, tail = writer.view(DAILY), store_in(tmp_path).tail(DAILY)
        assert (tail.last, tail.kind) == (view.last, view.kind)
        finals = [part.span.end for part in view.coverage.opened() if part.state == "final"]
        edge = min(finals[-1], view.last + 1) if finals and view.last is not None else EVER.start
        behind = Span(edge, EVER.end)
        assert tail.coverage.opened().within(behind) == view.coverage.opened().within(behind)
        shorter += len(tail.coverage) < len(view.coverage)
    assert shorter, "it read fewer documents"


def test_a_tail_reads_two_documents_of_many(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-1500, 400),)))
    store = store_in(tmp_path)
    lane = store.parts.lane(DAILY)
    own, asked, documents = lane.years(), list[int](), type(lane).documents
    with patch.object(
        type(lane),
        "documents",
        lambda lane, years, **more: asked.extend(years) or documents(lane, years, **more),
    ):
        assert store.tail(DAILY).last == at(399)
    assert (asked, len(own)) == (own[-2:], 7)
