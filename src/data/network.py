"""The network of one installation: connections, and the limits that all senders keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .net.leases import Leases
from .net.limiter import Limiter
from .net.sender_pool import Senders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model.capabilities import Limits
    from .model.coverage import VendorDay
    from .net.http import Transport
    from .net.sender import Sender
    from .net.vendor_status import VendorPause

__all__ = ["Network"]


class Network:
    """The connections and limits of one installation, by vendors' names. Thread-safe, fork-aware.

    Args:
        senders: what sends, and keeps the limits.
    """

    def __init__(self, senders: Senders) -> None:
        self._senders = senders

    def sender(self, vendor: str) -> Sender:
        """Return a sender at the pace of ``vendor``; all senders share the connections.

        Raises:
            UnknownProviderError: there is no such vendor.
            MissingExtraError: the rules want the vendor's own package, which is not installed.
        """
        from .vendors.factory import downloader_class

        return self._senders.sender(vendor, downloader_class(vendor))

    def own_sender(self, name: str, downloader: object, carrier: Transport) -> Sender:
        """Return a sender for a downloader of the program's own; see :meth:`.Senders.own_sender`."""
        from .vendors.base import declared_limits, keys_of

        limits, keys = declared_limits(downloader), keys_of(downloader)
        return self._senders.own_sender(name, downloader, carrier, limits, keys)

    def stream_limiter(self, vendor: str, limits: Limits) -> Limiter:
        """Return the limiter of connections to a vendor's stream within this process."""
        return self._senders.stream_limiter(vendor, limits)

    @property
    def leases(self) -> Leases | None:
        """Leases that hold for all processes, or None where there is no folder for them."""
        return self._senders.leases

    def pauses(self) -> list[VendorPause]:
        """Return which vendors are paused now, and why."""
        from .net.vendor_status import vendor_pauses

        return vendor_pauses(self._senders.state) if self._senders.state else []

    def vendor_days(self) -> list[VendorDay]:
        """Return the sessions that vendors lack for most of their symbols, as far as that is known."""
        state = self._senders.state
        if state is None or not state.exists:
            return []
        return state.run(lambda tables: tables.vendor_days(), write=False)

    def keep_vendor_days(
        self, fresh: Sequence[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> list[VendorDay]:
        """Remember days found lacking just now, for all processes; forget those that are over.

        Returns:
            What is known then.
        """
        state = self._senders.state
        if state is None or not (fresh or state.exists):
            return list(fresh)
        return state.run(lambda tables: tables.keep_vendor_days(fresh, is_over))

    def unknown_symbols(self) -> dict[str, int]:
        """Return for how many symbols each vendor is not asked, because it does not know them."""
        from .net.vendor_status import unknown_symbols

        return unknown_symbols(self._senders.state) if self._senders.state else {}

    def limiter(self, vendor: str) -> Limiter:
        """Return the limiter that all senders to ``vendor`` share."""
        from .vendors.factory import usable_class

        return self._senders.limiter(vendor, usable_class(vendor))
