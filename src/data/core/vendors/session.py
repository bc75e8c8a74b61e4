"""Accounts of a vendor: the keys, the sender bound to them, and the calls made with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypedDict

from ...errors import ConfigError, MissingCredentialsError, SymbolNotFoundError
from ..config.credentials import note_key
from ..model.identity.instrument import AssetClass
from ..model.request.capabilities import Capabilities, FetchQuery
from ..model.time.timeframe import Timeframe
from ..net.http.http import Transport
from ..net.http.send_records import reporting
from ..net.http.sender import Sender
from ..net.limits.guarded_call import GuardedCall
from ..net.limits.vendor_status import VendorStatus

Secret = str | tuple[str, ...]
# The endpoint for splits and dividends, for bars of all timeframes.
ACTIONS_ENDPOINT = "actions"
# Maximum number of symbols cached as known to a vendor; dropping them is harmless.
_MOST_SERVED = 10_000


class WiredKeys(TypedDict, total=False):
    """The keyword arguments that ``wiring`` passes to a downloader's constructor, except its host."""

    credentials: Mapping[str, str] | None
    sender: Sender | None
    carrier: Transport | None


class Wired(WiredKeys, total=False):
    """The keyword arguments that ``wiring`` passes to a downloader's constructor.

    Other callers leave them out.
    """

    base_url: str | None


class Keys(dict[str, str]):
    """Maps names to keys; its ``repr`` never contains the keys, because users share tracebacks."""

    def __repr__(self) -> str:
        return f"Keys({', '.join(self)})"

    __str__ = __repr__


@dataclass(frozen=True)
class VendorSession:
    """One account of a vendor: its keys, and the sender that uses them.

    A sender supplied by the user need not track the vendor's status, which is then unknown.

    Attributes:
        keys: Maps each name to its key.
        sender: Sender bound to the account; None if nothing can be sent.
        url: Address of the vendor.
    """

    keys: Keys = field(repr=False)
    sender: Sender | None
    url: str

    def status(self, endpoint: str) -> VendorStatus | None:
        """Return an endpoint's limits and circuit breaker state; None if they are unknown."""
        status: VendorStatus | None = self._call_sender("look", endpoint, self.url)
        return status

    def reopen(self, endpoint: str) -> None:
        """Allow the next call to an endpoint even though its circuit breaker is open.

        The outcome of that call decides whether the circuit breaker closes.
        """
        self._call_sender("reopen", endpoint, self.url)

    def unknown_symbol(self, symbol: str) -> SymbolNotFoundError | None:
        """Return the remembered error if the vendor recently did not know a symbol, or None."""
        error: SymbolNotFoundError | None = self._call_sender("unknown_symbol", symbol, self.url)
        return error

    def _call_sender(self, name: str, *arguments: str) -> Any:
        function = getattr(self.sender, name, None)
        return None if function is None else function(*arguments)


class Vendor(Protocol):
    """The declaration of a vendor's keys."""

    name: str
    display_name: str
    secrets: tuple[Secret, ...]
    requires_api_key: bool
    credential: ClassVar[str]


class VendorAccounts:
    """The accounts of one vendor, and the calls made with them. Thread-safe.

    Keys are looked up for every call. A replaced key therefore takes effect with the next call, and
    has its own limits and circuit breakers; a call in progress keeps the key with which it began.

    Args:
        vendor: Vendor that declares the keys it accepts.
        credentials: Maps each name to its key; looked up for every call.
        sender: Sender that is not yet bound to an account; None if nothing can be sent.
        url: Address of the vendor.
    """

    def __init__(
        self, vendor: Vendor, credentials: Mapping[str, str], sender: Sender | None, url: str
    ) -> None:
        self._name, self._title = vendor.name, vendor.display_name or vendor.name
        self._secrets = [(s,) if isinstance(s, str) else s for s in vendor.secrets]
        self._is_required = vendor.requires_api_key
        self._credential = vendor.credential
        self._credentials = credentials
        self._sender = sender
        # Replaced as a whole, so at worst concurrent threads create the same session twice.
        self._newest = VendorSession(Keys(), sender, url)
        self._served: set[tuple[str, str]] = set()
        # Per thread: the session of the current call, and the last call for bars, so that a bad
        # answer can be counted against it afterwards.
        self._thread = threading.local()

    @property
    def lacking(self) -> tuple[str, ...]:
        """The names of the first required key that is missing; empty if all required keys are set."""
        if not self._is_required:
            return ()
        return next((names for names in self._secrets if not self._key(names)), ())

    @property
    def has_sender(self) -> bool:
        """Whether requests can be sent."""
        return self._sender is not None

    def current(self) -> VendorSession:
        """Return the session of this thread's current call, or else a new one with the current keys.

        Raises:
            MissingCredentialsError: A required key is not set.
            ConfigError: A key is not a string.
        """
        session: VendorSession | None = getattr(self._thread, "session", None)
        return session if session is not None else self._new_session()

    @contextmanager
    def call(
        self, endpoint: str, url: str, symbol: str | None = None, *, insist: bool = False
    ) -> Iterator[GuardedCall | None]:
        """Run the block as one call that uses one account, and count its outcome.

        The outcome counts toward the endpoint's circuit breaker, and toward the symbol at this
        endpoint: a symbol that is unknown at one endpoint may be known at another.

        Args:
            endpoint: Endpoint, named after the data that it serves, such as ``bars/1d``.
            url: Address under which unknown symbols are remembered.
            symbol: The vendor's name for the symbol; None if the call is not about a symbol.
            insist: Whether to query the vendor even if it recently did not know the symbol.

        Raises:
            MissingCredentialsError: A required key is not set.
            SymbolNotFoundError: The vendor recently did not know the symbol.
            CircuitOpenError: The endpoint failed recently. Nothing was sent.
        """
        outer = getattr(self._thread, "session", None)
        self._thread.session = session = self.current()
        served, sender = (url, symbol or ""), session.sender
        trusted = symbol is not None and served in self._served
        try:
            with (
                reporting(self._name),
                nullcontext()
                if sender is None
                else sender.guard(endpoint, url, symbol, insist=insist, is_trusted=trusted) as call,
            ):
                yield call
        finally:
            self._thread.session = outer
        if symbol is not None:
            self.note_served(*served)

    def note_served(self, url: str, symbol: str) -> None:
        """Note that the vendor has served a symbol, even if in another process.

        If the vendor does not know it later, that is not remembered.
        """
        if len(self._served) >= _MOST_SERVED:
            self._served = set()
        self._served.add((url, symbol))

    @property
    def last(self) -> object:
        """This thread's last call for bars.

        Another thread can take over the call by assigning it to this property; faults that the
        other thread reports are then attributed to that call.
        """
        return getattr(self._thread, "last", None)

    @last.setter
    def last(self, call: object) -> None:
        self._thread.last = call

    def note(self, query: FetchQuery, call: GuardedCall | None) -> None:
        """Remember this thread's finished call for bars, so that :meth:`blame` can find the call."""
        self._thread.last = (query.instrument.asset_class, query.timeframe), call

    def blame(self, query: FetchQuery, error: BaseException) -> None:
        """Count ``error`` as a failure of the endpoint that this thread's last call for bars used.

        The error is not counted if that call was for an asset class or timeframe other than that of
        ``query``.
        """
        identity, call = getattr(self._thread, "last", None) or (None, None)
        if identity == (query.instrument.asset_class, query.timeframe) and call is not None:
            self._thread.last = None
            call.blame(error)

    def _new_session(self) -> VendorSession:
        if lacking := self.lacking:
            raise MissingCredentialsError(
                f"{self._title} needs a {self._credential}",
                provider=self._name,
                hint=f"set {' or '.join(lacking)}",
            )
        keys = Keys((names[0], key) for names in self._secrets if (key := self._key(names)))
        newest = self._newest
        if keys != newest.keys:
            sender = self._sender.variant(None, keys) if self._sender and keys else self._sender
            newest = self._newest = VendorSession(keys, sender, newest.url)
        return newest

    def _key(self, names: tuple[str, ...]) -> str:
        """Return the key that is set under any of ``names``, or an empty string if no key is set.

        Raises:
            ConfigError: The key is not a string.
        """
        key = next(filter(None, map(self._credentials.get, names)), "")
        if not isinstance(key, str):
            raise ConfigError(f"the key for {self._title} is not a string", provider=self._name)
        if key:
            note_key(key)
        return key


def endpoint_of(capabilities: Capabilities, asset_class: AssetClass, timeframe: Timeframe) -> str:
    """Return the name of the endpoint for bars.

    Asset classes or timeframes have different endpoints if the vendor's plans distinguish between
    them.
    """
    is_one_of_many = len(capabilities.asset_classes) > 1
    return f"bars/{asset_class}/{timeframe}" if is_one_of_many else f"bars/{timeframe}"
