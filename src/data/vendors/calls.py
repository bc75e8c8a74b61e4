"""Guarded calls to a vendor: none to an endpoint that failed lately, none for an unknown symbol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ..model.capabilities import Capabilities, FetchQuery
from ..model.instrument import AssetClass
from ..model.timeframe import Timeframe
from ..net.guarded_call import GuardedCall
from ..net.sender import Sender
from .accounts import CredentialProvider

# Symbols that this process has had answers for; dropping them costs nothing.
_MOST_SERVED = 10_000
# Endpoint of splits and dividends, whatever the bars that need them.
ACTIONS_ENDPOINT = "actions"


@dataclass(frozen=True)
class EndpointCall:
    """Symbol and endpoint of a call: circuit breaker and memory of unknown symbols go by them.

    Attributes:
        symbol: in the vendor's spelling.
        endpoint: what the vendor serves there, such as ``bars/1d``.
        url: address of the vendor.
        insist: send even for a symbol that the vendor lately did not know.
    """

    symbol: str
    endpoint: str
    url: str
    insist: bool = False


class VendorCalls:
    """The calls of one downloader. Thread-safe."""

    def __init__(self) -> None:
        self._served: set[tuple[str, str]] = set()
        # This thread's last call, so that a bad answer can be counted against it afterwards.
        self._last = threading.local()

    @contextmanager
    def bars_call(
        self, sender: Sender | None, query: FetchQuery, call: EndpointCall
    ) -> Iterator[None]:
        """Guard the requests of ``query``; :meth:`blame` may count its answer as bad afterwards.

        Raises:
            SymbolNotFoundError, CircuitOpenError: as :meth:`guarded_call`.
        """
        self._last.call = None
        with self.guarded_call(sender, call) as guarded:
            yield
        self._last.call = (_identity(query), guarded)

    @contextmanager
    def guarded_call(
        self, sender: Sender | None, call: EndpointCall
    ) -> Iterator[GuardedCall | None]:
        """Guard the requests of the block; its end counts for the endpoint and the symbol.

        Raises:
            SymbolNotFoundError: on entering, where the vendor lately did not know the symbol.
            CircuitOpenError: on entering, where it failed lately.
        """
        served = (call.url, call.symbol)
        if sender is None:
            yield None
        else:
            is_trusted = served in self._served
            with sender.guard(
                call.endpoint, call.url, call.symbol, insist=call.insist, is_trusted=is_trusted
            ) as guarded:
                yield guarded
        if len(self._served) >= _MOST_SERVED:
            self._served = set()
        self._served.add(served)

    @contextmanager
    def symbol_call(
        self, access: CredentialProvider, endpoint: str, symbol: str, url: str
    ) -> Iterator[None]:
        """Keep one account for the block; its end counts for the endpoint and the symbol.

        A symbol that is unknown at one endpoint may be known at another.

        Raises:
            MissingCredentialsError, SymbolNotFoundError, CircuitOpenError: nothing was sent.
        """
        with (
            access.pinned() as account,
            self.guarded_call(account.sender, EndpointCall(symbol, endpoint, f"{url}/{endpoint}")),
        ):
            yield

    @contextmanager
    def endpoint_call(self, access: CredentialProvider, endpoint: str, url: str) -> Iterator[None]:
        """Keep one account for the block; its end counts for the endpoint alone.

        Raises:
            MissingCredentialsError, CircuitOpenError: nothing was sent.
        """
        with access.pinned() as account:
            sender = account.sender
            with nullcontext() if sender is None else sender.guard(endpoint, url):
                yield

    @property
    def last(self) -> object:
        """This thread's last call; another thread may take it over, and blame it then."""
        return getattr(self._last, "call", None)

    @last.setter
    def last(self, call: object) -> None:
        self._last.call = call

    def blame(self, query: FetchQuery, error: BaseException) -> None:
        """Count ``error`` against the endpoint of this thread's last call, if that was ``query``."""
        last, guarded = getattr(self._last, "call", None) or (None, None)
        if last == _identity(query) and guarded is not None:
            self._last.call = None
            guarded.blame(error)


def endpoint_of(capabilities: Capabilities, asset_class: AssetClass, timeframe: Timeframe) -> str:
    """Return the endpoint of bars of a class: plans differ by class and by timeframe."""
    is_one_of_many = len(capabilities.asset_classes) > 1
    return f"bars/{asset_class}/{timeframe}" if is_one_of_many else f"bars/{timeframe}"


def _identity(query: FetchQuery) -> tuple[str, Timeframe]:
    return query.instrument.asset_class, query.timeframe
