"""Translates failures below the transport into this library's errors.

The text, arguments and attributes of the HTTP library's errors contain the whole URL, including the
key. Only the errors' class is used here.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3
from requests.exceptions import InvalidHeader, InvalidURL, MissingSchema, SSLError

from ..errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    ProviderTimeoutError,
    TransientError,
    UnavailableError,
)
from .own_network import NO_CONNECTION, OWN, is_loopback
from .redact import where

# Errors that the library and the socket below it raise for a failed request. ValueError: a header
# that is not Latin-1, a port out of range; OSError: the socket itself.
LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError)
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_BEFORE_SENDING = (
    requests.ConnectTimeout,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    ssl.SSLCertVerificationError,
)
# Error numbers which mean that this machine's network is down, or has no route to any host.
_OWN_NUMBERS = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_MOST_CAUSES = 30


def check_address(url: str) -> None:
    """Reject addresses that use plain HTTP to another machine, or have a user name before the host.

    Raises:
        ConfigError: The address is neither ``https://`` nor on this machine, or contains a user
            name.
    """
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    if "@" in authority or "\\" in authority:
        raise ConfigError(
            f"{where(url)} contains a user name, or cannot be parsed",
            hint="base_url must contain only a host and a path; set keys in the environment",
        )
    if url.startswith("https://") or (url.startswith("http://") and is_loopback(url)):
        return
    raise ConfigError(
        f"{where(url)} does not use TLS",
        hint="base_url must begin with https://; http:// is for this machine only",
    )


def worded(exc: Exception, url: str) -> DataError:
    """Convert an error from the HTTP library to one of this library's errors, without quoting its text."""
    error = _worded(exc, url)
    if isinstance(error, TransientError):
        causes = list(_causes(exc))
        # In these errors there was no connection yet, so no part of the request was sent.
        error.was_sent = not any(isinstance(cause, _BEFORE_SENDING) for cause in causes)
        if not is_loopback(url):
            error.is_own = any(map(_is_own, causes))
            error.is_unconnected = error.is_own or any(map(_is_silence, causes))
        if error.is_own:
            error.args = (f"{NO_CONNECTION}{where(url)}{OWN}",)
    return error


def _causes(exc: BaseException) -> Iterator[object]:
    """Yield an error and all errors that it contains: as arguments, as ``reason`` or as context."""
    causes: list[object] = [exc]
    for cause in causes:  # the list grows during the loop
        yield cause
        if isinstance(cause, BaseException) and len(causes) < _MOST_CAUSES:
            behind = (cause.__cause__, cause.__context__)
            causes += [*cause.args, getattr(cause, "reason", None), *behind]


def _is_own(cause: object) -> bool:
    """Return whether a system error suggests that this machine has no network connection.

    A failed name lookup may mean that, but it fails just as quickly for a name that does not exist.
    """
    if isinstance(cause, socket.gaierror):
        return True
    return isinstance(cause, OSError) and cause.errno in _OWN_NUMBERS


def _is_silence(cause: object) -> bool:
    """Return whether a host did not respond at all.

    A refused connection does not count, although urllib3 up to 1.26 raises a subclass of its
    timeout error for it.
    """
    late = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
    return isinstance(cause, late) and not isinstance(cause, urllib3.exceptions.NewConnectionError)


def _worded(exc: Exception, url: str) -> DataError:
    place = where(url)
    if isinstance(exc, InvalidURL | MissingSchema):
        return ConfigError(f"{place} is not a URL", hint="check providers.<name>.base_url")
    # Up to 2.33, requests accepts a trailing line break, which the standard library rejects.
    unsendable = type(exc) is ValueError and str(exc).startswith("Invalid header")
    if unsendable or isinstance(exc, InvalidHeader | UnicodeError):
        return AuthenticationError(
            f"the key for {place} contains characters that are invalid in a header",
            hint="check it for a line break or a quotation mark",
        )
    if _is_silence(exc):
        return ProviderTimeoutError(f"{NO_CONNECTION}{place} in time")
    if isinstance(exc, _TIMEOUTS):
        return ProviderTimeoutError(f"{place} did not answer in time")
    if isinstance(exc, SSLError | urllib3.exceptions.SSLError):
        return UnavailableError(f"the certificate of {place} could not be verified")
    if isinstance(exc, requests.ConnectionError):
        return UnavailableError(f"{NO_CONNECTION}{place}")
    return UnavailableError(f"the response from {place} was cut off ({type(exc).__name__})")


def worded_by_name(exc: Exception, url: str) -> DataError:
    """Convert an error from another HTTP library to one of this library's errors, by its class name."""
    place, name = where(url), type(exc).__name__
    if "Timeout" in name:
        return ProviderTimeoutError(f"{place} did not answer in time")
    if "DNS" in name:
        error = UnavailableError(f"{NO_CONNECTION}{place}{OWN}")
        error.was_sent, error.is_own, error.is_unconnected = False, True, True
        return error
    return UnavailableError(f"no answer from {place} ({name})")
