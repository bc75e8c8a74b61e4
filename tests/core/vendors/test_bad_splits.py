"""Impossible terms of splits: a typed error for the splits, and bars that do not need them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.registry import key_names
from src.data.core.vendors.factory import downloader_class
from src.data.core.vendors.foreign import fetch_actions, fetch_bars
from src.data.errors import ResponseFormatError
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query

AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
DAY = "2024-03-01"
OPEN = 1709303400  # of that day
NOW_MS = parse_iso("2024-03-05")
SPAN = Span(day_ms(date(2024, 2, 28)), day_ms(date(2024, 3, 4)))


def chart(new: Any, old: Any) -> list[Any]:
    split = {"date": OPEN, "numerator": new, "denominator": old, "splitRatio": f"{new}:{old}"}
    quote = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    meta = {"currency": "USD", "exchangeTimezoneName": "America/New_York", "symbol": "AAPL"}
    result = {
        "meta": meta, "timestamp": [OPEN], "indicators": {"quote": [quote]},
        "events": {"splits": {str(OPEN): split}},
    }  # fmt: skip
    return [{"chart": {"result": [result], "error": None}}]


# Vendor to a function of a split's new and old number of shares, which makes its responses.
SPLITS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "yahoo": chart,
    "polygon": lambda new, old: [
        {"status": "OK", "results": [
            {"ticker": "AAPL", "execution_date": DAY, "split_to": new, "split_from": old}
        ]},
        {"status": "OK", "results": []},
    ],
    "alpaca": lambda new, old: [
        {"next_page_token": None, "corporate_actions": {
            "forward_splits": [{"symbol": "AAPL", "ex_date": DAY, "new_rate": new, "old_rate": old}]
        }},
    ],
    "fmp": lambda new, old: [
        [{"symbol": "AAPL", "date": DAY, "numerator": new, "denominator": old}], [],
    ],
    "finnhub": lambda new, old: [
        [{"symbol": "AAPL", "date": DAY, "toFactor": new, "fromFactor": old}], [],
    ],
    "eodhd": lambda new, old: [[{"date": DAY, "split": f"{new}/{old}"}], []],
}  # fmt: skip
IMPOSSIBLE = [
    (0, 1), (1, 0), (-2, 1), (float("nan"), 1), (1, float("inf")), (1e-9, 1), (1, 1e-9), (1e9, 1),
    (1, 1e9), (1, 1e17), (1234567890123456, 1), ("2:1", 1), ("1-for-15", 1), ("", 1), (None, 1),
    (True, 1), ([2], 1), ("x" * 5000, 1),
]  # fmt: skip
POSSIBLE = [(4, 1, 4), (1, 15, 1 / 15), ("3", "2", 1.5), (1e5, 1, 1e5), (1, 25_000, 1 / 25_000),
            (1234567890, 1234567890 / 2, 2)]  # fmt: skip


def vendor_of(name: str, *bodies: Any) -> Any:
    cls = downloader_class(name)
    transport = ScriptedTransport(*[answer(json.dumps(body).encode()) for body in bodies])
    keys = dict.fromkeys(key_names(name), "k")
    return cls(credentials=keys, sender=sender_over(transport))


@pytest.mark.parametrize("new, old", IMPOSSIBLE, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", SPLITS)
def test_a_split_with_impossible_terms_is_a_typed_error(name: str, new: Any, old: Any) -> None:
    vendor = vendor_of(name, *SPLITS[name](new, old))
    with pytest.raises(ResponseFormatError) as caught:
        fetch_actions(vendor, AAPL, SPAN, NOW_MS, name)
    assert str(caught.value).startswith(f"{name} returned ")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("new, old, ratio", POSSIBLE)
@pytest.mark.parametrize("name", SPLITS)
def test_a_split_with_possible_terms_is_read(name: str, new: Any, old: Any, ratio: float) -> None:
    vendor = vendor_of(name, *SPLITS[name](new, old))
    (split,) = fetch_actions(vendor, AAPL, SPAN, NOW_MS, name)
    assert float(split.ratio) == pytest.approx(ratio)


@pytest.mark.parametrize("new, old", IMPOSSIBLE, ids=lambda value: repr(value)[:12])
def test_bars_of_yahoo_with_an_impossible_split_come_without_splits(new: Any, old: Any) -> None:
    vendor = vendor_of("yahoo", *chart(new, old))
    fetched = fetch_bars(vendor, query("1d", DAY, "2024-03-02", AAPL, NOW_MS), "yahoo")
    assert (len(fetched.table), fetched.actions) == (1, None)


@pytest.mark.parametrize("new, old", IMPOSSIBLE, ids=lambda value: repr(value)[:12])
def test_volumes_of_eodhd_are_not_computed_with_an_impossible_split(new: Any, old: Any) -> None:
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 4.0)
    bars = [{"date": "2024-02-29", "adjusted_close": 1.0, **prices}]
    vendor = vendor_of("eodhd", bars, [{"date": DAY, "split": f"{new}/{old}"}])
    with pytest.raises(ResponseFormatError, match=r"^eodhd returned "):
        fetch_bars(vendor, query("1d", "2024-02-29", DAY, AAPL, NOW_MS), "eodhd")
