"""Tests how a commit changes coverage: withdrawn trust, and marks that claim less than they cover."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.data.core.cache.values import Commit
from src.data.core.cache.write.coverage_update import (
    after_marks,
    after_pieces,
    by_year,
    carried,
    takes_trust,
)
from src.data.core.model.identity.kind import Basis
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.reasons import DOUBTFUL, GRAVE
from src.data.core.model.time.edges import Edges, spans_of
from src.data.core.model.time.span import Span, years_of
from tests.core.cache.bars import at, days, mark, piece
from tests.core.cache.counts import examples

covering = st.builds(
    lambda start, length, state, vendor, reason: replace(
        mark(start, start + length, state, vendor=vendor), reason=reason
    ),
    st.integers(0, 40),
    st.integers(1, 9),
    st.sampled_from(["final", "provisional", "empty", "suspect"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "odd"]),
)


def known(*parts: Covered) -> Coverage:
    return Coverage().overlaid(parts)


@pytest.mark.parametrize(
    ("after", "is_taken"),
    [
        ([mark(0, 9, "final")], False),
        ([mark(0, 12, "final")], False),
        ([mark(0, 4, "final", vendor="other"), mark(4, 9, "final")], False),
        ([mark(0, 9, "final"), mark(9, 12, "provisional")], False),
        ([mark(0, 9, "provisional")], True),
        ([mark(0, 8, "final"), mark(8, 9, "provisional")], True),
        ([mark(0, 4, "final"), mark(5, 9, "final")], True),
        ([mark(0, 9, "empty")], True),
        ([], True),
        ([mark(0, 9, "final"), mark(20, 21, "suspect")], True),
    ],
    ids=["the same", "more", "of another", "the next", "no longer final", "not all final", "a hole",
         "nothing there", "not known", "doubts elsewhere"],
)  # fmt: skip
def test_a_commit_that_takes_finality_from_a_span_is_detected(
    after: list[Covered], is_taken: bool
) -> None:
    before = known(mark(0, 9, "final"))
    assert takes_trust(before, known(*after)) is is_taken


@pytest.mark.parametrize("state", ["provisional", "empty"])
def test_coverage_that_was_never_final_loses_no_trust(state: str) -> None:
    assert not takes_trust(known(mark(0, 9, state)), Coverage())
    assert not takes_trust(Coverage(), known(mark(0, 9, state)))


def test_a_commit_that_ends_a_doubt_is_detected() -> None:
    assert takes_trust(known(mark(0, 9, "suspect")), known(mark(0, 9, "final")))


def test_bars_found_equal_do_not_make_an_empty_span_final() -> None:
    empty = mark(0, 3, "empty", vendor="", fetched_at=1)
    bad = mark(3, 5, "suspect", fetched_at=1)
    held = mark(5, 9, "provisional", fetched_at=1)
    none = mark(9, 12, "provisional", vendor="other", fetched_at=9)  # of whose bars none is left
    found = after_marks(
        known(empty, bad, held, none), [mark(0, 12, "final", fetched_at=7)],
        lambda spans: (spans == held.span).all(axis=1),
    )  # fmt: skip
    assert [(c.span, c.state, c.fetched_at) for c in found] == [
        (days(0, 3), "empty", 1), (days(3, 5), "suspect", 1), (days(5, 9), "final", 7),
        (days(9, 12), "final", 9),
    ]  # fmt: skip


MAY, JUNE = date(2024, 5, 1), date(2024, 6, 1)


def test_bars_found_equal_end_a_doubt_in_the_weekend_before_the_next_bars_too() -> None:
    doubted = mark(0, 3, "suspect", reason=f"{DOUBTFUL}other prices", basis=Basis("split", MAY))
    # Its bars were asked from the weekend, days 3 and 4, on.
    later = replace(doubted, span=days(3, 9), basis=Basis("split", JUNE))
    found = after_marks(
        known(doubted, later), [mark(0, 5, "final", basis=Basis("split", JUNE))],
        lambda spans: (spans != days(3, 5)).any(axis=1),
    )  # fmt: skip
    assert [(c.span, c.state) for c in found] == [(days(0, 5), "final"), (days(5, 9), "suspect")]


def test_a_verdict_on_bars_does_not_change_rejected_rows_between_them() -> None:
    good = mark(0, 9, "final", basis=Basis("split", MAY))
    bad = mark(3, 5, "suspect", basis=Basis("split", JUNE), reason="high below low")
    before = known(*(replace(good, span=span) for span in (days(0, 3), days(5, 9))), bad)
    verdict = mark(0, 9, "suspect", basis=Basis("split"), reason=f"{GRAVE}unit")

    def has_bars(spans: Edges) -> NDArray[np.bool_]:
        return (spans != bad.span).any(axis=1)

    found = list(after_marks(before, [verdict], has_bars))
    assert [part.reason for part in found] == [verdict.reason, bad.reason, verdict.reason]
    assert found[1] == bad
    again = mark(3, 5, "suspect", basis=Basis("split", MAY), reason="close above high")
    (_, row, _) = after_marks(Coverage(found), [again], has_bars)
    assert row == again


@pytest.mark.parametrize(
    ("state", "old", "said", "then"),
    [
        ("final", Basis("split", MAY), Basis("split", JUNE), Basis("split", JUNE)),
        ("final", Basis("split"), Basis("split", JUNE), Basis("split", JUNE)),
        ("final", Basis("split", JUNE), Basis("split", MAY), Basis("split", JUNE)),
        ("final", Basis("split", MAY), Basis("split"), Basis("split", MAY)),
        ("final", Basis("raw", MAY), Basis("split", JUNE), Basis("raw", MAY)),
        ("suspect", Basis("split", MAY), Basis("split", JUNE), Basis("split", MAY)),
    ],
)
def test_bars_found_equal_get_the_basis_date_of_the_comparison(
    state: str, old: Basis, said: Basis, then: Basis
) -> None:
    before = known(mark(0, 9, "final", basis=old))
    (found,) = after_marks(
        before, [mark(0, 9, state, basis=said)], lambda spans: np.ones(len(spans), bool)
    )
    assert (found.basis, found.state) == (then, state)


def states_of(coverage: Coverage) -> list[tuple[Span, str]]:
    return [(part.span, part.state) for part in coverage]


def test_empty_and_suspect_spans_of_lost_metadata_are_carried_over() -> None:
    lost = known(mark(0, 2, "empty"), mark(2, 5, "suspect"), mark(9, 12, "empty"))
    rebuilt = known(mark(1, 4, "final"), mark(4, 8, "provisional"))
    assert states_of(carried(lost, rebuilt)) == [
        (days(0, 1), "empty"), (days(1, 2), "final"), (days(2, 5), "suspect"),
        (days(5, 8), "provisional"), (days(9, 12), "empty"),
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["final", "provisional"])
def test_finality_and_bars_of_lost_metadata_are_not_carried_over(state: str) -> None:
    """Facts that are not in the members may date from before their damage."""
    rebuilt = known(mark(0, 3, "final"), mark(3, 5, "provisional"))
    assert carried(known(mark(0, 9, state)), rebuilt) == rebuilt
    assert carried(None, rebuilt) is rebuilt


def test_a_hole_is_written_only_to_its_own_year() -> None:
    parts = by_year(Commit((piece(-9, 9, [*range(-9, 2), *range(4, 9)], holes=(days(2, 4),)),)))
    assert {year: part.pieces[0].holes for year, part in parts.items()} == {
        2023: (), 2024: (days(2, 4),),
    }  # fmt: skip


@settings(max_examples=examples(100), derandomize=True)
@given(
    st.lists(covering, max_size=6),
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 9), st.lists(st.integers(0, 50), max_size=5)),
        max_size=3,
    ),
)
def test_a_piece_replaces_all_coverage_of_its_span(
    before: list[Covered], answers: list[tuple[int, int, list[int]]]
) -> None:
    pieces = [
        piece(start, start + length, [], holes=tuple(days(d, d + 1) for d in sorted(gone)))
        for start, length, gone in answers
    ]
    one_by_one = known(*before)
    for one in pieces:
        holes = [hole.clip(one.span) for hole in one.holes]
        answer = Covered(one.span, one.state, one.vendor, one.kind, one.basis, one.fetched_at)
        one_by_one = one_by_one.overlaid([answer]).without(holes)
    assert said(after_pieces(known(*before), pieces)) == said(one_by_one)


def test_a_span_of_zero_length_touches_no_year() -> None:
    assert list(years_of(Span(at(3), at(3)))) == []
    assert list(years_of(days(-1, 1))) == [2023, 2024]
    assert list(years_of(days(-1, 0))) == [2023]


@settings(max_examples=examples(300), derandomize=True)
@given(st.lists(covering, max_size=8), st.lists(covering, max_size=12), st.sets(st.integers(0, 50)))
def test_marks_of_one_commit_equal_the_same_marks_committed_one_by_one(
    before: list[Covered], marks: list[Covered], stored: set[int]
) -> None:
    def has_bars(spans: Edges) -> NDArray[np.bool_]:
        return np.array([any(at(day) in span for day in stored) for span in spans_of(spans)], bool)

    coverage = known(*before).folded()
    one_by_one = coverage
    for one in marks:
        one_by_one = after_marks(one_by_one, [one], has_bars)
    at_once = after_marks(coverage, marks, has_bars)
    assert said(at_once) == said(one_by_one)
    ascending = sorted(marks, key=lambda one: one.span)
    alone = coverage
    for one in ascending:
        alone = after_marks(alone, [one], has_bars)
    assert said(after_marks(coverage, ascending, has_bars)) == said(alone)
    assert at_once == Coverage.joined(at_once)


def said(coverage: Coverage) -> list[Covered]:
    """Return the stretches without their times: joined ones have the later one."""
    return list(Coverage.joined(replace(part, fetched_at=0) for part in coverage.opened()))


def test_a_mark_changes_only_the_small_spans_inside_it() -> None:
    days = [mark(day, day + 1, "suspect" if day % 2 else "final") for day in range(41)]
    whole = Coverage.joined(
        replace(part, span=Span(*(a // 24 for a in part.span))) for part in days
    )
    (folded,) = coverage = whole.folded()
    assert folded.parts
    doubt = replace(whole[20], state="suspect", reason="new")
    after = after_marks(
        coverage, [whole[3], doubt, whole[39]], lambda spans: np.ones(len(spans), bool)
    )
    expected = [*whole[:20], doubt, *whole[21:]]
    assert said(after) == said(Coverage(expected))
