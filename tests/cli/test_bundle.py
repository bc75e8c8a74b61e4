"""``onetape bundle``: exit codes, JSON, and printed text."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import src.data.bundles
from src.data.cli import main
from src.data.polars.parquet_writer import ParquetWriter
from tests.research.bundles.bars import days


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def run(folder: Path, *arguments: str) -> int:
    options = ("--bundles", str(folder), "--cache-dir", str(folder.parent / "cache"))
    return main(["bundle", *arguments, *options])


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def create(folder: Path, *options: str) -> int:
    bounds = ("--start", "2023-12-20", "--end", "2024-02-09", "--provider", "mock")
    return run(folder, "create", "mine", "AAPL", "MSFT", "1d", *bounds, *options)


def test_from_the_first_bar_to_the_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert create(folder, "--json") == 0
    told = answer(capsys)
    assert len(told["written"]) == 3 and told["failed"] == {}
    assert run(folder, "list") == 0
    assert "mine" in capsys.readouterr().out
    assert run(folder, "list", "--json") == 0
    (row,) = answer(capsys)["bundles"]
    assert (row["row_count"], row["symbols"], row["frequency"]) == (70, ["AAPL", "MSFT"], "1d")
    assert run(folder, "info", "mine") == 0
    shown = capsys.readouterr().out
    assert "1d@mock" in shown and "2023-12-20 to 2024-02-09" in shown
    assert run(folder, "info", "mine", "--json") == 0
    assert set(answer(capsys)["sources"]) == {"AAPL", "MSFT"}
    assert run(folder, "validate", "mine") == 0
    assert "current" in capsys.readouterr().out
    assert run(folder, "refresh", "mine", "--offline", "--json") == 0
    assert answer(capsys)["written"] == []


def test_damage_is_named_and_mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(folder)
    path = folder / "mine" / "daily_bars/year=2024/month=01/data.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    capsys.readouterr()
    assert run(folder, "validate", "mine", "--json") == 1
    told = answer(capsys)
    assert told["state"] == "corrupt" and "month=01" in told["causes"][0]
    assert run(folder, "refresh", "mine") == 0
    assert run(folder, "validate", "mine") == 0


def test_old_partitions_and_whole_bundles_go(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(folder)
    assert run(folder, "clean", "mine", "--before", "2024-01-15", "--dry-run") == 0
    assert len(list((folder / "mine").rglob("data.parquet"))) == 3
    assert run(folder, "clean", "mine", "--before", "2024-01-15") == 0
    assert len(list((folder / "mine").rglob("data.parquet"))) == 2
    assert run(folder, "validate", "mine") == 0
    assert run(folder, "clean", "mine", "--before", "2030-01-01") == 1
    capsys.readouterr()
    assert run(folder, "clean", "mine", "--all", "--dry-run") == 0
    assert run(folder, "clean", "mine", "--all") == 0
    assert not (folder / "mine").exists()
    assert run(folder, "list") == 0
    assert (
        "there are no bundles; create one with `onetape bundle create NAME SYMBOL... TIMEFRAME`"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("info", "none"), 1),
        (("validate", "none"), 1),
        (("info", ".."), 2),
        (("create", "a/b", "AAPL", "1d"), 2),
        (("create", "x", "AAPL", "9q"), 2),
        (("create", "x", "AAPL", "1d", "--provider", "nobody"), 2),
        (("clean", "mine", "--before", "noon"), 2),
        (("clean", "mine", "--all", "--before", "2024-01-01"), 2),
        (("create", "mine", "AAPL", "1d", "--provider", "mock"), 1),
        (("create", "x", "AAPL", "1d", "--provider", "mock", "--offline", "--start", "2011-01-03",
          "--end", "2011-01-04"), 1),
    ],
)  # fmt: skip
def test_wrong_questions_have_their_exit_codes(
    folder: Path, arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if {"mine", "none"} & {*arguments}:  # no other one needs a cache or a bundle
        create(folder)
    assert run(folder, *arguments) == code
    assert capsys.readouterr().err


def test_a_programs_bundle_is_not_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ParquetWriter(folder / "theirs").write(days(date(2023, 1, 30), 5), "daily")
    (folder.parent / "cache").mkdir()
    assert run(folder, "validate", "theirs") == 0
    assert "foreign" in capsys.readouterr().out
    assert run(folder, "clean", "theirs", "--all") == 1
    assert run(folder, "clean", "theirs", "--before", "2023-02-01") == 0
    assert len(list((folder / "theirs").rglob("data.parquet"))) == 1
    assert run(folder, "validate", "theirs") == 0


def test_a_refresh_names_what_an_only_copy_has_lost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ParquetWriter(folder / "theirs").write(days(date(2023, 1, 30), 5), "daily")
    (folder.parent / "cache").mkdir()
    assert run(folder, "refresh", "theirs") == 0
    assert "nothing has changed" in capsys.readouterr().out
    february = "daily_bars/year=2023/month=02/data.parquet"
    (folder / "theirs" / february).unlink()
    assert run(folder, "refresh", "theirs") == 1
    assert f"{february}: is missing" in capsys.readouterr().err


def test_without_polars_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = ("onetape.data.polars", "onetape.data.bundles", "onetape.data.research")
    with monkeypatch.context() as without:
        for name in [n for n in sys.modules if n.startswith(packages)]:
            if name in packages:  # importing it again sets the attribute of the package above, too
                without.setattr(src.data, name.rpartition(".")[2], sys.modules[name])
            without.delitem(sys.modules, name)
        without.setitem(sys.modules, "polars", None)
        assert run(folder, "list") == 2
    assert "[polars]" in capsys.readouterr().err
    shared = sys.modules["onetape.data.bundles"]
    assert src.data.bundles is shared, "tests after this one share modules"


def test_a_bundle_that_a_program_registered_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(folder.parent / "elsewhere")
    create(folder)
    with closing(src.data.bundles.DataCatalog(folder / "metadata.db")) as catalog:
        catalog.register_bundle("near", folder.parent / "elsewhere" / "mine")
    capsys.readouterr()
    assert run(folder, "list", "--json") == 0
    assert [row["bundle_name"] for row in answer(capsys)["bundles"]] == ["mine", "near"]
    assert run(folder, "info", "near", "--json") == 0
    told = answer(capsys)
    assert told["bundle_name"] == "near" and "elsewhere" in told["path"]
    assert run(folder, "validate", "near") == 0
    assert run(folder, "refresh", "near", "--offline") == 0


def test_damage_without_a_trace_is_named_by_validate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(folder)
    path = folder / "mine" / "daily_bars/year=2024/month=01/data.parquet"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(folder, "validate", "mine") == 1
    assert "SHA256" in capsys.readouterr().out


def test_long_texts_of_another_programs_bundle_are_cut(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = days(date(2024, 1, 2), 2).drop("sid").with_columns(symbol=pl.lit("M" * 100_000))
    ParquetWriter(folder / "mine").write(frame, "1d", {"source_type": "S" * 100_000})
    for words in (("info", "mine"), ("list",)):
        assert run(folder, *words) == 0
        assert 80 < len(capsys.readouterr().out) < 2000
