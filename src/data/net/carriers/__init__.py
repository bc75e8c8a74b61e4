"""Other ways to carry a request than plain HTTP: vendors' own packages, and files.

A vendor names its package's carrier as ``module:Class``; modules are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ...errors import MissingExtraError
from ..http import Transport

MODES = ("auto", "http", "sdk")


def choose_transport(
    mode: str, sdk_carrier: str, *, preferred: bool, plain: Transport
) -> Transport:
    """Return what carries a vendor's requests.

    Args:
        mode: ``http``; ``sdk``, the vendor's own package; or ``auto``, the package where it is
            installed and preferred, else plain HTTP.
        sdk_carrier: ``module:Class`` in this package, empty where the vendor has none.
        preferred: whether ``auto`` means the package.
        plain: the HTTP transport.

    Raises:
        MissingExtraError: ``sdk`` is asked for and not installed; the hint names the extra.
    """
    if mode == "http" or not sdk_carrier or (mode == "auto" and not preferred):
        return plain
    module, _, name = sdk_carrier.partition(":")
    carrier: Any = getattr(import_module(f".{module}", __name__), name)
    installed = find_spec(carrier.package) is not None
    if mode == "auto":
        light: Transport | None = carrier.light() if installed else None
        return light or plain
    if not installed:
        raise MissingExtraError(
            f"transport `sdk` needs {carrier.package}",
            hint=f'pip install "onetape[{carrier.extra}]", or set transport: http',
        )
    transport: Transport = carrier()
    return transport
