"""How much memory a Parquet file takes is known from its headers, whoever wrote them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from src.data.errors import CorruptEntryError
from src.data.v2 import parquet_size
from src.data.v2.parquet_size import unpacked_bytes
from tests.cache.counts import FULL, crossed


def frame(rows: int, *, is_flat: bool = False) -> pl.DataFrame:
    """Return bars: random ones, or the same in every row."""
    dice = np.random.default_rng(4)
    numbers = np.ones((3, rows)) if is_flat else dice.uniform(1, 2, (3, rows))
    days = pl.Series(np.arange(rows, dtype=np.int32)).cast(pl.Date)
    volume = pl.Series(np.full(rows, 7) if is_flat else dice.integers(0, 10**9, rows))
    columns = {
        "open": numbers[0],
        "close": numbers[1],
        "adj_close": pl.Series([None] * rows, dtype=pl.Float64),
    }
    return pl.DataFrame({"date": days, **columns, "volume": volume})


def written(table: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, **options)
    return file.getvalue()


def arrow(table: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table.to_arrow(), file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("rows", "is_flat"), crossed([0, 1, 3000, 70_000 if FULL else 12_000], [False, True])
)
def test_the_estimated_size_of_a_parquet_file_is_at_least_its_frame(
    rows: int, is_flat: bool
) -> None:
    table = frame(rows, is_flat=is_flat)
    files = [
        written(table, compression="zstd", statistics=False),
        written(table, compression="uncompressed", row_group_size=1000),
        written(table, compression="lz4", data_page_size=5000),
        arrow(table),
        arrow(table, data_page_version="2.0", use_dictionary=True, compression="gzip"),
        arrow(table, use_dictionary=False, compression="snappy", row_group_size=500),
    ]
    least = rows * 8 * 5
    for file in files:
        # The values of a dictionary count in addition to those of its column.
        assert least <= unpacked_bytes(file) <= 2 * least + 50_000
        assert pl.read_parquet(io.BytesIO(file)).equals(table)
    if is_flat and rows > 10_000:
        assert len(files[0]) * 10 < unpacked_bytes(files[0])


def test_a_file_with_texts_is_refused_and_so_is_what_is_no_file() -> None:
    texts = written(pl.DataFrame({"a": ["x" * 1000] * 10}))
    for wrong in (
        texts,
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1\xff\xff\xff\xffPAR1",
        texts[:-1],
        texts[1:],
    ):
        with pytest.raises(CorruptEntryError):
            unpacked_bytes(wrong)


def test_headers_with_any_wrong_byte_are_an_error_or_a_size() -> None:
    table = frame(3) if FULL else frame(3).select("date", "volume")  # each column has its headers
    file = bytearray(written(table, compression="zstd", statistics=False))
    for place in range(len(file)):
        right = file[place]
        for wrong in range(0, 256, 9) if FULL else (0, 0x7F, 0xFF, right ^ 1, right ^ 0x80):
            file[place] = wrong
            try:
                assert unpacked_bytes(bytes(file)) >= 0
            except CorruptEntryError:
                pass
        file[place] = right


def test_declared_rows_count_although_no_page_has_them() -> None:
    """Polars allocates a column of so many values before it reads them."""
    file = bytearray(written(frame(100), statistics=False))
    footer = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
    declared = {file.find(b"\xc8\x01", at) for at in range(footer, len(file))} - {-1}
    assert declared, "100 as a zigzag number of two bytes"
    before = unpacked_bytes(bytes(file))
    sizes = set()
    for place in declared:
        changed = file[:place] + b"\xfe\x7f" + file[place + 2 :]
        sizes.add(unpacked_bytes(bytes(changed)))
    assert max(sizes) >= 8191 * 8 > before


def test_a_file_of_very_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(frame(20_000), data_page_size=2000, row_group_size=2000)
    unpacked_bytes(file)
    monkeypatch.setattr(parquet_size, "_MOST_PAGES", 20)
    with pytest.raises(CorruptEntryError, match="too many pages"):
        unpacked_bytes(file)


def test_nested_headers_do_not_end_the_program() -> None:
    deep = b"\x1c" * 100_000
    file = b"PAR1" + deep + len(deep).to_bytes(4, "little") + b"PAR1"
    with pytest.raises((CorruptEntryError, RecursionError)):
        unpacked_bytes(file)
