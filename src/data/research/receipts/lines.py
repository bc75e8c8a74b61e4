"""Builds the lines of a receipt from bars, actions, members, macro values, filings and calendars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from struct import pack
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._version import __version__
from ...core.calendars.calendar import named_calendar
from ...core.calendars.grid import BarGrid
from ...core.config.terms import terms_of
from ...core.model.identity.instrument import Instrument
from ...core.model.market.actions import Action
from ...core.model.market.bars import BarTable
from ...core.model.stored.stored import KnownAction
from ...core.model.time.instant import date_of, day_ms, iso
from ...core.model.time.span import Span, coalesce
from ...core.registry import family_of, is_of_files
from .digests import FEWEST, Paid, actions_text, digests_of, grid_of, has_digest, sha256
from .receipt import Line, encoded, ranges

if TYPE_CHECKING:
    import pandas as pd

_SPOT = {"crypto": "spot"}
# The vendor of bars that had not closed.
NOBODY = "-"


class Series(NamedTuple):
    """The bars of one line, as traded.

    Attributes:
        symbol, timeframe, vendor: Series and its vendor.
        lane: Trading hours of a share's bars, or the class of another instrument.
        spans: Ranges of the bars' stamps, each up to one millisecond after the last.
        table: The bars.
    """

    symbol: str
    timeframe: str
    lane: str
    vendor: str
    spans: Sequence[Span]
    table: BarTable


def lane_word(instrument: Instrument) -> str:
    """Return the word for the kind of an instrument's bars."""
    kind = instrument.asset_class
    return instrument.session if kind == "stock" else _SPOT.get(kind, kind)


def vendor_word(vendor: str) -> str:
    """Return the name of a vendor; without the folder of files on this machine."""
    return family_of(vendor) if is_of_files(vendor) else vendor


def run_line(run: str, at_ms: int) -> Line:
    """Return the line of a run; only the last part of a path is its name."""
    is_path = run.startswith(("/", "~", "\\", ".")) or run[1:3] in (":\\", ":/")
    name = run.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else run
    at = iso(at_ms).removesuffix(":00Z")
    return Line.of(f"run {encoded(name)} at {at.removesuffix('Z')}Z made-by onetape {__version__}")


def terms_lines(vendors: Iterable[str]) -> list[Line]:
    """Return the terms of vendors."""
    rows = terms_of(vendors).items()
    said = {v: f" read {row['read']} {row['address']}" if row["read"] else "" for v, row in rows}
    return [Line.of(f"terms {encoded(v)} {row['word']}{said[v]}") for v, row in rows]


def bars_line(series: Series, joined: Sequence[Paid] | None) -> Line:
    """Return the line of bars; ``joined`` are the actions in its digest, if any."""
    grid, table = grid_of(series.table), series.table
    digests = digests_of(table, grid, joined) if has_digest(table, grid) else ("none",)
    what = " ".join(map(encoded, (series.symbol, series.timeframe, series.lane, series.vendor)))
    return Line.of(
        f"bars {what} {ranges(series.spans)} rows {len(table)} {grid} {' '.join(digests)}"
    )


def is_within(action: Action, span: Span) -> bool:
    """Return whether an action came from the day of a span's start on, and up to its end."""
    return action.ex_date >= date_of(span.start) and action.ex_at <= span.end


def paid(action: Action, amount: Fraction) -> Paid:
    """Return an action with its ratio, or its amount as paid."""
    value = action.ratio if action.type == "split" else amount
    return Paid(action.ex_date, action.type, value)


def known_actions(actions: Iterable[KnownAction], span: Span) -> list[Paid]:
    """Return the stored actions in a span that count, ascending."""
    return sorted(
        paid(known.action, Fraction(0 if known.action.type == "split" else known.paid))
        for known in actions
        if known.counts and is_within(known.action, span)
    )


def actions_line(symbol: str, vendor: str, span: Span, actions: Sequence[Paid]) -> Line:
    """Return the line of splits and dividends; too few of them are part of the bars' digests."""
    splits = sum(a.type == "split" for a in actions)
    days = Span(day_ms(date_of(span.start)), day_ms(date_of(span.end)) + 1)
    digest = sha256(actions_text(actions)) if len(actions) >= FEWEST else "joined"
    return Line.of(
        f"actions {encoded(symbol)} {encoded(vendor)} {ranges([days])} splits {splits} "
        f"dividends {len(actions) - splits} {digest}"
    )


def gaps_lines(name: Sequence[str], found: Iterable[Series], grid: BarGrid) -> list[Line]:
    """Return the line of the bars in the ranges of a series that the calendar expects and nobody has.

    ``name`` are its symbol, timeframe and lane. There is none without gaps.
    """
    parts = list(found)
    expected = [grid.opens(span) for span in coalesce(s for one in parts for s in one.spans)]
    opens = np.concatenate([np.zeros(0, np.int64), *expected])
    lacking = ~np.isin(
        opens, np.concatenate([np.zeros(0, np.int64), *(p.table.stamps for p in parts)])
    )
    count, runs = (
        int(lacking.sum()),
        int(np.count_nonzero(np.diff(lacking, prepend=False) & lacking)),
    )
    digest = sha256(b"onetape-gaps-1\n" + opens[lacking].astype("<i8").tobytes())
    text = f"gaps {' '.join(map(encoded, name))} {count} bars {runs} spans {digest}"
    return [Line.of(text)] if count else []


def calendar_line(name: str, first: date, last: date, until: date) -> Line:
    """Return the line of a calendar: the sessions of some years, up to a day."""
    market = named_calendar(name)
    sessions = market.sessions(date(first.year, 1, 1), date(last.year, 12, 31)) if market else []
    hours = [(s.open_ms, s.close_ms) for s in sessions if s.day <= until]
    digest = sha256(b"onetape-calendar-1\n" + np.array(hours, "<i8").tobytes())
    return Line.of(f"calendar {encoded(name)} {first.year}..{last.year} {digest}")


def members_line(name: str, members: Iterable[str], day: str) -> Line:
    """Return the line of the members of a universe on a day, or ``since..day``."""
    rows = sorted(members)
    digest = sha256("".join(f"{row}\n" for row in ["onetape-members-1", *rows]).encode())
    return Line.of(f"members {encoded(name)} as-known {day} rows {len(rows)} {digest}")


def macro_lines(name: str, frame: pd.DataFrame, vintage: str) -> list[Line]:
    """Return the line of the values of a macro series as published by a day; none without values."""
    days = [str(day)[:10] for day in frame["date"]]
    pairs = zip(days, frame["value"], strict=True)
    rows = "".join(f"{day} {pack('>d', value).hex()}\n" for day, value in pairs)
    digest = sha256(f"onetape-macro-1\n{rows}".encode()) if len(days) >= FEWEST else "none"
    reach = f"{min(days)}..{max(days)}" if days else ""
    text = f"macro {encoded(name)} vintage {vintage} {reach} rows {len(days)} {digest}"
    return [Line.of(text)] if days else []


def filing_lines(symbol: str, frame: pd.DataFrame) -> list[Line]:
    """Return the lines of the filings in a frame with accession numbers and times of acceptance."""
    known = frame.dropna(subset=["accepted"]).drop_duplicates("accession")
    pairs = zip(known["accession"], known["accepted"], strict=True)
    return [
        Line.of(f"filing {encoded(symbol)} {accession} accepted {at.isoformat()}Z")
        for accession, at in pairs
    ]
