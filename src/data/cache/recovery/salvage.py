"""What can be had from a damaged year file: every member of it that is sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from ..format.csv_rows import ALL_COLUMNS, BASE_COLUMNS
from ..format.gzip_member import Member, claimed_end, find, verify, walk
from ..read.year_file import MismatchError
from ..write.segments import YearSegment


@dataclass(frozen=True)
class Scan:
    """A file seen from its first byte on.

    Attributes:
        content: all of it.
        chain: offset and member, sound, of this file and chained from the start.
        end: where the last of them ends.
    """

    content: bytes
    chain: tuple[tuple[int, Member], ...]
    end: int

    @property
    def is_whole(self) -> bool:
        """Tell whether the file verifies from end to end."""
        return bool(self.chain) and self.end == len(self.content)

    @property
    def tail(self) -> bytes:
        """What lies behind the last chained member."""
        return self.content[self.end :]

    @property
    def members(self) -> list[Member]:
        """The chained members."""
        return [member for _, member in self.chain]

    def goes_on(self) -> bool:
        """Tell whether a sound member, whosever, follows behind what is not sound."""
        return next(_behind(self.content, self.end), None) is not None


def scan(content: bytes, identity: str) -> Scan:
    """Walk a file as far as it is sound.

    Raises:
        FormatVersionError: a sound member is of a newer version.
    """
    chain = tuple(takewhile(lambda found: _is_readable(found[1]), walk(content, identity)))
    end = chain[-1][0] + len(chain[-1][1].raw) if chain else 0
    return Scan(content, chain, end)


def _is_readable(member: Member) -> bool:
    """Tell whether the text inside has the lines that the header promises, and not more."""
    try:
        lines = member.text().count(b"\n")
    except ValueError:
        return False
    return lines == member.header.rows + bool(member.header.spelled)


def _behind(content: bytes, start: int) -> Iterator[Member]:
    """Yield all sound members from ``start`` on, whether chained or not."""
    while start < len(content):
        member = verify(content, start)
        if member is None:
            # The damaged member's own size is tried before every place that looks like a start.
            after = claimed_end(content, start)
            there = verify(content, after) if after is not None else None
            found = (after, there) if after is not None and there else find(content, start + 1)
            if found is None:
                return
            start, member = found
        yield member
        start += len(member.raw)


def salvage(seen: Scan, identity: str) -> list[YearSegment]:
    """Return the sound members of this file as segments, ascending.

    A member whose bars do not come behind those before it is left out: the file is a mixture, and
    which of the two is newer cannot be told.
    """
    kept: list[YearSegment] = []
    for member in (*seen.members, *_behind(seen.content, seen.end)):
        header = member.header
        last = kept[-1].header.last if kept else None
        if header.id != identity or header.first is None:
            continue
        if last is not None and header.first <= last:
            continue
        segment = _segment(member)
        if segment is not None:
            kept.append(segment)
    return kept


def _segment(member: Member) -> YearSegment | None:
    """Return the member as a segment, None when its text is not what its header says."""
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
