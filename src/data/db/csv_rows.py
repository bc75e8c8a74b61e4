"""Reads the CSV files of users: rows by column name, and dates in forms that have one meaning. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import zip_longest

Row = tuple[int, Mapping[str, str]]
# Returns the error for a line and what is wrong with it.
Fail = Callable[[int, str], Exception]

_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_WORDS = re.compile(r"([A-Za-z]{3,9})\.? ([0-9]{1,2}), ?([0-9]{4})")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)


def csv_rows(text: str, fail: Fail) -> Iterator[Row]:
    """Yield each line's number and its values by column name; empty lines are skipped.

    Column names are lowercase, with ``_`` for blanks and hyphens. Missing cells are empty.

    Raises:
        Exception: The result of ``fail``, if a line is not valid CSV or has too many cells, or two
            columns have the same name.
    """
    lines = text.removesuffix("\n").split("\n")
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not header:
                header = [column_name(value) for value in values]
                if len(set(header)) < len(header):
                    raise fail(reader.line_num, "two columns have the same name")
                continue
            if len(values) > len(header):
                what = f"has too many cells: {len(values)}; the header names {len(header)} columns"
                raise fail(reader.line_num, what)
            yield reader.line_num, dict(zip_longest(header, values, fillvalue=""))
    except csv.Error as exc:
        raise fail(reader.line_num, f"not valid CSV: {exc}") from exc


def column_name(name: str) -> str:
    """Return the name of a column in lowercase, with ``_`` for blanks and hyphens."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def read_day(text: str) -> date | None:
    """Parse a date such as ``2025-7-8`` or ``July 9, 2025``; return None for any other string."""
    if match := _ISO.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _WORDS.fullmatch(text):
        word = match[1].lower()
        months = [
            month for month, name in enumerate(_MONTHS, 1) if word in (name, name[:3], name[:4])
        ]
        year, month, day = int(match[3]), months[0] if months else 0, int(match[2])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
