"""Credentials of a vendor, looked up for each call, and the sender bound to that account."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from ..config.credentials import note_key
from ..errors import MissingCredentialsError
from ..net.http import Transport
from ..net.send_records import reporting
from ..net.sender import Sender

Secret = str | tuple[str, ...]


class WiredKeys(TypedDict, total=False):
    """Constructor arguments that ``wiring`` gives a downloader, all but its host."""

    credentials: Mapping[str, str] | None
    sender: Sender | None
    carrier: Transport | None


class Wired(WiredKeys, total=False):
    """Constructor arguments that ``wiring`` gives a downloader; other callers leave them out."""

    base_url: str | None


class Keys(dict[str, str]):
    """Name to key; no text form shows a key, since tracebacks with locals are logged and shared."""

    def __repr__(self) -> str:
        return f"Keys({', '.join(self)})"

    __str__ = __repr__


@dataclass(frozen=True)
class VendorCredentials:
    """One account of a vendor: its keys, and the sender that carries them."""

    keys: Keys = field(repr=False)
    sender: Sender | None


class Vendor(Protocol):
    """The declaration of a vendor's keys."""

    name: str
    display_name: str
    secrets: tuple[Secret, ...]
    requires_api_key: bool


class CredentialProvider:
    """The accounts of one vendor. Thread-safe.

    Keys are looked up for every call: a key that is replaced counts from the next call on, with
    the limits and circuits of its own account. A running call keeps the key that it began with.

    Args:
        vendor: declares which keys it takes.
        credentials: name to key, looked up at each access.
        sender: bound to no account yet; None where nothing can be sent.
    """

    def __init__(
        self, vendor: Vendor, credentials: Mapping[str, str], sender: Sender | None
    ) -> None:
        self._name, self._title = vendor.name, vendor.display_name or vendor.name
        self._secrets = [(s,) if isinstance(s, str) else s for s in vendor.secrets]
        self._is_required = vendor.requires_api_key
        self._credentials = credentials
        self._sender = sender
        # Replaced as a whole, so concurrent threads at worst make the same one twice.
        self._last = VendorCredentials(Keys(), sender)
        # The account of the call that this thread is making.
        self._pinned = threading.local()

    @property
    def lacking(self) -> tuple[str, ...]:
        """The first key that is needed and not there, by its spellings; empty when all are."""
        if not self._is_required:
            return ()
        return next((names for names in self._secrets if not self._key(names)), ())

    @property
    def has_sender(self) -> bool:
        """Whether there is a sender."""
        return self._sender is not None

    def account(self) -> VendorCredentials:
        """Return the account of the call that this thread is making, else the current one.

        Raises:
            MissingCredentialsError: a key is needed and not there.
        """
        account: VendorCredentials | None = getattr(self._pinned, "account", None)
        return account if account is not None else self._now()

    @contextmanager
    def pinned(self) -> Iterator[VendorCredentials]:
        """Pin the current account for this thread until the block ends.

        The block is one call: an answer in it counts as the outcome of the block.

        Raises:
            MissingCredentialsError: a key is needed and not there.
        """
        outer = getattr(self._pinned, "account", None)
        self._pinned.account = account = self.account()
        try:
            with reporting(self._name):
                yield account
        finally:
            self._pinned.account = outer

    def _now(self) -> VendorCredentials:
        if lacking := self.lacking:
            raise MissingCredentialsError(
                f"{self._title} needs a key",
                provider=self._name,
                hint=f"set {' or '.join(lacking)}",
            )
        keys = Keys((names[0], key) for names in self._secrets if (key := self._key(names)))
        last = self._last
        if keys != last.keys:
            sender = self._sender.over(None, keys) if self._sender and keys else self._sender
            last = self._last = VendorCredentials(keys, sender)
        return last

    def _key(self, names: tuple[str, ...]) -> str:
        """Return a key under any of its spellings; empty where there is none."""
        values = (self._credentials.get(name) for name in names)
        key = next((key for key in values if key), "")
        if key:
            note_key(key)
        return key
