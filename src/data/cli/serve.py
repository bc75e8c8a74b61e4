"""``onetape serve``: pages on what needs attention, and bars for other programs; read-only."""

from __future__ import annotations

import argparse

from .arguments import command, option, positive
from .cached import manager_of
from .output import note

EXAMPLES = ("serve", "serve --port 9000")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "--port N", "default 8765", type=positive, default=8765)
    option(parser, "--host HOST", "address; others need a token and TLS", default="127.0.0.1")
    option(parser, "--token-file FILE", "token that each request must have")
    option(parser, "--tls-cert FILE", "certificate, PEM")
    option(parser, "--tls-key FILE", "its key, PEM")
    option(parser, "--may-fetch", "query vendors for bars that are missing")
    command(parser, run, "Nothing is changed; without --may-fetch no vendor is queried.")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the exit code is 0."""
    from ..server.facts import Facts
    from ..server.running import Door, serve

    door = Door(args.host, args.port, args.token_file, args.tls_cert, args.tls_key)
    serve(Facts(manager_of(args), may_fetch=args.may_fetch), door, note)
    return 0
