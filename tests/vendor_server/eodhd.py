"""EODHD: days as traded with volumes in today's shares, minutes in UTC seconds, hours late."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from onetape.data.core.model.time.instant import HOUR_MS, SECOND_MS, from_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Page, Reason, Reply, Request
from .ground_truth import Row
from .keyed import (
    Keyed,
    as_of_its_split,
    dates_in,
    dates_window,
    is_dollar_pair,
    listed_actions,
    wall_texts,
    whole,
)
from .listings import Listing
from .names import matching, plain_spelling
from .sessions import ALWAYS

_PATH = re.compile(r"/api/(eod|intraday|splits|div)/([^/]+)")
_PERIODS = {"d": "1d", "w": "1w", "m": "1M"}
_MOST_DAYS = {"1m": 120, "5m": 600, "1h": 7200}
_SUFFIXES = {"": ".US", ".L": ".LSE"}
_LATE_MS = 3 * HOUR_MS
_DAY = Timeframe(1, "d")
_WORDS = {
    "unauthorized": "Unauthenticated", "unknown_symbol": "Ticker Not Found.",
    "forbidden": "Forbidden. Please contact support@eodhistoricaldata.com",
    "throttled": "Too Many Requests",
}  # fmt: skip


class EODHD(Keyed):
    """Bare words for errors, tables of text for whoever does not ask for JSON.

    Attributes:
        official_close: a row without volume stands behind the last bar of a session.
    """

    name: ClassVar[str] = "eodhd"

    def __init__(self) -> None:
        super().__init__()
        self.official_close = True

    def spelling(self, listing: Listing) -> str | None:
        """Every venue has a suffix, the USA too; coins in dollars are at ``CC``."""
        if is_dollar_pair(listing):
            return f"{listing.symbol}.CC"
        if listing.asset_class != "stock":
            return None
        plain, dot, venue = listing.symbol.partition(".")
        return plain + _SUFFIXES.get(dot + venue, dot + venue)

    def symbol_in(self, request: Request) -> str | None:
        """Return the last part of the path."""
        found = _PATH.fullmatch(request.path)
        return found[2] if found else None

    def key_in(self, request: Request) -> str:
        """Return the parameter ``api_token``."""
        return request.params.get("api_token", "")

    def weight(self, request: Request) -> int:
        """Minutes cost five."""
        return 5 if request.path.startswith("/api/intraday/") else 1

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return a bare word that calls itself HTML."""
        return Reply.text(_WORDS.get(reason, reason), STATUS[reason], "text/html; charset=UTF-8")

    def spent(self) -> Reply:
        """Return what is said when the day's requests are used up."""
        words = "You exceeded your daily API requests limit. Please contact support."
        return Reply.text(words, 402, "text/html; charset=UTF-8")

    def serve(self, request: Request, context: Context) -> Reply:
        """Answer days, minutes, splits and dividends."""
        if request.path.startswith("/api/search/"):
            names = matching(self, unquote(request.path.removeprefix("/api/search/")), context)
            return Reply.json([_named(self, one) for one in names])
        found = _PATH.fullmatch(request.path)
        listing = self.find(found[2], context.truth) if found else None
        if found is None or listing is None:
            return self.refusal("unknown_symbol", context.now_ms)
        try:
            told = getattr(self, f"_{found[1]}")(listing, request.params, context)
        except ValueError as exc:
            return Reply.json({"errors": {"to": [str(exc)]}}, 422)
        rows: list[dict[str, Any]] = told
        if request.params.get("fmt") == "json":
            return Reply.json(rows)
        return Reply.text(_table(rows), 200, "text/csv")

    def _eod(
        self, listing: Listing, params: Mapping[str, str], context: Context
    ) -> list[dict[str, Any]]:
        frame = Timeframe.parse(_PERIODS[params.get("period", "d")])
        window = dates_window(listing, frame, params.get("from"), params.get("to"))
        # A session is there some hours after its close; the running one never.
        closed = _closed(context, lambda how: context.rows(listing, frame, window, how), _LATE_MS)
        page = context.spoil(Page(tuple(r.stamp_ms for r in closed), tuple(closed)))
        order = -1 if params.get("order") == "d" else 1
        return [
            {"date": day, "open": r.open, "high": r.high, "low": r.low, "close": r.close,
             "adjusted_close": r.adj_close, "volume": whole(r.volume)}
            for day, r in zip(wall_texts(page.labels, listing, frame), page.rows, strict=True)
        ][::order]  # fmt: skip

    def _intraday(
        self, listing: Listing, params: Mapping[str, str], context: Context
    ) -> list[dict[str, Any]]:
        frame = Timeframe.parse(params.get("interval", "5m"))
        days = _MOST_DAYS[frame.label]
        end = int(params.get("to", context.now_ms // SECOND_MS))
        start = int(params.get("from", end - days * 86_400))
        if end - start > days * 86_400:
            raise ValueError(f"Max period length is {days} days")
        window = start * SECOND_MS, end * SECOND_MS + 1
        late = 0 if listing.calendar == ALWAYS else _LATE_MS
        rows = [
            r for r in context.rows(listing, frame, window) if r.closes_ms + late <= context.now_ms
        ]
        labels = [r.stamp_ms for r in rows]
        if self.official_close and listing.calendar != ALWAYS:
            rows, labels = _with_official(rows, window)
        page = context.spoil(Page(tuple(labels), tuple(rows), per_second=1))
        return [
            {"timestamp": stamp, "gmtoffset": 0, "datetime": str(from_ms(at)),
             "open": r.open, "high": r.high, "low": r.low, "close": r.close,
             "volume": whole(r.volume)}
            for stamp, at, r in zip(page.stamps(), page.labels, page.rows, strict=True)
        ]  # fmt: skip

    def _splits(
        self, listing: Listing, params: Mapping[str, str], context: Context
    ) -> list[dict[str, Any]]:
        return [
            {"date": a.ex_date.isoformat(), "split": f"{a.numerator:.6f}/{a.denominator:.6f}"}
            for a in listed_actions(listing, context, "split", dates_in(params))[::-1]
        ]

    def _div(
        self, listing: Listing, params: Mapping[str, str], context: Context
    ) -> list[dict[str, Any]]:
        return [
            {"date": a.ex_date.isoformat(), "declarationDate": None, "recordDate": None,
             "paymentDate": None, "period": "Quarterly",
             "value": as_of_its_split(listing, a, context),
             "unadjustedValue": a.amount, "currency": listing.currency}
            for a in listed_actions(listing, context, "dividend", dates_in(params))[::-1]
        ]  # fmt: skip


def _named(face: Keyed, listing: Listing) -> dict[str, Any]:
    code, _, exchange = plain_spelling(face, listing).rpartition(".")
    return {
        "Code": code, "Exchange": exchange, "Name": listing.name or listing.symbol,
        "Type": "Currency" if exchange == "CC" else "Common Stock", "Country": "", "ISIN": None,
        "Currency": listing.currency, "previousClose": 1.0, "previousCloseDate": "2024-06-11",
    }  # fmt: skip


def _closed(context: Context, ask: Callable[[Any], list[Row]], late_ms: int) -> list[Row]:
    """Return prices as traded beside volumes in today's shares, of what has closed long enough."""
    adjusted = {row.stamp_ms: row.volume for row in ask("split")}
    return [
        row._replace(volume=adjusted[row.stamp_ms])
        for row in ask("raw")
        if row.closes_ms + late_ms <= context.now_ms
    ]


def _with_official(rows: list[Row], window: tuple[int, int]) -> tuple[list[Row], list[int]]:
    """Put a row without volume behind the last one of each session."""
    told: list[tuple[int, Row]] = []
    for at, row in enumerate(rows):
        told.append((row.stamp_ms, row))
        ends = at + 1 == len(rows) or rows[at + 1].stamp_ms - row.stamp_ms > 6 * HOUR_MS
        if ends and row.closes_ms < window[1]:
            told.append((row.closes_ms, row._replace(volume=None)))
    return [row for _, row in told], [label for label, _ in told]


def _table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text, which ends in a number that means nothing here."""
    if not rows:
        return "Value\n"
    lines = [",".join(str(v) for v in row.values()) for row in rows]
    return "\n".join([",".join(name.capitalize() for name in rows[0]), *lines, str(len(rows))])
