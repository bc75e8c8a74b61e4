"""Self-describing gzip members, of which year files consist.

gzip tools see a year file as one plain CSV. Each member carries its size, its digest and a
description of its bars in an extra field of its gzip header. Readers can therefore skip members
without inflating them, and if the metadata is lost, the members still describe the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ....errors import FormatVersionError
from ...model.identity.kind import Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable
from ...model.time.span import Span

VERSION = 1
MOST_JSON = 4096
MOST_HOLES = 64
MOST_ROW_BYTES = 512

# gzip magic, deflate, an extra field follows, no time, no hint, unknown system
_MAGIC = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_FIELD_ID = b"OT"
_SIZE_AT = 16
_DIGEST_AT = 20
_JSON_AT = 52
_NO_DIGEST = bytes(32)
_compact = json.JSONEncoder(separators=(",", ":")).encode
_KNOWN_KEYS = (
    "v",
    "id",
    "seq",
    "prev",
    "rows",
    "first",
    "last",
    "span",
    "vendor",
    "fetched_at",
    "kind",
    "basis",
    "state",
    "holes",
)
_SPELLED_KEYS = ("symbol", "timeframe", "lane", "year", "columns")


def file_id(key: SeriesKey, year: int) -> str:
    """Return the identifier that every member of a year file contains."""
    text = f"{key.symbol}|{key.timeframe.label}|{key.lane_label}|{year}"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


@dataclass(frozen=True)
class Header:
    """The header of a member (one gzip part of a year file), which describes the member's bars.

    Attributes:
        id: Identifier of the file that the member belongs to.
        seq: Generation of the commit that wrote the member; ascending within a file.
        prev: First characters of the previous member's digest; None in the first member.
        rows: Number of bars.
        first, last: Timestamps of the first and last bar, or None if the member has no bars.
        span: Span that was requested and answered.
        vendor, fetched_at, kind, basis: Origin of the bars.
        state: ``final`` or ``provisional``.
        holes: Parts of ``span`` for which the vendor had no bar.
        spelled: Description of the series, only in a file's first member.
        extra: Keys from other versions, kept as they are.
    """

    id: str
    seq: int
    rows: int
    first: int | None
    last: int | None
    span: Span
    vendor: str
    fetched_at: int
    kind: Kind
    basis: Basis
    state: str
    holes: tuple[Span, ...] = ()
    prev: str | None = None
    spelled: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def same_source(self, other: Header) -> bool:
        """Return whether two members have the same vendor, kind, basis and state.

        If so, they may be joined into one if their spans are adjacent.
        """
        source = (self.vendor, self.kind, self.basis, self.state, self.extra)
        return source == (other.vendor, other.kind, other.basis, other.state, other.extra)

    @property
    def is_possible(self) -> bool:
        """Whether the first and last timestamps are inside the span."""
        if not self.rows:
            return self.first is None and self.last is None
        return self.first in self.span and self.last in self.span

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        entry: dict[str, Any] = {
            "v": VERSION,
            "id": self.id,
            "seq": self.seq,
            "prev": self.prev,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "span": list(self.span),
            "vendor": self.vendor,
            "fetched_at": self.fetched_at,
            "kind": self.kind.to_json(),
            "basis": self.basis.to_json(),
            "state": self.state,
        }
        if self.holes:
            entry["holes"] = [list(hole) for hole in self.holes]
        return entry | dict(self.spelled) | dict(self.extra)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Header:
        """Parse a stored mapping.

        Raises:
            FormatVersionError: A newer version of this library wrote the header.
            AttributeError, KeyError, TypeError, ValueError: The mapping is not a header.
        """
        if entry["v"] != VERSION or entry.get("need"):
            needs = entry.get("need") or f"format {entry['v']}"
            raise FormatVersionError(f"bars were written by a newer version ({needs})")
        if entry["state"] not in ("final", "provisional"):
            raise FormatVersionError(f"bars have the unknown state {entry['state']!r}")
        try:
            basis = Basis.from_json(entry["basis"])
        except ValueError as exc:
            raise FormatVersionError(f"bars have an {exc}") from exc
        return cls(
            id=str(entry["id"]),
            seq=int(entry["seq"]),
            prev=entry["prev"],
            rows=_number(entry["rows"]),
            first=entry["first"],
            last=entry["last"],
            span=Span(*map(_number, entry["span"])),
            vendor=str(entry["vendor"]),
            fetched_at=_number(entry["fetched_at"]),
            kind=Kind.from_json(entry["kind"]),
            basis=basis,
            state=entry["state"],
            holes=tuple([Span(_number(a), _number(b)) for a, b in entry.get("holes", ())]),
            spelled={k: entry[k] for k in _SPELLED_KEYS if k in entry},
            extra={k: v for k, v in entry.items() if k not in (*_KNOWN_KEYS, *_SPELLED_KEYS)},
        )


def _number(value: Any) -> int:
    """Return a value after checking that it is an integer of plausible size for a count or a time."""
    if not isinstance(value, int) or abs(value) >= 1 << 48:
        raise ValueError(f"invalid bar count or time in milliseconds: {value!r}")
    return value


@dataclass(frozen=True)
class Member:
    """A gzip member whose digest has been verified.

    Attributes:
        header: Description of the bars.
        digest: Digest of the whole member, in hexadecimal.
        raw: All bytes of the member.
        body_at: Offset of the compressed text in ``raw``.
        decoded: Bars, once they have been decoded.
    """

    header: Header
    digest: str
    raw: bytes
    body_at: int
    decoded: list[BarTable] = field(default_factory=list, repr=False, compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The value columns of the year file; only the file's first gzip member names them."""
        return tuple(self.header.spelled.get("columns", ()))

    def text(self) -> bytes:
        """Return the member's decompressed text.

        Raises:
            ValueError: The text is too long for its number of rows, or is damaged despite the
                digest.
        """
        most = (self.header.rows + 1) * MOST_ROW_BYTES
        (size,) = struct.unpack("<I", self.raw[-4:])
        if size > most:
            raise ValueError(f"{self.header.rows} bars inflate to more than {most} bytes")
        return inflated_stream(memoryview(self.raw)[self.body_at : -8], size)

    def with_header(self, header: Header) -> Member:
        """Return a member with the same bars and the given header."""
        return _assemble(header, self.raw[self.body_at :])


def build(header: Header, text: bytes, total: int = 0) -> Member:
    """Compress ``text`` into a gzip member; ``total`` is the size of all texts to compress now.

    Raises:
        ValueError: The header is too long.
    """
    tail = struct.pack("<II", checksum(text), len(text) & 0xFFFFFFFF)
    return _assemble(header, deflated(text, total) + tail)


def _assemble(header: Header, body: bytes) -> Member:
    head = _compact(header.to_json()).encode("ascii")
    if len(head) > MOST_JSON:
        raise ValueError(
            f"the header of a member takes {len(head)} bytes; at most {MOST_JSON} are allowed"
        )
    size = _JSON_AT + len(head) + len(body)
    field_bytes = 36 + len(head)
    start = _MAGIC + struct.pack("<H2sHI", field_bytes + 4, _FIELD_ID, field_bytes, size)
    digest = hashlib.sha256(b"".join((start, _NO_DIGEST, head, body))).digest()
    return Member(header, digest.hex(), b"".join((start, digest, head, body)), _JSON_AT + len(head))


def peek_digest(start: bytes) -> str:
    """Return the unverified digest from the first bytes of a gzip member."""
    return start[_DIGEST_AT:_JSON_AT].hex()


PEEK_BYTES = _JSON_AT


def verify(data: bytes, offset: int = 0) -> Member | None:
    """Return the gzip member that begins at ``offset``, or None if no intact member does.

    Raises:
        FormatVersionError: The member is valid, and from a newer version.
    """
    size = _claimed_size(data, offset)
    if size is None:
        return None
    raw = data[offset : offset + size]
    digest = hashlib.sha256(raw[:_DIGEST_AT] + _NO_DIGEST)
    digest.update(memoryview(raw)[_JSON_AT:])
    if digest.digest() != raw[_DIGEST_AT:_JSON_AT]:
        return None
    (field_bytes,) = struct.unpack_from("<H", raw, 14)
    body_at = _SIZE_AT + field_bytes
    try:
        header = Header.from_json(json.loads(raw[_JSON_AT:body_at]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Member(header, digest.hexdigest(), raw, body_at) if header.is_possible else None


def claimed_end(data: bytes, offset: int) -> int | None:
    """Return the offset at which a gzip member claims to end; None if that is outside the data."""
    size = _claimed_size(data, offset)
    return None if size is None else offset + size


def _claimed_size(data: bytes, offset: int) -> int | None:
    """Return the member size in the header at ``offset``; None if that is not a header of this library."""
    if data[offset : offset + 10] != _MAGIC or data[offset + 12 : offset + 14] != _FIELD_ID:
        return None
    if len(data) < offset + _JSON_AT:
        return None
    extra, _, field_bytes, size = struct.unpack_from("<H2sHI", data, offset + 10)
    fits = extra == field_bytes + 4 and 36 <= field_bytes <= 36 + MOST_JSON
    whole = _SIZE_AT + field_bytes + 8 < size <= len(data) - offset
    return size if fits and whole else None


def walk(data: bytes, identity: str, prev: str | None = None) -> Iterator[tuple[int, Member]]:
    """Yield the offset and content of each valid member in the chain, from the start of ``data``.

    Members must belong to the file named ``identity``, and the first must link to ``prev``, the
    digest of the member before it.
    """
    offset = 0
    while (member := verify(data, offset)) is not None:
        header = member.header
        if header.id != identity or header.prev != prev:
            return
        yield offset, member
        offset, prev = offset + len(member.raw), member.digest[:16]


def find(data: bytes, start: int, *, tries: int = 10_000) -> tuple[int, Member] | None:
    """Search for the next valid gzip member at or after ``start``; return its offset and content.

    The search gives up after ``tries`` candidates, or after hashing four times the file size, so
    that a maliciously crafted file cannot stall it.
    """
    budget = 4 * len(data)
    for _ in range(tries):
        start = data.find(_MAGIC, start)
        if start < 0 or budget < 0:
            return None
        budget -= _claimed_size(data, start) or 0
        member = verify(data, start)
        if member is not None:
            return start, member
        start += 1
    return None


def is_ours(data: bytes) -> bool:
    """Return whether the data contains one of this library's headers anywhere, valid or not."""
    start = data.find(_FIELD_ID)
    while start >= 0:
        if data[max(0, start - 12) : start - 10] == _MAGIC[:2]:
            return True
        start = data.find(_FIELD_ID, start + 1)
    return False


def shares_of(headers: Iterable[Header]) -> dict[str, int]:
    """Return the number of bars from each vendor, with the most recent vendor at the end."""
    shares: dict[str, int] = {}
    for header in sorted(headers, key=lambda header: header.seq):
        shares[header.vendor] = shares.pop(header.vendor, 0) + header.rows
    return shares


# --- deflate -----------------------------------------------------------------------------

# Compression uses the standard library, or ISA-L if it is installed. Both use the same format.
# ISA-L takes a tenth of the time and produces output that is a tenth larger, which is worthwhile
# only for long text: when reading, for a few years of daily bars or a year of minute bars; when
# writing, which takes ten times as long as reading, even for a day of minute bars.

# Higher levels take several times as long and hardly reduce the size.
LEVEL = 6
# Bytes of text from which the faster library is worthwhile, for reading and checksums, and for
# writing.
LONG, LONG_TO_WRITE = 1 << 20, 1 << 15
_FAST_LEVEL = 1
# A year of minute bars is 31 MiB of text; no legitimate file inflates to ten times that. In bytes.
MOST_TEXT = 320 * 1024 * 1024
# Bytes inflated at a time: data that is too long is inflated only until that is certain.
_STEP_BYTES = 1 << 22
# The module of ISA-L.
FAST_LIBRARY = "isal.isal_zlib"
# Bytes checksummed by the standard library. Concurrent additions by two threads may lose one, which
# does not matter.
summed_bytes = 0


def deflated(text: bytes, total: int = 0) -> bytes:
    """Compress bytes into a raw deflate stream.

    A faster library is used if ``total``, the size of all texts to be compressed in one go, is
    large.
    """
    is_long = _is_worth_it(max(len(text), total), LONG_TO_WRITE)
    library, level = (_fast(), _FAST_LEVEL) if is_long else (zlib, LEVEL)
    deflater = library.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream: bytes = deflater.compress(text) + deflater.flush()
    return stream


def zipped(text: bytes) -> bytes:
    """Compress bytes into one gzip member, whose header contains no time."""
    tail = struct.pack("<II", checksum(text), len(text) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated(text) + tail


def inflated(packed: bytes) -> bytes:
    """Return the text of all gzip members, concatenated.

    Raises:
        ValueError: The text is empty, truncated, padded, or longer than any year of bars.
        zlib.error: The bytes are not gzip.
    """
    parts: list[bytes] = []
    room = MOST_TEXT
    while packed:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            parts.append(member.decompress(packed, _STEP_BYTES))
            room -= len(parts[-1])
            packed = member.unconsumed_tail
            if room < 0 or not (member.eof or packed or parts[-1]):
                raise ValueError("the gzip data is truncated, or too large for a year of bars")
        packed = member.unused_data
    if not any(parts):
        raise ValueError("it is empty")
    return b"".join(parts)


def inflated_stream(stream: memoryview, size: int) -> bytes:
    """Return the text in a raw deflate stream, without decompressing more than the expected size.

    Args:
        stream: Complete stream.
        size: Expected bytes of text.

    Raises:
        ValueError: The stream is damaged, or its text does not have the expected length.
    """
    library = _fast() if _is_worth_it(4 * len(stream), LONG) else zlib
    inflater = library.decompressobj(-zlib.MAX_WBITS)
    try:
        text: bytes = inflater.decompress(stream, size + 1)
    except (zlib.error, library.error) as exc:
        raise ValueError(f"the bar data cannot be decompressed: {exc}") from exc
    if len(text) != size or not inflater.eof:
        raise ValueError(f"the bar data does not decompress to the expected {size} bytes")
    return text


def checksum(text: bytes) -> int:
    """Return the CRC-32 checksum of ``text``."""
    return summing(len(text))(text)


def summing(size: int) -> Callable[..., int]:
    """Return the fastest CRC-32 function that is worth loading for this size.

    The function can also continue an earlier checksum.

    Args:
        size: Total number of bytes to be checksummed, over all calls.
    """
    global summed_bytes
    # Once loaded, it is faster even for small inputs, so loading it is worthwhile for many of them.
    if FAST_LIBRARY not in sys.modules:
        summed_bytes += size
        if not _is_worth_it(summed_bytes, LONG):
            summed_bytes %= LONG  # if not installed, it is searched for once per this many bytes
            return zlib.crc32
    summed: Callable[..., int] = _fast().crc32
    return summed


def _is_worth_it(size: int, least: int) -> bool:
    return size >= least and find_spec("isal") is not None


def _fast() -> ModuleType:
    return import_module(FAST_LIBRARY)
