"""One question to a vendor: not where it failed lately, not for what it does not know."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ..model.capabilities import Capabilities, Fetched, FetchQuery
from ..model.instrument import AssetClass
from ..model.timeframe import Timeframe
from ..net.circuit import GuardedCall
from ..net.sender import Sender
from .credentials import CredentialProvider
from .paging import PagedVendor, fetch_pages

# Symbols that a process has had answers for; it is no harm to forget them all.
_MOST_KNOWN = 10_000
# Of splits and dividends, whatever the bars that need them.
ACTIONS_DOOR = "actions"


@dataclass(frozen=True)
class EndpointCall:
    """What a vendor is asked for, as far as it is remembered how that went.

    Attributes:
        symbol: in the vendor's spelling.
        door: what of the vendor, such as ``bars/1d``.
        url: where.
        insist: ask even for a symbol that it said lately it does not know.
    """

    symbol: str
    door: str
    url: str
    insist: bool = False


class VendorCalls:
    """The questions of one downloader. Thread-safe."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        # What this thread's last question was and how to take its answer back.
        self._last = threading.local()

    def fetch(
        self, vendor: PagedVendor, sender: Sender | None, query: FetchQuery, url: str
    ) -> Fetched:
        """Return all bars of ``query``; ask nobody where it is known that this would be in vain.

        Raises:
            SymbolNotFoundError: the vendor said so, now or lately.
            CircuitOpenError: it failed lately.
            DataError: it refused, failed or answered something else.
        """
        self._last.visit = None
        symbol = query.instrument.spelling(vendor.name)
        door = door_of(vendor.capabilities, query.instrument.asset_class, query.timeframe)
        with self.asking(sender, EndpointCall(symbol, door, url, query.insist)) as visit:
            fetched = fetch_pages(vendor, query)
        self._last.visit = (_asked(query), visit)
        return fetched

    @contextmanager
    def asking(self, sender: Sender | None, call: EndpointCall) -> Iterator[GuardedCall | None]:
        """Let the block ask, unless that would be in vain; how it ends is remembered.

        Raises:
            SymbolNotFoundError: on entering, where the vendor said so lately.
            CircuitOpenError: on entering, where it failed lately.
        """
        served = (call.url, call.symbol)
        if sender is None:
            yield None
        else:
            is_trusted = served in self._known
            with sender.guard(
                call.door, call.url, call.symbol, insist=call.insist, is_trusted=is_trusted
            ) as guarded:
                yield guarded
        if len(self._known) >= _MOST_KNOWN:
            self._known = set()
        self._known.add(served)

    @contextmanager
    def entered(
        self, access: CredentialProvider, door: str, symbol: str, url: str
    ) -> Iterator[None]:
        """Keep one account while the block asks; how it ends counts for the door and the symbol.

        What a vendor does not know behind one door it may know behind another.

        Raises:
            MissingCredentialsError, SymbolNotFoundError, CircuitOpenError: nothing was asked.
        """
        with (
            access.held() as account,
            self.asking(account.sender, EndpointCall(symbol, door, f"{url}/{door}")),
        ):
            yield

    @contextmanager
    def guarded(self, access: CredentialProvider, door: str, url: str) -> Iterator[None]:
        """Keep one account while the block asks; how it ends counts for the door alone.

        Raises:
            MissingCredentialsError, CircuitOpenError: nothing was asked.
        """
        with access.held() as account:
            sender = account.sender
            with nullcontext() if sender is None else sender.guard(door, url):
                yield

    def blame(self, query: FetchQuery, error: BaseException) -> None:
        """Count ``error`` against the door of this thread's last question, if ``query`` was it."""
        endpoint, visit = getattr(self._last, "visit", None) or (None, None)
        if endpoint == _asked(query) and visit is not None:
            self._last.visit = None
            visit.blame(error)


def door_of(capabilities: Capabilities, asset_class: AssetClass, timeframe: Timeframe) -> str:
    """Return the name of the door to bars of a class: plans differ by class and by timeframe."""
    is_one_of_many = len(capabilities.asset_classes) > 1
    return f"bars/{asset_class}/{timeframe}" if is_one_of_many else f"bars/{timeframe}"


def _asked(query: FetchQuery) -> tuple[str, Timeframe]:
    return query.instrument.asset_class, query.timeframe
