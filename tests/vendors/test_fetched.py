"""Each field of an answer has its declared type where it leaves the vendors, or the answer is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.model.actions import Action, ActionList
from src.data.model.bars import Bar, BarTable
from src.data.model.capabilities import Fetched, wrong_actions, wrong_answer
from src.data.model.instant import DAY_MS
from src.data.model.kind import Basis, Kind
from src.data.model.span import Span
from tests.cache.counts import examples

DAY = date(2024, 3, 1)
SPLIT = Action(DAY, "split", 20 * DAY_MS, 2.0, 1.0, source="acme", fetched_at=5)
PAID = Action(
    DAY, "dividend", 20 * DAY_MS, amount=0.25, source="acme", currency="USD", parts=(0.25,)
)
TABLE = BarTable.from_bars([Bar(n * DAY_MS, 10.0, 12.0, 9.0, 11.0, 5.0, 11.0) for n in range(3)])
WHOLE = Fetched(
    TABLE, "acme", Kind(unit="USD"), Basis("split", DAY), 40 * DAY_MS, (SPLIT, PAID),
    listed_ms=-DAY_MS, seams=(Span(1, 2),), vendor_now_ms=40 * DAY_MS,
)  # fmt: skip


class Odd:
    """Something of another package, which cannot even be printed."""

    def __repr__(self) -> str:
        raise KeyError("no text")


ODD = st.one_of(
    st.sampled_from(
        [
            None, True, 1.5, -1, 10**30, float("nan"), float("inf"), "USD", "\x1b[2J", "x" * 5000, "",
            "\u202e", b"USD", ["USD"], {"x": 1}, (1,), {1}, Odd(), [Odd()], object, DAY,
            datetime(2024, 3, 1), np.int64(3), np.float64(3), np.bool_(1), np.datetime64("2024-03-01"),
            [Span(1, 2)], (Span(1, 2.5),), (SPLIT, 1), [SPLIT], (0.5,), ("0.5",),  # type: ignore[arg-type]
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=4,
    ),
)  # fmt: skip


def places() -> list[tuple[str, ...]]:
    """Return every field of an answer and of what it holds, but the bars."""
    parts = {"kind": Kind, "basis": Basis, "action": Action}
    own = [(field.name,) for field in dataclasses.fields(Fetched) if field.name != "table"]
    inner = [(name, field.name) for name, cls in parts.items() for field in dataclasses.fields(cls)]
    return own + inner


def declared(place: tuple[str, ...]) -> Any:
    """Return the declared type of a field."""
    cls = {"kind": Kind, "basis": Basis, "action": Action}[place[0]] if len(place) > 1 else Fetched
    return typing.get_type_hints(cls)[place[-1]]


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value has a declared type, in the words of ``typing``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return type(value) is str and value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(one, inner[0]) for one in value)
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(fits(one, inner[0]) for one in value)
    if hint is Span:
        return isinstance(value, Span) and all(type(ms) is int for ms in value)
    if hint is float:
        return isinstance(value, float) or type(value) is int
    return type(value) is hint


def changed(place: tuple[str, ...], value: Any) -> Fetched:
    """Return the answer with another value in one place."""
    if place[0] == "action":
        return replace(WHOLE, actions=(SPLIT, replace(PAID, **{place[1]: value})))
    if len(place) > 1:
        return replace(WHOLE, **{place[0]: replace(getattr(WHOLE, place[0]), **{place[1]: value})})
    return replace(WHOLE, **{place[0]: value})


@settings(max_examples=examples(3000), deadline=None)
@given(st.sampled_from(places()), ODD)
def test_a_field_of_another_type_is_refused(place: tuple[str, ...], value: Any) -> None:
    answer = changed(place, value)
    if said := wrong_answer(answer, {"acme"}):
        assert said.isprintable() and len(said) < 200
        return
    assert fits(value, declared(place)), f"{value!r} passed at {place}"
    # What passes can be stored.
    json.dumps([answer.kind.to_json(), answer.basis.to_json(), answer.listed_ms])
    json.dumps([action.to_json() for action in answer.actions or ()])


def test_the_whole_answer_passes_with_all_that_is_optional_left_out_or_given() -> None:
    bare = Fetched(TABLE.with_adj_close(None), "acme", Kind("", ""), Basis("unknown"), 0)
    for answer in (WHOLE, bare, replace(WHOLE, table=replace(TABLE, index=TABLE.stamps))):
        assert not wrong_answer(answer, {"acme", "Acme"})


LISTS = TABLE.open.tolist()
COLUMNS = {
    "a list": {"open": LISTS},
    "short": {"open": TABLE.open[:2]},
    "long": {"adj_close": np.append(TABLE.open, 1.0)},
    "objects": {"close": TABLE.close.astype(object)},
    "whole numbers": {"volume": TABLE.volume.astype(np.int64)},
    "single precision": {"high": TABLE.high.astype(np.float32)},
    "texts": {"low": TABLE.low.astype(str)},
    "two columns": {"low": np.column_stack([TABLE.low, TABLE.low])},
    "one number": {"low": np.float64(3)},
    "none": {"volume": None},
    "stamps as floats": {"stamps": TABLE.stamps.astype(np.float64)},
    "stamps as instants": {"stamps": TABLE.stamps.astype("datetime64[ms]")},
    "stamps as objects": {"stamps": np.array([datetime(2024, 3, n) for n in (1, 4, 5)])},
    "stamps in nanoseconds": {"stamps": TABLE.stamps + 1_700_000_000 * 10**9},
    "stamps before the year 1": {"stamps": TABLE.stamps - 2**62},
    "another index": {"index": TABLE.stamps[:1]},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_another_type_or_length_are_refused(name: str) -> None:
    table = replace(TABLE, **COLUMNS[name])
    assert re.match(
        "a column|columns of|a stamp", wrong_answer(replace(WHOLE, table=table), {"acme"})
    )


@pytest.mark.parametrize("answer", [None, [], TABLE, replace(WHOLE, table=[1, 2]), object()])
def test_what_holds_no_bars_is_refused(answer: object) -> None:
    assert "not bars" in wrong_answer(answer, {"acme"})


def test_a_name_of_another_vendor_is_refused() -> None:
    assert "'binance'" in wrong_answer(replace(WHOLE, vendor="binance"), {"acme"})
    assert "'yahoo'" in wrong_actions([replace(SPLIT, source="yahoo")], {"acme"})


def test_a_name_as_long_as_a_path_and_an_action_without_a_source_pass() -> None:
    name = f"replay:{'folder/' * 20}"
    own = replace(
        WHOLE, vendor=name, actions=(replace(SPLIT, source=""), replace(PAID, source=name))
    )
    assert not wrong_answer(own, {name})
    assert "another vendor" in wrong_answer(replace(own, vendor=name + "x"), {name})


@pytest.mark.parametrize("name", ["since", "until", "unapplied"])
def test_a_list_of_actions_has_the_types_that_it_declares(name: str) -> None:
    actions = ActionList([SPLIT])
    assert not wrong_actions(actions, {"acme"})
    setattr(actions, name, "soon")
    assert f"{name} of another type or size: 'soon'" in wrong_actions(actions, {"acme"})
