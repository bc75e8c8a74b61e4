"""Series that other hosts have stored, and this folder does not have yet.

Jobs on all series begin by copying them here. Without a shared store, nothing happens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase

from ...core.cache.store import BarStore
from ...core.model.identity.series import SeriesKey
from ...core.model.time.timeframe import Timeframe
from ...errors import CacheError
from ..fill.work_list import WorkItem

log = logging.getLogger("onetape.hosts")


def series_elsewhere(store: BarStore) -> tuple[Mapping[SeriesKey, int], str]:
    """Return the series that only other hosts have, and the reason if they are unknown.

    The series are mapped to the times of their latest commits, UTC milliseconds. One statement is
    sent to the server of a shared store; without one, the result is empty.
    """
    try:
        return store.hosts.elsewhere(), ""
    except CacheError as error:
        return {}, str(error)


def pull_elsewhere(store: BarStore, pattern: str = "*") -> None:
    """Copy the series that only other hosts have to this folder, so that a job includes them.

    A series that cannot be copied is left out with a warning; so are all of them if the server
    cannot be reached.

    Args:
        store: Store of the folder.
        pattern: Shell pattern for series, as in ``BarsClient.series``.
    """
    series, problem = series_elsewhere(store)
    pairs = [(key.symbol, key.timeframe) for key in series if is_match(key, pattern)]
    if pairs:
        log.info("copying %s series of other hosts to this folder", len(pairs))
        try:
            store.hosts.pull(pairs)
        except CacheError as error:
            problem = str(error)
    if problem:
        log.warning("series that only other hosts have may be missing: %s", problem)


def is_match(key: SeriesKey | WorkItem, pattern: str) -> bool:
    """Return whether a pattern for symbols, or for symbol and timeframe, matches a series."""
    texts = (f"{key.symbol} {key.timeframe}", str(key)) if " " in pattern else (key.symbol,)
    return any(fnmatchcase(text, pattern) for text in texts)


def pull_first(store: BarStore, symbol: str, timeframe: Timeframe) -> None:
    """Copy a series to this folder if only other hosts have it; do nothing if that fails."""
    with suppress(CacheError):
        store.hosts.pull([(symbol, timeframe)], is_first=True)
