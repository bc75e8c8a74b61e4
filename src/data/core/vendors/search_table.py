"""Types for searching a vendor's instruments by name: requests, and the parsing of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from ..model.identity.listings import Listing, ListingType, plain_text
from ..model.request.http import HttpRequest
from ..registry import load, row_of
from .base import BaseDataDownloader
from .fundamentals_table import Ask, Key, secrets_of
from .paging import format_errors

# Placeholder in paths and parameters for the search text.
TEXT = "{text}"
ENDPOINT = "search"


@dataclass(frozen=True)
class SearchTable:
    """Describes one vendor's symbol search.

    Attributes:
        vendor: Canonical name of the vendor.
        asks: Requests to send for every search.
        read: Function that returns the listings in one response, in order, with symbols that a user
            can type.
        keys: Keys that the vendor accepts; only those that are set are sent.
        is_list: Whether the response is the vendor's full list, regardless of the search text.
    """

    vendor: str
    asks: tuple[Ask, ...]
    read: Callable[[Any], Iterable[Listing]]
    keys: tuple[Key, ...] = ()
    is_list: bool = False


@lru_cache(64)
def search_of(vendor: str) -> SearchTable | None:
    """Return the search table of a vendor, given its canonical name; None if it has no search."""
    path = row_of(vendor).search
    if not path:
        return None
    table = load(path)
    assert isinstance(table, SearchTable)
    return table


def fetch_listings(downloader: BaseDataDownloader, table: SearchTable, text: str) -> list[Listing]:
    """Return a vendor's listings for a search text, in the vendor's order.

    Their symbols are not checked.

    Raises:
        MissingCredentialsError, CircuitOpenError: No request was sent.
        DataError: The vendor refused, failed or returned an unexpected response.
    """
    listings: list[Listing] = []
    with downloader.endpoint_call(ENDPOINT):
        for ask in table.asks:
            answer = downloader.send(_request(downloader, table, ask, text))
            with format_errors(table.vendor, "names"):
                listings += table.read(answer.json())
    return listings


def _request(
    downloader: BaseDataDownloader, table: SearchTable, ask: Ask, text: str
) -> HttpRequest:
    params = {
        name: value.replace(TEXT, text) if isinstance(value, str) else value
        for name, value in ask.params.items()
    }
    url = downloader.base_url + ask.path.replace(TEXT, quote(text, safe=""))
    secret_params, secret_headers = secrets_of(table.keys, downloader.secret)
    return HttpRequest(
        url,
        params=params,
        secret_params=secret_params,
        secret_headers=secret_headers,
        cost=ask.cost,
    )


def listing_of(
    symbol: str,
    row: Mapping[str, Any],
    name: str,
    venue: str,
    listing_type: ListingType,
    currency: str = "",
) -> Listing:
    """Convert a row of a vendor's response to a listing.

    Args:
        symbol: Symbol that a user can type.
        row: Row of the response.
        name, venue, currency: Keys of these values in the row; if there are several keys, separated
            by ``|``, the first one that leads to a string is used.
        listing_type: Type of the listing.
    """
    texts = [_first_text(row, keys) for keys in (name, venue, currency)]
    return Listing(symbol, texts[0], texts[1], listing_type, texts[2])


def _first_text(row: Mapping[str, Any], keys: str) -> str:
    return next((text for key in keys.split("|") if (text := plain_text(row.get(key)))), "")
