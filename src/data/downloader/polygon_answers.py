"""Polygon's terms: what a request says, rows to bars and actions, the page that follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..errors import CapabilityError, ResponseFormatError
from ..model.actions import Action
from ..model.bars import Bar
from ..model.capabilities import FetchQuery
from ..model.http import path_and_query
from ..model.instant import date_of
from .dated import label, list_of, number
from .usa import days_of, dividend, session_ms, split


def asked_of(query: FetchQuery) -> str:
    """Return the first and the last label to ask for, both inclusive: milliseconds, or dates.

    Raises:
        CapabilityError: they are days that begin at another hour than ours.
        NoDataError: no day begins in the span.
    """
    if query.timeframe.is_intraday:
        return f"{query.span.start}/{query.span.end - 1}"
    if query.instrument.asset_class == "forex":
        raise CapabilityError("Polygon's days of currencies begin at midnight in UTC")
    days = days_of(query.span)
    return f"{date_of(days.start)}/{date_of(days.end - 1)}"


def adjusted_of(query: FetchQuery) -> bool:
    """Tell whether prices adjusted for splits are asked for, rather than raw ones.

    Raises:
        CapabilityError: they are to be adjusted for dividends, too.
    """
    if query.adjustment == "all":
        raise CapabilityError("Polygon adjusts for splits alone", hint="raw or split")
    return query.adjustment == "split"


def rows_in(body: Mapping[str, Any]) -> list[Any]:
    """Return the rows of an answer; where there are none the list is absent, and none counted.

    Raises:
        ResponseFormatError: it holds neither rows nor the word that there are none.
    """
    count, rows = body.get("resultsCount"), body.get("results")
    if not rows and (count != 0 or isinstance(count, bool)):
        raise ResponseFormatError(f"Polygon counts {str(count)[:20]} results and sends none")
    return [] if rows is None else list_of(rows)


def read_bar(row: Mapping[str, Any], *, is_local: bool) -> Bar:
    """Read one row; days of stocks are labelled with midnight in New York, others in UTC."""
    at = label(row["t"])
    values = (number(row[name]) for name in "ohlcv")
    return Bar(session_ms(at) if is_local else at, *values)


def read_action(row: Mapping[str, Any]) -> Action:
    """Read a split or a cash dividend.

    Raises:
        CapabilityError: it is paid in another currency than the prices are in.
    """
    if "execution_date" in row:
        return split(row["execution_date"], row["split_to"], row["split_from"])
    if (currency := row.get("currency") or "USD") != "USD":
        raise CapabilityError(f"Polygon tells a dividend in {str(currency)[:3]}")
    return dividend(row["ex_dividend_date"], row["cash_amount"])


def cursor_of(body: Mapping[str, Any]) -> str | None:
    """Return path and query of the page that follows; never a host, never a key.

    Raises:
        ResponseFormatError: what the answer names is no address.
    """
    if not body.get("next_url"):
        return None
    path, _, said = path_and_query(body["next_url"]).partition("?")
    query = [(name, v) for name, v in parse_qsl(said) if name.lower() != "apikey"]
    return f"{path}?{urlencode(query)}"
