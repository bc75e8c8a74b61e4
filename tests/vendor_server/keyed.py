"""What the faces of vendors with keys share: the door, dates at the venue, numbers as text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from onetape.data.core.model.time.instant import DAY_MS, day_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Face, Page, Reason, Reply, Request, local_midnight
from .ground_truth import Row
from .listings import Listing
from .sessions import ALWAYS

KEY = "vendor-server-key"


class Keyed(Face):
    """A face that answers who knows its key.

    Attributes:
        key: the one that it takes.
    """

    def __init__(self) -> None:
        self.key = KEY

    @abstractmethod
    def key_in(self, request: Request) -> str:
        """Return the key that came with a request, empty where none did."""

    @abstractmethod
    def serve(self, request: Request, context: Context) -> Reply:
        """Answer a request whose key is good."""

    def answer(self, request: Request, context: Context) -> Reply:
        """Refuse a wrong key and serve everybody else."""
        if self.key_in(request) != self.key:
            return self.refusal("unauthorized", context.now_ms)
        return self.serve(request, context)


def edge(reason: Reason) -> Reply:
    """Return what the servers before the vendor's own say: a page for people."""
    return Reply.text(f"<html><body><h1>{reason}</h1></body></html>", STATUS[reason], "text/html")


def is_dollar_pair(listing: Listing) -> bool:
    """Tell whether it is a coin priced in dollars proper, which only a dash says."""
    return listing.asset_class == "crypto" and listing.symbol.endswith("-USD")


def pair_of(listing: Listing) -> tuple[str, str]:
    """Return the two names of a coin and its currency."""
    return listing.symbol.removesuffix(listing.currency).rstrip("-"), listing.currency


def zone_of(listing: Listing) -> ZoneInfo:
    """Return the zone of its venue."""
    return ZoneInfo(listing.timezone)


def dates_window(
    listing: Listing, frame: Timeframe, first: str | None, last: str | None
) -> tuple[int, int]:
    """Return the half-open window of two dates at the venue, both inclusive; either may be open.

    Raises:
        ValueError: one of them is no date.
    """
    start = day_ms(date.fromisoformat(first)) if first else day_ms(date(1990, 1, 1))
    end = day_ms(date.fromisoformat(last) if last else date(2035, 1, 1)) + DAY_MS
    if not frame.is_intraday:
        return start, end
    return local_midnight(start, listing.timezone), local_midnight(end, listing.timezone)


def wall_texts(labels: Sequence[int], listing: Listing, frame: Timeframe) -> list[str]:
    """Return labels as the venue's clock shows them, or as dates for days and longer bars."""
    zone = zone_of(listing) if frame.is_intraday else UTC
    form = "%Y-%m-%d %H:%M:%S" if frame.is_intraday else "%Y-%m-%d"
    return [datetime.fromtimestamp(ms / 1000, zone).strftime(form) for ms in labels]


def last_days(rows: Sequence[Row], listing: Listing, now_ms: int) -> list[int]:
    """Return for weeks and months the stamp of the last day in them that has traded or trades."""
    return [_last_day(row, listing, now_ms) for row in rows]


def _last_day(row: Row, listing: Listing, now_ms: int) -> int:
    instant = min(row.closes_ms - 1, now_ms)
    if listing.calendar == ALWAYS:
        return instant // DAY_MS * DAY_MS
    local = datetime.fromtimestamp(instant / 1000, zone_of(listing)).date()
    return day_ms(local)


def newest_first(page: Page) -> Page:
    """Return a page the other way round; faults work on it before, with the oldest row first."""
    return page.pick(list(range(len(page)))[::-1])


def fixed(value: float | None, decimals: int) -> str | None:
    """Return a number as text with at least so many decimals; more where they say more."""
    if value is None:
        return None
    text = f"{value:.{decimals}f}"
    return text if float(text) == value else repr(value)


def whole(value: float | None) -> int | float | None:
    """Return a volume as a whole number where it is one."""
    return int(value) if value is not None and value == int(value) else value


def listed_actions(
    listing: Listing, context: Context, kind: str, window: tuple[str, str] | None = None
) -> list[Any]:
    """Return the actions of a kind known by now, newest first; ``window`` are inclusive dates."""
    found = [a for a in context.truth.actions(listing.symbol, context.now_ms) if a.type == kind]
    first, last = window or ("", "9999")
    return [a for a in found[::-1] if first <= a.ex_date.isoformat() <= last]


def dates_in(params: Mapping[str, str]) -> tuple[str, str]:
    """Return the parameters ``from`` and ``to``, wide open where they are left out."""
    return params.get("from", ""), params.get("to", "9999")


def as_of_its_split(listing: Listing, action: Any, context: Context) -> float:
    """Return a dividend's amount in today's shares."""
    amount: float = action.amount
    for split in listed_actions(listing, context, "split"):
        if split.ex_date > action.ex_date:
            amount = amount * split.denominator / split.numerator
    return amount
