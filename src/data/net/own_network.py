"""Decides whether a failed connection is the fault of the vendor or of this machine's network.

A network that drops packets looks like a vendor that does not answer, and a host name that no
longer exists looks like a network without a resolver. Connections to other vendors show which of
the two it is.
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
_SAME_CAUSE_S = 120.0


@dataclass(frozen=True)
class Contacts:
    """The times at which connections to vendors failed and at which a vendor responded, on one clock.

    Attributes:
        failed_s: Maps each vendor that has not answered since its last failure to the time of that
            failure.
        answered_s: Time of the first answer from any vendor after the latest failure; 0 if there
            was none.
    """

    failed_s: Mapping[str, float] = field(default_factory=dict)
    answered_s: float = 0.0

    def is_own(self, vendor: str, now_s: float, *, is_unresolved: bool) -> bool:
        """Return whether this machine's network, rather than the vendor, caused a failed connection.

        Args:
            vendor: Vendor to which the connection failed.
            now_s: Time of the failure.
            is_unresolved: Whether the system reported a network failure, or could not resolve the
                host's name. If not, the host did not respond at all; the network is then blamed
                only if connections to another vendor failed too.
        """
        if is_unresolved:
            return vendor not in self.failed_s or self.failed_s[vendor] > self.answered_s
        return any(now_s - self.failed_s[other] <= _SAME_CAUSE_S for other in self._peers(vendor))

    def lifted_by(self, vendor: str) -> list[str]:
        """Return the vendors whose failed connections no longer count once ``vendor`` has responded.

        These are the vendor itself and any other vendors to which connections failed at the same
        time.
        """
        if self.failed_s.get(vendor, 0.0) <= self.answered_s:
            return [vendor] if vendor in self.failed_s else []
        return [vendor, *self._peers(vendor)]

    @property
    def is_settled(self) -> bool:
        """Whether a vendor has answered since the last failed connection."""
        return all(at <= self.answered_s for at in self.failed_s.values())

    def _peers(self, vendor: str) -> Iterator[str]:
        """Yield other vendors that failed since the last response, without other hosts of ``vendor``."""
        for other, at in self.failed_s.items():
            if at > self.answered_s and other.partition("-")[0] != vendor.partition("-")[0]:
                yield other


def attribute(error: TransientError, *, is_own: bool) -> None:
    """Add to a connection error's message whether this machine's network or the vendor is at fault.

    Args:
        error: Error for a connection that could not be made.
        is_own: Whether this machine's network is down, judging by the connections to other vendors.
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
