"""Converts price frames to the bytes stored on a Redis or Valkey server; pickle is never used."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from ..bars.client import StoredAnswer
from ..errors import CorruptEntryError
from ..layer.frames import pl  # its error names the missing extra
from ..model.instant import SECOND_MS
from ..model.timeframe import Timeframe
from .frames import empty_prices

__all__ = ["MOST_BYTES", "MOST_UNPACKED", "TTL_MS", "HeldPrices", "is_ours", "packed", "unpacked"]

MAGIC = b"onetape-prices-1\n"
TTL_MS = 3600 * SECOND_MS
# Larger values are not written, and not read either.
MOST_BYTES = 8 << 20
# Larger frames are not written, and values that would be larger in memory are not unpacked.
MOST_UNPACKED = 256 << 20
_LENGTH, _SUM, _VALUE_BYTES = 4, 16, 8


class HeldPrices(NamedTuple):
    """A frame in a tier, with the data to decide whether it is still right.

    Attributes:
        frame: Frame in the format of :func:`.prices_frame`.
        series: Series and kind of the bars; see :class:`.StoredAnswer`.
        digest: Digest of the stored data from which the bars come; empty if unknown.
        until_ms: Time from which a vendor could change the bars.
    """

    frame: pl.DataFrame
    series: str
    digest: str
    until_ms: int

    def is_right(self, standing: StoredAnswer, now_ms: int) -> bool:
        """Return whether the frame contains the bars that the data manager would return.

        If the manager's store can answer, the bars must come from the same data. If the store has
        nothing for the range, they may come from another store, as long as they cannot have
        changed.
        """
        if standing.digest:
            return self.digest == standing.digest
        is_of_series = self.series.startswith(standing.series)
        # A writer whose clock is ahead, or another program, cannot extend the time.
        is_current = now_ms < self.until_ms <= now_ms + TTL_MS
        return not standing.is_stored and is_of_series and is_current


def packed(key: str, held: HeldPrices) -> bytes:
    """Return the value to store under ``key``.

    The value consists of a magic number, the checksum of the rest, a header with the key and the
    digest, and the frame as Parquet.
    """
    body = BytesIO()
    held.frame.write_parquet(body, compression="zstd", statistics=False)
    facts = {"series": held.series, "digest": held.digest, "until": held.until_ms}
    text = json.dumps({"key": key, **facts, "rows": len(held.frame)}).encode()
    rest = b"".join((len(text).to_bytes(_LENGTH), text, body.getvalue()))
    return MAGIC + _sum(rest) + rest


def is_ours(value: Any) -> bool:
    """Return whether a value begins like the values from :func:`packed`, for any key."""
    return isinstance(value, bytes) and value.startswith(MAGIC)


def unpacked(key: str, value: Any, timeframe: Timeframe) -> HeldPrices:
    """Return the content of a value that was stored under ``key``.

    Raises:
        CorruptEntryError: The value was not made by :func:`packed` for this key; the message names
            the key.
    """
    try:
        return _unpack(key, value, timeframe)
    except _reading_errors() as error:
        text = str(error) if isinstance(error, CorruptEntryError) else type(error).__name__
        raise CorruptEntryError(f"the value of {key} cannot be used: {text}") from error


def _unpack(key: str, value: Any, timeframe: Timeframe) -> HeldPrices:
    if not is_ours(value):
        raise CorruptEntryError("it is not one of this library's")
    if len(value) > MOST_BYTES:
        raise CorruptEntryError(f"it is too large: {len(value):,} bytes")
    begin = len(MAGIC) + _SUM
    if value[len(MAGIC) : begin] != _sum(value[begin:]):
        raise CorruptEntryError("it is damaged")
    end = begin + _LENGTH + int.from_bytes(value[begin : begin + _LENGTH])
    header, body = json.loads(value[begin + _LENGTH : end]), value[end:]
    if header["key"] != key:
        raise CorruptEntryError(f"it belongs to {str(header['key'])[:80]!r}")
    schema = pl.read_parquet_schema(BytesIO(body))
    if (list(schema), list(schema.values())) not in _columns(timeframe):
        raise CorruptEntryError("it has unexpected columns")
    rows: int = pl.scan_parquet(BytesIO(body)).select(pl.len()).collect().item()
    if (size := rows * len(schema) * _VALUE_BYTES) > MOST_UNPACKED:
        raise CorruptEntryError(f"it would take {size:,} bytes of memory")
    frame = pl.read_parquet(BytesIO(body))
    if len(frame) != header["rows"]:
        raise CorruptEntryError("its number of rows differs from the one in its header")
    return HeldPrices(frame, str(header["series"]), str(header["digest"]), int(header["until"]))


def _reading_errors() -> tuple[type[BaseException], ...]:
    """Return the errors from reading arbitrary bytes; a Polars panic is not an ``Exception``."""
    of_polars = pl.exceptions.PolarsError, pl.exceptions.PanicException
    return (
        CorruptEntryError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
        OSError,
        *of_polars,
    )


@lru_cache(64)
def _columns(timeframe: Timeframe) -> list[tuple[list[str], list[Any]]]:
    """Return the combinations of column names and column types that a frame may have."""
    empty = empty_prices(timeframe)
    whole = empty.with_columns(pl.col("volume").cast(pl.Float64))
    return [(frame.columns, frame.dtypes) for frame in (empty, whole)]


def _sum(rest: bytes) -> bytes:
    return hashlib.blake2b(rest, digest_size=_SUM).digest()
