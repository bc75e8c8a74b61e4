"""Sends requests to Alpaca with alpaca-py, the vendor's own package."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, ClassVar

from ....errors import ResponseFormatError
from ...model.request.http import HttpRequest, HttpResponse
from ...net.http.package_session import CarrierSession, PackageCarrier
from ...net.http.redact import where

# The parts that the client joins: a base, a version and a path.
_ADDRESS = re.compile(r"(https?://.+)/(v\d\w*)(/.+)")
# Status on which the client retries; an empty list would select its own list.
_NEVER = 0


class AlpacaCarrier(PackageCarrier):
    """Sends the requests of the package's ``RESTClient`` over this library's transport. Thread-safe.

    The client's own retries are switched off, because they ignore the waiting time that the server
    demands. This library's transport adds timeouts, which the client lacks. The client does not
    fetch further pages by itself; this library requests each page separately. A client is created
    for every request, because keys may change and threads must not share a client; creating one
    costs next to nothing.
    """

    package: ClassVar[str] = "alpaca"
    extra: ClassVar[str] = "alpaca"

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, regardless of its status.

        Raises:
            MissingExtraError: alpaca-py cannot be imported.
            DataError: No response was received.
        """
        session = CarrierSession(self._transport)
        return session.carry("alpaca", request, lambda: _ask(session, request))


def _ask(session: CarrierSession, request: HttpRequest) -> None:
    """Send a request through a client; its errors are ignored, as this library checks the response."""
    match = _ADDRESS.fullmatch(request.url)
    if match is None:
        raise ResponseFormatError(f"alpaca-py cannot use the address {where(request.url)}")
    base, version, path = match.groups()
    keys = request.secret_headers
    # This is the only one of its modules that loads neither pandas nor the streams.
    client: Any = import_module("alpaca.common.rest").RESTClient(
        base,
        keys.get("APCA-API-KEY-ID"),
        keys.get("APCA-API-SECRET-KEY"),
        api_version=version,
        retry_exception_codes=[_NEVER],
    )
    client._session.close()  # a version without the attribute would send by itself
    client._session = session
    client.get(path, dict(request.params))
