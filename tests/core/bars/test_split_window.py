"""Tests the week around a split in which a vendor's data are not trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from src.data.core.bars.validity import split_marks, split_suspicion
from src.data.core.cache.actions import ActionBook
from src.data.core.model.identity.kind import Adjustment, Basis
from src.data.core.model.market.actions import Action
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.time.instant import day_ms, parse_iso
from src.data.core.model.time.span import Span

EX_DATE = date(2024, 6, 12)


def split(day: date = EX_DATE) -> Action:
    return Action(day, "split", day_ms(day), numerator=4.0)


def part(fetched: str, adjustment: Adjustment = "split", state: str = "final") -> Covered:
    span = Span(parse_iso("2024-05-01"), parse_iso("2024-06-01"))
    return Covered(span, state, "yahoo", basis=Basis(adjustment), fetched_at=parse_iso(fetched))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fetched", "is_suspect"),
    [
        ("2024-06-05T00:00:00", False), ("2024-06-05T00:00:01", True),
        ("2024-06-12T22:00:00", True), ("2024-06-18T23:59:59", True),
        ("2024-06-19T00:00:00", False), ("2024-08-01T00:00:00", False),
    ],
)  # fmt: skip
def test_bars_fetched_within_a_week_of_a_split_are_doubted(fetched: str, is_suspect: bool) -> None:
    stored = part(fetched)
    marks = split_marks(Coverage([stored]), ActionBook((split(),)))
    assert bool(marks) == is_suspect == bool(split_suspicion([split()], stored.fetched_at))
    for mark in marks:
        assert (mark.state, mark.span, mark.vendor) == ("suspect", stored.span, "yahoo")
        assert mark.reason == "fetched within a week of the split of 4:1 on 2024-06-12"
        assert mark.expires == parse_iso("2024-06-19")


@pytest.mark.parametrize(
    "stored",
    [
        part("2024-06-12", "raw"), part("2024-06-12", "unknown"),
        part("2024-06-12", state="provisional"), part("2024-06-12", state="empty"),
    ],
)  # fmt: skip
def test_bars_that_no_split_can_change_are_not_doubted(stored: Covered) -> None:
    assert split_marks(Coverage([stored]), ActionBook((split(),))) == []


@pytest.mark.parametrize(
    ("as_of", "fetched", "is_due"),
    [
        (EX_DATE, "2024-06-12T22:00", True), (date(2024, 7, 1), "2024-07-01T22:00", True),
        (date(2024, 6, 11), "2024-06-11T22:00", False),  # the split is not in these prices
        (date(2024, 7, 2), "2024-07-02T22:00", False),  # fetched when it was reported
    ],
)  # fmt: skip
def test_bars_fetched_before_their_vendor_reported_a_split_late_are_due(
    as_of: date, fetched: str, is_due: bool
) -> None:
    late = replace(split(), source="yahoo", fetched_at=parse_iso("2024-07-02T22:00"))
    stored = replace(part(fetched), basis=Basis("split", as_of))
    reason = "doubtful: fetched before yahoo reported the split of 4:1 on 2024-06-12"
    book = ActionBook((late,), late=(late,))
    marks = split_marks(Coverage([stored]), book)
    due = [(m.state, m.expires) for m in marks if m.reason == reason]
    assert due == [("suspect", late.fetched_at)] * is_due
    after = replace(stored, span=Span(day_ms(EX_DATE), day_ms(date(2024, 7, 1))))
    assert reason not in {m.reason for m in split_marks(Coverage([after]), book)}


def test_the_doubt_of_two_splits_expires_at_the_later_of_both_times() -> None:
    suspicion = split_suspicion([split(date(2024, 6, 14)), split()], parse_iso("2024-06-12T15:00"))
    assert suspicion is not None
    assert suspicion.expires_ms == parse_iso("2024-06-21")
