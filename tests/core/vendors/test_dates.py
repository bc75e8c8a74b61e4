"""What vendors' parsers share: rows are a list, and nothing else means that there are none."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.vendors.dates import list_of
from src.data.errors import ResponseFormatError
from tests.core.vendors.acme import query
from tests.core.vendors.test_bad_splits import AAPL, vendor_of


@pytest.mark.parametrize("value", ["", "x", {}, {"a": 1}, (), None, 0, True])
def test_only_a_list_is_a_list_of_rows(value: object) -> None:
    with pytest.raises(TypeError, match=f"expected a list of rows, not {type(value).__name__}"):
        list_of(value)
    rows = [value]
    assert list_of(rows) is rows


@pytest.mark.parametrize("rows", ["", {}])
@pytest.mark.parametrize("vendor", ["eodhd", "finnhub", "twelvedata"])
def test_an_empty_value_that_is_no_list_does_not_mean_that_there_are_no_bars(
    vendor: str, rows: Any
) -> None:
    meta = {"symbol": "AAPL", "interval": "1day", "currency": "USD", "exchange_timezone": ""}
    body = {
        "eodhd": rows,
        "finnhub": {"s": "ok", **dict.fromkeys("tohlcv", rows)},
        "twelvedata": {"status": "ok", "meta": meta, "values": rows},
    }
    with pytest.raises(ResponseFormatError):
        vendor_of(vendor, body[vendor]).fetch(query("1d", "2024-06-03", "2024-06-05", AAPL))
