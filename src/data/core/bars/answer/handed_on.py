"""Answers in the form kept in a record of reads."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ...model.answer.reads import BarsRead
from ...model.identity.series import SeriesKey
from ...model.stored.reasons import CLOSED, FORMING, UNASKED, UNEXPECTED
from ...model.time.instant import date_of
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from .answer import Answer, Used, as_known


class HandedOn(NamedTuple):
    """An answer that was returned to a caller, as passed to the recorder of reads.

    The recorder calls :meth:`read` only for answers that it does not have yet.

    Attributes:
        root: Cache folder.
        answer: Answer from which the caller's frame was built.
    """

    root: Path
    answer: Answer

    def data_key(self) -> Hashable:
        """Return a key for where these bars come from and how they are adjusted.

        The result is None if the query requests the forming bar or sets ``closed_by_ms``; such an
        answer can be identified only by :meth:`read`. In the key, the splits and dividends are
        represented by the ``id`` of the object that contains them.
        """
        answer = self.answer
        query = answer.query
        if query.closed_by_ms is not None or query.include_forming:
            return None
        facts, used = answer.facts, answer.used
        below = facts.get("derived_from")
        lane, generation = (below or facts).get("lane"), facts.get("generation")
        row_source = self.root, query.instrument.symbol, lane, generation, below is None
        arguments = query.timeframe.label, query.adjustment, query.provider
        return *row_source, *arguments, id(used.book), answer.as_of, answer.substitute

    def span(self) -> Span:
        """Return the span read from the series; for derived bars, the span of the shorter bars."""
        answer = self.answer
        query = answer.query
        if answer.used.source is not None:
            return answer.used.source
        if query.bars is None:
            return query.span
        stamps, end = answer.table.stamps, query.span.end
        return Span(int(stamps[0]) if len(stamps) else end - 1, end)

    def can_be_cut(self) -> bool:
        """Return whether :meth:`within` gives the same result as a separate query for the span.

        The result is False for bars built from shorter ones, and if :meth:`data_key` returns None.
        """
        return self.data_key() is not None and self.answer.used.source is None

    def within(self, span: Span) -> Answer:
        """Return the part of the answer for ``span``, as if only that span had been requested."""
        answer, used = self.answer, self.answer.used
        span = span.clip(answer.query.span)
        table = answer.table.within(span)
        if not len(table):
            used = Used()  # no bar was adjusted
        elif used.closes is not None:
            first = date_of(int(table.stamps[0]))
            closes = {day: close for day, close in used.closes.items() if day > first}
            used = used._replace(closes=closes)
        overlapping = [gap for gap in answer.gaps if gap.span.overlaps(span)]
        return replace(
            answer,
            query=replace(answer.query, span=span, bars=None),
            table=table,
            coverage=answer.coverage.within(span),
            gaps=[replace(gap, span=gap.span.clip(span)) for gap in overlapping],
            as_of=answer.as_of if len(table) else None,
            used=used,
        )

    def read(self) -> BarsRead:
        """Return the full record of the read."""
        answer = as_known(self.answer)
        query, facts = answer.query, answer.facts
        lane = facts.get("derived_from", facts).get("lane")
        symbol = query.instrument.symbol
        series = _key(symbol, str(lane)) if lane else query.key
        gap_spans = [g.span for g in answer.gaps if g.reason not in (UNASKED, CLOSED)]
        forming = [
            (stamp, FORMING)
            for entry in answer.coverage
            if entry.reason == FORMING
            for stamp in answer.table.within(entry.span).stamps.tolist()
        ]
        return BarsRead(
            self.root,
            series,
            facts.get("generation"),
            query,
            answer.table,
            answer.coverage,
            tuple(gap_spans),
            tuple(entry.span for entry in answer.coverage if entry.reason == UNEXPECTED),
            tuple(forming),
            answer.as_of,
            answer.used.book,
            answer.used.closes,
            self.span(),
            "derived_from" in facts,
            answer.substitute or "",
        )


@lru_cache(4096)
def _key(symbol: str, folder: str) -> SeriesKey:
    timeframe, *lane = folder.split("@")
    return SeriesKey(symbol, Timeframe.parse(timeframe), tuple(lane))
