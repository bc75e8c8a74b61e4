"""A program's own Alembic with our metadata, as docs/database.md shows it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import ForeignKey, MetaData, inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from src.data.db.core.database import Database, get_database
from src.data.db.models import Setting

PAGE = Path(__file__).resolve().parents[2] / "docs" / "database.md"


@pytest.fixture
def config(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: object
) -> Config:
    """Return the configuration of an Alembic folder whose ``env.py`` is the page's."""
    (env,) = re.findall(
        r"```py\n(from alembic import context\n.*?)```", PAGE.read_text(), re.DOTALL
    )
    folder = tmp_path / "own"
    made = Config()
    made.set_main_option("script_location", str(folder))
    made.config_file_name = str(tmp_path / "alembic.ini")
    command.init(made, str(folder))
    (folder / "env.py").write_text(env)
    (line,) = re.findall(r"Add the line `(.*?)` to `script.py.mako`", PAGE.read_text())
    template = folder / "script.py.mako"
    template.write_text(template.read_text().replace("${imports", f"{line}\n${{imports"))
    monkeypatch.setenv("DB_URL", database_url)
    return made


def test_a_programs_own_alembic_keeps_our_tables(
    config: Config, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    database.schema.init()
    _migrated(config, database, monkeypatch)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_tables_that_a_programs_own_alembic_creates_are_used(
    config: Config, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    assert database.url.path is not None
    database.url.path.touch()
    _migrated(config, database, monkeypatch)


def _migrated(config: Config, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generate and apply a revision of a program's own, and use our tables."""
    metadata, own = database.metadata, ModuleType("myprogram.models")

    class Base(DeclarativeBase):
        metadata = MetaData()

    class Note(Base):
        __tablename__ = "notes"

        id: Mapped[int] = mapped_column(primary_key=True)
        key: Mapped[str] = mapped_column(
            ForeignKey(
                next(t for t in metadata.tables.values() if t.name == "telegram_settings").c.key
            )
        )

    own.Base = Base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "myprogram", ModuleType("myprogram"))
    monkeypatch.setitem(sys.modules, "myprogram.models", own)
    command.revision(config, "notes", autogenerate=True)
    command.upgrade(config, "head")
    command.check(config)
    get_database().close()
    with database.writing() as session:
        session.add(Setting(key="a", value="1"))
    assert database.schema.state().name == "own"
    assert database.schema.differences() == []
    with database.reading() as session:
        assert session.scalars(select(Setting.key)).all() == ["a"]
        assert inspect(session.connection()).has_table("notes")
    database.close()
