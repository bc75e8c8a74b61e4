"""Column types: both engines keep the same value."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from src.data.db.core.database import Database
from src.data.db.core.types import ExactDecimal, exact_decimal
from src.data.db.symbols.models import Symbol
from src.data.errors import DatabaseError
from tests.core.cache.counts import examples

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def stored(database: Database, **values: Any) -> Symbol:
    """Write a symbol with these values, and return it as it is read."""
    with database.writing() as session:
        session.merge(Symbol(**({"symbol": "X", "updated_at": NOW, "sources": {}} | values)))
    with database.reading() as session:
        return session.scalars(select(Symbol).where(Symbol.symbol == "X")).one()


# --- decimals ------------------------------------------------------------------------------------

DECIMALS = ["0", "-0", "1.10", "1E+3", "123456789012.12345678", "99999999999.99999999", "-0.00000001",
            "1E-30", "0.0666666666666666666666666666666666666666666666667",
            "1" * 300 + "." + "7" * 300]  # fmt: skip


def test_decimals_keep_all_digits(database: Database) -> None:
    for text in DECIMALS:
        row = stored(database, volatility_30d=Decimal(text))
        assert row.volatility_30d == Decimal(text)
        assert str(row.volatility_30d) == str(exact_decimal(Decimal(text))), (
            "one form on both engines"
        )
    assert stored(database, volatility_30d=7).volatility_30d == Decimal(7)
    assert stored(database, volatility_30d=None).volatility_30d is None


def test_equal_decimals_are_found_as_equal(database: Database) -> None:
    stored(database, volatility_30d=Decimal("1.10"))
    with database.reading() as session:
        for text in ("1.1", "1.100", "11E-1"):
            assert session.scalars(
                select(Symbol).where(Symbol.volatility_30d == Decimal(text))
            ).all()
            assert session.scalars(
                select(Symbol).where(Symbol.volatility_30d.in_([Decimal(text)]))
            ).all()
        assert session.scalars(select(Symbol).where(Symbol.volatility_30d.is_not(None))).all()


INEXACT = [0.1, math.nan, "0.1", True, np.float64(1), Decimal("NaN"), Decimal("Infinity"), Decimal("sNaN"),
           Decimal("1E+1001"), Decimal("1E-1001"), Decimal("1" * 1001), 10**1001]  # fmt: skip


def test_an_inexact_decimal_is_refused(database: Database) -> None:
    for wrong in INEXACT:
        with pytest.raises(DatabaseError):
            stored(database, volatility_30d=wrong)
    with database.reading() as session:
        assert session.scalars(select(Symbol)).all() == []


@pytest.mark.parametrize(
    "compare",
    [lambda c: c > 1, lambda c: c <= Decimal(2), lambda c: c + 1, lambda c: c.desc(),
     lambda c: c.between(1, 2)],
)  # fmt: skip
def test_comparisons_of_decimals_in_sql_are_refused(compare: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="in Python"):
        compare(Symbol.volatility_30d)


@settings(max_examples=examples(90), deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
def test_the_kept_form_is_the_same_number(value: Decimal) -> None:
    _, digits, exponent = value.as_tuple()
    if len(digits) + abs(int(exponent)) > 1000:
        return
    kept = exact_decimal(value)
    assert kept == value and int(kept.as_tuple().exponent) <= 0
    assert str(exact_decimal(Decimal(f"{value:f}0" if "." in f"{value:f}" else value))) == str(kept)


# --- instants ------------------------------------------------------------------------------------

EAST = timezone(timedelta(hours=2))
INSTANTS = [
    (datetime(2026, 1, 2, 12, 0, tzinfo=EAST), datetime(2026, 1, 2, 10, 0, tzinfo=UTC)),
    (datetime(2026, 1, 2, 12, 0), datetime(2026, 1, 2, 12, 0, tzinfo=UTC)),
    (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    (datetime.max, datetime.max.replace(tzinfo=UTC)),
    (pd.Timestamp("2024-03-10 02:30", tz="UTC"), datetime(2024, 3, 10, 2, 30, tzinfo=UTC)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Discarding nonzero nanoseconds")
def test_instants_are_utc_and_aware(database: Database) -> None:
    for given_, expected in INSTANTS:
        read = stored(database, updated_at=given_).updated_at
        assert read == expected and read.utcoffset() == timedelta(0) and type(read) is datetime


def test_instants_are_ordered_in_sql(database: Database) -> None:
    stored(database)
    with database.reading() as session:
        early = NOW.astimezone(timezone(timedelta(hours=-9))) - timedelta(microseconds=1)
        assert session.scalars(select(Symbol).where(Symbol.updated_at > early)).all()
        assert not session.scalars(select(Symbol).where(Symbol.updated_at < early)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        "2026-01-02",
        date(2026, 1, 2),
        1.5,
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        pd.NaT,
    ],
    ids=str,
)
def test_an_invalid_instant_is_refused(database: Database, wrong: Any) -> None:
    with pytest.raises(DatabaseError):
        stored(database, updated_at=wrong)


# --- documents -----------------------------------------------------------------------------------


def changed(database: Database, change: Callable[[Any], Any], before: Any) -> Any:
    """Change the document of a stored row in place; return it as it is read."""
    stored(database, sources=before, available_timeframes=["1d"])
    with database.writing() as session:
        change(session.scalars(select(Symbol).where(Symbol.symbol == "X")).one().sources)
    with database.reading() as session:
        return session.scalars(select(Symbol).where(Symbol.symbol == "X")).one().sources


CHANGES: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (lambda d: d.update(k=1), {}, {"k": 1}),
    (lambda d: d["a"].update(k=1), {"a": {}}, {"a": {"k": 1}}),
    (lambda d: d["a"]["b"].append({"c": 1}), {"a": {"b": []}}, {"a": {"b": [{"c": 1}]}}),
    (lambda d: d["a"][0].__setitem__("k", [2]), {"a": [{}]}, {"a": [{"k": [2]}]}),
    (lambda d: d.setdefault("a", []).append(1), {}, {"a": [1]}),
    (lambda d: d["a"].sort(), {"a": [2, 1]}, {"a": [1, 2]}),
    (lambda d: d["a"].__delitem__(0), {"a": [2, 1]}, {"a": [1]}),
    (lambda d: d.pop("a"), {"a": 1, "b": 2}, {"b": 2}),
    (lambda d: d.__ior__({"a": {"b": 1}}), {}, {"a": {"b": 1}}),
    (lambda d: d["a"].__iadd__([[1]]), {"a": []}, {"a": [[1]]}),
    (lambda d: (d.update(a={}), d["a"].update(b=1)), {}, {"a": {"b": 1}}),
    (lambda d: (d["a"].append([]), d["a"][0].append(1)), {"a": []}, {"a": [[1]]}),
    (lambda d: (d["a"].insert(0, {}), d["a"][0].update(b=1)), {"a": [2]}, {"a": [{"b": 1}, 2]}),
]


def test_changes_of_a_document_in_place_are_seen(database: Database) -> None:
    for change, before, after in CHANGES:
        assert changed(database, change, before) == after


def test_a_list_is_a_document_too(database: Database) -> None:
    stored(database, available_timeframes=["1d"])
    with database.writing() as session:
        row = session.scalars(select(Symbol)).one()
        row.available_timeframes.append("1h")  # type: ignore[union-attr]
    with database.reading() as session:
        assert session.scalars(select(Symbol.available_timeframes)).one() == ["1d", "1h"]


@pytest.mark.parametrize("is_whole", [False, True])
def test_assigning_part_of_one_json_document_to_another_copies_it(
    database: Database, is_whole: bool
) -> None:
    stored(database, sources={"a": {"b": [1]}})
    with database.writing() as session:
        session.add(Symbol(symbol="Y", updated_at=NOW, sources={}))
    with database.writing() as session:
        x, y = session.scalars(select(Symbol).order_by(Symbol.symbol)).all()
        if is_whole:
            y.sources = x.sources["a"]
        else:
            y.sources.update(x.sources["a"])
        session.flush()
        y.sources["b"].append(2)
    with database.reading() as session:
        found = dict(session.execute(select(Symbol.symbol, Symbol.sources)).all())
    assert found == {"X": {"a": {"b": [1]}}, "Y": {"b": [1, 2]}}


def test_a_document_can_be_copied_and_pickled(database: Database) -> None:
    document = stored(database, sources={"a": {"b": [1]}}).sources
    for twin in (copy.deepcopy(document), pickle.loads(pickle.dumps(document))):
        assert twin == document
        twin["a"]["b"].append(2)
        assert document == {"a": {"b": [1]}}


def test_a_value_that_is_not_json_is_refused(database: Database) -> None:
    for wrong in ({"a": math.nan}, {"a": [math.inf]}, {"a": Decimal(1)}, {"a": {1, 2}}, "text", 7):
        with pytest.raises(DatabaseError):
            stored(database, sources=wrong)


def test_texts_come_back_as_they_are(database: Database) -> None:
    for text in ("Ünïted", "a'b\"c;--", "%s %(x)s :x", "\U0001f4c8", "  ", "a\nb", "\\"):
        row = stored(database, company_name=text, sources={text: text})
        assert (row.company_name, row.sources) == (text, {text: text})


def test_a_type_can_be_cached_with_its_statement() -> None:
    assert ExactDecimal().cache_ok
