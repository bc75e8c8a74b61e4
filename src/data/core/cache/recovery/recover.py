"""Makes a year valid again after a crash or damage.

:func:`examine` decides what is wrong with the year and what can be kept of it; it changes nothing
and needs no lock. Checks report its decision, previews read according to it, and :func:`recover`
carries it out, only under the lane's lock. An older tool's file is converted (``older``, or
``overwritten`` if bars are recorded that it has replaced). For data written by this library, in this
order:

1. the data begins with a recorded state (committed or pending), and no valid member follows a torn
one: members after that state that are valid, chained and of this file are accepted (``behind``); a
torn tail after those is quarantined and cut off (``torn``); after an unfinished rewrite, the new file
(``forward``) or the old one (``back``) counts, whichever is there;

2. the data verifies from end to end: the metadata is rebuilt from it (``rebuild``);

3. otherwise the whole file is quarantined and replaced by its valid members; the rest is missing
and will be requested again (``replace``).

Commits call :func:`matched_meta`, which compares a document with its data and repairs only if they
differ. Compaction and migration call :func:`sound_meta`, which reads the document first. Readers
call :func:`recover` for a year that they cannot read, and maintenance for a year that a check found
damaged, or :func:`rebuild` if only the document is incomplete.

Data is made durable before it is read. Nothing that verifies is ever cut off or moved away. Files
from newer versions are left untouched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

from ....errors import CacheError, FormatVersionError, StorageError
from ...disk.atomic import write_atomically
from ...disk.files import short
from ...model.stored.coverage import Coverage
from ..format.csv_rows import ALL_COLUMNS, BASE_COLUMNS
from ..format.documents import YearMeta, YearState
from ..format.gzip_member import (
    PEEK_BYTES,
    Member,
    claimed_end,
    file_id,
    find,
    is_ours,
    peek_digest,
    shares_of,
    verify,
    walk,
)
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..legacy.adopt import OldYear, converted, read_older, remove_original, set_aside
from ..legacy.reader import files_elsewhere, older_path
from ..read.year_file import MismatchError, YearFile, check_members
from ..write.coverage_update import after_members, carried
from ..write.segments import YearSegment
from ..write.year_writer import Target, columns_for, compose, rewrite, state_of, sweep_versions
from .quarantine import keep_bytes, keep_file

log = logging.getLogger(__name__)

# A damaged file of an older tool that was changed more recently may be incomplete.
UNFINISHED_NS = 10 * 10**9

Case = Literal[
    "sound", "older", "overwritten", "half_adopted", "lost", "gone",
    "behind", "torn", "forward", "back", "rebuild", "replace",
]  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """The condition of a year's files, and the state that a repair would leave.

    Attributes:
        case: Name of the case. ``sound``: nothing is wrong. ``older``: another tool wrote the
            data, which is to be converted; ``overwritten``: the same, in place of recorded bars.
            ``half_adopted``: another tool wrote the data, but this library wrote the document,
            which has no bars. Without data: ``lost`` (the document is damaged) or ``gone``
            (there was a file). The other cases concern data written by this library; the text at
            the top of the module lists them.
        meta: Document; None if it is missing or damaged.
        flaw: Defect of a damaged document; otherwise empty.
        state: State of the year after a repair; None if nothing remains.
        members: Members of the year's file after a repair.
        fresh: Members after the recorded state, if they are accepted.
        scan: Data file, if this library wrote it; otherwise empty.
        older: Other tools' files that a conversion sets aside, the best one first.
    """

    case: Case
    meta: YearMeta | None = None
    flaw: str = ""
    state: YearState | None = None
    members: Sequence[Member] = ()
    fresh: Sequence[Member] = ()
    scan: Scan = field(default_factory=lambda: Scan(b"", (), 0))
    older: Sequence[OldYear] = ()

    @property
    def file(self) -> YearFile | None:
        """The year file that a repair leaves; None if nothing remains."""
        return None if self.state is None else YearFile(self.state, tuple(self.members))


def sound_meta(lane: LaneFiles, year: int) -> YearMeta | None:
    """Repair ``year`` if its document and its data differ, and return the document.

    Only the size and the digest of the last member are checked, which is cheap enough for an
    append. For an empty year, the result is None.

    Raises:
        FormatVersionError: The file is from a newer version; it is left as it is.
        StorageError: The file could not be read or repaired.
    """
    try:
        meta = lane.meta(year)
    except DamagedError:
        return recover(lane, year)
    return matched_meta(lane, year, meta)


def matched_meta(lane: LaneFiles, year: int, meta: YearMeta | None) -> YearMeta | None:
    """Repair ``year`` if its document ``meta`` differs from the data, and return the document.

    The result is None if this library has stored nothing.
    """
    handle = lane.disk.open_read(lane.paths.data(year))
    if handle is None:
        size, head = 0, None
    else:
        try:
            size = lane.disk.fstat(handle).size
            offset = meta.state.head_at if meta is not None else 0
            head = peek_digest(lane.disk.read_at(handle, offset, PEEK_BYTES))
        finally:
            lane.disk.close(handle)
    if meta is None and handle is None and year not in lane.elsewhere:
        return None
    if meta is None or meta.pending or size != meta.state.size or head != meta.state.head:
        return recover(lane, year)
    return meta


def recover(lane: LaneFiles, year: int, *, spares_new: bool = False) -> YearMeta | None:
    """Repair ``year`` if necessary, and return its document; raises the same errors as :func:`sound_meta`.

    The result is None if this library has not stored anything. With ``spares_new``, an older tool's
    file that cannot be read and has just been changed raises ``StorageError`` instead of being moved,
    because that tool may not have finished writing it.
    """
    lane.sweep()
    sweep_versions(lane, year)
    path = lane.paths.metadata(year)
    lane.document_cache.forget(path)
    if older_path(lane, year) is None:
        _make_durable(lane, year)
    diagnosis = examine(lane, year)
    if diagnosis.older:
        if spares_new:
            _check_finished(lane, diagnosis.older)
        return _convert(lane, year, diagnosis)
    lane.elsewhere.pop(year, None)
    if diagnosis.case == "sound":
        return diagnosis.meta
    if diagnosis.flaw:
        damaged = lane.disk.read_if_exists(path) or b""
        keep_bytes(lane, path.name, damaged, f"metadata: {diagnosis.flaw}")
    if diagnosis.state is None:
        _put_back(lane, year, diagnosis)
        return recover(lane, year) if diagnosis.case == "half_adopted" else None
    if diagnosis.case in ("rebuild", "replace"):
        return _from_members(lane, year, diagnosis, diagnosis.state)
    assert diagnosis.meta is not None
    return _restore(lane, year, diagnosis, diagnosis.meta, diagnosis.state)


def preview(lane: LaneFiles, year: int) -> YearFile | None:
    """Return the year file that :func:`recover` would leave; nothing is changed, and no lock is taken.

    The result is None if nothing would remain. Raises the same errors as :func:`examine`.
    """
    return examine(lane, year).file


def rebuild(lane: LaneFiles, year: int) -> YearMeta | None:
    """Rewrite a year's metadata document, which does not list all bars in the valid data file.

    Returns:
        The new metadata. If the year has no data file, nothing is rewritten, and the result is the
        existing metadata, or None if there is none.
    """
    _make_durable(lane, year)
    meta, content = lane.meta(year), lane.disk.read_if_exists(lane.paths.data(year))
    if content is None:
        return meta
    members = scan_file(content, file_id(lane.key, year)).members
    state = _state_of_members(lane, year, meta, members)
    return _save(lane, year, _document(lane, meta, members).committed(state))


def _make_durable(lane: LaneFiles, year: int) -> None:
    """Sync the year's data file and its folder to disk."""
    path = lane.paths.data(year)
    if lane.disk.stat(path) is None:
        return
    handle = lane.disk.open_write(path)
    try:
        lane.disk.sync(handle)
        lane.disk.sync_folder(lane.paths.folder)
    finally:
        lane.disk.close(handle)


def _put_back(lane: LaneFiles, year: int, diagnosis: Diagnosis) -> None:
    """Remove this library's document of a year; restore another tool's document that it replaced."""
    path = lane.paths.metadata(year)
    before = None
    if diagnosis.case == "half_adopted":
        before = lane.disk.read_if_exists(lane.paths.legacy / path.name)
    if before is None:
        lane.disk.remove(path)
    else:
        write_atomically(lane.disk, path, before)
    lane.document_cache.forget(path)


def _check_finished(lane: LaneFiles, files: Iterable[OldYear]) -> None:
    """Raise ``StorageError`` if an older tool may still be writing a file that cannot be read."""
    for path in (older.path for older in files if older.damage):
        state = lane.disk.stat(path)
        if state is not None and lane.disk.now_ns() - state.mtime_ns < UNFINISHED_NS:
            raise StorageError(f"{short(path)} cannot be read, and may still be written")


def _convert(lane: LaneFiles, year: int, diagnosis: Diagnosis) -> YearMeta | None:
    """Write the converted file of a year, and return its document; the originals go to ``_legacy``.

    If there are no bars to import, the originals are only set aside. If the process dies, either
    the originals are still in their place, or the year is converted.
    """
    file, saved = diagnosis.file, None
    lane.make_folders_durable()
    for older in diagnosis.older:
        if older.damage:
            log.warning("%s %s: %s; the file is moved to _legacy", lane.key, year, older.damage)
            keep_file(lane, older.path, lane.disk.read(older.path), older.damage)
        set_aside(lane, year, older.path)
    if file is not None:
        state, members, document = file.state, file.members, document_of(lane, file)
        try:
            saved = rewrite(
                lane,
                year,
                meta=document,
                members=members,
                state=state,
                keep_version=False,
                check=lambda: _check_unchanged(lane, diagnosis.older),
            )
        except _ChangedError:
            return recover(lane, year)
        first, last = state.coverage[0], state.coverage[-1]
        entry = {"generation": state.generation, "vendor": first.vendor, "changed": 0, "removed": 0}
        entry |= {"span": [first.span.start, last.span.end], "added": state.rows}
        lane.append_log(year, entry | {"touched": state.first, "size": state.size})
        log.info("%s %s: %d bars of another tool are converted", lane.key, year, state.rows)
    try:
        _check_unchanged(lane, [o for o in diagnosis.older if o.path.parent != lane.paths.folder])
        for older in diagnosis.older:
            if saved is None or older.path.parent != lane.paths.folder:
                remove_original(lane, year, older.path)
    except StorageError as exc:
        if saved is None:
            raise
        log.warning("%s %s is converted, but the original is left: %s", lane.key, year, exc)
    lane.elsewhere.pop(year, None)
    return saved


class _ChangedError(StorageError):
    """An older tool has changed its file since it was read."""


def _check_unchanged(lane: LaneFiles, files: Iterable[OldYear]) -> None:
    """Raise ``_ChangedError`` if an older tool has changed one of its files since they were read."""
    for older in files:
        if lane.disk.stat(older.path) != older.state:
            raise _ChangedError(f"{short(older.path)} was changed meanwhile")


def _restore(
    lane: LaneFiles, year: int, diagnosis: Diagnosis, meta: YearMeta, state: YearState
) -> YearMeta:
    """Cut off a torn tail, write ``state`` to the year's document, and return the document."""
    scan = diagnosis.scan
    if scan.tail:
        keep_bytes(lane, lane.paths.data(year).name, scan.tail, "torn tail of an append")
        _cut(lane, year, scan.end)
    if diagnosis.case == "torn":
        return meta
    if diagnosis.case == "gone":
        message = "%s %s: the data file is gone; %s bars will be fetched again"
        log.error(message, lane.key, year, meta.state.rows)
    elif diagnosis.members and state.generation > (logged := lane.logged_generation(year)):
        added = sum(m.header.rows for m in diagnosis.fresh if m.header.seq > logged)
        _log(lane, year, state, added)
    return _save(lane, year, meta.committed(state))


def _log(lane: LaneFiles, year: int, state: YearState, added: int) -> None:
    """Log a recovery; ``added`` is the number of bars that it added, negative if bars were lost."""
    entry = {"generation": state.generation, "vendor": "", "span": None, "recovered": True}
    entry |= {"added": max(0, added), "changed": 0, "removed": max(0, -added), "size": state.size}
    lane.append_log(year, entry)


def _cut(lane: LaneFiles, year: int, size: int) -> None:
    handle = lane.disk.open_write(lane.paths.data(year))
    try:
        lane.disk.truncate(handle, size)
        lane.disk.sync(handle)
    finally:
        lane.disk.close(handle)


def _from_members(lane: LaneFiles, year: int, diagnosis: Diagnosis, state: YearState) -> YearMeta:
    """Write and return the document for the valid gzip members; rewrite the file if it is damaged."""
    meta, members = diagnosis.meta, diagnosis.members
    document = _document(lane, meta, members)
    if diagnosis.case == "rebuild":
        log.warning("%s %s: metadata are rebuilt from the bars", lane.key, year)
        return _save(lane, year, document.committed(state))
    scan = diagnosis.scan
    keep_file(lane, lane.paths.data(year), scan.content, f"damaged at byte {scan.end}")
    log.warning("%s %s: damaged; %s bars could be kept", lane.key, year, state.rows)
    saved = rewrite(lane, year, meta=document, members=members, state=state, keep_version=False)
    if meta is not None:
        _log(lane, year, state, state.rows - meta.state.rows)
    return saved


def document_of(lane: LaneFiles, converted_file: YearFile) -> YearMeta:
    """Return the new document of a converted year, last updated at the time given by the other tool."""
    updated_ms = converted_file.state.coverage[0].fetched_at
    return _document(lane, None, converted_file.members).replaced(updated_ms=updated_ms)


def _document(lane: LaneFiles, meta: YearMeta | None, members: Sequence[Member]) -> YearMeta:
    """Return the year's old document or, if that is lost, a new one based on the members."""
    now_ms = lane.clock.now_ms()
    shares = shares_of(member.header for member in members)
    if meta is not None:
        return meta.replaced(updated_ms=now_ms).with_shares(shares)
    fetched = [m.header.fetched_at for m in members if m.header.fetched_at]
    new = YearMeta(
        vendor=members[-1].header.vendor, created_ms=min(fetched, default=now_ms), updated_ms=now_ms
    )
    return new.with_shares(shares)


def _save(lane: LaneFiles, year: int, meta: YearMeta) -> YearMeta:
    lane.write_meta(year, meta, durable=True)
    return meta


# --- the decision ------------------------------------------------------------------------


def examine(lane: LaneFiles, year: int) -> Diagnosis:
    """Decide what is wrong with ``year`` and what a repair would leave; nothing is changed.

    The year's metadata is read before its data. If a writer commits in between, the data looks
    newer than recorded, rather than damaged.

    Raises:
        FormatVersionError: The file is from a newer version.
        StorageError: The file could not be read.
    """
    meta, flaw = None, ""
    try:
        meta = lane.meta(year)
    except DamagedError as exc:
        flaw = str(exc)
    content = lane.disk.read_if_exists(lane.paths.data(year))
    if meta is None and (path := older_path(lane, year)) is not None:
        return _diagnose_older(lane, year, path)
    if content is None:
        return _diagnose_document(lane, year, meta, flaw)
    if meta is not None and not is_ours(content):
        if not meta.state.size:
            return Diagnosis("half_adopted", meta)
        if len(content) not in [state.size for state in (meta.state, meta.pending) if state]:
            # Another size is no flipped bit: an older tool has replaced the file.
            replaced = _diagnose_older(lane, year, lane.paths.data(year))
            if replaced.state is not None:
                return replace(replaced, case="overwritten", meta=meta)
    try:
        return _diagnose_data(lane, year, meta, flaw, scan_file(content, file_id(lane.key, year)))
    except FormatVersionError as exc:
        raise lane.newer(year, exc) from exc


def _diagnose_older(lane: LaneFiles, year: int, best: Path) -> Diagnosis:
    """Return the diagnosis of a year with other tools' files, converted in memory, ``best`` first.

    After the first file with bars to import, others count only if they have bars.
    """
    used: list[OldYear] = []
    for path in dict.fromkeys((best, *(p for y, p in files_elsewhere(lane) if y == year))):
        older = read_older(lane, path)
        if len(older.table) or not any(len(better.table) for better in used):
            used.append(older)
    file = converted(lane, year, used, _next_generation(lane, None, ()))
    if file is None:
        return Diagnosis("older", older=used)
    return Diagnosis("older", state=file.state, members=file.members, older=used)


def _diagnose_document(lane: LaneFiles, year: int, meta: YearMeta | None, flaw: str) -> Diagnosis:
    """Return the diagnosis of a year whose data file is missing."""
    if meta is None:
        return Diagnosis("lost" if flaw else "sound", flaw=flaw)
    state = meta.state
    if state.size:
        generation = _next_generation(lane, meta, ())
        coverage = Coverage(entry for entry in state.coverage.opened() if entry.state == "empty")
        return Diagnosis("gone", meta, state=YearState(generation, coverage=coverage))
    return Diagnosis("sound", meta, state=state)


def _diagnose_data(
    lane: LaneFiles, year: int, meta: YearMeta | None, flaw: str, scan: Scan
) -> Diagnosis:
    """Return the diagnosis of a year whose data file was written by this library."""
    recorded = _recorded_state(lane, meta, scan) if meta is not None else None
    if meta is not None and recorded is not None:
        if not scan.tail or not scan.has_later_members():
            return _diagnose_recorded(lane, year, meta, recorded, scan)
    elif scan.is_whole:
        state = _state_of_members(lane, year, meta, scan.members)
        return Diagnosis("rebuild", meta, flaw, state, scan.members, scan=scan)
    segments = salvage(scan, file_id(lane.key, year))
    generation = _next_generation(lane, meta, scan.members)
    target = Target(lane.key, year, columns_for(segments), generation)
    members = compose(segments, scan.members, target)
    headers = [member.header for member in members if member.header.rows]
    coverage = carried(meta.state.coverage if meta else None, after_members(Coverage(), headers))
    state = state_of(members, 0, YearState(), target, coverage)
    return Diagnosis("replace", meta, flaw, state, members, scan=scan)


def _diagnose_recorded(
    lane: LaneFiles, year: int, meta: YearMeta, recorded: tuple[YearState, int], scan: Scan
) -> Diagnosis:
    """Return the diagnosis of a year whose data file begins with the recorded state."""
    state, count = recorded
    fresh = scan.members[count:]
    if fresh:
        appended = _with_appended(lane, year, meta, state, fresh)
        return Diagnosis("behind", meta, "", appended, scan.members, fresh, scan)
    case: Case = "torn" if scan.tail else "sound"
    if meta.pending is not None:  # the data is exactly one of the two files
        case = "forward" if state is meta.pending else "back"
    return Diagnosis(case, meta, "", state, scan.members, scan=scan)


def _recorded_state(lane: LaneFiles, meta: YearMeta, scan: Scan) -> tuple[YearState, int] | None:
    """Return the recorded state that matches the start of the data, and its number of gzip members.

    The result is None if no recorded state matches. While a rewrite is pending, the data must equal
    one of the two states to the last byte, because the new file may begin like the old one, or vice
    versa.
    """
    states = (
        [meta.state]
        if meta.pending is None
        else [state for state in (meta.pending, meta.state) if state.size == len(scan.content)]
    )
    for state in states:
        count = next(
            (n for n, (at, m) in enumerate(scan.chain, 1) if at + len(m.raw) == state.size), None
        )
        if count is None:
            continue
        try:
            check_members(list(scan.chain[:count]), state, most_rows=lane.most_rows())
        except MismatchError:
            continue
        return state, count
    return None


def _with_appended(
    lane: LaneFiles, year: int, meta: YearMeta, state: YearState, fresh: list[Member]
) -> YearState:
    """Return the recorded state, extended to include the gzip members that were appended since."""
    # A new generation: the marks of the lost commits are gone, and anything derived from them must
    # not be considered valid.
    generation = _next_generation(lane, meta, fresh)
    target = Target(lane.key, year, state.columns, generation)
    coverage = after_members(state.coverage, (m.header for m in fresh))
    return state_of(fresh, state.size, state, target, coverage)


def _state_of_members(
    lane: LaneFiles, year: int, meta: YearMeta | None, members: list[Member]
) -> YearState:
    """Return the year state that results from a valid file's gzip members."""
    generation = _next_generation(lane, meta, members)
    target = Target(lane.key, year, members[0].columns or BASE_COLUMNS, generation)
    coverage = carried(
        meta.state.coverage if meta else None,
        after_members(Coverage(), (m.header for m in members)),
    )
    # The number of appended members is unknown; counting all of them makes compaction happen
    # sooner.
    return state_of(members, 0, YearState(), target, coverage).replaced(open=len(members))


def _next_generation(lane: LaneFiles, meta: YearMeta | None, members: Iterable[Member]) -> int:
    generations = [member.header.seq for member in members]
    generations += [meta.pending.generation if meta and meta.pending else 0]
    for each in lane.logged_years():  # versions are numbered by series
        generations.append(lane.logged_generation(each))
        with suppress(CacheError):
            found = lane.meta(each)
            generations.append(found.state.generation if found else 0)
    try:
        # It is written last and may have outlived the data that it describes.
        series = lane.series()
    except (DamagedError, FormatVersionError):
        series = None
    return max(*generations, series.generation if series else 0) + 1


# --- salvage -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """The result of reading a file from its first byte.

    Attributes:
        content: All bytes of the file.
        chain: Offset and content of each valid member from the start of the file, as long as each
            is linked to the one before it.
        end: Offset at which the last member in ``chain`` ends.
    """

    content: bytes
    chain: tuple[tuple[int, Member], ...]
    end: int

    @property
    def is_whole(self) -> bool:
        """Whether the file is valid from end to end."""
        return bool(self.chain) and self.end == len(self.content)

    @property
    def tail(self) -> bytes:
        """The bytes after the last chained member."""
        return self.content[self.end :]

    @property
    def members(self) -> list[Member]:
        """The chained members."""
        return [member for _, member in self.chain]

    def has_later_members(self) -> bool:
        """Return whether a valid gzip member, even one of another file, follows the invalid bytes."""
        return next(_members_after(self.content, self.end), None) is not None


def scan_file(content: bytes, identity: str) -> Scan:
    """Read the valid beginning of a file.

    Raises:
        FormatVersionError: A valid member is from a newer version.
    """
    chain = tuple(takewhile(lambda entry: _is_readable(entry[1]), walk(content, identity)))
    end = chain[-1][0] + len(chain[-1][1].raw) if chain else 0
    return Scan(content, chain, end)


def _is_readable(member: Member) -> bool:
    """Return whether a gzip member's text has exactly as many lines as its header says."""
    try:
        lines = member.text().count(b"\n")
    except ValueError:
        return False
    return lines == member.header.rows + bool(member.header.spelled)


def _members_after(content: bytes, start: int) -> Iterator[Member]:
    """Yield all valid gzip members at or after ``start``, whether or not they form a chain."""
    while start < len(content):
        member = verify(content, start)
        if member is None:
            # The damaged member's own size is tried before searching for anything that looks like a
            # start.
            after = claimed_end(content, start)
            later = verify(content, after) if after is not None else None
            following = (after, later) if after is not None and later else find(content, start + 1)
            if following is None:
                return
            start, member = following
        yield member
        start += len(member.raw)


def salvage(scan: Scan, identity: str) -> list[YearSegment]:
    """Return the file's valid gzip members as segments (bars from which to rewrite it), in ascending order.

    A member whose bars do not follow the preceding members' bars is omitted: in this case, the file
    is a mixture of two files, and it is unknown which one is newer.
    """
    segments: list[YearSegment] = []
    for member in (*scan.members, *_members_after(scan.content, scan.end)):
        header = member.header
        last = segments[-1].header.last if segments else None
        if header.id != identity or header.first is None:
            continue
        if last is not None and header.first <= last:
            continue
        segment = _segment(member)
        if segment is not None:
            segments.append(segment)
    return segments


def _segment(member: Member) -> YearSegment | None:
    """Return a gzip member as a segment (bars to rewrite); None if text and header do not match."""
    try:
        # The header line has as many commas as a row.
        width = member.text().partition(b"\n")[0].count(b",")
        columns = ALL_COLUMNS if width == len(ALL_COLUMNS) else BASE_COLUMNS
        at_start = bool(member.header.spelled)
        segment = YearSegment(member.header, member, at_start=at_start, columns=columns)
        segment.table()
    except (MismatchError, ValueError):
        return None
    return segment
