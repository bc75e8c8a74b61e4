"""Sends requests to Yahoo like a browser, through yfinance or only with yfinance's HTTP library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from ....errors import DataError, ResponseFormatError, UnavailableError
from ...model.request.http import HttpRequest, HttpResponse, address_on
from ...net.calls.deadline import left_s, within
from ...net.http.faults import check_address, worded_by_name
from ...net.http.http import MAX_REDIRECTS, MEBIBYTE, REDIRECTS, Transport, certificates, too_large
from ...net.http.redact import where
from ...runtime.forks import renew_after_fork

_VENDOR_HOSTS = ".yahoo.com"


class YFinanceCarrier:
    """Sends requests with a browser's TLS fingerprint. Thread-safe.

    If yfinance sends the requests, its own requests for a cookie and a crumb are also sent, and are
    counted. yfinance's retries after a failure are suppressed, because this library's policy
    decides about retries. Requests go only to the requested host, except for yfinance's own
    requests, which go to other hosts of the vendor.

    Args:
        through_sdk: Whether yfinance itself sends the requests; otherwise only its browser-like
            session is used.
        timeout_s: Seconds allowed for a complete answer, including all the requests that it takes.
        max_bytes: Maximum size of a decoded body.
    """

    package: ClassVar[str] = "yfinance"
    extra: ClassVar[str] = "yahoo"

    def __init__(
        self,
        *,
        through_sdk: bool = True,
        timeout_s: float = 20.0,
        max_bytes: int = 64 * MEBIBYTE,
    ) -> None:
        self._through_sdk = through_sdk
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        # Guards the creation of the session against threads that send for the first time.
        self._lock = threading.Lock()
        self._session: Any = None
        renew_after_fork(self)

    @classmethod
    def light(cls) -> Transport | None:
        """Return a carrier that uses only the browser-like session, which sends no additional requests."""
        return cls(through_sdk=False) if find_spec("curl_cffi") else None

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, regardless of its status.

        The response's ``requests`` is the number of all requests sent.

        Raises:
            MissingExtraError: The package needed for sending cannot be imported.
            DataError: No response was received, or it redirects to another host.
        """
        check_address(request.url)
        try:
            return self._query(request)
        except ImportError as exc:
            from ...net.http.package_session import not_importable

            raise not_importable("yahoo", exc) from exc

    def _query(self, request: HttpRequest) -> HttpResponse:
        session = self._ready()
        carry = session.begin(request)
        error: DataError | None = None
        try:
            within(self._timeout_s, self._ask, session, request)
        except _Answered:
            pass
        except session.library_errors as exc:
            error = worded_by_name(exc, request.url)
        if carry.answer is None:
            reason = carry.refusal or error
            reason = reason or UnavailableError(f"yfinance could not query {where(request.url)}")
            reason.hidden_requests = max(0, carry.requests - 1)
            raise reason
        return _value(carry.answer, request, carry.requests)

    def after_fork(self) -> None:
        """Discard the parent's session and its connections."""
        self._lock = threading.Lock()
        self._session = None

    def _ask(self, session: Any, request: HttpRequest) -> None:
        params = dict(request.params)
        if not self._through_sdk:
            session.get(request.url, params=params)
            return
        data = import_module("yfinance.data")
        # yfinance keeps one such object per process: passing the session again changes nothing.
        data.YfData(session=session).get(request.url, params=params, timeout=self._timeout_s)

    def _ready(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _browser_session(self._max_bytes, through_sdk=self._through_sdk)
            return self._session


def _value(answer: Any, request: HttpRequest, requests: int) -> HttpResponse:
    headers = {str(k).lower(): str(v) for k, v in answer.headers.items()}
    return HttpResponse(
        answer.status_code, headers, bytes(answer.content), request.url, requests=requests
    )


class _Answered(Exception):  # noqa: N818 - not an error: the response has arrived, so nothing more is sent
    """Raised to end the package's work as soon as the response has arrived."""


class _Carry(threading.local):
    """The state of the request that one thread is sending through yfinance's session."""

    target = ""
    requests = 0
    answer: Any = None
    refusal: DataError | None = None

    def exchange(self, url: str, send: Callable[..., Any]) -> Any:
        """Send a request to ``url``, and keep the response if ``url`` is the requested address.

        Raises:
            _Answered: The response has already been received.
            ResponseFormatError: The request would lead to another host; the error is also kept,
                because the package may mistake it for one of its own.
        """
        if self.answer is not None:
            raise _Answered
        self.refusal = None
        try:
            answer = _follow_redirects(_moved_url(url, self.target), self.target, send)
        except DataError as error:
            self.refusal = error
            raise
        if url.partition("?")[0] == self.target:
            self.answer = answer
        return answer


def _follow_redirects(url: str, target: str, send: Callable[..., Any]) -> Any:
    """Send a request to ``url``, and follow redirects as long as they lead to the same host."""
    _check_host(url, target)
    answer = send(url)
    for _ in range(MAX_REDIRECTS):
        if answer.status_code not in REDIRECTS or "location" not in answer.headers:
            return answer
        url = address_on(url, str(answer.headers["location"]))
        answer = send(url, params=None)  # already part of the address
    raise ResponseFormatError(f"{where(url)} is in a redirect loop")


class _Body:
    """Collects the decoded body of one response, and stops if it is too large."""

    def __init__(self, max_bytes: int, stop: int) -> None:
        self._max_bytes = max_bytes
        self._stop = stop
        self.pieces: list[bytes] = []
        self.size = 0

    def add_piece(self, piece: bytes) -> int:
        """Keep a piece of the body; return its size, or a value that makes curl abort the transfer."""
        self.size += len(piece)
        if self.size > self._max_bytes:
            return self._stop
        self.pieces.append(piece)
        return len(piece)


def _browser_session(max_bytes: int, *, through_sdk: bool) -> Any:
    """Return a session of yfinance's HTTP library that connects only to the vendor's hosts.

    The session counts requests, and limits each request's duration and the size of its response.
    """
    library: Any = import_module("curl_cffi.requests")
    exceptions: Any = import_module("curl_cffi.requests.exceptions")
    stop: int = import_module("curl_cffi.curl").CURL_WRITEFUNC_ERROR
    yahoo_errors: tuple[type[Exception], ...] = ()
    if through_sdk:  # otherwise yfinance, which is slow to import, is not needed
        yahoo_errors = (import_module("yfinance.exceptions").YFException,)

    class BrowserSession(library.Session):  # type: ignore[misc]
        """A browser-like session that counts its requests.

        If ``base_url`` is set, all requests go to that host.
        """

        # This library's errors are included, because the package mistakes some of them for its own
        # and continues.
        library_errors = (
            exceptions.RequestException,
            OSError,
            ValueError,
            DataError,
            *yahoo_errors,
        )

        def __init__(self) -> None:
            super().__init__(impersonate="chrome")
            self._carry = _Carry()

        def begin(self, request: HttpRequest) -> _Carry:
            """Start counting the HTTP requests caused by this thread's request."""
            self._carry.target, self._carry.requests = request.url, 0
            self._carry.answer = self._carry.refusal = None
            return self._carry

        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            """Send one request, and follow any redirects on the same host."""
            options.pop("allow_redirects", None)

            def send(there: str, **changed: Any) -> Any:
                """Send the same request to another address on the same host."""
                return self._send(method, there, *args, **{**options, **changed})

            return self._carry.exchange(str(url), send)

        def _send(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
            """Send one request within the time left, and read at most ``max_bytes`` of the response."""
            body = _Body(max_bytes, stop)
            self._carry.requests += 1
            # Less than a millisecond would mean no limit at all.
            options |= {"timeout": max(left_s(), 0.001), "content_callback": body.add_piece}
            options["verify"] = certificates(url) or True  # the library's own order differs
            answer = None
            try:
                answer = super().request(method, url, *args, **options, allow_redirects=False)
            except exceptions.RequestException:
                if body.size <= max_bytes:
                    raise
            if answer is None:
                raise too_large(where(url), max_bytes)
            answer.content = b"".join(body.pieces)
            return answer

    return BrowserSession()


def _check_host(url: str, target: str) -> None:
    """Reject every host except the requested one and, over TLS, the vendor's other hosts.

    Raises:
        ResponseFormatError: The address is on another host.
    """
    there, expected = urlsplit(url), urlsplit(target)
    is_vendors = there.scheme == "https" and f".{there.hostname}".endswith(_VENDOR_HOSTS)
    if (there.scheme, there.netloc) != (expected.scheme, expected.netloc) and not is_vendors:
        raise ResponseFormatError(f"{where(target)} redirects to another host ({there.hostname})")


def _moved_url(url: str, target: str) -> str:
    """Return ``url``, moved to the host of ``target`` if that host is a substitute for the vendor's hosts."""
    here, there = urlsplit(url), urlsplit(target)
    stands_in = not f".{there.hostname}".endswith(_VENDOR_HOSTS)
    if not stands_in or not f".{here.hostname}".endswith(_VENDOR_HOSTS):
        return url
    return urlunsplit((there.scheme, there.netloc, here.path, here.query, ""))
