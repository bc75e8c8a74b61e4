"""``onetape plan``: the cost of a request; no vendor is queried."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import add_question, command, question
from .cached import manager_of
from .output import busy
from .report import Report, Shown
from .tables import TextTable, counted, facts, styled, titled

if TYPE_CHECKING:
    from ..model.plan import Plan, PlanSegment
    from ..progress.by_symbol import Plans

_STYLES = {"lacking": "yellow", "outcome": "bold red", "not asked": "dim", "substitute": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_question(parser)
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Return the plan for each symbol; the exit code is 1 if some of the bars are unavailable."""
    with busy(args, "planning; sends no request"):
        manager = manager_of(args, makes_folder=True)
        plans = manager.plan([*args.symbols], **question(args))
    first, *others = plans.values()
    if not others:
        return Report(first.to_json, _plan_shown(first), ok=first.is_possible)
    return Report(plans.to_json, _plans_shown(plans), ok=plans.is_possible)


def _plans_shown(plans: Plans) -> Shown:
    for plan in plans.values():
        yield from _plan_shown(plan)
        yield ""
    yield styled(f"{counted(plans.requests, 'request')} in total", "bold")


def _plan_shown(plan: Plan) -> Shown:
    name, _, verdict = plan.title.partition(": ")
    style = "yellow" if not plan.is_possible else "green" if plan.is_hit else ""
    yield titled(name, verdict, style)
    if plan.segments:
        timeframe = plan.source or plan.timeframe
        rows = [_row(segment, segment.range_text(timeframe)) for segment in plan.segments]
        yield ""
        yield TextTable(["missing", "bars#", "why", "requests"], rows)
    lines = [line for line in plan.lines() if line[0] != "missing"]
    if lines:
        yield ""
        yield facts(lines, _STYLES)


def _row(segment: PlanSegment, span: str) -> list[Any]:
    requests: dict[str, int] = {}
    for step in segment.steps:
        requests[step.vendor] = requests.get(step.vendor, 0) + step.requests
    path = [f"{count} {name}" if count else f"({name})" for name, count in requests.items()]
    return [span, f"{segment.bars:,}", ", ".join(segment.reasons), " → ".join(path) or "none"]
