"""Restrictions on a configuration file that was merely found in the working directory.

A file that the user named, by argument or variable, is trusted. A file that happens to be in the
folder where a program was started may come from an archive or a cloned repository. Such a file must
not cause a key to be sent to anyone but the key's own vendor, or a request to be sent to a host
that it chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..registry import key_names, row_of
from .credentials import spellings_of
from .rules import ProviderRules
from .schema import LOOPBACK, Problem

HINT = "to allow them, name the file in the argument config_path or the variable ONETAPE_RULES"
_ADDRESSES = ("base_url", "ws_url")
_VARIABLES = ("api_key_env", "secret_key_env")


def provider_problems(vendor: str, entry: ProviderRules) -> Iterator[Problem]:
    """Yield a problem for each host or variable that a vendor's entry in a found file may not name."""
    for key in _ADDRESSES:
        address = getattr(entry, key)
        if address and not is_own_host(vendor, host_of(address)):
            yield Problem(("providers", vendor, key), f"not a host of {vendor} or this machine")
    for key in _VARIABLES:
        yield from variable_problems(vendor, getattr(entry, key), ("providers", vendor, key))
    host = entry.options.get("host")
    if host and host not in LOOPBACK:
        yield Problem(("providers", vendor, "host"), "not this machine")
    for key, value in entry.options.items():
        if isinstance(value, str) and "${" in value:
            yield Problem(("providers", vendor, key), "${...} is not expanded")


def variable_problems(vendor: str, name: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    """Yield a problem if ``name`` is not a variable for one of the vendor's own keys."""
    own = spellings_of(key_names(vendor))
    if name and name not in own:
        listed = f"its own variables are {', '.join(own)}" if own else "it does not use a key"
        yield Problem(path, f"not a variable of {vendor}; {listed}")


def host_of(address: str) -> str:
    """Return the host of an address in lowercase, or an empty string if it has none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_own_host(vendor: str, host: str) -> bool:
    """Return whether ``host`` is this machine or one of the vendor's own hosts."""
    domains = row_of(vendor).domains
    return host in LOOPBACK or any(host == d or host.endswith(f".{d}") for d in domains)
