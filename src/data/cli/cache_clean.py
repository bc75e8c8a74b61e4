"""``onetape cache clean``: enforces the size limit, tidies up, and explains what must stay."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from .arguments import Actions, age, option
from .cached import manager_of, problem_rows, problems_shown
from .result import Line, Report, Shown
from .tables import counted, fields, size, table

if TYPE_CHECKING:
    from ..core.cache.retention.age import Aged

_BYTES_IN_GB = 1024**3
_ABOUT = (
    "Series that an earlier version cached from your own files are removed if the file is there. "
    "--older-than deletes by age, even bars that "
    "no vendor has any more: whole years of a series, and of tables such as "
    "funding_rate, if their newest row is older. A year file that also contains "
    "newer bars is kept whole; so are fundamentals, splits and dividends. "
    "`onetape cache log` lists each deletion."
)


def configure(actions: Actions) -> None:
    """Add this action, with its options, to ``onetape cache``."""
    clean = actions.add(_clean, _ABOUT)
    text = "show what would be deleted, with its size, and what must stay; delete nothing"
    option(clean, "--dry-run", text)
    text = (
        "first delete whole years whose newest bar is older than this: 5y, 18mo, 2w, 90d (default: "
        "cache.retention in the rules, if it is set)"
    )
    option(clean, "--older-than AGE", text, type=age)
    option(clean, "--all", "proceed even if no bars would be left")


def _clean(args: argparse.Namespace) -> Report:
    """Evict bars that can be fetched again, as the limit demands, and old files from quarantine."""
    manager = manager_of(args)
    cache = manager.cache
    before = cache.freeable()
    own = [key for key in cache.store.keys() if key.is_of_files and manager.client.has_file(key)]
    for key in () if args.dry_run else own:
        cache.store.clear_series(key, "clean")
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
        "own_files": [str(key) for key in own],
        "bytes_freed": max(0, before.bytes - after.bytes),
        "quarantine": {"files": tidied.files, "bytes": tidied.file_bytes},
        **after.to_json(),
    }
    problems = aged.problems if aged else ()
    if aged is not None:
        document |= {"older_than": str(args.older_than or cache.max_age), "aged": aged.to_json()}
        document |= {"problems": problem_rows(problems)}
    return Report(document, _result_shown(aged, document), ok=not problems)


def _result_shown(aged: Aged | None, document: dict[str, Any]) -> Shown:
    quarantine, is_trial = document["quarantine"], document["dry_run"]
    years = document["years_dropped"] + (len(aged.years) if aged else 0)
    lines: dict[str, str] = {}
    if aged is not None:
        yield from _aged_shown(aged, document)
        yield from problems_shown(aged.problems)
    if not is_trial:
        lines["freed"] = f"{size(document['bytes_freed'])}, {counted(years, 'year')}"
    if quarantine["files"]:
        name = "would leave quarantine" if is_trial else "removed from quarantine"
        lines[name] = f"{counted(quarantine['files'], 'file')}, {size(quarantine['bytes'])}"
    if own := document["own_files"]:
        name = "would remove" if is_trial else "removed"
        lines[name] = (
            f"{counted(len(own), 'series')} of your own files, which are read when requested"
        )
    limit = document["limit_bytes"]
    facts = {"size": size(document["bytes"]), "limit": size(limit) if limit else "none"}
    yield fields(facts | lines | freeable(document))


def _aged_shown(aged: Aged, document: dict[str, Any]) -> Shown:
    """Yield the years that were deleted, or would be deleted in a dry run, with their sizes."""
    if aged.years:
        yield table(aged.years, "symbol timeframe lane? data_type? year rows# bytes#")
    verb = "would be deleted" if document["dry_run"] else "deleted"
    summary = f"{counted(len(aged.years), 'year')}, {counted(document['aged']['rows'], 'row')}, "
    summary += f"{size(document['aged']['bytes'])} {verb}"
    yield Line(f"older than {document['older_than']}: {summary}", "bold")
    if document["dry_run"] and aged.is_all:
        yield Line("no bars would be left; this is refused unless you add --all")
    yield ""


def freeable(document: dict[str, Any]) -> dict[str, Any]:
    """Return the files that can be deleted from a cache, and why others cannot, as names and texts."""
    return {
        "dropped first": size(document["derived_bytes"]),
        "can be fetched again": size(document["replaceable_bytes"]),
        "must stay": "\n".join(f"{size(k['bytes'])}: {k['reason']}" for k in document["kept"]),
    }
