from __future__ import annotations

import csv
import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.disk.atomic import csv_text, export_csv, export_parquet
from src.data.core.disk.files import Disk, DiskStep
from src.data.errors import MissingExtraError, StorageError

ODD = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1 / 3, -0.0, 123456789.123456789]


@pytest.fixture
def frame() -> pd.DataFrame:
    index = pd.date_range("2024-06-01", periods=len(ODD), freq="D", name="timestamp").as_unit("ns")
    made = pd.DataFrame({"open": ODD, "close": ODD[::-1]}, index=index)
    made.attrs["onetape"] = {"vendors": ["v"]}
    return made


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack(">d", value) for value in values]


def test_every_float_keeps_its_bits(frame: pd.DataFrame, tmp_path: Path) -> None:
    export_csv(frame, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert bits([float(row["open"]) for row in rows]) == bits(ODD)
    assert rows[0]["timestamp"] == "2024-06-01 00:00:00"


def test_parquet_keeps_the_bits_the_index_and_the_facts(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    read = pd.read_parquet(export_parquet(frame, tmp_path / "a.parquet"))
    assert bits(read["open"].tolist()) == bits(ODD)
    assert read.index.equals(frame.index)
    assert read.attrs == frame.attrs


def test_a_missing_value_is_an_empty_field(frame: pd.DataFrame) -> None:
    frame.iloc[0, 0] = np.nan
    assert csv_text(frame).splitlines()[1].startswith("2024-06-01 00:00:00,,")


def test_gzip_is_plain_and_repeatable(frame: pd.DataFrame, tmp_path: Path) -> None:
    first = export_csv(frame, tmp_path / "a.csv.gz").read_bytes()
    second = export_csv(frame, tmp_path / "b.csv.gz").read_bytes()
    assert first == second
    assert gzip.decompress(first).decode() == csv_text(frame)


@pytest.mark.parametrize("at", ["create", "write", "sync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    at: str, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    perform = Disk.perform

    def failing(self: Disk, step: DiskStep, call: Callable[[], Any]) -> Any:
        if at in step.name and step.name != "fsync_dir":
            raise OSError(28, "No space left on device")
        return perform(self, step, call)

    monkeypatch.setattr(Disk, "perform", failing)
    with pytest.raises(StorageError, match=r"a\.csv cannot be written: No space left"):
        export_csv(frame, target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    "name, said",
    [
        ("", r"it is a folder \(name a file\)"),
        ("none/a.csv", "does not exist"),
        ("f/a.csv", "not exist"),
    ],
)
def test_where_no_file_can_be(name: str, said: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(StorageError, match=said):
        export_csv(frame, tmp_path / name)


def test_a_device_is_not_replaced(frame: pd.DataFrame) -> None:
    with pytest.raises(StorageError, match="it is a device"):
        export_csv(frame, Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_one(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    export_csv(frame, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == csv_text(frame)


def test_without_the_extra_there_is_one_sentence(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[parquet\]"):
        export_parquet(frame, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
