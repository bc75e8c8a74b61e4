"""Decides whether a failed connection is the vendor's fault or that of this machine's network.

A network that drops packets looks like a vendor that does not answer, and a host name that no
longer exists looks like a network without a resolver. Connections to other vendors show which it
is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import TransientError

# The beginning of the messages for such a failure.
NO_CONNECTION = "no connection to "
# Endings of these messages, for a network that is down and for one that is not.
OWN, _OTHERS = ": this machine has no network", ": other vendors can be reached"
# Failures up to this far apart may have the same cause.
_SOON_S = 120.0


@dataclass(frozen=True)
class Contacts:
    """The times when vendors could not be connected to and when one answered, on one clock.

    Attributes:
        failed_s: Maps each vendor that has not answered since to the time of its last failure.
        answered_s: Time of the first answer from any vendor after the latest failure; 0 if there
            was none.
    """

    failed_s: Mapping[str, float] = field(default_factory=dict)
    answered_s: float = 0.0

    def is_own(self, vendor: str, now_s: float, *, is_unresolved: bool) -> bool:
        """Return whether a failed connection to ``vendor`` is not the vendor's fault.

        Args:
            vendor: Vendor that could not be connected to.
            now_s: Time of the failure.
            is_unresolved: Whether the system reported no network, or did not find the name.
                Otherwise nothing at all came back, and another vendor must also have failed.
        """
        if is_unresolved:
            return vendor not in self.failed_s or self.failed_s[vendor] > self.answered_s
        return any(now_s - self.failed_s[other] <= _SOON_S for other in self._others(vendor))

    def lifted_by(self, vendor: str) -> list[str]:
        """Return the vendors whose connection failures no longer count now that ``vendor`` has answered.

        These are the vendor itself and any other vendors that had failed together with it.
        """
        if self.failed_s.get(vendor, 0.0) <= self.answered_s:
            return [vendor] if vendor in self.failed_s else []
        return [vendor, *self._others(vendor)]

    @property
    def is_settled(self) -> bool:
        """Whether a vendor has answered since the last failure."""
        return all(at <= self.answered_s for at in self.failed_s.values())

    def _others(self, vendor: str) -> Iterator[str]:
        """Yield the other vendors that failed since the last answer, not the vendor's own hosts."""
        for other, at in self.failed_s.items():
            if at > self.answered_s and other.partition("-")[0] != vendor.partition("-")[0]:
                yield other


def attribute(error: TransientError, *, is_own: bool) -> None:
    """Add to a connection error's message whether this machine's network or the vendor is at fault.

    Args:
        error: Error for a connection that was not made.
        is_own: Whether this machine's network is down, judging by other vendors.
    """
    if error.is_own != is_own:
        error.is_own = is_own
        text = str(error.args[0]).removesuffix(OWN).removesuffix(_OTHERS)
        error.args = (text + (OWN if is_own else _OTHERS), *error.args[1:])


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or not an address
        return False
