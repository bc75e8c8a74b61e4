"""The ordinary document of a year, read by its shape: the same as with care, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from src.data.cache import metadata
from src.data.cache.members import file_id
from src.data.cache.year_glance import glance, state_of
from src.data.cache.year_meta import YearMeta, YearState, dump_meta, load_meta
from src.data.model.coverage import Coverage
from tests.cache.bars import DAILY, NOW, at, mark

ID = file_id(DAILY, 2024)
STATE = YearState(
    generation=7, size=900, rows=9, first=at(0), last=at(8), head="ab" * 32, head_at=400,
    members=2, open=1, coverage=Coverage((mark(0, 9, "final"), mark(9, 12, "empty", reason="x"))),
)  # fmt: skip
META = YearMeta(STATE, vendor="acme", created_ms=NOW, updated_ms=NOW)
STATES = {
    "usual": STATE,
    "with adjusted closes": replace(STATE, columns=(*STATE.columns, "adj_close")),
    "without bars": YearState(generation=1, coverage=Coverage((mark(0, 9, "empty", reason="x"),))),
    "without coverage": replace(STATE, coverage=Coverage()),
    "before 1970": replace(STATE, first=at(-30_000), last=at(-29_992)),
}


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a whole document, with its digest, of which ``change`` made something else."""
    document = metadata.load(dump_meta(META, DAILY, 2024))
    change(document["onetape"])
    return metadata.dump(document)


@pytest.mark.parametrize("what", STATES)
def test_it_says_what_the_document_says(what: str) -> None:
    state = STATES[what]
    found = glance(data := dump_meta(replace(META, state=state), DAILY, 2024), ID)
    assert found is not None
    assert state_of(found.ours) == load_meta(data, ID).state
    assert (found.generation, found.rows) == (state.generation, state.rows)
    assert (found.first, found.last) == (state.first, state.last)


OTHERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key more": lambda d: d.update(ranges={"a": {}}),
    "a key more, at the end": lambda d: d.update(zone="x"),
    "a key less": lambda d: d.pop("members"),
    "pending": lambda d: d.update(pending={}),
    "a need": lambda d: d.update(need=[]),
    "another format": lambda d: d.update(format=10),
    "columns nobody knows": lambda d: d["columns"].append("vwap"),
    "columns in another order": lambda d: d["columns"].reverse(),
    "a number with a point": lambda d: d.update(rows=9.0),
    "a number beyond all": lambda d: d.update(size=10**30),
    "a number that is true": lambda d: d.update(members=True),
    "fewer than none": lambda d: d.update(rows=-1),
    "no generation": lambda d: d.update(generation=0),
    "a head that is none": lambda d: d.update(head=7),
    "a quality with braces": lambda d: d["quality"].update(validation_errors=["}{"]),
    "coverage that is none": lambda d: d.update(coverage={}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_has_another_shape_is_not_ordinary(what: str) -> None:
    assert glance(changed(lambda d: None), ID) is not None
    assert glance(changed(OTHERS[what]), ID) is None


def test_one_of_another_year_is_not_believed() -> None:
    assert glance(changed(lambda d: None), file_id(DAILY, 2023)) is None


@pytest.mark.parametrize("end", [b"", b" ", b"x", b"\n\n", b" \n", b"\r\n"], ids=repr)
def test_what_does_not_end_as_written_is_not_ordinary(end: bytes) -> None:
    assert glance(changed(lambda d: None)[:-1] + end, ID) is None


def test_where_a_key_stands_twice_neither_is_believed() -> None:
    data = changed(lambda d: None)
    text = data[data.index(b",") + 1 : -2] + b',"onetape":{}}'
    seal = hashlib.sha256(b"{" + text).hexdigest().encode("ascii")
    twice = b'{"sha256": "' + seal + b'",' + text + b"\n"
    assert metadata.sealed(twice) is not None
    assert glance(twice, ID) is None


def test_text_that_is_not_ours_has_no_state() -> None:
    with pytest.raises(ValueError, match="nothing that was seen"):
        state_of(json.dumps({}))
