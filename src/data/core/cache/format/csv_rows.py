"""Converts bars to CSV text and back, bit for bit, and reads and writes tables with any columns.

Floats are written as Python's ``repr``, the shortest text that reads back to the same bits; a
missing value is an empty field. Reading uses Python's own ``float`` or, for long tables if it is
installed, pyarrow: both round correctly, unlike pandas' default parser.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...model.market.bars import NAN, BarTable, Floats, Stamps, concat, distinct
from ...model.time.instant import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    import pandas as pd

BASE_COLUMNS = ("open", "high", "low", "close", "volume")
ALL_COLUMNS = (*BASE_COLUMNS, "adj_close")
_STAMP_BYTES = 19
# Importing pyarrow takes as long as parsing this many rows in Python.
ROWS_WORTH_AN_IMPORT = 200_000
# Number of rows parsed at a time in Python: their cells take ten times the memory of the text.
BLOCK_ROWS = 4_096
# Bytes that one pyarrow thread parses at a time.
_PARSED_BYTES = 1 << 21
# With this many rows at a time, the numbers in a block stay in the processor's cache.
_ROWS_A_BLOCK = 16_384
_ROWS_WORTH_A_BLOCK = 64
_FIRST_MS, _END_MS = (int(np.datetime64(text, "ms").astype(np.int64)) for text in ("1000", "10000"))


def header_line(columns: Sequence[str]) -> bytes:
    """Return the first line of a year file with these value columns."""
    return (",".join(("timestamp", *columns)) + "\n").encode("ascii")


def encode_rows(table: BarTable, columns: Sequence[str]) -> bytes:
    """Return the rows as text, without a header.

    Args:
        table: Bars with timestamps in full seconds.
        columns: Value columns to write; a column that the table lacks is left empty.

    Raises:
        ValueError: A value is infinite, or a year does not have four digits.
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
    values = dict(zip(block.columns, block.values(), strict=True))
    text = block_text(
        block.stamps,
        [values.get(name) for name in columns],
        lambda by_repr: _lines(block.take(by_repr), columns),
    )
    return _lines(block, columns) if text is None else text


def _lines(table: BarTable, columns: Sequence[str]) -> bytes:
    """Return the rows as text, formatting one number at a time."""
    stamps = np.datetime_as_string(table.stamps.astype("M8[ms]"), unit="s").tolist()
    values = dict(zip(table.columns, table.values(), strict=True))
    cells = [_texts(values.get(name), len(table)) for name in columns]
    text = "\n".join(map(",".join, zip(stamps, *cells, strict=True)))
    # The only uppercase T in the text is the one between date and time.
    return text.replace("T", " ").encode("ascii") + b"\n"


def _texts(values: Floats | None, rows: int) -> list[str]:
    if values is None:
        return [""] * rows
    # A value not equal to itself is missing.
    return [repr(value) if value == value else "" for value in values.tolist()]


def decode_rows(text: memoryview, columns: Sequence[str], rows: int) -> BarTable:
    """Read text written by :func:`encode_rows`.

    Args:
        text: Complete text.
        columns: Columns of the rows.
        rows: Number of rows.

    Raises:
        ValueError: The text does not contain exactly ``rows`` rows with these columns.
    """
    if not rows and not text:
        return BarTable.empty()
    if bytes(text[-1:]) != b"\n":
        raise ValueError(f"the text does not have {rows} lines")
    if rows >= ROWS_WORTH_AN_IMPORT and find_spec("pyarrow"):
        table = _parse_by_arrow(text, columns)
        if len(table) != rows:
            raise ValueError(f"the text does not have {rows} lines")
        return table
    lines = bytes(text)
    if lines.count(b"\n") != rows:
        raise ValueError(f"the text does not have {rows} lines")
    return concat(_block(block, columns) for block in _blocks(lines, rows))


def _blocks(text: bytes, rows: int) -> Iterator[bytes]:
    """Yield the text in blocks of whole lines, because parsed cells take ten times as much memory."""
    size = len(text) // (rows // BLOCK_ROWS + 1)
    start = 0
    while start < len(text):
        end = text.find(b"\n", min(start + size, len(text) - 1)) + 1
        yield text[start:end]
        start = end


def _block(text: bytes, columns: Sequence[str]) -> BarTable:
    width = len(columns) + 1
    rows = text.count(b"\n")
    cells = text[:-1].replace(b"\n", b",").split(b",")
    if len(cells) != rows * width or set(map(len, cells[::width])) != {_STAMP_BYTES}:
        raise ValueError(f"a line does not have exactly {width} fields")
    stamps = np.array(cells[::width], dtype="M8[s]")
    values = {name: _floats(cells[i::width]) for i, name in enumerate(columns, start=1)}
    return table_of_columns(stamps.astype("M8[ms]").astype(np.int64), values)


def _floats(cells: list[bytes]) -> Floats:
    if b"" in cells:
        return np.array([float(c) if c else NAN for c in cells], dtype=np.float64)
    return np.array(list(map(float, cells)), dtype=np.float64)


def _parse_by_arrow(text: memoryview, columns: Sequence[str]) -> BarTable:
    import pyarrow as pa
    from pyarrow import csv

    names = ["timestamp", *columns]
    types: dict[str, Any] = {name: pa.float64() for name in columns}
    read = csv.read_csv(  # it raises ValueError for invalid text
        pa.BufferReader(text),
        read_options=csv.ReadOptions(column_names=names, block_size=_PARSED_BYTES),
        parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=types | {"timestamp": pa.timestamp("s")}, null_values=[""]
        ),
    )
    if read["timestamp"].null_count:
        raise ValueError("a line has no time")
    stamps = read["timestamp"].to_numpy().astype("M8[ms]").astype(np.int64)
    return table_of_columns(stamps, {n: _writable_values(read[n].to_numpy()) for n in columns})


def _writable_values(values: Floats) -> Floats:
    """Return values in writable memory; they are copied if they are only a view of Arrow's memory."""
    return values if values.flags.writeable else values.copy()


def table_of_columns(stamps: Stamps, values: dict[str, Floats]) -> BarTable:
    """Build a table from timestamps and named columns of values."""
    return BarTable(
        stamps,
        values["open"],
        values["high"],
        values["low"],
        values["close"],
        values["volume"],
        values.get("adj_close"),
    )


# --- rows by blocks ----------------------------------------------------------------------

# Nearly all prices and volumes have few decimals. Such a number is an integer divided by a power of
# ten; if that quotient is the number itself and has at most 15 digits, no shorter text reads back
# to it, so its digits are those that ``repr`` writes, and are found much faster. Rows with any
# other number are left to ``repr``, and so are blocks with many of them.

_MOST_DECIMALS = 10
# ``repr`` uses exponents below and above these bounds.
_LEAST, _MOST = 1e-4, 1e15
# Numbers with up to this many digits fit into 32 bits, which are divided several times as fast.
_DIGITS_OF_32_BITS = 9
# If a larger share of a block is left to ``repr``, the fast path is not worthwhile.
_MOST_BY_REPR = 1 / 16
_STAMP_WIDTH = 19
_ZERO, _DOT, _MINUS, _COMMA, _LINE, _COLON = b"0.-,\n:"
Chars = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class _Field(NamedTuple):
    """A column's characters (0 means an unused position), and the rows to format one by one."""

    chars: Chars
    by_repr: Mask


def block_text(
    stamps: Stamps, columns: Sequence[Floats | None], lines_of: Callable[[Mask], bytes]
) -> bytes | None:
    """Return the rows as lines, or None if too many numbers have many decimals.

    Args:
        stamps: Milliseconds of full seconds in the years 1000 to 9999.
        columns: Values of each column, none infinite; None for an empty column.
        lines_of: Function that returns the complete lines of the rows in a mask; called for the
            rows with unusual numbers, which are not formatted here.
    """
    rows = len(stamps)
    comma, line = (np.full((rows, 1), sign, np.uint8) for sign in (_COMMA, _LINE))
    chars, by_repr = [_times(stamps)], np.zeros(rows, dtype=bool)
    for values in columns:
        chars.append(comma)
        if values is None:
            continue
        field = _field(values)
        if field is None:
            return None
        chars.append(field.chars)
        by_repr |= field.by_repr
    text = np.hstack([*chars, line]).tobytes().translate(None, b"\0")
    return _replace(text, by_repr, lines_of(by_repr)) if by_repr.any() else text


def _replace(text: bytes, by_repr: Mask, lines: bytes) -> bytes:
    """Return ``text`` with the lines of the rows in the mask ``by_repr`` replaced by ``lines``."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE) + 1
    parts, done = [], 0
    for row, line in zip(np.flatnonzero(by_repr).tolist(), lines.splitlines(True), strict=True):
        parts += [text[done : int(ends[row - 1]) if row else 0], line]
        done = int(ends[row])
    return b"".join([*parts, text[done:]])


def _field(values: Floats) -> _Field | None:
    absent = np.isnan(values)
    sizes = np.where(absent, 1.0, np.abs(values))
    by_repr = (sizes < _LEAST) & ((sizes != 0) | np.signbit(values)) | (sizes >= _MOST)
    sizes[by_repr] = 1.0
    decimals = _decimals(sizes)
    if decimals is None:
        return None
    whole = np.rint(sizes * 10.0**decimals)
    by_repr |= whole / 10.0**decimals != sizes
    if np.count_nonzero(by_repr) > _MOST_BY_REPR * len(values):
        return None
    integers, fractions = np.divmod(whole.astype(np.int64), 10**decimals)
    width, places = len(str(int(integers.max(initial=0)))), max(decimals, 1)
    # One row per character position, so that each step works on adjacent memory.
    chars = np.empty((1 + width + 1 + places, len(values)), np.uint8)
    mask = np.ones(chars.shape, dtype=bool)
    head, tail = slice(1, 1 + width), slice(2 + width, None)
    chars[0], mask[0] = _MINUS, values < 0
    chars[1 + width] = _DOT
    _put_digits(integers, chars[head])
    _put_digits(fractions, chars[tail])
    _drop_zeros(chars[head], mask[head])
    _drop_zeros(chars[tail][::-1], mask[tail][::-1])
    if absent.any():
        mask[:, absent] = False
    chars *= mask
    return _Field(chars.T, by_repr)


def _drop_zeros(digits: Chars, mask: Mask) -> None:
    """Set ``mask`` to False for the leading zeros of each number, and to True after them.

    The mask of the last digit is not changed.
    """
    for index in range(len(digits) - 1):
        np.not_equal(digits[index], _ZERO, out=mask[index])
        if index:
            mask[index] |= mask[index - 1]


def _decimals(sizes: Floats) -> int | None:
    """Return how many decimals represent nearly all numbers exactly; None if that is impossible."""
    few = _MOST_BY_REPR * len(sizes)
    best = None
    for decimals in range(_MOST_DECIMALS + 1):
        scale = 10.0**decimals
        whole = np.rint(sizes * scale)
        if whole.max(initial=0.0) >= _MOST:
            break
        others = np.count_nonzero(whole / scale != sizes)
        if not others:
            return decimals
        best = decimals if best is None and others <= few else best
    return best


def _put_digits(numbers: NDArray[np.int64], digits: Chars) -> None:
    """Write the digits of non-negative numbers into ``digits``, which has one row per digit position."""
    width = len(digits)
    left: NDArray[Any] = numbers.astype(np.uint32 if width <= _DIGITS_OF_32_BITS else np.uint64)
    for index in range(width - 1, -1, -1):
        rest = left // 10
        digits[index] = left - rest * 10 + _ZERO
        left = rest


@cache
def _clock() -> Chars:
    """Return ``HH:MM:`` for each minute of a day, one per row."""
    texts = [f"{minute // 60:02}:{minute % 60:02}:" for minute in range(DAY_MS // MINUTE_MS)]
    return np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(-1, 6)


def _times(stamps: Stamps) -> Chars:
    """Return ``YYYY-MM-DD HH:MM:SS`` for each stamp, one per row."""
    days, times = np.divmod(stamps, DAY_MS)
    dates_once = distinct(days)
    positions = np.searchsorted(dates_once, days)
    dates = np.datetime_as_string(dates_once.astype("M8[D]")).astype("S10")
    chars = np.empty((len(stamps), _STAMP_WIDTH), np.uint8)
    chars[:, :10] = dates.view(np.uint8).reshape(-1, 10)[positions]
    chars[:, 10] = b" "[0]
    minutes, seconds = np.divmod(times, MINUTE_MS)
    chars[:, 11:17] = _clock()[minutes]
    chars[:, 17:] = _ZERO
    if seconds.any():
        _put_digits(seconds // 1000, chars[:, 17:].T)
    return chars


# --- tables of any columns ---------------------------------------------------------------


def read_csv(text: bytes) -> pd.DataFrame:
    """Parse CSV into columns of integers or floats, or of strings if a cell is not a number.

    Cells are read by Python's own ``float``, which rounds correctly, unlike the parsers in many
    pandas versions. An empty cell is a missing value.

    Raises:
        ValueError: The bytes are not a table, or not text.
    """
    # Only old caches and by_repr tables need the slow, tolerant parser.
    import pandas as pd

    cells = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)
    return pd.DataFrame({name: _values_of(cells[name].tolist()) for name in cells.columns})


def times_of(cells: pd.Series[Any]) -> pd.DatetimeIndex:
    """Return the times in a column, in UTC; empty cells become ``NaT``.

    Raises:
        ValueError: A cell is not a time in ISO 8601.
    """
    import pandas as pd

    try:
        return pd.DatetimeIndex(pd.to_datetime(cells, utc=True, format="ISO8601"))
    except ValueError as exc:  # its other lines explain how to call pandas
        raise ValueError(str(exc).partition(". You might")[0]) from exc


def _values_of(cells: list[str]) -> Any:
    for read in (_whole_cells, _float_cells):
        try:
            return read(cells)
        except (ValueError, OverflowError):
            continue
    return cells


def _whole_cells(cells: list[str]) -> Any:
    return np.array([int(cell) for cell in cells], dtype=np.int64)


def _float_cells(cells: list[str]) -> Any:
    return np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)


def csv_text(frame: pd.DataFrame) -> bytes:
    """Return a frame with a time index as CSV.

    Floats are written as the shortest text that reads back exactly.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", *map(str, frame.columns)])
    columns = [map(_cell, frame[name].tolist()) for name in frame.columns]
    stamps = [stamp.isoformat(" ") for stamp in frame.index]
    writer.writerows(zip(stamps, *columns, strict=True))
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    """Return the text of one value; a missing value is empty."""
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
