"""Lifetime of a series: listing and delisting, as reported by vendors or proved by bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..display.texts import stamp
from ..time.instant import MINUTE_MS, NEVER_MS, iso
from ..time.span import Span
from ..time.timeframe import Timeframe
from .reasons import AFTER_LAST, data_ends

FIELD, PAGES, DATA = "field", "pages", "data"
NO_BARS_SINCE = "no bars since"


class Bound(NamedTuple):
    """The beginning or end of a series' lifetime.

    Attributes:
        at: For a beginning, the timestamp (UTC milliseconds) of the first possible bar; for an end,
            the first timestamp at which no bar is possible.
        source: Vendors that reported the bound or whose answers prove it, joined by commas.
        learned_at: Time at which the bound was learned, UTC milliseconds.
        expires: Time from which vendors are queried again, UTC milliseconds.
        proof: Evidence for a listing: ``field`` (a date in a vendor's answer) or ``pages`` (empty
            pages from two vendors). For an end, ``data`` means that only the data end, such as
            files of the user's own, which says nothing about the instrument.
    """

    at: int
    source: str
    learned_at: int
    expires: int
    proof: str = ""

    def is_valid(self, now_ms: int) -> bool:
        """Return whether the bound is valid at ``now_ms``.

        A valid bound has not expired, and was not learned in the future.
        """
        return self.learned_at - MINUTE_MS <= now_ms < self.expires


@dataclass(frozen=True)
class Lifetime:
    """The listing and delisting of a series' instrument, as far as they are known.

    Attributes:
        listed: Nothing traded before this bound; None if unknown.
        delisted: Nothing traded at or after this bound, or its vendors' data end here (``data``);
            None if unknown.
        unknown: Report by vendors that had bars that they do not know the symbol: ``at`` is the
            time of the first report, ``learned_at`` that of the latest one until it is accepted.
            None if there was none; without vendors if they have answered since.
    """

    listed: Bound | None = None
    delisted: Bound | None = None
    unknown: Bound | None = None

    def traded(self, now_ms: int) -> Span:
        """Return the span in which bars are possible, according to the bounds valid at ``now_ms``."""
        first, last = self.listed, self.delisted
        return Span(
            first.at if first is not None and first.is_valid(now_ms) else -NEVER_MS,
            last.at if last is not None and last.is_valid(now_ms) else NEVER_MS,
        )

    def for_gaps(self, now_ms: int) -> Span:
        """Return the span in which bars are possible, for explaining gaps.

        Unlike in :meth:`traded`, an expired listing still counts.
        """
        listed = self.listed.at if self.listed is not None else -NEVER_MS
        return Span(listed, self.traded(now_ms).end)

    def beyond(self, now_ms: int) -> list[Span]:
        """Return the spans before listing and after delisting, for which no vendor is queried."""
        traded = self.traded(now_ms)
        around = (Span(-NEVER_MS, traded.start), Span(traded.end, NEVER_MS))
        return [span for span in around if not span.is_empty]

    def updated(self, learned: Lifetime | None) -> Lifetime:
        """Return the lifetime with its bounds replaced by those in ``learned``, if any."""
        if learned is None:
            return self
        return replace(self, **{name: bound for name, bound in vars(learned).items() if bound})

    def without_disproved(self, first: int | None, last: int | None) -> Lifetime:
        """Return the lifetime without bounds that are disproved by bars from ``first`` to ``last``."""
        lifetime = self
        if first is not None and self.listed is not None and first < self.listed.at:
            lifetime = replace(lifetime, listed=None)
        if last is not None and self.delisted is not None and last >= self.delisted.at:
            lifetime = replace(lifetime, delisted=None)
        return lifetime

    @property
    def ended(self) -> Bound | None:
        """The end of the instrument's trading; None if it is unknown, or if only the data end."""
        end = self.delisted
        return None if end is None or end.proof == DATA else end

    def reason_after(self) -> str:
        """Return the reason for a gap after the end."""
        end = self.delisted
        return data_ends(end.at) if end is not None and end.proof == DATA else AFTER_LAST

    def dates(self, until_ms: int = 0, now_ms: int = 0) -> dict[str, str]:
        """Return the known ``listed`` and ``delisted`` dates as ISO 8601 in UTC.

        ``delisted`` is the end of the instrument's trading, and never that of a user's files. It is
        repeated as ``ended`` if a range up to ``until_ms`` reaches behind it, unless the end has to
        be checked again at ``now_ms``.
        """
        bounds = {"listed": self.listed, "delisted": self.ended}
        if until_ms > self.traded(now_ms).end:
            bounds["ended"] = self.ended
        return {name: iso(bound.at) for name, bound in bounds.items() if bound is not None}

    def ends(self, timeframe: Timeframe) -> Iterator[str]:
        """Yield a description of each known end of the lifetime."""
        for label, bound in (("listed", self.listed), (NO_BARS_SINCE, self.ended)):
            if bound is not None:
                source = f" ({', '.join(bound.source.split(','))})" if bound.source else ""
                yield f"{label} {stamp(bound.at, timeframe)}{source}"
        if self.delisted is not None and self.ended is None:
            yield self.reason_after()

    def to_json(self) -> dict[str, Any]:
        """Return the stored form of the bounds that are known, as a JSON-compatible dictionary."""
        bounds = {"listing": self.listed, "delisting": self.delisted, "unknown": self.unknown}
        return {name: _bound_to_json(bound) for name, bound in bounds.items() if bound is not None}


def _bound_to_json(bound: Bound) -> dict[str, Any]:
    entry = bound._asdict()
    return entry if bound.proof else {name: entry[name] for name in entry if name != "proof"}
