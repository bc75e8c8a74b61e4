"""``onetape db``: its output and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.db.core.database import Database

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a runner of commands as they are typed: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "400")

    def run_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["db", *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run_


def document(ran: tuple[int, str, str]) -> Any:
    return json.loads(ran[1])


def test_db_init_creates_the_tables_and_is_idempotent(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", database_url)
    code, out, _ = run("check")
    assert code == 0 and "no tables yet" in out and "(DB_URL)" in out
    made = run("init", "--json")
    newest = document(made)["revision"]
    assert made[0] == 0 and document(made)["changed"] and newest
    assert document(run("init", "--json")) == {**document(made), "changed": False}
    code, out, _ = run("check")
    assert code == 0 and f"revision {newest}" in out
    checked = document(run("check", "--json"))
    assert (checked["state"], checked["ok"], checked["problems"]) == ("own", True, [])
    code, out, _ = run("upgrade")
    assert code == 0 and "nothing to do" in out


def test_an_older_database_is_upgraded(
    run: Run,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    add_revision: Callable[[], None],
) -> None:
    monkeypatch.setenv("DB_URL", database_url)
    run("init")
    add_revision()
    before = document(run("check", "--json"))
    assert before["state"] == "older" and before["revision"] == "0001"
    assert before["ok"] == database_url.startswith("sqlite"), (
        "a server is upgraded when it is wanted"
    )
    code, out, _ = run("upgrade")
    assert code == 0 and "9001" in out
    assert document(run("upgrade", "--json"))["changed"] is False


def test_upgrade_and_backup_without_tables_are_errors(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", database_url)
    code, out, err = run("upgrade", "--json")
    assert code == 1 and "onetape db init" in err
    assert document((code, out, err))["error"]["type"] == "SchemaError"
    assert run("backup")[0] == 1


def test_a_backup_is_a_database_and_never_written_over(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path / 'a.db'}")
    run("init")
    target = tmp_path / "copy.db"
    assert document(run("backup", str(target), "--json"))["written"] == str(target)
    copied = target.read_bytes()
    assert Database(f"sqlite:///{target}").schema.state().name == "own"
    code, _, err = run("backup", str(target))
    assert code == 1 and "already exists" in err and target.read_bytes() == copied
    code, _, err = run("backup", str(tmp_path / "no folder" / "x"))
    assert code == 1 and "cannot be backed up: cannot create" in err
    code, out, _ = run("backup")
    assert code == 0 and ".bak" in out
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.glob("*.*"))


def test_a_server_is_backed_up_by_its_own_means(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URL", "postgresql://u@127.0.0.1:9/x")
    code, _, err = run("backup")
    assert code == 1 and "pg_dump" in err


def test_a_wrong_url_is_a_wrong_question(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URL", "mysql://u:canary@h/d")
    code, out, err = run("check", "--json")
    assert code == 2 and "canary" not in out + err


def test_db_check_without_the_postgres_extra_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("DB_URL", "postgresql://u@127.0.0.1:9/x")
    monkeypatch.setattr("src.data.db.core.engine.find_spec", lambda name: None)
    code, _, err = run("check")
    assert code == 2 and "[postgres]" in err


def test_check_reports_damage_and_foreign_tables(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    monkeypatch.setenv("DB_URL", f"sqlite:///{path}")
    path.write_bytes(b"no database" * 100)
    code, _, err = run("check")
    assert (
        code == 1
        and "is damaged, or the file is not a database:" in err
        and path.read_bytes() == b"no database" * 100
    )
    assert run("init")[0] == 1 and path.read_bytes() == b"no database" * 100
