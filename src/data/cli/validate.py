"""``onetape validate``: finds faults in stored bars that the bars or a second vendor prove."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.prices.judgement.findings import LEVELS, SEVERITIES, QualityReport
from ..errors import QueryError
from .arguments import add_universe, check_one, command, members_of, option, usual
from .cached import manager_of
from .job_output import costs_shown
from .output import busy, console, is_quiet
from .result import Line, Report, Shown, show
from .tables import counted, styled

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..jobs.progress.cost import VendorCost
    from ..jobs.validation.validate import ValidateQuestion

EXAMPLES = ("validate AAPL 1d", "validate --all --json")

_COLORS = {"error": "red", "warning": "yellow", "info": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbol?", "such as BTCUSDT, AAPL, VOD.L")
    option(parser, "timeframe?", "such as 1m, 1h, 1d, 1w, 1M")
    option(parser, "--all", "every stored series, one after another")
    add_universe(parser, "on any day")
    option(parser, "--start START", "date (whole session) or UTC time, inclusive; default: all")
    option(parser, "--end END", "date (whole session) or UTC time, inclusive")
    option(
        parser,
        "--level",
        (
            "what may be queried: only the cached bars (default), a second vendor, the "
            "exchange itself"
        ),
        choices=LEVELS,
        default="intrinsic",
    )
    option(
        parser,
        "--severity",
        "show findings of this severity or worse, and exit with 1 if there are any",
        choices=SEVERITIES,
        default="warning",
    )
    option(
        parser, "--dry-run", "show the requests that the level needs, and their cost, but send none"
    )
    option(
        parser,
        "--mark",
        "mark bars that are certainly wrong, so that every later answer reports them; "
        "changes no bar",
    )
    option(
        parser,
        "--accept ID",
        "accept a known finding: it is shown, but does not count until its bars change",
    )
    option(parser, "--reason TEXT", "with --accept: why")
    option(parser, "--undo", "with --accept: withdraw the acceptance")
    usual(parser, "provider processes timeout")
    command(
        parser,
        run,
        (
            "Exit code 0: nothing of that severity or worse was found that is not accepted. 1: something was "
            "found, or a series could not be read. 2: invalid arguments."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Validate stored bars; the exit code is 1 if anything was found or could not be read."""
    from ..jobs.run.nights import recorded
    from ..jobs.run.workers import worker_processes
    from ..jobs.validation.validate import ValidateQuestion, validate_all

    if args.accept is not None:
        return _accepted(args)
    if args.reason or args.undo:
        raise QueryError("--reason and --undo need --accept ID")
    check_one(args, "validate AAPL 1d", with_timeframe=True)
    many = "--all" if args.all else "--universe"
    limits = args.start, args.end, args.provider, args.dry_run, args.level != "intrinsic"
    if not args.symbol and any(limits):
        raise QueryError(
            f"{many} accepts only the whole range, every vendor, and the intrinsic level, which sends "
            "no request"
        )
    manager, symbols = manager_of(args), members_of(args)
    if not args.symbol:
        with worker_processes(args.processes) as executor:
            every = validate_all(
                manager._services, executor=executor, symbols=symbols, mark=args.mark
            )
            return _summary(args, recorded(manager._services, every))
    if args.processes:
        raise QueryError("--processes needs --all or --universe: one series is one task")
    question = ValidateQuestion(
        *(args.symbol, args.timeframe, args.start, args.end, args.level), provider=args.provider
    )
    frame = manager.coverage(args.symbol, args.timeframe, args.provider)
    lanes = [
        replace(question, lane=lane) for lane in dict.fromkeys(frame["lane"].tolist() or [None])
    ]
    if args.mark and args.dry_run:
        raise QueryError("--dry-run and --mark cannot be used together: a dry run writes nothing")
    if args.dry_run or args.level != "intrinsic":
        costs, skipped = _cost(manager, lanes)
        if args.dry_run:
            return _cost_report(costs, skipped)
        sent = [f"{name} {counted(cost.requests, 'request')}" for name, cost in costs.items()]
        if sent:
            text = f"querying vendors: {', '.join(sent)}"
            console(stderr=True).print(text, soft_wrap=True)
    with busy(args, "looking for defects; changes no bar"):
        reports = [
            manager.validate(
                *(lane.symbol, lane.timeframe, lane.start, lane.end),
                level=lane.level,
                lane=lane.lane,
                timeout=args.timeout,
                mark=args.mark,
                provider=args.provider,
            )
            for lane in lanes
        ]
    return _summary(args, reports)


def _accepted(args: argparse.Namespace) -> Report:
    """Accept a finding, or withdraw its acceptance; ``--json`` prints the report on its series."""
    from ..jobs.validation.validate import accept_finding

    others = (args.symbol, args.all, args.universe, args.mark, args.dry_run, args.start, args.end)
    if any(others) or args.provider or args.level != "intrinsic":
        raise QueryError("--accept takes only an ID, which names the series, --reason and --undo")
    services = manager_of(args)._services
    report = accept_finding(services, args.accept, args.reason or "", undo=args.undo)
    done = "no longer accepted" if args.undo else "accepted"
    return Report(report.as_dict(), [styled(f"{done}: {args.accept}", "bold")])


def _cost(
    manager: DataManager, lanes: Iterable[ValidateQuestion]
) -> tuple[dict[str, VendorCost], dict[str, str]]:
    """Return the cost per vendor, and the reason for each check that is impossible."""
    from ..jobs.validation.validate import add_cost

    costs: dict[str, VendorCost] = {}
    skipped: dict[str, str] = {}
    for lane in lanes:
        skipped |= add_cost(manager._services, lane, costs)
    return costs, skipped


def _cost_report(costs: Mapping[str, VendorCost], skipped: Mapping[str, str]) -> Report:
    """Return the report of a dry run."""
    vendors = {vendor: cost.to_json() for vendor, cost in costs.items()}
    requests = sum(cost.requests for cost in costs.values())
    return Report(
        {"dry_run": True, "requests": requests, "vendors": vendors, "not_checked": skipped},
        lambda: [
            *costs_shown(vendors),
            *(Line(f"not checked  {check}: {reason}", "dim") for check, reason in skipped.items()),
            styled(f"{counted(requests, 'request')} in total", "dim"),
        ],
    )


def _summary(args: argparse.Namespace, reports: Iterable[QualityReport | Exception]) -> Report:
    """Return one report for all series; text output is printed immediately, series by series."""
    count = faulty = failures = 0
    entries = []
    for report in reports:
        count += 1
        is_good = False
        if isinstance(report, Exception):
            failures += 1
            entry: dict[str, Any] = {"error": str(report)}
        else:
            is_good = not report.not_accepted(args.severity)
            faulty += not is_good
            entry = report.as_dict()
        if args.json:
            entries.append(entry)
        elif not (is_good and is_quiet()):
            show(_report_shown(args, report))
    verdict = f"{counted(count, 'series')}: {faulty or 'none'} with findings"
    verdict += f", {failures} could not be read" if failures else ""
    ok = not faulty and not failures
    lines = [styled(verdict, "bold green" if ok else "bold red")]
    return Report(entries, lines, ok=ok, is_check=True)


def _report_shown(args: argparse.Namespace, report: QualityReport | Exception) -> Shown:
    if isinstance(report, Exception):
        yield Line(str(report), "red")
        return
    findings = report.at_least(args.severity)
    if not (args.symbol or findings or report.marked or report.unmarked):
        return
    yield styled(report.title, "bold")
    for finding in findings:
        style = "dim" if finding.accepted else _COLORS[finding.severity]
        yield Line(f"  {finding.severity}  {finding.text}", style)
        if not finding.accepted:
            yield Line(f"    → {finding.next_step}", "dim")
            yield Line(f"    id {finding.id}", "dim")
    for check, reason in () if not args.symbol else report.not_checked.items():
        yield Line(f"  not checked  {check}: {reason}", "dim")
