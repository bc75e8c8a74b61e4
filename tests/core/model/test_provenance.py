"""Provenance: frozen all the way down, cheap to carry, plain when thawed."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from src.data.core.model.answer.frame import build_frame
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.core.model.market.bars import Bar, BarTable

TOLD = {"symbol": "AAPL", "spans": [{"vendor": "yahoo", "rows": 3}], "gaps": []}


def test_a_deep_copy_is_the_value_itself() -> None:
    frozen = freeze(TOLD)
    assert copy.deepcopy(frozen) is frozen
    assert copy.copy(frozen["spans"]) is frozen["spans"]


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(symbol="X"),
        lambda v: v.__setitem__("symbol", "X"),
        lambda v: v.pop("symbol"),
        lambda v: v.setdefault("new", 1),
        lambda v: v["spans"].append(1),
        lambda v: v["spans"].sort(),
        lambda v: v["spans"][0].clear(),
    ],
)
def test_frozen_provenance_cannot_be_changed(change) -> None:  # type: ignore[no-untyped-def]
    frozen = freeze(TOLD)
    with pytest.raises(TypeError, match="read-only"):
        change(frozen)
    assert frozen == TOLD


def test_frozen_provenance_can_be_pickled_serialised_and_thawed() -> None:
    frozen = freeze(TOLD)
    again = pickle.loads(pickle.dumps(frozen))
    assert again == TOLD
    assert type(again["spans"][0]) is type(frozen["spans"][0])
    assert json.loads(frozen.to_json()) == TOLD
    thawed = frozen.copy()
    thawed["spans"][0]["rows"] = 9
    assert frozen["spans"][0]["rows"] == 3


def test_pandas_carries_it_without_copying() -> None:
    frame = build_frame(BarTable.from_bars([Bar(0, 1.0, 2.0, 0.5, 1.5, 10.0)]))
    frame.attrs[ATTRS_KEY] = freeze(TOLD)
    assert frame["close"].attrs[ATTRS_KEY] is frame.attrs[ATTRS_KEY]
