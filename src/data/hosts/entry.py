"""Converts log entries to bytes and back.

A commit is a value. Every host applies the decoded bytes, so they must decode to an equal value.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..cache.actions import Asked
from ..cache.faults import Fault
from ..cache.values import Commit, CommitPiece
from ..errors import CorruptEntryError, DataError, FormatVersionError, StorageError
from ..model.actions import Action
from ..model.bars import BadRow, BarTable
from ..model.coverage import Columns, Covered, Splice, Stretches, stretches
from ..model.kind import Basis, Kind
from ..model.lifetime import Lifetime
from ..model.span import Span
from ..model.symbol_changes import SymbolChange

FORMAT = 1
# Limits that protect a host from a hostile or damaged body: stored bytes, and bars after unpacking.
MOST_BYTES, MOST_ROWS = 256 << 20, 8_000_000
_MOST_MARKS = 4_000_000
# Most pieces of an entry, and most bytes outside its columns, each of which may become an object.
_MOST_PIECES, _MOST_PLAIN = 10_000, 8 << 20
_DIGEST = 32
# Shorter columns are not compressed.
_LEVEL, _LEAST = 1, 8
# Prices rarely have more decimals; other columns are stored as the bytes of their floats.
_DECIMALS = (0, 2, 4, 8)
_EXACT = 1 << 52
_COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")


class SeriesName(NamedTuple):
    """The name of a series in the log; the splits and dividends of a symbol have no timeframe."""

    symbol: str
    timeframe: str = ""
    lane: str = ""


class ReportedActions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vendor's answer about splits and dividends."""

    actions: tuple[Action, ...]
    answer: Asked


class SamplesForgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The removal of a sample vendor's splits and dividends."""

    source: str


class SymbolChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The changes in a symbol's meaning, which replace all changes recorded earlier."""

    changes: tuple[SymbolChange, ...]


class SeriesCleared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The removal of a series, of some years of it, or of a symbol's splits and dividends."""

    by: str
    years: tuple[int, ...] | None = None


EntryValue = Commit | ReportedActions | SamplesForgotten | SymbolChanges | SeriesCleared


class _Column(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One packed column.

    ``decimals`` is the number of decimal places of values stored as integer differences, or -1 if
    the floats are stored as bytes. ``width`` is the number of bytes per value before compression.
    """

    decimals: int
    width: int
    rows: int
    data: bytes


class _Piece(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The stored form of a :class:`~..cache.values.CommitPiece`."""

    stamps: _Column
    values: tuple[_Column | None, ...]
    span: Span
    vendor: str
    fetched_at: int
    kind: Kind
    basis: Basis
    state: Literal["final", "provisional"]
    holes: tuple[Span, ...] = ()
    keeps: bool = False
    splices: tuple[Splice, ...] = ()


class _Marks(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The stored form of a commit's marks: their spans, and for each the number of its source."""

    starts: _Column
    ends: _Column
    codes: _Column
    sources: tuple[Covered, ...]


class _Commit(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The stored form of a :class:`~..cache.values.Commit`.

    A new field needs a default and a new ``FORMAT``: hosts with an older version then ask for an
    update of this library, instead of reporting a damaged entry.
    """

    pieces: tuple[_Piece, ...] = ()
    marks: _Marks | None = None
    suspects: tuple[BadRow, ...] = ()
    quality: dict[str, Any] | None = None
    judged: Span | None = None
    faults: tuple[Fault, ...] = ()
    has_verdicts: bool = False
    kind: Kind | None = None
    next_due: int | None = None
    compared_at: int | None = None
    lifetime: Lifetime = Lifetime()


class _Packed(msgspec.Struct):
    stamps: _Column
    values: Annotated[list[_Column | None], msgspec.Meta(max_length=len(_COLUMNS))]


class _PackedMarks(msgspec.Struct, array_like=True):
    starts: _Column
    ends: _Column
    codes: _Column


class _Bulk(msgspec.Struct):
    """The columns of a commit; everything else is skipped."""

    pieces: Annotated[list[_Packed], msgspec.Meta(max_length=_MOST_PIECES)] = []
    marks: _PackedMarks | None = None


# Fields that do not leave the host: the state of its own files, and a check made before the commit.
LOCAL_FIELDS = frozenset({"source", "at_generation"})
_PLAIN = tuple(
    field.name
    for field in fields(Commit)
    if field.name not in LOCAL_FIELDS | {"pieces", "marks", "quality"}
)
_OF_PIECE = tuple(field.name for field in fields(CommitPiece) if field.name != "table")
_KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "commit": (Commit, _Commit),
    "told": (ReportedActions, ReportedActions),
    "forgotten": (SamplesForgotten, SamplesForgotten),
    "changed": (SymbolChanges, SymbolChanges),
    "cleared": (SeriesCleared, SeriesCleared),
}
# The last millisecond of the year 9999, and more than any other integer of an entry.
LAST_MS, _MOST = 253_402_300_799_999, 1 << 62
_OF_SERIES, _OF_BOOK = {"commit", "cleared"}, _KINDS.keys() - {"commit"}
# What the values of a hostile entry can raise; nesting that is too deep raises RecursionError.
_WRONG = (ValueError, TypeError, OverflowError, RecursionError)
_NAMES = {value: name for name, (value, _) in _KINDS.items()}


def _python_number(value: Any) -> Any:
    """Convert a NumPy number; msgspec calls this for types that it does not know."""
    return value.item() if isinstance(value, np.generic) else dict(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_python_number)
_bulk = msgspec.msgpack.Decoder(_Bulk)
_decoders = {name: msgspec.msgpack.Decoder(wire) for name, (_, wire) in _KINDS.items()}


def dump(value: EntryValue) -> tuple[str, bytes]:
    """Return the type of an entry and its payload.

    Raises:
        StorageError: The commit has too many bars for one entry.
    """
    payload = _encoder.encode(_wire(value) if isinstance(value, Commit) else value)
    if len(payload) > MOST_BYTES - _DIGEST:
        raise StorageError("the commit is too large for one entry of the log; store fewer bars")
    entry_type = _NAMES[type(value)]
    try:
        _check_size(entry_type, payload)
    except (ValueError, msgspec.DecodeError) as exc:
        raise StorageError(f"the commit does not fit into one entry of the log: {exc}") from exc
    return entry_type, payload


def _check_size(entry_type: str, payload: bytes) -> None:
    """Reject a payload that becomes many objects, before it is decoded."""
    size = len(payload)
    if entry_type == "commit" and size > _MOST_PLAIN:
        bulk = _bulk.decode(payload)
        columns = [column for piece in bulk.pieces for column in (piece.stamps, *piece.values)]
        if bulk.marks is not None:
            columns += [bulk.marks.starts, bulk.marks.ends, bulk.marks.codes]
        size -= sum(len(column.data) for column in columns if column is not None)
    if size > _MOST_PLAIN:
        raise ValueError(f"it has more than {_MOST_PLAIN >> 20} MiB beside its bars")


def seal(name: SeriesName, seq: int, entry_type: str, book: int, payload: bytes) -> bytes:
    """Return the stored form of an entry: a digest of its place and payload, then the payload."""
    return _digest(name, seq, entry_type, book, payload) + payload


def load(
    name: SeriesName, seq: int, entry_type: str, book: int, body: bytes | None, entry_format: int
) -> EntryValue:
    """Return the value of an entry.

    Raises:
        FormatVersionError: A newer version of this library wrote the entry.
        CorruptEntryError: The body is damaged, too large, or belongs to another entry.
    """
    if entry_format > FORMAT or (entry_format == FORMAT and entry_type not in _KINDS):
        raise FormatVersionError(
            f"entry {seq} of {text_of(name)} has format {entry_format}, and this version reads {FORMAT}",
            symbol=name.symbol,
            hint="update this library on this host",
        )
    if body is None:
        raise _corrupt(name, seq, f"its body is larger than {MOST_BYTES >> 20} MiB")
    payload = bytes(body[_DIGEST:])
    if not hmac.compare_digest(
        bytes(body[:_DIGEST]), _digest(name, seq, entry_type, book, payload)
    ):
        raise _corrupt(name, seq, "its digest does not match")
    if entry_type not in (_OF_SERIES if name.timeframe else _OF_BOOK):
        raise _corrupt(name, seq, f"a {entry_type} entry does not belong there")
    try:
        _check_size(entry_type, payload)
        wire = _decoders[entry_type].decode(payload)
        _check_integers(msgspec.msgpack.decode(payload))
        value = _commit_of(wire) if isinstance(wire, _Commit) else wire
        if not all(0 <= fetched_at <= LAST_MS for fetched_at in _times(value)):
            raise ValueError("a time of fetching is outside the calendar")
        return value
    except (*_WRONG, msgspec.DecodeError, IndexError, zlib.error) as exc:
        raise _corrupt(name, seq, str(exc)[:200]) from exc


def _check_integers(document: Any) -> None:
    """Reject integers that no host can store, before anything is written."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, int):
            if abs(value) > _MOST:
                raise ValueError("an integer is out of range")
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value


def _times(value: EntryValue) -> Iterator[int]:
    """Yield the times at which the parts of an entry were fetched."""
    if isinstance(value, Commit):
        yield from (piece.fetched_at for piece in value.pieces)
        yield from (mark.fetched_at for mark in stretches(value.marks).sources)
    elif isinstance(value, ReportedActions):
        yield from (value.answer.fetched_at, *(action.fetched_at for action in value.actions))
    elif isinstance(value, SymbolChanges):
        yield from (change.fetched_at for change in value.changes)


@contextmanager
def applying(name: SeriesName, seq: int) -> Iterator[None]:
    """Treat values that no host can apply, such as a date outside the calendar, as a damaged entry.

    Raises:
        CorruptEntryError: The block failed because of such a value.
    """
    try:
        yield
    except DataError:
        raise
    except _WRONG as exc:
        raise _corrupt(name, seq, str(exc)[:200]) from exc


def text_of(name: SeriesName) -> str:
    """Return the name of a series as errors show it."""
    lane = "@".join(part for part in name[1:] if part)
    return f"{name.symbol} {lane or 'splits and dividends'}"


def _corrupt(name: SeriesName, seq: int, why: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"entry {seq} of {text_of(name)} in the log cannot be used: {why}",
        symbol=name.symbol,
        hint="restore the server from a backup, or clear the series",
    )


def _digest(name: SeriesName, seq: int, entry_type: str, book: int, payload: bytes) -> bytes:
    position = "\0".join((*name, str(seq), entry_type, str(book)))
    return sha256(position.encode("utf-8", "surrogatepass") + b"\0" + payload).digest()


# --- commits ---------------------------------------------------------------------------------


def _wire(commit: Commit) -> _Commit:
    rows = sum(len(piece.table) for piece in commit.pieces)
    if rows > MOST_ROWS:
        raise StorageError(f"{rows:,} bars are too many for one entry of the log; store fewer")
    marks = stretches(commit.marks)
    return _Commit(
        pieces=tuple(map(_wire_piece, commit.pieces)),
        marks=_wire_marks(marks.columns) if len(marks) else None,
        quality=None if commit.quality is None else dict(commit.quality),
        **{name: getattr(commit, name) for name in _PLAIN},
    )


def _wire_piece(piece: CommitPiece) -> _Piece:
    columns = [getattr(piece.table, name) for name in _COLUMNS]
    return _Piece(
        stamps=_packed(piece.table.stamps),
        values=tuple(None if column is None else _packed(column) for column in columns),
        **{name: getattr(piece, name) for name in _OF_PIECE},
    )


def _wire_marks(columns: Columns) -> _Marks:
    starts, ends, codes = (_packed(np.asarray(column, np.int64)) for column in columns[:3])
    return _Marks(starts, ends, codes, tuple(columns.sources))


def _commit_of(wire: _Commit) -> Commit:
    if sum(piece.stamps.rows for piece in wire.pieces) > MOST_ROWS:
        raise ValueError("it declares too many bars")
    marks: Sequence[Covered] = () if wire.marks is None else _marks_of(wire.marks)
    commit = Commit(
        pieces=tuple(map(_piece_of, wire.pieces)),
        marks=marks,
        quality=wire.quality,
        **{name: getattr(wire, name) for name in _PLAIN},
    )
    commit.check()
    return commit


def _piece_of(wire: _Piece) -> CommitPiece:
    rows = wire.stamps.rows
    if len(wire.values) != len(_COLUMNS) or any(c and c.rows != rows for c in wire.values):
        raise ValueError("its columns differ in length")
    if None in wire.values[:-1]:
        raise ValueError("a column is missing")
    values = [None if column is None else _unpack(column) for column in wire.values]
    table = BarTable(_unpack(wire.stamps, is_integer=True), *values)  # type: ignore[arg-type]
    return CommitPiece(table=table, **{name: getattr(wire, name) for name in _OF_PIECE})


def _marks_of(wire: _Marks) -> Stretches[Covered]:
    if wire.starts.rows > _MOST_MARKS:
        raise ValueError("it declares too many marks")
    if not wire.starts.rows == wire.ends.rows == wire.codes.rows:
        raise ValueError("its marks differ in length")
    starts, ends, codes = (
        _unpack(column, is_integer=True) for column in (wire.starts, wire.ends, wire.codes)
    )
    if len(codes) and not (codes.min() >= 0 and codes.max() < len(wire.sources)):
        raise ValueError("a mark has no source")
    return Stretches.of(Columns(starts, ends, codes.astype(np.intp), wire.sources))


# --- columns ---------------------------------------------------------------------------------


def _packed(values: NDArray[Any]) -> _Column:
    """Pack a column without loss: as integer differences if its floats have few decimals."""
    if values.dtype == np.int64:
        return _differences(values, 0)
    for decimals in _DECIMALS if len(values) >= _LEAST else ():
        scale = 10.0**decimals
        with np.errstate(invalid="ignore", over="ignore"):
            whole = np.rint(values * scale)
            is_exact = bool((np.abs(whole) < _EXACT).all() and (whole / scale == values).all())
        if is_exact and not (np.signbit(values) & (values == 0)).any():
            return _differences(whole.astype(np.int64), decimals)
    return _Column(-1, 8, len(values), _deflated(values))


def _differences(whole: NDArray[np.int64], decimals: int) -> _Column:
    """Pack integers as differences, encoded so that small ones of either sign need few bits."""
    steps = whole.copy()
    steps[1:] -= whole[:-1]
    folded = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    if len(folded) and folded.max() < 1 << 32:
        folded = folded.astype(np.uint32)
    return _Column(decimals, folded.dtype.itemsize, len(whole), _deflated(folded))


def _deflated(values: NDArray[Any]) -> bytes:
    """Compress the first bytes of all values, then all second bytes, and so on."""
    if len(values) < _LEAST:
        return values.tobytes()
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1).T
    # Bytes of differences repeat one after the other; longer matches are rare and take time.
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return deflater.compress(planes.tobytes()) + deflater.flush()


def _unpack(column: _Column, *, is_integer: bool = False) -> NDArray[Any]:
    decimals, width, rows, data = column.decimals, column.width, column.rows, column.data
    if not 0 <= rows <= MOST_ROWS or decimals not in (-1, *_DECIMALS) or width not in (4, 8):
        raise ValueError("a column declares an impossible size")
    size = width * rows
    raw = zlib.decompressobj().decompress(data, size + 1) if rows >= _LEAST else data
    if len(raw) != size:
        raise ValueError("a column's size differs from the one that it declares")
    planes = np.frombuffer(raw, np.uint8)
    if rows >= _LEAST:
        planes = np.ascontiguousarray(planes.reshape(width, rows).T).reshape(-1)
    if decimals < 0:
        return planes.view(np.float64).copy()
    folded = planes.view(np.uint32 if width == 4 else np.uint64).astype(np.uint64)
    steps = (folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)
    whole = np.cumsum(steps)
    return whole if is_integer else whole / 10.0**decimals
