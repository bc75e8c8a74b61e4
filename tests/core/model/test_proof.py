"""Fingerprints: equal for equal bars and for nothing else. Descriptions: of this very frame."""

from __future__ import annotations

import hashlib
import json
import struct

import numpy as np
import pandas as pd
import pytest

from src.data.core.model.answer.frame import build_frame, empty_frame
from src.data.core.model.answer.proof import describe, fingerprint
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.core.model.market.bars import Bar, BarTable

BARS = [Bar(0, 1.0, 2.0, 0.5, 1.5, 10.0), Bar(60_000, 1.5, 3.0, 1.0, 2.5, float("nan"))]
TOLD = {
    "symbol": "BTCUSDT", "timeframe": "1m", "adjustment": "split", "rows": 2, "complete": True,
    "first": "1970-01-01T00:00:00Z", "last": "1970-01-01T00:01:00Z", "substitute": None, "gaps": [],
    "gaps_total": 0, "problems": [],
    "spans": [{"vendor": "binance", "rows": 2, "state": "final", "start": "1970-01-01T00:00:00Z",
               "end": "1970-01-01T00:02:00Z"}],
}  # fmt: skip


def frame() -> pd.DataFrame:
    made = build_frame(BarTable.from_bars(BARS))
    made.attrs[ATTRS_KEY] = freeze(TOLD)
    return made


def test_a_fingerprint_is_the_digest_that_its_docstring_describes() -> None:
    text = b"onetape-frame-2\n" + b"timestamp\n" + struct.pack("<2q", 0, 60_000)
    for position, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
        text += name.encode() + b"\n" + struct.pack("<2d", *(bar[position] for bar in BARS))
    assert fingerprint(frame()) == "sha256:" + hashlib.sha256(text).hexdigest()


def test_where_bars_came_from_does_not_count() -> None:
    bare = frame()
    bare.attrs = {}
    assert fingerprint(bare) == fingerprint(frame())
    assert fingerprint(bare.tz_localize("UTC")) == fingerprint(bare)
    assert fingerprint(bare.set_axis(bare.index.as_unit("s"))) == fingerprint(bare)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(close=np.nextafter(f["close"], 9)),
        lambda f: f.iloc[:1],
        lambda f: f.shift(freq="1ms"),
        lambda f: f.rename(columns={"close": "last"}),
        lambda f: f[["high", "open", "low", "close", "volume"]],
        lambda f: f.assign(volume=0.0),
        lambda f: f.iloc[::-1],
    ],
)
def test_any_change_of_the_bars_counts(change) -> None:  # type: ignore[no-untyped-def]
    assert fingerprint(change(frame())) != fingerprint(frame())


def test_adj_close_does_not_count_of_one_symbol_or_of_several() -> None:
    bare = frame()
    adjusted = bare.assign(adj_close=bare["close"] * 0.99)
    assert fingerprint(adjusted) == fingerprint(bare)
    assert fingerprint(adjusted.assign(adj_close=np.nan)) == fingerprint(bare)
    wide = pd.concat({"BTCUSDT": adjusted, "ETHUSDT": adjusted}, axis=1).swaplevel(axis=1)
    other = wide.copy()
    other["adj_close"] *= 0.5
    assert fingerprint(other) == fingerprint(wide)
    other["close"] *= 0.5
    assert fingerprint(other) != fingerprint(wide)


def test_all_that_is_no_number_is_one() -> None:
    other = frame()
    other.iloc[1, 4] = np.float64(struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0])
    assert fingerprint(other) == fingerprint(frame())


def test_what_is_no_frame_of_bars_is_refused() -> None:
    with pytest.raises(ValueError, match="RangeIndex"):
        fingerprint(pd.DataFrame({"open": [1.0]}))
    with pytest.raises(ValueError, match="parse"):
        fingerprint(frame().assign(remark="binance"))


def test_what_is_told_beside_the_bars_does_not_count() -> None:
    told = frame().assign(source="binance", state="final", is_final=True, fetched_at=pd.NaT)
    assert fingerprint(told) == fingerprint(frame())
    assert fingerprint(told.assign(close=1.0)) != fingerprint(frame())


def test_the_answer_itself_is_unchanged() -> None:
    said = describe(frame())
    assert said.changed == ""
    assert "binance, 2 bars final" in str(said)
    assert json.loads(said.to_json())["provenance"]["rows"] == 2
    assert "<th>series</th>" in said._repr_html_()


def test_problems_and_the_number_of_gaps_that_are_not_listed_are_described() -> None:
    one = frame()
    gap = {
        "start": "1970-01-01T00:05:00Z",
        "end": "1970-01-01T00:06:00Z",
        "reason": "the vendor has no bar",
    }
    more = {
        "complete": False,
        "gaps": [gap],
        "gaps_total": 66,
        "problems": ["splits are not known"],
    }
    one.attrs[ATTRS_KEY] = freeze({**TOLD, **more})
    lines = str(describe(one)).splitlines()
    assert any(line.startswith("problem") and "splits are not known" in line for line in lines)
    assert any("and 65 more gaps" in line for line in lines)
    assert "more gaps" not in str(describe(frame()))


def test_a_frame_that_is_part_of_an_answer_is_described_as_changed() -> None:
    assert describe(frame().iloc[:1]).changed == "this frame has 1 rows, but the answer had 2"
    assert "1970-01-01T00:00:30Z" in describe(frame().shift(freq="30s")).changed


def test_a_frame_of_elsewhere_says_so() -> None:
    assert "has none" in str(describe(empty_frame()))
