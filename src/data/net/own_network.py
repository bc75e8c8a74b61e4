"""Connections that cannot be made: the text of their errors, and addresses on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

# The beginning of the messages for such a failure.
NO_CONNECTION = "no connection to "
# The ending if the host's name cannot be resolved, or if there is no route to any host.
OWN = ": this machine has no network, or there is no such host"


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or not an address
        return False
