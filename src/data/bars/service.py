"""Answer one question for bars: from the store where held, from vendors where not."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from ..cache.store import BarStore
from ..clock import Clock
from ..model.query import BarsQuery
from ..model.rules import ValidationRules
from ..model.series import SeriesKey
from ..net.locks import SeriesLocks
from .answer.answer import Answer, frame_of
from .answer.reader import Reader
from .ingest.commit import Expiry
from .locks import FindLeases, Turns
from .lookup.answer_cache import AnswerCache
from .lookup.cache_lookup import CacheLookup
from .observer import Call, Observer

if TYPE_CHECKING:
    import pandas as pd

    from ..model.timeframe import Timeframe
    from .fetch.miss import MissHandler
    from .selection.candidates import Selector


class BarsService:
    """Bars for queries, gap by gap. Thread-safe; one series is fetched by one thread at a time.

    The steps of a call:

    1. ``AnswerCache.find``: the answer given last, while nothing of it has changed or is due.
    2. ``CacheLookup.answer``: a hit, by comparing what the documents say.
    3. ``MissHandler.answer``: a miss. ``LaneRunner.answer`` plans what is missing against the calendar,
       ``Fetcher.fill`` asks the vendors in order for each segment, ``AnswerIngester.take`` checks what
       comes, ``StoreWriter.commit`` stores it. Bars that no vendor serves, and the weeks and months of
       shares, are made by ``Deriver`` of shorter ones that went steps 2 and 3.
    4. ``Reader.answer`` reads the whole and brings it to one basis; ``frame_of`` makes the frame.
    5. ``AnswerCache.keep`` keeps what would be the same again.

    A bar once stored is returned until a better one replaces it; how far it can be trusted is
    told by the state of its span. ``provisional``: it may change until it has settled, then it is
    asked again. ``suspect``: it is asked again when its doubt expires; meanwhile it is the best
    there is. A ``strict`` request accepts both. It refuses gaps, rows that cannot be bars, answers
    that lack much of what they should hold, and bars that cannot be brought to the asked basis.
    """

    def __init__(
        self,
        store: BarStore,
        selector: Selector,
        clock: Clock,
        expiry: Expiry | None = None,
        checks: ValidationRules | None = None,
        leases: FindLeases | None = None,
        watcher: Observer | None = None,
    ) -> None:
        self._store, self._selector, self._clock = store, selector, clock
        self._expiry, self._checks = expiry or Expiry(), checks or ValidationRules()
        self._reader = Reader(store, clock)
        self._recent = AnswerCache(store, self._reader.days)
        self._lookup = CacheLookup(store, self._reader, clock)
        self._locks, self._turns = SeriesLocks(), Turns(store.root, clock, leases)
        self._watcher = watcher or Observer(clock)
        self._miss_handler: MissHandler | None = None

    @property
    def clock(self) -> Clock:
        """The time of all calls."""
        return self._clock

    def get(self, query: BarsQuery) -> pd.DataFrame:
        """Return the frame for ``query``.

        Raises:
            NoProviderError: nobody is configured for it and nothing is stored.
            AllProvidersFailedError: bars were missing, nobody supplied them, nothing is stored.
            IncompleteDataError: ``strict``, and the answer lacks something.
            QueryError: there is no such version of the series, or it is not kept any more.
        """
        # In a context of its own: what Ctrl-C leaves set in it ends with it.
        return copy_context().run(self._got, query)

    def _got(self, query: BarsQuery) -> pd.DataFrame:
        with self._watcher.call(query) as call:
            given = self._given(query, call)
            return (
                given if given is not None else self._framed(query, call, self.answer(query, call))
            )

    def held(self, query: BarsQuery) -> pd.DataFrame | None:
        """Return the frame where all is held and at hand; None where it takes a while.

        Raises:
            IncompleteDataError: ``strict``, and the answer lacks something.
        """
        key = SeriesKey(query.instrument.symbol, query.timeframe, query.pinned)
        if query.version is not None or not self._store.is_at_hand(key):
            return None
        return self.lookup(query)

    def lookup(self, query: BarsQuery) -> pd.DataFrame | None:
        """Return the frame where comparing what is held gives one; no vendor is asked.

        Raises:
            IncompleteDataError: ``strict``, and the answer lacks something.
            QueryError: there is no such version of the series, or it is not kept any more.
        """
        if query.version is not None:
            return self.get(query)
        with self._watcher.call(query) as call:
            if (given := self._given(query, call)) is not None:
                return given
            answer = None if self._days(query) else self._lookup.answer(query)
            return None if answer is None else self._framed(query, call, answer)

    def _given(self, query: BarsQuery, call: Call) -> pd.DataFrame | None:
        """Return the answer given last where it still stands."""
        found = self._recent.find(query)
        if found is None:
            return None
        call.answered(found[0])
        return found[1]

    def _framed(self, query: BarsQuery, call: Call, answer: Answer) -> pd.DataFrame:
        frame = frame_of(call.answered(answer))
        self._recent.keep(query, answer, frame)
        return frame

    def answer(self, query: BarsQuery, call: Call) -> Answer:
        """Return what :meth:`get` makes its frame of; ``call`` is told where vendors are needed.

        Raises:
            NoProviderError, AllProvidersFailedError: as :meth:`get`.
        """
        if query.version is not None:
            from .versions import Versions

            return Versions(self._store, self._clock).answer(query)
        days = self._days(query)
        held = None if days else self._lookup.answer(query)
        if held is not None:
            return held
        call.missed(self._store.actions)
        return self.misses().answer(query, days)

    def misses(self) -> MissHandler:
        """Return what answers misses; it is made for the first of them."""
        if self._miss_handler is None:
            # Imported here: an answer from the cache needs no vendor, and no plan of whom to ask.
            from .fetch.miss import FetchServices, MissHandler

            house = FetchServices(
                self._store,
                self._selector,
                self._clock,
                self._expiry,
                self._checks,
                self._locks,
                self._turns,
            )
            # Two threads may make one each: what there must be one of are the locks and turns.
            self._miss_handler = MissHandler(house, self._reader, self._lookup)
        return self._miss_handler

    def _days(self, query: BarsQuery) -> Timeframe | None:
        """Return days where the answer is better made of these, else None."""
        return self.misses().parts.preferred(query) if query.is_of_whole_weeks else None
