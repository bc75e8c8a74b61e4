"""``onetape cache clean``: keep the limit now, tidy up, and say what stays and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import OK
from .cached import manager_of
from .output import console, print_json
from .tables import Grid, counted, size

if TYPE_CHECKING:
    from ..cache.unified_cache import UnifiedCache

_BYTES_IN_GB = 1024**3


def configure(actions: Any) -> None:
    """Add the sub-command."""
    clean = actions.add_parser(
        "clean",
        help="drop what can be had again until the cache is "
        "within its limit, and old files out of quarantine",
    )
    clean.add_argument(
        "--dry-run", action="store_true", help="say what could go, and what must stay"
    )
    clean.set_defaults(run=_clean)


def _clean(args: argparse.Namespace) -> int:
    cache = manager_of(args).cache
    tidied = cache.tidy(dry_run=args.dry_run)
    before = cache.freeable()
    years = 0 if args.dry_run else cache.enforce_limit()
    after = before if args.dry_run else cache.freeable()
    told = {
        "dry_run": args.dry_run,
        "limit_bytes": round(cache.max_size_gb * _BYTES_IN_GB) or None,
        "years_dropped": years,
        # The cache's own notes, or another process's bars, may have come meanwhile.
        "bytes_freed": max(0, before.bytes - after.bytes),
        "quarantine": {"files": tidied.files, "bytes": tidied.file_bytes},
        **after.to_json(),
    }
    if args.json:
        print_json(told)
    else:
        console().print(Grid(["clean", ""], _rows(told)))
    return OK


def _rows(told: dict[str, Any]) -> list[list[str]]:
    limit, quarantine = told["limit_bytes"], told["quarantine"]
    rows = [["size", size(told["bytes"])], ["limit", size(limit) if limit else "none"]]
    if not told["dry_run"]:
        rows.append(
            ["freed", f"{size(told['bytes_freed'])}, {counted(told['years_dropped'], 'year')}"]
        )
    if quarantine["files"]:
        files = f"{counted(quarantine['files'], 'file')}, {size(quarantine['bytes'])}"
        rows.append(["would leave quarantine" if told["dry_run"] else "out of quarantine", files])
    return rows + freeable_rows(told)


def freeable(cache: UnifiedCache) -> dict[str, Any]:
    """Return what of a cache could go, and why the rest must stay, as plain values."""
    return cache.freeable().to_json()


def freeable_rows(told: dict[str, Any]) -> list[list[str]]:
    """Return the same as rows of a table."""
    rows = [
        ["can be made again", size(told["derived_bytes"])],
        ["can be had again", size(told["replaceable_bytes"])],
    ]
    return rows + [["must stay", f"{size(k['bytes'])}: {k['reason']}"] for k in told["kept"]]
