"""``onetape brief``: what is known about a symbol, as a short text whose numbers may be quoted."""

from __future__ import annotations

import argparse

from .arguments import command, option, usual
from .cached import manager_of
from .output import asking
from .result import Report
from .tables import facts, titled

EXAMPLES = ("brief AAPL", "brief AAPL --at 2024-06-28 --json")
SENDS_REQUESTS = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbol", "such as AAPL, BTCUSDT, VOD.L")
    option(parser, "--at DATE", "as of this date or UTC time in the past")
    usual(parser, "provider")
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Return the brief; the exit code is 1 if no price is known."""
    from ..server.brief import brief_of
    from ..server.facts import Facts

    with asking(args):
        brief = brief_of(Facts(manager_of(args), moment=args.at), args.symbol, args.provider)
    lines = titled(brief.title, ""), facts(brief.lines(), {})
    return Report(brief.to_json, lines, ok=brief.is_known)
