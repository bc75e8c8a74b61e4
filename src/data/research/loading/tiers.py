"""A program's Redis or Valkey client and its database session as tiers, skipped while they fail."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ...core.calendars.calendar import day_span, session_date
from ...core.calendars.grid import grid_for
from ...core.clock import Clock
from ...core.config.credentials import note_key
from ...core.interface import Threads
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.market.bars import PRICES
from ...core.model.time.instant import SECOND_MS, from_ms, to_ms
from ...errors import CorruptEntryError, DataError, QueryError
from ..calls import in_thread, own_call
from ..frames.frames import pl  # its error names the missing extra
from ..frames.prices import checked_prices, empty_prices
from .failover import Guard

if TYPE_CHECKING:
    import pandas as pd

    from ...core.model.request.query import BarsQuery, ExtraColumn
    from ...core.model.time.timeframe import Timeframe

__all__ = ["COPIED_COLUMNS", "TTL_MS", "DatabaseTier", "Held", "RedisTier", "rows_of"]

TTL_MS = 3600 * SECOND_MS
# Extra columns of ``get_ohlcv`` that ``prices_v2`` has as well; the last two are for shares only.
COPIED_COLUMNS: tuple[ExtraColumn, ...] = ("source", "dividend", "split")
# Seconds to wait for a server, and for a database that has accepted the connection.
_AWAY_S, _WORK_S = 0.05, 5.0
_AT_ONCE = 8
_MAGIC, _DIGEST_BYTES, _STAMP_BYTES, _VALUE_BYTES = b"onetape-prices-3\n", 32, 8, 8
# Bounds of a value on the server, and of a frame in memory, in bytes.
_MOST_BYTES, _MOST_UNPACKED = 8 << 20, 256 << 20
# The table has four decimal places. Bars are not copied if a price would change by more than the
# fraction, or a number is too large, or there are too many for the database's time limit.
_DIGITS, _MOST_ROUNDED, _LARGEST, _LARGEST_ACTION, _MOST_ROWS = 4, 1e-3, 1e8, 1e4, 50_000
_log = logging.getLogger("onetape.v2")


class Held(NamedTuple):
    """A frame in a tier, with the UTC millisecond until which it may be used."""

    frame: pl.DataFrame
    until_ms: int


class _Tier:
    """A client passed by the program, which is skipped after a failure; see :class:`.Guard`.

    Thread-safe, except for asynchronous clients: these belong to one event loop.

    Args:
        name: Name for errors and the log.
        clock: Function that returns the clock.
        is_async: Whether the client is asynchronous.
        at_once: Number of calls that may run at the same time.
    """

    def __init__(
        self, name: str, clock: Callable[[], Clock], *, is_async: bool, at_once: int
    ) -> None:
        self._name, self._clock, self._is_async, self._at_once = name, clock, is_async, at_once
        self._guard, self._warned = Guard(clock), 0.0
        self._threads = Threads(f"onetape-{name.lower()}", at_once)
        self._slots: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()

    async def use(self, work: Callable[[], Any], limit_s: float | None = None) -> Any:
        """Call the client and return the result; None if it is skipped or fails, which is logged.

        Args:
            work: Function that calls the client; it returns an awaitable if the client is
                asynchronous.
            limit_s: Seconds after which the call counts as failed; None means 0.05.
        """
        if self._guard.wait_s():
            return None
        try:
            with self._guard.attempt():
                return await self.once(work, limit_s or _AWAY_S)
        except DataError as error:
            if self._guard.circuit.until_s != self._warned:  # once for all calls under way
                self._warned = self._guard.circuit.until_s
                _log.warning("%s; not used for the next %.0f s", error, self._guard.wait_s())
            return None

    async def once(self, work: Callable[[], Any], limit_s: float = _WORK_S) -> Any:
        """Call the client even if it is being skipped.

        Raises:
            DataError: The client failed, in whatever way.
        """
        return await own_call(self._name, partial(self._run, work), limit_s)

    async def _run(self, work: Callable[[], Any]) -> Any:
        # A call that is given up keeps its slot until it ends: a session allows one at a time.
        slots = asyncio.Semaphore(self._at_once)
        async with self._slots.setdefault(asyncio.get_running_loop(), slots):
            try:
                if self._is_async:
                    return await work()
                return await asyncio.wrap_future(self._threads.submit(work))
            except Exception as error:
                if str(error).startswith("WRONGTYPE"):  # another program's list, say
                    return b""
                raise


class RedisTier(_Tier):
    """A Redis or Valkey client; only GET, SET PX, SCAN and DEL are sent, and pickle is never used.

    Args:
        client: Client of the packages ``redis`` or ``valkey``, asynchronous or not.
        clock: Function that returns the clock.

    Raises:
        QueryError: The object is not such a client, or the client decodes responses to text.
    """

    def __init__(self, client: Any, clock: Callable[[], Clock]) -> None:
        for name in ("get", "set", "scan", "delete"):
            if not callable(getattr(client, name, None)):
                raise QueryError(f"redis_client is a {type(client).__name__} without {name}()")
        pool = getattr(client, "connection_pool", None)
        options = getattr(pool, "connection_kwargs", None) or {}
        if options.get("decode_responses"):
            raise QueryError(
                "redis_client decodes responses to text, but bars are bytes",
                hint="make a client without decode_responses",
            )
        _hide(options.get("password"))
        is_async = inspect.iscoroutinefunction(client.get) or hasattr(client, "__aenter__")
        super().__init__("Redis", clock, is_async=is_async, at_once=_AT_ONCE)
        self._client = client

    async def load(self, key: str, timeframe: Timeframe) -> Held | Literal[False] | None:
        """Return the frame under a key, or None; False if the value belongs to another program."""
        value = await self.use(partial(self._client.get, key))
        if value is None:
            return None
        if not _is_ours(value):
            _log.warning("Redis: the value of %s is not one of this library's", key)
            return False
        now_ms = self._clock().now_ms()
        try:
            held = await in_thread(partial(_unpacked, key, value, timeframe), looks=True)
        except CorruptEntryError as error:
            _log.warning("Redis: the value of %s cannot be used: %s", key, error)
            return None
        # A machine whose clock is ahead cannot extend the time.
        return held if now_ms < held.until_ms <= now_ms + TTL_MS else None

    async def store(self, key: str, held: Held) -> None:
        """Store a frame under a key until its time, unless it is too large."""
        value = await in_thread(partial(_packed, key, held), looks=True)
        left_ms = held.until_ms - self._clock().now_ms()
        if len(value) <= _MOST_BYTES and left_ms > 0:
            await self.use(partial(self._client.set, key, value, px=left_ms))

    async def clear(self, prefix: str) -> None:
        """Delete this library's values whose keys begin with ``prefix``.

        Raises:
            DataError: The server failed.
        """
        pattern, cursor = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + "*", 0
        while True:
            scan = partial(self._client.scan, cursor, match=pattern, count=500, _type="string")
            cursor, keys = await self.once(scan)
            for key in keys:
                if _is_ours(await self.once(partial(self._client.get, key))):
                    await self.once(partial(self._client.delete, key))
            if not int(cursor):
                return


class DatabaseTier(_Tier):
    """A SQLAlchemy session, asynchronous or not, with the tables of :mod:`.db.prices`.

    Args:
        session: The session. It is committed after each use, and rolled back if that fails.
        clock: Function that returns the clock.

    Raises:
        QueryError: The object is not a session.
        MissingExtraError: The extra ``db`` is not installed.
    """

    def __init__(self, session: Any, clock: Callable[[], Clock]) -> None:
        from ...db import prices  # only programs with a database have the extra
        from ...db.core.sessions import committed

        is_async = callable(getattr(session, "run_sync", None))
        if not is_async and not callable(getattr(session, "execute", None)):
            raise QueryError(f"db_session is a {type(session).__name__}, not a session")
        _hide(getattr(getattr(getattr(session, "bind", None), "url", None), "password", None))
        super().__init__("Database", clock, is_async=is_async, at_once=1)
        self._session, self._tables, self._committed = session, prices, committed

    async def load(self, query: BarsQuery) -> Held | None:
        """Return the copied bars of a range, or None; see :func:`_copied`."""
        rows = await self._in_transaction(self._tables.copied_prices, *_series(query))
        try:
            now_ms = self._clock().now_ms()
            return await in_thread(partial(_copied, query, rows or (), now_ms), looks=True)
        except DataError as error:
            _log.warning("Database: %s", error)
            return None

    async def store(self, query: BarsQuery, rows: Sequence[dict[str, Any]]) -> None:
        """Copy the bars of a range, as returned by :func:`rows_of`, and update ``data_freshness``."""
        now = _utc(self._clock().now_ms())
        await self._in_transaction(self._tables.copy_prices, *_series(query), rows, now)

    async def _in_transaction(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Connect, with a short time limit, and then do the work in one transaction."""
        if await self.use(partial(self._run_sync, lambda session: bool(session.connection()))):
            return await self.use(partial(self._run_sync, work, *arguments), _WORK_S)
        return None

    def _run_sync(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._is_async:
            return self._session.run_sync(self._committed, work, *arguments)
        return self._committed(self._session, work, *arguments)


def rows_of(frame: pd.DataFrame, shaped: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of ``prices_v2`` for some bars, or none if the table cannot hold them.

    It cannot if a bar may still change, if a volume is missing, if four decimal places are too few
    for a price, or if a number is too large.

    Args:
        frame: Frame of ``get_ohlcv`` with :data:`COPIED_COLUMNS`.
        shaped: The same bars as a :func:`.prices_frame`.
    """
    facts, is_share = frame.attrs[ATTRS_KEY], "split" in frame
    prices, volume = frame[list(PRICES)].to_numpy(), shaped["volume"].cast(pl.Float64)
    is_final = all(span["state"] in ("final", "empty") for span in facts["spans"])
    is_rounded = np.abs(prices.round(_DIGITS) - prices) > prices * _MOST_ROUNDED
    is_large = (prices >= _LARGEST).any() or (volume.abs() >= 2.0**63).any()
    if is_share:
        is_large |= (frame[["split", "dividend"]] >= _LARGEST_ACTION).any(axis=None)
    if not is_final or is_rounded.any() or is_large or volume.null_count():
        return []
    time = shaped.columns[0]
    stamps = pl.col(time).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp")
    copied = shaped.select(stamps, pl.exclude(time)).with_columns(
        volume=volume.round().cast(pl.Int64),
        data_source=pl.Series(frame["source"].tolist()),
        split_factor=pl.Series(frame["split"].replace(0.0, 1.0)) if is_share else pl.lit(1.0),
        dividend=pl.Series(frame["dividend"]) if is_share else pl.lit(0.0),
        quality_score=pl.lit(facts["quality"]["score"] or 1.0),
        is_interpolated=pl.lit(False),
    )
    return copied.to_dicts() if len(copied) <= _MOST_ROWS else []


def _series(query: BarsQuery) -> tuple[str, str, datetime, datetime]:
    first, last = (_utc(ms) for ms in (query.span.start, query.span.end - 1))
    return query.instrument.symbol, query.timeframe.label, first, last


def _copied(query: BarsQuery, rows: Sequence[Any], now_ms: int) -> Held | None:
    """Return copied bars; None unless every expected bar was copied in the last hour.

    Those of a share must also have been copied on this date at its venue, because it may have been
    split since then.

    Raises:
        QualityError, ResponseFormatError: The rows are not bars of this range.
    """
    stamps = np.array([to_ms(row.timestamp) for row in rows], dtype=np.int64)
    expected = grid_for(query.instrument, query.timeframe).opens(query.span)
    if not rows or len(np.setdiff1d(expected, stamps)):
        return None
    created_ms = min(0 if row.created_at is None else to_ms(row.created_at) for row in rows)
    until_ms = created_ms + TTL_MS
    if query.instrument.asset_class == "stock":
        today = day_span(query.instrument, session_date(query.instrument, now_ms))
        until_ms = min(until_ms, today.end) if created_ms >= today.start else 0
    if now_ms >= until_ms:
        return None
    columns = {name: [getattr(row, name) for row in rows] for name in rows[0]._fields[1:-1]}
    frame = pl.DataFrame({"timestamp": pl.Series(stamps).cast(pl.Datetime("ms")), **columns})
    bounds = from_ms(query.span.start), from_ms(query.span.end - 1)
    symbol = query.instrument.symbol
    source = f"prices_v2 for {symbol}"
    checked = checked_prices(frame, symbol, query.timeframe, bounds, source, now_ms)
    return Held(checked, until_ms)


def _packed(key: str, held: Held) -> bytes:
    """Return the value of a frame: a magic number, a digest, the time until which it holds, Parquet.

    The digest is of the key and all that follows.
    """
    body = BytesIO()
    held.frame.write_parquet(body, compression="zstd", statistics=False)
    rest = held.until_ms.to_bytes(_STAMP_BYTES) + body.getvalue()
    return _MAGIC + sha256(key.encode() + rest).digest() + rest


def _is_ours(value: Any) -> bool:
    return isinstance(value, bytes) and value.startswith(_MAGIC)


def _unpacked(key: str, value: bytes, timeframe: Timeframe) -> Held:
    """Return the frame of a value from :func:`_packed`, after checking its size.

    Raises:
        CorruptEntryError: The value is too large, or not such a frame.
    """
    if len(value) > _MOST_BYTES:
        raise CorruptEntryError(f"it has {len(value):,} bytes, more than {_MOST_BYTES:,}")
    head = len(_MAGIC) + _DIGEST_BYTES
    rest = value[head:]
    if sha256(key.encode() + rest).digest() != value[len(_MAGIC) : head]:
        raise CorruptEntryError("it does not match its digest")
    body = BytesIO(rest[_STAMP_BYTES:])
    try:
        rows: int = pl.scan_parquet(body).select(pl.len()).collect().item()
        schema = pl.read_parquet_schema(body)
        size = rows * len(schema) * _VALUE_BYTES
        usual = empty_prices(timeframe).schema
        if size > _MOST_UNPACKED or schema | {"volume": usual["volume"]} != usual:
            raise CorruptEntryError(f"it has {size:,} bytes in the columns {', '.join(schema)}")
        return Held(pl.read_parquet(body), int.from_bytes(rest[:_STAMP_BYTES]))
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise CorruptEntryError(f"it is damaged ({type(error).__name__})") from error


def _utc(ms: int) -> datetime:
    return from_ms(ms).replace(tzinfo=UTC)


def _hide(secret: Any) -> None:
    """Mask a client's password in all texts from here on."""
    if isinstance(secret, str) and secret:
        with suppress(ValueError):
            note_key(secret)
