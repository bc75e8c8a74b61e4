"""Sends requests to Binance with python-binance, the usual package for it."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ....errors import ResponseFormatError
from ...model.request.http import HttpRequest, HttpResponse
from ...net.http.package_session import CarrierSession, PackageCarrier
from ...net.http.redact import where

# The client uses other hosts for futures and does not know the archive, so requests to both bypass
# it.
_BYPASSING_PATHS = ("/fapi/", "/dapi/", "/futures/", "/data/spot/")


class BinanceCarrier(PackageCarrier):
    """Sends the requests of the package's ``Client`` over this library's transport. Thread-safe.

    A client is created for every request, because it keeps its last response in an attribute, so
    threads must not share it. Without the initial ping, creating one costs next to nothing. The
    client makes no retries of its own.
    """

    package: ClassVar[str] = "binance"
    extra: ClassVar[str] = "binance"

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, regardless of its status.

        The response's ``requests`` is the number of requests sent.

        Raises:
            MissingExtraError: python-binance cannot be imported.
            DataError: No response was received.
        """
        if any(path in request.url for path in _BYPASSING_PATHS):
            return self._transport.send(request)
        session = CarrierSession(self._transport)
        return session.carry("binance", request, lambda: _ask(session, request))


def _ask(session: CarrierSession, request: HttpRequest) -> None:
    """Send a request through a client; its errors are ignored, as this library checks the response."""
    base, version, path = _split_url(request.url)
    if "binance.client" not in sys.modules:
        # It loads its streams, which nothing here uses, from the deprecated websockets.legacy. A filter
        # that is taken back could take back those of other threads.
        warnings.filterwarnings("ignore", r"websockets\.", DeprecationWarning)
        # Each client asks for an event loop that it does not use.
        warnings.filterwarnings("ignore", "There is no current", DeprecationWarning, r"binance\.")
    client: Any = import_module("binance.client").Client(ping=False)
    client.session.close()
    client.API_URL, client.session = base, session
    client._request_api("get", path, version=version, data=dict(request.params))


def _split_url(url: str) -> tuple[str, str, str]:
    """Split ``https://host/api/v3/klines`` into ``https://host/api``, ``v3`` and ``klines``.

    Raises:
        ResponseFormatError: The address does not have this form.
    """
    base, mark, rest = url.partition("/api/")
    version, slash, path = rest.partition("/")
    if not (mark and slash and urlsplit(base).hostname):
        raise ResponseFormatError(f"python-binance cannot use the address {where(url)}")
    return f"{base}/api", version, path
