"""Members of a universe: a sequence of symbols that says how it is known."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from datetime import date

import pytest

from src.data.core.model.identity.universe import Members

MEMBERS = Members(
    name="index",
    symbols=("AAA", "BBB"),
    as_of=date(2015, 6, 1),
    is_pit=False,
    known_from=date(2016, 1, 1),
    reason="one step is impossible",
)


def test_members_are_a_sequence_of_symbols() -> None:
    assert isinstance(MEMBERS, Sequence)
    assert list(MEMBERS) == ["AAA", "BBB"]
    assert (len(MEMBERS), MEMBERS[0], MEMBERS[-1:], "BBB" in MEMBERS) == (2, "AAA", ("BBB",), True)
    assert "CCC" not in MEMBERS
    with pytest.raises(FrozenInstanceError):
        MEMBERS.is_pit = True  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(MEMBERS)) == MEMBERS


def test_members_are_plain_json_and_one_line() -> None:
    plain = json.loads(json.dumps(MEMBERS.as_dict()))
    assert plain["symbols"] == ["AAA", "BBB"]
    assert (plain["as_of"], plain["known_from"]) == ("2015-06-01", "2016-01-01")
    assert str(MEMBERS) == (
        "index on 2015-06-01: 2 members, not point-in-time: one step is impossible"
    )


def test_members_of_a_range_say_its_first_day() -> None:
    several = replace(MEMBERS, since=date(2014, 1, 2), reason="")
    assert str(several) == "index from 2014-01-02 to 2015-06-01: 2 members, not point-in-time"
    assert (several.as_dict()["since"], MEMBERS.as_dict()["since"]) == ("2014-01-02", None)
