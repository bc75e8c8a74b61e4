from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from src.data.errors import MissingExtraError, ResponseFormatError
from src.data.model.http import HttpRequest
from src.data.net.carriers.files import FileCarrier


def test_a_compressed_bomb_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * 5_000_000))
    with pytest.raises(ResponseFormatError, match=r"a.csv.gz holds more than 1 MiB"):
        FileCarrier(tmp_path, max_bytes=1024 * 1024).send(HttpRequest("file:///a"))


def test_an_exact_name_comes_before_one_in_another_case(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text("upper")
    (tmp_path / "a.csv").write_text("lower")
    carrier = FileCarrier(tmp_path)
    assert carrier.send(HttpRequest("file:///a")).text == "lower"
    assert carrier.send(HttpRequest("file:///A.csv")).text == "upper"


def test_parquet_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"onetape\[parquet\]"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))


def test_a_missing_folder_is_no_file(tmp_path: Path) -> None:
    assert FileCarrier(tmp_path / "none").send(HttpRequest("file:///a")).status == 404
