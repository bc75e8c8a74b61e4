"""The meaning of HTTP status codes, in one place."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    ProviderTimeoutError,
    RateLimitedError,
    RegionError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...model.request.http import HttpResponse
from ...model.time.instant import SECOND_MS, to_ms
from .redact import where

_ERROR_OF_STATUS: dict[int, type[DataError]] = {
    401: AuthenticationError,
    402: EntitlementError,
    403: EntitlementError,
    404: SymbolNotFoundError,
    407: UnavailableError,  # a proxy between this host and the vendor, not the vendor
    408: ProviderTimeoutError,
    425: UnavailableError,
    451: RegionError,
}
_HINTS: dict[int, str] = {
    401: "check that its key is set and valid",
    402: "your plan does not include it",
    403: "your plan or region does not include it",
    451: "it does not serve this region; providers.<name>.base_url may name another host",
}
# Text that servers send for an unknown address, instead of the vendor's own message.
_ERROR_PAGE = re.compile(rb"\s*(?:404 page not found|<html|<!doctype html)", re.IGNORECASE)


def error_of(response: HttpResponse) -> DataError | None:
    """Return the error that a response's status represents, or None if it is a success.

    The body is never quoted; a vendor's own messages are interpreted by its ``classify`` function.
    """
    status = response.status
    if 200 <= status < 300:
        return None
    message = f"HTTP {status} from {where(response.url)}"
    if status in (418, 429):
        return RateLimitedError(f"{message}: too many requests", retry_after_s(response))
    if status == 404 and _ERROR_PAGE.match(response.body[:200]):
        # A gateway or a server does not know the address, which reveals nothing about a symbol.
        return ResponseFormatError.of_page(f"{message}: the page does not exist")
    if kind := _ERROR_OF_STATUS.get(status):
        return kind(message, hint=_HINTS.get(status))
    if status >= 500:
        error = UnavailableError(message)
        error.retry_after = retry_after_s(response)
        return error
    return CapabilityError(message) if status >= 400 else ResponseFormatError.of_page(message)


def retry_after_s(response: HttpResponse, now_ms: int | None = None) -> float | None:
    """Return the seconds given by ``Retry-After``, or None if it is missing or unusable.

    If the header contains a date, the seconds are counted from the vendor's own ``Date`` header, so
    that two different clocks are not compared; if there is no such header, they are counted from
    ``now_ms``.
    """
    text = response.headers.get("retry-after", "").strip()
    # Only digits are accepted; `float` would also accept "nan", "inf" and "1_000".
    if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    until, now = _http_date_ms(text), server_time_ms(response) or now_ms
    if until is None or now is None:
        return None
    return max(0.0, (until - now) / SECOND_MS)


def server_time_ms(response: HttpResponse) -> int | None:
    """Return the vendor's time, from its ``Date`` header, in UTC milliseconds, or None."""
    return _http_date_ms(response.headers.get("date", ""))


def _http_date_ms(text: str) -> int | None:
    try:
        return to_ms(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError):
        return None
