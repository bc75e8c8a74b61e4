"""Carry requests to Yahoo the way a browser does: by yfinance, or by its HTTP library alone."""

from __future__ import annotations

import threading
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from ...errors import ResponseFormatError, UnavailableError
from ...model.http import HttpRequest, HttpResponse
from ..faults import check_address, worded_by_name
from ..forks import renew_after_fork
from ..http import MEBIBYTE, Transport
from ..redact import where

_VENDOR_HOSTS = ".yahoo.com"


class YFinanceCarrier:
    """Sends with the TLS fingerprint of a browser. Thread-safe.

    Through yfinance it sends its own requests too, for a cookie and a crumb; they are counted,
    and what it would ask again after a refusal is not sent: that is our policy's decision.

    Args:
        through_sdk: whether yfinance itself sends; else its browser-like session alone does.
        timeout_s: seconds for one request.
        max_bytes: largest decoded body accepted.
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
        # Guards the making of the session against threads that send for the first time.
        self._lock = threading.Lock()
        self._session: Any = None
        renew_after_fork(self)

    @classmethod
    def light(cls) -> Transport | None:
        """Return the browser-like session alone: one request for one, nothing hidden."""
        return cls(through_sdk=False) if find_spec("curl_cffi") else None

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, whatever its status; its ``requests`` counts all that was sent.

        Raises:
            DataError: there was no answer.
        """
        check_address(request.url)
        session = self._ready()
        carry = session.begin(request)
        error = None
        try:
            self._ask(session, request)
        except _Answered:
            pass
        except session.library_errors as exc:
            error = worded_by_name(exc, request.url)
        if carry.answer is None:
            raise error or UnavailableError(f"yfinance did not ask {where(request.url)}")
        return self._value(carry.answer, request, carry.requests)

    def after_fork(self) -> None:
        """Forget the parent's session and its connections."""
        self._lock = threading.Lock()
        self._session = None

    def _ask(self, session: Any, request: HttpRequest) -> None:
        params = dict(request.params)
        if not self._through_sdk:
            session.get(request.url, params=params)
            return
        data = import_module("yfinance.data")
        # One per process: handing it the session again changes nothing.
        data.YfData(session=session).get(request.url, params=params, timeout=self._timeout_s)

    def _ready(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _browser_session(self._timeout_s)
            return self._session

    def _value(self, answer: Any, request: HttpRequest, requests: int) -> HttpResponse:
        body = bytes(answer.content)
        if len(body) > self._max_bytes:
            raise ResponseFormatError(f"the answer of {where(request.url)} is too large")
        headers = {str(k).lower(): str(v) for k, v in answer.headers.items()}
        return HttpResponse(answer.status_code, headers, body, request.url, requests=requests)


class _Answered(Exception):  # noqa: N818 - no error: the answer is there, nothing more is to be sent
    """Ends what the package would do after the answer has come."""


class _Carry(threading.local):
    """What one thread's request has come to."""

    target = ""
    requests = 0
    answer: Any = None


def _browser_session(timeout_s: float) -> Any:
    """Return a session of yfinance's HTTP library that keeps count and obeys our timeout."""
    library: Any = import_module("curl_cffi.requests")
    exceptions: Any = import_module("curl_cffi.requests.exceptions")
    yahoo_errors: tuple[type[Exception], ...] = ()
    if find_spec("yfinance"):
        yahoo_errors = (import_module("yfinance.exceptions").YFException,)

    class BrowserSession(library.Session):  # type: ignore[misc]
        """Counts every request, and sends the vendor's other hosts where the request goes."""

        library_errors = (exceptions.RequestException, OSError, ValueError, *yahoo_errors)

        def __init__(self) -> None:
            super().__init__(impersonate="chrome")
            self._carry = _Carry()

        def begin(self, request: HttpRequest) -> _Carry:
            """Start the count of this thread's request."""
            self._carry.target, self._carry.requests = request.url, 0
            self._carry.answer = None
            return self._carry

        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            """Send one request with our timeout."""
            carry = self._carry
            if carry.answer is not None:
                raise _Answered
            carry.requests += 1
            options["timeout"] = timeout_s
            answer = super().request(method, _at(str(url), carry.target), *args, **options)
            if str(url).partition("?")[0] == carry.target:
                carry.answer = answer
            return answer

    return BrowserSession()


def _at(url: str, target: str) -> str:
    """Return ``url`` at the host of ``target`` where that stands in for the vendor."""
    here, there = urlsplit(url), urlsplit(target)
    stands_in = not f".{there.hostname}".endswith(_VENDOR_HOSTS)
    if not stands_in or not f".{here.hostname}".endswith(_VENDOR_HOSTS):
        return url
    return urlunsplit((there.scheme, there.netloc, here.path, here.query, ""))
