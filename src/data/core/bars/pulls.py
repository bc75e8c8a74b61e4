"""Updates the series of queries from a store that many hosts share; does nothing for other stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ...errors import CacheError
from ..model.time.timeframe import Timeframe

if TYPE_CHECKING:
    from ..cache.store import BarStore
    from ..model.request.query import BarsQuery

# The pairs of symbol and timeframe that a batch has just updated.
_up_to_date: ContextVar[frozenset[tuple[str, Timeframe]]] = ContextVar(
    "pulled", default=frozenset()
)


def pull_series(store: BarStore, query: BarsQuery) -> bool:
    """Update a query's series from a store shared by many hosts; return whether any series changed.

    To be called after a miss, because a hit does not contact other hosts. A failure is not reported here,
    because the next attempt to store data will report it.
    """
    pair = query.instrument.symbol, query.timeframe
    if query.offline or query.version is not None or pair in _up_to_date.get():
        return False
    with suppress(CacheError):
        return store.hosts.pull([pair])
    return False


@contextmanager
def pulled_together(store: BarStore, queries: Sequence[BarsQuery]) -> Iterator[None]:
    """Update the series of all ``queries`` at once; queries in the block do not update them again."""
    pairs = frozenset((q.instrument.symbol, q.timeframe) for q in queries if not q.offline)
    with suppress(CacheError):
        store.hosts.pull(pairs)
    token = _up_to_date.set(pairs)
    try:
        yield
    finally:
        _up_to_date.reset(token)
