"""Keep keys out of answers and log records."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from html import escape
from urllib.parse import urlsplit

from ..model.http import HttpRequest, HttpResponse

MASK = "***"
# Shorter ones are no keys ("demo"), and cutting them out could change data.
_SHORTEST_SECRET = 6
_BASE64 = (base64.b64encode, base64.urlsafe_b64encode)
# What may be left of a letter's escape where a text was cut, and how long an escape may be.
_BEGINNINGS = (b"", b"%", b"\\", b"&")
_LONGEST_ESCAPE = 8

sending: ContextVar[bool] = ContextVar("sending", default=False)


def where(url: str) -> str:
    """Return host and path of ``url``: what a message may show of it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return "an unreadable address"
    return f"{parts.hostname or parts.scheme}{parts.path}"


def address(url: str) -> str:
    """Return host, port and path of ``url``: another of them is another place to ask at."""
    try:
        return f"{place(url)}{urlsplit(url).path}"
    except ValueError:  # half an IPv6 address
        return "an unreadable address"


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
    words = _words([*request.secret_params.values(), *request.secret_headers.values()])
    headers = {
        name: _masked(value.encode("utf-8", "surrogateescape"), words).decode(errors="replace")
        for name, value in response.headers.items()
    }
    url = response.url.partition("?")[0]
    return replace(response, body=_masked(response.body, words), headers=headers, url=url)


def without_keys(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every one of ``secrets`` masked, however it is escaped."""
    masked = _masked(text.encode("utf-8", "surrogateescape"), _words(secrets))
    return masked.decode("utf-8", "surrogateescape")


def _words(secrets: Iterable[str]) -> list[str]:
    """Return what must not come back, longest first; `Bearer x` stands for `x` too."""
    words = {word for secret in secrets for word in (secret, *secret.split())}
    long = [word for word in words if len(word) >= _SHORTEST_SECRET]
    raw = [word.encode("utf-8", "replace") for word in long]
    encoded = [code(word).decode() for word in raw for code in _BASE64]
    return sorted({*long, *encoded}, key=len, reverse=True)


def _masked(text: bytes, words: Iterable[str]) -> bytes:
    """Return ``text`` with every word masked, also an escaped one, or one cut off at its end."""
    for word in words:
        if _may_hold(text, word):
            text = _without_cut(_pattern(word).sub(MASK.encode(), text), word)
    return text


def _may_hold(text: bytes, word: str) -> bool:
    """Tell cheaply, for whole pages of bars, whether it is worth looking for ``word``."""
    # Escaping leaves letters and digits alone, or it leaves none of them alone.
    start = max(re.findall(r"[a-zA-Z0-9]*", word[:_SHORTEST_SECRET]), key=len)
    return start.encode() in text or b"\\u00" in text or b"&#" in text


def _without_cut(text: bytes, word: str) -> bytes:
    """Return ``text`` with its end masked, should that be the beginning of ``word``."""
    letters = _letters(word)
    start = re.compile(b"".join(letters[:_SHORTEST_SECRET]))
    for beginning in start.finditer(text, max(0, len(text) - len(word) * _LONGEST_ESCAPE)):
        place = beginning.end()
        for letter in letters[_SHORTEST_SECRET:]:
            match = re.compile(letter).match(text, place)
            if match is None:
                break
            place = match.end()
        if text[place : place + 1] in _BEGINNINGS and len(text) - place < _LONGEST_ESCAPE:
            return text[: beginning.start()] + MASK.encode()
    return text


@lru_cache(maxsize=64)
def _pattern(word: str) -> re.Pattern[bytes]:
    """Return what finds ``word`` however each of its letters is written."""
    return re.compile(b"".join(_letters(word)))


def _letters(word: str) -> list[bytes]:
    """Return an expression for each letter: as it is, or as URLs, JSON and HTML write it."""
    return [b"(?:" + b"|".join(dict.fromkeys(_written(letter))) + b")" for letter in word]


def _written(letter: str) -> Iterator[bytes]:
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
