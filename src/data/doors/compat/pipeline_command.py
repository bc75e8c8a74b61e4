"""Functions shared by the pipeline's commands: options, report, exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...cli.arguments import command, listed
from ...cli.execution import guarded
from ...cli.job_output import progress_shown
from ...cli.parser import Parser
from ...cli.result import FAILED, OK, Report, Shown, present
from ...cli.tables import TextTable, counted, shortened, styled
from ...jobs.run.signals import job_signals

__all__ = ["add_dates", "add_steps", "add_timeframes", "progress_shown", "run_command"]

_MOST_SHOWN = 40


def add_steps(parser: Parser) -> None:
    """Add the option for the steps to run."""
    parser.add_argument(
        "--steps", type=listed, default=["1", "2"], metavar="1,2", help="default: 1,2"
    )


def add_dates(parser: Parser) -> None:
    """Add the options for the date range of step 1."""
    parser.add_argument("--start-date", metavar="DATE", help="first session; default: 2020-01-01")
    parser.add_argument("--end-date", metavar="DATE", help="last session; default: yesterday")


def add_timeframes(parser: Parser) -> None:
    """Add the option for the timeframes of step 2."""
    parser.add_argument(
        "--timeframes", type=listed, metavar="5m,1h", help="default: 5m,15m,1h,4h,1d"
    )


def run_command(
    name: str,
    description: str,
    options: Sequence[Callable[[Parser], None]],
    run: Callable[[argparse.Namespace], dict[str, Any]],
    argv: Sequence[str] | None,
) -> int:
    """Run a command of the pipeline, and return its exit code.

    The code is 0 if at least part of the work could be done. It is 1 if none could be done, or if
    the command was interrupted.

    Args:
        name, description: Name and description of the command, for its help.
        options: Functions that add the command's own options to the common ones.
        run: Function that does the work, with a result like that of
            ``DataPipelineRunner.run_pipeline``.
        argv: Arguments; None means the process's own.
    """
    parser = Parser(prog=name, description=description)
    parser.add_argument(
        "--tickers",
        "--symbols",
        type=listed,
        metavar="A,B,C",
        help="default: all symbols in the cache",
    )
    for add in options:
        add(parser)
    parser.add_argument(
        "--force-refresh", action="store_true", help="repeat all of it, even if it is stored"
    )
    command(parser, partial(_run_and_show, run))
    return OK if guarded(parser.parse_args(argv)) == OK else FAILED


def _run_and_show(
    run: Callable[[argparse.Namespace], dict[str, Any]], args: argparse.Namespace
) -> int:
    with job_signals():
        report = run(args)
        blocks = (
            item
            for name, step in report["step_results"].items()
            for item in _step_shown(name, step)
        )
        note = "interrupted; committed bars are kept; run it again to continue"
        notes = [note] if report["interrupted"] else []
        ok = bool(report["steps_executed"]) and not report["interrupted"]
        return present(Report(report, blocks, notes, ok=ok), args)


def _step_shown(name: str, step: dict[str, Any]) -> Shown:
    results = step["results"]
    rows = [
        [
            ticker,
            f"{result['rows']:,}",
            f"{result['rows_new']:,}",
            shortened(result["error"] or result["note"]) or "complete",
        ]
        for ticker, result in results.items()
        if len(results) <= _MOST_SHOWN or result["error"]
    ]
    yield TextTable(["symbol", "bars#", "new#", "state"], rows, name)
    if step.get("error"):
        yield styled(step["error"], "red")
    good = sum(result["success"] for result in results.values())
    text = f"{good:,} of {counted(len(results), 'symbol')}, {step['duration']:.1f} s"
    yield styled(text, "dim")
