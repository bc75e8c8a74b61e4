"""Bars as CSV text and back, every float64 bit for bit.

Floats are written as Python's ``repr``, the shortest text that reads back to the same bits; a
missing value is an empty field. Reading goes through Python's own ``float`` or, for long tables
and where it is installed, pyarrow: both round correctly, which pandas' default parser does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...model.bars import NAN, BarTable, Floats, Stamps, concat
from .csv_blocks import block_text

BASE_COLUMNS = ("open", "high", "low", "close", "volume")
ALL_COLUMNS = (*BASE_COLUMNS, "adj_close")
_STAMP_BYTES = 19
# Importing pyarrow costs as much as parsing this many rows by hand.
_ROWS_WORTH_AN_IMPORT = 200_000
_BLOCK_ROWS = 50_000
# Bytes that a thread of pyarrow's parses at once.
_PARSED = 1 << 21
# Written so many at a time, the numbers of a block stay in the processor's cache.
_ROWS_A_BLOCK = 16_384
_ROWS_WORTH_A_BLOCK = 64
_FIRST_MS, _END_MS = (int(np.datetime64(text, "ms").astype(np.int64)) for text in ("1000", "10000"))


def header_line(columns: Sequence[str]) -> bytes:
    """Return the first line of a year file with these value columns."""
    return (",".join(("timestamp", *columns)) + "\n").encode("ascii")


def encode_rows(table: BarTable, columns: Sequence[str]) -> bytes:
    """Return the rows as text, without a header.

    Args:
        table: bars with stamps in full seconds.
        columns: the value columns to write; one the table lacks is left empty.

    Raises:
        ValueError: a value is infinite, or a year has not four digits.
    """
    if not len(table):
        return b""
    if not _FIRST_MS <= table.stamps[0] <= table.stamps[-1] < _END_MS:
        raise ValueError("stamps before the year 1000 or after 9999 have no plain text form")
    if table.has_infinity():
        raise ValueError("an infinite value cannot be stored")
    if len(table) < _ROWS_WORTH_A_BLOCK:
        return _lines(table, columns)
    starts = range(0, len(table), _ROWS_A_BLOCK)
    return b"".join(_encoded(table.take(slice(i, i + _ROWS_A_BLOCK)), columns) for i in starts)


def _encoded(block: BarTable, columns: Sequence[str]) -> bytes:
    held = dict(zip(block.columns, block.values(), strict=True))
    text = block_text(
        block.stamps,
        [held.get(name) for name in columns],
        lambda odd: _lines(block.take(odd), columns),
    )
    return _lines(block, columns) if text is None else text


def _lines(table: BarTable, columns: Sequence[str]) -> bytes:
    """Return the rows as text, number by number."""
    stamps = np.datetime_as_string(table.stamps.astype("M8[ms]"), unit="s").tolist()
    held = dict(zip(table.columns, table.values(), strict=True))
    cells = [_texts(held.get(name), len(table)) for name in columns]
    text = "\n".join(map(",".join, zip(stamps, *cells, strict=True)))
    # The only capital T in the text is the one between date and time.
    return text.replace("T", " ").encode("ascii") + b"\n"


def _texts(values: Floats | None, rows: int) -> list[str]:
    if values is None:
        return [""] * rows
    # What is not equal to itself is missing.
    return [repr(value) if value == value else "" for value in values.tolist()]


def decode_rows(text: memoryview, columns: Sequence[str], rows: int) -> BarTable:
    """Read text written by :func:`encode_rows`.

    Args:
        text: all of it.
        columns: of the rows.
        rows: how many.

    Raises:
        ValueError: it does not hold exactly ``rows`` rows of these columns.
    """
    if not rows and not text:
        return BarTable.empty()
    if bytes(text[-1:]) != b"\n":
        raise ValueError(f"the text does not hold {rows} lines")
    if rows >= _ROWS_WORTH_AN_IMPORT and find_spec("pyarrow"):
        table = _by_arrow(text, columns)
        if len(table) != rows:
            raise ValueError(f"the text does not hold {rows} lines")
        return table
    lines = bytes(text)
    if lines.count(b"\n") != rows:
        raise ValueError(f"the text does not hold {rows} lines")
    return concat(_block(part, columns) for part in _blocks(lines, rows))


def _blocks(text: bytes, rows: int) -> list[bytes]:
    """Cut the text at line ends: cells of a whole year at once would take ten times its size."""
    if rows <= _BLOCK_ROWS:
        return [text]
    size = len(text) // (rows // _BLOCK_ROWS + 1)
    parts, start = [], 0
    while start < len(text):
        end = text.find(b"\n", min(start + size, len(text) - 1)) + 1
        parts.append(text[start:end])
        start = end
    return parts


def _block(text: bytes, columns: Sequence[str]) -> BarTable:
    width = len(columns) + 1
    rows = text.count(b"\n")
    cells = text[:-1].replace(b"\n", b",").split(b",")
    if len(cells) != rows * width or any(len(c) != _STAMP_BYTES for c in cells[::width]):
        raise ValueError(f"a line does not have {width} fields")
    stamps = np.array([c.decode("ascii") for c in cells[::width]], dtype="M8[s]")
    values = {name: _floats(cells[i::width]) for i, name in enumerate(columns, start=1)}
    return table_of_columns(stamps.astype("M8[ms]").astype(np.int64), values)


def _floats(cells: list[bytes]) -> Floats:
    if b"" in cells:
        return np.array([float(c) if c else NAN for c in cells], dtype=np.float64)
    return np.array(list(map(float, cells)), dtype=np.float64)


def _by_arrow(text: memoryview, columns: Sequence[str]) -> BarTable:
    import pyarrow as pa
    from pyarrow import csv

    names = ["timestamp", *columns]
    types: dict[str, Any] = {name: pa.float64() for name in columns}
    read = csv.read_csv(  # what it refuses is a ValueError
        pa.BufferReader(text),
        read_options=csv.ReadOptions(column_names=names, block_size=_PARSED),
        parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=types | {"timestamp": pa.timestamp("s")}, null_values=[""]
        ),
    )
    if read["timestamp"].null_count:
        raise ValueError("a line has no time")
    stamps = read["timestamp"].to_numpy().astype("M8[ms]").astype(np.int64)
    return table_of_columns(stamps, {n: _filled(read[n].to_numpy()) for n in columns})


def _filled(values: Floats) -> Floats:
    """Return values that are ours to keep: one chunk alone comes as a view of Arrow's memory."""
    return values if values.flags.writeable else values.copy()


def table_of_columns(stamps: Stamps, values: dict[str, Floats]) -> BarTable:
    """Build a table from columns by name."""
    return BarTable(
        stamps,
        values["open"],
        values["high"],
        values["low"],
        values["close"],
        values["volume"],
        values.get("adj_close"),
    )
