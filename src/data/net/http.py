"""The plain HTTP transport: one request value in, one response value out.

The HTTP library's own errors hold the whole URL, key included, in their text, arguments and
attributes. They are turned into ours here, worded from the request value, and raised outside the
``except`` block, so that not even the new error's context leads back to them.
"""

from __future__ import annotations

import threading
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from ..clock import Clock, SystemClock
from ..errors import DataError, ProviderTimeoutError, ResponseFormatError
from ..model.http import HttpRequest, HttpResponse
from .faults import LIBRARY_ERRORS, check_address, is_loopback, worded
from .forks import renew_after_fork
from .redact import guard_library_logs, sending, where

MEBIBYTE = 1024 * 1024
_CHUNK = 64 * 1024
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {"Accept-Encoding": "gzip, deflate", "User-Agent": "onetape"}


class Transport(Protocol):
    """Anything that carries a request: plain HTTP, an SDK's session, a folder of files."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, whatever its status.

        Raises:
            DataError: there was no answer.
        """


class HttpTransport:
    """Send requests over kept-alive connections. Thread-safe and fork-aware.

    TLS is always verified; plain ``http://`` goes to this machine only; a redirect is followed
    on the same host only; cookies are not kept. Proxies and certificate bundles of the
    environment are honoured, its ``.netrc`` is not.

    Args:
        timeout: seconds to connect and between two reads.
        max_bytes: largest decoded body accepted.
        total_s: seconds for one answer as a whole; a server that drips is cut off there.
        clock: measures the whole; tests hand in another.
    """

    def __init__(
        self,
        timeout: tuple[float, float] = (5.0, 20.0),
        max_bytes: int = 64 * MEBIBYTE,
        total_s: float = 120.0,
        clock: Clock | None = None,
    ) -> None:
        self._timeout = timeout
        self._total_s = total_s
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        # Guards the idle sessions against the threads that send. A session is never used by two
        # threads at once: it is taken out while it works, so there are as many as ever sent
        # at the same moment, and the next request finds its connection still open.
        self._lock = threading.Lock()
        self._idle: list[requests.Session] = []
        guard_library_logs()
        renew_after_fork(self)

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, whatever its status.

        Raises:
            ProviderTimeoutError: no answer in time.
            UnavailableError: no connection, or it broke off.
            ResponseFormatError: the body is too large, or we were sent to another host.
            AuthenticationError: a key cannot be part of a request.
            ConfigError: the address itself is unusable, or plain HTTP to another machine.
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
        """Forget the parent's connections; closing them would not be ours to do."""
        self._lock = threading.Lock()
        self._idle = []

    def _try(self, request: HttpRequest) -> HttpResponse | DataError:
        """Return the answer or our error; nothing of the library's errors survives this frame."""
        session = self._take()
        token = sending.set(True)
        try:
            response = self._exchange(session, request)
        except DataError as exc:
            session.close()
            return exc.with_traceback(None)
        except LIBRARY_ERRORS as exc:
            session.close()
            return worded(exc, request.url)
        finally:
            sending.reset(token)
        with self._lock:
            self._idle.append(session)
        return response

    def _take(self) -> requests.Session:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return new_session()

    def _exchange(self, session: requests.Session, request: HttpRequest) -> HttpResponse:
        """Send, follow redirects on the same host, read the body."""
        deadline = self._clock.monotonic() + self._total_s
        prepared = _prepare(session, request)
        for _ in range(_MAX_REDIRECTS + 1):
            answer = session.send(prepared, **self._options(session, prepared))
            try:
                if answer.status_code not in _REDIRECTS or "location" not in answer.headers:
                    return _value(answer, self._body(answer, deadline), request)
                # Read to its end, so that the connection can be used again.
                self._body(answer, deadline)
                prepared = _redirected(prepared, answer.headers["location"])
            finally:
                answer.close()
        raise ResponseFormatError(f"{where(request.url)} redirects in circles")

    def _options(self, session: requests.Session, prepared: requests.PreparedRequest) -> Any:
        """Return the library's options for one exchange."""
        url = str(prepared.url)
        # A proxy must not see what is meant for this machine.
        proxies = {"http": "", "https": ""} if is_loopback(url) else {}
        options = session.merge_environment_settings(url, proxies, True, None, None)
        return options | {"stream": True, "timeout": self._timeout, "allow_redirects": False}

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        """Read the decoded body, not beyond the cap and not beyond the deadline."""
        parts: list[bytes] = []
        size = 0
        # `read1` returns what has arrived; `read` would wait for a whole chunk of a dripping one.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            parts.append(chunk)
            if size > self._max_bytes:
                raise ResponseFormatError(
                    f"the answer of {where(str(answer.url))} is larger than "
                    f"{self._max_bytes // MEBIBYTE or self._max_bytes} "
                    f"{'MiB' if self._max_bytes >= MEBIBYTE else 'bytes'}"
                )
            if self._clock.monotonic() > deadline:
                raise ProviderTimeoutError(
                    f"{where(str(answer.url))} took more than {self._total_s:g} s to answer"
                )
        return b"".join(parts)


def new_session() -> requests.Session:
    """Return a session with one kept-alive connection per host, no cookies and no retries."""
    session = requests.Session()
    session.headers.update(HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _no_auth  # else the library reads keys out of ~/.netrc
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=1, max_retries=0))
    return session


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _prepare(session: requests.Session, request: HttpRequest) -> requests.PreparedRequest:
    """Return the library's form of ``request``; the merged secrets live in this frame alone."""
    return session.prepare_request(
        requests.Request(
            request.method,
            request.url,
            params={**request.params, **request.secret_params},
            headers={**request.headers, **request.secret_headers},
        )
    )


def _redirected(prepared: requests.PreparedRequest, location: str) -> requests.PreparedRequest:
    """Return the request for where we were sent, on the same host only.

    Key headers of vendors would travel along to any other host.
    """
    here = str(prepared.url)
    there = urljoin(here, location)
    if _origin(there) != _origin(here):
        raise ResponseFormatError(
            f"{where(here)} redirects to another host ({urlsplit(there).hostname}); not followed"
        )
    following = prepared.copy()
    following.url = there
    return following


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _value(answer: requests.Response, body: bytes, request: HttpRequest) -> HttpResponse:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return HttpResponse(answer.status_code, headers, body, request.url)
