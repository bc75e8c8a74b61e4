"""Decisions about a copy of the log: names, and the bars of a folder that the log lacks."""

from __future__ import annotations

from typing import Any

from ..cache.layout import decode_lane, encode_lane, encode_symbol
from ..cache.values import Commit, CommitPiece
from ..cache.write.coverage_update import by_year
from ..errors import OvertakenError, QueryError
from ..model.bars import BarTable
from ..model.coverage import Coverage, Covered
from ..model.series import SeriesKey
from ..model.span import Span, subtract
from .entry import SeriesName
from .log import Facts


def name_of(key: SeriesKey) -> SeriesName:
    """Return the name of a series in the log."""
    timeframe, _, lane = encode_lane(key).partition("@")
    return SeriesName(key.symbol, timeframe, lane)


def key_of(name: SeriesName) -> SeriesKey | None:
    """Return the series with a name in the log; None for a symbol's book, or an unknown name."""
    lane = f"{name.timeframe}@{name.lane}" if name.lane else name.timeframe
    return decode_lane(name.symbol, lane) if name.timeframe and is_symbol(name.symbol) else None


def is_symbol(text: str) -> bool:
    """Return whether a name in the log can be a symbol; another program may write anything there."""
    try:
        return bool(encode_symbol(text))
    except QueryError:
        return False


def facts_of(commit: Commit) -> Facts:
    """Return the columns of a commit's entry."""
    spans = [piece.span for piece in commit.pieces]
    return Facts(
        tuple(by_year(commit)),
        min((span.start for span in spans), default=None),
        max((span.end for span in spans), default=None),
        sum(len(piece.table) for piece in commit.pieces),
        ",".join(dict.fromkeys(piece.vendor for piece in commit.pieces)),
    )


def overtaken(what: str, symbol: str) -> OvertakenError:
    """Return the error for something that others change all the time."""
    return OvertakenError(f"{what} changed during each attempt", symbol=symbol, hint="ask again")


def lacking(table: BarTable, coverage: Coverage, known: list[Span]) -> Commit:
    """Return the commit that adds stored bars and marks to a log that knows only some spans of them."""
    pieces: list[CommitPiece] = []
    marks: list[Covered] = []
    for entry in coverage.opened():
        for span in subtract([entry.span], known):
            rows = table.within(span)
            if entry.state == "final" or entry.state == "provisional":
                pieces.append(_piece(entry, span, entry.state, rows))
                continue
            if len(rows):
                pieces.append(_piece(entry, span, "provisional", rows))
            marks.append(entry.at(span))
    return Commit(tuple(pieces), tuple(marks))


def _piece(entry: Covered, span: Span, state: Any, rows: BarTable) -> CommitPiece:
    return CommitPiece(
        rows,
        span,
        entry.vendor,
        entry.fetched_at,
        entry.kind,
        entry.basis,
        state,
        splices=entry.splices,
    )
