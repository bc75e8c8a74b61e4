"""``onetape db universe``, filters by cached prices, and the names that programs import."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.data_manager import DataManager
from src.data.db import Database, UniverseDefinition
from src.data.db.symbols.models import Symbol
from src.data.db.universe import StoredUniverses

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return a runner of ``onetape db universe`` in an empty folder: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DB_URL", database.url.url.render_as_string(hide_password=False))
    monkeypatch.chdir(tmp_path)

    def run_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["universe", *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run_


def test_a_universe_from_file_to_answer(run: Run, tmp_path: Path) -> None:
    Path("members.csv").write_text("symbol,from,to\nAAPL,2015-01-02,\nGONE,2015-01-02,2020-01-02\n")
    assert run("list") == (
        0,
        "there are no universes; create one with `onetape db universe create`\n",
        "",
    )
    code, out, _ = run("import", "index", "members.csv")
    assert code == 0 and out.splitlines()[2].split() == ["index", "1", "yes", "2"]
    code, out, _ = run("show", "index", "--as-of", "2016-01-04")
    assert (
        code == 0 and "2 members" in out and "\npoint-in-time\n" in out and "AAPL     GONE" in out
    )
    shown = json.loads(run("show", "index", "--as-of", "2010-01-04", "--json")[1])
    assert (shown["is_pit"], shown["known_from"]) == (False, "2015-01-02")
    code, out, _ = run("diff", "index", "--start", "2016-01-04", "--json")
    assert json.loads(out)["removed"] == ["GONE"] and json.loads(out)["is_pit"]
    (refreshed,) = json.loads(run("refresh", "--json")[1])
    assert refreshed["changed"] is False
    (listed,) = json.loads(run("list", "--json")[1])
    assert listed["definition"]["index_name"] == str(tmp_path / "members.csv")
    assert "2015-01-02" in run("list")[1]


def test_a_universe_that_cannot_be_refreshed_is_named_and_the_others_are_refreshed(
    run: Run,
) -> None:
    for name in ("a", "b", "c"):
        Path(f"{name}.csv").write_text("symbol,from,to\nAAPL,2015-01-02,\nGONE,2015-01-02,\n")
        assert run("import", name, f"{name}.csv")[0] == 0
    Path("a.csv").unlink()
    Path("b.csv").write_text("symbol,from,to\nAAPL,2015-01-02,\nGONE,2015-01-02,2020-01-02\n")
    Path("c.csv").write_text("symbol,from,to\nAAPL,1/2/2015,\n")
    code, out, err = run("refresh")
    assert code == 1 and ["b", "1", "yes", "1", "1"] in [line.split() for line in out.splitlines()]
    lines = [line for line in err.splitlines() if line.startswith("onetape: ")]
    assert [line.split(": ")[1] for line in lines] == ["a", "c"]
    assert "a.csv cannot be read: No such file" in lines[0] and "c.csv, line 2: inva" in lines[1]
    code, out, _ = run("refresh", "c", "b", "a", "--json")
    b, c, a = json.loads(out)
    assert (code, b["universe"], b["changed"]) == (1, "b", False)
    assert (c["universe"], c["error"]["type"]) == ("c", "UniverseError")
    assert a["universe"] == "a" and "No such file" in a["error"]["message"]
    code, out, err = run("refresh", "a", "nope")
    assert (code, out) == (2, "") and "nope: the universe does not exist: 'nope'" in err


def test_a_wrong_universe_command_is_one_line_and_an_exit_code(run: Run) -> None:
    Path("bad.csv").write_text("symbol,from,to\nAAPL,2015-01-02,\nMSFT,1/2/2015,\n")
    for words, message in [
        (("import", "index", "bad.csv"), "bad.csv, line 3: invalid date '1/2/2015'"),
        (("show", "index"), "the universe does not exist: 'index'"),
        (("create", "u"), "a universe needs exactly one of: symbols, filters, a file"),
        (
            ("create", "u", "AAPL", "--min-price", "5"),
            "a universe needs exactly one of: symbols, filters, a file",
        ),
        (("create", "u", "--min-market-cap", "1e9"), "there is nothing to filter"),
    ]:
        code, out, err = run(*words)
        assert (code, out) == (2, "") and message in err, words
    assert run("create", "u", "AAPL")[0] == 0
    code, _, err = run("show", "u", "--as-of", "2015-01-02", "--strict")
    assert code == 2 and "not point-in-time" in err


def test_hostile_texts_do_not_drive_the_terminal(run: Run) -> None:
    Path("evil.csv").write_text("symbol,from,to\n\x1b]0;x\x07,2015-01-02,\n")
    code, out, err = run("import", "index", "evil.csv")
    assert code == 2 and "line 2" in err and "\x1b" not in out + err
    assert run("create", "a\x1b[0m", "AAPL")[0] == 2


def test_min_price_is_the_last_close_of_seven_days_in_the_cache(
    database: Database, tmp_path: Path
) -> None:
    clock = ManualClock(to_ms(datetime(2024, 6, 14, 12)))
    manager = DataManager(tmp_path / "cache", clock=clock)
    closes = {"HIGH": ("2024-06-13", 50.0), "LOW": ("2024-06-13", 2.0), "OLD": ("2024-06-05", 50.0)}
    for symbol, (day, close) in closes.items():
        index = pd.DatetimeIndex([pd.Timestamp(day)], name="timestamp")
        row = {"open": close, "high": close, "low": close, "close": close, "volume": 1e6}
        assert manager.cache.put(pd.DataFrame(row, index=index), symbol, "1d", provider="yahoo")
    with database.writing() as session:
        session.add_all(
            Symbol(
                symbol=symbol,
                currency="USD",
                is_active=True,
                sources={},
                updated_at=datetime(2024, 6, 14),
            )
            for symbol in (*closes, "NONE")
        )
    universes = StoredUniverses(database, manager, clock)
    made = universes.create("priced", UniverseDefinition("filter", filters={"min_price": 5}))
    assert list(universes.members("priced")) == ["HIGH"]
    assert made.excluded == {
        "LOW": "min_price: 2 is below 5",
        "NONE": "min_price: no close of the last 7 days is cached",
        "OLD": "min_price: no close of the last 7 days is cached",
    }


def test_older_programs_find_the_names(database: Database, tmp_path: Path) -> None:
    from sqlalchemy.orm import Session

    from src.data import v2

    async def use(session: Any) -> list[str]:
        manager = v2.UniverseManager(session, DataManager(tmp_path / "cache"))
        definition = v2.UniverseDefinition(type="static", description="", symbols=["AAPL", "MSFT"])
        await manager.create_universe("two", definition)
        return list(await manager.members("two"))

    with Session(database.engine) as session:
        assert asyncio.run(use(session)) == ["AAPL", "MSFT"]


def test_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, src.data\n"
        "from src.data.v2 import *; assert 'sqlalchemy' not in sys.modules\n"
        "from src.data.db.universe import UniverseDefinition; assert 'sqlalchemy' not in sys.modules\n"
        "from src.data.v2 import UniverseManager; assert 'sqlalchemy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
