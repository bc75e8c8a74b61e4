"""Rejects unusable addresses, and translates the failures of vendors' own HTTP libraries.

The text, arguments and attributes of an HTTP library's errors contain the whole URL, including the
key. Only the errors' class is used here.
"""

from __future__ import annotations

from ....errors import ConfigError, DataError, ProviderTimeoutError, UnavailableError
from ..limits.own_network import is_loopback, unreachable
from .redact import where


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


def worded_by_name(exc: Exception, url: str) -> DataError:
    """Convert an error from another HTTP library to one of this library's errors, by its class name."""
    location, name = where(url), type(exc).__name__
    if "Timeout" in name:
        return ProviderTimeoutError(f"{location} did not answer in time")
    if "DNS" in name:
        return unreachable(url)
    return UnavailableError(f"no answer from {location} ({name})")
