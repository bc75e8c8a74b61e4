"""``onetape symbols``: facts about symbols in the optional database, and their past meanings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..model.instant import from_ms
from .arguments import command, flag
from .cached import manager_of
from .report import Report, Shown
from .tables import TextTable, counted, styled

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..db.core.database import Database
    from ..db.symbols.refresh import RefreshedSymbol

_STYLES = {"unknown": "yellow", "failed": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    refresh = actions.add_parser(
        "refresh",
        help="copy symbol metadata into the database, and renames into the cache",
    )
    refresh.add_argument("symbols", nargs="*", metavar="SYMBOL", help="such as AAPL, BRK.B")
    flag(refresh, "--all", "all symbols that are stored or have a row")
    importer = actions.add_parser("import", help="import a CSV file of dated changes")
    importer.add_argument("file", metavar="FILE", help="CSV with a header")
    show = actions.add_parser("show", help="show what is recorded for a symbol; sends no request")
    show.add_argument("symbol", metavar="SYMBOL", help="such as META")
    show.add_argument(
        "--on", metavar="DAY", help="show what the symbol refers to on this session date"
    )
    command(
        refresh,
        _refresh,
        "Fundamentals that are due are requested; everything else is read from the cache.",
    )
    command(
        importer,
        _import,
        (
            "Columns: date,type,symbol,successor (type: rename, merger, spinoff, delisting) "
            "or symbol,instrument,from,to (half-open), both with an optional source. "
            "Importing a file again under the same name replaces its rows."
        ),
    )
    command(show, _show, "See `onetape db check` for the database that is used.")


def _open_database(args: argparse.Namespace) -> tuple[Database, DataManager]:
    """Return the database and the data manager.

    Raises:
        DatabaseUrlError: The environment variables do not name a usable database.
        MissingExtraError: The extra is not installed.
    """
    from ..db import get_database

    return get_database(), manager_of(args, makes_folder=True)


def _refresh(args: argparse.Namespace) -> Report:
    """Refresh symbols; the exit code is 1 if one is unknown or some of its data is unavailable."""
    if bool(args.symbols) == args.all:
        raise QueryError("give either symbols or --all")
    database, manager = _open_database(args)
    from ..db.symbols.refresh import refresh_symbols

    results = list(refresh_symbols(database, manager, None if args.all else args.symbols))
    is_whole = all(
        result.outcome in ("written", "same") and not result.problems for result in results
    )
    document = [asdict(result) for result in results]
    return Report(document, lambda: _refreshed_table(results), ok=is_whole)


def _refreshed_table(results: list[RefreshedSymbol]) -> Shown:
    cells = [
        [
            styled(result.outcome, _STYLES.get(result.outcome, "")),
            result.symbol,
            str(result.actions),
            ", ".join(result.recorded),
            "; ".join(result.problems),
        ]
        for result in results
    ]
    names = ["outcome", "symbol", "actions#", "recorded in the cache", "problems"]
    yield TextTable(names, cells, counted(len(results), "symbol"))


def _import(args: argparse.Namespace) -> Report:
    database, manager = _open_database(args)
    from ..db.symbols.tables import import_changes

    client = manager.client
    now = from_ms(client.clock.now_ms()).replace(tzinfo=UTC)

    def canonical(symbol: str) -> str:
        """Return the symbol as it is spelled in the store."""
        return client.query(symbol, "1d").instrument.symbol

    report = import_changes(database, Path(args.file).expanduser(), canonical, now)
    text = f"{report.origin}: {counted(report.rows, 'row')}; {report.added} added, {report.removed} removed"
    lines = [styled(text, "bold")]
    if report.symbols:
        some = " ".join(report.symbols[:8]) if len(report.symbols) <= 8 else "--all"
        lines.append(
            styled(f"bars include these changes after `onetape symbols refresh {some}`", "dim")
        )
    return Report(asdict(report), lines)


def _show(args: argparse.Namespace) -> Report:
    database, manager = _open_database(args)
    symbol = manager.client.query(args.symbol, "1d").instrument.symbol
    on = None if args.on is None else _day(args.on)
    from ..db.symbols.tables import described

    with database.reading() as session:
        facts = described(session, symbol, on)
    return Report(facts, lambda: _facts_shown(facts))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise QueryError(f"invalid date {text!r:.40}; use YYYY-MM-DD") from exc


def _facts_shown(facts: dict[str, Any]) -> Iterator[Any]:
    if identity := facts["identity"]:
        names = f"{facts['symbol']} names {identity['instrument']} on {identity['on']}"
        now = f", now {identity['current']}" if identity["current"] != facts["symbol"] else ""
        source = identity["source"] or "no change is recorded"
        yield styled(f"{names}{now} ({source})", "bold")
    rows = [
        [
            name,
            str(fact["value"]),
            fact.get("source", ""),
            fact.get("at", ""),
            fact.get("window", ""),
        ]
        for name, fact in facts["values"].items()
    ]
    if rows:
        yield TextTable(["field", "value", "from", "at", "window?"], rows, facts["symbol"])
    rows = [
        [
            interval["symbol"],
            interval["instrument"],
            interval["from"] or "",
            interval["to"] or "",
            interval["source"],
        ]
        for interval in facts["names"]
    ]
    if rows:
        yield TextTable(["symbol", "instrument", "from", "to", "source"], rows, "names")
    rows = [[change["date"], change["text"]] for change in facts["changes"]]
    if rows:
        yield TextTable(["date", "change"], rows, "changes")
    yield styled(f"splits and dividends: {facts['actions']:,}", "dim")
