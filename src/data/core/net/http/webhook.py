"""Delivers messages to a webhook: one POST with a JSON body for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any
from urllib.parse import urlsplit

from ....errors import ConfigError, DataError, QueryError, TransientError
from ...clock import Clock
from ...model.request.http import HttpRequest
from ...model.request.outcome import Outcome
from .faults import check_address
from .http import HttpTransport, Transport
from .redact import hiding_path
from .status import retry_after_s

__all__ = ["Webhook"]

_TOTAL_S = 30.0
_MOST_BYTES = 1 << 20
_GATEWAY_TIMEOUT = 504
# Statuses which mean "not now".
_RETRY_STATUSES = frozenset({408, 425, 429})


class Webhook:
    """A webhook to which JSON is posted.

    Thread-safe. The whole URL is a secret, because the webhooks of chat programs contain a token in
    the path. It never appears in a message, log record or ``repr``.

    Args:
        url: Address with ``https://``, or ``http://`` on this machine.
        clock: Source of the time, needed if ``Retry-After`` is a date.
        transport: Transport to use instead of plain HTTP.

    Raises:
        QueryError: The address is neither ``https://`` nor ``http://`` on this machine.
    """

    def __init__(self, url: str, clock: Clock, transport: Transport | None = None) -> None:
        # Outside the ``except`` block, whose error contains the path.
        if not _is_usable(url):
            raise QueryError(
                "the webhook address cannot be used",
                hint="use https:// (http:// only for this machine), without a user name",
            )
        self._url, self._clock = url, clock
        self._host = urlsplit(url).hostname or ""
        self._transport = transport or HttpTransport(total_s=_TOTAL_S, max_bytes=_MOST_BYTES)

    def __repr__(self) -> str:
        return f"Webhook({self._host})"

    def post(self, message: Mapping[str, Any]) -> Outcome:
        """Post a message and return the outcome. This never raises.

        The outcome is ``sent`` for a status of 2xx; ``unknown`` for 504, or if the response did not
        arrive or was cut off; ``later`` for 429, 408, 425 and any other 5xx, or if no connection
        was made; and ``refused`` for any other status, including redirects.
        """
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json"}
        request = HttpRequest(self._url, headers=headers, method="POST", body=body)
        return copy_context().run(self._send_hidden, request)

    def _send_hidden(self, request: HttpRequest) -> Outcome:
        hiding_path.set(True)
        try:
            response = self._transport.send(request)
        except DataError as error:
            return self._failure_outcome(error)
        status, reason = response.status, f"HTTP {response.status} from {self._host}"
        if 200 <= status < 300:
            return Outcome("sent", reason)
        if status == _GATEWAY_TIMEOUT:
            return Outcome("unknown", reason)
        if status in _RETRY_STATUSES or status >= 500:
            return Outcome("later", reason, retry_after_s(response, self._clock.now_ms()) or 0.0)
        return Outcome("refused", reason)

    def _failure_outcome(self, error: DataError) -> Outcome:
        reason = f"{type(error).__name__} at {self._host}"
        if isinstance(error, ConfigError):
            return Outcome("refused", reason)
        is_unsent = isinstance(error, TransientError) and not error.was_sent
        return Outcome("later" if is_unsent else "unknown", reason)


def _is_usable(url: str) -> bool:
    try:
        check_address(url)
        return bool(urlsplit(url).hostname)
    except (ConfigError, ValueError):
        return False
