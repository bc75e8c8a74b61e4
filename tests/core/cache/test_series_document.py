"""Tests the document of a series: what is read back, and which contents are rejected."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from src.data.core.cache.format import json_document
from src.data.core.cache.format.documents import SeriesMeta, dump_series, load_series
from src.data.core.cache.values import SeriesFacts
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.stored.lifetime import FIELD, Bound, Lifetime
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import FormatVersionError
from tests.core.cache.bars import DAILY, KIND, NOW, mark

FACTS: dict[str, dict[str, Any]] = {
    "kind": {"kind": KIND},
    "next_due": {"next_due": NOW},
    "empties": {"empties": Coverage((mark(0, 3, "empty", kind=Kind(), basis=Basis()),))},
    "lifetime": {"lifetime": Lifetime(listed=Bound(NOW, "acme", NOW, NOW, FIELD))},
    "extra": {"extra": {"x": 1}},
}


@pytest.mark.parametrize("fact", FACTS)
def test_each_fact_of_a_series_survives_writing_and_reading(fact: str) -> None:
    series = SeriesMeta(generation=3, years_generation=2, compared_at=NOW, **FACTS[fact])
    data = dump_series(series, DAILY)
    assert load_series(data, DAILY) == series


def test_each_declared_fact_of_a_series_is_written_and_read_in_a_test() -> None:
    written = {*FACTS, "compared_at"}  # with each of the others
    assert {one.name for one in fields(SeriesFacts)} <= written


@pytest.mark.parametrize(
    "other",
    [SeriesKey("MSFT", DAILY.timeframe), SeriesKey("AAPL", Timeframe(1, "h")),
     SeriesKey("AAPL", DAILY.timeframe, ("raw",))],
    ids=["symbol", "timeframe", "lane"],
)  # fmt: skip
def test_a_document_of_another_series_is_rejected(other: SeriesKey) -> None:
    data = dump_series(SeriesMeta(next_due=NOW), other)
    assert load_series(data, other).next_due == NOW
    with pytest.raises(json_document.DamagedError, match="a different series"):
        load_series(data, DAILY)


@pytest.mark.parametrize("change", [{"format": 2}, {"format": None}, {"need": ["wings"]}], ids=str)
def test_a_series_document_of_a_newer_version_is_not_reported_as_damaged(
    change: dict[str, Any],
) -> None:
    plain = json.loads(dump_series(SeriesMeta(next_due=NOW), DAILY))
    data = json_document.dump(plain | change)
    with pytest.raises(FormatVersionError, match=r"series\.json"):
        load_series(data, DAILY)


@pytest.mark.parametrize(
    "change", [{"generation": "x"}, {"generation": None}, {"kind": 7}, {"kind": []}, {"empties": 7},
               {"empties": [{}]}, {"empties": [{"span": [0, 1], "state": "empty", "kind": []}]}],
    ids=str,
)  # fmt: skip
def test_a_document_with_values_of_wrong_types_is_damaged(change: dict[str, Any]) -> None:
    plain = json.loads(dump_series(SeriesMeta(next_due=NOW), DAILY))
    data = json_document.dump(plain | change)
    with pytest.raises(json_document.DamagedError, match="lacks required content"):
        load_series(data, DAILY)


@pytest.mark.parametrize("listing", [{}, 7, [], {"at": "x"}])
def test_a_listing_in_another_format_is_damage(listing: object) -> None:
    plain = json.loads(dump_series(SeriesMeta(), DAILY))
    with pytest.raises(json_document.DamagedError):
        load_series(json_document.dump(plain | {"listing": listing}), DAILY)
