"""The last row of Yahoo's chart, which is not like the others while its bar forms."""

from __future__ import annotations

from onetape.data.core.model.time.instant import SECOND_MS
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context
from .ground_truth import Row
from .listings import Listing
from .sessions import ALWAYS
from .yahoo_meta import session_of

Labelled = tuple[int, Row]


def live(
    listing: Listing, frame: Timeframe, context: Context, last: Labelled, *, twin: bool
) -> list[Labelled]:
    """Return the rows that stand in the place of the last one.

    While a bar forms it is stamped by the last trade. Intraday a row of nulls holds its place on
    the grid and the live row is one price. A week or month has the days before today on its grid
    stamp and today alone as the live row. From the close to local midnight a day keeps the stamp
    of its last trade; ``twin`` shows it on its grid stamp as well, with another volume.
    """
    label, row = last
    if frame.is_intraday:
        return _intraday(context.now_ms, label, row)
    if frame.unit != "d":
        return _longer(listing, context, label, row)
    stamp = _last_trade(listing, context.now_ms, row)
    if stamp is None:
        return [last]
    if twin and row.closes_ms <= context.now_ms:
        return [last, (stamp, row._replace(volume=(row.volume or 0.0) + 100.0))]
    return [(stamp, row)]


def _intraday(now_ms: int, label: int, row: Row) -> list[Labelled]:
    if row.closes_ms <= now_ms:
        return [(label, row)]
    price = row.close
    flat = row._replace(open=price, high=price, low=price, close=price, volume=0.0)
    return [(label, row.emptied()), (_running_stamp(now_ms, row), flat)]


def _longer(listing: Listing, context: Context, label: int, row: Row) -> list[Labelled]:
    day = Timeframe(1, "d")
    days = context.rows(listing, day, (row.stamp_ms, row.closes_ms), "split")
    stamp = _last_trade(listing, context.now_ms, days[-1]) if days else None
    if stamp is None or listing.calendar == ALWAYS:
        return [(label, row)]
    before, today = days[:-1], (stamp, days[-1])
    if not before:
        return [today]
    rest = row._replace(
        open=before[0].open, close=before[-1].close, adj_close=before[-1].adj_close,
        high=max(r.high or 0.0 for r in before), low=min(r.low or 0.0 for r in before),
        volume=sum(r.volume or 0.0 for r in before),
    )  # fmt: skip
    return [(label, rest), today]


def _last_trade(listing: Listing, now_ms: int, day: Row) -> int | None:
    """Return the stamp of a day that is still live, or None for one that stands on its grid."""
    if day.closes_ms > now_ms:
        return _running_stamp(now_ms, day)
    _, _, close, midnight = session_of(listing, now_ms)
    evening = day.closes_ms == close and now_ms < midnight
    return close + SECOND_MS if evening else None


def _running_stamp(now_ms: int, row: Row) -> int:
    """Return a moment ago, inside the bar and never on its first second."""
    return max(now_ms // SECOND_MS * SECOND_MS - SECOND_MS, row.opens_ms + SECOND_MS)
