"""The HTTP library's sessions, and its errors translated into this library's errors.

The first request imports this module; until then, no HTTP library is needed. The text, arguments
and attributes of the HTTP library's errors contain the whole URL, including the key. Only the
errors' class is used here.
"""

from __future__ import annotations

import errno
import io
import socket
import ssl
from collections.abc import Iterator
from functools import lru_cache
from http.client import HTTPResponse as PlainResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL, MissingSchema, SSLError

from ....errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    ProviderTimeoutError,
    TransientError,
    UnavailableError,
)
from ...model.request.http import HttpRequest, address_on
from ..calls.deadline import left_s
from ..limits.own_network import NO_CONNECTION, OWN, is_loopback
from .decoder import ACCEPTED
from .redact import where

HEADERS = {"Accept-Encoding": ACCEPTED, "User-Agent": "onetape"}
# Errors that the library and the socket below it raise for a failed request. ValueError: a header
# that is not Latin-1, a port out of range; OSError: the socket itself.
LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError)
_TIMEOUT_ERRORS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_NOT_SENT_ERRORS = (
    requests.ConnectTimeout,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    ssl.SSLCertVerificationError,
)
# Error numbers which mean that this machine's network is down, or has no route to any host.
_OWN_NETWORK_ERRNOS = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_MOST_CAUSES = 30


def worded(exc: Exception, url: str) -> DataError:
    """Convert an error from the HTTP library to one of this library's errors, without quoting its text."""
    error = _error_for(exc, url)
    if isinstance(error, TransientError):
        causes = list(_causes(exc))
        # These errors happen before there is a connection, so no part of the request was sent.
        error.was_sent = not any(isinstance(cause, _NOT_SENT_ERRORS) for cause in causes)
        if not is_loopback(url):
            error.is_own = any(map(_is_own, causes))
        if error.is_own:
            error.args = (f"{NO_CONNECTION}{where(url)}{OWN}",)
    return error


def _causes(exc: BaseException) -> Iterator[object]:
    """Yield an error and all errors that it contains: as arguments, as ``reason`` or as context."""
    causes: list[object] = [exc]
    for cause in causes:  # the list grows during the loop
        yield cause
        if isinstance(cause, BaseException) and len(causes) < _MOST_CAUSES:
            context = (cause.__cause__, cause.__context__)
            causes += [*cause.args, getattr(cause, "reason", None), *context]


def _is_own(cause: object) -> bool:
    """Return whether a system error suggests that this machine has no network connection.

    A failed name lookup may mean that, but it fails just as quickly for a name that does not exist.
    """
    if isinstance(cause, socket.gaierror):
        return True
    return isinstance(cause, OSError) and cause.errno in _OWN_NETWORK_ERRNOS


def _is_silence(cause: object) -> bool:
    """Return whether a host did not respond at all.

    A refused connection does not count, although urllib3 up to 1.26 raises a subclass of its
    timeout error for it.
    """
    late = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
    return isinstance(cause, late) and not isinstance(cause, urllib3.exceptions.NewConnectionError)


def _error_for(exc: Exception, url: str) -> DataError:
    location = where(url)
    if isinstance(exc, InvalidURL | MissingSchema):
        return ConfigError(f"{location} is not a URL", hint="check providers.<name>.base_url")
    # Up to 2.33, requests accepts a trailing line break, which the standard library rejects.
    unsendable = type(exc) is ValueError and str(exc).startswith("Invalid header")
    if unsendable or isinstance(exc, InvalidHeader | UnicodeError):
        return AuthenticationError(
            f"the key for {location} contains characters that are invalid in a header",
            hint="check it for a line break or a quotation mark",
        )
    if _is_silence(exc):
        return ProviderTimeoutError(f"{NO_CONNECTION}{location} in time")
    if isinstance(exc, _TIMEOUT_ERRORS):
        return ProviderTimeoutError(f"{location} did not answer in time")
    if isinstance(exc, SSLError | urllib3.exceptions.SSLError):
        return UnavailableError(f"the certificate of {location} could not be verified")
    if isinstance(exc, requests.ConnectionError):
        return UnavailableError(f"{NO_CONNECTION}{location}")
    return UnavailableError(f"the response from {location} was cut off ({type(exc).__name__})")


class _TimedReader(io.RawIOBase):
    """A socket reader that limits each read to the time left for the request.

    The HTTP library's own timeout applies to each single read. By sending a byte now and then, a
    server could therefore extend a request forever within the status line, the headers or the end
    of a chunked body, which only the HTTP library reads.
    """

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        self._longest_s = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read into ``buffer``, but no longer than the request has time left."""
        remaining = left_s()
        self._sock.settimeout(
            remaining if self._longest_s is None else min(remaining, self._longest_s)
        )
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(PlainResponse):
    """A response, possibly from a proxy, that is read through :class:`_TimedReader`."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


@lru_cache(16)
def _timed_class(connection: type) -> type:
    return type(connection.__name__, (connection,), {"response_class": _TimedResponse})


class _TimedAdapter(HTTPAdapter):
    """An HTTP adapter whose connections, even through proxies, obey the time limit of the request."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        return self._with_deadline(super().get_connection_with_tls_context(*args, **options))

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection pool. ``requests`` up to version 2.31 calls this method."""
        return self._with_deadline(super().get_connection(*args, **options))

    def _with_deadline(self, pool: Any) -> Any:
        if "ConnectionCls" not in vars(pool):
            pool.ConnectionCls = _timed_class(pool.ConnectionCls)
        return pool


def new_session() -> requests.Session:
    """Return a session with one kept-alive connection per host, no cookies and no retries."""
    session = _Session()
    session.headers.update(HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _no_auth  # otherwise the library reads keys from ~/.netrc
    for scheme in ("https://", "http://"):
        session.mount(scheme, _TimedAdapter(pool_connections=4, pool_maxsize=1, max_retries=0))
    return session


class _Session(requests.Session):
    """A session that does not follow redirects, because it would read their bodies without a size limit."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def prepare(session: requests.Session, request: HttpRequest) -> requests.PreparedRequest:
    """Convert ``request``, including its keys, to the HTTP library's form."""
    return session.prepare_request(
        requests.Request(
            request.method,
            request.url,
            params={**request.params, **request.secret_params},
            headers={**request.headers, **request.secret_headers},
            data=request.body,
        )
    )


def redirected(prepared: requests.PreparedRequest, location: str) -> requests.PreparedRequest:
    """Return the request for a redirect's target, on the same host only.

    On any other host, the headers would reveal the vendor's key.
    """
    following = prepared.copy()
    following.url = address_on(str(prepared.url), location)
    return following
