"""``onetape db``: creates, upgrades, checks or backs up the tables of the optional database."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_output
from .report import Line, Report
from .tables import styled

if TYPE_CHECKING:
    from ..db.core.database import Database

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
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser(
        "init", help="create the tables, even in a database that has other tables"
    )
    upgrade = actions.add_parser(
        "upgrade", help="upgrade older tables to this version; a database file is backed up first"
    )
    check = actions.add_parser(
        "check", help="compare the tables with this version, and look for damage"
    )
    backup = actions.add_parser("backup", help="copy the database file in its current state")
    backup.add_argument(
        "file", nargs="?", metavar="FILE", help="a new file; default: next to the database"
    )
    for action, work in ((init, _init), (upgrade, _upgrade), (check, _check), (backup, _backup)):
        add_output(action)
        action.epilog = _EPILOG
        action.set_defaults(run=work)


def _database() -> Database:
    """Return the database that the environment variables name.

    Raises:
        DatabaseUrlError: The environment variables do not name a valid database.
        MissingExtraError: The extra is not installed.
    """
    from ..db import Database

    return Database()


def _init(args: argparse.Namespace) -> Report:
    database = _database()
    return _change_report(database, database.schema.init(), "the tables were created")


def _upgrade(args: argparse.Namespace) -> Report:
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
    database = _database()
    path = database.schema.backup(None if args.file is None else Path(args.file).expanduser())
    return Report(_database_json(database) | {"written": str(path)}, [Line(f"written: {path}")])


def _database_json(database: Database) -> dict[str, Any]:
    return {"database": str(database.url), "from": database.url.source, "engine": database.dialect}
