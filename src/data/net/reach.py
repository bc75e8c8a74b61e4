"""Knock at a vendor's door: is there a way to it at all?"""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from ..errors import UnavailableError


def reach(url: str, timeout_s: float = 3.0) -> float:
    """Return the seconds it takes to open a connection to the host of ``url``; nothing is sent.

    Raises:
        UnavailableError: there is no such host, no way to it, or nobody answers in time.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    started = time.perf_counter()
    try:
        socket.create_connection((parts.hostname or "", port), timeout_s).close()
    except OSError as exc:
        reason = exc.strerror or "no answer"
        raise UnavailableError(f"{parts.hostname} cannot be reached: {reason}") from None
    return time.perf_counter() - started
