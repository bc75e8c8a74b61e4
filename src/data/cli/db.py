"""``onetape db``: the tables of the optional database, its symbols and its universes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import symbols, universe
from .arguments import Actions, option
from .result import Line, Report
from .tables import styled

if TYPE_CHECKING:
    from ..db.core.database import Database

EXAMPLES = ("db check", "db universe show my-index --as-of 2015-06-01")

_EPILOG = (
    "Database: DB_URL, else all of POSTGRES_*, else DATABASE_URL, else onetape.db "
    "in the user's data folder."
)

_WORDS = {
    "empty": "there are no tables yet; the first use creates them",
    "own": "the tables match this version (revision {})",
    "older": ("the tables are older (revision {}); the next use makes a backup and upgrades them"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    for work in (_init, _upgrade, _check):
        actions.add(work, _EPILOG, has_cache=False)
    backup = actions.add(_backup, _EPILOG, has_cache=False)
    option(backup, "file? FILE", "a new file; default: next to the database")
    symbols.configure(actions.nest("symbols", "symbol metadata and dated renames"))
    universe.configure(actions.nest("universe", "named lists of symbols with dated members"))


def _database() -> Database:
    """Return the database that the environment variables name.

    Raises:
        DatabaseUrlError: The environment variables do not name a valid database.
        MissingExtraError: The extra is not installed.
    """
    from ..db import Database

    return Database()


def _init(args: argparse.Namespace) -> Report:
    """Create the tables, even in a database that has other tables."""
    database = _database()
    return _change_report(database, database.schema.init(), "the tables were created")


def _upgrade(args: argparse.Namespace) -> Report:
    """Upgrade older tables to this version; a database file is backed up first."""
    database = _database()
    return _change_report(database, database.schema.upgrade(), "the tables were upgraded")


def _change_report(database: Database, has_changed: bool, text: str) -> Report:
    revision = database.schema.state().revision
    done = text if has_changed else "nothing to do: the tables match this version"
    document = _database_json(database) | {"changed": has_changed, "revision": revision}
    return Report(
        document, [Line(f"{database.url}"), styled(f"{done} (revision {revision})", "bold")]
    )


def _check(args: argparse.Namespace) -> Report:
    """Compare the tables with this version, and look for damage."""
    database = _database()
    state = database.schema.state()
    error = database.schema.refusal(state)
    problems = database.schema.differences() if state.name == "own" else []
    ok = error is None and not problems
    document = _database_json(database) | {
        "state": state.name,
        "revision": state.revision,
        "ok": ok,
        "problems": problems + ([str(error)] if error else []),
    }
    lines = [Line(f"{database.url} ({database.url.source})")]
    if error is None:
        lines += [Line(_WORDS[state.name].format(state.revision), "bold")]
    lines += [Line(f"  {problem}", "red") for problem in problems]
    return Report(document, lines, errors=[error] if error else (), ok=ok)


def _backup(args: argparse.Namespace) -> Report:
    """Copy the database file in its current state."""
    database = _database()
    path = database.schema.backup(None if args.file is None else Path(args.file).expanduser())
    return Report(_database_json(database) | {"written": str(path)}, [Line(f"written: {path}")])


def _database_json(database: Database) -> dict[str, Any]:
    return {"database": str(database.url), "from": database.url.source, "engine": database.dialect}
