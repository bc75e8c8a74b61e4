"""Bars for other programs: as columns, as an Arrow stream, and as events as they are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import iso
from ..errors import AllProvidersFailedError, QueryError
from .facts import PRICES, Facts, stamps_of

if TYPE_CHECKING:
    import pandas as pd

    from ..core.model.identity.series import SeriesKey
    from ..core.model.request.query import BarsQuery

__all__ = ["EventsAfter", "arrow_of", "columns_of", "etag_of", "json_of", "number_of"]

# Number of events or values that are made at once, and of intraday bars that are read at once: a reader
# that asks for years of minutes gets them in parts.
_TOGETHER, _READ = 1_000, 20_000
_NUMBER = re.compile("[0-9]{1,13}").fullmatch


def columns_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Return bars as columns: ``opened`` in UTC milliseconds, then prices and volume; NaN is None."""
    columns: dict[str, list[Any]] = {"opened": stamps_of(frame)}
    for name in PRICES:
        values = frame[name].tolist()
        columns[name] = [value if value == value else None for value in values]
    return columns


def json_of(facts: dict[str, Any], columns: dict[str, list[Any]]) -> bytes:
    """Return an answer as JSON, encoded in parts, because no other thread runs while one is encoded."""
    encode = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    texts = []
    for name, values in columns.items():
        parts = (values[first : first + _TOGETHER] for first in range(0, len(values), _TOGETHER))
        texts.append(f"{encode(name)}:[{','.join(encode(part)[1:-1] for part in parts)}]")
    return f'{encode(facts)[:-1]},"columns":{{{",".join(texts)}}}}}'.encode()


def arrow_of(frame: pd.DataFrame) -> memoryview:
    """Return bars as an Arrow IPC stream, with their provenance in the schema's metadata.

    Raises:
        MissingExtraError: pyarrow is not installed (extra ``parquet``).
    """
    from ..core.model.answer.interchange import to_arrow

    table = to_arrow(frame)
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def etag_of(facts: Facts, query: BarsQuery, form: str) -> str:
    """Return the tag of the stored bars that answer a query; empty if no stored commit answers it.

    It changes with each commit to the series, with its splits and dividends, with the range, with
    the adjustment and with the form (``json`` or ``arrow``).
    """
    digest = facts.manager.client.standing(query).digest
    return f'"{digest}-{query.adjustment}-{form}"' if digest else ""


def number_of(name: str, text: str) -> int:
    """Return a whole number that a request contains.

    Raises:
        QueryError: The text is not 1 to 13 digits.
    """
    if not _NUMBER(text):
        raise QueryError(f"{name} is {text!r:.40}, but must be a number of at most 13 digits")
    return int(text)


class EventsAfter:
    """The bars of a series that are stored after a time, as server-sent events.

    The number (``id``) of an event is the open time of its bar in UTC milliseconds, so a reader
    that returns continues after the last bar it got. Nothing is kept in memory for a reader.

    Args:
        facts: Facts to answer from.
        symbol, timeframe: Series, as for ``get_ohlcv``.
        after: Number of the last event that the reader got; None means that only new bars count.

    Raises:
        QueryError: An argument is invalid.
    """

    def __init__(self, facts: Facts, symbol: str, timeframe: str, after: str | None) -> None:
        self._facts, self._names = facts, (symbol, timeframe)
        self._generations: dict[SeriesKey, int] = {}
        if after is None:
            stamps = stamps_of(facts.manager.client.get(facts.query(symbol, timeframe, bars=1)))
            self._after = max(stamps, default=facts.now_ms)
        else:
            self._after = number_of("Last-Event-ID", after)
            self._query()

    def new(self) -> Iterator[str]:
        """Yield the events of the bars that were stored since the last call, some at a time."""
        client = self._facts.manager.client
        query = self._query()
        # Bars that are not stored themselves are built from those of other series.
        series = self._facts.stored_for(query)
        generations = {key: client.outline(key).generation for key in series}
        if generations == self._generations:
            return
        self._generations = generations
        for part in self._parts(query, series):
            with suppress(AllProvidersFailedError):  # none of its bars is stored, or can be had
                yield from self._events(client.get(part))

    def _parts(self, query: BarsQuery, series: list[SeriesKey]) -> Iterator[BarsQuery]:
        """Yield queries for the stored parts of a range, so that few bars are in memory at once."""
        if not query.timeframe.is_intraday:
            yield query
            return
        step, client = _READ * query.timeframe.longest_ms, self._facts.manager.client
        stored = [one for key in series for one in client.coverage(key) if one.state != "empty"]
        begin = query.span.start
        for span in sorted(one.span for one in stored):
            # A shorter hole is read along, so that no part is without bars.
            begin = span.start if span.start - begin >= step else begin
            while begin < min(span.end, query.span.end):
                end = min(begin + step, query.span.end)
                yield self._facts.query(*self._names, start=iso(begin), end=iso(end))
                begin = end

    def _events(self, frame: pd.DataFrame) -> Iterator[str]:
        """Yield the events of the bars that the reader does not have yet."""
        for first in range(0, len(frame), _TOGETHER):
            columns = columns_of(frame.iloc[first : first + _TOGETHER])
            rows = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            new = [row for row in rows if row["opened"] > self._after]
            self._after = max((row["opened"] for row in new), default=self._after)
            yield "".join(
                f"id: {row['opened']}\nevent: bar\ndata: {json.dumps(row)}\n\n" for row in new
            )

    def _query(self) -> BarsQuery:
        return self._facts.query(*self._names, start=iso(self._after + 1))
