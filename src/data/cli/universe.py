"""``onetape db universe``: named lists of symbols whose members are dated."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import QueryError, SurvivorshipWarning
from .arguments import Actions, option
from .cached import manager_of
from .output import described
from .result import Line, Report, Shown
from .tables import counted, styled, table, titled

if TYPE_CHECKING:
    from ..core.model.identity.universe import Members
    from ..db.universe.definition import UniverseDefinition
    from ..db.universe.manager import StoredUniverses
    from ..db.universe.models import Universe
    from ..db.universe.storage import RefreshResult

_MOST_LINES = 12
_WIDTH = 8
_FILTERS = {
    "min_market_cap": "minimum market capitalization in USD",
    "max_market_cap": "maximum market capitalization in USD",
    "min_avg_volume": "minimum average volume in shares per day",
    "min_price": "minimum last close of the past seven days in USD, from the cache",
    "sectors": "only these sectors",
    "exclude_sectors": "exclude these sectors",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    create = actions.add(
        _create,
        (
            "Filters apply to the active symbols in the database (`onetape db symbols refresh`). An "
            "existing universe of this name gets the new definition; what was recorded stays."
        ),
    )
    option(create, "name")
    option(create, "symbols* symbol", "members of a static universe")
    text = "a file about an index, in a format that `onetape db universe import` accepts"
    option(create, "--file FILE", text)
    option(create, "--description TEXT", "description for people")
    for name, text in _FILTERS.items():
        is_list = name in ("sectors", "exclude_sectors")
        kind: Any = {"nargs": "+"} if is_list else {"type": _number}
        option(create, f"--{name.replace('_', '-')} {'NAME' if is_list else 'N'}", text, **kind)
    imported = actions.add(_import)
    option(imported, "name")
    text = "CSV with symbol,from,to or date,added,removed or symbol; or JSON"
    option(imported, "file FILE", text)
    text = "list of today's members: a change log is applied backwards from it"
    option(imported, "--today FILE", text)
    option(actions.add(_refresh), "names* name", "default: all universes")
    show = actions.add(_show)
    option(show, "name")
    option(show, "--as-of DAY", "the session date; default: today")
    option(show, "--strict", "fail if the members are not point-in-time")
    diff = actions.add(_diff)
    option(diff, "name")
    option(diff, "--start DAY", "the first of the two session dates", required=True)
    option(diff, "--end DAY", "the second session date; default: today")
    actions.add(_list)


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _universes(args: argparse.Namespace) -> StoredUniverses:
    """Return the universes in the database that the environment variables name.

    Raises:
        DatabaseUrlError: The environment variables do not name a valid database.
        MissingExtraError: The extra is not installed.
    """
    from ..db.universe import StoredUniverses

    return StoredUniverses(data_manager=manager_of(args, makes_folder=True))


# --- create, import, refresh -----------------------------------------------------------------


def _create(args: argparse.Namespace) -> Report:
    """Create a universe from a list of symbols, a filter or a file."""
    return _record_report([_universes(args).create(args.name, _definition(args))])


def _definition(args: argparse.Namespace) -> UniverseDefinition:
    from ..db.universe.definition import UniverseDefinition

    filters = {name: getattr(args, name) for name in _FILTERS if getattr(args, name) is not None}
    if sum(map(bool, (args.symbols, args.file, filters))) != 1:
        raise QueryError(
            "a universe needs exactly one of: symbols, filters, a file",
            hint="`onetape db universe create --help` explains them",
        )
    if args.symbols:
        return UniverseDefinition("static", args.description or "", symbols=args.symbols)
    if filters:
        return UniverseDefinition("filter", args.description or "", filters=filters)
    return UniverseDefinition("index", args.description or "", index_name=args.file)


def _import(args: argparse.Namespace) -> Report:
    """Import the dated members of an index from a file."""
    return _record_report([_universes(args).import_file(args.name, args.file, args.today)])


def _refresh(args: argparse.Namespace) -> Report:
    """Record the changes in lists, filters and files.

    The exit code is 1 if one universe cannot be refreshed, and 2 if none can.
    """
    universes = _universes(args)
    names = args.names or [row.name for row in universes.universes()]
    refreshed: list[RefreshResult] = []
    errors: dict[str, QueryError] = {}
    for name in names:
        try:
            refreshed.append(universes.refresh(name))
        except QueryError as error:
            errors[name] = error
    report = _record_report(refreshed)
    failed = [{"universe": name, "error": described(error)} for name, error in errors.items()]
    return report._replace(
        document=[*report.document, *failed],
        shown=report.shown if refreshed or not errors else (),
        errors=[f"{name}: {error}" for name, error in errors.items()],
        ok=not errors,
        is_misuse=bool(errors) and not refreshed,
    )


def _record_report(refreshed: Sequence[RefreshResult]) -> Report:
    rows = [asdict(recorded) | {"changed": recorded.is_changed} for recorded in refreshed]

    def shown() -> Shown:
        """Yield what changed in each universe, with notes and the symbols that were left out."""
        for row in rows:
            yield table([row], "universe members# changed opened# replaced#?")
            yield from _first_lines(row["notes"], "yellow")
            excluded = [f"{symbol}: {reason}" for symbol, reason in row["excluded"].items()]
            yield from _first_lines(excluded, "dim")

    return Report(rows, shown if rows else [styled("there are no universes", "dim")])


def _first_lines(texts: Sequence[str], style: str) -> Iterable[Any]:
    for text in texts[:_MOST_LINES]:
        yield styled(f"  {text}", style)
    if len(texts) > _MOST_LINES:
        yield styled(f"  and {len(texts) - _MOST_LINES:,} more (--json lists all)", style)


# --- show, diff, list ------------------------------------------------------------------------


def _members(args: argparse.Namespace, day: str | None, *, strict: bool = False) -> Members:
    """Return the members on a day; warnings are suppressed, because the output includes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SurvivorshipWarning)
        return _universes(args).members(args.name, day, strict)


def _show(args: argparse.Namespace) -> Report:
    """Show the members on a day."""
    members = _members(args, args.as_of, strict=args.strict)
    return Report(members.as_dict(), _members_shown(members))


def _members_shown(members: Members) -> Shown:
    yield from _header(members)
    for index in range(0, len(members), _WIDTH):
        yield Line("  ".join(f"{symbol:<7}" for symbol in members[index : index + _WIDTH]).rstrip())


def _header(members: Members) -> Iterator[Any]:
    label = (
        styled("point-in-time", "green") if members.is_pit else styled("not point-in-time", "red")
    )
    yield titled(f"{members.name} on {members.as_of}", counted(len(members), "member"))
    yield label
    if members.reason:
        yield styled(members.reason, "yellow")


def _diff(args: argparse.Namespace) -> Report:
    """Show which members joined and left between two days."""
    before, after = _members(args, args.start), _members(args, args.end)
    added = [symbol for symbol in after if symbol not in set(before)]
    removed = [symbol for symbol in before if symbol not in set(after)]
    document = {
        "name": args.name,
        "start": before.as_of.isoformat(),
        "end": after.as_of.isoformat(),
        "added": added,
        "removed": removed,
        "is_pit": before.is_pit and after.is_pit,
        "reasons": list(dict.fromkeys(filter(None, (before.reason, after.reason)))),
    }
    return Report(document, _diff_shown(before, after, added, removed))


def _diff_shown(before: Members, after: Members, added: list[str], removed: list[str]) -> Shown:
    yield from _header(before)
    yield from _header(after)
    yield ""
    rows = [("added", added), ("removed", removed)]
    yield table(
        [{"change": name, "members": len(names), "symbols": names} for name, names in rows],
        "change members# symbols",
    )


def _list(args: argparse.Namespace) -> Report:
    """List every universe."""
    return Report.rows(
        [_row_json(row) for row in _universes(args).universes()],
        "name type known_from checked_at? description?",
        empty="there are no universes; create one with `onetape db universe create`",
    )


def _row_json(row: Universe) -> dict[str, Any]:
    return {
        "name": row.name,
        "type": row.type,
        "description": row.description,
        "definition": dict(row.definition),
        "today_file": row.today_file,
        "known_from": row.known_from.isoformat(),
        "created_at": row.created_at.isoformat(),
        "checked_at": row.checked_at.isoformat(),
    }
