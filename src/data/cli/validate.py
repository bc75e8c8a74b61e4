"""``onetape validate``: what is wrong with stored bars, as far as they or a second vendor prove it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import QueryError
from ..prices.judgement.report import LEVELS, SEVERITIES, QualityReport
from . import FAILED, OK
from .arguments import add_executor, add_output, add_places, add_timeout
from .cached import manager_of
from .output import busy, console, print_json
from .populate import show_vendor_costs
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
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the requests that the level takes, and their cost; send none",
    )
    add_executor(parser)
    add_timeout(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Validate and show; 1 where something was found or could not be read."""
    from ..jobs.validate import ValidateQuestion, validate_all

    if args.all == bool(args.symbol) or bool(args.symbol) != bool(args.timeframe):
        raise QueryError("name a symbol and a timeframe, or --all for every stored series")
    if args.all and (args.start or args.end or args.dry_run or args.level != "intrinsic"):
        raise QueryError("--all looks at all of every series, and at the bars alone: no request")
    manager = manager_of(args)
    if args.all:
        return _shown(args, validate_all(manager._services, executor=args.executor))
    if args.executor:
        raise QueryError("--executor is for --all: one series is one task")
    question = ValidateQuestion(args.symbol, args.timeframe, args.start, args.end, args.level)
    frame = manager.coverage(args.symbol, args.timeframe)
    lanes = [
        replace(question, lane=lane) for lane in dict.fromkeys(frame["lane"].tolist() or [None])
    ]
    if args.dry_run or args.level != "intrinsic":
        _show_cost(args, manager, lanes)
    if args.dry_run:
        return OK
    with busy(args, "looking for defects, and changing nothing"):
        reports = list(_of_series(manager, lanes, args.timeout))
    return _shown(args, reports)


def _show_cost(
    args: argparse.Namespace, manager: DataManager, lanes: Iterable[ValidateQuestion]
) -> None:
    """Tell the requests of each vendor: the whole answer of a dry run, else a line before them."""
    from ..jobs.fill_cost import VendorCost
    from ..jobs.validate import add_cost

    costs, skipped = dict[str, VendorCost](), dict[str, str]()
    for lane in lanes:
        skipped |= add_cost(manager._services, lane, costs)
    plain = {vendor: cost.to_json() for vendor, cost in costs.items()}
    requests = sum(cost.requests for cost in costs.values())
    if not args.dry_run:
        sent = ", ".join(
            f"{name} {counted(cost.requests, 'request')}" for name, cost in costs.items()
        )
        if sent:
            console(stderr=True).print(f"vendors are asked: {sent}", soft_wrap=True)
        return
    if args.json:
        cost = {"requests": requests, "vendors": plain, "not_checked": skipped}
        print_json({"dry_run": True} | cost)
        return
    show_vendor_costs(plain)
    for check, why in skipped.items():
        console().print(styled(f"not checked  {check}: {why}", "dim"), soft_wrap=True)
    console().print(styled(f"{counted(requests, 'request')} in all", "dim"))


def _of_series(
    manager: DataManager, lanes: Iterable[ValidateQuestion], timeout: float | None
) -> Iterator[QualityReport]:
    """Yield a report for each stored lane of a series."""
    for one in lanes:
        bounds = (one.symbol, one.timeframe, one.start, one.end)
        yield manager.validate(*bounds, level=one.level, lane=one.lane, timeout=timeout)


def _shown(args: argparse.Namespace, reports: Iterable[QualityReport | Exception]) -> int:
    """Print each report as it comes, and the sum of them; return the exit code."""
    count = faulty = failed = 0
    plain = []
    for report in reports:
        count += 1
        if isinstance(report, Exception):
            failed += 1
            plain.append({"error": str(report)})
        else:
            faulty += bool(report.at_least(args.severity))
            plain.append(report.as_dict())
        if not args.json:
            plain.clear()
            _show(args, report)
    if args.json:
        print_json(plain)
    else:
        verdict = f"{counted(count, 'series')}: {counted(faulty, 'series')} with findings"
        verdict += f", {failed} could not be read" if failed else ""
        console().print(styled(verdict, "bold red" if faulty or failed else "bold green"))
    return FAILED if faulty or failed else OK


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
        cause = " (cause certain)" if finding.certain else ""
        text = f"  {finding.severity}  {finding.check}{cause}: {finding.evidence}"
        screen.print(styled(text, _COLOURS[finding.severity]), soft_wrap=True)
        screen.print(styled(f"    → {finding.next_step}", "dim"), soft_wrap=True)
    for check, why in () if args.all else report.not_checked.items():
        screen.print(styled(f"  not checked  {check}: {why}", "dim"), soft_wrap=True)
