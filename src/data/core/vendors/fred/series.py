"""FRED: macro series, with the days on which each value was published and replaced.

A *vintage* is a day on which values of a series appeared or changed. The parameter ``vintage_date``
is accepted and ignored; ``realtime_start`` and ``realtime_end`` select vintages (2026-09). Dates
are days in St. Louis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from math import isfinite
from typing import Any, ClassVar, NamedTuple

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from ...model.market.bars import NAN
from ...model.request.capabilities import Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader
from ..dates import number
from ..paging import format_errors

_KEY = "FRED_API_KEY"
# Largest number of vintages, and of rows or days, in one response (2026-09).
_MOST_VINTAGES = 2_000
_MOST_ROWS = 100_000
_MOST_DAYS = 10_000
# Pages of one request; a longer answer does not end.
_MOST_PAGES = 100


class Value(NamedTuple):
    """One published value.

    Attributes:
        day: First day of the period that the value describes.
        value: The value; NaN if FRED has the period without a value.
        released: First day on which the value was public, within the requested vintages.
        until: Last day on which it was valid, within the requested vintages.
    """

    day: date
    value: float
    released: date
    until: date


class FredDataDownloader(BaseDataDownloader):
    """Macro series from FRED; it serves no bars. A free key is needed."""

    name = "fred"
    display_name = "FRED"
    aliases = VENDORS["fred"].aliases
    secrets = VENDORS["fred"].keys
    requires_api_key = True
    limits = Limits(per_minute=120)
    default_base_url: ClassVar[str] = "https://api.stlouisfed.org/fred"

    def vintages(self, series: str) -> list[date]:
        """Return the days on which values of a series appeared or changed, in ascending order.

        Args:
            series: FRED's ID of the series, such as ``CPIAUCSL``.

        Raises:
            SymbolNotFoundError: FRED does not have the series.
            DataError: FRED refused, failed or returned an unexpected response.
        """
        with self.guarded_call("vintages", series):
            pages = self._pages("series/vintagedates", series, {}, "vintage_dates", _MOST_DAYS)
            with format_errors(self.name, "vintages"):
                return sorted({date.fromisoformat(day) for page in pages for day in page})

    def values(self, series: str, vintages: Sequence[date]) -> list[Value]:
        """Return every value of a series that was valid on a day from the first vintage to the last.

        Days of publication before the first vintage are given as that vintage, and values that
        are still valid end on the last one.

        Args:
            series: FRED's ID of the series.
            vintages: Consecutive vintages in ascending order, at most 2,000.

        Raises:
            SymbolNotFoundError, DataError: See :meth:`vintages`.
        """
        params = {"realtime_start": str(vintages[0]), "realtime_end": str(vintages[-1])}
        with self.guarded_call("observations", series):
            pages = self._pages("series/observations", series, params, "observations", _MOST_ROWS)
            with format_errors(self.name, "values"):
                values = [_value(row) for page in pages for row in page]
                return _checked(values, vintages[0], vintages[-1])

    def _pages(
        self, path: str, series: str, params: dict[str, str], name: str, most: int
    ) -> Iterator[list[Any]]:
        """Yield the lists called ``name`` of all pages.

        Raises:
            ResponseFormatError: The pages do not end.
        """
        asked = {"series_id": series, "file_type": "json", "limit": str(most), **params}
        url, secret = f"{self.base_url}/{path}", {"api_key": self.secret(_KEY)}
        for start in range(0, most * _MOST_PAGES, most):
            page = asked | {"offset": str(start)}
            response = self.send(HttpRequest(url, params=page, secret_params=secret))
            with format_errors(self.name, name.replace("_", " ")):
                body = response.json()
                rows, count = body[name], int(body["count"])
                if len(rows) != min(most, max(0, count - start)):
                    raise ValueError(f"{len(rows)} of {count} rows from {start}")
            yield rows
            if start + most >= count:
                return
        raise ResponseFormatError(f"{self.name} sends pages of {series} without an end")

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error of a response; FRED reports keys and series that it rejects with status 400."""
        if response.status != 400:
            return error_of(response)
        text = str(response.json().get("error_message", ""))
        if "api_key" in text:
            return AuthenticationError(
                "FRED does not accept the key", hint=f"check that {_KEY} is set and valid"
            )
        if "does not exist" in text:
            return SymbolNotFoundError("FRED does not have this series")
        return CapabilityError("FRED rejects the request")


def windows(vintages: Sequence[date]) -> Iterator[Sequence[date]]:
    """Yield consecutive parts of ``vintages``, each of which one request can cover."""
    for start in range(0, len(vintages), _MOST_VINTAGES):
        yield vintages[start : start + _MOST_VINTAGES]


def _checked(values: list[Value], first: date, last: date) -> list[Value]:
    """Return the values after checking their days.

    Raises:
        ValueError: A value was not valid between ``first`` and ``last``, or while another one of its
            period was.
    """
    valid_until: dict[date, date] = {}
    for value in sorted(values, key=lambda value: (value.day, value.released)):
        is_inside = first <= value.released <= value.until <= last and 1677 < value.day.year < 2262
        if not is_inside or value.released <= valid_until.get(value.day, date.min):
            raise ValueError(f"{value.value} for {value.day} from {value.released}")
        valid_until[value.day] = value.until
    return values


def _value(row: Any) -> Value:
    """Parse ``{"date": "2024-01-01", "value": "309.685", "realtime_start": "2024-02-13", ...}``.

    Raises:
        ValueError: A part of it is not a date or a finite number.
    """
    value = NAN if row["value"] == "." else number(row["value"])
    if row["value"] != "." and not isfinite(value):
        raise ValueError(f"not a finite number: {row['value']!r:.40}")
    day, start, end = (
        date.fromisoformat(row[name]) for name in ("date", "realtime_start", "realtime_end")
    )
    return Value(day, value, start, end)
