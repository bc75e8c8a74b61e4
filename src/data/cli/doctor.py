"""``onetape doctor``: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import argparse

from . import FAILED, OK
from .arguments import add_json, add_places
from .output import console, print_json, table

_MARKS = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]-[/]"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--no-network", action="store_true", help="do not knock at the vendors")
    add_json(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the checks; 1 when no vendor of the network can be asked or a place is unusable."""
    from ..config.settings import load_settings
    from ..jobs.checkup import checkup
    from ..provider_selector import ProviderSelector

    settings = load_settings(args.cache_dir, args.config)
    checks = checkup(settings, ProviderSelector(settings=settings), network=not args.no_network)
    if args.json:
        print_json([check._asdict() for check in checks])
    else:
        rows = [[_MARKS[c.ok], c.topic, c.said, c.advice] for c in checks]
        console().print(table("onetape doctor", ["", "what", "found", "what to do"], rows))
    return FAILED if any(check.ok is False for check in checks) else OK
