"""Removes keys from responses and log records."""

from __future__ import annotations

import base64
import gzip
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from html import escape
from urllib.parse import urlsplit

from ..model.http import HttpRequest, HttpResponse
from .decoder import decoder_of

MASK = "***"
# Shorter values are not keys ("demo"), and removing them could change data.
_SHORTEST_SECRET = 6
_BASE64 = (base64.b64encode, base64.urlsafe_b64encode)
# Pattern of an escape that was cut off at the end of a string, and the maximum length of an escape.
_ESCAPE_STARTS = (b"", b"%", b"\\", b"&")
_LONGEST_ESCAPE = 8
_GZIP = b"\x1f\x8b"
# The size limit that transports have for a response; a longer text is neither searched nor shown.
MOST_UNPACKED = 64 << 20

sending: ContextVar[bool] = ContextVar("sending", default=False)
# Whether the path of the URL is a secret too, as for a webhook.
hiding_path: ContextVar[bool] = ContextVar("hiding_path", default=False)


def where(url: str) -> str:
    """Return the host and path of ``url``, which are safe to show in messages."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return "an unreadable address"
    return f"{parts.hostname or parts.scheme}{parts.path}"


def address(url: str) -> str:
    """Return the host, port and path of ``url``, which identify what is queried."""
    try:
        return f"{host_port(url)}{urlsplit(url).path}"
    except ValueError:  # half an IPv6 address
        return "an unreadable address"


def host_port(url: str) -> str:
    """Return the host and port of ``url``, without any user name."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:  # half an IPv6 address
        return "an unreadable address"


def redacted(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Return ``response`` with the request's secrets masked.

    Some vendors quote the caller's key in their error messages, whose text ends up in this
    library's messages.
    """
    words = _words_to_mask([*request.secret_params.values(), *request.secret_headers.values()])
    headers = {
        name: _mask(value.encode("utf-8", "surrogateescape"), words).decode(errors="replace")
        for name, value in response.headers.items()
    }
    url = response.url.partition("?")[0]
    return replace(response, body=_mask(response.body, words), headers=headers, url=url)


def without_keys(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with all ``secrets`` masked, however they are escaped."""
    masked = body_without_keys(text.encode("utf-8", "surrogateescape"), secrets)
    return masked.decode("utf-8", "surrogateescape")


def body_without_keys(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return ``body`` with all ``secrets`` masked, even inside UTF-16 text or gzip."""
    return _mask(body, _words_to_mask(secrets))


def _words_to_mask(secrets: Iterable[str]) -> list[str]:
    """Return the words to mask, longest first; a secret ``Bearer x`` also adds ``x``."""
    words = {word for secret in secrets for word in (secret, *secret.split())}
    long = [word for word in words if len(word) >= _SHORTEST_SECRET]
    raw = [word.encode("utf-8", "replace") for word in long]
    encoded = [code(word).decode() for word in raw for code in _BASE64]
    return sorted({*long, *encoded}, key=len, reverse=True)


def _mask(body: bytes, words: Sequence[str]) -> bytes:
    """Return ``body`` with every word masked, even inside gzip, which is then recompressed."""
    if not words:
        return body
    if not body.startswith(_GZIP):
        return _masked_text(body, words)
    text = _unpack(body)
    masked = MASK.encode() if text is None else _masked_text(text, words)
    return body if masked == text else gzip.compress(masked, mtime=0)


def _masked_text(text: bytes, words: Sequence[str]) -> bytes:
    """Return ``text`` with every word masked.

    If a word is found in UTF-16 or UTF-32 text, all null bytes are removed from the result.
    """
    text = _masked_letters(text, words)
    if b"\0" not in text:
        return text
    bare = text.replace(b"\0", b"")
    masked = _masked_letters(bare, words)
    return text if masked == bare else masked


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


def _masked_letters(text: bytes, words: Iterable[str]) -> bytes:
    """Return ``text`` with every word masked, even if the word is escaped or cut off at the end."""
    for word in words:
        if _may_hold(text, word):
            text = _without_cut(_pattern(word).sub(MASK.encode(), text), word)
    return text


def _may_hold(text: bytes, word: str) -> bool:
    """Return whether ``text`` might contain ``word``; this is a cheap check for large responses."""
    # Escaping changes either all letters and digits, or none.
    start = max(re.findall(r"[a-zA-Z0-9]*", word[:_SHORTEST_SECRET]), key=len)
    if start.encode() in text or b"\\u00" in text or b"&#" in text:
        return True
    letters = word[:_SHORTEST_SECRET].encode("utf-8", "replace")
    signs = {f"%{byte:02{case}}" for byte in letters for case in "xX"}
    return any(sign.encode() in text for sign in signs)


def _without_cut(text: bytes, word: str) -> bytes:
    """Return ``text`` with its end masked if the text was cut off within ``word``."""
    letters = _letters(word)
    start = re.compile(b"".join(letters[:_SHORTEST_SECRET]))
    for beginning in start.finditer(text, max(0, len(text) - len(word) * _LONGEST_ESCAPE)):
        end = beginning.end()
        for letter in letters[_SHORTEST_SECRET:]:
            match = re.compile(letter).match(text, end)
            if match is None:
                break
            end = match.end()
        if text[end : end + 1] in _ESCAPE_STARTS and len(text) - end < _LONGEST_ESCAPE:
            return text[: beginning.start()] + MASK.encode()
    return text


@lru_cache(maxsize=64)
def _pattern(word: str) -> re.Pattern[bytes]:
    """Return a pattern that finds ``word`` however its letters are escaped."""
    return re.compile(b"".join(_letters(word)))


def _letters(word: str) -> list[bytes]:
    """Return a pattern per letter that matches it both plain and escaped as in URLs, JSON and HTML."""
    return [b"(?:" + b"|".join(dict.fromkeys(_spellings(letter))) + b")" for letter in word]


def _spellings(letter: str) -> Iterator[bytes]:
    raw = letter.encode("utf-8", "replace")
    yield re.escape(raw)
    if letter == " ":
        yield rb"\+"
    if letter in '"\\/':
        yield rb"\\" + re.escape(raw)
    for case in "xX":
        yield "".join(f"%{byte:02{case}}" for byte in raw).encode()
        yield rf"\\u{ord(letter):04{case}}".encode()
        yield rf"&#[xX]0*{ord(letter):{case}};".encode()
    yield rb"&#0*%d;" % ord(letter)
    yield re.escape(escape(letter).encode("utf-8", "replace"))


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
