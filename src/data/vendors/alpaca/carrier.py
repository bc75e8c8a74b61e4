"""Carry requests to Alpaca by alpaca-py, the vendor's own package."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, ClassVar

from ...errors import ResponseFormatError
from ...model.http import HttpRequest, HttpResponse
from ...net.package_session import CarrierSession, PackageCarrier
from ...net.redact import where

# What the client adds to each other: a base, a version and a path.
_ADDRESS = re.compile(r"(https?://.+)/(v\d\w*)(/.+)")
# The status upon which it asks again; an empty list would mean its own.
_NEVER = 0


class AlpacaCarrier(PackageCarrier):
    """Sends what its ``RESTClient`` would send, over our transport. Thread-safe.

    Its own retries, which wait without asking for how long, are switched off; timeouts, of which it
    has none, are our transport's. It follows no pages: each is a request of ours. A client is made
    for every request, and costs nothing: keys may change, and no two threads share one.
    """

    package: ClassVar[str] = "alpaca"
    extra: ClassVar[str] = "alpaca"

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, whatever its status.

        Raises:
            MissingExtraError: alpaca-py cannot be imported.
            DataError: there was no answer.
        """
        session = CarrierSession(self._transport)
        return session.carry("alpaca", request, lambda: _ask(session, request))


def _ask(session: CarrierSession, request: HttpRequest) -> None:
    """Let a client ask; how the answer ended is ours to say, from the answer itself."""
    parts = _ADDRESS.fullmatch(request.url)
    if parts is None:
        raise ResponseFormatError(
            f"{where(request.url)} is not an address that alpaca-py can reach"
        )
    base, version, path = parts.groups()
    keys = request.secret_headers
    # Of its modules this one alone loads neither pandas nor the streams.
    client: Any = import_module("alpaca.common.rest").RESTClient(
        base,
        keys.get("APCA-API-KEY-ID"),
        keys.get("APCA-API-SECRET-KEY"),
        api_version=version,
        retry_exception_codes=[_NEVER],
    )
    client._session.close()  # a version without it would send by itself
    client._session = session
    client.get(path, dict(request.params))
