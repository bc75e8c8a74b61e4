"""Databases for the tests, each on both engines."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from src.data.db.core import schema
from src.data.db.core.base import SCHEMA
from src.data.db.core.database import Database
from src.data.db.models import METADATA
from tests.db.server import server

ENGINES = ("sqlite", "postgresql")
_numbers = itertools.count()
_OWN = ("DB_URL", "DATABASE_URL", "ALLOW_DROP_TABLES", "POSTGRES_USER", "POSTGRES_PASSWORD",
        "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE")  # fmt: skip


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of data in this test; nothing of the environment names a database."""
    for name in _OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    return tmp_path / "data-home"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Yield the URL of a server's own database; tests make databases beside it."""
    with server() as url:
        yield url


def _database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def execute(url: str, statement: str) -> None:
    """Execute a statement outside a transaction, by another program so to speak."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database of this test alone: no file yet, or no table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'records.db'}"
        return
    url: str = request.getfixturevalue("postgresql")
    name = f"onetape_test_{os.getpid()}_{next(_numbers)}"
    execute(url, f"CREATE DATABASE {name}")
    yield _database(url, name)
    execute(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the tables, to be copied."""
    path = tmp_path_factory.mktemp("records") / "records.db"
    made = Database(f"sqlite:///{path}")
    made.schema.prepare()
    made.close()  # what is in the log beside it is not copied
    return path


@pytest.fixture(scope="session")
def tables(postgresql: str) -> Iterator[str]:
    """Yield the URL of a database with the tables, emptied before each test."""
    name = f"onetape_test_{os.getpid()}"
    execute(postgresql, f"CREATE DATABASE {name}")
    url = _database(postgresql, name)
    Database(url).schema.prepare()
    yield url
    execute(postgresql, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield a database with tables and no rows."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("_file")
        path = shutil.copy(template, tmp_path / "records.db")
        made = Database(f"sqlite:///{path}")
    else:
        made = Database(request.getfixturevalue("tables"))
        names = ", ".join(f"{SCHEMA}.{table.name}" for table in METADATA.sorted_tables)
        with made.writing() as session:
            session.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    yield made
    made.close()


# On SQLite a table with a new constraint is made anew, and rows of other tables refer to its rows.
SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9001", "0001"


def upgrade():
    with op.batch_alter_table("usr_users", schema=op.get_context().version_table_schema) as table:
        table.add_column(sa.Column("nickname", sa.Text(), nullable=False, server_default="none"))
        table.create_check_constraint(op.f("ck_usr_users_nickname"), "nickname <> ''")


def downgrade():
    with op.batch_alter_table("usr_users", schema=op.get_context().version_table_schema) as table:
        table.drop_constraint(op.f("ck_usr_users_nickname"), type_="check")
        table.drop_column("nickname")
"""


@pytest.fixture
def add_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that adds a second revision, as a newer version of the library does.

    The revisions are then those in a folder with percent signs.
    """

    def add(script: str = SECOND) -> None:
        folder = tmp_path / "100% of %(it)s" / "migrations"
        shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "9001_second.py").write_text(script)
        monkeypatch.setattr(schema, "MIGRATIONS", folder)

    return add
