"""``onetape serve``: pages on what needs attention, and bars for other programs; read-only."""

from __future__ import annotations

import argparse

from .arguments import command, flag, positive
from .cached import manager_of
from .output import note


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("--port", type=positive, default=8765, help="default 8765")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address; any but the default needs a token and TLS",
    )
    parser.add_argument("--token-file", metavar="FILE", help="token that each request must have")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, PEM")
    flag(parser, "--may-fetch", "query vendors for bars that are missing")
    command(parser, run, "Nothing is changed; without --may-fetch no vendor is queried.")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the exit code is 0."""
    from ..server.facts import Facts
    from ..server.running import Door, serve

    door = Door(args.host, args.port, args.token_file, args.tls_cert, args.tls_key)
    serve(Facts(manager_of(args), may_fetch=args.may_fetch), door, note)
    return 0
