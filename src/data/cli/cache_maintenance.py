"""``onetape cache verify | repair | compact | migrate | log``: the upkeep of what is held."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .arguments import add_executor, positive
from .cached import (
    chosen,
    chosen_with_others,
    frame_of,
    manager_of,
    meant,
    name_of,
    problems_json,
    show_problems,
)
from .output import console, print_json
from .report import FAILED, OK
from .tables import TextTable, counted, moment, size, styled

if TYPE_CHECKING:
    from ..cache.compact import Compacted
    from ..cache.legacy.migrate import OldFile, Pruned
    from ..cache.other_data import OtherLog, OtherPart
    from ..cache.recovery.check import Finding
    from ..model.series import SeriesKey

_LACKING_SHOWN = 3
_COUNTS = ("added", "changed", "removed")


def configure(actions: Any) -> None:
    """Add the sub-commands."""
    verify = actions.add_parser("verify", help="read every file and show damage; changes nothing")
    repair = actions.add_parser("repair", help="repair what verify finds; keeps every readable bar")
    compact = actions.add_parser("compact", help="make files smaller: join small appends")
    migrate = actions.add_parser("migrate", help="convert the files of older tools now")
    log = actions.add_parser(
        "log", help="what was written, deleted and quarantined, and by which call"
    )
    for action, work in (
        (verify, _verify),
        (repair, _repair),
        (compact, _compact),
        (migrate, _migrate),
    ):
        action.add_argument("symbol", nargs="?", help="default: all of them")
        action.add_argument("timeframe", nargs="?")
        action.set_defaults(run=work)
    repair.set_defaults(executor=None)
    for action in (verify, compact):
        add_executor(action)
    for action in (repair, compact, migrate):
        action.add_argument("--dry-run", action="store_true", help="show what would be done")
    migrate.add_argument(
        "--prune", action="store_true", help="then delete the originals whose bars are all stored"
    )
    log.add_argument("symbol")
    log.add_argument("timeframe", nargs="?", help="default: all, and fundamentals")
    log.add_argument("--limit", type=positive, metavar="N", help="the last N entries of each")
    log.set_defaults(run=_log)


# --- verify and repair -----------------------------------------------------------------------


def _verify(args: argparse.Namespace) -> int:
    from ..jobs.upkeep import run_upkeep

    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    findings, problems = run_upkeep(manager._services, "check", keys, args.executor)
    findings += [finding for part in others for finding in part.check()]
    is_sound = not findings and not problems
    if args.json:
        document: dict[str, Any] = {**_counts(keys, others), "sound": is_sound}
        document |= {"findings": [f.to_json() for f in findings]}
        print_json(document | {"problems": problems_json(problems)})
    else:
        _show_findings(findings, "would do")
        show_problems(problems)
        _conclude(
            is_sound,
            f"{_read(keys, others)}: ",
            _count(findings, problems),
            "`onetape cache repair` does it" if findings else "",
        )
    return OK if is_sound else FAILED


def _repair(args: argparse.Namespace) -> int:
    if args.dry_run:
        return _verify(args)
    manager = manager_of(args)
    keys, others = chosen_with_others(manager, args.symbol, args.timeframe)
    done = manager.cache.maintenance.repair(keys)
    of_others = [part.repair() for part in others]
    findings = [*done.found, *(finding for part, _ in of_others for finding in part)]
    left = [*done.left, *(finding for _, part in of_others for finding in part)]
    is_sound = not left and not done.problems
    if args.json:
        document = {
            **_counts(keys, others),
            "sound": is_sound,
            "found": [f.to_json() for f in findings],
            "left": [f.to_json() for f in left],
        }
        print_json(document | {"problems": problems_json(done.problems)})
    else:
        repaired = [f for f in findings if f not in left]
        _show_findings(repaired, "done")
        _show_findings(left, "left")
        show_problems(done.problems)
        text = f"{_read(keys, others)}, {counted(len(repaired), 'finding')} repaired: "
        _conclude(is_sound, text, _count(left, done.problems), "")
    return OK if is_sound else FAILED


def _counts(keys: Sequence[SeriesKey], others: Sequence[OtherPart]) -> dict[str, int]:
    tables = sum(part.is_table for part in others)
    return {"series": len(keys), "tables": tables, "fundamentals": len(others) - tables}


def _read(keys: Sequence[SeriesKey], others: Sequence[OtherPart]) -> str:
    """Return what was read, in words."""
    counts = _counts(keys, others)
    text = [counted(counts["series"], "series")]
    text += [counted(counts["tables"], "table")] if counts["tables"] else []
    of = counted(counts["fundamentals"], "symbol")
    text += [f"fundamentals of {of}"] if counts["fundamentals"] else []
    return f"{', '.join(text)} read"


def _show_findings(findings: Sequence[Finding], state: str) -> None:
    screen = console()
    mark = {"done": "✓", "left": "✗"}.get(state, "→")
    for one in findings:
        screen.print(styled(str(one), "yellow"), soft_wrap=True)
        screen.print(styled(f"  {mark} {one.remedy}", "dim"), soft_wrap=True)


def _count(findings: Sequence[Finding], problems: Sequence[Any]) -> str:
    text = [counted(len(findings), "finding")] if findings else []
    text += [f"{len(problems):,} could not be read"] if problems else []
    return ", ".join(text)


def _conclude(is_sound: bool, summary: str, trouble: str, advice: str) -> None:
    text = summary + (trouble or "all sound") + (f"; {advice}" if advice else "")
    console().print(styled(text, "bold green" if is_sound else "bold red"), soft_wrap=True)


# --- compact ---------------------------------------------------------------------------------


def _compact(args: argparse.Namespace) -> int:
    from ..jobs.upkeep import run_upkeep

    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    services, is_trial = manager._services, args.dry_run
    done, problems = run_upkeep(services, "compact", keys, args.executor, dry_run=is_trial)
    orphans = 0 if args.symbol else upkeep.drop_orphans(dry_run=args.dry_run)
    problems += [
        (one.key, f"{', '.join(map(str, one.damaged))}: damaged, `onetape cache repair` first")
        for one in done
        if one.damaged
    ]
    before = sum(one.bytes[0] for one in done)
    after = sum(one.bytes[1] for one in done)
    stale = orphans + sum(one.stale for one in done)
    if args.json:
        print_json(
            {
                "dry_run": args.dry_run,
                "bytes_before": before,
                "bytes_after": after,
                "stale_bytes": stale,
                "series": [_compacted(one) for one in done],
                "problems": problems_json(problems),
            }
        )
    else:
        _show_compacted([one for one in done if one.years or one.stale])
        show_problems(problems)
        text = "bars: {} would be {}; {} of stale files would go"
        if not args.dry_run:
            text = "bars: {} before, {} after; {} of stale files removed"
        console().print(styled(text.format(size(before), size(after), size(stale)), "bold"))
    return FAILED if problems else OK


def _compacted(one: Compacted) -> dict[str, Any]:
    return {
        "symbol": one.key.symbol,
        "timeframe": one.key.timeframe.label,
        "lane": one.key.lane_label,
        "years": list(one.years),
        "members_before": one.members[0],
        "members_after": one.members[1],
        "bytes_before": one.bytes[0],
        "bytes_after": one.bytes[1],
        "stale_bytes": one.stale,
    }


def _show_compacted(done: Sequence[Compacted]) -> None:
    if not done:
        return
    rows = [
        [
            name_of(one.key),
            ", ".join(map(str, one.years)) or "-",
            f"{one.members[0]:,} → {one.members[1]:,}",
            size(one.bytes[0]),
            size(one.bytes[1]),
            size(one.stale),
        ]
        for one in done
    ]
    names = ["series", "years?", "members?", "before#", "after#", "stale#?"]
    console().print(TextTable(names, rows))
    console().print()


# --- migrate ---------------------------------------------------------------------------------


def _migrate(args: argparse.Namespace) -> int:
    manager = manager_of(args)
    upkeep, keys = manager.cache.maintenance, chosen(manager, args.symbol, args.timeframe)
    files, problems = upkeep.migrate(keys, dry_run=args.dry_run)
    pruned: list[Pruned] = []
    if args.prune:
        keys = chosen(manager, None) if not args.symbol else _with(keys, files)
        pruned, more = upkeep.prune(keys, dry_run=args.dry_run)
        problems += more
    if args.json:
        print_json(
            {
                "dry_run": args.dry_run,
                "files": [f.to_json() for f in files],
                "pruned": [p.to_json() for p in pruned],
                "problems": problems_json(problems),
            }
        )
    else:
        _show_migrated(files, dry_run=args.dry_run)
        _show_pruned(pruned, dry_run=args.dry_run)
        show_problems(problems)
    failed = problems or any(f.problem for f in files) or any(p.problem for p in pruned)
    return FAILED if failed else OK


def _with(keys: Sequence[SeriesKey], files: Sequence[OldFile]) -> list[SeriesKey]:
    return list(dict.fromkeys([*keys, *(file.key for file in files)]))


def _show_migrated(files: Sequence[OldFile], *, dry_run: bool) -> None:
    screen = console()
    if not files:
        screen.print(styled("no files of older tools", "dim"))
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
    screen.print(TextTable(["series", "file?", "bars#", "taken#", "what"], rows))
    verb = "would be" if dry_run else "were"
    text = f"{counted(len(files), 'file')}: {counted(sum(f.taken for f in files), 'bar')} {verb} "
    text += "taken over; the originals " + ("would lie" if dry_run else "lie") + " in _legacy"
    screen.print(styled(text, "bold"), soft_wrap=True)


def _show_pruned(pruned: Sequence[Pruned], *, dry_run: bool) -> None:
    screen = console()
    for one in pruned:
        others = [f"{counted(n, 'bar')} replaced by {v}" for v, n in one.superseded.items()]
        facts = ", ".join([f"{one.held:,} of {counted(one.rows, 'bar')} held", *others])
        gone = "would be deleted" if dry_run else "deleted"
        text = f"stays: {one.problem}" if one.problem else f"{gone} ({facts})"
        screen.print(styled(f"{one.path}: {text}", "yellow" if one.problem else ""), soft_wrap=True)
    gone_bytes = sum(one.bytes for one in pruned if not one.problem)
    if gone_bytes:
        verb = "would be freed" if dry_run else "freed"
        screen.print(styled(f"{size(gone_bytes)} {verb}", "bold"))


# --- log -------------------------------------------------------------------------------------


def _log(args: argparse.Namespace) -> int:
    manager = manager_of(args)
    from ..cache.layout import BARS

    symbol = meant(manager, args.symbol)
    frame = frame_of(args.timeframe) if args.timeframe else None
    upkeep = manager.cache.maintenance
    keys, others = upkeep.logged(symbol, frame), upkeep.other_logs(symbol, frame)
    if not keys and not others:
        keys = chosen(manager, args.symbol, frame.label if frame else None)
    logs = {key: upkeep.log(key) for key in keys}
    last = slice(-args.limit if args.limit else None, None)
    if args.json:
        document = [
            {
                "symbol": key.symbol,
                "timeframe": key.timeframe.label,
                "lane": key.lane_label,
                "data_type": BARS,
                **manager.cache.store.view(key).lifetime.dates(),
                "commits": [_plain(entry) for entry in log[last]],
            }
            for key, log in logs.items()
        ]
        document += [
            {
                "symbol": one.symbol,
                "timeframe": one.timeframe,
                "lane": "",
                "data_type": one.data_type,
                "commits": [_plain(entry) for entry in one.entries[last]],
            }
            for one in others
        ]
        print_json(document)
        return OK
    for key, log in logs.items():
        ends = manager.cache.store.view(key).lifetime.ends(key.timeframe)
        _show_log(key, log[last], ", ".join([counted(len(log), "commit"), *ends]))
    for one in others:
        _show_other_log(one, one.entries[last])
    return OK


def _show_other_log(one: OtherLog, entries: Sequence[dict[str, Any]]) -> None:
    title = " ".join(filter(None, (one.symbol, one.timeframe, one.data_type)))
    title += f" · {counted(len(one.entries), 'entry')}"
    if one.is_table:
        names = ["when", "what", "from?", "up to?", "added#", "changed#", "removed#", "size#?"]
        names += ["why?"]
        rows = [
            [
                moment(e["time"]),
                _author(e),
                *(map(moment, e["span"] or ("", ""))),
                *("?" if e[name] is None else f"{e[name]:,}" for name in _COUNTS),
                size(e["size"]),
                e["reason"] or "",
            ]
            for e in map(_plain, entries)
        ]
    else:
        names = ["when", "what", "file", "size#?", "why?"]
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
    screen = console()
    screen.print(TextTable(names, rows, title))
    screen.print()


def _author(entry: dict[str, Any], unnamed: str = "written") -> str:
    """Return what made an entry of a log: vendors, recovery, or the call that deleted."""
    if entry["deleted"]:
        return f"deleted by {entry['deleted']}"
    if entry.get("quarantined"):
        return "quarantined"
    return entry.get("vendor") or ("recovery" if entry.get("recovered") else unnamed)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    from ..model.instant import iso

    if not entry.get("span"):
        return entry
    return {**entry, "span": [iso(ms) for ms in entry["span"]]}


def _show_log(key: SeriesKey, log: Sequence[dict[str, Any]], summary: str) -> None:
    rows = [
        [
            str(e["generation"]),
            moment(e["time"]),
            _author(e, "-"),
            *(map(moment, e["span"] or ("", ""))),
            f"{e['added']:,}",
            f"{e['changed']:,}",
            f"{e['removed']:,}",
            size(e["size"]),
            "yes" if e["kept"] else "no",
        ]
        for e in map(_plain, log)
    ]
    names = [
        "version#",
        "when",
        "vendor",
        "from?",
        "up to?",
        "added#",
        "changed#",
        "removed#",
        "size#?",
        "kept?",
    ]
    screen = console()
    screen.print(TextTable(names, rows, f"{name_of(key)} · {summary}"))
    screen.print()
