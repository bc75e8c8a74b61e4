"""``onetape cache verify | repair | compact | migrate | log``: maintenance of cached data."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..model.instant import iso
from ..model.timeframe import Timeframe
from .arguments import add_processes, command, flag, positive
from .cached import (
    chosen,
    chosen_with_others,
    manager_of,
    meant,
    name_of,
    named,
    problems_json,
    problems_shown,
)
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, size, styled

if TYPE_CHECKING:
    from ..cache.compact import CompactResult
    from ..cache.legacy.migrate import OldFile, PrunedFile
    from ..cache.other_data import OtherLog, OtherPart
    from ..cache.recovery.check import Finding
    from ..cache.store import SeriesView
    from ..model.series import SeriesKey

    _Logs = Mapping[SeriesKey, Sequence[dict[str, Any]]]
    _View = Callable[[SeriesKey], SeriesView]

_COUNTS = ("added", "changed", "removed")


def configure(actions: Any) -> None:
    """Add the command's sub-commands to its parser."""
    verify = actions.add_parser("verify", help="read every file and show damage; change nothing")
    repair = actions.add_parser(
        "repair", help="repair what verify finds, keeping every readable bar"
    )
    compact = actions.add_parser("compact", help="join small appended parts to make files smaller")
    migrate = actions.add_parser("migrate", help="convert files written by older tools now")
    log = actions.add_parser(
        "log", help="what was written, deleted and quarantined, and by which call"
    )
    for action in (verify, repair, compact, migrate):
        action.add_argument("symbol", nargs="?", help="default: all timeframes")
        action.add_argument("timeframe", nargs="?")
    repair.set_defaults(processes=None)
    for action in (verify, compact):
        add_processes(action)
    for action in (repair, compact, migrate):
        flag(action, "--dry-run", "show what would be done")
    flag(migrate, "--prune", "then delete the originals whose bars are all stored")
    log.add_argument("symbol")
    log.add_argument("timeframe", nargs="?", help="default: all series, and fundamentals")
    log.add_argument(
        "--limit", type=positive, metavar="N", help="show the last N entries of each series"
    )
    for action, work in (
        (verify, _verify),
        (repair, _repair),
        (compact, _compact),
        (migrate, _migrate),
        (log, _log),
    ):
        command(action, work)


# --- verify and repair -----------------------------------------------------------------------


def _verify(args: argparse.Namespace) -> Report:
    from ..jobs.upkeep import run_upkeep
    from ..jobs.workers import worker_processes

    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    with worker_processes(args.processes) as executor:
        findings, problems = run_upkeep(manager._services, "check", keys, executor)
    findings += [finding for part in others for finding in part.check()]
    is_sound = not findings and not problems
    document: dict[str, Any] = {**_counts(keys, others), "sound": is_sound}
    document |= {"findings": [f.to_json() for f in findings], "problems": problems_json(problems)}
    verdict = f"{_read(keys, others)}: {_verdict(findings, problems)}"
    repairable = sum(finding.cure != "none" for finding in findings)
    is_all = repairable == len(findings) + len(problems)
    which = "it" if is_all else f"{repairable:,} of them"
    verdict += f"; `onetape cache repair` repairs {which}" if repairable else ""
    lines = [
        *_findings_shown(findings, "→"),
        *problems_shown(problems),
        Line(verdict, "bold green" if is_sound else "bold red"),
    ]
    return Report(document, lines, ok=is_sound, is_check=True)


def _repair(args: argparse.Namespace) -> Report:
    if args.dry_run:
        return _verify(args)
    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    done = manager.cache.maintenance.repair(keys)
    of_others = [part.repair() for part in others]
    findings = [*done.found, *(finding for part, _ in of_others for finding in part)]
    unrepaired = [*done.left, *(finding for _, part in of_others for finding in part)]
    repaired = [f for f in findings if f not in unrepaired]
    is_sound = not unrepaired and not done.problems
    document = {
        **_counts(keys, others),
        "sound": is_sound,
        "found": [f.to_json() for f in findings],
        "left": [f.to_json() for f in unrepaired],
        "problems": problems_json(done.problems),
    }
    read = f"{_read(keys, others)}, {counted(len(repaired), 'finding')} repaired"
    verdict = f"{read}: {_verdict(unrepaired, done.problems)}"
    lines = [
        *_findings_shown(repaired, "✓"),
        *_findings_shown(unrepaired, "✗"),
        *problems_shown(done.problems),
        Line(verdict, "bold green" if is_sound else "bold red"),
    ]
    return Report(document, lines, ok=is_sound, is_check=True)


def _counts(keys: Sequence[SeriesKey], others: Sequence[OtherPart]) -> dict[str, int]:
    tables = sum(part.is_table for part in others)
    return {"series": len(keys), "tables": tables, "fundamentals": len(others) - tables}


def _read(keys: Sequence[SeriesKey], others: Sequence[OtherPart]) -> str:
    """Return a text with the number of series, tables and fundamentals that were read."""
    counts = _counts(keys, others)
    text = [counted(counts["series"], "series")]
    text += [counted(counts["tables"], "table")] if counts["tables"] else []
    of = counted(counts["fundamentals"], "symbol")
    text += [f"fundamentals for {of}"] if counts["fundamentals"] else []
    return f"{', '.join(text)} read"


def _findings_shown(findings: Sequence[Finding], mark: str) -> Shown:
    for finding in findings:
        yield Line(str(finding), "yellow")
        yield Line(f"  {mark} {finding.remedy}", "dim")


def _verdict(findings: Sequence[Finding], problems: Sequence[Any]) -> str:
    text = [counted(len(findings), "finding")] if findings else []
    text += [f"{len(problems):,} could not be read"] if problems else []
    return ", ".join(text) or "no damage found"


# --- compact ---------------------------------------------------------------------------------


def _compact(args: argparse.Namespace) -> Report:
    from ..jobs.upkeep import run_upkeep
    from ..jobs.workers import worker_processes

    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    services, is_trial = manager._services, args.dry_run
    with worker_processes(args.processes) as executor:
        done, problems = run_upkeep(services, "compact", keys, executor, dry_run=is_trial)
    orphans = 0 if args.symbol else upkeep.drop_orphans(dry_run=args.dry_run)
    problems += [
        (
            series.key,
            f"{', '.join(map(str, series.damaged))}: damaged; run `onetape cache repair` first",
        )
        for series in done
        if series.damaged
    ]
    before = sum(series.bytes[0] for series in done)
    after = sum(series.bytes[1] for series in done)
    stale = orphans + sum(series.stale for series in done)
    text = "bars: {} would become {}; {} in stale files would be removed"
    if not args.dry_run:
        text = "bars: {} before, {} after; {} in stale files removed"
    summary = text.format(size(before), size(after), size(stale))
    return Report(
        {
            "dry_run": args.dry_run,
            "bytes_before": before,
            "bytes_after": after,
            "stale_bytes": stale,
            "series": [_compacted_json(series) for series in done],
            "problems": problems_json(problems),
        },
        lambda: [
            *_compacted_shown([series for series in done if series.years or series.stale]),
            *problems_shown(problems),
            styled(summary, "bold"),
        ],
        ok=not problems,
    )


def _compacted_json(series: CompactResult) -> dict[str, Any]:
    return {
        **named(series.key),
        "years": list(series.years),
        "members_before": series.members[0],
        "members_after": series.members[1],
        "bytes_before": series.bytes[0],
        "bytes_after": series.bytes[1],
        "stale_bytes": series.stale,
    }


def _compacted_shown(done: Sequence[CompactResult]) -> Shown:
    if not done:
        return
    rows = [
        [
            name_of(series.key),
            ", ".join(map(str, series.years)) or "-",
            f"{series.members[0]:,} → {series.members[1]:,}",
            size(series.bytes[0]),
            size(series.bytes[1]),
            size(series.stale),
        ]
        for series in done
    ]
    yield TextTable(["series", "years?", "members?", "before#", "after#", "stale#?"], rows)
    yield ""


# --- migrate ---------------------------------------------------------------------------------


def _migrate(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    files, problems = upkeep.migrate(keys, dry_run=args.dry_run)
    pruned: list[PrunedFile] = []
    if args.prune:
        converted = dict.fromkeys([*keys, *(file.key for file in files)])
        keys = list(converted) if args.symbol else chosen(manager, None)
        pruned, pruned_errors = upkeep.prune(keys, dry_run=args.dry_run)
        problems += pruned_errors
    return Report(
        {
            "dry_run": args.dry_run,
            "files": [f.to_json() for f in files],
            "pruned": [p.to_json() for p in pruned],
            "problems": problems_json(problems),
        },
        lambda: [
            *_migrated_shown(files, dry_run=args.dry_run),
            *_pruned_shown(pruned, dry_run=args.dry_run),
            *problems_shown(problems),
        ],
        ok=not (problems or any(f.problem for f in files) or any(p.problem for p in pruned)),
    )


def _migrated_shown(files: Sequence[OldFile], *, dry_run: bool) -> Shown:
    if not files:
        yield styled("there are no files written by older tools", "dim")
        return
    rows = [
        [
            name_of(f.key),
            f.path,
            f"{f.rows:,}",
            f"{f.taken:,}",
            styled(f.problem or f.said, "yellow" if f.problem else ""),
        ]
        for f in files
    ]
    yield TextTable(["series", "file?", "bars#", "taken#", "what"], rows)
    verb = "would be" if dry_run else "were"
    text = f"{counted(len(files), 'file')}: {counted(sum(f.taken for f in files), 'bar')} {verb} "
    text += "converted; the originals " + ("would be" if dry_run else "are") + " in _legacy"
    yield Line(text, "bold")


def _pruned_shown(pruned: Sequence[PrunedFile], *, dry_run: bool) -> Shown:
    for file in pruned:
        others = [f"{counted(n, 'bar')} replaced by {v}" for v, n in file.superseded.items()]
        facts = ", ".join([f"{file.held:,} of {counted(file.rows, 'bar')} held", *others])
        verb = "would be deleted" if dry_run else "deleted"
        text = f"kept: {file.problem}" if file.problem else f"{verb} ({facts})"
        yield Line(f"{file.path}: {text}", "yellow" if file.problem else "")
    gone_bytes = sum(file.bytes for file in pruned if not file.problem)
    if gone_bytes:
        yield styled(f"{size(gone_bytes)} {'would be freed' if dry_run else 'freed'}", "bold")


# --- log -------------------------------------------------------------------------------------


def _log(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    symbol = meant(manager, args.symbol)
    frame = Timeframe.parse(args.timeframe) if args.timeframe else None
    upkeep = manager.cache.maintenance
    keys, others = upkeep.logged(symbol, frame), upkeep.other_logs(symbol, frame)
    if not keys and not others:
        keys = chosen(manager, args.symbol, frame.label if frame else None)
    logs = {key: upkeep.log(key) for key in keys}
    last = slice(-args.limit if args.limit else None, None)
    view = manager.cache.store.view
    return Report(
        lambda: _logs_json(logs, view, others, last), _logs_shown(logs, view, others, last)
    )


def _logs_json(
    logs: _Logs, view: _View, others: Sequence[OtherLog], last: slice
) -> list[dict[str, Any]]:
    from ..cache.layout import BARS

    series = [
        {
            **named(key),
            "data_type": BARS,
            **view(key).lifetime.dates(),
            "commits": [_entry_json(entry) for entry in log[last]],
        }
        for key, log in logs.items()
    ]
    return series + [
        {
            "symbol": log.symbol,
            "timeframe": log.timeframe,
            "lane": "",
            "data_type": log.data_type,
            "commits": [_entry_json(entry) for entry in log.entries[last]],
        }
        for log in others
    ]


def _logs_shown(logs: _Logs, view: _View, others: Sequence[OtherLog], last: slice) -> Shown:
    for key, log in logs.items():
        ends = view(key).lifetime.ends(key.timeframe)
        yield _log_table(key, log[last], ", ".join([counted(len(log), "commit"), *ends]))
        yield ""
    for other_log in others:
        yield _other_log_table(other_log, other_log.entries[last])
        yield ""


def _other_log_table(log: OtherLog, entries: Sequence[dict[str, Any]]) -> TextTable:
    title = " ".join(filter(None, (log.symbol, log.timeframe, log.data_type)))
    title += f" · {counted(len(log.entries), 'entry')}"
    if log.is_table:
        names = ["when", "what", "from?", "up to?", "added#", "changed#", "removed#", "size#?"]
        rows = [
            [
                moment(e["time"]),
                _author(e),
                *(map(moment, e["span"] or ("", ""))),
                *("?" if e[name] is None else f"{e[name]:,}" for name in _COUNTS),
                size(e["size"]),
                e["reason"] or "",
            ]
            for e in map(_entry_json, entries)
        ]
    else:
        names = ["when", "what", "file", "size#?"]
        rows = [
            [
                moment(e["time"]),
                _author(e),
                e["file"] or "-",
                "?" if e["size"] is None else size(e["size"]),
                e["reason"] or "",
            ]
            for e in entries
        ]
    return TextTable([*names, "why?"], rows, title)


def _author(entry: dict[str, Any], unnamed: str = "written") -> str:
    """Return the author of a log entry: a vendor, a recovery, or the call that deleted bars.

    The result is ``unnamed`` if the entry does not say.
    """
    if entry["deleted"]:
        return f"deleted by {entry['deleted']}"
    if entry.get("quarantined"):
        return "quarantined"
    return entry.get("vendor") or ("recovery" if entry.get("recovered") else unnamed)


def _entry_json(entry: dict[str, Any]) -> dict[str, Any]:
    if not entry.get("span"):
        return entry
    return {**entry, "span": [iso(ms) for ms in entry["span"]]}


def _log_table(key: SeriesKey, log: Sequence[dict[str, Any]], summary: str) -> TextTable:
    rows = [
        [
            str(e["generation"]),
            moment(e["time"]),
            _author(e, "-"),
            *(map(moment, e["span"] or ("", ""))),
            *(f"{e[name]:,}" for name in _COUNTS),
            size(e["size"]),
            "yes" if e["kept"] else "no",
        ]
        for e in map(_entry_json, log)
    ]
    names = ["version#", "when", "vendor", "from?", "up to?", "added#", "changed#", "removed#"]
    return TextTable([*names, "size#?", "kept?"], rows, f"{name_of(key)} · {summary}")
