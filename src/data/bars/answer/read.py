"""An answer as the value that records of reads are made of."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ...model.coverage import CLOSED, UNASKED
from ...model.reads import BarsRead
from ...model.series import SeriesKey
from ...model.timeframe import Timeframe
from ..validity import FORMING, UNEXPECTED
from .answer import Answer, as_known


def read_of(root: Path, answer: Answer) -> BarsRead:
    """Return what was handed on; ``root``: the cache folder."""
    answer = as_known(answer)
    query, facts = answer.query, answer.facts
    lane = facts.get("derived_from", facts).get("lane")
    symbol = query.instrument.symbol
    series = _key(symbol, str(lane)) if lane else query.key
    lacking = [g.span for g in answer.gaps if g.reason not in (UNASKED, CLOSED)]
    running = [
        (stamp, FORMING)
        for part in answer.coverage
        if part.reason == FORMING
        for stamp in answer.table.within(part.span).stamps.tolist()
    ]
    return BarsRead(
        root,
        series,
        facts.get("generation"),
        query,
        answer.table,
        answer.coverage,
        tuple(lacking),
        tuple(c.span for c in answer.coverage if c.reason == UNEXPECTED),
        (*answer.flagged, *running),
        answer.as_of,
        answer.used.book,
        answer.used.closes,
        answer.used.source if "derived_from" in facts else None,
        answer.substitute or "",
    )


@lru_cache(4096)
def _key(symbol: str, folder: str) -> SeriesKey:
    timeframe, *lane = folder.split("@")
    return SeriesKey(symbol, Timeframe.parse(timeframe), tuple(lane))
