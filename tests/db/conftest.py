"""Databases for the tests, each on both engines."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
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


PARENTS = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9001", {head!r}


def upgrade():
    schema = op.get_context().version_table_schema
    place = f"{{schema}}." if schema else ""
    op.create_table("parents", sa.Column("id", sa.Integer(), nullable=False), sa.Column("name", sa.Text()),
                    sa.PrimaryKeyConstraint("id", name="pk_parents"),
                    sa.UniqueConstraint("name", name="uq_parents_name"), schema=schema)
    op.create_table("children", sa.Column("id", sa.Integer(), nullable=False),
                    sa.Column("parent", sa.Integer()), sa.PrimaryKeyConstraint("id", name="pk_children"),
                    sa.ForeignKeyConstraint(["parent"], [f"{{place}}parents.id"], name="fk_children_parent",
                                            ondelete="CASCADE"), schema=schema)
    for n in range(3):
        op.execute(f"INSERT INTO {{place}}parents VALUES ({{n}}, 'p{{n}}')")
        op.execute(f"INSERT INTO {{place}}children VALUES ({{n}}, {{n}})")


def downgrade():
    schema = op.get_context().version_table_schema
    op.drop_table("children", schema=schema)
    op.drop_table("parents", schema=schema)
"""
RECREATED = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9002", "9001"


def upgrade():
    with op.batch_alter_table("parents", schema=op.get_context().version_table_schema) as table:
        table.drop_constraint("uq_parents_name", type_="unique")
        table.add_column(sa.Column("born", sa.Text()))
        table.alter_column("name", nullable=False)


def downgrade():
    with op.batch_alter_table("parents", schema=op.get_context().version_table_schema) as table:
        table.alter_column("name", nullable=True)
        table.drop_column("born")
        table.create_unique_constraint("uq_parents_name", ["name"])
"""


@pytest.fixture
def more_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return all revisions and two more: tables with rows and children, then the parents made anew.

    They lie in a folder with percent signs.
    """
    folder = tmp_path / "100% of %(it)s" / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    head = schema.revisions()[-1]
    (folder / "versions" / "9001_parents.py").write_text(PARENTS.format(head=head))
    (folder / "versions" / "9002_recreated.py").write_text(RECREATED)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    return schema.revisions()
