from __future__ import annotations

import gzip
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.disk.calls import open_file
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.calls.deadline import run_call
from src.data.core.vendors.local import carrier
from src.data.core.vendors.local.carrier import FileCarrier
from src.data.errors import (
    MissingExtraError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnavailableError,
)


def test_a_gzip_bomb_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * 2_000_000) * 10)
    tracemalloc.start()
    try:
        with pytest.raises(ResponseFormatError, match=r"a.csv.gz contains more than 8 MiB"):
            FileCarrier(tmp_path, max_bytes=8 << 20).send(HttpRequest("file:///a"))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_inflates_far_more_than_bars_is_stopped_by_its_own_size(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\0" * (5 << 20)) * 13
    assert len(bomb) < 100_000
    (tmp_path / "a.csv.gz").write_bytes(bomb)
    with pytest.raises(ResponseFormatError, match=r"a.csv.gz contains more than 64 MiB"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))


def test_a_huge_parquet_table_is_stopped_before_it_is_in_memory(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    text = "x" * 10_000
    table = pa.table({"close": pa.array([text] * 2_000).dictionary_encode()})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(ResponseFormatError, match=r"a.parquet contains more than 8 MiB"):
        FileCarrier(tmp_path, max_bytes=8 << 20).send(HttpRequest("file:///a"))


def test_a_huge_feather_table_is_stopped_before_it_is_decompressed(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    feather = pytest.importorskip("pyarrow.feather")
    rows = 12_000_000
    table = pa.table(dict.fromkeys("abcdef", pa.nulls(rows, pa.bool_()).fill_null(False)))
    feather.write_feather(table, tmp_path / "a.feather", compression="zstd", chunksize=rows)
    assert (tmp_path / "a.feather").stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(ResponseFormatError, match=r"a.feather contains more than 64 MiB"):
            FileCarrier(tmp_path).send(HttpRequest("file:///a"))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["parquet", "feather"])
@pytest.mark.parametrize("rows", [0, 1, 9_999, 10_001])
def test_a_repeated_header_of_a_table_is_not_read_as_a_row(
    tmp_path: Path, rows: int, kind: str
) -> None:
    pa = pytest.importorskip("pyarrow")
    library = pytest.importorskip(f"pyarrow.{kind}")
    write = library.write_table if kind == "parquet" else library.write_feather
    write(pa.table({"close": pa.array(range(rows))}), tmp_path / f"a.{kind}")
    text = FileCarrier(tmp_path).send(HttpRequest("file:///a")).text
    assert text.splitlines() == ['"close"', *map(str, range(rows))]


def test_a_damaged_parquet_table_is_named_as_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    with pytest.raises(ResponseFormatError, match=r"a\.parquet is not a readable Parquet table"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))


def test_a_file_that_is_written_to_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of two versions would be numbers of neither."""
    (path := tmp_path / "a.csv").write_text("close\n11.5")
    ends = iter(["12.5", "13.5"])

    def then_written(*_: Any) -> None:
        if end := next(ends, ""):
            path.write_text(f"close\n{end}")

    monkeypatch.setattr(carrier, "check_time", then_written)  # after a block was read
    assert FileCarrier(tmp_path).send(HttpRequest("file:///a")).text == "close\n13.5"
    ends = map(str, range(100, 999))
    with pytest.raises(UnavailableError, match=r"a\.csv changed while it was being read"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))
    assert next(ends) == "103"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_in_place_of_a_file_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "a.csv").write_text("close\n1")

    def switched(*call: Any, **options: Any) -> int:
        path.unlink()
        os.mkfifo(path)
        return open_file(*call, **options)

    monkeypatch.setattr(carrier, "open_file", switched)
    with pytest.raises(UnavailableError, match=r"a cannot be read: it is not a regular file"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))


def test_reading_a_file_ends_at_the_timeout_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_bytes(b"close\n" + b"11.5\n" * 2_000_000)
    clock, blocks, check = ManualClock(0), list[object](), carrier.check_time

    def slow(*what: Any) -> None:
        """Let a second pass for each block that is read."""
        clock.advance(1)
        blocks.append(what)
        check(*what)

    monkeypatch.setattr(carrier, "check_time", slow)
    request = HttpRequest("file:///a")
    with pytest.raises(ProviderTimeoutError, match="the time for this call"):
        run_call(clock, 3.0, FileCarrier(tmp_path).send, request)
    assert len(blocks) == 3
    run_call(clock, 30.0, FileCarrier(tmp_path).send, request)
    assert len(blocks) == 3 + 10


def test_a_name_that_no_file_can_have_is_a_typed_error(tmp_path: Path) -> None:
    carrier = FileCarrier(tmp_path)
    with pytest.raises(UnavailableError, match=r"x{80} cannot be read: File name too long"):
        carrier.send(HttpRequest("file:///" + "x" * 300))
    assert carrier.version(HttpRequest("file:///" + "x" * 300)).startswith("unreadable")


def test_an_exact_name_comes_before_one_in_another_case(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text("upper")
    (tmp_path / "a.csv").write_text("lower")
    carrier = FileCarrier(tmp_path)
    assert carrier.send(HttpRequest("file:///a")).text == "lower"
    assert carrier.send(HttpRequest("file:///A.csv")).text == "upper"


def test_parquet_without_the_extra_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[parquet\]"):
        FileCarrier(tmp_path).send(HttpRequest("file:///a"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of files that are read, as it grows."""
    found: list[Path] = []

    def counted(name: str, *call: Any, **options: Any) -> int:
        found.append(Path(name))
        return open_file(name, *call, **options)

    monkeypatch.setattr(carrier, "open_file", counted)
    return found


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, read: list[Path]) -> None:
    path, clock = tmp_path / "a.csv", ManualClock(4 * 10**12)
    path.write_text("one")
    carrier = FileCarrier(tmp_path, clock=clock)

    def text() -> str:
        return carrier.send(HttpRequest("file:///a")).text

    assert [text() for _ in range(40)] == ["one"] * 40
    assert len(read) == 1
    times = path.stat().st_mtime_ns
    path.write_text("two")
    os.utime(path, ns=(times, times))
    assert text() == "two", "of the same size and time"
    other = tmp_path / "other"
    other.write_text("six")
    other.replace(path)
    assert text() == "six", "another file under its name"
    path.unlink()
    assert carrier.send(HttpRequest("file:///a")).status == 404
    for number in range(20):
        (tmp_path / f"b{number}.csv").write_text("x")
        carrier.send(HttpRequest(f"file:///b{number}"))
    read.clear()
    for number in reversed(range(11, 20)):
        carrier.send(HttpRequest(f"file:///b{number}"))
    assert [path.name for path in read] == [f"b{n}.csv" for n in range(17, 10, -1)], "two are kept"


def test_a_file_that_has_just_changed_is_read_again(tmp_path: Path, read: list[Path]) -> None:
    # Two changes within the grain of the file system's times leave the same time behind.
    path = tmp_path / "a.csv"
    path.write_text("one")
    clock = ManualClock(path.stat().st_ctime_ns // 10**6 + 1)
    carrier = FileCarrier(tmp_path, clock=clock)
    request, stamp = HttpRequest("file:///a"), path.stat()
    first = carrier.version(request)
    path.write_text("two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    second = carrier.version(request)
    assert first != second and carrier.send(request).text == "two"
    clock.set(path.stat().st_ctime_ns // 10**6 + 3000)
    read.clear()
    for _ in range(3):
        assert carrier.version(request) == second and carrier.send(request).text == "two"
    assert len(read) == 1, "once it has rested it is kept"


def test_a_missing_folder_counts_as_a_missing_file(tmp_path: Path) -> None:
    assert FileCarrier(tmp_path / "none").send(HttpRequest("file:///a")).status == 404
