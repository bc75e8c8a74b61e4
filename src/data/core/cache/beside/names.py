"""Names of symbols, as vendors listed them: one document with time information for each vendor.

``<cache>/_names/<vendor>.json`` is derived and may be deleted at any time. A document that cannot
be read counts as missing; a failed write is logged, and the names are requested again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import CacheError
from ...disk.atomic import write_atomically
from ...disk.files import Disk, FileState
from ...model.identity.listings import LISTING_TYPES, Listing
from ..format import json_document

log = logging.getLogger("onetape.cache")

FOLDER = "_names"
# Maximum number of search terms kept for each vendor; the latest stay.
_MOST_SEARCHES = 500
_LOCK_S = 5.0


@dataclass(frozen=True)
class VendorNames:
    """The symbols that a vendor has returned in searches and lists.

    Attributes:
        searches: Maps each normalized search text to the time of the answer (UTC ms) and the
            symbols in it, in order; the empty string means the vendor's whole list.
        listings: Maps each symbol to its listing.
    """

    searches: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    listings: Mapping[str, Listing] = field(default_factory=dict)


_NO_NAMES = VendorNames()


class NameCache:
    """The names in one cache folder. Thread-safe, and safe across processes.

    Args:
        cache_dir: Root of the cache.
        private: Whether the files are readable only by their owner.
        disk: File system to use instead, for tests.
    """

    def __init__(self, cache_dir: Path, *, private: bool = False, disk: Disk | None = None) -> None:
        self._folder = cache_dir / FOLDER
        self._disk = disk or Disk(root=cache_dir, private=private)
        # Maps each vendor read to its file state and names; entries are replaced as a whole.
        self._read: dict[str, tuple[FileState, VendorNames]] = {}
        self._unwritten: dict[str, VendorNames] = {}

    def vendors(self) -> list[str]:
        """Return the vendors whose names are stored."""
        try:
            names = self._disk.list(self._folder)
        except CacheError as error:
            log.debug("names are not read: %s", error)
            names = []
        stored = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return list(dict.fromkeys([*stored, *self._unwritten]))

    def of(self, vendor: str) -> VendorNames:
        """Return a vendor's listed symbols; empty if they are not stored or are damaged."""
        if vendor in self._unwritten:
            return self._unwritten[vendor]
        try:
            return self._vendor_names(vendor)
        except (CacheError, KeyError, TypeError, ValueError) as error:
            log.debug("names of %s are not read: %s", vendor, error)
            return _NO_NAMES

    def all_listings(self) -> list[list[Listing]]:
        """Return all listings, one list per vendor."""
        return [list(self.of(vendor).listings.values()) for vendor in self.vendors()]

    def keep(self, vendor: str, text: str, listings: Iterable[Listing], now_ms: int) -> None:
        """Store a vendor's listings for a normalized search text; the empty text means all listings.

        If the listings cannot be written, they are kept in memory.
        """
        answer = list(listings)
        try:
            self._disk.make_folders(self._folder, durable=False)
            with self._disk.lock(self._folder / f"{vendor}.lock", _LOCK_S):
                names = _merge(self.of(vendor), text, answer, now_ms)
                data = json_document.dump(_document(names, vendor))
                write_atomically(self._disk, self._path(vendor), data, durable=False)
                self._unwritten.pop(vendor, None)
        except CacheError as error:
            log.warning("names of %s are not kept: %s", vendor, error)
            self._unwritten[vendor] = _merge(self.of(vendor), text, answer, now_ms)

    def _path(self, vendor: str) -> Path:
        return self._folder / f"{vendor}.json"

    def _vendor_names(self, vendor: str) -> VendorNames:
        path = self._path(vendor)
        state = self._disk.stat(path)
        if state is None:
            return _NO_NAMES
        cached = self._read.get(vendor)
        if cached is not None and cached[0] == state:
            return cached[1]
        content = self._disk.read_with_state(path)
        if content is None:
            return _NO_NAMES
        names = _names_of(json_document.load(content[0]), vendor)
        self._read[vendor] = (content[1], names)
        return names


def _merge(before: VendorNames, text: str, listings: Iterable[Listing], now_ms: int) -> VendorNames:
    """Return the names with a response added; beyond the limit, the oldest ones are dropped."""
    answer = {listing.symbol: listing for listing in listings}
    searches = {**before.searches, text: (now_ms, tuple(answer))}
    newest = sorted(searches, key=lambda old: searches[old][0])[-_MOST_SEARCHES:]
    searches = {old: searches[old] for old in newest}
    kept = {symbol for _, symbols in searches.values() for symbol in symbols}
    by_symbol = {**before.listings, **answer}
    return VendorNames(searches, {name: new for name, new in by_symbol.items() if name in kept})


def _document(names: VendorNames, vendor: str) -> dict[str, Any]:
    return {
        "format": json_document.FORMAT,
        "vendor": vendor,
        "searches": {text: [at, *symbols] for text, (at, symbols) in names.searches.items()},
        "listings": {
            listing.symbol: [listing.name, listing.venue, listing.type, listing.currency]
            for listing in names.listings.values()
        },
    }


def _names_of(document: Mapping[str, Any], vendor: str) -> VendorNames:
    """Parse a document.

    Raises:
        CacheError: The document has a different format, or is from a different vendor.
    """
    json_document.check_format(document, "the document has")
    json_document.check_about(document, {"vendor": vendor}, "vendor")
    searches = {
        text: (int(at), tuple(map(str, symbols)))
        for text, (at, *symbols) in document["searches"].items()
    }
    listings = {
        symbol: Listing(symbol, name, venue, asset, currency, vendor)
        for symbol, (name, venue, asset, currency) in document["listings"].items()
        if asset in LISTING_TYPES and all(isinstance(t, str) for t in (name, venue, currency))
    }
    return VendorNames(searches, listings)
