"""``DataCache``: the data manager's bars for programs that await Polars frames."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.request.query import distinct_symbols
from ...core.model.time.instant import iso, to_ms
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import collecting_warnings
from ...core.runtime.lru_cache import LruCache
from ...data_manager import DataManager, get_data_manager
from ...errors import DataError, QueryError
from ..calls import in_thread, prices
from ..frames.prices import prices_frame
from ..sources.vendor_sources import recorded_error
from .tiers import COPIED_COLUMNS, TTL_MS, DatabaseTier, Held, RedisTier, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.bars.client import StoredAnswer
    from ...core.clock import Clock
    from ...core.model.request.query import BarsQuery
    from ..frames.frames import pl

__all__ = ["DataCache", "PriceFrames"]


class PriceFrames(dict[str, "pl.DataFrame | DataError"]):
    """The frames of a batch by symbol; a symbol that failed has an error in place of a frame.

    Attributes:
        without_gaps: Symbols whose answers have bars and no gap.
    """

    def __init__(self) -> None:
        super().__init__()
        self.without_gaps: set[str] = set()


class _Question(NamedTuple):
    """A query that tiers may be able to answer.

    Attributes:
        symbol: Symbol as the caller typed it.
        query: Query for the data manager's client.
        shared_key: Key of the answer on the server.
        standing: State of the answer in the manager's store.
        is_new: Whether the store has nothing for the series.
    """

    symbol: str
    query: BarsQuery
    shared_key: str
    standing: StoredAnswer
    is_new: bool

    @property
    def key(self) -> str:
        """Key of the answer in memory, with the digest of the stored data that it comes from."""
        return f"{self.shared_key}:{self.standing.digest}"


class DataCache:
    """The data manager's bars as Polars frames, from its cache or, if missing there, from vendors.

    Given a Redis or Valkey client or a database session, the cache also keeps complete answers for
    at most an hour: in memory, on the server, and in the database tables ``prices_v2`` and
    ``data_freshness``. The tiers are searched in this order, before the data manager is called.

    The key in memory contains the digest of the stored data, so that a change to the store, such as
    a split fetched by another process, is visible in the next call for any range. Server and
    database are used only if the store has nothing for the series; copies in the database have
    fewer digits.

    The constructor does not open a connection and does not need an event loop. The object can be
    used from several threads and event loops at once; an asynchronous client or session only in
    one event loop.

    Args:
        redis_client: Client from the package ``redis`` or ``valkey``, synchronous or asynchronous.
            It must return bytes.
        db_session: A ``Session`` or ``AsyncSession`` of SQLAlchemy for a database with this
            library's tables, used by this object only: it is committed after each use.
        manager: Data manager to use; None means :func:`~onetape.get_data_manager`, called on
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
        range_ = timeframe, start, end
        held, others = await self._look([symbol], *range_)
        if held:
            return held[symbol]
        frame = await prices(self.manager, symbol, *range_)
        await self._keep(others, *range_)
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
        names, range_ = distinct_symbols(symbols), (timeframe, start, end)
        held, others = await self._look(names, *range_)
        lacking = [name for name in names if name not in held]
        frames = PriceFrames()
        if lacking or not names:
            frames = await in_thread(partial(self._fetch, lacking, *range_), looks=True)
        await self._keep(others, *range_)
        frames.without_gaps |= held.keys()  # tiers have complete answers
        found = {**frames, **held}
        frames.clear()
        frames.update((name, found[name]) for name in names)
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

    async def _look(
        self, symbols: Sequence[str], *range_: Any
    ) -> tuple[dict[str, pl.DataFrame], list[_Question]]:
        """Return the frames found in the tiers, and the queries whose answers can be kept there."""
        if self._redis is None and self._database is None:
            return {}, []
        ask = partial(self._questions, symbols, *range_)
        questions = await in_thread(ask, looks=True)
        found = await asyncio.gather(*map(self._held, questions))
        pairs = list(zip(questions, found, strict=True))
        # Callers may change their frames.
        frames = {q.symbol: held.frame.clone() for q, held in pairs if isinstance(held, Held)}
        return frames, [question for question, held in pairs if held is None]

    def _questions(self, symbols: Sequence[str], *range_: Any) -> list[_Question]:
        """Return the queries that are valid; the data manager raises the errors of the others."""
        return [made for symbol in symbols if (made := self._question(symbol, *range_))]

    def _question(self, symbol: str, timeframe: str, start: Any, end: Any) -> _Question | None:
        client = self.manager.client
        try:
            query = client.query(symbol, timeframe, start, end)
            standing = client.standing(query)
            is_new = not standing.is_stored and not client.coverage(client.series_of(query))
        except DataError:
            return None
        bounds = [iso(to_ms(b)) if isinstance(b, datetime) else str(b) for b in (start, end)]
        key = ":".join(("prices", symbol, str(timeframe), *bounds))
        return _Question(symbol, query, key, standing, is_new)

    async def _held(self, question: _Question) -> Held | bool | None:
        """Return the answer from the first tier that has it.

        The result is False if the key on the server belongs to another program.
        """
        if not (question.standing.digest or question.is_new):
            return None  # the store has a part
        held: Held | bool | None = self._memory.get(question.key)
        if isinstance(held, Held) and self._clock().now_ms() < held.until_ms:
            return held
        held = None
        if question.is_new and self._redis is not None:
            held = await self._redis.load(question.shared_key, question.query.timeframe)
        if question.is_new and self._database is not None and held is None:
            held = await self._database.load(question.query)
            if held and self._redis is not None:
                await self._redis.store(question.shared_key, held)
        if isinstance(held, Held):
            self._memory.put(question.key, held, held.frame.estimated_size())
        return held

    def _fetch(self, symbols: Sequence[str], *range_: Any) -> PriceFrames:
        """Return the data manager's frames or errors for some symbols."""
        frames, timeframe = PriceFrames(), Timeframe.parse(range_[0])
        answers = self.manager.get_ohlcv_batch(symbols, *range_, progress=lambda _: None)
        for symbol, frame in answers.items():
            facts = frame.attrs[ATTRS_KEY]
            error = facts.get("error")
            if error is not None and error["reason"] != "no_data":
                frames[symbol] = recorded_error(error, symbol)
                continue
            frames[symbol] = prices_frame(frame, timeframe, is_share=self._is_share(symbol))
            if len(frame) and not facts["gaps_total"]:
                frames.without_gaps.add(symbol)
        return frames

    def _is_share(self, symbol: str) -> bool:
        return self.manager.provider_selector.instrument(symbol).asset_class == "stock"

    # --- writing ---------------------------------------------------------------------------

    async def _keep(self, questions: Sequence[_Question], *range_: Any) -> None:
        """Put the complete answers that the store now has into all tiers."""
        if questions:
            read = await in_thread(
                lambda: [self._stored(question.symbol, *range_) for question in questions],
                looks=True,
            )
            await asyncio.gather(*(self._put(*answer) for answer in read if answer))

    def _stored(
        self, symbol: str, *range_: Any
    ) -> tuple[_Question, Held, list[dict[str, Any]]] | None:
        """Return a stored answer and its rows for the database; None unless it is complete."""
        before = self._question(symbol, *range_)
        if before is None or not (before.standing.digest and before.standing.is_whole):
            return None
        is_share, is_copied = self._is_share(symbol), self._database is not None
        columns = COPIED_COLUMNS[: 3 if is_share else 1] if is_copied else ()
        with collecting_warnings():
            try:
                frame = self.manager.get_ohlcv(symbol, *range_, offline=True, columns=columns)
            except DataError:
                return None
        after = self._question(symbol, *range_)
        if after is None or after.key != before.key:
            return None  # another process has just changed the series
        until_ms = min(after.standing.until_ms, self._clock().now_ms() + TTL_MS)
        shaped = prices_frame(frame, after.query.timeframe, is_share=is_share)
        return after, Held(shaped, until_ms), rows_of(frame, shaped) if is_copied else []

    async def _put(self, question: _Question, held: Held, rows: Sequence[dict[str, Any]]) -> None:
        """Put an answer into memory and on the server, and copy its rows to the database."""
        self._memory.put(question.key, held, held.frame.estimated_size())
        if self._redis is not None:
            await self._redis.store(question.shared_key, held)
        if self._database is not None and rows:
            await self._database.store(question.query, rows)
