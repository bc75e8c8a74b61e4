"""``get_prices``: the data manager's bars for programs that await Polars frames."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..data_manager import DataManager, get_data_manager
from ..errors import CorruptEntryError, DataError, QueryError
from ..lru_cache import LruCache
from ..model.caller import collecting_warnings
from ..model.instant import from_ms, iso, to_ms
from ..model.provenance import ATTRS_KEY
from ..model.query import distinct_symbols
from ..model.timeframe import Timeframe
from ..sources.vendor_source import recorded_error
from .calls import in_thread, prices
from .copies import COPIED_COLUMNS, copied_frame, copied_until, is_short, rows_of
from .frames import has_inner_gap, prices_frame
from .tiers import DatabaseTier, RedisTier
from .values import MOST_BYTES, MOST_UNPACKED, TTL_MS, HeldPrices, is_ours, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..bars.client import StoredAnswer
    from ..clock import Clock
    from ..layer.frames import pl
    from ..model.query import BarsQuery

__all__ = ["DataCache", "PriceFrames"]


class PriceFrames(dict[str, "pl.DataFrame | DataError"]):
    """The frames of a batch by symbol; a symbol that failed has an error in place of a frame.

    Attributes:
        without_gaps: Symbols whose answers have no gap between their first and last bar.
    """

    def __init__(self) -> None:
        super().__init__()
        self.without_gaps: set[str] = set()


_log = logging.getLogger("onetape.v2")


class _Question(NamedTuple):
    """A query that tiers may be able to answer.

    Attributes:
        symbol: Symbol as the caller typed it.
        query: Query for the data manager's client.
        key: Key of the answer in memory and on the server.
        standing: State of the answer in the manager's store, with which copies are compared.
    """

    symbol: str
    query: BarsQuery
    key: str
    standing: StoredAnswer


class DataCache:
    """The data manager's bars as Polars frames, from its cache or, if missing there, from vendors.

    Given a Redis or Valkey client or a database session, the cache also keeps complete answers in
    further tiers: in memory, on the server, and in the database tables ``prices_v2`` and
    ``data_freshness``. The tiers are searched in this order, before the data manager is called.

    An answer from a tier is used only if it matches the manager's store, so a change to the store,
    by any process, is visible in the next call. If the store contains nothing for the range, an
    answer from another machine is used, for at most an hour. Copies in the database have fewer
    digits, and are used only in that case.

    The constructor does not open a connection and does not need an event loop. The object can be
    used from several threads and event loops at once. An asynchronous client or session is used
    only in one event loop; the other loops skip it.

    Args:
        redis_client: Client from the package ``redis`` or ``valkey``, synchronous or asynchronous.
            It must return bytes.
        db_session: A ``Session`` or ``AsyncSession`` of SQLAlchemy for a database with this
            library's tables, used by this object only: it is committed after each use.
        manager: Data manager to use; None means :func:`~onetape.data.get_data_manager`, called on
            first use.

    Attributes:
        max_memory_mb: Size limit of the frames in memory, in MiB.

    Raises:
        QueryError: The client, session or manager has an unsupported type.
        MissingExtraError: A session is given, and the extra ``db`` is not installed.
    """

    max_memory_mb = 512

    def __init__(
        self,
        redis_client: Any = None,
        db_session: Any = None,
        *,
        manager: DataManager | None = None,
    ) -> None:
        if manager is not None and not isinstance(manager, DataManager):
            raise QueryError(f"manager is a {type(manager).__name__}, not a data manager")
        self._given = manager
        self._redis = None if redis_client is None else RedisTier(redis_client, self._clock)
        self._database = None if db_session is None else DatabaseTier(db_session, self._clock)
        self._has_tiers = redis_client is not None or db_session is not None
        self._memory = LruCache(self.max_memory_mb << 20)

    def __repr__(self) -> str:
        return "<DataCache>" if self._given is None else f"<DataCache of {self._given!r}>"

    @property
    def manager(self) -> DataManager:
        """The data manager in use."""
        return self._given or get_data_manager()

    @property
    def memory_cache_size(self) -> float:
        """Size of the frames in memory, in MiB."""
        return self._memory.size / (1 << 20)

    def _clock(self) -> Clock:
        return self.manager.client.clock

    async def get_prices(
        self, symbol: str, timeframe: str, start: date | datetime, end: date | datetime
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive, as a :func:`.prices_frame`.

        Any part of a range that was fetched before is answered from the cache. If no bars
        exist, the frame is empty. A tier that fails is skipped, with a warning in the log.

        Raises:
            DataError: As for ``get_ohlcv``.

        Warns:
            IncompleteDataWarning: Bars are missing.
        """
        frames, others = await self._from_tiers([symbol], timeframe, start, end)
        if frames:
            return frames[symbol]
        frame = await prices(self.manager, symbol, timeframe, start, end)
        await self._share(others, start, end)
        return frame

    async def get_prices_batch(
        self,
        symbols: Sequence[str],
        timeframe: str,
        start: date | datetime,
        end: date | datetime,
    ) -> PriceFrames:
        """Return each symbol's frame, or its error, in one call.

        Args:
            symbols: Symbols, each once in the result.
            timeframe, start, end: See :meth:`get_prices`.

        Raises:
            QueryError: An argument is invalid; a string is not a list of symbols.
        """
        manager, names = self.manager, distinct_symbols(symbols)
        held, others = await self._from_tiers(names, timeframe, start, end)
        lacking = [name for name in names if name not in held] if held else names

        def ask() -> PriceFrames:
            frames = manager.get_ohlcv_batch(lacking, timeframe, start, end, progress=_ignore)
            return _shape(manager, frames, Timeframe.parse(timeframe))

        fetched = await in_thread(ask, looks=True) if lacking or not names else PriceFrames()
        await self._share(others, start, end)
        if not held:
            return fetched
        frames = PriceFrames()
        frames.update((name, held.get(name, fetched.get(name))) for name in names)
        frames.without_gaps = fetched.without_gaps | held.keys()  # tiers have complete answers
        return frames

    async def clear(self, symbol: str | None = None) -> None:
        """Delete the answers in memory and on the server, for one symbol or for all.

        Only answers to requests with this spelling of the symbol are deleted. The store of the data
        manager and the tables in the database are not changed.

        Raises:
            DataError: The server failed.
        """
        prefix = "prices:" if symbol is None else f"prices:{symbol}:"
        self._memory.drop_where(lambda key, _: key.startswith(prefix))
        if self._redis is not None:
            await self._redis.clear(prefix)

    # --- reading ---------------------------------------------------------------------------

    async def _from_tiers(
        self, symbols: Sequence[str], timeframe: str, start: Any, end: Any
    ) -> tuple[dict[str, pl.DataFrame], list[_Question]]:
        """Return the frames found in the tiers, and the queries whose answers can be stored there."""
        frames: dict[str, pl.DataFrame] = {}
        end_of_key = _range_text(timeframe, start, end)
        # A key that cannot be encoded would count as a failure of the server.
        is_text = all(isinstance(symbol, str) and symbol.isprintable() for symbol in symbols)
        if not (self._has_tiers and is_text and end_of_key):
            return frames, []
        keys = {symbol: f"prices:{symbol}:{end_of_key}" for symbol in symbols}
        ask = in_thread(
            lambda: [self._query(*pair, timeframe, start, end) for pair in keys.items()], looks=True
        )
        if self._redis is None or all(self._memory.get(key) for key in keys.values()):
            questions, values = await ask, [None] * len(keys)
        else:  # the store is looked at while the server is on its way
            questions, *values = await asyncio.gather(ask, *map(self._value, keys.values()))
        left = []
        for question, value in zip(questions, values, strict=True):
            if question is None:
                continue  # the data manager raises the error
            held = await self._held_answer(question, value)
            if held:
                frames[question.symbol] = held.frame.clone()
            elif held is None:
                left.append(question)
        return frames, left

    def _query(self, symbol: str, key: str, *range_: Any) -> _Question | None:
        """Return a query with the state of its answer in the store; None if it is invalid."""
        client = self.manager.client
        try:
            query = client.query(symbol, *range_)
            return _Question(symbol, query, key, client.standing(query))
        except DataError:
            return None

    async def _value(self, key: str) -> Any:
        """Return the server's value for a key, unless the key is in memory."""
        if self._redis is None or self._memory.get(key) is not None:
            return None
        return await self._redis.get(key)

    async def _held_answer(
        self, question: _Question, value: Any
    ) -> HeldPrices | Literal[False] | None:
        """Return the answer from the first tier that has the right one.

        The result is False if the key belongs to another program, whose value is not replaced.
        """
        key, now_ms = question.key, self._clock().now_ms()
        held: HeldPrices | None = self._memory.get(key)
        if held is not None:
            if held.is_right(question.standing, now_ms):
                return held
            self._memory.drop(key)
            value = await self._value(key)
        if value is not None:
            try:
                held = unpacked(key, value, question.query.timeframe)
            except CorruptEntryError as error:
                _log.warning("Redis: %s", error)
                if not is_ours(value):
                    return False
            else:
                if held.is_right(question.standing, now_ms):
                    self._memory.put(key, held, held.frame.estimated_size())
                    return held
        held = await self._copied_bars(question, now_ms)
        if held is not None:
            await self._put(question, held)
        return held

    async def _copied_bars(self, question: _Question, now_ms: int) -> HeldPrices | None:
        """Return the bars from the database if they are complete and no split can have followed; else None.

        The database is read only if the store has nothing for the range.
        """
        query, standing = question.query, question.standing
        if self._database is None or standing.is_stored or not _is_copied(query):
            return None
        first, last = (_utc(ms) for ms in (query.span.start, query.span.end - 1))
        series = query.instrument.symbol, query.timeframe.label
        rows = await self._database.load(*series, first, last)
        until_ms = copied_until(query, rows, now_ms) if rows else 0
        if now_ms >= until_ms:
            return None
        try:
            frame = await in_thread(lambda: copied_frame(query, rows, now_ms), looks=True)
        except DataError as error:
            _log.warning("Database: %s %s: %s", *series, error)
            return None
        return None if frame is None else HeldPrices(frame, standing.series, "", until_ms)

    # --- writing ---------------------------------------------------------------------------

    async def _share(self, questions: Sequence[_Question], start: Any, end: Any) -> None:
        """Put the answers that the store now has into all tiers."""
        if not questions:
            return
        range_ = questions[0].query.timeframe.label, start, end
        read = await in_thread(lambda: [self._read(q, *range_) for q in questions], looks=True)
        answers = [
            (question, answer) for question, answer in zip(questions, read, strict=True) if answer
        ]
        await asyncio.gather(*(self._put(question, *answer) for question, answer in answers))

    def _read(
        self, question: _Question, timeframe: str, start: Any, end: Any
    ) -> tuple[HeldPrices, list[dict[str, Any]]] | None:
        """Return the stored answer and its rows to copy to the database; None unless it is complete."""
        symbol, is_share = question.symbol, question.query.instrument.asset_class == "stock"
        columns = COPIED_COLUMNS[: 3 if is_share else 1] if self._database is not None else ()
        before = self._query(symbol, question.key, timeframe, start, end)
        if before is None or not (before.standing.digest and before.standing.is_whole):
            return None
        with collecting_warnings():
            try:
                frame = self.manager.get_ohlcv(
                    symbol, timeframe, start, end, offline=True, columns=columns
                )
            except DataError:
                return None
        after = self._query(symbol, question.key, timeframe, start, end)
        if after is None or after.standing.digest != before.standing.digest:
            return None  # another process has just changed the series
        shaped = prices_frame(frame, question.query.timeframe, is_share=is_share)
        standing = after.standing
        until_ms = min(standing.until_ms, self._clock().now_ms() + TTL_MS)
        rows = rows_of(frame) if columns and _is_copied(question.query) else []
        return HeldPrices(shaped, standing.series, standing.digest, until_ms), rows

    async def _put(
        self, question: _Question, held: HeldPrices, rows: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Put an answer into memory and on the server, and copy its rows to the database."""
        key, query, now_ms = question.key, question.query, self._clock().now_ms()
        self._memory.put(key, held, held.frame.estimated_size())
        is_sent = held.until_ms > now_ms and held.frame.estimated_size() < MOST_UNPACKED // 2
        if self._redis is not None and is_sent:
            value = await in_thread(lambda: packed(key, held), looks=True)
            if len(value) <= MOST_BYTES:
                await self._redis.set(key, value, held.until_ms - now_ms)
        if self._database is not None and rows:
            first, last, now = (_utc(ms) for ms in (query.span.start, query.span.end - 1, now_ms))
            series = query.instrument.symbol, query.timeframe.label
            await self._database.store(*series, first, last, rows, now)


def _is_copied(query: BarsQuery) -> bool:
    """Return whether the answer to a query is to be copied to the database."""
    return query.provider is None and is_short(query)


def _utc(ms: int) -> datetime:
    return from_ms(ms).replace(tzinfo=UTC)


def _range_text(timeframe: Any, *bounds: Any) -> str | None:
    """Return the last part of a key, which names the range; None if a bound is not a date or an instant."""
    try:
        if not all(isinstance(bound, date) and bound == bound for bound in bounds):  # not a time
            return None
        texts = [
            iso(to_ms(bound)) if isinstance(bound, datetime) else str(bound) for bound in bounds
        ]
    except (OverflowError, ValueError):
        return None
    return ":".join((str(timeframe), *texts))


def _ignore(_: object) -> None:
    """Show no progress."""


def _shape(
    manager: DataManager, frames: dict[str, pd.DataFrame], timeframe: Timeframe
) -> PriceFrames:
    """Return a batch's frames in the format of :func:`.prices_frame`, or errors in their place."""
    shaped_frames, like = PriceFrames(), None
    for symbol, frame in frames.items():
        provenance = frame.attrs[ATTRS_KEY]
        error = provenance.get("error")
        if error is not None and error["reason"] != "no_data":
            shaped_frames[symbol] = recorded_error(error, symbol)
            continue
        is_share = manager.provider_selector.instrument(symbol).asset_class == "stock"
        shaped = prices_frame(frame, timeframe, is_share=is_share, like=like)
        shaped_frames[symbol], like = shaped, (frame, shaped)
        if len(frame) and not has_inner_gap(provenance):
            shaped_frames.without_gaps.add(symbol)
    return shaped_frames
