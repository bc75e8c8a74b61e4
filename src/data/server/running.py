"""Runs the application: address, port, TLS and token."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, MissingExtraError, QueryError, install_line
from .facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Door", "serve"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
# Ports that are tried for the offer if the requested one is taken.
_NEXT_PORTS, _LAST_PORT = 50, 65_535
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Door:
    """The address of a server.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        token_file: File that contains the token that each request must have; None for none.
        certificate, key: Files for TLS, in PEM format; None for none.

    Raises:
        QueryError: Other machines can reach the address, and a token or TLS is missing; the port is too
            large; or a key is given without a certificate.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        is_safe = self.token_file and self.certificate and self.key
        if self.host not in _LOOPBACK and not is_safe:
            raise QueryError(
                f"{self.host} can be reached by other machines",
                hint="give --token-file, --tls-cert and --tls-key, or omit --host",
            )
        if self.port > _LAST_PORT:
            raise QueryError(f"port {self.port} is larger than {_LAST_PORT}, the last one")
        if self.key and not self.certificate:
            raise QueryError("--tls-key is given without --tls-cert", hint="give both, or neither")

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which the server answers."""
        return _LOOPBACK | {self.host.lower()}

    @property
    def url(self) -> str:
        """The address of the first page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"

    def token(self) -> str:
        """Return the token; empty if none is needed.

        Raises:
            ConfigError: The file cannot be read, or its token is too short or cannot be sent.
        """
        if self.token_file is None:
            return ""
        try:
            token = Path(self.token_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"the token file cannot be read: {self.token_file}") from error
        if len(token) < _SHORTEST_TOKEN:
            raise ConfigError(
                f"the token in {self.token_file} is too short",
                hint=f"use at least {_SHORTEST_TOKEN} random characters",
            )
        if not (token.isascii() and token.isprintable()):
            raise ConfigError(
                f"the token in {self.token_file} contains characters that a header cannot contain",
                hint="use one line of ASCII letters, digits and punctuation",
            )
        return token


def serve(facts: Facts, door: Door, say: Callable[[str], object]) -> None:
    """Serve until Ctrl-C.

    Args:
        facts: Facts to answer from.
        door: Address of the server.
        say: Called with the address of the first page, just before the port is opened.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed (extra ``server``).
        ConfigError: The port is taken; the hint names the next free one. Or the token or a file for
            TLS is unusable.
    """
    try:
        import uvicorn

        from .app import application
    except ImportError as missing:
        hint = install_line("server")
        raise MissingExtraError("onetape serve needs Starlette and uvicorn", hint=hint) from missing

    app = application(facts, door.hosts, door.token())
    config = uvicorn.Config(
        app,
        host=door.host,
        port=door.port,
        ssl_certfile=door.certificate,
        ssl_keyfile=door.key,
        server_header=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    try:
        config.load()
    except OSError as error:
        files = " and ".join(filter(None, (door.certificate, door.key)))
        raise ConfigError(
            f"TLS cannot use {files}: {error.strerror or error}",
            hint="--tls-cert and --tls-key need PEM files that belong together",
        ) from error
    if not _is_free(door.host, door.port):
        ports = range(door.port + 1, min(door.port + _NEXT_PORTS, _LAST_PORT + 1))
        free = next((port for port in ports if _is_free(door.host, port)), None)
        offer = None if free is None else f"--port {free} is free"
        raise ConfigError(f"port {door.port} of {door.host} is taken or not allowed", hint=offer)
    say(door.url)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()


def _is_free(host: str, port: int) -> bool:
    """Return whether a server can listen on a port."""

    async def listen() -> None:
        """Open the port and close it again."""
        loop = asyncio.get_running_loop()
        (await loop.create_server(asyncio.Protocol, host, port)).close()

    try:
        asyncio.run(listen())
    except OSError:
        return False
    return True
