"""Checks whether vendors' hosts can be reached from here, with one small request each."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..clock import SystemClock
from ..errors import DataError, ResponseFormatError, UnavailableError
from ..model.http import HttpRequest
from ..model.texts import duration
from .http import MEBIBYTE, HttpTransport
from .status import server_time_ms

# The status that says "not for your region" and nothing else.
_UNAVAILABLE_FOR_LEGAL_REASONS = 451


@dataclass(frozen=True)
class Reached:
    """How one such request ended.

    Attributes:
        seconds: until the answer, or until the request was given up.
        refusal: why the vendor cannot be asked from here; empty when it answered.
        ahead_ms: how far our clock is ahead of the vendor's ``Date``; None where it sent none.
    """

    seconds: float
    refusal: str = ""
    ahead_ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the vendor can be asked from here."""
        return not self.refusal


def reach(url: str, timeout_s: float = 3.0) -> Reached:
    """Send one small request to the host of ``url``, by the same way as all others.

    Proxies and certificates count as they do later; whatever the status, it was reached. Where the
    address is no web address, as that of a gateway, a connection is opened and closed again.
    """
    if not url.startswith("http"):
        return _connected(url, timeout_s)
    transport = HttpTransport((timeout_s, timeout_s), 4 * MEBIBYTE, total_s=2 * timeout_s)
    started = time.perf_counter()
    refusal, ahead_ms = "", None
    try:
        response = transport.send(HttpRequest(url.rstrip("/") + "/"))
        if (date_ms := server_time_ms(response)) is not None:
            ahead_ms = SystemClock().now_ms() - date_ms
        if response.status == _UNAVAILABLE_FOR_LEGAL_REASONS:
            refusal = "it does not serve this region (HTTP 451)"
    except ResponseFormatError:
        pass  # it answered with something large, or sent us elsewhere: it is there
    except UnavailableError as error:
        refusal = _named(url) or str(error)
    except DataError as error:
        refusal = str(error)
    finally:
        transport.close()
    return Reached(time.perf_counter() - started, refusal, ahead_ms)


def _connected(url: str, timeout_s: float) -> Reached:
    """Open a connection to the host and port of ``url``."""
    parts, started = urlsplit(url), time.perf_counter()
    refusal = ""
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout_s).close()
    except OSError as error:
        refusal = f"nothing answers at {parts.netloc}: {error.strerror or error}"
    return Reached(time.perf_counter() - started, refusal)


def reach_all(urls: Mapping[str, str], within_s: float = 8.0) -> dict[str, Reached]:
    """Return name to :func:`reach` of its address, all at once.

    A resolver without a network may hold a thread for minutes: what has not answered after
    ``within_s`` seconds is not waited for.
    """
    results: dict[str, Reached] = {}

    def _ask(name: str, url: str) -> None:
        results[name] = reach(url)

    # Daemons, so that one that hangs in the system's resolver does not hold up the exit.
    threads = [threading.Thread(target=_ask, args=item, daemon=True) for item in urls.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Reached(within_s, f"no answer within {duration(within_s)}")
    return {name: results.get(name, late) for name in urls}


def _named(url: str) -> str:
    """Return that the host's name leads nowhere, where that is the reason; else an empty text."""
    host = urlsplit(url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return f"the host {host} cannot be resolved: no network, or no DNS server"
    return ""
