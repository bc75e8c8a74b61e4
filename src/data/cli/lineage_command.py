"""``onetape bundle lineage list | show | check | forget | export``: which bars backtests read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Actions, add_timeout, option
from .cached import manager_of
from .result import Line, Report, Shown
from .tables import counted, moment, styled, table

if TYPE_CHECKING:
    from ..research.lineage.lineage import Lineages
    from ..research.lineage.lineage_check import CheckReport

_SHOWN = 20
_STYLES = {
    "identical": "green",
    "revised": "bold yellow",
    "gone": "bold red",
    "unknown": "bold yellow",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    check = actions.add(
        _check,
        "Exit code 0: identical. 1: revised, gone or unknown, nothing was recorded, some "
        "reads were not recorded, or the run has no recorded end. 2: the run does not exist.",
    )
    show, forget, export = actions.add(_show), actions.add(_forget), actions.add(_export)
    for action in (check, show, forget, export):
        option(action, "id ID", "id of the run, from `onetape bundle lineage list`")
    text = "compare with what the same calls return today; may send requests"
    option(check, "--as-today", text)
    add_timeout(check)
    option(export, "folder DIR", "a folder that does not exist yet")
    for action in (check, show, forget, export, actions.add(_list)):
        option(action, "--bundles DIR", "bundle folder (default: the configured one)")


def _lineages(args: argparse.Namespace) -> Lineages:
    from ..research.lineage.lineage import Lineages

    return Lineages(args.bundles, manager_of(args))


def _list(args: argparse.Namespace) -> Report:
    """List the recorded runs."""
    rows = [
        {
            "run": record.run,
            "started": record.started,
            "ended": record.ended or None,
            "keep": record.keep,
            "reads": len(record.reads),
            "failed": len(record.failed),
        }
        for record in _lineages(args).list()
    ]
    return Report.rows(rows, "run started ended reads# failed# keep?", empty="no runs are recorded")


def _show(args: argparse.Namespace) -> Report:
    """Show what a run read: series, range, generation, digest, actions."""
    record = _lineages(args).get(args.id)
    ended = moment(record.ended) if record.ended else "no recorded end: killed, or still running"
    rows = [
        {
            "series": read.series,
            "generation": read.generation,
            "start": read.pieces[0].start if read.pieces else None,
            "end": read.pieces[-1].end if read.pieces else None,
            "bars": read.rows + len(read.unstored),
            "adjustment": read.adjustment,
            "actions": len(read.actions.rows),
            "digest": [piece.digest[7:19] for piece in read.pieces][:2],
        }
        for read in record.reads
    ]

    def shown() -> Shown:
        """Yield the reads of the run, then the failures."""
        yield styled(f"{record.run} · {moment(record.started)} to {ended}", "bold")
        if rows:
            yield table(rows, "series generation start end bars# adjustment? actions#? digest?")
        for failure in record.failed:
            name = f"{failure.symbol} {failure.timeframe}"
            yield Line(f"failed: {name}: {failure.error}: {failure.message}")

    return Report(record.to_json, shown)


def _check(args: argparse.Namespace) -> Report:
    """Check whether the bars of a run are still the same, and list those that are not."""
    report = _lineages(args).check(args.id, as_today=args.as_today, timeout=args.timeout)
    return Report(report.to_json, lambda: _checked(report), ok=report.is_identical)


def _checked(report: CheckReport) -> Shown:
    for checked in report.series:
        read = checked.read
        version = "" if read.key.is_of_files else f" version {read.generation}"
        text = f"{read.series}{version}: {checked.state}"
        if checked.bars:
            text += f", {counted(checked.bars, 'bar')}: {', '.join(checked.causes)}"
        yield styled(text, _STYLES[checked.state])
        if checked.detail:
            yield Line(f"  {checked.detail}")
        if checked.cells:
            yield table(checked.cells[:_SHOWN], "stamp column before# now# causes detail?")
        if len(checked.cells) > _SHOWN:
            text = f"the first {_SHOWN} of {len(checked.cells)} differing values; --json lists all"
            yield styled(text, "dim")
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
    """Forget a run, and release the generations that only it pins."""
    _lineages(args).forget(args.id)
    document: dict[str, Any] = {"forgotten": args.id}
    return Report(document, [Line(f"forgotten: {args.id}")])


def _export(args: argparse.Namespace) -> Report:
    """Write the record and the bars of a run into a new folder."""
    from ..research.lineage.lineage_export import exported

    path = _lineages(args).export(args.id, Path(args.folder))
    record, reads = exported(path)
    document = {"folder": str(path), "fingerprint": record["fingerprint"], "files": len(reads)}
    return Report(document, [Line(f"written to {path}: {record['fingerprint']}")])
