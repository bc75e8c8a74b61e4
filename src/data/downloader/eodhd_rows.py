"""Read EODHD's answers: rows of JSON or CSV, and volumes that are told in today's shares."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..model.actions import Action
from ..model.bars import BarTable
from ..model.http import HttpResponse
from ..model.instant import day_ms
from .dated import list_of

_NAMES = {"Stock Splits": "split", "Dividends": "value"}
_ROUNDING = 1e-4  # of adjusted closes; a smaller split than this has never been


def rows_of(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the rows of JSON, or of the CSV that is this vendor's usual answer.

    Its CSV ends in a line that is a number alone.

    Raises:
        ValueError: it is neither.
    """
    if response.body[:1] in (b"[", b"{"):
        return list_of(response.json())
    table = csv.reader(response.text.splitlines())
    names = [_NAMES.get(name, name.lower()) for name in next(table, [""])]
    if names[0] not in ("date", "timestamp"):
        raise ValueError("neither JSON nor a table of dates")
    return [dict(zip(names, row, strict=True)) for row in table if len(row) > 1]


def ratio_of(text: str) -> tuple[str, str]:
    """Return the new and the old shares of a split such as ``4.000000/1.000000``."""
    new, _, old = text.partition("/")
    return new, old


def is_restated(table: BarTable) -> bool:
    """Tell whether a split may have come after some of these days: their adjusted close differs."""
    adjusted = table.adj_close
    return adjusted is None or not np.allclose(adjusted, table.close, rtol=_ROUNDING, atol=0.0)


def as_traded(table: BarTable, splits: Iterable[Action]) -> BarTable:
    """Return the days with their volumes in the shares of their own day, as their prices are."""
    volume = table.volume.copy()
    for split in splits:
        volume[table.stamps < day_ms(split.ex_date)] *= split.denominator / split.numerator
    return replace(table, volume=volume)
