"""Frames adjusted for the splits and dividends in the table, as of the frame's end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from src.data.db import CorporateActionsProcessor
from src.data.db.core.database import Database
from src.data.db.symbols.models import CorporateAction
from src.data.errors import KindMismatchError, QueryError

NOW = datetime(2024, 6, 12, tzinfo=UTC)
FIRST = date(2020, 8, 24)


def action(day: str, **values: Any) -> CorporateAction:
    known = {"symbol": "AAPL", "source": "acme", "source_at": NOW, "created_at": NOW, **values}
    return CorporateAction(ex_date=date.fromisoformat(day), **known)


def split(day: str, top: int, bottom: int = 1) -> CorporateAction:
    ratio = Decimal(top) / Decimal(bottom)
    terms = {"numerator": Decimal(top), "denominator": Decimal(bottom)}
    return action(day, action_type="split", ratio=ratio, **terms)


def dividend(day: str, amount: str) -> CorporateAction:
    return action(day, action_type="dividend", amount=Decimal(amount))


@pytest.fixture
def frame() -> pl.DataFrame:
    """Return ten days of 400, 401, ... from 2020-08-24 on."""
    days = [FIRST + timedelta(days=n) for n in range(10)]
    close = [400.0 + n for n in range(10)]
    return pl.DataFrame(
        {
            "date": days,
            "open": close,
            "high": [c + 1 for c in close],
            "low": [c - 1 for c in close],
            "close": close,
            "volume": [1000 + n for n in range(10)],
            "note": ["x"] * 10,
        }
    )


def adjusted(database: Database, df: Any, actions: Sequence[CorporateAction] = ()) -> Any:
    with database.writing() as session:
        session.add_all(actions)
    with database.reading() as session:
        return asyncio.run(CorporateActionsProcessor(session).adjust_prices(df, "AAPL"))


def test_a_split_divides_earlier_prices_and_multiplies_volume(
    database: Database, frame: pl.DataFrame
) -> None:
    """S000:696-715."""
    before = frame.clone()
    terms = {"ratio": Decimal(2), "numerator": Decimal(2), "denominator": Decimal(1)}
    others = [
        action("2020-08-28", symbol="MSFT", action_type="split", **terms),
        action("2020-08-27", symbol="MSFT", action_type="dividend", amount=Decimal(4)),
    ]
    assert adjusted(database, frame, others) is frame, "actions of another symbol do not count"
    done = adjusted(database, frame, [split("2020-08-31", 4)])
    assert_frame_equal(frame, before)
    assert done.schema == frame.schema
    old, new = done.filter(pl.col("date") < date(2020, 8, 31)), done.tail(3)
    assert old["close"].to_list() == [c / 4 for c in frame["close"].to_list()[:7]]
    assert old["low"].to_list() == [c / 4 for c in frame["low"].to_list()[:7]]
    assert old["volume"].to_list() == [v * 4 for v in frame["volume"].to_list()[:7]]
    assert_frame_equal(new, frame.tail(3))


def test_only_actions_inside_the_frame_are_applied(database: Database, frame: pl.DataFrame) -> None:
    """Ruling 24: prices are as of the frame's end."""
    others = [split("2020-08-23", 7), split("2020-09-03", 4), dividend("2020-09-10", "5")]
    assert adjusted(database, frame, others) is frame
    done = adjusted(database, frame, [split("2020-09-02", 2)])
    assert done["close"].to_list() == [*(c / 2 for c in frame["close"].to_list()[:9]), 409.0]
    first = adjusted(database, frame.tail(1))
    assert_frame_equal(first, frame.tail(1))


def test_the_newest_action_comes_first(database: Database, frame: pl.DataFrame) -> None:
    """S000:686: a dividend before a split is of the shares of its own day."""
    both = [split("2020-08-31", 4), dividend("2020-08-27", "8.04"), dividend("2020-09-02", "1.02")]
    done = adjusted(database, frame, both)
    late = 1 - Fraction("1.02") / Fraction("408")
    early = 1 - Fraction("8.04") / Fraction("402")
    expected = [
        *(float(Fraction(400 + n) / 4 * late * early) for n in range(3)),
        *(float(Fraction(400 + n) / 4 * late) for n in range(3, 7)),
        *(float(Fraction(400 + n) * late) for n in range(7, 9)),
        409.0,
    ]
    assert done["close"].to_list() == expected, "each is rounded once"
    volumes = [4 * (1000 + n) for n in range(7)] + [1007, 1008, 1009]
    assert done["volume"].to_list() == volumes, "dividends leave the volume"


def test_a_reverse_split_of_one_for_fifteen_adjusts_exactly(
    database: Database, frame: pl.DataFrame
) -> None:
    done = adjusted(database, frame, [split("2020-08-31", 1, 15)])
    assert done["close"].to_list()[:7] == [(400.0 + n) * 15 for n in range(7)]
    assert done["volume"].dtype == pl.Float64, "1000 by 15 is no whole number"
    assert done["volume"].to_list()[0] == float(Fraction(1000, 15))


def test_rows_with_a_ratio_alone_are_read_too(database: Database, frame: pl.DataFrame) -> None:
    """Such as the tables of S000 have."""
    done = adjusted(
        database, frame, [action("2020-08-31", action_type="split", ratio=Decimal("2.5"))]
    )
    assert done["close"][0] == 160.0
    other = [
        action("2020-08-31", action_type="spinoff", symbol="B"),
    ]
    assert_frame_equal(adjusted(database, frame, other), done)


def test_a_pandas_frame_is_adjusted_to_a_pandas_frame(
    database: Database, frame: pl.DataFrame
) -> None:
    table = frame.to_pandas()
    indexed = table.assign(date=pd.to_datetime(table["date"])).set_index("date")
    done = adjusted(database, indexed, [split("2020-08-31", 4)])
    assert isinstance(done, pd.DataFrame)
    assert done["close"].tolist() == [(400 + n) / (4 if n < 7 else 1) for n in range(10)]
    assert list(done["volume"].dtype.kind) == ["i"]
    pd.testing.assert_index_equal(done.index, indexed.index)
    assert indexed["close"].iloc[0] == 400
    by_column = adjusted(database, table)
    assert by_column["close"].tolist() == done["close"].tolist()


def test_rows_in_any_order_come_back_by_date(database: Database, frame: pl.DataFrame) -> None:
    shuffled = frame.sample(fraction=1, shuffle=True, seed=38)
    whole = adjusted(database, frame, [split("2020-08-31", 4)])
    assert_frame_equal(adjusted(database, shuffled), whole)


def test_times_count_by_the_date_that_they_show(database: Database, frame: pl.DataFrame) -> None:
    zone = "Pacific/Auckland"
    timed = frame.with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone(zone))
    done = adjusted(database, timed, [split("2020-08-31", 4)])
    assert done["close"].to_list()[6:8] == [101.5, 407.0]
    assert done.schema == timed.schema
    stamped = adjusted(database, timed.rename({"date": "timestamp"}).to_pandas())
    assert stamped["close"].tolist() == done["close"].to_list()


def test_nulls_stay_and_missing_columns_are_not_made(
    database: Database, frame: pl.DataFrame
) -> None:
    holed = frame.with_columns(
        pl.when(pl.col("date") == FIRST).then(None).otherwise(pl.col("open")).alias("open"),
        pl.when(pl.col("date") == FIRST).then(None).otherwise(pl.col("volume")).alias("volume"),
    ).drop("high", "low")
    done = adjusted(database, holed, [split("2020-08-31", 4)])
    assert done.schema == holed.schema
    assert (done["open"][0], done["volume"][0]) == (None, None)
    assert (done["open"][1], done["volume"][1]) == (401 / 4, 4004)


def test_a_frame_without_the_close_before_a_dividend_is_refused(
    database: Database, frame: pl.DataFrame
) -> None:
    closes = frame.with_columns(pl.lit(None, pl.Float64).alias("close"))
    with pytest.raises(KindMismatchError, match="the close before it is not known"):
        adjusted(database, closes, [dividend("2020-08-27", "1")])
    with pytest.raises(KindMismatchError, match="the close before it is"):
        adjusted(database, frame.with_columns(close=pl.lit(1.0)))
    assert adjusted(database, frame.head(0)).is_empty()


@pytest.mark.parametrize(
    "wrong",
    [
        pl.DataFrame({"close": [1.0]}),
        pl.DataFrame(
            {"date": [None], "close": [1.0]}, schema={"date": pl.Date, "close": pl.Float64}
        ),
        pl.DataFrame({"date": ["first"], "close": [1.0]}),
        pd.DataFrame({"close": [1.0]}),
        pd.DataFrame({"date": [pd.NaT], "close": [1.0]}),
        pd.DataFrame({"date": ["first"], "close": [1.0]}),
    ],
)
def test_a_frame_without_times_is_refused(database: Database, wrong: Any) -> None:
    with pytest.raises(QueryError):
        adjusted(database, wrong)


def test_adjusted_frames_agree_with_get_ohlcv(database: Database, frame: pl.DataFrame) -> None:
    """A random walk with splits and dividends: the factor of each row, worked out by itself."""
    chance = np.random.default_rng(38)
    closes = np.round(100 * np.exp(np.cumsum(chance.normal(0, 0.01, 10))), 2)
    walk = frame.with_columns(close=pl.Series(closes), open=pl.Series(closes))
    done = adjusted(database, walk, [split("2020-08-27", 3, 7), dividend("2020-08-30", "0.33")])
    dropped = 1 - Fraction("0.33") / Fraction(str(closes[5]))
    factors = [Fraction(7, 3) * dropped] * 3 + [dropped] * 3 + [Fraction(1)] * 4
    expected = [float(Fraction(float(c)) * f) for c, f in zip(closes, factors, strict=True)]
    assert done["close"].to_list() == expected


async def _adjusted(url: Any, frame: Any) -> Any:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        done = await CorporateActionsProcessor(session).adjust_prices(frame, "AAPL")
    await engine.dispose()
    return done


def test_an_asynchronous_session_of_the_callers_own(
    database: Database, frame: pl.DataFrame
) -> None:
    pytest.importorskip("greenlet")
    if database.dialect == "sqlite":
        pytest.importorskip("aiosqlite")
    whole = adjusted(database, frame, [split("2020-08-31", 4)])
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}[database.dialect]
    url = database.url.url.set(drivername=driver)
    assert_frame_equal(asyncio.run(_adjusted(url, frame)), whole)


def test_a_session_of_the_callers_own(database: Database, frame: pl.DataFrame) -> None:
    """S000:672: ``CorporateActionsProcessor(db_session)``."""
    whole = adjusted(database, frame, [split("2020-08-31", 4)])
    engine = create_engine(database.url.url)
    with Session(engine) as session:
        done = asyncio.run(CorporateActionsProcessor(session).adjust_prices(frame, "AAPL"))
    engine.dispose()
    assert_frame_equal(done, whole)


def test_the_second_data_layer_exports_the_corporate_actions_processor() -> None:
    from src.data.v2 import CorporateActionsProcessor as named

    assert named is CorporateActionsProcessor
