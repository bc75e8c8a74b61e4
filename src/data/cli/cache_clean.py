"""``onetape cache clean``: enforces the size limit, tidies up, and explains what must stay."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from .arguments import age, command, flag
from .cached import manager_of, name_of, problems_json, problems_shown
from .report import Line, Report, Shown
from .tables import TextTable, counted, size

if TYPE_CHECKING:
    from ..cache.retention.age import Aged

_BYTES_IN_GB = 1024**3
_ABOUT = (
    "Evict bars that can be fetched again until the cache is within its limit, and "
    "delete old files from quarantine. --older-than deletes by age, even bars that "
    "no vendor has any more: whole years of a series, and of tables such as "
    "funding_rate, if their newest row is older. A year file that also contains "
    "newer bars is kept whole; so are fundamentals, splits and dividends. "
    "`onetape cache log` lists each deletion."
)


def configure(actions: Any) -> None:
    """Add this sub-command, with its options, to ``onetape cache``."""
    clean = actions.add_parser(
        "clean",
        help=(
            "evict bars that can be fetched again until the cache is within its limit, and "
            "delete old files from quarantine"
        ),
    )
    clean.description = _ABOUT
    flag(
        clean,
        "--dry-run",
        "show what would be deleted, with its size, and what must stay; delete nothing",
    )
    clean.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help=(
            "first delete whole years whose newest bar is older than this: 5y, 18mo, 2w, "
            "90d (default: cache.retention in the rules, if it is set)"
        ),
    )
    flag(clean, "--all", "proceed even if no bars would be left")
    command(clean, _clean)


def _clean(args: argparse.Namespace) -> Report:
    cache = manager_of(args).cache
    before = cache.freeable()
    aged = None
    if args.older_than or cache.max_age:
        aged = cache.delete_older_than(args.older_than, dry_run=args.dry_run, every=args.all)
    elif args.all:
        raise QueryError("--all requires an age limit", hint="add --older-than AGE")
    tidied = cache.tidy(dry_run=args.dry_run)
    years = 0 if args.dry_run else cache.enforce_limit()
    after = before if args.dry_run else cache.freeable()
    document = {
        "dry_run": args.dry_run,
        "limit_bytes": round(cache.max_size_gb * _BYTES_IN_GB) or None,
        "years_dropped": years,
        # The cache may have grown meanwhile, by its own records or by another process's bars.
        "bytes_freed": max(0, before.bytes - after.bytes),
        "quarantine": {"files": tidied.files, "bytes": tidied.file_bytes},
        **after.to_json(),
    }
    problems = aged.problems if aged else ()
    if aged is not None:
        document |= {"older_than": str(args.older_than or cache.max_age), "aged": aged.to_json()}
        document |= {"problems": problems_json(problems)}
    return Report(document, _result_shown(aged, document), ok=not problems)


def _result_shown(aged: Aged | None, document: dict[str, Any]) -> Shown:
    if aged is not None:
        yield from _aged_shown(aged, document)
        yield from problems_shown(aged.problems)
    yield TextTable(["clean", ""], _rows(document))


def _aged_shown(aged: Aged, document: dict[str, Any]) -> Shown:
    """Yield the years that were deleted, or would be deleted in a dry run, with their sizes."""
    from ..cache.layout import BARS

    if aged.years:
        rows = [
            [
                name_of(year.key),
                "bars" if year.data_type == BARS else year.data_type,
                str(year.year),
                f"{year.rows:,}",
                size(year.bytes),
            ]
            for year in aged.years
        ]
        yield TextTable(["series", "data?", "year#", "rows#", "size#"], rows)
    verb = "would be deleted" if document["dry_run"] else "deleted"
    summary = f"{counted(len(aged.years), 'year')}, {counted(document['aged']['rows'], 'row')}, "
    summary += f"{size(document['aged']['bytes'])} {verb}"
    yield Line(f"older than {document['older_than']}: {summary}", "bold")
    if document["dry_run"] and aged.is_all:
        yield Line("no bars would be left; this is refused unless you add --all")
    yield ""


def _rows(document: dict[str, Any]) -> list[list[str]]:
    limit, quarantine = document["limit_bytes"], document["quarantine"]
    rows = [["size", size(document["bytes"])], ["limit", size(limit) if limit else "none"]]
    if not document["dry_run"]:
        years = document["years_dropped"] + len(document.get("aged", {}).get("years", ()))
        rows.append(["freed", f"{size(document['bytes_freed'])}, {counted(years, 'year')}"])
    if quarantine["files"]:
        files = f"{counted(quarantine['files'], 'file')}, {size(quarantine['bytes'])}"
        rows.append(
            ["would leave quarantine" if document["dry_run"] else "removed from quarantine", files]
        )
    return rows + freeable_rows(document)


def freeable_rows(document: dict[str, Any]) -> list[list[str]]:
    """Return table rows that show what can be deleted from a cache, and why the rest cannot."""
    rows = [
        ["can be rebuilt", size(document["derived_bytes"])],
        ["can be fetched again", size(document["replaceable_bytes"])],
    ]
    return rows + [["must stay", f"{size(k['bytes'])}: {k['reason']}"] for k in document["kept"]]
