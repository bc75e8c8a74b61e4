"""The byte layout of a columnar file, as values only: nothing here reads or writes.

One file holds all years of a series, one region a column, so that a stretch of bars is a stretch
of memory. It is derived from the year files: whatever is wrong with it, it is dropped and made
again. Numbers are little endian.

====================  ======================================================================
0 .. 16 KiB           two headers of 8 KiB, written in turn; the sound one with the higher
                      number counts
then, page by page    the columns: stamps in milliseconds, the same in nanoseconds, then the
                      values; each has room for ``capacity`` rows
at the end            a checksum (CRC-32) for each full block of each column
====================  ======================================================================

Bytes that a header speaks for are never written again: more bars go behind them, and then the
other header is written. Whatever else changes is a new file under the old name. A file is never
cut, so memory mapped from it stays what it was.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import msgspec

from ...model.bars import PRICES, BarTable
from ...model.frozen import filled

MAGIC = b"OTCOLS1\n"
PAGE = 4096
SLOT = 2 * PAGE
START = 2 * SLOT
# Rows that one checksum is for: two pages of a column.
BLOCK = 1024
STAMPS, INDEX, ADJ_CLOSE = "stamps", "index", "adj_close"
_COLUMNS = (STAMPS, INDEX, *PRICES, "volume")
_FIXED = struct.Struct("<8sQII")
_ITEM = 8
NS_IN_MS = 1_000_000
# A header that claims more is none of ours: bars of a year by the second, and numbers that leave
# room for the next one.
_MOST_ROWS = 366 * 86_400
_MOST_SEQ = 1 << 62


class ColumnSource(NamedTuple):
    """The committed state of a year file that a stretch of rows was read from.

    Attributes:
        rows: how many.
        size, head: bytes of the data file, and start of the digest of its last member.
        inode, mtime_ns: of the data file when it was verified; another one is verified again.
        has_adj_close: whether the year has that column.
    """

    rows: int
    size: int
    head: str
    inode: int
    mtime_ns: int
    has_adj_close: bool


class Part(NamedTuple):
    """The rows of one year, new ones or all of them, and what the year then holds."""

    source: ColumnSource
    table: BarTable


@dataclass(frozen=True)
class Head:
    """What a columnar file holds.

    Attributes:
        id: of the series.
        seq: number of the header; ascending.
        capacity: rows that a column has room for, a multiple of ``BLOCK``.
        years: year to where its rows come from, ascending; they stand one behind the other.
        tails: column to the checksum of its last, unfinished block.
    """

    id: str
    seq: int
    capacity: int
    years: Mapping[int, ColumnSource]
    tails: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def rows(self) -> int:
        """Rows committed."""
        return sum(source.rows for source in self.years.values())

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns, in their order."""
        has_adj_close = any(source.has_adj_close for source in self.years.values())
        return (*_COLUMNS, ADJ_CLOSE) if has_adj_close else _COLUMNS

    @cached_property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.checksum_at(self.columns[-1], self.capacity // BLOCK)

    def begins(self) -> dict[int, int]:
        """Return year to the place of its first row."""
        counts = [source.rows for source in self.years.values()]
        return dict(zip(self.years, accumulate(counts, initial=0), strict=False))

    def at(self, column: str, row: int) -> int:
        """Return the offset of a value."""
        return START + (self.columns.index(column) * self.capacity + row) * _ITEM

    def checksum_at(self, column: str, block: int) -> int:
        """Return the offset of the checksum of a full block."""
        blocks = self.capacity // BLOCK
        first = START + len(self.columns) * self.capacity * _ITEM
        return first + (self.columns.index(column) * blocks + block) * 4

    @property
    def slot_at(self) -> int:
        """Where this header is written: not where the one before it stands."""
        return self.seq % 2 * SLOT

    def to_bytes(self) -> bytes:
        """Return the bytes of the header.

        Raises:
            ValueError: it holds more years than there is room for.
        """
        plain = {
            "id": self.id,
            "capacity": self.capacity,
            "order": sys.byteorder,
            "years": {str(year): list(source) for year, source in self.years.items()},
            "tails": dict(self.tails),
        }
        text = json.dumps(plain, separators=(",", ":")).encode("ascii")
        if _FIXED.size + len(text) > SLOT:
            raise ValueError(f"the header of {len(self.years)} years does not fit")
        return _FIXED.pack(MAGIC, self.seq, len(text), _check(self.seq, text)) + text


def room_for(rows: int) -> int:
    """Return the capacity for ``rows`` and some more, so that appending needs no new file."""
    return (rows + rows // 16 + BLOCK) // BLOCK * BLOCK


def read_head(start: bytes, identity: str) -> Head | None:
    """Return the newest sound header for the series, or None.

    Args:
        start: the first ``START`` bytes of the file.
        identity: of the series.
    """
    one, other = (_FIXED.unpack_from(start, at)[1] for at in (0, SLOT))
    newer, older = (0, SLOT) if one >= other else (SLOT, 0)
    return _read_slot(start, newer, identity) or _read_slot(start, older, identity)


class _Text(msgspec.Struct):
    """What a header says behind its number."""

    id: str
    capacity: int
    order: str
    years: dict[int, ColumnSource]
    tails: dict[str, int]


_decode = msgspec.json.Decoder(_Text).decode


def _read_slot(start: bytes, at: int, identity: str) -> Head | None:
    magic, seq, length, check = _FIXED.unpack_from(start, at)
    text = start[at + _FIXED.size : at + min(SLOT, _FIXED.size + length)]
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
    """Return the checksum of a header: of its number and what it says."""
    return zlib.crc32(text, zlib.crc32(seq.to_bytes(8, "little")))


def _fits(head: Head) -> bool:
    """Tell whether a file may be so: years in order, each with bars, and room for all of them."""
    years, rows = list(head.years), [source.rows for source in head.years.values()]
    return (
        years == sorted(years)
        and min(rows, default=0) > 0
        and max(rows) <= _MOST_ROWS
        and sum(rows) <= head.capacity
        and head.capacity % BLOCK == 0
    )
