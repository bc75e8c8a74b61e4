"""``onetape lineage list | show | check | forget | export``: which bars backtests read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_timeout, command
from .cached import manager_of
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, styled

if TYPE_CHECKING:
    from ..layer.lineage import Lineages
    from ..layer.lineage_check import CheckReport

_SHOWN = 20
_STYLES = {
    "identical": "green",
    "revised": "bold yellow",
    "gone": "bold red",
    "unknown": "bold yellow",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    texts = {
        _list: ("list", "list the recorded runs"),
        _show: ("show", "show what a run read: series, range, generation, digest, actions"),
        _check: (
            "check",
            (
                "check whether the bars of a run are still the same, and list those that are "
                "not, with the reason"
            ),
        ),
        _forget: ("forget", "forget a run, and release the generations that only it pins"),
        _export: ("export", "write the record and the bars of a run into a new folder"),
    }
    epilogs = {
        _check: (
            "Exit code 0: identical. 1: revised, gone or unknown, nothing was recorded, some "
            "reads were not recorded, or the run has no recorded end. 2: the run does not exist."
        )
    }
    for work, (name, text) in texts.items():
        action = actions.add_parser(name, help=text)
        if work is not _list:
            action.add_argument(
                "id", metavar="ID", help="id of the run, from `onetape lineage list`"
            )
        if work is _check:
            action.add_argument(
                "--as-today",
                action="store_true",
                help="compare with what the same calls return today; may send requests",
            )
            add_timeout(action)
        if work is _export:
            action.add_argument("folder", metavar="DIR", help="a folder that does not exist yet")
        action.add_argument(
            "--bundles", metavar="DIR", help="bundle folder (default: the configured one)"
        )
        command(action, work, epilogs.get(work))


def _lineages(args: argparse.Namespace) -> Lineages:
    from ..layer.lineage import Lineages

    return Lineages(args.bundles, manager_of(args))


def _list(args: argparse.Namespace) -> Report:
    records = _lineages(args).list()
    document = [
        {
            "run": record.run,
            "started": record.started,
            "ended": record.ended or None,
            "keep": record.keep,
            "reads": len(record.reads),
            "failed": len(record.failed),
        }
        for record in records
    ]
    if not records:
        return Report(document, ["no runs are recorded"])
    rows = [
        [
            record.run,
            moment(record.started),
            moment(record.ended) if record.ended else "no end",
            f"{len(record.reads):,}",
            f"{len(record.failed):,}",
            "" if record.keep is None else "forever" if record.keep is True else str(record.keep),
        ]
        for record in records
    ]
    names = ["run", "started", "ended", "reads#", "failed#", "kept"]
    return Report(document, [TextTable(names, rows)])


def _show(args: argparse.Namespace) -> Report:
    record = _lineages(args).get(args.id)

    def shown() -> Shown:
        """Yield the reads of the run, then the failures."""
        ended = (
            moment(record.ended)
            if record.ended
            else "no recorded end: it was killed or is still running"
        )
        yield styled(f"{record.run} · {moment(record.started)} to {ended}", "bold")
        rows = [
            [
                read.series,
                "never stored" if read.generation is None else f"{read.generation}",
                moment(read.pieces[0].start) if read.pieces else "",
                moment(read.pieces[-1].end) if read.pieces else "",
                f"{read.rows + len(read.unstored):,}",
                read.adjustment,
                str(len(read.actions.rows)),
                read.pieces[0].digest[7:19]
                if len(read.pieces) == 1
                else f"{len(read.pieces)} pieces",
            ]
            for read in record.reads
        ]
        if rows:
            names = ["series", "version#", "from", "to", "bars#", "prices?", "actions#?", "digest?"]
            yield TextTable(names, rows)
        for failure in record.failed:
            yield Line(
                f"failed: {failure.symbol} {failure.timeframe}: {failure.error}: {failure.message}"
            )

    return Report(record.to_json, shown)


def _check(args: argparse.Namespace) -> Report:
    report = _lineages(args).check(args.id, as_today=args.as_today, timeout=args.timeout)
    return Report(report.to_json, lambda: _checked(report), ok=report.is_identical)


def _checked(report: CheckReport) -> Shown:
    for checked in report.series:
        text = f"{checked.read.series} version {checked.read.generation}: {checked.state}"
        if checked.bars:
            text += f", {counted(checked.bars, 'bar')}: {', '.join(checked.causes)}"
        yield styled(text, _STYLES[checked.state])
        if checked.detail:
            yield Line(f"  {checked.detail}")
        rows = [
            [
                moment(cell.stamp),
                cell.column,
                *("" if value is None else f"{value:.10g}" for value in (cell.before, cell.now)),
                ", ".join(cell.causes),
                cell.detail,
            ]
            for cell in checked.cells[:_SHOWN]
        ]
        if rows:
            yield TextTable(["time", "column", "then#", "now#", "cause", "detail?"], rows)
        if len(checked.cells) > _SHOWN:
            yield styled(
                f"the first {_SHOWN} of {len(checked.cells)} differing values; --json lists all",
                "dim",
            )
    for failure in report.record.failed:
        yield Line(f"failed then: {failure.symbol} {failure.timeframe}: {failure.error}")
    if not report.record.ended:
        yield Line("the run has no recorded end, so its last reads may be missing", "bold yellow")
    if outside := report.record.unrecorded:
        more = f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        text = f"not recorded, because read in other threads: {', '.join(outside[:_SHOWN])}{more}"
        yield Line(text, "bold yellow")
    if not report.series:
        yield Line("nothing was recorded: the reads of this run are unknown", "bold yellow")
    yield styled(f"{report.record.run}: {report.verdict}", "bold")


def _forget(args: argparse.Namespace) -> Report:
    _lineages(args).forget(args.id)
    document: dict[str, Any] = {"forgotten": args.id}
    return Report(document, [Line(f"forgotten: {args.id}")])


def _export(args: argparse.Namespace) -> Report:
    from ..layer.lineage_export import exported

    path = _lineages(args).export(args.id, Path(args.folder))
    record, reads = exported(path)
    document = {"folder": str(path), "fingerprint": record["fingerprint"], "files": len(reads)}
    return Report(document, [Line(f"written to {path}: {record['fingerprint']}")])
