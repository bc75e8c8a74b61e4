"""When a series begins and ends: what is believed of it, for how long, and what disproves it."""

from __future__ import annotations

import pytest

from src.data.core.model.stored.lifetime import DATA, FIELD, Bound, Lifetime
from src.data.core.model.time.span import Span, uncovered
from src.data.core.model.time.timeframe import Timeframe

LISTED = Bound(1_700_006_400_000, "acme", 5, 100, FIELD)
ENDED = Bound(1_700_092_800_000, "acme,zenith", 6, 50)
BOTH = Lifetime(LISTED, ENDED)
WIDE = Span(LISTED.at - 1000, ENDED.at + 1000)


@pytest.mark.parametrize(
    ("now", "asked"),
    [(49, [Span(LISTED.at, ENDED.at)]), (50, [Span(LISTED.at, WIDE.end)]), (100, [WIDE])],
)
def test_outside_of_a_lifetime_no_vendor_is_asked_until_it_expires(
    now: int, asked: list[Span]
) -> None:
    assert uncovered(WIDE, BOTH.beyond(now)) == asked


def test_of_what_nobody_knows_everything_is_asked() -> None:
    assert Lifetime().beyond(0) == []


def test_what_was_listed_once_stays_so_when_a_gap_is_explained() -> None:
    assert BOTH.for_gaps(1000).start == LISTED.at
    assert BOTH.for_gaps(1000).end > ENDED.at
    assert BOTH.for_gaps(10).end == ENDED.at


def test_newer_knowledge_replaces_one_end_alone() -> None:
    later = Bound(ENDED.at + 5, "acme", 7, 70)
    assert BOTH.updated(Lifetime(delisted=later)) == Lifetime(LISTED, later)
    assert BOTH.updated(None) is BOTH


def test_a_bar_outside_of_a_lifetime_disproves_it() -> None:
    assert BOTH.without_disproved(LISTED.at, ENDED.at - 1) == BOTH
    assert BOTH.without_disproved(LISTED.at - 1, LISTED.at) == Lifetime(delisted=ENDED)
    assert BOTH.without_disproved(LISTED.at, ENDED.at) == Lifetime(listed=LISTED)
    assert BOTH.without_disproved(None, None) == BOTH


def test_a_lifetime_is_described_in_words() -> None:
    assert list(BOTH.ends(Timeframe.parse("1d"))) == [
        "listed 2023-11-15 (acme)", "no bars since 2023-11-16 (acme, zenith)",
    ]  # fmt: skip
    assert BOTH.dates() == {"listed": "2023-11-15T00:00:00Z", "delisted": "2023-11-16T00:00:00Z"}
    assert Lifetime().dates() == {}


def test_the_end_of_data_is_no_end_of_trading() -> None:
    own = BOTH.updated(Lifetime(delisted=Bound(ENDED.at + 1, "local", 6, 50, DATA)))
    assert own.dates() == {"listed": "2023-11-15T00:00:00Z"}
    assert (own.ended, own.reason_after()) == (None, "the data ends on 2023-11-16")
    assert list(own.ends(Timeframe.parse("1d")))[1:] == ["the data ends on 2023-11-16"]
    assert (BOTH.ended, BOTH.reason_after()) == (ENDED, "after the last bar")
