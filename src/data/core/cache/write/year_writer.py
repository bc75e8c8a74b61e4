"""Writes year files: turns segments into bytes, then appends them or replaces the file.

To append, the new members are written after the last one and synced, which is the commit. The
metadata follows with a rename, which is synced only if it withdraws trust in stored bars; all else
can be recovered from the members. To rewrite, the new file is staged, recorded in the metadata as
pending, renamed over the old one, and committed. The first file of a year does not replace another
and is not recorded as pending; it gets its name right before its metadata does.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import StorageError
from ...disk.atomic import NO_LINKS, link_or_copy, or_discarded, stage
from ...disk.files import errno_of
from ...model.identity.kind import Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.market.bars import concat
from ...model.stored.coverage import Coverage
from ...model.time.instant import DAY_MS, date_of, parse_iso
from ...model.time.span import Span, year_span
from ..format.csv_rows import ALL_COLUMNS, BASE_COLUMNS, encode_rows, header_line
from ..format.documents import YearMeta, YearState
from ..format.gzip_member import Header, Member, build, file_id
from ..lane_files import LaneFiles
from ..layout import DATA
from ..pins import needed, needs, pins_in
from ..values import CommitPiece, no_check
from .segments import FEW_ROWS, YearSegment, of_piece

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The file to be written.

    Attributes:
        key, year: Series and year of the file.
        columns: Value columns.
        generation: Generation of the commit.
    """

    key: SeriesKey
    year: int
    columns: tuple[str, ...]
    generation: int

    @property
    def spelled(self) -> dict[str, object]:
        """The description of the series in the first member."""
        return {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "lane": self.key.lane_label,
            "year": self.year,
            "columns": list(self.columns),
        }


def columns_for(segments: Iterable[YearSegment]) -> tuple[str, ...]:
    """Return the value columns needed for all bars."""
    for segment in segments:
        if segment.rows is None:
            wide = len(segment.columns) > len(BASE_COLUMNS)
        else:
            wide = segment.rows.adj_close is not None
        if wide:
            return ALL_COLUMNS
    return BASE_COLUMNS


def compose(
    segments: Sequence[YearSegment], stored: Sequence[Member], target: Target
) -> list[Member]:
    """Return the gzip members of a new year file.

    Members before the first change are copied byte for byte; later members get a new header, but
    keep their compressed body if possible.

    Args:
        segments: Segments, ascending; if empty, the file has a header line and no bars.
        stored: Members of the file to be replaced.
        target: File to be written.
    """
    members: list[Member] = []
    written = list(_with_lines(segments, target.columns))
    total = sum(len(segment.lines or b"") for segment in written)
    for index, segment in enumerate(written):
        if segment.columns == target.columns and _is_unchanged(segment, index, members, stored):
            members.append(stored[index])
        else:
            members.append(_member_of(segment, members, target, total))
    return members or [_empty_member(target)]


def _with_lines(segments: Sequence[YearSegment], columns: tuple[str, ...]) -> Iterator[YearSegment]:
    """Yield the segments with the text of their bars; all missing text is encoded in one pass."""
    tables = [s.rows for s in segments if s.rows is not None and s.lines is None]
    text = encode_rows(concat(tables), columns) if len(tables) > 1 else b""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    first = at = 0
    for segment in segments:
        if text and segment.rows is not None and segment.lines is None:
            first += len(segment.rows)
            start, at = at, int(ends[first - 1])
            segment = replace(segment, columns=columns, lines=text[start:at])
        yield segment


def _is_unchanged(
    segment: YearSegment, index: int, before: list[Member], stored: Sequence[Member]
) -> bool:
    """Return whether the gzip member for ``segment``, and all members before it, stay unchanged."""
    if index >= len(stored) or (before and before[-1] is not stored[index - 1]):
        return False
    return segment.member is stored[index] and segment.header == stored[index].header


def _member_of(segment: YearSegment, before: list[Member], target: Target, total: int) -> Member:
    """Return the gzip member for ``segment``, with its old compressed body if that fits here.

    The body fits if it has the columns of ``target``, and the line with their names if and only if
    the member is the first. Otherwise the bars are compressed again.

    Args:
        segment: Segment to write.
        before: Members of the file before this one, the last of which the new header links to.
        target: File to write to.
        total: See :func:`build`.
    """
    header = replace(
        segment.header,
        seq=max(segment.header.seq, before[-1].header.seq) if before else segment.header.seq,
        prev=before[-1].digest[:16] if before else None,
        spelled={} if before else target.spelled,
    )
    body = segment.member
    if body is not None and segment.at_start == (not before) and segment.columns == target.columns:
        return body.with_header(header)
    text = segment.lines if segment.columns == target.columns else None
    text = text or encode_rows(segment.table(), target.columns)
    return build(header, text if before else header_line(target.columns) + text, total)


def _empty_member(target: Target) -> Member:
    start = year_span(target.year).start
    header = Header(
        id=file_id(target.key, target.year),
        seq=target.generation,
        rows=0,
        first=None,
        last=None,
        span=Span(start, start),
        vendor="",
        fetched_at=0,
        kind=Kind(),
        basis=Basis(),
        state="final",
        spelled=target.spelled,
    )
    return build(header, header_line(target.columns))


def appended(pieces: Iterable[CommitPiece], state: YearState, target: Target) -> list[Member]:
    """Return the gzip members to add to a file in ``state``, one for each piece that has bars."""
    assert state.head is not None
    prev, members = state.head[:16], []
    for piece in pieces:
        segment = of_piece(piece, file_id(target.key, target.year), target.generation)
        header = replace(segment.header, prev=prev)
        members.append(build(header, encode_rows(piece.table, target.columns)))
        prev = members[-1].digest[:16]
    return members


def state_of(
    members: Sequence[Member], offset: int, before: YearState, target: Target, coverage: Coverage
) -> YearState:
    """Return the state to record once ``members`` have been written to the file at ``offset``.

    If ``offset`` is 0, the members are the whole file: all facts about the file are computed anew,
    and only the others are taken from ``before``.
    """
    old = before if offset else YearState()
    with_bars = [m.header for m in members if m.header.rows]
    first = old.first if old.first is not None else with_bars[0].first if with_bars else None
    end = offset + sum(len(m.raw) for m in members)
    return before.replaced(
        generation=target.generation,
        size=end,
        rows=old.rows + sum(h.rows for h in with_bars),
        first=first,
        last=with_bars[-1].last if with_bars else old.last,
        head=members[-1].digest,
        head_at=end - len(members[-1].raw),
        members=old.members + len(members),
        open=before.open + _count_joinable(members, before.last, target) if offset else 0,
        columns=target.columns,
        coverage=coverage,
    )


def _count_joinable(members: Sequence[Member], last: int | None, target: Target) -> int:
    """Return the number of appended gzip members that compaction may join with earlier ones.

    A long member of intraday bars that begins on a new date is not counted, because a whole day
    appended in one commit already has the form that compaction would give it.
    """
    count = 0
    for header in (member.header for member in members):
        begins = last is None or header.first is None or date_of(last) != date_of(header.first)
        is_day = target.key.timeframe.is_intraday and header.rows > FEW_ROWS and begins
        count += not is_day
        last = header.last if header.rows else last
    return count


# --- append ------------------------------------------------------------------------------


def append(
    lane: LaneFiles,
    year: int,
    *,
    before: YearState,
    meta: YearMeta,
    members: Sequence[Member],
    durable_meta: bool,
) -> None:
    """Append ``members`` to the file of ``year``; requires the lane's lock.

    Args:
        lane, year: Series and year of the file.
        before: Current state, which has been compared with the file.
        meta: Document to be valid afterwards.
        members: Members, chained to the last one in the file.
        durable_meta: Whether the document must also be durable, because it marks stored bars as no
            longer trusted.

    Raises:
        StorageError: A step failed; the file contains the new bars, or they have been cut off
            again.
    """
    handle = lane.disk.open_write(lane.paths.data(year))
    try:
        try:
            lane.disk.write(handle, b"".join(m.raw for m in members), before.size)
            lane.disk.sync_data(handle)
        except BaseException:
            # The result of a failed sync is unknown, and a second attempt would not show it, so the
            # next commit of bars rewrites the file.
            lane.tainted.add((lane.key, year))
            try:
                lane.disk.truncate(handle, before.size)
            except StorageError as exc:
                log.warning("%s %s: a torn tail was not removed: %s", lane.key, year, exc)
            raise
    finally:
        lane.disk.close(handle)
    lane.write_meta(year, meta, durable=durable_meta)


# --- rewrite -----------------------------------------------------------------------------


def rewrite(
    lane: LaneFiles,
    year: int,
    *,
    meta: YearMeta,
    members: Sequence[Member],
    state: YearState,
    keep_version: bool,
    check: Callable[[], object] = no_check,
) -> YearMeta:
    """Replace the data of ``year`` with ``members``; requires the lane's lock.

    Args:
        lane, year: Series and year of the file.
        meta: Currently committed document; its facts (vendor, quality, times) are copied into the
            new one.
        members: All gzip members of the new file.
        state: State to record for the new file.
        keep_version: Whether to keep the old bars available in ``_versions``.
        check: Called just before the new file replaces the old one; an error that it raises leaves
            the old one.

    Returns:
        The committed document.

    Raises:
        StorageError: A step failed; the series is in its old or its new state.
    """
    data, committed = lane.paths.data(year), meta.committed(state)
    temp = stage(lane.disk, data, b"".join(member.raw for member in members))

    def take_name() -> None:
        """Let the new file replace the old one; old bars need it on disk before its document."""
        check()
        lane.disk.replace(temp, data)
        if meta.state.size or lane.disk.stat(lane.paths.legacy) is not None:
            lane.disk.sync_folder(lane.paths.folder)

    with or_discarded(lane.disk, temp):
        if not meta.state.size:
            # Until the document has its name too, the members contain the same information about
            # the bars.
            lane.write_meta(year, committed, durable=True, before_rename=take_name)
        else:
            is_pinned = needs(*_pinned(lane, year), versions(lane, year), meta.state.generation)
            if keep_version or is_pinned:
                keep(lane, year, meta.state.generation, is_pinned=is_pinned)
            lane.write_meta(year, meta.replaced(pending=state), durable=True)
            take_name()
            lane.write_meta(year, committed, durable=True)
    lane.tainted.discard((lane.key, year))
    return committed


# --- older versions ------------------------------------------------------------------------


def keep(lane: LaneFiles, year: int, generation: int, *, is_pinned: bool = False) -> None:
    """Save the current file of ``year`` as an old version, and remove expired versions."""
    sweep_versions(lane, year)
    folder = lane.paths.versions
    if not (lane.retention.versions or is_pinned):
        _drop(lane, expired(lane, year))
        return
    lane.disk.make_folders(folder)
    data, second = lane.paths.data(year), folder / f"{year:04d}.{generation}{DATA}"
    link = partial(link_or_copy, lane.disk) if is_pinned else lane.disk.link
    try:
        link(data, second)
    except StorageError as exc:
        if errno_of(exc) == errno.EEXIST:
            return
        if errno_of(exc) not in NO_LINKS:
            raise
        log.debug("%s %s: this file system cannot keep versions: %s", lane.key, year, exc)
    _drop(lane, expired(lane, year))


def expired(lane: LaneFiles, year: int) -> list[Path]:
    """Return the older files of ``year`` that exceed the retention limits.

    Files that a pinned generation needs are excluded.
    """
    old, retention = versions(lane, year), lane.retention
    pinned = needed(*_pinned(lane, year), old)
    old = [version for version in old if version[1] not in pinned]
    late = old[: max(0, len(old) - retention.versions)]
    if retention.days is not None:
        oldest = lane.clock.now_ms() - round(retention.days * DAY_MS)
        entries = lane.log_entries(year)
        late += [(g, p) for g, p in old if _replaced_ms(entries, g, oldest) < oldest]
    return list(dict(late).values())


def _pinned(lane: LaneFiles, year: int) -> tuple[list[int], list[dict[str, Any]]]:
    """Return a series' pinned generations, and the log of a year (empty if no generation is pinned)."""
    pins = pins_in(lane.disk, lane.paths.versions)
    return pins, lane.log_entries(year) if pins else []


def _replaced_ms(entries: list[dict[str, Any]], generation: int, unknown: int) -> int:
    """Return the time at which a generation's file was replaced; ``unknown`` if it is not recorded."""
    times = (str(e.get("time")) for e in entries if e["generation"] > generation)
    try:
        return min(map(parse_iso, times), default=unknown)
    except ValueError:
        return unknown


def _drop(lane: LaneFiles, paths: list[Path]) -> None:
    for path in paths:
        lane.disk.remove(path)


def versions(lane: LaneFiles, year: int) -> list[tuple[int, Path]]:
    """Return the generation and path of the year's older files, oldest first."""
    kept = []
    for name in lane.disk.list(lane.paths.versions):
        parts = name.split(".")
        if len(parts) == 4 and parts[0] == f"{year:04d}" and parts[1].isdecimal():
            kept.append((int(parts[1]), lane.paths.versions / name))
    return sorted(kept)


def sweep_versions(lane: LaneFiles, year: int) -> None:
    """Remove old versions that are links to the current file.

    A rewrite that is killed between linking and replacing leaves such links behind.
    """
    current = lane.disk.stat(lane.paths.data(year))
    for _, path in versions(lane, year):
        state = lane.disk.stat(path)
        if current is not None and state is not None and state.inode == current.inode:
            lane.disk.remove(path)
