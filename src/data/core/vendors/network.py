"""The connections of an installation, and the rate limits for all of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..net.http.sender_pool import Senders
from ..net.limits.leases import Leases
from ..net.limits.limiter import Limiter
from ..net.limits.state import Needs
from ..net.limits.vendor_status import unknown_symbols, vendor_pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model.request.capabilities import Limits
    from ..model.stored.coverage import VendorDay
    from ..net.http.http import Transport
    from ..net.http.sender import Sender
    from ..net.limits.vendor_status import VendorPause

__all__ = ["Network"]


class Network:
    """The connections and rate limits of one installation, by vendor. Thread-safe; usable after a fork.

    Args:
        senders: Factory of senders (objects that send requests), which enforces the limits.
    """

    def __init__(self, senders: Senders) -> None:
        self._senders = senders

    def sender(self, vendor: str) -> Sender:
        """Return a sender of requests to ``vendor`` that obeys its limits; senders share connections.

        Raises:
            UnknownProviderError: The vendor does not exist.
            MissingExtraError: The rules require the vendor's own package, which is not installed.
        """
        from .factory import downloader_class

        return self._senders.sender(vendor, downloader_class(vendor))

    def own_sender(self, name: str, downloader: object, carrier: Transport) -> Sender:
        """Return a sender of requests for a user's own downloader; see :meth:`.Senders.own_sender`."""
        from .base import declared_limits, keys_of

        limits, keys = declared_limits(downloader), keys_of(downloader)
        return self._senders.own_sender(name, downloader, carrier, limits, keys)

    def stream_limiter(self, vendor: str, limits: Limits) -> Limiter:
        """Return the limiter for connections to a vendor's stream; see :meth:`.Senders.stream_limiter`."""
        return self._senders.stream_limiter(vendor, limits)

    @property
    def leases(self) -> Leases | None:
        """The leases that make processes take turns at fetching; None if no folder can store them."""
        return self._senders.leases

    def pauses(self) -> list[VendorPause]:
        """Return the vendors that are currently paused after failures, with the reasons."""
        return vendor_pauses(self._senders.state) if self._senders.state else []

    def vendor_days(self) -> list[VendorDay]:
        """Return the sessions in which vendors are known to lack bars for most of their symbols."""
        state = self._senders.state
        if state is None or not state.exists:
            return []
        return state.run(lambda tables: tables.vendor_days(), writes=False)

    def keep_vendor_days(
        self, fresh: Sequence[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Record new vendor days (see :meth:`vendor_days`) for all processes, and forget expired ones.

        If hosts share a store, they are recorded for all of them.

        Returns:
            All vendor days known before, and all known afterwards.
        """
        owner = self._senders.accounts
        if self._senders.state is None or not (fresh or owner.exists):
            return [], list(fresh)
        return owner.run(lambda tables: tables.keep_vendor_days(fresh, is_over), needs=Needs())

    def unknown_symbols(self) -> dict[str, int]:
        """Return the number of symbols that each vendor has reported as unknown.

        A vendor is no longer queried for these symbols.
        """
        return unknown_symbols(self._senders.state) if self._senders.state else {}

    def limiter(self, vendor: str) -> Limiter:
        """Return the rate limiter that all requests to ``vendor`` share."""
        from .factory import usable_class

        return self._senders.limiter(vendor, usable_class(vendor))
