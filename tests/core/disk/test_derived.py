"""A derived SQLite file: opened while it is right, made again when it is not, never another program's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from src.data.core.disk.derived import DerivedFile, is_unusable, transact
from src.data.core.disk.files import Disk
from src.data.errors import FormatVersionError, StorageError

APPLICATION, VERSION = 7, 3


def make(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE facts (name TEXT)")
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def check(application: int, version: int) -> bool:
    if application != APPLICATION or version > VERSION:
        raise FormatVersionError("not ours")
    return version == VERSION


def of(path: Path) -> DerivedFile:
    return DerivedFile(path, Disk(), make, check, lock=".facts.lock")


def filled(file: DerivedFile, name: str = "a") -> None:
    with file.alone(), closing(file.remade()) as db:
        db.execute("INSERT INTO facts VALUES (?)", (name,))


def content(file: DerivedFile, *, read_only: bool = True) -> list[str] | None:
    db = file.opened(read_only=read_only)
    if db is None:
        return None
    with closing(db):
        return [name for (name,) in db.execute("SELECT name FROM facts")]


def run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facts.db"


def test_a_derived_database_is_read_as_it_was_filled(path: Path) -> None:
    file = of(path)
    assert content(file) is None and not path.exists()
    filled(file)
    assert content(file) == content(file, read_only=False) == content(of(path)) == ["a"]
    filled(file, "b")
    assert content(file) == ["b"]
    assert {one.name for one in path.parent.iterdir()} == {path.name, ".facts.lock"}


HARM: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_bytes(b"not ours" * 2000),
    "of an older version": lambda path: run(path, f"PRAGMA user_version = {VERSION - 1}"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_derived_database_is_rebuilt(path: Path, harm: str) -> None:
    file = of(path)
    filled(file)
    HARM[harm](path)
    assert content(file) is None and content(file, read_only=False) is None
    filled(file, "b")
    assert content(file) == ["b"]


@pytest.mark.parametrize(
    "statement", ["PRAGMA application_id = 8", f"PRAGMA user_version = {VERSION + 1}"]
)
def test_a_database_of_another_program_is_refused_and_not_changed(
    path: Path, statement: str
) -> None:
    file = of(path)
    filled(file)
    run(path, statement)
    before = path.read_bytes()
    with pytest.raises(FormatVersionError):
        file.opened()
    assert path.read_bytes() == before


def test_a_link_is_neither_followed_nor_replaced(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    file = of(path)
    for work in (file.opened, file.remade):
        with pytest.raises(StorageError):
            work()
    assert path.is_symlink() and not path.with_name("elsewhere").exists()


def test_a_file_that_proved_wrong_is_not_opened_again(path: Path) -> None:
    file = of(path)
    filled(file)
    run(path, "DROP TABLE facts")
    with pytest.raises(sqlite3.OperationalError) as missing:
        content(file, read_only=False)
    assert is_unusable(missing.value)
    file.is_damaged = True
    assert file.opened() is None
    filled(file, "b")
    assert content(file, read_only=False) == ["b"]


def test_a_transaction_that_fails_changes_nothing(path: Path) -> None:
    file = of(path)
    filled(file)
    db = file.opened()
    assert db is not None

    def work() -> None:
        db.execute("INSERT INTO facts VALUES ('b')")
        raise RuntimeError

    with closing(db), pytest.raises(RuntimeError):
        transact(db, work)
    assert content(file) == ["a"]
