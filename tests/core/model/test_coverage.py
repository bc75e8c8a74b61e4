"""Coverage: the later answer counts, stamp by stamp, and nothing is lost in between."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.stored.coverage import Coverage, Covered, Splice
from src.data.core.model.time.span import Span
from src.data.core.model.words.canonical import canonical
from tests.core.cache.bars import stored
from tests.core.cache.counts import examples


def covered(
    start: int, end: int, state: str = "final", vendor: str = "v", **more: object
) -> Covered:
    return Covered(Span(start, end), state, vendor=vendor, **more)  # type: ignore[arg-type]


entries = st.builds(
    covered, st.integers(0, 30), st.integers(0, 30),
    st.sampled_from(["final", "provisional", "empty", "suspect"]), st.sampled_from(["a", "b"]),
)  # fmt: skip


@settings(max_examples=examples(300), derandomize=True)
@given(st.lists(st.lists(entries, max_size=4), max_size=4))
def test_the_later_answer_counts_at_every_stamp(answers: list[list[Covered]]) -> None:
    truth: dict[int, tuple[str, str]] = {}
    coverage = Coverage()
    for answer in answers:
        coverage = coverage.overlaid(answer)
        for entry in answer:
            truth |= dict.fromkeys(range(*entry.span), (entry.state, entry.vendor))
    told = {p: (c.state, c.vendor) for c in coverage for p in range(*c.span)}
    assert told == truth
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(coverage))
    assert coverage == Coverage.joined(coverage)


def test_spans_of_adjacent_entries_are_merged_whether_held_as_objects_or_columns() -> None:
    vendors = covered(0, 2, vendor="a"), covered(2, 4, vendor="b")
    coverage = Coverage((*vendors, covered(4, 5, "empty"), covered(5, 7)))
    for held in (coverage, Coverage.of(coverage.columns)):
        assert held.spans(lambda entry: entry.state == "final") == [Span(0, 4), Span(5, 7)]


@settings(max_examples=examples(300), derandomize=True)
@given(st.lists(entries, max_size=6), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_what_is_taken_out_is_not_known_and_the_rest_is_as_it_was(
    answer: list[Covered], pairs: list[tuple[int, int]]
) -> None:
    coverage = Coverage().overlaid(answer)
    left = coverage.without(Span(*pair) for pair in pairs)
    gone = {stamp for pair in pairs for stamp in range(*pair)}
    told = {p: (c.state, c.vendor) for c in left for p in range(*c.span)}
    whole = {p: (c.state, c.vendor) for c in coverage for p in range(*c.span)}
    assert told == {stamp: said for stamp, said in whole.items() if stamp not in gone}
    assert not any(part.span.is_empty for part in left)
    assert left == Coverage.joined(left)


def test_spans_that_do_not_touch_a_change_stay_the_same_objects() -> None:
    coverage = Coverage([covered(n, n + 1, vendor="ab"[n % 2]) for n in range(9)])
    after = coverage.without([Span(4, 5)]).overlaid([covered(4, 5, "empty")])
    assert [one is other for one, other in zip(after, coverage, strict=True)] == [
        n != 4 for n in range(9)
    ]


@settings(max_examples=examples(200), derandomize=True)
@given(st.lists(entries, max_size=6))
def test_its_text_is_the_json_of_its_stretches(answer: list[Covered]) -> None:
    whole = Coverage().overlaid(answer)
    assert json.loads(whole.text) == [part.to_json() for part in whole]
    assert whole.text == canonical([part.to_json() for part in whole])


def test_neighbours_of_one_source_are_one_entry_with_the_later_fetch_time() -> None:
    coverage = Coverage().overlaid([covered(0, 5, fetched_at=1), covered(5, 9, fetched_at=7)])
    assert coverage == (covered(0, 9, fetched_at=7),)


def test_an_expired_nothing_is_missing_again() -> None:
    coverage = Coverage([covered(0, 5, "empty", expires=100), covered(5, 9)])
    assert coverage.standing(99) == [Span(0, 9)]
    assert coverage.standing(100) == [Span(5, 9)]


def test_every_field_of_a_covered_span_is_in_its_json() -> None:
    entry = Covered(
        Span(1, 9), "suspect", "yahoo", Kind(unit="USD"), Basis("split", date(2024, 1, 2)), 77,
        "high below low", 99,
        (Splice(5, "other", "constant", 2.0, 9, "a split"), Splice(7, "other", "unchecked")),
    )  # fmt: skip
    assert [set(splice) for splice in entry.to_json()["splices"]] == [
        {"at", "with", "verdict", "ratio", "common", "because"},
        {"at", "with", "verdict", "ratio", "common"},
    ]


def test_empty_fields_are_left_out_of_the_json_of_a_span() -> None:
    nothing = covered(1, 9, "empty", "")
    assert nothing.to_json() == {"span": [1, 9], "state": "empty"}
    assert set(covered(1, 9).to_json()) == {"span", "state", "kind", "basis", "vendor"}


def test_a_covered_span_clipped_elsewhere_is_none() -> None:
    assert covered(0, 5).clip(Span(3, 9)) == covered(3, 5)
    assert covered(0, 5).clip(Span(7, 9)) is None


@settings(max_examples=examples(300), derandomize=True)
@given(st.lists(entries, max_size=6), st.integers(-2, 32), st.integers(-2, 32))
def test_a_part_of_it_is_stamp_by_stamp_what_the_whole_says(
    answer: list[Covered], start: int, end: int
) -> None:
    coverage, span = Coverage().overlaid(answer), Span(start, end)
    whole = {p: c for c in coverage for p in range(*c.span)}
    part = coverage.within(span)
    told = {p: (c.state, c.vendor) for c in part for p in range(*c.span)}
    assert told == {p: (c.state, c.vendor) for p, c in whole.items() if start <= p < end}
    touching = coverage.touching(span)
    assert list(touching) == list(dict.fromkeys(whole[p] for p in sorted(whole) if p in told))
    assert isinstance(part, Coverage)
    assert isinstance(touching, Coverage)


def test_neighbours_of_one_source_are_joined_and_no_others() -> None:
    parts = [covered(0, 3), covered(3, 5), covered(6, 7), covered(7, 9, vendor="w")]
    assert [tuple(c.span) for c in Coverage.joined(parts)] == [(0, 5), (6, 7), (7, 9)]


# --- folding -----------------------------------------------------------------------------------

pieces = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, 60]),
        st.sampled_from(["base", "base", "bad", "hole", "other", "unsettled", "raw", "gap"]),
        st.integers(0, 2),
    ),
    max_size=60,
)


def day_of(parts: list[tuple[int, str, int]]) -> Coverage:
    """Return bars of one source with other stretches among them, as an answer leaves them."""
    split, found, at = Basis("split"), [], 0
    for minutes, what, number in parts:
        span, at = Span(at * 60_000, (at + minutes) * 60_000), at + minutes
        found += {
            "base": [Covered(span, "final", "v", basis=split, fetched_at=number)],
            "bad": [Covered(span, "suspect", "v", basis=split, reason="odd", expires=number)],
            "hole": [Covered(span, "empty", "v,w", fetched_at=1, reason="none", expires=number)],
            "other": [Covered(span, "final", "w", basis=split, splices=(Splice(3, "v", "equal"),))],
            "unsettled": [Covered(span, "provisional", "v", basis=split)],
            "raw": [Covered(span, "final", "v", basis=Basis("raw"))],
            "gap": [],
        }[what]
    return Coverage.joined(found)


@settings(max_examples=examples(200), derandomize=True)
@given(pieces, st.integers(0, 200), st.integers(0, 60), st.integers(0, 3))
def test_folded_coverage_answers_as_the_whole(
    parts: list[tuple[int, str, int]], start: int, length: int, now: int
) -> None:
    whole = day_of(parts)
    folded = whole.folded()
    folded = stored(folded)
    assert folded.opened() == whole
    assert folded.folded() == folded
    span = Span(start * 60_000, (start + length) * 60_000)
    assert folded.within(span) == whole.within(span)
    assert folded.touching(span) == whole.touching(span)
    assert folded.standing(now) == whole.standing(now)
    assert folded.without([span]).opened() == whole.without([span])
    fresh = [Covered(span, "final", "new")]
    assert folded.overlaid(fresh).opened() == whole.overlaid(fresh)


@pytest.mark.parametrize("fetches", [1, 30, 60, 200])
def test_folding_keeps_the_states_behind_many_fetches(fetches: int) -> None:
    # The sources of the first stretches differ in their fetch time only, and are not folded.
    early = [
        Covered(Span(2 * at * 60_000, (2 * at + 1) * 60_000), "final", "v", fetched_at=1 + at)
        for at in range(fetches)
    ]
    begin, late = 2 * fetches, []
    for at in range(31):
        span = Span((begin + at) * 60_000, (begin + at + 1) * 60_000)
        late.append(
            Covered(span, "suspect", "w", reason="odd", expires=7, fetched_at=at % 3)
            if at % 2
            else Covered(span, "final", "w", fetched_at=9)
        )
    whole = Coverage([*early, *late])
    for coverage in (whole, Coverage.of(whole.columns)):
        folded = stored(coverage.folded())
        assert len(folded) == fetches + 1
        assert folded.opened() == whole


def test_many_small_spans_fold_into_one_span() -> None:
    parts = [(30, "base", 5), (1, "bad", 9)] * 40 + [(30, "base", 6)]
    whole = day_of(parts)
    (one,) = folded = whole.folded()
    assert (one.state, one.expires, one.fetched_at) == ("suspect", 9, 6)
    assert one.reason.startswith("doubtful: ")
    assert len(folded.text) < 1_500 < len(whole.text) / 8
    few = day_of([(30, "base", 5), (1, "bad", 9)] * 8 + [(30, "base", 5)])
    assert few.folded() is few
    assert one.clip(Span(0, 30 * 60_000)) == replace(one, span=Span(0, 30 * 60_000), parts=()), (
        "a part of it is doubted as a whole"
    )
