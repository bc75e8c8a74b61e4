"""``onetape explain``: which vendors are asked for a series, which are not, and what is stored."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import FAILED, OK
from .arguments import add_adjustment, add_output, add_places, add_series, add_session
from .output import console, print_json
from .tables import facts

if TYPE_CHECKING:
    from ..model.explanation import Explanation

_STYLES = {"not asked": "dim", "why": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_series(parser)
    parser.add_argument("--provider", help="as if a call named this vendor")
    add_adjustment(parser)
    add_session(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; 1 when no vendor can be asked."""
    from ..data_manager import DataManager

    explanation = DataManager(args.cache_dir, args.config).explain(
        args.symbol,
        args.timeframe,
        provider=args.provider,
        adjustment=args.adjustment,
        session=args.session,
    )
    if args.json:
        print_json(explanation.to_json())
    else:
        _show(explanation)
    return OK if explanation.is_served else FAILED


def _show(explanation: Explanation) -> None:
    from rich.text import Text

    screen = console()
    name, _, verdict = explanation.title.partition(": ")
    style = "" if explanation.is_served else "yellow"
    screen.print(Text.assemble((name, "bold"), "  ", (verdict, style)))
    screen.print()
    screen.print(facts(explanation.lines(), _STYLES))
