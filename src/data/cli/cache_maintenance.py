"""``onetape cache verify | repair | compact | migrate | log``: maintenance of cached data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import iso
from ..core.model.time.timeframe import Timeframe
from .arguments import Actions, add_processes, add_series, option, positive
from .cached import (
    chosen,
    chosen_with_others,
    manager_of,
    meant,
    named,
    problem_rows,
    problems_shown,
)
from .result import Line, Report, Shown
from .tables import counted, size, styled, table

if TYPE_CHECKING:
    from ..core.cache.legacy.migrate import PrunedFile
    from ..core.cache.recovery.check import Finding
    from ..core.cache.upkeep.compact import CompactResult
    from ..core.cache.upkeep.other_data import OtherPart
    from ..core.model.identity.series import SeriesKey

# Keys of log entries that are shown; the logs of bars, tables and fundamentals have some of them.
_COMMITS = "generation time what start? end? added#? changed#? removed#? bytes# kept? file? reason?"


def configure(actions: Actions) -> None:
    """Add these actions to ``onetape cache``."""
    verify, repair = actions.add(_verify), actions.add(_repair)
    compact, migrate = actions.add(_compact), actions.add(_migrate)
    for action in (verify, repair, compact, migrate):
        add_series(action, optional=True)
    for action in (repair, compact, migrate):
        option(action, "--dry-run", "show what would be done")
    repair.set_defaults(processes=None)
    for action in (verify, compact):
        add_processes(action)
    option(migrate, "--prune", "then delete the originals whose bars are all stored")
    log = actions.add(_log)
    option(log, "symbol")
    option(log, "timeframe?", "default: all series, and fundamentals")
    option(log, "--limit N", "show the last N entries of each series", type=positive)


# --- verify and repair -----------------------------------------------------------------------


def _verify(args: argparse.Namespace) -> Report:
    """Read every file and show damage; change nothing."""
    from ..jobs.run.workers import worker_processes
    from ..jobs.validation.upkeep import run_upkeep

    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    with worker_processes(args.processes) as executor:
        findings, problems = run_upkeep(manager._services, "check", keys, executor)
    findings += [finding for part in others for finding in part.check()]
    repairable = sum(finding.cure != "none" for finding in findings)
    which = "it" if repairable == len(findings) + len(problems) else f"{repairable:,} of them"
    return _soundness(
        (keys, others),
        {"findings": findings},
        (findings, problems),
        _findings_shown(findings, "→"),
        more=f"; `onetape cache repair` repairs {which}" if repairable else "",
    )


def _repair(args: argparse.Namespace) -> Report:
    """Repair what verify finds, keeping every readable bar."""
    if args.dry_run:
        return _verify(args)
    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    done = manager.cache.maintenance.repair(keys)
    of_others = [part.repair() for part in others]
    found = [*done.found, *(finding for part, _ in of_others for finding in part)]
    left = [*done.left, *(finding for _, part in of_others for finding in part)]
    repaired = [f for f in found if f not in left]
    return _soundness(
        (keys, others),
        {"found": found, "left": left},
        (left, done.problems),
        [*_findings_shown(repaired, "✓"), *_findings_shown(left, "✗")],
        read=f", {counted(len(repaired), 'finding')} repaired",
    )


def _soundness(
    parts: tuple[Sequence[SeriesKey], Sequence[OtherPart]],
    findings: dict[str, Any],
    remaining: tuple[Sequence[Finding], Sequence[tuple[SeriesKey, str]]],
    shown: Shown,
    *,
    read: str = "",
    more: str = "",
) -> Report:
    """Return a report on the parts that were read: the findings, and the verdict on what remains."""
    (keys, others), (left, problems) = parts, remaining
    tables = sum(part.is_table for part in others)
    counts = {"series": len(keys), "tables": tables, "fundamentals": len(others) - tables}
    texts = [counted(counts["series"], "series")]
    texts += [counted(tables, "table")] if tables else []
    of = counted(counts["fundamentals"], "symbol")
    texts += [f"fundamentals for {of}"] if counts["fundamentals"] else []
    faults = [counted(len(left), "finding")] if left else []
    faults += [f"{len(problems):,} could not be read"] if problems else []
    verdict = f"{', '.join(texts)} read{read}: {', '.join(faults) or 'no damage found'}{more}"
    line = Line(verdict, "bold red" if faults else "bold green")
    document = counts | {"sound": not faults} | findings | {"problems": problem_rows(problems)}
    lines = [*shown, *problems_shown(problems), line]
    return Report(document, lines, ok=not faults, is_check=True)


def _findings_shown(findings: Sequence[Finding], mark: str) -> Shown:
    for finding in findings:
        yield Line(str(finding), "yellow")
        yield Line(f"  {mark} {finding.remedy}", "dim")


# --- compact ---------------------------------------------------------------------------------


def _compact(args: argparse.Namespace) -> Report:
    """Join small appended parts to make files smaller."""
    from ..jobs.run.workers import worker_processes
    from ..jobs.validation.upkeep import run_upkeep

    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    with worker_processes(args.processes) as executor:
        done, problems = run_upkeep(
            manager._services, "compact", keys, executor, dry_run=args.dry_run
        )
    orphans = 0 if args.symbol else upkeep.drop_orphans(dry_run=args.dry_run)
    for series in done:
        if series.damaged:
            years = ", ".join(map(str, series.damaged))
            problems.append((series.key, f"{years}: damaged; run `onetape cache repair` first"))
    rows = [_compacted(series) for series in done]
    before, after, stale = (
        sum(row[name] for row in rows) for name in ("bytes_before", "bytes_after", "stale_bytes")
    )
    text = "bars: {} would become {}; {} in stale files would be removed"
    if not args.dry_run:
        text = "bars: {} before, {} after; {} in stale files removed"
    summary = text.format(size(before), size(after), size(stale + orphans))
    changed = [row for row in rows if row["years"] or row["stale_bytes"]]

    def shown() -> Shown:
        """Yield the series that are rewritten, the problems, and the sums."""
        if changed:
            yield table(
                changed,
                "symbol timeframe lane? years? members_before#? members_after#? "
                "bytes_before# bytes_after# stale_bytes#?",
            )
            yield ""
        yield from problems_shown(problems)
        yield styled(summary, "bold")

    sums = {"bytes_before": before, "bytes_after": after, "stale_bytes": stale + orphans}
    document = {"dry_run": args.dry_run, **sums, "series": rows}
    return Report(document | {"problems": problem_rows(problems)}, shown, ok=not problems)


def _compacted(series: CompactResult) -> dict[str, Any]:
    return {
        **named(series.key),
        "years": list(series.years),
        "members_before": series.members[0],
        "members_after": series.members[1],
        "bytes_before": series.bytes[0],
        "bytes_after": series.bytes[1],
        "stale_bytes": series.stale,
    }


# --- migrate ---------------------------------------------------------------------------------


def _migrate(args: argparse.Namespace) -> Report:
    """Convert files written by older tools now."""
    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    files, problems = upkeep.migrate(keys, dry_run=args.dry_run)
    pruned: list[PrunedFile] = []
    if args.prune:
        converted = dict.fromkeys([*keys, *(file.key for file in files)])
        keys = list(converted) if args.symbol else chosen(manager, None)
        pruned, pruned_errors = upkeep.prune(keys, dry_run=args.dry_run)
        problems += pruned_errors
    would = "would be" if args.dry_run else "were"

    def shown() -> Shown:
        """Yield the converted files, the deleted originals, and the problems."""
        if not (files or problems):
            yield styled("there are no files written by older tools", "dim")
        elif files:
            yield table(files, "symbol timeframe path? rows# taken# said problem!")
            taken = counted(sum(file.taken for file in files), "bar")
            text = f"{counted(len(files), 'file')}: {taken} {would} converted; the originals"
            yield Line(f"{text} {'would be' if args.dry_run else 'are'} in _legacy", "bold")
        yield from _pruned_shown(pruned, dry_run=args.dry_run)
        yield from problems_shown(problems)

    document = {"dry_run": args.dry_run, "files": files, "pruned": pruned}
    return Report(
        document | {"problems": problem_rows(problems)},
        shown,
        ok=not (problems or any(f.problem for f in files) or any(p.problem for p in pruned)),
    )


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
    """List what was written, deleted and quarantined, and by which call."""
    manager = manager_of(args)
    symbol = meant(manager, args.symbol)
    frame = Timeframe.parse(args.timeframe) if args.timeframe else None
    upkeep = manager.cache.maintenance
    keys, others = upkeep.logged(symbol, frame), upkeep.other_logs(symbol, frame)
    if not keys and not others:
        keys = chosen(manager, args.symbol, frame.label if frame else None)
    from ..core.cache.layout import BARS

    last = slice(-args.limit if args.limit else None, None)
    lifetimes = {key: manager.cache.store.view(key).lifetime for key in keys}
    document = [
        named(key) | {"data_type": BARS} | lifetimes[key].dates() | _commits(upkeep.log(key), last)
        for key in keys
    ]
    document += [
        {"symbol": log.symbol, "timeframe": log.timeframe, "lane": "", "data_type": log.data_type}
        | _commits(log.entries, last)
        for log in others
    ]
    ends = [lifetimes[key].ends(key.timeframe) for key in keys]

    def shown() -> Shown:
        """Yield a table for each log."""
        for log, dates in zip(document, [*ends, *([] for _ in others)], strict=True):
            lane = "@".join(filter(None, (log["timeframe"], log["lane"])))
            kind = "" if log["data_type"] == BARS else log["data_type"]
            name = " ".join(filter(None, (log["symbol"], lane, kind)))
            facts = ", ".join([counted(log["count"], "entry" if kind else "commit"), *dates])
            columns = _COMMITS if log["data_type"] == BARS else _COMMITS.partition(" ")[2]
            yield table(log["commits"], columns, f"{name} · {facts}")
            yield ""

    return Report(document, shown)


def _commits(entries: Sequence[dict[str, Any]], last: slice) -> dict[str, Any]:
    """Return the number of a log's entries, and the last ones in their printed form."""
    return {"count": len(entries), "commits": [_commit(entry) for entry in entries[last]]}


def _commit(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a log entry with ISO times, and with its author: a vendor, a recovery, or a deletion."""
    what = entry.get("vendor") or ("recovery" if entry.get("recovered") else "written")
    what = "quarantined" if entry.get("quarantined") else what
    what = f"deleted by {entry['deleted']}" if entry["deleted"] else what
    start, end = map(iso, entry["span"]) if entry.get("span") else (None, None)
    size_bytes = {"bytes": entry["size"]}
    return {k: v for k, v in entry.items() if k not in ("span", "size")} | size_bytes | {
        "what": what, "start": start, "end": end,
    }  # fmt: skip
