"""``onetape plan``: the requests that a call would cost, and its vendors; no vendor is queried."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import QUESTION, add_recipes, command, given, usual
from .cached import manager_of
from .output import busy
from .result import Report, Shown
from .tables import counted, facts, styled, table, titled

if TYPE_CHECKING:
    from ..core.model.request.plan import Plan, PlanSegment
    from ..jobs.progress.by_symbol import Plans

EXAMPLES = ("plan BTCUSDT 1m --start 2020-01-01", "plan AAPL MSFT 1d --period 5y")
SENDS_REQUESTS = False

_STYLES = {
    "lacking": "yellow", "outcome": "bold red", "why": "yellow", "not asked": "dim",
    "substitute": "dim",
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    usual(parser, "question forming")
    add_recipes(parser, "plan the features of these recipes, with the bars before the range")
    command(parser, run, "For one symbol, the vendors are explained as well.")


def run(args: argparse.Namespace) -> Report:
    """Return the plan for each symbol; the exit code is 1 if some of the bars are unavailable."""
    manager = manager_of(args, makes_folder=True)
    symbol, *others = args.symbols
    with busy(args, "planning; sends no request"):
        if others or args.recipes:
            names = f"{QUESTION} include_forming recipes anchor store"
            plans = manager.plan([*args.symbols], **given(args, names))
            return Report(plans.to_json, _plans_shown(plans), ok=plans.is_possible)
        names = "timeframe start end provider adjustment session"
        explanation = manager.explain(symbol, **given(args, names))
        if not (explanation.is_served or explanation.stored):
            lines: list[Any] = [titled(explanation.title, ""), facts(explanation.lines(), _STYLES)]
            return Report({"explanation": explanation}, lines, ok=False)
        plan = manager.plan(symbol, **given(args, f"{QUESTION} include_forming"))

    def shown() -> Shown:
        """Yield the plan, then the vendors and what is cached."""
        yield from _plan_shown(plan)
        yield ""
        yield facts(explanation.lines(), _STYLES)

    document = plan.to_json() | {"explanation": explanation}
    return Report(document, shown, ok=plan.is_possible)


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
        yield ""
        timeframe = plan.source or plan.timeframe
        rows = [
            {
                "missing": segment.range_text(timeframe),
                "bars": segment.bars,
                "why": segment.reasons,
                "requests": _path(segment),
            }
            for segment in plan.segments
        ]
        yield table(rows, "missing bars# why requests")
    lines = [line for line in plan.lines() if line[0] != "missing"]
    if lines:
        yield ""
        yield facts(lines, _STYLES)


def _path(segment: PlanSegment) -> str:
    """Return the number of requests to each vendor, in order; no number for one that is not queried."""
    requests: dict[str, int] = {}
    for step in segment.steps:
        requests[step.vendor] = requests.get(step.vendor, 0) + step.requests
    path = [f"{count} {name}" if count else f"({name})" for name, count in requests.items()]
    return " → ".join(path) or "none"
