"""A batch: shown as one table, described by symbol, with one digest."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from src.data.core.model.answer.member_frames import Frames
from src.data.core.model.answer.proof import describe, fingerprint
from tests.show.frames import frame_of, gap

_GAPS = [gap("2024-01-04T00:00:00", "2024-01-05T00:00:00")]
_SPAN = {"start": "2024-01-02T00:00:00Z", "end": "2024-01-04T00:00:00Z", "rows": 2}


def _batch() -> Frames:
    def facts(vendor: str, **more: Any) -> dict[str, Any]:
        bounds = {"first": "2024-01-02T00:00:00Z", "last": "2024-01-03T00:00:00Z"}
        spans = [_SPAN | {"vendor": vendor, "state": "final"}]
        return {"spans": spans, **bounds, **more}

    error = {"type": "UnknownSymbolError", "message": "unknown symbol 'NOPE'"}
    return Frames({
        "ONE": frame_of([1, 2], symbol="ONE", **facts("yahoo")),
        "TWO": frame_of([3, 4], symbol="TWO", **facts("tiingo", gaps=_GAPS, complete=False)),
        "NOPE": frame_of([], symbol="NOPE", complete=False, error=error, first=None, last=None),
    })  # fmt: skip


@pytest.mark.parametrize("shown", [repr, str, lambda batch: batch._repr_html_()])
def test_a_batch_is_shown_as_one_table(shown: Any) -> None:
    text = shown(_batch())
    assert "bars of 3 symbols: 2 incomplete" in text
    assert "2 bars, 2024-01-02T00:00:00Z .. 2024-01-03T00:00:00Z, from yahoo" in text
    assert "from tiingo, 1 gap" in text and "unknown symbol" in text
    assert "volume" not in text, "no frame is printed"


def test_frames_of_other_programs_are_counted() -> None:
    frame = frame_of([1, 2, 3])
    frame.attrs.clear()
    assert "3 rows" in str(Frames({"OWN": frame}))


def test_a_batch_is_a_dict_in_its_order_and_can_be_pickled() -> None:
    batch = _batch()
    assert list(batch) == ["ONE", "TWO", "NOPE"] and isinstance(batch, dict)
    again = pickle.loads(pickle.dumps(batch))
    assert type(again) is Frames and fingerprint(again) == fingerprint(batch)


def test_the_digest_of_a_batch_is_that_of_its_bars_under_their_names() -> None:
    batch = _batch()
    digest = fingerprint(batch)
    assert digest == fingerprint(dict(reversed(batch.items()))), "the order does not count"
    swapped = {"ONE": batch["TWO"], "TWO": batch["ONE"], "NOPE": batch["NOPE"]}
    assert fingerprint(swapped) != digest
    batch["ONE"].iloc[0, 0] += 1e-9
    assert fingerprint(batch) != digest


def test_a_batch_is_described_by_symbol() -> None:
    batch = _batch()
    batch["TWO"] = batch["TWO"].iloc[:1]
    told = describe(batch)
    assert told.told["complete"] is False and list(told.told["symbols"]) == ["ONE", "TWO", "NOPE"]
    assert told.changed == "TWO: this frame has 1 rows, but the answer had 2"
    assert dict(told.lines())["NOPE"] == "UnknownSymbolError: unknown symbol 'NOPE'"
    assert told.fingerprint == fingerprint(batch)
    complete = describe({"ONE": batch["ONE"]})
    assert complete.told["complete"] is True and complete.changed == ""
