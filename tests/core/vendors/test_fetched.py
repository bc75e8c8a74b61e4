"""Each field of an answer has its declared type where it leaves the vendors, or the answer is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.actions import Action, ActionList
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched
from src.data.core.model.time.instant import DAY_MS, from_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.answer_types import wrong_actions, wrong_answer, wrong_capabilities
from src.data.core.vendors.factory import SERVED, usable_class
from tests.core.cache.counts import FULL

DAY = date(2024, 3, 1)
NOW = 40 * DAY_MS
SPLIT = Action(DAY, "split", 20 * DAY_MS, 2.0, 1.0, source="acme", fetched_at=5)
PAID = Action(
    DAY, "dividend", 20 * DAY_MS, amount=0.25, source="acme", currency="USD", parts=(0.25,)
)
TABLE = BarTable.from_bars([Bar(n * DAY_MS, 10.0, 12.0, 9.0, 11.0, 5.0, 11.0) for n in range(3)])
WHOLE = Fetched(
    TABLE, "acme", Kind(unit="USD"), Basis("split", DAY), NOW, (SPLIT, PAID),
    listed_ms=-DAY_MS, seams=(Span(1, 2),), vendor_now_ms=NOW,
)  # fmt: skip


class Odd:
    """Something of another package, which cannot even be printed."""

    def __repr__(self) -> str:
        raise KeyError("no text")


def raising(*_: object) -> Any:
    raise KeyError("no such thing")


class OddText(str):
    __len__ = __eq__ = __hash__ = raising


class OddNumber(float):
    __repr__ = __str__ = __abs__ = raising


class OddTuple(tuple[Any, ...]):
    __iter__ = raising


class OddList(list[Any]):
    __iter__ = raising


class OddAction(Action):
    ratio = property(raising)


class OddAnswer(Fetched):
    table = property(raising)  # type: ignore[assignment]


class OddKind(Kind):
    to_json = raising


class OddBasis(Basis):
    to_json = raising


class OddTable(BarTable):
    __len__ = raising


VALUES: list[Any] = [
    OddText("USD"), OddNumber(0.5), OddTuple((0.5,)), OddTuple((SPLIT,)), OddList([SPLIT]),
    (OddAction(DAY, "split", 0),), [object.__new__(Action)], (float("nan"),), (1e300,), -1e13,
    1e13, 2**62, date.min, date.max, np.str_("USD"), OddKind(), OddBasis(), np.float64("inf"),
    None, True, 1.5, -1, 10**30, float("nan"), float("inf"), "USD", "\x1b[2J", "x" * 5000, "",
    "\u202e", b"USD", ["USD"], {"x": 1}, (1,), {1}, Odd(), [Odd()], object, DAY,
    datetime(2024, 3, 1), np.int64(3), np.float64(3), np.bool_(1), np.datetime64("2024-03-01"),
    [Span(1, 2)], (Span(1, 2.5),), (SPLIT, 1), [SPLIT], (0.5,), ("0.5",),  # type: ignore[arg-type]
]  # fmt: skip
ODD = st.one_of(
    # By their places: hypothesis compares and prints what it samples.
    st.integers(0, len(VALUES) - 1).map(VALUES.__getitem__),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=4,
    ),
)


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
        return type(value) is tuple and all(fits(one, inner[0]) for one in value)
    if origin is Sequence:
        return type(value) in (list, tuple, ActionList) and all(
            fits(one, inner[0]) for one in value
        )
    if hint is Span:
        return type(value) is Span and all(type(ms) is int for ms in value)
    if hint is float:
        return type(value) in (float, int, np.float64) and abs(value) <= 1e12
    return type(value) is hint


def changed(place: tuple[str, ...], value: Any) -> Fetched:
    """Return the answer with another value in one place."""
    if place[0] == "action":
        return replace(WHOLE, actions=(SPLIT, replace(PAID, **{place[1]: value})))
    if len(place) > 1:
        return replace(WHOLE, **{place[0]: replace(getattr(WHOLE, place[0]), **{place[1]: value})})
    return replace(WHOLE, **{place[0]: value})


@settings(max_examples=3000 if FULL else 60, deadline=None)
@given(st.sampled_from(places()), ODD)
def test_a_field_of_another_type_is_refused(place: tuple[str, ...], value: Any) -> None:
    answer = changed(place, value)
    if said := wrong_answer(answer, {"acme"}, NOW):
        assert said.isprintable() and len(said) < 200
        return
    assert fits(value, declared(place)), f"{value!r} passed at {place}"
    # What passes can be stored, moved by a day and calculated with.
    json.dumps([answer.kind.to_json(), answer.basis.to_json(), answer.listed_ms], allow_nan=False)
    for action in answer.actions or ():
        json.dumps(action.to_json(), allow_nan=False)
        assert timedelta(1) + action.ex_date > action.ex_date - timedelta(1)
        assert 0 < float(1 / action.ratio) < float("inf")
    for ms in (answer.server_now_ms, answer.vendor_now_ms or 0, answer.listed_ms or 0):
        assert from_ms(ms - DAY_MS) < from_ms(ms + DAY_MS)


def test_a_valid_answer_passes_with_and_without_its_optional_fields() -> None:
    bare = Fetched(TABLE.with_adj_close(None), "acme", Kind("", ""), Basis("unknown"), 0)
    for answer in (WHOLE, bare, replace(WHOLE, table=replace(TABLE, index=TABLE.stamps))):
        assert not wrong_answer(answer, {"acme", "Acme"}, NOW)


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
    "masked": {"close": np.ma.masked_array(TABLE.close, mask=True)},
    "masked stamps": {"stamps": np.ma.masked_array(TABLE.stamps, mask=True)},
    "the other order of bytes": {"close": TABLE.close.astype(">f8")},
    "another index": {"index": TABLE.stamps[:1]},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_another_type_or_length_are_refused(name: str) -> None:
    table = replace(TABLE, **COLUMNS[name])
    assert re.match(
        "a column|columns of|a stamp", wrong_answer(replace(WHOLE, table=table), {"acme"}, NOW)
    )


NO_BARS = [
    None, [], TABLE, replace(WHOLE, table=[1, 2]), object(), object.__new__(Fetched),
    object.__new__(OddAnswer), replace(WHOLE, table=OddTable(**vars(TABLE))),
]  # fmt: skip


@pytest.mark.parametrize("answer", NO_BARS)
def test_an_answer_that_contains_no_bars_is_refused(answer: object) -> None:
    assert "not bars" in wrong_answer(answer, {"acme"}, NOW)


def test_a_name_of_another_vendor_is_refused() -> None:
    assert "'binance'" in wrong_answer(replace(WHOLE, vendor="binance"), {"acme"}, NOW)
    assert "'yahoo'" in wrong_actions([replace(SPLIT, source="yahoo")], {"acme"})


@pytest.mark.parametrize(
    "parts", [(0.0, 1.0), (2.0, 0.0), (-2.0, -1.0), (1.0, 5e-324), (1e-300, 1.0)]
)
def test_a_split_without_a_ratio_is_refused(parts: tuple[float, float]) -> None:
    split = replace(SPLIT, numerator=parts[0], denominator=parts[1])
    assert "a split of" in wrong_actions([split], {"acme"})


def test_an_answer_fetched_in_the_future_is_refused() -> None:
    later = replace(WHOLE, server_now_ms=NOW + 2 * DAY_MS)
    assert "later than the query" in wrong_answer(later, {"acme"}, NOW)
    # The vendor's own clock may be ahead of ours, which may be wrong.
    assert not wrong_answer(replace(WHOLE, vendor_now_ms=NOW + 400 * DAY_MS), {"acme"}, NOW)


def test_a_name_as_long_as_a_path_and_an_action_without_a_source_pass() -> None:
    name = f"replay:{'folder/' * 20}"
    own = replace(
        WHOLE, vendor=name, actions=(replace(SPLIT, source=""), replace(PAID, source=name))
    )
    assert not wrong_answer(own, {name}, NOW)
    assert "another vendor" in wrong_answer(replace(own, vendor=name + "x"), {name}, NOW)


@pytest.mark.parametrize("name", ["since", "until", "unapplied"])
def test_a_list_of_actions_has_the_types_that_it_declares(name: str) -> None:
    actions = ActionList([SPLIT])
    assert not wrong_actions(actions, {"acme"})
    setattr(actions, name, "soon")
    assert f"{name} of another type or size: 'soon'" in wrong_actions(actions, {"acme"})


SERVES = Capabilities(frozenset({"crypto"}), {"1d": "1D"}, kinds={"crypto": Kind(unit="USD")})
NESTED: Any = st.sampled_from([
    {"1d": 5}, {"1d": "3"}, {"1d": -1}, {1: "1d"}, {"crypto": "24h"}, {"crypto": OddKind()},
    {"crypto": Kind(venue=["x"])}, {"crypto": Kind(anchor="noon")}, {"crypto": ["1d"]},  # type: ignore[arg-type]
    {"1d": float("nan")}, ["1d"], {"1d"}, "crypto", 0, -5, 1.5, "all", {"crypto": {"1d"}},
])  # fmt: skip


@settings(max_examples=3000 if FULL else 60, deadline=None)
@given(st.sampled_from([field.name for field in dataclasses.fields(Capabilities)]), ODD | NESTED)
def test_capabilities_of_another_type_are_refused(name: str, value: Any) -> None:
    declared = replace(SERVES, **{name: value})
    if said := wrong_capabilities(declared):
        assert said.isprintable() and len(said) < 200
        return
    # What passes can be used wherever a vendor is chosen and asked.
    bitcoin, day = Instrument("BTCUSDT", "crypto", "24/7", "BTC", "USDT"), Timeframe.parse("1d")
    kept = declared.at(day).serving(bitcoin)
    assert type(kept.kind(bitcoin, day)) is Kind
    json.dumps([*declared.labels("crypto"), kept.kind(bitcoin, day).to_json(), kept.adjustment])
    assert 0 * (kept.page_bars + kept.depth_days.get("1d", 1) + kept.page_days.get("1d", 1)) == 0
    assert "stock" not in kept.asset_classes or type(value) is not str


def test_the_declarations_of_packaged_vendors_pass() -> None:
    for name in SERVED:
        if (cls := usable_class(name)) is not None:
            assert not wrong_capabilities(cls.capabilities), name
