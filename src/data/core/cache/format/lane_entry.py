"""The index entry for a lane: a summary of its documents, sealed with a digest.

An entry repeats content of the documents and adds nothing. Bytes that are incomplete or belong to
another lane are not accepted as an entry.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from ...model.identity.kind import Adjustment, Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.stored.coverage import Covered
from ...model.time.span import Span
from .documents import SeriesMeta, YearMeta

Packed = bytes  # for LaneEntry, which has an attribute called bytes
# Version of the entries' content and byte format.
VERSION = 4
_DIGEST_BYTES = 16
# Binary formats of a year and of a stretch.
_YEAR, _STRETCH = struct.Struct("<5q"), struct.Struct("<4q")


class Growth(NamedTuple):
    """A series' growth on one day, according to its logs: UTC date, number of bars, and bytes in files."""

    date: str
    bars: int
    bytes: int


class BarsOrigin(msgspec.Struct, array_like=True, frozen=True):
    """The origin of a range of bars: vendor, kind and adjustment, and whether the bars are suspect."""

    is_suspect: bool
    vendor: str
    kind: Kind
    adjustment: Adjustment
    is_rescaled: bool

    @classmethod
    def of(cls, entry: Covered) -> BarsOrigin:
        """Return the origin of a coverage entry's bars."""
        suspect, adjustment = entry.state == "suspect", entry.basis.adjustment
        return cls(suspect, entry.vendor, entry.kind, adjustment, entry.is_rescaled)

    def entry(self, span: Span) -> Covered:
        """Return a coverage entry for bars in ``span`` of this origin that are not suspect."""
        return Covered(span, "final", self.vendor, self.kind, Basis(self.adjustment))


class YearEntry(NamedTuple):
    """The facts known about one year of a lane.

    Attributes:
        year: Year described.
        is_sound: Whether the year's document is reliable, i.e. neither damaged nor half written.
        bytes: Total size of the year's data file and document, or 0 if it has no data file.
        size: Size of the data file according to the document.
        generation: Generation of the year's last commit.
    """

    year: int
    is_sound: int
    bytes: int
    size: int = 0
    generation: int = 0


class StretchEntry(NamedTuple):
    """The time range in one year of the stretches (covered spans) with bars from one source.

    Attributes:
        year: Year of the stretches.
        source_index: Index of the source among the lane's sources.
        start, end: Start of the first stretch, and end of the last.
    """

    year: int
    source_index: int
    start: int
    end: int


class LaneEntry(msgspec.Struct, array_like=True):
    """The facts known about one lane (one kind of bars for a series).

    Years are kept packed, to save memory if there are many lanes.

    Attributes:
        folders: Maps the lane folder (under an empty name) and its subfolders to inode, size and
            time.
        bytes, files: Totals for the folder, without the files in ``links``.
        links: Inode and size of files that have several names (hard links).
        data_files, quarantined, without_metadata: Numbers of year files, files in quarantine, and
            year files without a document.
        rows, first, last: Number of bars, and the timestamps of the first and the last one.
        updated_ms: Time of the latest commit.
        answered_ms: Time of the newest answer, including answers without bars.
        sources: Origins of the bars.
        newest: Maps each vendor to the end of its newest bars.
        has_series: Whether a document for the series as a whole exists.
        is_pinned: Whether a version is pinned.
        is_sound: Whether all documents are reliable and no file is from another tool.
    """

    folders: dict[str, tuple[int, int, int]]
    bytes: int = 0
    files: int = 0
    links: list[tuple[int, int]] = []
    data_files: int = 0
    quarantined: int = 0
    without_metadata: int = 0
    rows: int = 0
    first: int | None = None
    last: int | None = None
    updated_ms: int = 0
    answered_ms: int = 0
    sources: list[BarsOrigin] = []
    newest: dict[str, int] = {}
    has_series: bool = False
    is_pinned: bool = False
    is_sound: bool = True
    packed_years: Packed = b""
    packed_stretches: Packed = b""

    @property
    def exists(self) -> bool:
        """Whether anything is stored: bars, or reports that vendors have no bars."""
        return bool(self.packed_years) or self.has_series

    @property
    def years_count(self) -> int:
        """The number of years."""
        return len(self.packed_years) // _YEAR.size

    @property
    def years(self) -> list[YearEntry]:
        """The years, in ascending order."""
        return list(map(YearEntry._make, _YEAR.iter_unpack(self.packed_years)))

    @property
    def stretches(self) -> list[StretchEntry]:
        """The time range covered by each source's bars in each year."""
        return list(map(StretchEntry._make, _STRETCH.iter_unpack(self.packed_stretches)))

    @property
    def vendors(self) -> list[str]:
        """The vendors of the bars, sorted by name."""
        return sorted({source.vendor for source in self.sources if source.vendor})

    def add_year(self, key: SeriesKey, year: int, size: int, meta: YearMeta | None) -> None:
        """Add a year.

        Args:
            key: Series of the lane.
            year: Year to add; years are added in ascending order.
            size: Total size of the year's data file and document, or 0 if it has no data file.
            meta: Document of the year; None if it is damaged.
        """
        if meta is None:
            self.packed_years += _YEAR.pack(*YearEntry(year, 0, size))
            return
        state, step_ms = meta.state, key.timeframe.longest_ms
        hulls: dict[int, tuple[int, int]] = {}
        for entry in state.coverage.opened():
            if entry.fetched_at > self.answered_ms:
                self.answered_ms = entry.fetched_at
            if entry.state == "empty":
                continue
            index, (start, end) = self._index_of(BarsOrigin.of(entry)), entry.span
            old = hulls.get(index, (start, end))
            hulls[index] = min(old[0], start), max(old[1], end)
            if state.last is not None and start <= state.last:
                until = min(end, state.last + step_ms)
                self.newest[entry.vendor] = max(self.newest.get(entry.vendor, 0), until)
        self.rows += state.rows
        if state.first is not None and state.last is not None:
            self.first = state.first if self.first is None else min(self.first, state.first)
            self.last = state.last if self.last is None else max(self.last, state.last)
        self.updated_ms = max(self.updated_ms, meta.updated_ms)
        facts = YearEntry(year, meta.pending is None, size, state.size, state.generation)
        self.packed_years += _YEAR.pack(*facts)
        for index, (start, end) in hulls.items():
            self.packed_stretches += _STRETCH.pack(year, index, start, end)

    def add_series(self, series: SeriesMeta) -> None:
        """Add the document for the series as a whole."""
        self.has_series = True
        answered = [entry.fetched_at for entry in series.empties]
        self.answered_ms = max(self.answered_ms, *answered, 0)

    def _index_of(self, source: BarsOrigin) -> int:
        try:
            return self.sources.index(source)
        except ValueError:
            self.sources.append(source)
            return len(self.sources) - 1


class _Inner(msgspec.Struct, frozen=True):
    """The parts of a year document's ``provider_info`` and ``file_info`` that the summaries repeat."""

    rate_limit: Any = None
    rows: int = 0


class OuterKeys(msgspec.Struct):
    """The year-metadata keys that are also copied into the summaries for other programs."""

    data_source: Any = None
    last_updated: Any = None
    data_quality: dict[str, Any] | None = None
    file_info: _Inner = _Inner()
    provider_info: _Inner = _Inner()

    def to_json(self) -> dict[str, Any]:
        """Return the keys with their values as a dictionary."""
        entry: dict[str, Any] = msgspec.to_builtins(self)
        return entry


_decode_outer = msgspec.json.Decoder(OuterKeys).decode


def outer_keys(data: bytes) -> OuterKeys:
    """Parse the documented keys from the bytes of a year's valid metadata."""
    return _decode_outer(data)


# --- sealed --------------------------------------------------------------------------------


class SealedCodec:
    """Converts values of one type to bytes with a digest that identifies their lane.

    Args:
        name: Name of the values.
        value_type: Type of the values.
    """

    def __init__(self, name: str, value_type: Any) -> None:
        self._name = f"{name}|{VERSION}|"
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(value_type).decode

    def dump(self, lane: str, value: Any) -> bytes:
        """Return ``value`` as bytes with the digest for ``lane``."""
        text = self._encode(value)
        return self._digest(lane, text) + text

    def load(self, lane: str, data: Any) -> Any | None:
        """Return the value in ``data``, or None if the bytes were not written for this lane."""
        if not isinstance(data, bytes) or len(data) <= _DIGEST_BYTES:
            return None
        text = data[_DIGEST_BYTES:]
        if data[:_DIGEST_BYTES] != self._digest(lane, text):
            return None
        try:
            return self._decode(text)
        except (msgspec.DecodeError, ValueError):
            return None

    def _digest(self, lane: str, text: bytes) -> bytes:
        return sha256(f"{self._name}{lane}|".encode() + text).digest()[:_DIGEST_BYTES]


ENTRY = SealedCodec("entry", LaneEntry)
OUTER = SealedCodec("outer", dict[int, OuterKeys])
GROWTH = SealedCodec("growth", list[Growth])
USED = SealedCodec("used", tuple[int, int])
FACT = SealedCodec("fact", str)
