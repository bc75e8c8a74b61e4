"""The database URL: its sources, its parsing, and that no text shows its password."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

from src.data.core.config.credentials import known_keys
from src.data.db.core import url
from src.data.db.core.database import Database, get_database, session_scope
from src.data.db.core.url import DatabaseUrl, database_url
from src.data.errors import DatabaseError, DatabaseUrlError
from tests.core.cache.counts import crossed

CANARY = "canary-7f3a"
PARTS = {
    "POSTGRES_USER": "ann", "POSTGRES_PASSWORD": "p@s%s/w?:#", "POSTGRES_HOST": "db.example",
    "POSTGRES_PORT": "6432", "POSTGRES_DATABASE": "records",
}  # fmt: skip


def test_the_argument_comes_first_then_the_variables_then_the_file(tmp_path: Path) -> None:
    environ = {
        "DB_URL": "postgres://u@one/a",
        **PARTS,
        "DATABASE_URL": "postgresql://u@three/c",
        "XDG_DATA_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }
    assert str(database_url("postgresql://u@zero/z", environ)) == "postgresql://u@zero/z"
    assert str(database_url(None, environ)) == "postgresql://u@one/a"
    environ["DB_URL"] = "  "
    assert str(database_url(None, environ)) == "postgresql://ann@db.example:6432/records"
    del environ["POSTGRES_HOST"]
    assert str(database_url(None, environ)) == "postgresql://u@three/c"
    del environ["DATABASE_URL"]
    assert database_url(None, environ).path == tmp_path / "onetape" / "onetape.db"
    assert not (tmp_path / "onetape").exists(), "nothing is made by asking"
    del environ["XDG_DATA_HOME"]
    place = database_url(None, environ).path
    assert (
        place is not None and place.is_relative_to(tmp_path) and "cache" not in str(place).lower()
    )


def test_parts_that_are_not_all_set_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url._warn_once.cache_clear()
    environ = {**PARTS, "HOME": str(tmp_path)}
    del environ["POSTGRES_DATABASE"]
    assert database_url(None, environ).dialect == "sqlite"
    assert "POSTGRES_DATABASE" in caplog.text and PARTS["POSTGRES_PASSWORD"] not in caplog.text
    caplog.clear()
    url._warn_once.cache_clear()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert str(database_url(None, environ | {"DATABASE_URL": other})) == other
    assert "POSTGRES_DATABASE" in caplog.text


def test_parts_that_are_ignored_in_each_unit_of_work_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url._warn_once.cache_clear()
    monkeypatch.setenv("POSTGRES_USER", "ann")
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'a.db'}")
    for _ in range(3):
        with session_scope():
            pass
    named = [one for one in caplog.messages if "POSTGRES_HOST" in one]
    assert len(named) == 1
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    get_database()
    assert "not set: POSTGRES_PORT, POSTGRES_DATABASE" in caplog.messages[-1]


def test_plain_parts_and_an_escaped_url_mean_the_same() -> None:
    parts = database_url(None, PARTS)
    escaped = database_url("postgres://ann:p%40s%25s%2Fw%3F%3A%23@db.example:6432/records")
    assert parts == escaped and parts.url.password == PARTS["POSTGRES_PASSWORD"]


@pytest.mark.parametrize(
    "name", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_each_name_of_postgresql_means_psycopg_3(name: str) -> None:
    assert database_url(f"{name}://u:p@h/d").url.drivername == "postgresql+psycopg"


def test_a_path_is_absolute_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert database_url("sqlite:///link/a.db").path == tmp_path / "real" / "a.db"
    assert database_url("sqlite+aiosqlite:///a.db") == database_url(
        f"sqlite:///{tmp_path / 'a.db'}"
    )


def test_a_percent_sign_in_a_path_or_password_is_no_reference(tmp_path: Path) -> None:
    folder = tmp_path / "100% of it %(here)s"
    folder.mkdir()
    written = f"sqlite:///{folder}/a.db".replace("%", "%25")
    database = Database(written)
    with database.writing():
        pass
    database.close()
    assert os.listdir(folder) == ["a.db"]


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "onetape.db", "sqlite", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://file.db",
        "sqlite:///a.db?mode=ro", "sqlite:///a\0b.db", "sqlite:///a\ud800.db", "mysql://u:p@h/d", "file:///a",
        "postgresql+pg8000://u:p@h/d", "postgresql://u:p@h:port/d", "postgresql://u:p@h:70000/d",
        "postgresql://u:p@h:0/d", "postgresql://u:p@x:y@h/d", "postgresql://u:p@x/y@h/d", "postgres:/h",
        "postgresql://u:p@h/d\nDROP", "postgresql://u:secret", 7, b"sqlite:///a.db",
    ],
)  # fmt: skip
def test_an_invalid_url_is_refused_without_being_shown(text: object) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        database_url(text)  # type: ignore[arg-type]
    assert caught.value.hint
    cause = caught.value.__context__
    assert cause is None or (isinstance(cause, ValueError | OSError) and "sqlite" in str(text))


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://ann:{}@/x?host=/nowhere",
        "postgresql://ann@/x?host=/nowhere&password={}",
        "postgresql://ann:{}@/x?host=/nowhere&nonsense=1",
        "postgresql://ann:{}@h@127.0.0.1:9/x",
        "postgresql://ann:{}@h:pass@127.0.0.1:9/x",
        "postgresql://ann:{}@127.0.0.1:port/x",
        "postgresql://ann:{}\n@127.0.0.1/x",
        "mysql://ann:{}@127.0.0.1/x",
        "ann:{}@127.0.0.1",
    ],
)
def test_a_password_is_in_no_repr_log_or_traceback(
    template: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", template.format(CANARY))
    caplog.set_level(logging.DEBUG)
    texts = []
    try:
        database = Database()
        texts += [repr(database), repr(database.url), str(database.url), repr(database.engine)]
        texts += [repr(database.schema), repr(pickle.dumps(repr(database)))]
        database.schema.state()
    except DatabaseError as error:
        texts += [*traceback.format_exception(error), repr(error), str(error), str(vars(error))]
        chain: BaseException | None = error
        while chain is not None:  # what a log of causes would show, suppressed or not
            texts += [repr(chain), str(chain)]
            chain = chain.__cause__ or chain.__context__
    else:
        pytest.fail("nothing of this can be reached")
    texts.append(caplog.text)
    assert [text for text in texts if CANARY in text] == []


def test_a_password_is_masked_in_the_records_of_others() -> None:
    database_url(f"postgresql://ann:{CANARY}@h/d")
    assert CANARY in known_keys().values()


@pytest.mark.parametrize(
    "user, password, name",
    crossed(["ann", "a@b", "ä"], ["p", "%", "%40", "a:b/c?d#e@f", "'; --"], ["d", "ü", "a b"]),
)
def test_hostile_values_come_through(user: str, password: str, name: str) -> None:
    parts = {
        **PARTS,
        "POSTGRES_USER": user,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_DATABASE": name,
    }
    url = database_url(None, parts).url
    assert (url.username, url.password, url.database) == (user, password, name)
    again = database_url(url.render_as_string(hide_password=False))
    assert (again.url.username, again.url.password, again.url.database) == (user, password, name)


@pytest.mark.parametrize("port", ["", "x", "-1", "0", "65536", "²", "5432 or 1"])
def test_an_invalid_port_is_refused(port: str) -> None:
    if not port:
        return
    with pytest.raises(DatabaseUrlError):
        database_url(None, {**PARTS, "POSTGRES_PORT": port})


def test_urls_are_equal_where_the_database_is() -> None:
    one, two = (
        database_url("postgres://u:p@h/d"),
        database_url(None, {"DB_URL": "postgresql://u:p@h/d"}),
    )
    assert one == two and hash(one) == hash(two) and isinstance(one, DatabaseUrl)
    assert one != database_url("postgres://u:q@h/d"), "another password is another login"
