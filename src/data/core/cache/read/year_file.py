"""Reads one year file and verifies it against its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from ....errors import CorruptEntryError, FormatVersionError
from ...disk.files import Handle
from ...model.market.bars import BarTable, Stamps, concat
from ...model.time.span import Span
from ...runtime.once import cached_property
from ..format.csv_rows import BASE_COLUMNS, decode_rows, header_line
from ..format.documents import YearMeta, YearState
from ..format.gzip_member import PEEK_BYTES, Member, file_id, peek_digest, walk
from ..lane_files import LaneFiles

# Members with fewer bars are decoded together, because each one has a fixed cost.
_FEW_BARS = 2_000


class MismatchError(CorruptEntryError):
    """Data and metadata do not match; the error never leaves the store."""


@dataclass(frozen=True)
class YearFile:
    """A verified year file.

    Attributes:
        state: State recorded in its metadata.
        members: All gzip members of the file, in order.
    """

    state: YearState
    members: tuple[Member, ...] = ()

    def table(self, span: Span | None = None) -> BarTable:
        """Return all bars, or those in ``span``; members outside it are not decompressed.

        Raises:
            MismatchError: A member does not match its header.
        """
        firsts, lasts = self._extents
        of_span = firsts <= lasts
        if span is not None:
            of_span &= (firsts < span.end) & (lasts >= span.start)
        indexes = np.flatnonzero(of_span).tolist()
        _decode([self.members[index] for index in indexes if index], self.state.columns)
        joined = concat(
            rows_of(self.members[index], self.state.columns, first=index == 0) for index in indexes
        )
        return joined if span is None else joined.within(span)

    @cached_property
    def _extents(self) -> tuple[Stamps, Stamps]:
        """The first and the last timestamp of each gzip member, in two arrays.

        For a member without bars, the last timestamp is before the first one.
        """
        outermost = [(m.header.first, m.header.last) for m in self.members]
        extents = [(1, 0) if a is None or b is None else (a, b) for a, b in outermost]
        edges = np.array(extents, dtype=np.int64).reshape(-1, 2)
        return edges[:, 0], edges[:, 1]


def _decode(members: Sequence[Member], columns: tuple[str, ...]) -> None:
    """Decode the bars of all short gzip members together, except those of the first member.

    Damaged members are left for :func:`rows_of`.
    """
    short = [m for m in members if not m.decoded and m.header.rows < _FEW_BARS]
    if len(short) < 2 or columns != BASE_COLUMNS:
        return
    try:
        texts = [member.text() for member in short]
        counts = [text.count(b"\n") for text in texts]
        if counts != [member.header.rows for member in short]:
            return
        table = decode_rows(memoryview(b"".join(texts)), columns, sum(counts))
    except ValueError:
        return
    for member, end, rows in zip(short, accumulate(counts), counts, strict=True):
        member.decoded.append(table.take(slice(end - rows, end)))


def rows_of(member: Member, columns: tuple[str, ...], *, first: bool) -> BarTable:
    """Return the bars in one gzip member; the first member of a file also contains the CSV header.

    Raises:
        MismatchError: The member does not match its header.
    """
    if member.decoded:
        return member.decoded[0]
    try:
        text, line = member.text(), header_line(columns) if first else b""
        if not text.startswith(line):
            raise ValueError(f"the columns are not {', '.join(columns)}")
        table = decode_rows(memoryview(text)[len(line) :], columns, member.header.rows)
    except ValueError as exc:
        raise MismatchError(str(exc)) from exc
    member.decoded.append(table)
    return table


def open_year(lane: LaneFiles, year: int, meta: YearMeta | None) -> YearFile | None:
    """Read the data of ``year`` up to the recorded size, and verify every bit.

    While a rewrite is pending, both the old state and the new one are valid. Bytes after the
    recorded size belong to another writer and are ignored.

    Args:
        lane, year: Series and year of the file.
        meta: Document of the year; None if it does not exist.

    Returns:
        The file, or None if neither data nor metadata exist.

    Raises:
        MismatchError: The data differs from what the document records.
        FormatVersionError: A member is from a newer version.
    """
    handle = lane.disk.open_read(lane.paths.data(year))
    if handle is None:
        if meta is None and year in lane.elsewhere:
            raise MismatchError("an older tool's file is not converted yet")
        return _without_data(meta)
    try:
        if meta is None:
            raise MismatchError("there is data but no metadata")
        return _match(lane, year, meta, handle)
    except FormatVersionError as exc:
        raise lane.newer(year, exc) from exc
    finally:
        lane.disk.close(handle)


def _without_data(meta: YearMeta | None) -> YearFile | None:
    if meta is None:
        return None
    if meta.state.size:
        raise MismatchError("the data file is missing")
    return YearFile(meta.state)


def _match(lane: LaneFiles, year: int, meta: YearMeta, handle: Handle) -> YearFile:
    size = lane.disk.fstat(handle).size
    problem = "the data file is not empty as recorded"
    for state in filter(None, (meta.pending, meta.state)):
        if not state.size:
            continue
        # Nothing is appended while a rewrite is pending, and the new file may begin like the old
        # one.
        if size < state.size or (meta.pending and size != state.size):
            problem = f"it has {size} bytes, but {state.size} are recorded"
            continue
        start = lane.disk.read_at(handle, state.head_at, PEEK_BYTES)
        if peek_digest(start) != state.head:
            problem = "its last member is not the recorded one"
            continue
        return _verify(lane, year, state, lane.disk.read_at(handle, 0, state.size))
    raise MismatchError(problem)


def _verify(lane: LaneFiles, year: int, state: YearState, data: bytes) -> YearFile:
    members = list(walk(data, file_id(lane.key, year)))
    check_members(members, state, most_rows=lane.most_rows())
    return YearFile(state, tuple(member for _, member in members))


def check_members(members: list[tuple[int, Member]], state: YearState, *, most_rows: int) -> None:
    """Check that a file's gzip members, already verified one by one, match the recorded state.

    Raises:
        MismatchError: The members do not match the state, or have more bars than a year can have.
    """
    end = members[-1][0] + len(members[-1][1].raw) if members else 0
    if end != state.size:
        raise MismatchError(f"the data file is intact only up to byte {end} of {state.size}")
    at, head = members[-1]
    stamps = [
        stamp for _, m in members for stamp in (m.header.first, m.header.last) if stamp is not None
    ]
    rows = sum(m.header.rows for _, m in members)
    facts = (head.digest, at, rows, stamps[0] if stamps else None, stamps[-1] if stamps else None)
    recorded = (state.head, state.head_at, state.rows, state.first, state.last)
    if facts != recorded or members[0][1].columns != state.columns:
        raise MismatchError("the members differ from the recorded ones")
    if rows > most_rows:
        raise MismatchError(f"it claims {rows} bars; at most {most_rows} are possible")


def rows_behind(
    lane: LaneFiles, year: int, state: YearState, *, size: int, head: str
) -> BarTable | None:
    """Return the bars of the members appended since the file had ``size`` bytes.

    Args:
        lane, year: Series and year of the file.
        state: Current state.
        size: Number of bytes, from the start of the file, that are already known.
        head: First 16 hex digits of the digest of the last member before that.

    Returns:
        The bars, or None if the following bytes are not a valid continuation up to ``state``.
    """
    handle = lane.disk.open_read(lane.paths.data(year)) if state.size > size else None
    if handle is None:
        return None
    try:
        data = lane.disk.read_at(handle, size, state.size - size)
    finally:
        lane.disk.close(handle)
    members = list(walk(data, file_id(lane.key, year), head))
    if not members or members[-1][1].digest != state.head:
        return None
    try:
        return concat(rows_of(member, state.columns, first=False) for _, member in members)
    except MismatchError:
        return None


def same_bits(first: BarTable, second: BarTable) -> bool:
    """Return whether two tables have the same bars, bit by bit.

    A missing column counts as empty.
    """
    if not np.array_equal(first.stamps, second.stamps):
        return False
    pairs = list(zip(first.values()[:5], second.values()[:5], strict=True))
    adj = [
        t.adj_close if t.adj_close is not None else np.full(len(t), np.nan) for t in (first, second)
    ]
    return all(_same_column(a, b) for a, b in [*pairs, (adj[0], adj[1])])


def _same_column(first: Any, second: Any) -> bool:
    same = first.view(np.int64) == second.view(np.int64)
    return bool((same | (np.isnan(first) & np.isnan(second))).all())
