"""The bytes of a snapshot: the files of a series as its entries up to one of them have made them.

A snapshot is a list of parts, one for each year and one for the series. A part is stored once, by the
digest of its content, so only years that have changed are stored again.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from ..cache.layout import DATA, QUARANTINE, ROWS, SERIES
from ..errors import CorruptEntryError, FormatVersionError
from . import entry
from .entry import SeriesName
from .log import LogPosition

FORMAT = 1
# A snapshot is made after this many entries, or once the entries since the last one take as much space
# as it does; small series wait for the number.
EVERY, LEAST_BYTES = 64, 32 << 10
_MOST_YEARS = 2_000
# Longest list of parts, largest generation, and most bytes of a file other than bars.
MOST_BYTES, _MOST, _MOST_BESIDE = 1 << 20, 1 << 62, 32 << 20
_NAME = re.compile(r"([0-9]{4})\.(?:csv\.gz|metadata\.json|log|rows\.csv\.gz)")


class SnapshotPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of one year.

    Attributes:
        year: Year; 0 for the document of the series.
        digest: SHA-256 over the series, the year, and the names, sizes and contents of the files.
        generation: Generation recorded in the year's or series' document; 0 if there is none.
        files: Maps each file to its size in bytes, in the order in which they are transferred.
    """

    year: int
    digest: bytes
    generation: int
    files: dict[str, int]

    @property
    def size(self) -> int:
        """The number of bytes of all files."""
        return sum(self.files.values())

    @property
    def is_possible(self) -> bool:
        """Whether a series can have files of these sizes; a document takes many times its size in memory."""
        beside = [size for file, size in self.files.items() if not file.endswith(DATA)]
        return (
            min(self.files.values(), default=0) >= 0
            and self.size <= entry.MOST_BYTES
            and max(beside, default=0) <= _MOST_BESIDE
        )


class SeriesSnapshot(NamedTuple):
    """A snapshot without the bytes of its parts.

    Attributes:
        position: Entry that it shows; the log never loses this one.
        parts: Parts, by year.
    """

    position: LogPosition
    parts: Mapping[int, SnapshotPart]

    @property
    def generations(self) -> tuple[dict[int, int], int]:
        """The generations in the documents of the years, and in that of the series."""
        years = {year: part.generation for year, part in self.parts.items() if part.generation}
        series = years.pop(0, 0)
        return years, series

    @property
    def size(self) -> int:
        """The number of bytes of all parts."""
        return sum(part.size for part in self.parts.values())


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[SnapshotPart])


def is_long(entries: int, size: int, before: int = 0) -> bool:
    """Return whether so many entries and bytes after a snapshot of ``before`` bytes are worth another one."""
    return entries >= EVERY or size >= max(LEAST_BYTES, before)


def year_of(name: str, *, is_quarantine: bool) -> int | None:
    """Return the year whose part has a file; 0 for the document of the series, None if no part has it."""
    if name == SERIES and not is_quarantine:
        return 0
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and name.endswith(ROWS) == is_quarantine else None


def sealed(
    name: SeriesName, year: int, generation: int, files: Sequence[tuple[str, bytes]]
) -> tuple[SnapshotPart, bytes]:
    """Return a part and its body."""
    body = b"".join(data for _, data in files)
    sizes = {file: len(data) for file, data in files}
    return SnapshotPart(year, _digest(name, year, sizes, body), generation, sizes), body


def opened(name: SeriesName, part: SnapshotPart, body: bytes) -> list[tuple[str, memoryview]]:
    """Return the names and contents of a part's files.

    Raises:
        CorruptEntryError: The body is not the one that was stored.
    """
    if not hmac.compare_digest(part.digest, _digest(name, part.year, part.files, body)):
        raise corrupt(name, f"the digest of {part.year or 'the series'} does not match")
    files, start, view = [], 0, memoryview(body)
    for file, size in part.files.items():
        files.append((file, view[start : start + size]))
        start += size
    return files


def dump(name: SeriesName, snapshot: SeriesSnapshot) -> tuple[bytes, bytes]:
    """Return the bytes of a snapshot without its parts' bodies, and their digest."""
    content = _encoder.encode(list(snapshot.parts.values()))
    return content, _seal(name, snapshot.position, content)


def load(
    name: SeriesName,
    position: LogPosition,
    snapshot_format: int,
    content: bytes | None,
    digest: bytes,
) -> SeriesSnapshot:
    """Return a snapshot.

    Raises:
        FormatVersionError: A newer version of this library wrote it.
        CorruptEntryError: It is damaged, or belongs to another series.
    """
    if snapshot_format > FORMAT:
        raise FormatVersionError(
            f"the snapshot of {entry.text_of(name)} has format {snapshot_format}, and this version reads "
            f"{FORMAT}",
            symbol=name.symbol,
            hint="update this library on this host",
        )
    if content is None:
        raise corrupt(name, "its list of parts is too long")
    if not hmac.compare_digest(digest, _seal(name, position, content)):
        raise corrupt(name, "its digest does not match")
    try:
        parts = _decoder.decode(content)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise corrupt(name, str(exc)[:200]) from exc
    for part in parts:
        if not all(_belongs(part.year, file) for file in part.files):
            raise corrupt(name, "it has a file that no series has")
        if not (0 <= part.year <= 9999 and 0 <= part.generation <= _MOST):
            raise corrupt(name, "a part has an impossible year or generation")
        if not part.is_possible:
            raise corrupt(name, "a part declares an impossible size")
    if len(parts) > _MOST_YEARS or len({part.year for part in parts}) != len(parts):
        raise corrupt(name, "it has a year twice, or too many")
    return SeriesSnapshot(position, {part.year: part for part in parts})


def corrupt(name: SeriesName, why: str) -> CorruptEntryError:
    """Return the error for a snapshot that cannot be used."""
    return CorruptEntryError(
        f"the snapshot of {entry.text_of(name)} in the shared store cannot be used: {why}",
        symbol=name.symbol,
        hint="restore the server from a backup, or clear the series",
    )


def _belongs(year: int, file: str) -> bool:
    folder, _, name = file.rpartition("/")
    return folder in ("", QUARANTINE) and year_of(name, is_quarantine=bool(folder)) == year


def _prefix(name: SeriesName, *more: object) -> bytes:
    return "\0".join((*name, *map(str, more))).encode("utf-8", "surrogatepass") + b"\0"


def prefix_of(name: SeriesName, year: int, files: Mapping[str, int]) -> bytes:
    """Return the bytes that come before the body of a part in its digest."""
    return _prefix(name, year, *(f"{file}:{size}" for file, size in files.items()))


def _digest(name: SeriesName, year: int, files: Mapping[str, int], body: bytes) -> bytes:
    seal = sha256(prefix_of(name, year, files))
    seal.update(body)
    return seal.digest()


def _seal(name: SeriesName, position: LogPosition, content: bytes) -> bytes:
    return sha256(_prefix(name, position.seq, position.token.hex()) + content).digest()
