"""A request and an answer as values: what vendors build and parse without any I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ResponseFormatError


@dataclass(frozen=True)
class HttpRequest:
    """What to ask. Secrets stand apart, and no text form of the request shows them.

    Attributes:
        url: scheme, host and path; no query.
        params: query parameters that may be logged.
        headers: headers that may be logged.
        secret_params, secret_headers: sent, never shown.
        cost: how many units of the vendor's limit it takes.
    """

    url: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "GET"
    cost: int = 1


@dataclass(frozen=True)
class HttpResponse:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: the decoded bytes (content encoding undone).
        url: what was asked, without its query.
        requests: how many HTTP requests it took, retries and an SDK's hidden ones included.
        took_ms: milliseconds from sending until it was here, whole.
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
        """Parse the body.

        Raises:
            ResponseFormatError: it is not JSON; the message shows its size and first characters.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            start = self.text[:60].replace("\n", " ")
            raise ResponseFormatError(
                f"answer of {len(self.body)} bytes is not JSON, it begins {start!r}"
            ) from exc
