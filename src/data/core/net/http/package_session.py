"""A session for vendors' packages that sends through this library's transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl

import requests
from requests.structures import CaseInsensitiveDict

from ....errors import DataError, MissingExtraError, UnavailableError, install_line
from ...model.request.http import HttpRequest, HttpResponse, check_parsed_size
from ...registry import row_of
from .http import HttpTransport, Transport
from .http_sessions import LIBRARY_ERRORS, worded
from .redact import where


class PackageCarrier:
    """Base class of carriers for packages that send requests with :class:`CarrierSession`. Thread-safe.

    Args:
        transport: Transport that carries the package's requests.
    """

    def __init__(self, transport: Transport | None = None) -> None:
        self._transport = transport or HttpTransport()

    @classmethod
    def light(cls) -> Transport | None:
        """Return None: with ``auto``, plain HTTP is used, which sends the same requests at less cost."""
        return None


class CarrierSession(requests.Session):
    """Replaces the HTTP library's session, and sends everything over ``transport``.

    The package's requests are then limited, timed and verified like this library's own, and fail
    with the same errors; the package's own timeouts, redirects and retries have no effect. For use
    by one thread only.

    Attributes:
        last: Latest response; None before the first one.
        requests: Number of responses received.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport
        self.begin()

    def begin(self) -> None:
        """Forget the responses to the previous request."""
        self.last: HttpResponse | None = None
        self.requests = 0
        self._secret_headers: frozenset[str] = frozenset()

    def carry(self, vendor: str, request: HttpRequest, send: Callable[[], object]) -> HttpResponse:
        """Return the vendor's response, regardless of its status and of how its package handles it.

        Args:
            vendor: Canonical name of the vendor whose package sends.
            request: Request to send.
            send: Function that makes the package send the request through this session.

        Raises:
            MissingExtraError: The package cannot be imported.
            DataError: There was no response.
        """
        self.begin()
        self._secret_headers = frozenset(name.lower() for name in request.secret_headers)
        package, failure = row_of(vendor).distribution, ""
        try:
            send()
        except DataError:
            raise
        except ImportError as exc:
            raise not_importable(vendor, exc) from exc
        except Exception as exc:  # noqa: BLE001 - packages raise any class for answers they cannot read
            # Only the response counts, which is kept in ``last``. The error's text may contain a
            # key.
            failure = f" ({type(exc).__name__})"
        if self.last is None:
            raise UnavailableError(f"{package} could not query {where(request.url)}{failure}")
        return replace(self.last, url=request.url, requests=self.requests)

    def request(
        self, method: str | bytes, url: str | bytes, *args: Any, **options: Any
    ) -> requests.Response:
        """Send one request for the package; options other than the request's content are ignored.

        Raises:
            DataError: There was no response.
        """
        prepared = _prepare(str(method).upper(), str(url), options)
        if isinstance(prepared, DataError):
            raise prepared
        body = prepared.body or b""
        address, _, query = str(prepared.url).partition("?")
        headers, secrets = dict(prepared.headers), self._secret_headers
        answer = self._transport.send(
            HttpRequest(
                address,
                params=dict(parse_qsl(query, keep_blank_values=True)),
                headers={name: headers[name] for name in headers if name.lower() not in secrets},
                secret_headers={name: headers[name] for name in headers if name.lower() in secrets},
                method=str(prepared.method),
                body=body.encode() if isinstance(body, str) else body,
            )
        )
        check_parsed_size(answer.body)  # packages parse it themselves
        self.last, self.requests = answer, self.requests + 1
        return _as_library_response(answer, prepared)


def not_importable(vendor: str, error: ImportError) -> MissingExtraError:
    """Return this library's error for a vendor's package that is installed but cannot be imported."""
    return MissingExtraError(
        f"{row_of(vendor).distribution} cannot be imported: {error}",
        hint=f"{install_line(vendor)}, or set transport: http",
    )


def _prepare(
    method: str, url: str, options: dict[str, Any]
) -> requests.PreparedRequest | DataError:
    """Return a request in the HTTP library's form; if it cannot be sent, return this library's error."""
    arguments = {name: options.get(name) for name in ("params", "headers", "data")}
    try:
        return requests.Request(method, url, **arguments).prepare()
    except LIBRARY_ERRORS as exc:
        return worded(exc, url)


def _as_library_response(
    answer: HttpResponse, prepared: requests.PreparedRequest
) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.reason = responses.get(answer.status, "")  # some packages quote it
    response.headers = CaseInsensitiveDict(answer.headers)
    response._content = answer.body
    response.url = str(prepared.url)
    response.request = prepared
    response.encoding = "utf-8"
    return response
