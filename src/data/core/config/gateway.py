"""The address of a trading gateway on the user's own machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...errors import ConfigError
from .donotshare import is_set, variable_of
from .schema import LOOPBACK


class Gateway(NamedTuple):
    """A gateway's host and port, and the ID that identifies this client to the gateway."""

    host: str = "127.0.0.1"
    port: int = 7497
    client_id: int = 1


def ibkr_gateway(
    options: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Gateway:
    """Return the address of the Interactive Brokers gateway from ``options`` or the environment.

    Args:
        options: Any of ``host``, ``port`` and ``client_id``; the others are read from the
            environment.
        environ: Variables to read; None for the process's environment, then the user's optional
            private module.

    Raises:
        ConfigError: The port or the client id is invalid.
    """
    settings: dict[str, object] = {}
    for name in Gateway._fields:
        variable = f"IBKR_{name.upper()}"
        value = (options or {}).get(name)
        source = name if value is not None else variable
        settings[name] = value = value if value is not None else variable_of(variable, environ)
        if value == "":
            del settings[name]
        elif source == "IBKR_HOST" and value not in LOOPBACK and not is_set(source, environ):
            raise ConfigError(
                "IBKR_HOST in config/donotshare/donotshare.py must be this machine: that file is found "
                "automatically, so it may not name another host",
                hint="set IBKR_HOST in the environment, or providers.ibkr.host in a rules file you name",
            )
        elif name != "host":
            settings[name] = _number(value, source, 65_535 if name == "port" else 2**31 - 1)
    return Gateway(**settings)  # type: ignore[arg-type]


def _number(value: object, source: str, most: int) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ConfigError(f"{source} {text[:20]!r} is not an integer from 0 to {most}")
    return int(text)
