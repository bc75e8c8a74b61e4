"""Decisions about a host's files: their names, and the bars that a series lacks."""

from __future__ import annotations

import re
from typing import Any

from ..cache.layout import decode_lane, decode_symbol, encode_lane, encode_symbol
from ..cache.values import Commit, CommitPiece
from ..model.identity.series import SeriesKey
from ..model.market.bars import BarTable
from ..model.stored.coverage import Coverage, Covered
from ..model.time.span import Span, subtract

# The files that all hosts have: not locks, older versions, and comparisons with other vendors.
_SHARED = re.compile(
    r"[0-9]{4}\.(csv\.gz|metadata\.json|log)|series\.json|_quarantine/[0-9]{4}\.rows\.csv\.gz"
)


def is_shared_file(path: str, *, is_book: bool) -> bool:
    """Return whether a file of a series, or of a symbol's splits and dividends, is on all hosts."""
    return path == "actions.json" if is_book else bool(_SHARED.fullmatch(path))


def name_of(key: SeriesKey) -> str:
    """Return the name of a series in the shared store."""
    return f"{encode_symbol(key.symbol)}/{encode_lane(key)}"


def book_of(symbol: str) -> str:
    """Return the name of a symbol's splits and dividends in the shared store."""
    return f"{encode_symbol(symbol)}/"


def symbol_of(name: str) -> str | None:
    """Return the symbol in a name; None if it is not one, because any program may write anything."""
    return decode_symbol(name.partition("/")[0])


def key_of(name: str) -> SeriesKey | None:
    """Return the series with a name; None for splits and dividends, or an unknown name."""
    symbol, lane = symbol_of(name), name.partition("/")[2]
    return None if symbol is None else decode_lane(symbol, lane)


def lacking(table: BarTable, coverage: Coverage, known: list[Span]) -> Commit:
    """Return the commit that adds stored bars and marks to a series that knows only some spans of them."""
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
