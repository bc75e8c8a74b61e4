"""``onetape universe``: named lists of symbols whose members are dated."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError, SurvivorshipWarning
from .arguments import command
from .cached import manager_of
from .output import described
from .report import Line, Report, Shown
from .tables import TextTable, counted, styled, titled

if TYPE_CHECKING:
    from ..db.universe.definition import UniverseDefinition
    from ..db.universe.manager import StoredUniverses
    from ..db.universe.models import Universe
    from ..db.universe.storage import RefreshResult
    from ..model.universe import Members

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
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _configure_create(
        actions.add_parser(
            "create", help="create a universe from a list of symbols, a filter or a file"
        )
    )
    imported = actions.add_parser("import", help="import the dated members of an index from a file")
    imported.add_argument("name")
    imported.add_argument(
        "file",
        metavar="FILE",
        help="CSV with symbol,from,to or date,added,removed or symbol; or JSON",
    )
    imported.add_argument(
        "--today",
        metavar="FILE",
        help="list of today's members: a change log is applied backwards from it",
    )
    refresh = actions.add_parser("refresh", help="record the changes in lists, filters and files")
    refresh.add_argument("names", nargs="*", metavar="name", help="default: all universes")
    show = actions.add_parser("show", help="show the members on a day")
    show.add_argument("name")
    show.add_argument("--as-of", metavar="DAY", help="the session date; default: today")
    show.add_argument(
        "--strict", action="store_true", help="fail if the members are not point-in-time"
    )
    diff = actions.add_parser("diff", help="show which members joined and left between two days")
    diff.add_argument("name")
    diff.add_argument(
        "--start", metavar="DAY", required=True, help="the first of the two session dates"
    )
    diff.add_argument("--end", metavar="DAY", help="the second session date; default: today")
    listed = actions.add_parser("list", help="list every universe")
    works = (
        (imported, _import),
        (refresh, _refresh),
        (show, _show),
        (diff, _diff),
        (listed, _list),
    )
    for action, work in works:
        command(action, work)


def _configure_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("symbols", nargs="*", metavar="symbol", help="members of a static universe")
    parser.add_argument(
        "--file", help="a file about an index, in a format that `onetape universe import` accepts"
    )
    parser.add_argument("--description", help="description for people")
    for name, text in _FILTERS.items():
        option = f"--{name.replace('_', '-')}"
        if name in ("sectors", "exclude_sectors"):
            parser.add_argument(option, nargs="+", metavar="NAME", help=text)
        else:
            parser.add_argument(option, type=_number, metavar="NUMBER", help=text)
    command(
        parser,
        _create,
        (
            "Filters apply to the active symbols in the database (`onetape symbols "
            "refresh`). An existing universe of this name gets the new definition; what was "
            "recorded stays."
        ),
    )


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
    return _record_report([_universes(args).create(args.name, _definition(args))])


def _definition(args: argparse.Namespace) -> UniverseDefinition:
    from ..db.universe.definition import UniverseDefinition

    filters = {name: getattr(args, name) for name in _FILTERS if getattr(args, name) is not None}
    if sum(map(bool, (args.symbols, args.file, filters))) != 1:
        raise QueryError(
            "a universe needs exactly one of: symbols, filters, a file",
            hint="`onetape universe create --help` explains them",
        )
    if args.symbols:
        return UniverseDefinition("static", args.description or "", symbols=args.symbols)
    if filters:
        return UniverseDefinition("filter", args.description or "", filters=filters)
    return UniverseDefinition("index", args.description or "", index_name=args.file)


def _import(args: argparse.Namespace) -> Report:
    return _record_report([_universes(args).import_file(args.name, args.file, args.today)])


def _refresh(args: argparse.Namespace) -> Report:
    """Refresh each universe; the exit code is 1 if one cannot be refreshed, and 2 if none can."""
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
    return Report([_universe_json(recorded) for recorded in refreshed], _recorded_shown(refreshed))


def _universe_json(recorded: RefreshResult) -> dict[str, Any]:
    return {
        "universe": recorded.universe,
        "changed": recorded.is_changed,
        "members": recorded.members,
        "opened": recorded.opened,
        "replaced": recorded.replaced,
        "notes": list(recorded.notes),
        "excluded": dict(recorded.excluded),
    }


def _recorded_shown(refreshed: Sequence[RefreshResult]) -> Shown:
    if not refreshed:
        yield styled("there are no universes", "dim")
    for recorded in refreshed:
        text = counted(recorded.members, "member")
        change = f"{counted(recorded.opened, 'interval')} opened, {recorded.replaced:,} closed or replaced"
        yield titled(
            recorded.universe, f"{text}; {change if recorded.is_changed else 'nothing has changed'}"
        )
        yield from _first_lines(recorded.notes, "yellow")
        yield from _first_lines(
            [f"{symbol}: {reason}" for symbol, reason in recorded.excluded.items()], "dim"
        )


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
    yield TextTable(
        ["", "members#", "symbols"],
        [
            ["added", str(len(added)), ", ".join(added) or "-"],
            ["removed", str(len(removed)), ", ".join(removed) or "-"],
        ],
    )


def _list(args: argparse.Namespace) -> Report:
    rows = _universes(args).universes()
    if not rows:
        hint = "there are no universes; create one with `onetape universe create`"
        return Report([], [Line(hint)])
    cells = [[row.name, row.type, str(row.known_from), f"{row.checked_at:%Y-%m-%d %H:%M}"]
             for row in rows]  # fmt: skip
    table = TextTable(["name", "type", "point-in-time from", "checked (UTC)?"], cells)
    return Report([_row_json(row) for row in rows], [table])


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
