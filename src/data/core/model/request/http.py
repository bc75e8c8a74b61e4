"""HTTP requests and responses as values, which vendors build and parse without any I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from ....errors import ResponseFormatError
from ...runtime.once import cached_property

# Maximum memory for a parsed answer. The largest real answers, lists of an exchange's pairs, take
# about a third of it.
MOST_PARSED_BYTES: Final = 256 * 1024 * 1024
# Upper bound on how much a body grows when it is parsed. Bodies that cannot exceed the limit even
# so are not examined further.
_GROWTH: Final = 64
# Upper bounds on CPython's memory for a list, a dict, the next value in either, and a key.
_PARSED_BYTES: Final = ((b"[", 96), (b"{", 192), (b",", 72), (b":", 128))
_FOUR_BYTE_LEADS: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request. Secrets are kept in separate fields, which ``repr`` never shows.

    Attributes:
        url: Scheme, host and path; no query.
        params: Query parameters that may be logged.
        headers: Headers that may be logged.
        secret_params, secret_headers: Parameters and headers that are sent but never shown.
        method, body: HTTP method and bytes; the body is sent but never shown.
        cost: Units of the vendor's request limit that the request uses.
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
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: Headers with lowercase names.
        body: Bytes of the body, with any content encoding decoded.
        url: URL of the request, without its query.
        requests: Number of HTTP requests sent, including retries and requests that a vendor's SDK
            sends on its own.
        took_ms: Milliseconds from sending until the whole response had arrived.
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
        """Parse the body; further calls return the same values, which must not be modified.

        Raises:
            ResponseFormatError: The body is not JSON (the message shows its size and first
                characters), or its values would take more memory than :data:`MOST_PARSED_BYTES`.
        """
        return self._parsed_body

    @cached_property
    def _parsed_body(self) -> Any:
        check_parsed_size(self.body)
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            start = self.text[:60].replace("\n", " ")
            raise ResponseFormatError.of_page(
                f"the answer of {len(self.body)} bytes is not JSON; it begins with {start!r}"
            ) from exc


def check_parsed_size(body: bytes) -> None:
    """Reject JSON that would take too much memory when parsed.

    Raises:
        ResponseFormatError: The JSON would take too much memory.
    """
    if len(body) * _GROWTH <= MOST_PARSED_BYTES:
        return
    size_parsed = len(body) * _text_growth(body)
    size_parsed += sum(body.count(mark) * size for mark, size in _PARSED_BYTES)
    if size_parsed > MOST_PARSED_BYTES:
        raise ResponseFormatError(
            f"answer of {len(body)} bytes has more than {MOST_PARSED_BYTES >> 20} MiB of values"
        )


def _text_growth(body: bytes) -> int:
    """Return the memory (in bytes) that a decoded string and one copy need per byte of UTF-8.

    The widest character in a string determines the width of all of them: one, two or four bytes.
    """
    if body.isascii():
        return 2
    return 8 if any(lead in body for lead in _FOUR_BYTE_LEADS) else 4


def path_and_query(address: str, base: str = "") -> str:
    """Return the path and query of a URL in a response, to be requested from the original host.

    The scheme and host are never taken from an answer, because requests contain keys.

    Args:
        address: URL from the answer; a relative one is resolved against ``base``.
        base: URL of the request that was answered.

    Raises:
        ResponseFormatError: The text is not a URL.
    """
    parts = _resolve_url(base, address)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def address_on(base: str, address: str) -> str:
    """Check the scheme and host of a URL in the response for ``base``, and return it.

    Raises:
        ResponseFormatError: The URL has a different scheme or host, or is not a URL.
    """
    here, there = urlsplit(base), _resolve_url(base, address)
    if _origin(there) != _origin(here):
        raise ResponseFormatError(
            f"{here.hostname} redirects to another host ({there.scheme}://{there.hostname}), "
            "which is not followed"
        )
    return f"{here.scheme}://{here.netloc}{path_and_query(address, base)}"


def _resolve_url(base: str, address: str) -> SplitResult:
    """Resolve a URL against ``base`` and split it; reject a URL that parsers might split differently."""
    # A backslash, a space or a user name makes some URL parsers choose a different host than
    # others.
    is_plain = address.isascii() and address.isprintable() and not set(address) & {" ", "\\"}
    try:
        parts = urlsplit(urljoin(base, address))
        _origin(parts)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ResponseFormatError("the answer contains an address that cannot be read")
    if "@" in parts.netloc or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ResponseFormatError(
            f"an address in the answer has no host, has a user name, or is not HTTP ({parts.scheme[:20]}:)"
        )
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, parts.port or default
