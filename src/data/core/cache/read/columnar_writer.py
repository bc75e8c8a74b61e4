"""Writes columnar files: a new file under the old name, or more rows at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...disk.atomic import or_discarded, stage_by
from ...disk.files import Disk, Handle
from ...model.market.bars import NAN, BarTable
from ..format.columnar import (
    ADJ_CLOSE,
    BLOCK,
    INDEX,
    NS_IN_MS,
    ColumnSource,
    Head,
    Part,
    room_for,
)
from ..format.gzip_member import summing
from .columnar_reader import ColumnarFile

Column = NDArray[Any]


def write_new(
    disk: Disk, path: Path, identity: str, old: ColumnarFile | None, parts: Mapping[int, Part]
) -> None:
    """Write a new file with ``parts`` and any other years of ``old``, which it replaces.

    The file is not synced: if a power loss destroys it, it is rebuilt.

    Raises:
        StorageError: The file cannot be written; the old file is unchanged.
        DamagedColumnsError: The old file differs from what was written.
        ValueError: The number of years is too large.
    """
    others = {y: s for y, s in old.head.years.items() if y not in parts} if old else {}
    if old is not None:
        for year in others:
            old.all_of(year)  # damaged rows must not get a new checksum
    years = dict(sorted((others | {year: part.source for year, part in parts.items()}).items()))
    rows = sum(source.rows for source in years.values())
    head = Head(identity, 1, room_for(rows), years)

    def fill(handle: Handle) -> None:
        """Write every column of every year to the new file, then the header that describes them."""
        disk.truncate(handle, head.size)
        tails = {}
        for name in head.columns:
            values = _join_years(name, years, old, parts)
            tails[name] = _write_rows(disk, handle, head, name, 0, values, 0)
        disk.write(handle, replace(head, tails=tails).to_bytes(), head.slot_at)

    temp = stage_by(disk, path, fill, durable=False)
    with or_discarded(disk, temp):
        disk.replace(temp, path)


def append_rows(disk: Disk, file: ColumnarFile, year: int, part: Part) -> bool:
    """Write rows after the committed ones, then a header that includes them.

    Args:
        disk: File system.
        file: Current file; only its writer may call this, under the file's lock.
        year: Year of the rows: the last year in the file, or a later one.
        part: New rows only, and the state of the year including them.

    Returns:
        Whether the rows were written; False if the file lacks room or a column.

    Raises:
        StorageError: The rows cannot be written; committed rows are unchanged.
    """
    before = file.head
    years = {**before.years, year: part.source}
    after = replace(before, seq=before.seq + 1, years=years)
    if year != max(years) or after.columns != before.columns or after.rows > after.capacity:
        return False
    handle = disk.open_write(file.path)
    try:
        if disk.fstat(handle).inode != file.inode:
            return False
        tails = {}
        for name in after.columns:
            values = _column(part.table, name)
            check = before.tails.get(name, 0)
            tails[name] = _write_rows(disk, handle, after, name, before.rows, values, check)
        after = replace(after, tails=tails)
        disk.write(handle, after.to_bytes(), after.slot_at)
    finally:
        disk.close(handle)
    return True


def restamp(disk: Disk, file: ColumnarFile, sources: Mapping[int, ColumnSource]) -> None:
    """Write a header with the new states of verified data files; rows are unchanged.

    Raises:
        StorageError: The header cannot be written.
    """
    head = file.head
    after = replace(head, seq=head.seq + 1, years={**head.years, **sources})
    handle = disk.open_write(file.path)
    try:
        if disk.fstat(handle).inode == file.inode:
            disk.write(handle, after.to_bytes(), after.slot_at)
    finally:
        disk.close(handle)


def _write_rows(
    disk: Disk, handle: Handle, head: Head, name: str, row: int, values: Column, check: int
) -> int:
    """Write values starting at ``row``, and the checksums of the blocks that they complete.

    Args:
        disk, handle, head: File to write to.
        name: Name of the column.
        row: Index of the first value.
        values: All values to write.
        check: Checksum of the values before ``row`` in the same block.

    Returns:
        Checksum of the last, incomplete block.
    """
    disk.write(handle, values.view(np.uint8).data, head.at(name, row))
    first_block, sums, start = row // BLOCK, [], 0
    crc32 = summing(values.nbytes)
    while start < len(values):
        end = min(len(values), (row + start) // BLOCK * BLOCK + BLOCK - row)
        check = crc32(values[start:end].data, check)
        if (row + end) % BLOCK == 0:
            sums.append(check)
            check = 0
        start = end
    if sums:
        packed = np.array(sums, dtype=np.uint32).tobytes()
        disk.write(handle, packed, head.checksum_at(name, first_block))
    return check


def _join_years(
    name: str,
    years: Mapping[int, ColumnSource],
    old: ColumnarFile | None,
    parts: Mapping[int, Part],
) -> Column:
    begins = old.head.begins() if old else {}
    pieces = []
    for year, source in years.items():
        if year in parts:
            pieces.append(_column(parts[year].table, name))
        elif old is not None and name in old.head.columns:
            pieces.append(old.column(name)[begins[year] : begins[year] + source.rows])
        else:
            pieces.append(np.full(source.rows, NAN))
    return np.ascontiguousarray(np.concatenate(pieces)) if len(pieces) > 1 else pieces[0]


def _column(table: BarTable, name: str) -> Column:
    if name == INDEX:
        return table.stamps * NS_IN_MS
    if name == ADJ_CLOSE and table.adj_close is None:
        return np.full(len(table), NAN)
    values: Column = np.ascontiguousarray(getattr(table, name))
    return values
