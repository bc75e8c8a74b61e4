"""HTTP requests and responses as values: vendors build and parse them without any I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from ..errors import ResponseFormatError

# What a parsed answer may take of the memory. The largest real ones, the lists of an exchange's
# pairs, take about a third of it.
MOST_PARSED_BYTES: Final = 256 * 1024 * 1024
# By so much at most a body grows when it is parsed, and no counting is needed.
_GROWTH: Final = 64
# What CPython takes at most for a list, a dict, the next value of either, and a key.
_PARSED_BYTES: Final = ((b"[", 96), (b"{", 192), (b",", 72), (b":", 128))
_FOUR_BYTE_LEADS: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")


@dataclass(frozen=True)
class HttpRequest:
    """A request. Secrets stand apart, and no text form of the request shows them.

    Attributes:
        url: scheme, host and path; no query.
        params: query parameters that may be logged.
        headers: headers that may be logged.
        secret_params, secret_headers: sent, never shown.
        method, body: HTTP method and bytes; the body is sent, never shown.
        cost: how many units of the vendor's limit it takes.
    """

    url: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)
    cost: int = 1


@dataclass(frozen=True)
class HttpResponse:
    """A response.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: the decoded bytes (content encoding undone).
        url: of the request, without its query.
        requests: how many HTTP requests it took, retries and an SDK's hidden ones included.
        took_ms: milliseconds from sending until the whole response had arrived.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    url: str = ""
    requests: int = 1
    took_ms: int = 0

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Parse the body; called again, it returns the same values, which nothing may change.

        Raises:
            ResponseFormatError: it is not JSON (the message shows its size and first characters),
                or its values would take more memory than :data:`MOST_PARSED_BYTES`.
        """
        return self._parsed

    @cached_property
    def _parsed(self) -> Any:
        check_parsed_size(self.body)
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            start = self.text[:60].replace("\n", " ")
            raise ResponseFormatError(
                f"answer of {len(self.body)} bytes is not JSON, it begins {start!r}"
            ) from exc


def check_parsed_size(body: bytes) -> None:
    """Refuse JSON that would take too much memory, before it is parsed.

    Raises:
        ResponseFormatError: it would.
    """
    if len(body) * _GROWTH <= MOST_PARSED_BYTES:
        return
    taken = len(body) * _text_growth(body)
    taken += sum(body.count(mark) * size for mark, size in _PARSED_BYTES)
    if taken > MOST_PARSED_BYTES:
        raise ResponseFormatError(
            f"answer of {len(body)} bytes holds more than {MOST_PARSED_BYTES >> 20} MiB of values"
        )


def _text_growth(body: bytes) -> int:
    """Return how many bytes a text and a copy of it take for one of UTF-8.

    The widest letter of a text says how many bytes each of them takes: one, two or four.
    """
    if body.isascii():
        return 2
    return 8 if any(lead in body for lead in _FOUR_BYTE_LEADS) else 4


def path_and_query(address: str, base: str = "") -> str:
    """Return path and query of an address that an answer names, for a request to our own host.

    Requests carry keys, so scheme and host are never taken from an answer.

    Args:
        address: as in the answer; a relative one is resolved against ``base``.
        base: address of the request.

    Raises:
        ResponseFormatError: it is no address.
    """
    parts = _joined(base, address)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def address_on(base: str, address: str) -> str:
    """Return the address that an answer to ``base`` names, where it is of the same scheme and host.

    Raises:
        ResponseFormatError: it is of another one, or no address.
    """
    here, there = urlsplit(base), _joined(base, address)
    if _origin(there) != _origin(here):
        raise ResponseFormatError(
            f"{here.hostname} redirects to another host ({there.scheme}://{there.hostname}); "
            "not followed"
        )
    return f"{here.scheme}://{here.netloc}{path_and_query(address, base)}"


def _joined(base: str, address: str) -> SplitResult:
    """Split an address that every reader of addresses splits alike; ``base`` completes it."""
    # A backslash, a blank or a user's name lead some of them to another host than others.
    is_plain = address.isascii() and address.isprintable() and not set(address) & {" ", "\\"}
    try:
        parts = urlsplit(urljoin(base, address))
        _origin(parts)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ResponseFormatError("an answer names an address that cannot be read")
    if "@" in parts.netloc or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ResponseFormatError(
            f"an answer names an address of no host or of a user ({parts.scheme[:20]}:)"
        )
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    usual = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, parts.port or usual
