"""Keep keys out of answers and log records."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace
from urllib.parse import quote, quote_plus, urlsplit

from ..model.http import HttpRequest, HttpResponse

MASK = "***"
# Shorter ones are no keys ("demo"), and cutting them out could change data.
_SHORTEST_SECRET = 6

sending: ContextVar[bool] = ContextVar("sending", default=False)


def where(url: str) -> str:
    """Return host and path of ``url``: what a message may show of it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return "an unreadable address"
    return f"{parts.hostname or parts.scheme}{parts.path}"


def place(url: str) -> str:
    """Return host and port of ``url``, without the user that may stand before them."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:  # half an IPv6 address
        return "an unreadable address"


def redacted(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Return ``response`` without the request's secrets.

    Some vendors quote the caller's key in their error texts, and those end up in messages.
    """
    body, headers = response.body, dict(response.headers)
    for secret in _spellings([*request.secret_params.values(), *request.secret_headers.values()]):
        body = body.replace(secret.encode("utf-8", "replace"), MASK.encode())
        headers = {name: value.replace(secret, MASK) for name, value in headers.items()}
    return replace(response, body=body, headers=headers, url=response.url.partition("?")[0])


def _spellings(secrets: Iterable[str]) -> set[str]:
    """Return every form in which a secret may come back; `Bearer x` stands for `x` too."""
    words = {word for secret in secrets for word in (secret, *secret.split())}
    long = {word for word in words if len(word) >= _SHORTEST_SECRET}
    encoded = {base64.b64encode(word.encode("utf-8", "replace")).decode() for word in long}
    return long | encoded | {quote(w, safe="") for w in long} | {quote_plus(w) for w in long}


class QueryFilter(logging.Filter):
    """Cut queries off the URLs that the HTTP library logs while we are sending.

    Its debug records hold the whole path with the query, keys included. Records of other users
    of that library are left alone.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record's arguments in place; every record is kept."""
        if sending.get() and isinstance(record.args, tuple):
            record.args = tuple(_cut(arg) for arg in record.args)
        return True


def _cut(value: object) -> object:
    if not isinstance(value, str) or "?" not in value:
        return value
    return value.partition("?")[0] + "?" + MASK


def guard_library_logs() -> None:
    """Attach the filter to the HTTP library's loggers; safe to call again."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, QueryFilter) for f in logger.filters):
            logger.addFilter(QueryFilter())
