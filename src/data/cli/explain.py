"""``onetape explain``: the vendors queried for a series, those that are not, and what is stored."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .arguments import add_adjustment, add_series, add_session, command
from .cached import manager_of
from .report import Report, Shown
from .tables import facts, titled

if TYPE_CHECKING:
    from ..model.explanation import Explanation

_STYLES = {"not asked": "dim", "why": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_series(parser)
    parser.add_argument(
        "--start",
        metavar="DATE",
        help="first date; vendors whose history is too short for it are also explained",
    )
    parser.add_argument("--end", metavar="DATE", help="last date; default: now")
    parser.add_argument("--provider", help="explain a call that names this vendor")
    add_adjustment(parser)
    add_session(parser)
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Return the explanation; the exit code is 1 if no vendor can be queried."""
    explanation = manager_of(args, makes_folder=True).explain(
        args.symbol,
        args.timeframe,
        args.start,
        args.end,
        provider=args.provider,
        adjustment=args.adjustment,
        session=args.session,
    )
    return Report(explanation.to_json, _explanation_shown(explanation), ok=explanation.is_served)


def _explanation_shown(explanation: Explanation) -> Shown:
    name, _, verdict = explanation.title.partition(": ")
    yield titled(name, verdict, "" if explanation.is_served else "yellow")
    yield ""
    yield facts(explanation.lines(), _STYLES)
