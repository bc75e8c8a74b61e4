"""Symbols by name: from cached names, and from vendors that can be searched.

Vendors that accept a search text are queried in the order of the rules until one lists something;
those that return their whole list are queried from time to time. Results are kept next to the bars,
with their age. If no vendor answers and nothing stored matches, the packaged names are searched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from ....errors import (
    AllProvidersFailedError,
    Attempt,
    EntitlementError,
    IncompleteDataWarning,
    NoProviderError,
    QueryError,
)
from ...cache.beside.names import NameCache
from ...clock import Clock
from ...config.common_names import common_listings
from ...model.identity.instrument import AssetClass, Instrument
from ...model.identity.listings import Listing, ListingType
from ...model.time.instant import DAY_MS
from ...model.time.span import Span
from ...model.words.caller import warn_user
from ...net.calls.deadline import run_call, run_part, seconds_of
from ...net.limits.locks import SeriesLocks
from ...registry import VENDORS
from ...symbols.name_search import merged, normalized, ranked
from ...vendors.base import BaseDataDownloader
from ...vendors.factory import downloader_for
from ...vendors.search_table import SearchTable, fetch_listings, search_of
from ..fetch.attempt import query_vendor

log = logging.getLogger("onetape.routing")

# Names rarely change.
_FRESH_MS = 7 * DAY_MS
_LONGEST_TEXT = 64
_MOST_RESULTS = 1_000
_CLASSES: dict[ListingType, AssetClass] = {
    "stock": "stock",
    "fund": "stock",
    "crypto": "crypto",
    "forex": "forex",
    "index": "index",
    "future": "future",
}
_TYPES: dict[AssetClass, ListingType] = {
    "stock": "stock",
    "crypto": "crypto",
    "forex": "forex",
    "index": "index",
    "future": "future",
}
_NO_SPAN = Span(0, 0)


class _SearchableVendor(NamedTuple):
    """A vendor that can be searched, with its search functions and its downloader."""

    name: str
    table: SearchTable
    downloader: Any

    def key(self, text: str) -> str:
        """Return the key under which the answer for ``text`` is kept."""
        return "" if self.table.is_list else text


class NameService:
    """Finds symbols by name. Thread-safe; of concurrent searches for one text, only one queries vendors.

    Args:
        cache: Cache of symbols and their names.
        selector: Resolves symbols and builds downloaders.
        clock: Source of the current time.
    """

    def __init__(self, cache: NameCache, selector: Any, clock: Clock) -> None:
        self._cache, self._selector, self._clock = cache, selector, clock
        self._locks = SeriesLocks()

    def search(self, text: Any, limit: Any, offline: bool, timeout: Any) -> list[Listing]:
        """Return the listings for a search string; see ``DataManager.search``."""
        wanted, most = _text_of(text), _limit_of(limit)
        seconds = seconds_of(timeout, "a search")
        return run_call(self._clock, seconds, self._search, wanted, most, offline)

    def _search(self, text: str, most: int, offline: bool) -> list[Listing]:
        attempts: list[Attempt] = []
        order: list[str] = []
        is_answered = True
        if not offline:
            vendors = self._vendors()
            order = [vendor.name for vendor in vendors]
            with self._locks.hold(("search", text), self._clock):
                is_answered = self._query_vendors(vendors, text, attempts)
        listings = self._stored_listings(text, order)[:most]
        if not listings and (offline or not is_answered):
            listings = ranked(text, common_listings(), {})[:most]
        failures = [attempt for attempt in attempts if attempt.error is not None]
        if not (listings or is_answered):
            raise _failure(text, attempts)
        reported = [a for a in failures if not isinstance(a.error, EntitlementError)]
        if reported:
            reasons = dict.fromkeys(map(str, reported))
            message = f"search for {text!r}: some vendors did not answer: {'; '.join(reasons)}"
            log.warning("%s", message)
            warn_user(message, IncompleteDataWarning)
        return listings

    # --- vendors ---------------------------------------------------------------------------

    def _vendors(self) -> list[_SearchableVendor]:
        """Return the searchable vendors: first those in the rules for stocks, in order, then the others.

        Raises:
            NoProviderError: No vendor can be searched.
        """
        routed = map(
            self._selector.canonical, self._selector.get_provider_with_failover("AAPL", "1d")
        )
        vendors = []
        for name in dict.fromkeys([*routed, *VENDORS]):
            table = search_of(name) if name else None
            if table is None:
                continue
            downloader = downloader_for(self._selector, name)
            if isinstance(downloader, BaseDataDownloader) and not downloader.lacking:
                vendors.append(_SearchableVendor(name, table, downloader))
        if not vendors:
            raise NoProviderError(
                "none of the configured vendors can be searched",
                hint="offline=True (`--offline`) searches the cached names",
            )
        return sorted(vendors, key=lambda vendor: vendor.table.is_list)

    def _query_vendors(
        self, vendors: list[_SearchableVendor], text: str, attempts: list[Attempt]
    ) -> bool:
        """Query vendors for names that are missing from the store or outdated.

        Vendors that accept a search text are queried until one lists something; vendors that send
        their full list are always queried.

        Returns:
            Whether a vendor has answered for this string, now or recently, even if it found nothing.
            A vendor's full list counts as an answer only for its own entries, unless no vendor
            accepts a search text.
        """
        now_ms = self._clock.now_ms()
        takes_text = any(not vendor.table.is_list for vendor in vendors)
        is_found = is_answered = False
        for number, vendor in enumerate(vendors):
            is_list = vendor.table.is_list
            if is_found and not is_list:
                continue
            search = self._cache.of(vendor.name).searches.get(vendor.key(text))
            # An answer dated in the future was stored under a wrong clock.
            if search is not None and 0 <= now_ms - search[0] <= _FRESH_MS:
                is_found = is_found or bool(search[1])
                is_answered = is_answered or not (is_list and takes_text)
                continue
            has_others = number + 1 < len(vendors)
            call = self._clock, has_others, self._fetch_listings, vendor, text
            reply = query_vendor(self._clock, vendor.name, _NO_SPAN, run_part, *call)
            attempts.append(reply.attempt(rows=len(reply.value or ())))
            if reply.value is None:
                reply.log_failure(f"names like {text!r}")
                continue
            is_found = is_found or bool(reply.value)
            is_answered = is_answered or not (is_list and takes_text)
        return is_answered

    def _fetch_listings(self, vendor: _SearchableVendor, text: str) -> list[Listing]:
        """Query one vendor, cache its listings, and return them.

        Raises:
            ProviderError, ConfigError: The vendor did not answer.
        """
        rows = fetch_listings(vendor.downloader, vendor.table, text)
        listings = [listing for row in rows if (listing := self._canonical_row(row, vendor.name))]
        self._cache.keep(vendor.name, vendor.key(text), listings, self._clock.now_ms())
        return listings

    def _canonical_row(self, row: Listing, vendor: str) -> Listing | None:
        """Return a vendor's listing with this library's symbol for it; None if there is no such symbol."""
        wanted = _CLASSES.get(row.type)
        spellings = [row.symbol]
        if wanted in ("stock", None) and "." not in row.symbol:
            spellings.append(f"{row.symbol}.US")  # without the suffix, it may name a coin
        for spelling in spellings:
            try:
                instrument: Instrument = self._selector.instrument(spelling)
            except QueryError:
                continue
            if wanted is not None and instrument.asset_class != wanted:
                continue
            return replace(
                row,
                symbol=instrument.symbol,
                venue=row.venue or instrument.exchange or "",
                type=_TYPES[instrument.asset_class] if row.type == "other" else row.type,
                currency=row.currency or instrument.quote or "",
                vendor=vendor,
            )
        return None

    # --- stored names ----------------------------------------------------------------------

    def _stored_listings(self, text: str, order: Iterable[str]) -> list[Listing]:
        """Return the stored listings that match, or that vendors returned for exactly this text."""
        vendors = list(dict.fromkeys([*order, *self._cache.vendors()]))
        names = [self._cache.of(vendor) for vendor in vendors]
        ranks: dict[str, int] = {}
        for stored in names:
            _, symbols = stored.searches.get(text, (0, ()))
            for symbol in symbols:
                ranks.setdefault(symbol, len(ranks))
        return ranked(text, merged(stored.listings.values() for stored in names).values(), ranks)


def _text_of(text: Any) -> str:
    """Return a search text in the form used for comparison.

    Raises:
        QueryError: The value is not a string, or is empty or too long.
    """
    wanted = normalized(text) if isinstance(text, str) else ""
    if not any(c.isalnum() for c in wanted) or len(wanted) > _LONGEST_TEXT:
        raise QueryError(
            f"invalid search string {text!r:.80}",
            hint=f"use part of a symbol or name, of at most {_LONGEST_TEXT} characters",
        )
    if not wanted.isprintable():
        raise QueryError(f"{text!r:.80} contains control characters")
    return wanted


def _limit_of(limit: Any) -> int:
    """Return the maximum number of listings.

    Raises:
        QueryError: The limit is not an integer in the allowed range.
    """
    is_count = isinstance(limit, int) and not isinstance(limit, bool)
    if not is_count or not 1 <= limit <= _MOST_RESULTS:
        raise QueryError(f"invalid limit {limit!r:.40}; use an integer from 1 to {_MOST_RESULTS}")
    return int(limit)


def _failure(text: str, attempts: Iterable[Attempt]) -> AllProvidersFailedError:
    tried = list(attempts)
    reasons = dict.fromkeys(map(str, tried))
    return AllProvidersFailedError(
        f"All providers failed for a search for {text!r}: {'; '.join(reasons)}",
        attempts=tried,
        hint="offline=True (`--offline`) searches the cached names; `onetape doctor` shows which vendors "
        "can be reached",
    )
