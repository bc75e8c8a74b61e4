"""The byte layout of a columnar file; nothing here reads or writes files.

One file contains all years of a series, with one region per column, so that consecutive bars are
contiguous in memory. It is derived from the year files: if it is faulty in any way, it is dropped
and rebuilt. Numbers are little-endian.

====================  ======================================================================
0 .. 16 KiB           two headers of 8 KiB, written in turn; the valid one with the higher
                      number counts
then, page by page    the columns: timestamps in milliseconds, the same times in nanoseconds, then
                      the values; each column has room for ``capacity`` rows
at the end            a checksum (CRC-32) for each full block of each column
====================  ======================================================================

Bytes covered by a header are never overwritten: more bars are added after them, and then the other
header is written. For any other change, a new file replaces the old one under the same name. A file
is never truncated, so memory mapped from it does not change.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import msgspec

from ...model.market.bars import PRICES, BarTable
from ...model.words.frozen import filled
from ...runtime.once import cached_property

MAGIC = b"OTCOLS1\n"
PAGE = 4096
SLOT = 2 * PAGE
START = 2 * SLOT
# Rows covered by one checksum: two pages of a column.
BLOCK = 1024
STAMPS, INDEX, ADJ_CLOSE = "stamps", "index", "adj_close"
_COLUMNS = (STAMPS, INDEX, *PRICES, "volume")
_HEADER = struct.Struct("<8sQII")
_VALUE_BYTES = 8
NS_IN_MS = 1_000_000
# Limits for a plausible header: the rows in a year of one-second bars, and a number that can still
# be incremented.
_MOST_ROWS = 366 * 86_400
_MOST_SEQ = 1 << 62


class ColumnSource(NamedTuple):
    """The committed state of the year file from which consecutive rows were read.

    Attributes:
        rows: Number of rows.
        size, head: Size of the data file in bytes, and the first characters of its last member's
            digest.
        inode, mtime_ns: State of the data file when it was verified; if it differs, the file is
            verified again.
        has_adj_close: Whether the year has the column ``adj_close``.
    """

    rows: int
    size: int
    head: str
    inode: int
    mtime_ns: int
    has_adj_close: bool


class Part(NamedTuple):
    """Rows of one year (all or only the new ones), and the year's state after they are added."""

    source: ColumnSource
    table: BarTable


@dataclass(frozen=True)
class Head:
    """The header of a columnar file.

    Attributes:
        id: Identifier of the series.
        seq: Number of the header, higher than the previous header's number.
        capacity: Number of rows that fit into a column, a multiple of ``BLOCK``.
        years: Maps each year to the source of its rows, ascending; rows are stored in this order.
        tails: Maps each column to the checksum of its last, incomplete block.
    """

    id: str
    seq: int
    capacity: int
    years: Mapping[int, ColumnSource]
    tails: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def rows(self) -> int:
        """The number of committed rows."""
        return sum(source.rows for source in self.years.values())

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns, in order."""
        has_adj_close = any(source.has_adj_close for source in self.years.values())
        return (*_COLUMNS, ADJ_CLOSE) if has_adj_close else _COLUMNS

    @cached_property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        return self.checksum_at(self.columns[-1], self.capacity // BLOCK)

    def begins(self) -> dict[int, int]:
        """Return a mapping from each year to the index of its first row."""
        counts = [source.rows for source in self.years.values()]
        return dict(zip(self.years, accumulate(counts, initial=0), strict=False))

    def at(self, column: str, row: int) -> int:
        """Return the offset in the file at which the value in a column and row is stored."""
        return START + (self.columns.index(column) * self.capacity + row) * _VALUE_BYTES

    def checksum_at(self, column: str, block: int) -> int:
        """Return the offset at which the checksum of a column's full block is stored."""
        blocks = self.capacity // BLOCK
        first = START + len(self.columns) * self.capacity * _VALUE_BYTES
        return first + (self.columns.index(column) * blocks + block) * 4

    @property
    def slot_at(self) -> int:
        """The offset of this header in the file; successive headers alternate between two offsets."""
        return self.seq % 2 * SLOT

    def to_bytes(self) -> bytes:
        """Return the bytes of the header.

        Raises:
            ValueError: The header has too many years.
        """
        head = {
            "id": self.id,
            "capacity": self.capacity,
            "order": sys.byteorder,
            "years": {str(year): list(source) for year, source in self.years.items()},
            "tails": dict(self.tails),
        }
        text = json.dumps(head, separators=(",", ":")).encode("ascii")
        if _HEADER.size + len(text) > SLOT:
            raise ValueError(f"the header of {len(self.years)} years does not fit")
        return _HEADER.pack(MAGIC, self.seq, len(text), _check(self.seq, text)) + text


def room_for(rows: int) -> int:
    """Return a capacity that leaves spare room, so that rows can be appended without a new file."""
    return (rows + rows // 16 + BLOCK) // BLOCK * BLOCK


def read_head(start: bytes, identity: str) -> Head | None:
    """Return the latest valid header for the series, or None.

    Args:
        start: First ``START`` bytes of the file.
        identity: Identifier of the series.
    """
    first, second = (_HEADER.unpack_from(start, at)[1] for at in (0, SLOT))
    newer, older = (0, SLOT) if first >= second else (SLOT, 0)
    return _read_slot(start, newer, identity) or _read_slot(start, older, identity)


class _Text(msgspec.Struct):
    """The part of a header after its number, which is stored as JSON."""

    id: str
    capacity: int
    order: str
    years: dict[int, ColumnSource]
    tails: dict[str, int]


_decode = msgspec.json.Decoder(_Text).decode


def _read_slot(start: bytes, offset: int, identity: str) -> Head | None:
    magic, seq, length, check = _HEADER.unpack_from(start, offset)
    text = start[offset + _HEADER.size : offset + min(SLOT, _HEADER.size + length)]
    if magic != MAGIC or _check(seq, text) != check or seq > _MOST_SEQ:
        return None
    try:
        document = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if document.id != identity or document.order != sys.byteorder:
        return None
    head = filled(
        Head,
        id=identity,
        seq=seq,
        capacity=document.capacity,
        years=document.years,
        tails=document.tails,
    )
    return head if _fits(head) else None


def _check(seq: int, text: bytes) -> int:
    """Return the checksum of a header's number and JSON text."""
    return zlib.crc32(text, zlib.crc32(seq.to_bytes(8, "little")))


def _fits(head: Head) -> bool:
    """Return whether a header is plausible: its years are ordered and not empty, and all bars fit."""
    years, rows = list(head.years), [source.rows for source in head.years.values()]
    return (
        years == sorted(years)
        and min(rows, default=0) > 0
        and max(rows) <= _MOST_ROWS
        and sum(rows) <= head.capacity
        and head.capacity % BLOCK == 0
    )
