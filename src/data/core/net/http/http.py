"""The plain HTTP transport, which turns a request object into a response object.

The HTTP library's own errors contain the whole URL, including the key, in their text, arguments and
attributes. They are converted to this library's errors, whose text is based on the request object.
These errors are raised outside the ``except`` block, so that not even their context refers to the
original error.

The HTTP library is imported by the first request, because vendors are also loaded only for what
they declare.
"""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ....errors import DataError, ProviderTimeoutError, ResponseFormatError, UnavailableError
from ...clock import SystemClock
from ...config.certificates import certificate_bundle
from ...model.request.http import HttpRequest, HttpResponse
from ...runtime.forks import renew_after_fork
from ..calls.deadline import allowed_s, left_s, within
from ..limits.own_network import is_loopback
from .decoder import decoder_of
from .faults import check_address
from .redact import guard_library_logs, sending, where

if TYPE_CHECKING:
    import requests

MEBIBYTE = 1024 * 1024
TOTAL_S = 60.0
_CHUNK_BYTES = 64 * 1024
_CLOCK = SystemClock()
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Transport(Protocol):
    """Anything that can carry a request: plain HTTP, an SDK's session, a folder of files."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, regardless of its status.

        Raises:
            DataError: There was no response.
        """


def certificates(url: str) -> str | None:
    """Return the certificate file or folder set in the environment; None for the default certificates.

    Raises:
        UnavailableError: The file or folder does not exist, and ``url`` uses TLS.
    """
    bundle = certificate_bundle()
    if bundle is None or not url.startswith(("https:", "wss:")):
        return None
    if not Path(bundle.path).exists():
        raise UnavailableError(
            f"{where(url)} was not queried: there are no certificates at {bundle.path}",
            hint=f"{bundle.variable} must name an existing file or folder",
        )
    return bundle.path


class HttpTransport:
    """Sends requests over kept-alive connections. Thread-safe and fork-aware.

    Server certificates are always verified; plain ``http://`` is allowed only to this machine;
    redirects are followed only on the same host, and never by a request with a body; cookies are
    not kept. Proxies and certificates (:func:`certificates`) set in the environment are used, but a
    ``.netrc`` file is not.

    Args:
        timeout: Seconds allowed for connecting, and for each read.
        max_bytes: Size limit of a body, which applies both before and after decoding.
        total_s: Seconds allowed for a complete response including redirects, even if the server
            keeps sending.
    """

    def __init__(
        self,
        timeout: tuple[float, float] = (5.0, 20.0),
        max_bytes: int = 64 * MEBIBYTE,
        total_s: float = TOTAL_S,
    ) -> None:
        self._timeout = timeout
        self._total_s = total_s
        self._max_bytes = max_bytes
        # Guards the idle sessions against the threads that send. A session is never used by two
        # threads at the same time: it is removed while in use, so there are as many as threads ever
        # sent at the same time, and the next request finds its connection still open.
        self._lock = threading.Lock()
        self._idle: list[requests.Session] = []
        guard_library_logs()
        renew_after_fork(self)

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, regardless of its status.

        Raises:
            ProviderTimeoutError: There was no response in time.
            UnavailableError: No connection was made, or it broke.
            ResponseFormatError: The body is too large or has an encoding that was not requested, or
                the response leads to another host.
            AuthenticationError: A key cannot be part of a request.
            ConfigError: The address is unusable, or is plain HTTP to another machine.
        """
        check_address(request.url)
        outcome = self._try(request)
        if isinstance(outcome, DataError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close idle connections; the transport can be used again afterwards."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def after_fork(self) -> None:
        """Discard the parent's connections in a forked child, without closing them."""
        self._lock = threading.Lock()
        self._idle = []

    def _try(self, request: HttpRequest) -> HttpResponse | DataError:
        """Return the response, or this library's error for a failure.

        The HTTP library's own error is not kept after this function returns.
        """
        from .http_sessions import LIBRARY_ERRORS

        session = self._take_session()
        started, allowed = _CLOCK.monotonic(), allowed_s(self._total_s)
        try:
            response = within(self._total_s, self._exchange_filtered, session, request)
        except DataError as exc:
            session.close()
            return exc.with_traceback(None)
        except (*LIBRARY_ERRORS, zlib.error) as exc:
            session.close()
            return self._error_for(exc, request.url, started, allowed)
        with self._lock:
            self._idle.append(session)
        return response

    def _exchange_filtered(self, session: Any, request: HttpRequest) -> HttpResponse:
        """Run :meth:`_exchange` in a context of its own, in which the HTTP library's logs are filtered."""
        sending.set(True)
        return self._exchange(session, request)

    def _error_for(self, exc: Exception, url: str, started: float, allowed: float) -> DataError:
        from .http_sessions import worded

        error = worded(exc, url)
        is_late = _CLOCK.monotonic() - started >= allowed
        if is_late and isinstance(error, ProviderTimeoutError):
            message = f"{where(url)} took more than {allowed:.3g} s to answer"
            return ProviderTimeoutError(message)
        return error

    def _take_session(self) -> requests.Session:
        from .http_sessions import new_session

        with self._lock:
            if self._idle:
                return self._idle.pop()
        return new_session()

    def _exchange(self, session: requests.Session, request: HttpRequest) -> HttpResponse:
        """Send a request, follow redirects on the same host, and read the body."""
        from .http_sessions import prepare, redirected

        prepared = prepare(session, request)
        for _ in range(MAX_REDIRECTS + 1):
            answer = session.send(prepared, **self._options(session, prepared))
            try:
                # The body is always read to its end, so that the connection can be reused.
                body = self._body(answer)
                is_redirect = answer.status_code in REDIRECTS and "location" in answer.headers
                if not is_redirect or request.body:  # a body is not sent to another address
                    headers = {name.lower(): value for name, value in answer.headers.items()}
                    return HttpResponse(answer.status_code, headers, body, request.url)
                prepared = redirected(prepared, answer.headers["location"])
            finally:
                answer.close()
        raise ResponseFormatError(f"{where(request.url)} is in a redirect loop")

    def _options(self, session: requests.Session, prepared: requests.PreparedRequest) -> Any:
        """Return the HTTP library's options for one exchange."""
        url = str(prepared.url)
        # A proxy must not see requests that are meant for this machine.
        proxies = {"http": "", "https": ""} if is_loopback(url) else {}
        options = session.merge_environment_settings(url, proxies, True, certificates(url), None)
        rest = left_s()
        timeout = (min(self._timeout[0], rest), min(self._timeout[1], rest))
        return options | {"stream": True, "timeout": timeout}

    def _body(self, answer: requests.Response) -> bytes:
        """Read the decoded body, up to the size limit."""
        location, coding = where(str(answer.url)), answer.headers.get("content-encoding", "")
        decode = decoder_of(coding)
        if decode is None:
            raise ResponseFormatError(
                f"{location} encodes its answer as {coding[:40]!r}, which was not requested"
            )
        parts: list[bytes] = []
        size = received = 0
        # `read1` returns the bytes that have arrived; `read` would wait for a whole chunk.
        while piece := answer.raw.read1(_CHUNK_BYTES, decode_content=False):
            left_s()  # checked here because no read waits if the server is faster than this client
            received += len(piece)
            for part in decode(piece):
                size += len(part)
                if max(size, received) > self._max_bytes:
                    raise too_large(location, self._max_bytes)
                parts.append(part)
        parts += decode(b"")
        return b"".join(parts)


def too_large(location: str, max_bytes: int) -> ResponseFormatError:
    """Return the error for a body above the size limit."""
    is_whole = max_bytes >= MEBIBYTE
    limit = f"{max_bytes // MEBIBYTE} MiB" if is_whole else f"{max_bytes} bytes"
    return ResponseFormatError(f"the answer from {location} is larger than {limit}")
