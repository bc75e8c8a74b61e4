"""One question to a vendor: not where it failed lately, not for what it does not know."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..model.capabilities import Fetched, FetchQuery
from ..net.limiter import Visit
from ..net.sender import Sender
from .access import Access
from .paging import Vendor, fetch_pages

# Symbols that a process has had answers for; it is no harm to forget them all.
_MOST_KNOWN = 10_000


class Visits:
    """The questions of one downloader. Thread-safe."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        # What this thread's last question was and how to take its answer back.
        self._last = threading.local()

    def fetch(self, vendor: Vendor, sender: Sender | None, query: FetchQuery, url: str) -> Fetched:
        """Return all bars of ``query``; ask nobody where it is known that this would be in vain.

        Raises:
            SymbolNotFoundError: the vendor said so, now or lately.
            CircuitOpenError: it failed lately.
            DataError: it refused, failed or answered something else.
        """
        symbol, visit = query.instrument.spelling(vendor.name), None
        self._last.visit = None
        with ExitStack() as stack:
            if sender is not None:
                # In this order: being unknown says nothing about a door that is just being tried.
                if (symbols := sender.symbols(url)) is not None:
                    is_known = symbol in self._known
                    stack.enter_context(
                        symbols.asking(symbol, anyway=query.insist, trusted=is_known)
                    )
                visit = stack.enter_context(sender.guard(_door(query), url))
            found = fetch_pages(vendor, query)
        self._keep(symbol, query, visit)
        return found

    @contextmanager
    def entered(self, access: Access, door: str, symbol: str, url: str) -> Iterator[None]:
        """Keep one account while the block asks; how it ends counts for the door and the symbol.

        What a vendor does not know behind one door it may know behind another.

        Raises:
            MissingCredentialsError, SymbolNotFoundError, CircuitOpenError: nothing was asked.
        """
        with ExitStack() as stack:
            sender = stack.enter_context(access.held()).sender
            if sender is not None:
                if (symbols := sender.symbols(f"{url}/{door}")) is not None:
                    stack.enter_context(symbols.asking(symbol))
                stack.enter_context(sender.guard(door, url))
            yield

    def blame(self, query: FetchQuery, error: BaseException) -> None:
        """Count ``error`` against the door of this thread's last question, if ``query`` was it."""
        door, visit = getattr(self._last, "visit", None) or (None, None)
        if door == _door(query) and visit is not None:
            self._last.visit = None
            visit.blame(error)

    def _keep(self, symbol: str, query: FetchQuery, visit: Visit | None) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known = set()
        self._known.add(symbol)
        self._last.visit = (_door(query), visit)


def _door(query: FetchQuery) -> str:
    return f"bars/{query.timeframe}"
