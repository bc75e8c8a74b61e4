"""A request as it would go, with stand-ins for the vendors and a store that writes nothing.

What :class:`~.service.BarsService` does is not told a second time here: it is done, by the same code,
in memory. So what a plan says is what happens, whatever the way of a request becomes.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...cache.store import BarStore
from ...clock import Clock
from ...errors import (
    AllProvidersFailedError,
    NoProviderError,
    UnknownProviderError,
)
from ...model.plan import PlanStep
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.series import SeriesKey
from ..answer.answer import Answer
from ..fetch.plan import FetchPlan
from ..fetch.state import FetchState, actions_known
from ..observer import Call, Observer
from ..selection.candidates import Route, candidates_of, route
from ..service import BarsService
from ..validity import Expiry, TradingDays
from .draft_store import DraftStore

if TYPE_CHECKING:
    from .vendors import DryRunContext

_is_dry_run: ContextVar[bool] = ContextVar("is_dry_run", default=False)


def _is_meant(record: logging.LogRecord) -> bool:
    """Let pass what has happened; what is in a dry run has not."""
    return not _is_dry_run.get()


logging.getLogger("onetape.routing").addFilter(_is_meant)


@dataclass
class DryRunResult:
    """What came of it.

    Attributes:
        answer: as far as it is known beforehand; made-up bars stand for those to come. None where
            there would be none.
        is_hit: whether all that there is to know is held.
        error: what would be raised in its place.
        steps: whom would be asked for what, in order.
        plans: what every lane found to do, in order.
    """

    answer: Answer | None = None
    is_hit: bool = False
    error: NoProviderError | AllProvidersFailedError | UnknownProviderError | None = None
    steps: list[PlanStep] = field(default_factory=list)
    plans: list[tuple[FetchState, FetchPlan]] = field(default_factory=list)


@dataclass(frozen=True)
class DryRunner:
    """What a request is run with.

    Attributes:
        store: what is held, as :meth:`.BarStore.preview` shows it.
        selector: who is asked.
        clock: the time.
        expiry, checks: as those of the requests themselves.
    """

    store: BarStore
    selector: Any
    clock: Clock
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()

    def way_of(self, query: BarsQuery) -> Route:
        """Return where the bars of ``query`` may come from.

        Raises:
            NoProviderError, UnknownProviderError: from nowhere.
        """
        key = SeriesKey(query.instrument.symbol, query.timeframe)
        stored = None if query.provider else self.store.view(key).kind
        told = actions_known(self.store, query, TradingDays(self.clock))
        return route(query, candidates_of(self.selector, query), stored, told=told)

    def run(self, query: BarsQuery) -> DryRunResult:
        """Do ``query`` without asking anybody, writing anything or logging a word."""
        # In a context of its own: what Ctrl-C leaves set in it ends with it.
        return copy_context().run(self._run, query)

    def _run(self, query: BarsQuery) -> DryRunResult:
        _is_dry_run.set(True)
        done = DryRunResult()
        draft = DraftStore(self.store)
        cast = _Cast(self.selector, draft, query, done.steps)
        service = BarsService(draft, cast, self.clock, self.expiry, self.checks)
        service.misses().runner.on_todo = lambda work, todo: done.plans.append((work, todo))
        try:
            done.answer = service.answer(query, Call(Observer(self.clock), self.clock, query))
        except (NoProviderError, AllProvidersFailedError, UnknownProviderError) as error:
            done.error = error
        done.is_hit = _is_hit(done, cast)
        return done


def _is_hit(done: DryRunResult, cast: _Cast) -> bool:
    """Tell whether nothing was to be asked; what only nobody could be asked for is no hit."""
    if done.answer is None or done.steps:
        return False
    if all(gap.harmless for gap in done.answer.gaps):
        return True
    was_planned = done.plans and not any(todo.segments for _, todo in done.plans)
    return bool(was_planned) or not cast.is_consulted


class _Cast:
    """A selector that names stand-ins in place of the downloaders; in all else the real one."""

    def __init__(
        self, selector: Any, draft: DraftStore, query: BarsQuery, steps: list[PlanStep]
    ) -> None:
        self._selector = selector
        self._draft = draft
        self._query = query
        self._steps = steps
        self._stage: DryRunContext | None = None
        self.downloaders: dict[str, Any] = {}
        self.own_sender = None  # nothing is sent
        self.is_consulted = False

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return the names that the real one gives."""
        self.is_consulted = True
        names: list[str] = self._selector.get_provider_with_failover(symbol, timeframe)
        return names

    def _initialize_downloader(self, name: str) -> Any | None:
        """Return the stand-in of a vendor; None where the vendor cannot be made."""
        self.is_consulted = True
        if name not in self.downloaders:
            from ...vendors.pool import supplied

            real = supplied(self._selector, name)
            if real is None:
                return None
            self.downloaders[name] = self._stand_in(name, real)
        return self.downloaders[name]

    def _stand_in(self, name: str, real: Any) -> Any:
        # Imported here: an answer from the cache needs no vendor and no HTTP library.
        from .vendors import DryRunContext, stand_in

        self._stage = self._stage or DryRunContext(self._query, self._draft, self._steps)
        return stand_in(name, real, self._stage)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)
