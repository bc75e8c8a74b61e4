"""The labelled list is about the files that lie here, and names every row that cannot be a bar."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.reference import REFERENCE

from .labels import CAUSES, Entry, digest, entries, half_of
from .series import digest_of, series_of

HERE = [one for one in entries() if REFERENCE or not one.file.startswith(("market", "recordings"))]
FULL = bool(os.environ.get("ONETAPE_FULL"))
SMALL = [one for one in HERE if FULL or one.bars <= 400 or one.file.startswith("demo")]


@pytest.mark.parametrize("entry", HERE, ids=lambda one: one.file)
def test_the_file_is_the_one_that_was_labelled(entry: Entry) -> None:
    assert digest_of(entry) == entry.digest


def test_halves_are_decided_by_names_alone() -> None:
    assert [one.half for one in entries()] == [half_of(one.file) for one in entries()]
    assert {one.half for one in entries()} == {"first", "held out"}
    assert len({one.file for one in entries()}) == len(entries())
    assert len(digest()) == 64


def test_each_label_names_its_defect_and_its_evidence() -> None:
    for one in entries():
        for label in one.labels:
            assert label.cause in CAUSES
            assert label.rows, one.file
            assert all(first <= last for first, last in label.rows), one.file
            assert label.wrong
            assert label.evidence, one.file


@pytest.mark.parametrize("entry", SMALL, ids=lambda one: one.file)
def test_labels_name_rows_of_the_file_and_all_that_cannot_be_bars(entry: Entry) -> None:
    series = series_of(entry)
    table = series.table
    named = np.zeros(len(table), dtype=bool)
    for label in entry.labels:
        rows = label.covers(table.stamps)
        # Holes and rows without a price are not there; so are minutes in which nothing was traded.
        is_absent = label.cause in ("hole", "null") or "no bar" in label.wrong
        assert rows.any() != is_absent, (label.cause, label.rows[:3])
        if not is_absent and label.rows[0][0] > 0:
            single = [a for a, b in label.rows if a == b]
            assert np.isin(single, table.stamps).all(), set(single) - set(table.stamps.tolist())
        named |= rows & (label.cause in ("order", "made"))
    with np.errstate(invalid="ignore"):
        top, bottom = np.maximum(table.open, table.close), np.minimum(table.open, table.close)
        ok = (table.low > 0) & (table.low <= bottom) & (table.high >= top)
    assert not (~ok & ~named).any()
    assert abs(len(table) - entry.bars) <= sum(
        len(label.rows) for label in entry.labels if label.cause == "null"
    )
