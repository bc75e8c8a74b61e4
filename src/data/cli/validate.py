"""``onetape validate``: what is wrong with stored bars, as far as they or a second vendor prove it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import QueryError
from ..quality.report import LEVELS, SEVERITIES, QualityReport
from . import FAILED, OK
from .arguments import add_executor, add_output, add_places, add_timeout
from .cached import manager_of
from .output import busy, console, print_json
from .tables import counted, styled

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..jobs.validate import ValidateQuestion

_COLOURS = {"error": "red", "warning": "yellow", "info": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Exit code 0: nothing of that severity or graver was found. 1: something was, or a series "
        "could not be read. 2: the question is wrong."
    )
    parser.add_argument("symbol", nargs="?", help="such as BTCUSDT, AAPL, VOD.L")
    parser.add_argument("timeframe", nargs="?", help="such as 1m, 1h, 1d, 1w, 1M")
    parser.add_argument("--all", action="store_true", help="every stored series, one after another")
    parser.add_argument("--start", help="date (whole session) or UTC time, inclusive; default: all")
    parser.add_argument("--end", help="date (whole session) or UTC time, inclusive")
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="intrinsic",
        help="what may be asked: the bars alone (default), a second vendor, the exchange itself",
    )
    parser.add_argument(
        "--severity",
        choices=SEVERITIES,
        default="warning",
        help="show findings of this severity and graver ones, and exit with 1 for them",
    )
    add_executor(parser)
    add_timeout(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Validate and show; 1 where something was found or could not be read."""
    from ..jobs.validate import ValidateQuestion, cost_in_words, validate_all

    if args.all == bool(args.symbol) or bool(args.symbol) != bool(args.timeframe):
        raise QueryError("name a symbol and a timeframe, or --all for every stored series")
    if args.all and (args.start or args.end or args.level != "intrinsic"):
        raise QueryError("--all looks at all of every series, and at the bars alone")
    manager = manager_of(args)
    if args.all:
        return _shown(args, validate_all(manager._services, executor=args.executor))
    if args.executor:
        raise QueryError("--executor is for --all: one series is one task")
    question = ValidateQuestion(args.symbol, args.timeframe, args.start, args.end, args.level)
    if cost := cost_in_words(args.level):
        console(stderr=True).print(f"vendors are asked ({cost})", soft_wrap=True)
    with busy(args, "looking for defects, and changing nothing"):
        reports = list(_of_series(manager, question, args.timeout))
    return _shown(args, reports)


def _of_series(
    manager: DataManager, question: ValidateQuestion, timeout: float | None
) -> Iterator[QualityReport]:
    """Yield a report for each stored lane of the series."""
    bounds = (question.symbol, question.timeframe, question.start, question.end)
    frame = manager.coverage(question.symbol, question.timeframe)
    for lane in dict.fromkeys(frame["lane"].tolist() or [""]):
        yield manager.validate(*bounds, level=question.level, lane=lane, timeout=timeout)


def _shown(args: argparse.Namespace, reports: Iterable[QualityReport | Exception]) -> int:
    """Print each report as it comes, and the sum of them; return the exit code."""
    count = found = failed = 0
    plain = []
    for report in reports:
        count += 1
        if isinstance(report, Exception):
            failed += 1
            plain.append({"error": str(report)})
        else:
            found += bool(report.at_least(args.severity))
            plain.append(report.as_dict())
        if not args.json:
            plain.clear()
            _show(args, report)
    if args.json:
        print_json(plain)
    else:
        verdict = f"{counted(count, 'series')}: {counted(found, 'series')} with findings"
        verdict += f", {failed} could not be read" if failed else ""
        console().print(styled(verdict, "bold red" if found or failed else "bold green"))
    return FAILED if found or failed else OK


def _show(args: argparse.Namespace, report: QualityReport | Exception) -> None:
    screen = console()
    if isinstance(report, Exception):
        screen.print(styled(str(report), "red"), soft_wrap=True)
        return
    findings = report.at_least(args.severity)
    if args.all and not findings:
        return
    lane = f" {report.lane}" if report.lane else ""
    facts = f"{counted(report.rows, 'bar')} · quality {report.score:.2f}"
    requests = f" · {counted(report.requests, 'request')}" if report.requests else ""
    screen.print(styled(f"{report.symbol} {report.timeframe}{lane} · {facts}{requests}", "bold"))
    for finding in findings:
        known = " (cause certain)" if finding.certain else ""
        text = f"  {finding.severity}  {finding.check}{known}: {finding.evidence}"
        screen.print(styled(text, _COLOURS[finding.severity]), soft_wrap=True)
        screen.print(styled(f"    → {finding.next_step}", "dim"), soft_wrap=True)
    for check, why in () if args.all else report.not_checked.items():
        screen.print(styled(f"  not checked  {check}: {why}", "dim"), soft_wrap=True)
