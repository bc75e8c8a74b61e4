"""Decimal columns: what comes back as the same float, what is rounded, what is refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from src.data.errors import DecimalRangeError, QueryError
from src.data.research.frames.frames import (
    DAILY_BARS_SCHEMA,
    FIELDS,
    PRICE,
    WIDE_VOLUME,
    decimal_frame,
    float_frame,
    get_schema_for_frequency,
    validate_schema,
)


def one(column: str, *values: float | int | None) -> pl.DataFrame:
    return pl.DataFrame({column: list(values)}, strict=False)


@pytest.mark.parametrize("magnitude", range(-8, 11))
def test_eight_decimals_come_back_as_the_same_float(magnitude: int) -> None:
    units = np.random.default_rng(magnitude + 8).integers(0, 10 ** min(18, magnitude + 9), 3000)
    texts = [Decimal(int(unit)).scaleb(-8) for unit in units]
    values = np.array([float(text) for text in texts])
    values = values[values < 1e10]
    converted = decimal_frame(pl.DataFrame({"close": values}))
    assert converted.rounded == 0
    assert float_frame(converted.frame)["close"].to_numpy().tobytes() == values.tobytes()
    # The digits are those of the float's shortest text, whatever its size.
    shortest = [Decimal(repr(float(v))) for v in values]
    assert converted.frame["close"].to_list() == shortest


def test_more_decimals_are_rounded_and_counted() -> None:
    frame = pl.DataFrame({"close": [1.123456789, 0.5, 6e-9], "volume": [0.1234567891, 2.0, 1e-9]})
    converted, rounded = decimal_frame(frame)
    assert rounded == 4
    assert converted["close"].to_list() == [Decimal("1.12345679"), Decimal("0.5"), Decimal("1e-8")]
    assert converted["volume"][2] == 0


def test_more_decimals_of_large_values_are_counted_too() -> None:
    assert decimal_frame(one("close", 20_000_000.123456789, 20_000_000.5)).rounded == 1


def test_missing_values_are_null_and_come_back_as_nan() -> None:
    converted, rounded = decimal_frame(one("volume", 1.0, float("nan"), None))
    assert (converted["volume"].null_count(), rounded) == (2, 0)
    assert np.isnan(float_frame(converted)["volume"].to_numpy()[1:]).all()
    assert decimal_frame(one("volume", float("nan"))).frame["volume"].null_count() == 1


@pytest.mark.parametrize("price", [1e10, -1e10, float("inf"), float("-inf"), 1e300])
def test_a_price_that_does_not_fit_is_refused(price: float) -> None:
    with pytest.raises(DecimalRangeError, match="close"):
        decimal_frame(one("close", 1.0, price, float("nan")))


@pytest.mark.parametrize("price", [5e-9, 1.6e-9, 1e-300])
def test_a_price_that_would_become_zero_is_refused(price: float) -> None:
    with pytest.raises(DecimalRangeError, match="would become 0"):
        decimal_frame(one("close", 1.0, price, float("nan")))


def test_the_largest_price_that_fits() -> None:
    assert decimal_frame(one("close", 9_999_999_999.0)).frame["close"][0] == Decimal(9_999_999_999)


@pytest.mark.parametrize("volume", [3e10, 12345678901234.5, 1e22, 2.0**63, 123456789012345678.0])
def test_a_volume_is_widened_to_its_last_digit(volume: float) -> None:
    converted, rounded = decimal_frame(one("volume", volume, 1.5, None))
    assert converted["volume"].dtype == WIDE_VOLUME
    assert converted["volume"].to_list()[:2] == [Decimal(repr(volume)), Decimal("1.5")]
    assert rounded == 0
    assert float_frame(converted)["volume"][0] == volume


@pytest.mark.parametrize("volume", [1e30, float("inf")])
def test_a_volume_has_its_limit(volume: float) -> None:
    with pytest.raises(DecimalRangeError):
        decimal_frame(one("volume", volume))


def test_a_bundle_of_wide_volumes_widens_all() -> None:
    assert decimal_frame(one("volume", 1.0), wide_volume=True).frame["volume"].dtype == WIDE_VOLUME


def test_integers_and_decimals_are_taken_as_they_are() -> None:
    frame = pl.DataFrame(
        {"close": [1, 20_000_000], "volume": [Decimal("1.5"), None], "note": ["a", "b"]}
    )
    converted, rounded = decimal_frame(frame)
    assert converted["close"].to_list() == [1, 20_000_000] and rounded == 0
    assert converted["volume"].to_list() == [Decimal("1.5"), None]
    assert converted["note"].to_list() == ["a", "b"]
    assert decimal_frame(converted).frame.equals(converted)


@pytest.mark.parametrize("whole", [7, 19_999_999, 20_000_000, 9_999_999_999])
def test_decimals_with_more_digits_than_a_float_has_keep_them(whole: int) -> None:
    """A price of 38 digits is more than 64 bits hold before it is cut to eight decimals."""
    price = Decimal(f"{whole}.123456780000000000")
    frame = pl.DataFrame({"close": [price, None]}, schema={"close": pl.Decimal(38, 18)})
    converted, rounded = decimal_frame(frame)
    assert converted.schema["close"] == PRICE and rounded == 0
    assert converted["close"].to_list() == [Decimal(f"{whole}.12345678"), None]


@pytest.mark.parametrize("whole", [2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1])
def test_integers_around_the_64_bit_limit_keep_their_digits(whole: int) -> None:
    numbers = pl.DataFrame({"volume": pl.Series([whole, 3], dtype=pl.UInt64)})
    texts = pl.DataFrame({"volume": pl.Series([Decimal(f"{whole}.5"), None], dtype=WIDE_VOLUME)})
    assert decimal_frame(numbers).frame["volume"].to_list() == [whole, 3]
    assert decimal_frame(texts).frame["volume"].to_list() == [Decimal(f"{whole}.5"), None]


@pytest.mark.parametrize("volume", [np.nextafter(2.0**63, 0), 2.0**63, np.nextafter(2.0**63, 1e30)])
@pytest.mark.parametrize("beside", [12_345_678.5, 2.0**70, 3e29])
def test_floats_around_the_64_bit_limit_keep_their_digits(volume: float, beside: float) -> None:
    values = [float(volume), beside, -beside, 0.5]
    converted, rounded = decimal_frame(one("volume", *values, None))
    # Below 2^63 a whole float is written out; from there on its shortest text is.
    first = int(volume) if volume < 2.0**63 else Decimal(repr(float(volume)))
    expected = [first, *(Decimal(repr(value)) for value in values[1:])]
    assert converted["volume"].to_list()[:4] == expected and rounded == 0
    assert float_frame(converted)["volume"].to_list()[:4] == values


def test_texts_are_no_prices() -> None:
    with pytest.raises(
        DecimalRangeError, match="close does not contain numbers: its type is String"
    ):
        decimal_frame(pl.DataFrame({"close": ["1.5"]}))


def test_an_empty_frame_has_the_types() -> None:
    empty = pl.DataFrame(schema=dict.fromkeys(FIELDS, pl.Float64))
    assert set(decimal_frame(empty).frame.schema.values()) == {PRICE}


def test_a_schema_is_checked_column_by_column() -> None:
    daily = pl.DataFrame(
        schema={**DAILY_BARS_SCHEMA, "volume": WIDE_VOLUME, "open_interest": pl.Int64}
    )
    assert validate_schema(daily, "daily")
    with pytest.raises(QueryError, match=r"sid is missing.*close is String"):
        validate_schema(daily.drop("sid").cast({"close": pl.String}), "daily")
    with pytest.raises(QueryError, match="hourly"):
        get_schema_for_frequency("hourly")
