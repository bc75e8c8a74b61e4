"""Bars of feeds carry their symbol and time, and are the tuples they always were."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest

from src.data.core.model.market.stream import LiveBar

BAR = LiveBar(1_700_000_000_000, 1.0, 2.0, 0.5, 1.5, 10.0, True, "live")
OURS = BAR.of("BTCUSDT")


def test_a_bar_carries_symbol_and_time() -> None:
    assert (BAR.symbol, OURS.symbol, OURS.of("X").symbol) == ("", "BTCUSDT", "X")
    assert OURS.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert repr(OURS).endswith("origin='live', symbol='BTCUSDT')")


def test_a_live_bar_is_the_same_tuple_with_and_without_a_symbol() -> None:
    stamp, *_, closed, origin = OURS
    assert (stamp, closed, origin, len(OURS)) == (1_700_000_000_000, True, "live", 8)
    assert OURS == BAR == tuple(OURS) and hash(OURS) == hash(BAR)
    assert isinstance(OURS, LiveBar) and OURS._fields == BAR._fields


def test_the_symbol_stays_with_what_is_made_of_a_bar() -> None:
    for made in (
        OURS._replace(close=3.0),
        copy.copy(OURS),
        copy.deepcopy(OURS),
        pickle.loads(pickle.dumps(OURS)),
    ):
        assert made.symbol == "BTCUSDT" and made[:4] == OURS[:4]


def test_a_symbol_takes_no_room_and_cannot_be_changed() -> None:
    assert not hasattr(OURS, "__dict__")
    with pytest.raises(AttributeError):
        OURS.symbol = "X"  # type: ignore[misc]
