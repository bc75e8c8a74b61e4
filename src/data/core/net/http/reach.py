"""Checks whether vendors' hosts can be reached from here, with one small request each."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ....errors import DataError, ResponseFormatError, UnavailableError
from ...clock import SystemClock
from ...model.display.texts import duration
from ...model.request.http import HttpRequest
from .http import MEBIBYTE, HttpTransport
from .status import server_time_ms

# The status that means only "not for your region".
_UNAVAILABLE_FOR_LEGAL_REASONS = 451


@dataclass(frozen=True)
class ReachResult:
    """The result of trying to reach a host.

    Attributes:
        seconds: Time until the response arrived, or until the attempt was given up.
        refusal: Reason why the vendor cannot be queried from this machine; empty if it can.
        ahead_ms: Milliseconds by which the local clock is ahead of the vendor's ``Date``; None if
            the vendor sent none.
    """

    seconds: float
    refusal: str = ""
    ahead_ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the vendor can be queried from this machine."""
        return not self.refusal


def reach(url: str, timeout_s: float = 3.0) -> ReachResult:
    """Check whether the host of ``url`` can be reached, by sending it one small request.

    The request uses the same proxies and certificates as real requests. A response with any status
    means that the host was reached. If ``url`` is not a web address (but, for example, a gateway's
    address), a connection is opened and closed instead.
    """
    if not url.startswith("http"):
        return _try_connect(url, timeout_s)
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
        pass  # a large answer or a redirect shows that it is reachable
    except UnavailableError as error:
        refusal = _name_error(url) or str(error)
    except DataError as error:
        refusal = str(error)
    finally:
        transport.close()
    return ReachResult(time.perf_counter() - started, refusal, ahead_ms)


def _try_connect(url: str, timeout_s: float) -> ReachResult:
    """Check whether the host and port of ``url`` accept a connection."""
    parts, started = urlsplit(url), time.perf_counter()
    refusal = ""
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout_s).close()
    except OSError as error:
        refusal = f"nothing answers at {parts.netloc}: {error.strerror or error}"
    return ReachResult(time.perf_counter() - started, refusal)


def reach_all(urls: Mapping[str, str], within_s: float = 8.0) -> dict[str, ReachResult]:
    """Run :func:`reach` for all URLs in parallel, and return the results by name.

    If there is no network, a name lookup can block a thread for minutes. The call therefore returns
    after ``within_s`` seconds even if some hosts have not answered.
    """
    results: dict[str, ReachResult] = {}

    def _check(name: str, url: str) -> None:
        results[name] = reach(url)

    # These are daemon threads, so that one that hangs in the system's resolver does not delay the
    # exit.
    threads = [threading.Thread(target=_check, args=item, daemon=True) for item in urls.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = ReachResult(within_s, f"no answer within {duration(within_s)}")
    return {name: results.get(name, late) for name in urls}


def _name_error(url: str) -> str:
    """Return an error message if the host's name cannot be resolved, otherwise an empty string."""
    host = urlsplit(url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return f"the host {host} cannot be resolved: no network, or no DNS server"
    return ""
