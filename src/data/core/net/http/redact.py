"""Removes keys from responses and log records."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from urllib.parse import SplitResult, urlsplit

from ...model.request.http import HttpRequest, HttpResponse
from ...observability.masking import MASK, masked_text, words_to_mask
from .decoder import decoder_of

_GZIP = b"\x1f\x8b"
# The size limit that transports have for a response; a longer text is neither searched nor shown.
MOST_UNPACKED = 64 << 20

sending: ContextVar[bool] = ContextVar("sending", default=False)
# Whether the path of the URL is a secret too, as for a webhook.
hiding_path: ContextVar[bool] = ContextVar("hiding_path", default=False)


def where(url: str) -> str:
    """Return the host and path of ``url``, which are safe to show in messages."""
    parts = _parts(url)
    return f"{parts.hostname or parts.scheme}{parts.path}"


def address(url: str) -> str:
    """Return the host, port and path of ``url``, which identify what is queried."""
    return f"{host_port(url)}{_parts(url).path}"


def host_port(url: str) -> str:
    """Return the host and port of ``url``, without any user name."""
    return _parts(url).netloc.rpartition("@")[2]


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # half an IPv6 address
        return SplitResult("", "an unreadable address", "", "", "")


def redacted(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Return ``response`` with the request's secrets masked.

    Some vendors quote the caller's key in their error messages, whose text ends up in this
    library's messages.
    """
    words = words_to_mask((*request.secret_params.values(), *request.secret_headers.values()))
    headers = {
        name: _mask(value.encode("utf-8", "surrogateescape"), words).decode(errors="replace")
        for name, value in response.headers.items()
    }
    url = response.url.partition("?")[0]
    return replace(response, body=_mask(response.body, words), headers=headers, url=url)


def body_without_keys(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return ``body`` with all ``secrets`` masked, even inside UTF-16 text or gzip."""
    return _mask(body, words_to_mask(tuple(secrets)))


def _mask(body: bytes, words: Sequence[str]) -> bytes:
    """Return ``body`` with every word masked, even inside gzip, which is then recompressed."""
    if not words:
        return body
    if not body.startswith(_GZIP):
        return masked_text(body, words)
    text = _unpack(body)
    masked = MASK.encode() if text is None else masked_text(text, words)
    return body if masked == text else gzip.compress(masked, mtime=0)


def _unpack(body: bytes) -> bytes | None:
    """Return the readable content of a gzip file, or None if it exceeds the size limit."""
    parts, room, decode = list[bytes](), MOST_UNPACKED, decoder_of("gzip")
    assert decode is not None
    try:
        for part in decode(body):
            room -= len(part)
            if room < 0:
                return None
            parts.append(part)
    except zlib.error:
        pass  # the part before the damage is used
    return b"".join(parts)


class QueryFilter(logging.Filter):
    """A log filter that removes the queries from URLs in the HTTP library's log records.

    The HTTP library's debug records contain the whole URL path with the query, including keys. The
    filter applies only while this library sends, so records caused by other users of the HTTP
    library remain unchanged.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record's arguments in place; no record is dropped."""
        if sending.get() and isinstance(record.args, tuple):
            record.args = tuple(_without_query(arg) for arg in record.args)
        return True


def _without_query(value: object) -> object:
    if isinstance(value, str) and value.startswith("/") and hiding_path.get():
        return "/" + MASK
    if not isinstance(value, str) or "?" not in value:
        return value
    return value.partition("?")[0] + "?" + MASK


def guard_library_logs() -> None:
    """Attach the filter to the HTTP library's loggers; it is safe to call this again."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, QueryFilter) for f in logger.filters):
            logger.addFilter(QueryFilter())
