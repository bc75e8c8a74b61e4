"""Stretches read from text: the same as from JSON, however they are told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.cache import stretches
from src.data.model.coverage import Coverage, Covered, Splice
from src.data.model.kind import Basis, Kind
from src.data.model.span import Span

SPLICE = Splice(5, "other", "equal", 1.0, 3)
SOURCES: tuple[dict[str, Any], ...] = (
    {"state": "final", "vendor": "acme", "kind": Kind("24h", "clock")},
    {"state": "final", "vendor": "acme", "kind": Kind("24h", "clock"), "basis": Basis("split")},
    {"state": "empty", "vendor": "acme", "reason": 'no "span":[1,2], {"fetched_at":7,'},
    {"state": "suspect", "vendor": "b,c", "expires": 90},
    {"state": "final", "vendor": '],"}{', "splices": (SPLICE,)},
)


def text_of(parts: Sequence[dict[str, Any]]) -> str:
    """Return stored stretches as they stand in a document, without the brackets of the list."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))[1:-1]


def by_json(parts: Sequence[dict[str, Any]]) -> Coverage:
    read = map(Covered.from_json, json.loads(json.dumps(parts)))
    return Coverage.joined(sorted(read, key=lambda part: part.span))


@st.composite
def documents(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Draw the disjoint stretches of a few years, most of them a single one."""
    edges = draw(st.lists(st.integers(-99, 99), min_size=2, max_size=9, unique=True))
    stored = [
        Covered(Span(start, end), fetched_at=draw(st.sampled_from((0, 5, 8))),
                **draw(st.sampled_from(SOURCES[:1] * 4 + SOURCES))).to_json()
        for start, end in pairwise(sorted(edges)) if draw(st.integers(0, 5))
    ]  # fmt: skip
    years: list[list[dict[str, Any]]] = [[]]
    for part in stored:
        years[-1].append(part)
        years += [[]] if draw(st.integers(0, 3)) else []
    return years


@settings(derandomize=True, max_examples=200, deadline=None)
@given(documents())
def test_text_says_what_json_says(years: list[list[dict[str, Any]]]) -> None:
    flat = [part for year in years for part in year]
    assert stretches.told(map(text_of, years)) == by_json(flat)
    assert stretches.told(map(text_of, reversed(years))) == by_json(flat)


PLAIN = Covered(Span(1, 9), fetched_at=5, **SOURCES[0]).to_json()
ODD = {
    "without times": {k: v for k, v in PLAIN.items() if k != "fetched_at"},
    "times further inside as well": PLAIN | {"basis": {"adjustment": "raw", "fetched_at": 7}},
    "times further inside alone": {
        **{k: v for k, v in PLAIN.items() if k != "fetched_at"},
        "basis": {"adjustment": "raw", "fetched_at": 7},
    },
    "a span further inside": PLAIN | {"kind": {"session": "24h", "span": [3, 4]}},
    "a span behind": PLAIN | {"zone": {"span": [3, 4]}},
    "times behind": PLAIN | {"zone": {"fetched_at": 4}},
    "keys nobody knows": PLAIN | {"a": [1], "z": {"y": []}},
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_told_in_another_way_is_read_as_ever(what: str) -> None:
    other = ODD[what] | {"span": [9, 12]}
    years = [PLAIN], [other]
    assert stretches.told(map(text_of, years)) == by_json([PLAIN, other])
    assert stretches.told([text_of([other])]) == by_json([other])


@pytest.mark.parametrize(
    "text",
    ["{}", "{", "7", '{"span":[1,2]}', text_of([PLAIN]) + "}", text_of([PLAIN | {"span": [1]}]),
     text_of([PLAIN | {"span": [1, 2, 3]}]), text_of([PLAIN | {"fetched_at": None}]),
     text_of([PLAIN | {"state": "hallowed"}]), text_of([PLAIN | {"basis": {"adjustment": "odd"}}])],
    ids=range(10),
)  # fmt: skip
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    for texts in ([text], [text_of([PLAIN]), text], [text, text_of([PLAIN])]):
        with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
            stretches.told(texts)
