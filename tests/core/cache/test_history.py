"""Tests reading a series as it was after an earlier commit, as long as its versions are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.cache import history
from src.data.core.cache.clear import evict_year
from src.data.core.cache.format.gzip_member import build, file_id, walk
from src.data.core.cache.history import PastStates, commits_of
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.cache.upkeep.maintenance import repair_series
from src.data.core.model.stored.retention import Retention
from src.data.errors import QueryError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    at,
    days,
    lane_folder,
    mark,
    numbers,
    piece,
    repaired,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import examples
from tests.core.cache.crash import Quick
from tests.core.cache.damage import change, flipped


def test_every_commit_before_a_compaction_can_be_read_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(3, 5),)))
    store.commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    store.commit(DAILY, Commit((piece(-3, 0),)))
    store.commit(DAILY, Commit((piece(5, 6), piece(0, 1, []))))
    reported = {}
    for generation in range(1, 6):
        rows, coverage = store.read_version(DAILY, EVER, generation)
        reported[generation] = numbers(rows), rows.close.tolist()
        assert sum(c.span.end - c.span.start for c in coverage) >= len(rows) * 86_400_000
    plain = table(range(5)).close.tolist()
    revised = [plain[0], plain[1] + 1.0, *plain[2:]]
    assert reported[1] == ([0, 1, 2], plain[:3])
    assert reported[2] == ([0, 1, 2, 3, 4], plain)
    assert reported[3] == ([0, 1, 2, 3, 4], revised)
    assert reported[4] == (
        [-3, -2, -1, 0, 1, 2, 3, 4],
        table([-3, -2, -1]).close.tolist() + revised,
    )
    assert reported[5][0] == [-3, -2, -1, 1, 2, 3, 4, 5]
    now, _ = store.read(DAILY, EVER)
    assert reported[5] == (numbers(now), now.close.tolist())
    assert numbers(store.read_version(DAILY, days(1, 3), 2)[0]) == [1, 2]


def test_versions_joined_by_compaction_are_separated_by_the_log(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    compact_series(store.parts, DAILY, dry_run=False)
    for generation in range(1, 11):
        rows, coverage = store.read_version(DAILY, EVER, generation)
        assert same(rows, table(range(generation)))
        assert [c.span for c in coverage] == [days(0, generation)]


def _old_log(path: Path) -> None:
    """Rewrite the log without the first stamp that each commit touched, as recovery logs commits."""
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    for entry in entries:
        del entry["touched"]
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))


def test_a_version_that_the_log_cannot_separate_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    _old_log(lane_folder(tmp_path) / "2024.log")
    with pytest.raises(QueryError, match="no longer kept") as refused:
        store.read_version(DAILY, EVER, 5)
    assert refused.value.hint == "versions of AAPL 1d that are kept: 8 to 10"
    assert same(store.read_version(DAILY, EVER, 9)[0], table(range(9)))


@pytest.mark.parametrize(
    "later",
    [
        Commit((piece(1, 2, shift=1.0),)),
        Commit((piece(1, 2, []),)),
        Commit((piece(3, 6, [4, 5]),)),
        Commit((piece(0, 3, adj=True),)),
    ],
    ids=["revised", "withdrawn", "inserted", "told more"],
)
def test_a_version_from_before_a_change_is_kept_or_refused(tmp_path: Path, later: Commit) -> None:
    before = table([0, 1, 2, 3])
    for kept, forgets in ((8, False), (0, False), (0, True)):
        root = tmp_path / f"{kept}{forgets}"
        store = store_in(root, retention=Retention(kept))
        store.commit(DAILY, Commit((piece(0, 4, [0, 1, 2, 3]),)))
        store.commit(DAILY, Commit((piece(6, 7),)))
        store.commit(DAILY, later)
        if forgets:
            _old_log(lane_folder(root) / "2024.log")
        compact_series(store.parts, DAILY, dry_run=False)
        for version, then in ((1, before), (2, table([0, 1, 2, 3, 6]))):
            try:
                rows, _ = store.read_version(DAILY, EVER, version)
            except QueryError:
                continue
            assert same(rows, then)
    assert same(store.read_version(DAILY, EVER, 3)[0], store.read(DAILY, EVER)[0])


def test_versions_before_a_replaced_file_can_still_be_read(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(3, 5),)))
    compact_series(store.parts, DAILY, dry_run=False)
    store.commit(DAILY, Commit((piece(0, 4, shift=1.0),)))
    store.commit(DAILY, Commit((piece(4, 5, []),)))
    assert [e["kept"] for e in commits_of(store.parts.lane(DAILY))] == [True] * 4
    assert same(store.read_version(DAILY, EVER, 1)[0], table(range(3)))
    assert same(store.read_version(DAILY, EVER, 2)[0], table(range(5)))
    assert [e["touched"] for e in store.log(DAILY)] == [at(0), at(3), at(0), at(4)]


STEPS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 4), st.sampled_from([0.0, 0.0, 1.0, 2.0])),
    min_size=1, max_size=9,
)  # fmt: skip


@settings(max_examples=examples(40), derandomize=True, deadline=None, database=None)
@given(steps=STEPS, kept=st.sampled_from([8, 1, 0]), compact_at=st.integers(0, 9))
def test_a_version_equals_the_bars_read_at_its_time_or_is_refused(
    steps: list[tuple[int, int, float]], kept: int, compact_at: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("past")
    store = store_in(root, Quick(), retention=Retention(kept))
    seen = {}
    for n, (first, count, shift) in enumerate(steps):
        store.commit(DAILY, Commit((piece(first, first + count, shift=shift),)))
        seen[store.view(DAILY).generation] = store.read(DAILY, EVER)[0]
        if n == compact_at:
            compact_series(store.parts, DAILY, dry_run=False)
    reported = {e["generation"]: e["kept"] for e in commits_of(store.parts.lane(DAILY))}
    assert reported.keys() == seen.keys()
    for generation, rows in seen.items():
        try:
            found = store.read_version(DAILY, EVER, generation)[0]
        except QueryError:
            assert not reported[generation]
            continue
        assert reported[generation]
        assert same(found, rows)
    assert reported[max(reported)], "the newest can always be read"


def test_a_version_is_read_if_only_the_requested_years_are_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick(), retention=Retention(0))
    store.commit(DAILY, Commit((piece(-3, 3),)))
    store.commit(DAILY, Commit((piece(-2, -1, shift=1.0),)))
    assert numbers(store.read_version(DAILY, days(0, 9), 1)[0]) == [0, 1, 2]
    with pytest.raises(QueryError, match="2023 as of version 1 are no longer kept"):
        store.read_version(DAILY, EVER, 1)


def test_a_commit_not_yet_in_the_log_is_not_in_an_older_version(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 3),)))
    log = lane_folder(tmp_path) / "2024.log"
    before = log.read_bytes()
    store.commit(DAILY, Commit((piece(3, 5),)))
    log.write_bytes(before)
    store = store_in(tmp_path, Quick())
    assert numbers(store.read_version(DAILY, EVER, 1)[0]) == [0, 1, 2]


def test_a_version_without_bars_is_read_and_one_whose_file_is_gone_is_refused(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 3, []),)))
    store.commit(DAILY, Commit((piece(3, 5),)))
    assert len(store.read_version(DAILY, EVER, 1)[0]) == 0
    assert numbers(store.read_version(DAILY, EVER, 2)[0]) == [3, 4]
    (lane_folder(tmp_path) / "2024.csv.gz").unlink()
    with pytest.raises(QueryError, match="no longer kept"):
        store_in(tmp_path, Quick()).read_version(DAILY, EVER, 2)


def test_version_numbers_are_printed_as_ranges() -> None:
    assert history.ranges([1, 2, 3, 7, 9, 10]) == "1 to 3, 7, 9 to 10"


def test_a_commit_to_two_years_is_listed_once(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(-2, 2),)))
    store.commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    one, other = commits_of(store.parts.lane(DAILY))
    assert (one["generation"], one["years"], one["added"]) == (1, [2023, 2024], 4)
    assert one["span"] == list(days(-2, 2))
    assert (other["changed"], other["vendor"], other["kept"]) == (1, "acme", True)


def test_a_version_is_kept_if_only_adjusted_closes_change(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    first = piece(0, 3, adj=True)
    before = np.array([1.0, 2.0, 3.0])
    store.commit(DAILY, Commit((replace(first, table=first.table.with_adj_close(before)),)))
    after = np.array([1.0, 2.5, np.nan])
    store.commit(DAILY, Commit((replace(first, table=first.table.with_adj_close(after)),)))
    (_, entry) = commits_of(store.parts.lane(DAILY))
    assert (entry["added"], entry["changed"], entry["kept"]) == (0, 2, True)
    for generation, closes in ((1, before), (2, after)):
        rows, _ = store.read_version(DAILY, EVER, generation)
        np.testing.assert_array_equal(rows.adj_close, closes)


def test_a_version_from_before_another_years_first_commit_is_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(-2, 0),)))
    assert [commit["kept"] for commit in commits_of(store.parts.lane(DAILY))] == [True, True]
    assert numbers(store.read_version(DAILY, EVER, 1)[0]) == [0, 1]


def test_a_commit_recovered_in_one_of_its_years_is_listed_as_recovered(tmp_path: Path) -> None:
    lane = store_in(tmp_path).parts.lane(DAILY)
    store_in(tmp_path).commit(DAILY, Commit((piece(-2, 2),)))
    entry = {"added": 0, "changed": 0, "removed": 0, "size": 0}
    lane.append_log(2023, entry | {"generation": 2})
    lane.append_log(2024, entry | {"generation": 2, "recovered": True})
    assert [commit["recovered"] for commit in commits_of(lane)] == [False, True]


def test_a_version_is_refused_if_its_year_file_is_gone(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    (lane_folder(tmp_path) / "2024.csv.gz").unlink()
    with pytest.raises(QueryError) as caught:
        store.read_version(DAILY, EVER, 1)
    assert "cache.keep_versions" in str(caught.value.hint)


def test_generations_are_sorted_as_numbers(tmp_path: Path) -> None:
    lane = store_in(tmp_path).parts.lane(DAILY)
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 2),)))
    entry = {"added": 0, "changed": 0, "removed": 0, "size": 0}
    for generation in (8, 1000, 4096):
        lane.append_log(2024, entry | {"generation": generation})
    assert PastStates(lane).generations == [1, 8, 1000, 4096]


def test_a_version_ends_with_its_last_bar_if_the_log_has_no_span(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    compact_series(store.parts, DAILY, dry_run=False)
    path = lane_folder(tmp_path) / "2024.log"
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text("".join(f"{json.dumps(entry | {'span': None})}\n" for entry in entries))
    rows, (covered,) = store.read_version(DAILY, EVER, 3)
    assert numbers(rows) == [0, 1, 2]
    assert (covered.span.start, covered.span.end) == (at(0), at(2) + 1)


def test_an_unknown_series_has_no_first_version(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no version 1"):
        store_in(tmp_path).read_version(DAILY, EVER, 1)


@pytest.mark.parametrize("generation", [-1, 0, 3])
def test_a_version_that_never_existed_is_a_query_error(tmp_path: Path, generation: int) -> None:
    store = store_in(tmp_path)
    with pytest.raises(QueryError, match="no version"):
        store.read_version(DAILY, EVER, generation)
    store.commit(DAILY, Commit((piece(0, 1),)))
    store.commit(DAILY, Commit((piece(1, 2),)))
    with pytest.raises(QueryError, match="versions 1 to 2"):
        store.read_version(DAILY, EVER, generation)


def test_the_log_lists_the_commits_of_all_years_and_skips_invalid_lines(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.log(DAILY) == []
    store.commit(DAILY, Commit((piece(-2, 2),)))
    store.commit(DAILY, Commit(marks=(mark(2, 3, "empty"),)))
    path = lane_folder(tmp_path) / "2024.log"
    path.write_bytes(path.read_bytes() + b'{"generation": 9}\n{"generation": 9, "tor')
    reported = [(e["generation"], e["year"], e["added"]) for e in store.log(DAILY)]
    assert reported == [(1, 2023, 2), (1, 2024, 2), (2, 2024, 0)]
    store.commit(DAILY, Commit((piece(3, 4),)))
    assert [e["generation"] for e in store.log(DAILY)] == [1, 1, 2, 3]


@pytest.mark.parametrize("log_lost", [True, False])
def test_a_recovery_is_logged(tmp_path: Path, log_lost: bool) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    metadata, log = (lane_folder(tmp_path) / f"2024.{end}" for end in ("metadata.json", "log"))
    before = metadata.read_bytes(), log.read_bytes()
    store.commit(DAILY, Commit((piece(2, 5),)))
    metadata.write_bytes(before[0])
    if log_lost:
        log.write_bytes(before[1])
    repaired(store_in(tmp_path), DAILY)
    last = store_in(tmp_path).log(DAILY)[-1]
    reported = (last["generation"], last["added"], last["recovered"])
    assert reported == (3, 3 if log_lost else 0, True)
    assert len(store_in(tmp_path).read_version(DAILY, EVER, 3)[0]) == 5
    assert len(store_in(tmp_path).read_version(DAILY, EVER, 1)[0]) == 2


def forgotten(root: Path, *names: str) -> Callable[[], None]:
    """Return what brings the files of 2024 back as they are now: later commits are forgotten."""
    before = {name: (lane_folder(root) / f"2024.{name}").read_bytes() for name in names}

    def forget() -> None:
        for name, content in before.items():
            (lane_folder(root) / f"2024.{name}").write_bytes(content)

    return forget


@pytest.mark.parametrize("later", [piece(2, 5), piece(0, 1, shift=7.0)], ids=["new", "revised"])
def test_a_version_whose_commit_is_not_in_the_log_is_refused(
    tmp_path: Path, later: CommitPiece
) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    forget = forgotten(tmp_path, "log")
    store.commit(DAILY, Commit((later,)))
    store.commit(DAILY, Commit((piece(-3, -1),)))
    kept = store.read_version(DAILY, EVER, 1)
    forget()
    for version in (2, 3):
        with pytest.raises(QueryError, match=r"2024 as of version . are no longer kept"):
            store_in(tmp_path).read_version(DAILY, EVER, version)
        with pytest.raises(QueryError, match=r"2024 as of version . are no longer kept"):
            store_in(tmp_path).pin(DAILY, version)
    assert numbers(store_in(tmp_path).read_version(DAILY, days(-5, 0), 3)[0]) == [-3, -2]
    assert same(store_in(tmp_path).read_version(DAILY, EVER, 1)[0], kept[0])


@pytest.mark.parametrize("is_continued", [True, False])
def test_a_year_whose_log_is_gone_has_no_versions(tmp_path: Path, is_continued: bool) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(-3, -1),)))
    (lane_folder(tmp_path) / "2024.log").unlink()
    if is_continued:
        store.commit(DAILY, Commit((piece(2, 3),)))
    with pytest.raises(QueryError, match="2024 as of version 2 are no longer kept"):
        store_in(tmp_path).read_version(DAILY, EVER, 2)


@pytest.mark.parametrize("is_last_lost", [True, False])
def test_a_commit_that_the_log_lacks_is_not_made_up_for_by_chance(
    tmp_path: Path, is_last_lost: bool
) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    forget = forgotten(tmp_path, "log")
    store.commit(DAILY, Commit((piece(2, 3),)))
    forget()
    for n in (3, 4, 5):
        forget = forgotten(tmp_path, "log")
        store.commit(DAILY, Commit((piece(n, n + 1, state="provisional"),)))
    if is_last_lost:
        forget()
    compact_series(store.parts, DAILY, dry_run=False)
    with pytest.raises(QueryError, match="no longer kept"):
        store_in(tmp_path).read_version(DAILY, EVER, 3)


def test_a_log_that_lacks_the_bars_of_an_eviction_has_no_versions_before_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    forget = forgotten(tmp_path, "log")
    store.commit(DAILY, Commit((piece(2, 6),)))
    forget()
    assert evict_year(store.parts.lane(DAILY), 2024, 2)
    store.commit(DAILY, Commit((piece(0, 1),)))
    store.commit(DAILY, Commit((piece(1, 2),)))
    assert PastStates(store.parts.lane(DAILY)).kept() == []


@pytest.mark.parametrize("lost", ["log", "metadata.json"])
def test_bars_lost_from_one_year_are_missing_only_from_later_versions(
    tmp_path: Path, lost: str
) -> None:
    store = store_in(tmp_path)
    for first in (-5, 0, 2):
        store.commit(DAILY, Commit((piece(first, first + 2),)))
    (lane_folder(tmp_path) / f"2024.{lost}").unlink()  # one of the two shows the generation
    change(lane_folder(tmp_path) / "2023.csv.gz", lambda data: flipped(data, 300))
    parts = store_in(tmp_path).parts
    repair_series(parts, parts.lane(DAILY))
    last = [e for e in store_in(tmp_path).log(DAILY) if e["year"] == 2023][-1]
    assert (last["removed"], last["generation"] > 3) == (2, True)
    for version in (1, 2, 3):
        with pytest.raises(QueryError, match=r"2023 as of version . are no longer kept"):
            store_in(tmp_path).read_version(DAILY, EVER, version)


def test_a_version_from_before_a_commit_that_the_log_lacks_is_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in (0, 2):
        store.commit(DAILY, Commit((piece(n, n + 2),)))
    kept = store.read_version(DAILY, EVER, 1)
    forget = forgotten(tmp_path, "log")
    store.commit(DAILY, Commit((piece(4, 6),)))
    forget()
    store.commit(DAILY, Commit((piece(6, 8),)))
    assert same(store_in(tmp_path).read_version(DAILY, EVER, 1)[0], kept[0])
    for version in (3, 4):
        with pytest.raises(QueryError, match="no longer kept"):
            store_in(tmp_path).read_version(DAILY, EVER, version)


@pytest.mark.parametrize("corrected", [piece(4, 6, shift=1.0), piece(4, 5, shift=1.0)])
def test_a_version_is_kept_although_bars_of_the_next_one_were_replaced(
    tmp_path: Path, corrected: CommitPiece
) -> None:
    store = store_in(tmp_path, retention=Retention(0))
    store.commit(DAILY, Commit((piece(0, 3),)))
    expected, _ = store.read(DAILY, EVER)
    store.commit(DAILY, Commit((piece(3, 5, state="provisional"),)))
    store.commit(DAILY, Commit((corrected,)))
    assert same(store_in(tmp_path).read_version(DAILY, EVER, 1)[0], expected)
    with pytest.raises(QueryError, match="no longer kept"):
        store_in(tmp_path).read_version(DAILY, EVER, 2)


def test_a_commit_found_by_recovery_has_bars_and_no_other_facts(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 2),)))
    forget = forgotten(tmp_path, "metadata.json", "log")
    store.commit(DAILY, Commit((piece(2, 9, [2, 3]),)))
    forget()
    store = store_in(tmp_path, Quick())
    repaired(store, DAILY)
    recovered = store.view(DAILY).generation
    reported = commits_of(store.parts.lane(DAILY))
    assert [(e["span"], e["vendor"], e["added"]) for e in reported] == [
        (list(days(0, 2)), "acme", 2), (None, "", 2),
    ]  # fmt: skip
    rows, coverage = store.read_version(DAILY, EVER, recovered)
    assert numbers(rows) == [0, 1, 2, 3]
    assert coverage[-1].span.end == at(9)


def test_a_recovered_commit_may_be_joined_with_a_later_one(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 2),)))
    forget = forgotten(tmp_path, "metadata.json", "log")
    store.commit(DAILY, Commit((piece(2, 4),)))
    forget()
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(4, 6),)))
    then = store.view(DAILY).generation
    store.commit(DAILY, Commit((piece(6, 9, [8]),)))
    compact_series(store.parts, DAILY, dry_run=False)
    rows, coverage = store.read_version(DAILY, EVER, then)
    assert numbers(rows) == [*range(6)]
    assert coverage[-1].span.end == at(6), "not up to the bar that came later"
    rows, coverage = store.read_version(DAILY, EVER, then - 1)
    assert numbers(rows) == [*range(4)]
    assert coverage[-1].span.end == at(3) + 1, "the requested span is unknown"


def test_commits_that_only_mark_hide_no_older_version(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(2, 4),)))
    store.commit(DAILY, Commit(marks=(mark(4, 5, "empty"),)))
    compact_series(store.parts, DAILY, dry_run=False)
    assert numbers(store.read_version(DAILY, EVER, 1)[0]) == [0, 1]


def test_a_version_whose_last_bar_was_revised_later_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick(), retention=Retention(0))
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(2, 5, shift=1.0),)))
    compact_series(store.parts, DAILY, dry_run=False)
    with pytest.raises(QueryError, match="no longer kept"):
        store.read_version(DAILY, EVER, 1)


def test_a_log_entry_for_several_commits_gives_no_version_between(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    for part in (piece(0, 2), piece(-3, 0), piece(2, 4)):
        store.commit(DAILY, Commit((part,)))
    path = lane_folder(tmp_path) / "2024.log"
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text(json.dumps(entries[-1] | {"since": 1, "added": 4, "touched": at(0)}) + "\n")
    lane = store_in(tmp_path, Quick()).parts.lane(DAILY)
    assert {e["generation"]: e["kept"] for e in commits_of(lane)} == {2: False, 3: True}


def test_a_commit_that_only_marks_a_year_lists_its_vendor_once(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(-3, 0),), marks=(mark(3, 4, "empty"),)))
    reported = commits_of(store.parts.lane(DAILY))
    assert [(e["years"], e["vendor"]) for e in reported] == [
        ([2024], "acme"),
        ([2023, 2024], "acme"),
    ]


def test_a_commit_not_yet_in_the_log_hides_no_older_version(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(2, 4),)))
    compact_series(store.parts, DAILY, dry_run=False)
    forget = forgotten(tmp_path, "log")
    store.commit(DAILY, Commit((piece(4, 6),)))
    forget()
    lane = store_in(tmp_path, Quick()).parts.lane(DAILY)
    assert [e["kept"] for e in commits_of(lane)] == [True, True]
    assert numbers(history.read_version(lane, EVER, 1)[0]) == [0, 1]


def test_no_version_is_read_from_a_file_whose_bars_contradict_its_header(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(2, 4),)))
    compact_series(store.parts, DAILY, dry_run=False)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    ((_, member),) = walk(path.read_bytes(), file_id(DAILY, 2024))
    path.write_bytes(build(member.header, member.text()[:-20]).raw)
    lane = store_in(tmp_path, Quick()).parts.lane(DAILY)
    assert not next(iter(commits_of(lane)))["kept"]
    for version in (1, 2):
        with pytest.raises(QueryError, match="no longer kept"):
            history.read_version(lane, EVER, version)
