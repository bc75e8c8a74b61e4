"""``onetape plan``: what a request would cost; no vendor is asked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import FAILED, OK
from .arguments import add_output, add_places, add_question, question
from .output import busy, console, print_json
from .tables import TextTable, counted, facts, styled

if TYPE_CHECKING:
    from rich.text import Text

    from ..model.plan import Plan, PlanSegment

_STYLES = {"lacking": "yellow", "outcome": "bold red", "not asked": "dim", "substitute": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_question(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan of each symbol; 1 when something is not available."""
    from ..data_manager import DataManager

    with busy(args, "planning; sends no request"):
        manager = DataManager(args.cache_dir, args.config)
        plans = [manager.plan(symbol, **question(args)) for symbol in dict.fromkeys(args.symbols)]
    requests = sum(plan.requests for plan in plans)
    if args.json and len(plans) == 1:
        print_json(plans[0].to_json())
    elif args.json:
        print_json({"plans": [plan.to_json() for plan in plans], "requests": requests})
    else:
        for plan in plans:
            _show(plan)
            if len(plans) > 1:
                console().print()
        if len(plans) > 1:
            console().print(styled(f"{counted(requests, 'request')} in all", "bold"))
    return OK if all(plan.is_possible for plan in plans) else FAILED


def _show(plan: Plan) -> None:
    screen = console()
    screen.print(_headline(plan))
    if plan.segments:
        timeframe = plan.source or plan.timeframe
        rows = [_row(segment, segment.range_text(timeframe)) for segment in plan.segments]
        screen.print()
        screen.print(TextTable(["missing", "bars#", "why", "requests"], rows))
    lines = [line for line in plan.lines() if line[0] != "missing"]
    if lines:
        screen.print()
        screen.print(facts(lines, _STYLES))


def _headline(plan: Plan) -> Text:
    from rich.text import Text

    name, _, verdict = plan.title.partition(": ")
    style = "yellow" if not plan.is_possible else "green" if plan.is_hit else ""
    return Text.assemble((name, "bold"), "  ", (verdict, style))


def _row(segment: PlanSegment, span: str) -> list[Any]:
    requests: dict[str, int] = {}
    for step in segment.steps:
        requests[step.vendor] = requests.get(step.vendor, 0) + step.requests
    path = [f"{count} {name}" if count else f"({name})" for name, count in requests.items()]
    return [span, f"{segment.bars:,}", ", ".join(segment.reasons), " → ".join(path) or "none"]
