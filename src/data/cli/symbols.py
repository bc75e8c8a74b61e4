"""``onetape db symbols``: facts about symbols in the optional database, and their past meanings."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import from_ms
from ..errors import QueryError
from .arguments import Actions, option
from .cached import manager_of
from .result import Report, Shown
from .tables import counted, styled, table

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..db.core.database import Database


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    refresh = actions.add(
        _refresh, "Fundamentals that are due are requested; everything else is read from the cache."
    )
    option(refresh, "symbols* SYMBOL", "such as AAPL, BRK.B")
    option(refresh, "--all", "all symbols that are stored or have a row")
    importer = actions.add(
        _import,
        (
            "Columns: date,type,symbol,successor (type: rename, merger, spinoff, delisting) "
            "or symbol,instrument,from,to (half-open), both with an optional source. "
            "Importing a file again under the same name replaces its rows."
        ),
    )
    option(importer, "file FILE", "CSV with a header")
    show = actions.add(_show, "See `onetape db check` for the database that is used.")
    option(show, "symbol SYMBOL", "such as META")
    option(show, "--on DAY", "show what the symbol refers to on this session date")


def _open_database(args: argparse.Namespace) -> tuple[Database, DataManager]:
    """Return the database and the data manager.

    Raises:
        DatabaseUrlError: The environment variables do not name a usable database.
        MissingExtraError: The extra is not installed.
    """
    from ..db import get_database

    return get_database(), manager_of(args, makes_folder=True)


def _refresh(args: argparse.Namespace) -> Report:
    """Copy symbol metadata into the database, and renames into the cache.

    The exit code is 1 if a symbol is unknown or some of its data is unavailable.
    """
    if bool(args.symbols) == args.all:
        raise QueryError("give either symbols or --all")
    database, manager = _open_database(args)
    from ..db.symbols.refresh import refresh_symbols

    results = list(refresh_symbols(database, manager, None if args.all else args.symbols))
    return Report.rows(
        results,
        "outcome symbol actions# recorded? problems?",
        counted(len(results), "symbol"),
        ok=all(one.outcome in ("written", "same") and not one.problems for one in results),
    )


def _import(args: argparse.Namespace) -> Report:
    """Import a CSV file of dated changes."""
    database, manager = _open_database(args)
    from ..db.symbols.tables import import_changes

    client = manager.client
    now = from_ms(client.clock.now_ms()).replace(tzinfo=UTC)

    def canonical(symbol: str) -> str:
        """Return the symbol as it is spelled in the store."""
        return client.query(symbol, "1d").instrument.symbol

    report = import_changes(database, Path(args.file).expanduser(), canonical, now)
    changes = f"{report.added} added, {report.removed} removed"
    lines = [styled(f"{report.origin}: {counted(report.rows, 'row')}; {changes}", "bold")]
    if report.symbols:
        some = " ".join(report.symbols[:8]) if len(report.symbols) <= 8 else "--all"
        text = f"bars include these changes after `onetape db symbols refresh {some}`"
        lines.append(styled(text, "dim"))
    return Report(asdict(report), lines)


def _show(args: argparse.Namespace) -> Report:
    """Show what is recorded for a symbol; sends no request."""
    database, manager = _open_database(args)
    symbol = manager.client.query(args.symbol, "1d").instrument.symbol
    try:
        on = None if args.on is None else date.fromisoformat(args.on)
    except ValueError as exc:
        raise QueryError(f"invalid date {args.on!r:.40}; use YYYY-MM-DD") from exc
    from ..db.symbols.tables import described

    with database.reading() as session:
        facts = described(session, symbol, on)
    return Report(facts, lambda: _facts_shown(facts))


def _facts_shown(facts: dict[str, Any]) -> Shown:
    if identity := facts["identity"]:
        names = f"{facts['symbol']} names {identity['instrument']} on {identity['on']}"
        now = f", now {identity['current']}" if identity["current"] != facts["symbol"] else ""
        source = identity["source"] or "no change is recorded"
        yield styled(f"{names}{now} ({source})", "bold")
    values = [{"field": name, **fact} for name, fact in facts["values"].items()]
    for rows, columns, title in (
        (values, "field value source at? window?", facts["symbol"]),
        (facts["names"], "symbol instrument from to source", "names"),
        (facts["changes"], "date text", "changes"),
    ):
        if rows:
            yield table(rows, columns, title)
    yield styled(f"splits and dividends: {facts['actions']:,}", "dim")
