"""Connections that cannot be made: the text of their errors, and addresses on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ....errors import UnavailableError
from ..http.redact import where

# The beginning of the messages for such a failure.
NO_CONNECTION = "no connection to "
# The ending if the host's name cannot be resolved, or if there is no route to any host.
OWN = ": this machine has no network, or there is no such host"

# Seconds in which a host to which there was no connection is not tried again.
NOT_TRIED_S = 30.0


def unreachable(url: str) -> UnavailableError:
    """Return the error for a host that cannot be reached from here: no name lookup, or no route."""
    error = UnavailableError(f"{NO_CONNECTION}{where(url)}{OWN}")
    error.was_sent, error.is_own = False, True
    return error


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or not an address
        return False
