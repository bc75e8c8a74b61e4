"""``onetape db symbols``: its output and its exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer

from .symbols import dump, manager_on

Run = Callable[..., tuple[int, str, str]]
CHANGES = (
    "date,type,symbol,successor,source\n"
    "2022-06-09,rename,fb,meta,Nasdaq notice\n2022-01-31,rename,META,METV,Roundhill\n"
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cache of AAPL and rules by which no vendor can be reached."""
    folder, clock = tmp_path_factory.mktemp("stored"), ManualClock(WEDNESDAY)
    with VendorServer(clock) as vendors:
        manager = manager_on(folder, clock, vendors)
        manager.get_ohlcv("AAPL", "1d", "2024-05-02", "2024-06-11")
        manager.get_fundamentals("AAPL")
    manager_on(folder, clock)
    return folder


@pytest.fixture
def run(
    stored: Path,
    database: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return a runner of commands as they are typed: exit code, output, errors."""
    url = database.url.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DB_URL", url)
    monkeypatch.setenv("COLUMNS", "400")
    record = DataManager.get_fundamentals

    def of_any_age(self: DataManager, symbol: str) -> dict[str, Any]:
        return record(self, symbol, max_age_days=36_500)

    # The clock of the command is that of this machine.
    monkeypatch.setattr(DataManager, "get_fundamentals", of_any_age)
    shutil.copytree(stored / "cache", tmp_path / "cache")
    places = ["--cache-dir", str(tmp_path / "cache"), "--config", str(stored / "rules.yaml")]

    def run_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["symbols", *words, *places])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run_


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    """Return a file of two renames."""
    path = tmp_path / "renames.csv"
    path.write_text(CHANGES)
    return path


def test_symbols_import_refresh_and_show_print_their_results(
    run: Run, changes: Path, database: Database
) -> None:
    code, out, _ = run("import", str(changes))
    assert code == 0
    assert "renames.csv: 4 rows; 4 added, 0 removed" in out
    assert "onetape db symbols refresh FB META METV" in out
    code, out, err = run("refresh", "AAPL", "FB", "--json")
    assert (code, err) == (0, "")
    assert [(one["symbol"], one["outcome"]) for one in json.loads(out)] == [
        ("AAPL", "written"),
        ("FB", "written"),
    ]
    assert json.loads(out)[1]["recorded"] == ["FB", "META"]
    code, out, _ = run("show", "FB", "--on", "2022-06-08")
    assert code == 0
    assert "FB names META on 2022-06-08, now META (Nasdaq notice)" in out
    assert "FB was renamed META on 2022-06-09 (Nasdaq notice); use META" in out
    code, out, _ = run("show", "AAPL", "--json")
    values = json.loads(out)["values"]
    assert values["company_name"]["value"] == "Apple Inc."
    assert values["company_name"]["source"] == "yahoo"
    assert values["last_price_date"]["value"] == "2024-06-11"
    code, out, _ = run("refresh", "AAPL")
    assert code == 0
    assert "same" in out
    assert len(dump(database)["symbols_v2"]) == 2


def test_refresh_of_all_takes_cached_and_renamed_symbols(run: Run, changes: Path) -> None:
    run("import", str(changes))
    _, out, _ = run("refresh", "--all", "--json")
    assert {one["symbol"] for one in json.loads(out)} >= {"AAPL", "FB", "META", "METV"}


@pytest.mark.parametrize(
    "words, what",
    [
        (["refresh"], "give either symbols or --all"),
        (["refresh", "AAPL", "--all"], "give either symbols or --all"),
        (["refresh", "no such symbol!"], "symbol"),
        (["import", "/nowhere/none.csv"], "No such file"),
        (["show", "NOPE"], "nothing is recorded for NOPE"),
        (["show", "AAPL", "--on", "09.06.2022"], "invalid date '09.06.2022'"),
    ],
)
def test_a_wrong_question_is_one_line_and_exit_code_two(
    run: Run, words: list[str], what: str, database: Database
) -> None:
    before = dump(database)
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert what in err
    assert dump(database) == before


def test_a_wrong_date_names_its_line(run: Run, tmp_path: Path, database: Database) -> None:
    path = tmp_path / "spellings.csv"
    path.write_text("date,type,symbol,successor\n2022-06-09,rename,A,B\n06/10/2022,rename,C,D\n")
    code, out, err = run("import", str(path))
    assert (code, out) == (2, "")
    assert "line 3: date is not a date: '06/10/2022'; use YYYY-MM-DD" in err
    assert not any(dump(database).values())


def test_an_unknown_symbol_is_exit_code_one(run: Run) -> None:
    code, out, _ = run("refresh", "ZZZZQ")
    assert code == 1
    assert "unknown" in out
    assert "nothing is stored for it" in out
