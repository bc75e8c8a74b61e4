"""Frames of bars for the tests of bundles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl


def days(
    first: date,
    count: int,
    sids: Sequence[int] = (1,),
    *,
    price: float = 10.0,
    volume: float = 100.0,
) -> pl.DataFrame:
    """Return daily bars of each sid, whose close tells the day and the sid."""
    rows = [
        (
            first + timedelta(n),
            sid,
            1.0 * price,
            price + n + 1.0,
            price - 1.0,
            price + n + sid / 100,
            volume,
        )
        for sid in sids
        for n in range(count)
    ]
    names = ["date", "sid", "open", "high", "low", "close", "volume"]
    return pl.DataFrame(rows, schema=names, orient="row")


def minutes(first: datetime, count: int, sids: Sequence[int] = (1,)) -> pl.DataFrame:
    """Return minutes of each sid."""
    rows = [
        (first + timedelta(minutes=n), sid, 10.0, 11.0 + n, 9.0, 10.0 + n, 5.0)
        for sid in sids
        for n in range(count)
    ]
    names = ["timestamp", "sid", "open", "high", "low", "close", "volume"]
    return pl.DataFrame(rows, schema=names, orient="row")
