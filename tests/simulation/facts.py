"""What vendors tell, and how it changes afterwards: eleven facts, six operations, one table.

A `Change` is one cell of the table at work: what a vendor tells from one instant to another. When it is over,
the vendor tells the truth, except that what was cut stays cut. `History.telling` is pure: the changes and a
time in, what a vendor tells then out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import date_of, day_ms, iso
from src.data.core.model.time.span import Span
from tests.vendor_server.ground_truth import NEVER
from tests.vendor_server.listings import Listing, dividend, split
from tests.vendor_server.sessions import sessions_of

FACTS = (
    "bar", "split", "dividend", "listing", "end", "identity", "unit", "zone", "filing", "member",
    "vintage",
)  # fmt: skip
OPERATIONS = (
    "told", "withdrawn", "moved", "told by another", "told late", "cut at the front",
)  # fmt: skip

# --- the table -----------------------------------------------------------------------------------

# The cell is drawn by the walks of test_walks.py.
WALK = "walk"
# Facts behind other doors than bars, each with its six operations in one test.
_FILING = "tests/core/fundamentals/test_filings_that_change.py::test_a_filing"
_MEMBER = "tests/db/test_members_that_change.py::test_a_member"
_VINTAGE = "tests/core/macro/test_vintages_that_change.py::test_a_vintage"
_TIMELESS = "ruled out: vendors report it as of now, without a history whose front could be cut"

TABLE: Mapping[str, Mapping[str, str]] = {
    "bar": dict.fromkeys(OPERATIONS, WALK),
    "split": dict.fromkeys(OPERATIONS, WALK),
    "dividend": dict.fromkeys(OPERATIONS, WALK),
    "listing": dict.fromkeys(OPERATIONS, WALK),
    "end": dict.fromkeys(OPERATIONS, WALK)
    | {"cut at the front": "ruled out: the front of a history does not touch its end"},
    "identity": dict.fromkeys(OPERATIONS, WALK) | {"cut at the front": _TIMELESS},
    "unit": dict.fromkeys(OPERATIONS, WALK) | {"cut at the front": _TIMELESS},
    "zone": dict.fromkeys(OPERATIONS, WALK) | {"cut at the front": _TIMELESS},
    "filing": dict.fromkeys(OPERATIONS, _FILING),
    "member": dict.fromkeys(OPERATIONS, _MEMBER),
    "vintage": dict.fromkeys(OPERATIONS, _VINTAGE)
    | {"told by another": "ruled out: only one vendor publishes macro series with vintages"},
}


# --- changes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One operation on one fact.

    Attributes:
        fact, operation: the cell of the table.
        vendor: who tells it; empty for what all tell, because it happened.
        since_ms, until_ms: when the vendor's telling differs from the truth.
        happens: the split or dividend that happens; None if none does.
        hides: the one that the vendor does not tell meanwhile.
        tells: the one that it tells meanwhile, although it did not happen, or not then.
        first_ms: the front of what the vendor still has.
        span: the bars that the vendor lacks or tells otherwise.
        size: how far off what it tells is.
    """

    fact: str
    operation: str
    vendor: str
    since_ms: int
    until_ms: int
    happens: Action | None = None
    hides: Action | None = None
    tells: Action | None = None
    first_ms: int = 0
    span: Span = Span(0, 1)
    size: float = 1.0

    @property
    def day_ms(self) -> int:
        """The own day of the split or dividend, in UTC milliseconds; 0 if there is none."""
        action = self.happens or self.tells
        return 0 if action is None else day_ms(action.ex_date)

    @property
    def is_cut(self) -> bool:
        """Whether the vendor forgets what it told."""
        return self.operation == "cut at the front"


@dataclass(frozen=True)
class Telling:
    """What one vendor tells of an instrument.

    Attributes:
        listing: what it takes the instrument for; None if it does not know it.
        lacks: spans of bars that it does not have.
        factors: maps spans of bars to what it multiplies their prices by.
        is_down: whether it answers nothing at all.
    """

    listing: Listing | None
    lacks: tuple[Span, ...] = ()
    factors: tuple[tuple[Span, float], ...] = ()
    is_down: bool = False

    def has(self, opens_ms: int, closes_ms: int) -> bool:
        """Return whether the vendor has the bar that forms between these instants."""
        return not any(s.start <= opens_ms and closes_ms <= s.end for s in self.lacks)

    def factor(self, opens_ms: int, closes_ms: int) -> float:
        """Return what the vendor multiplies the prices of a bar by."""
        found = 1.0
        for span, factor in self.factors:
            if span.start <= opens_ms and closes_ms <= span.end:
                found *= factor
        return found


@dataclass
class History:
    """What happened and what vendors make of it.

    Attributes:
        base: the instrument without what the changes do.
        changes: in the order in which they were made.
    """

    base: Listing
    changes: list[Change] = field(default_factory=list)

    def truth(self) -> Listing:
        """Return the instrument as it truly is, with all that has happened and will."""
        happened = [c.happens for c in self.changes if c.happens is not None]
        listing = replace(self.base, actions=(*self.base.actions, *happened))
        ends = [c for c in self.changes if c.fact == "end" and not c.vendor]
        return replace(listing, delisted=iso(ends[0].since_ms)) if ends else listing

    def telling(self, vendor: str, now_ms: int) -> Telling:
        """Return what a vendor tells now."""
        true = self.truth()
        found = Telling(replace(true, told=true.actions))
        for change in self.changes:
            if change.vendor == vendor and change.since_ms <= now_ms < change.until_ms:
                found = _APPLY[change.fact](found, change)
        return found

    def next_ms(self, now_ms: int) -> int:
        """Return the next instant at which a vendor tells something else."""
        edges = [edge for c in self.changes for edge in (c.since_ms, c.until_ms)]
        return min((edge for edge in edges if edge > now_ms), default=NEVER)

    @property
    def is_cut(self) -> bool:
        """Whether a vendor has forgotten what it told."""
        return any(change.is_cut for change in self.changes)


def _bars(telling: Telling, change: Change) -> Telling:
    if change.operation == "told by another":
        return replace(telling, is_down=True)
    if change.operation == "moved":
        return replace(telling, factors=(*telling.factors, (change.span, change.size)))
    return replace(telling, lacks=(*telling.lacks, change.span))


def _actions(telling: Telling, change: Change) -> Telling:
    listing = telling.listing
    if listing is None or listing.told is None:
        return telling
    told = [action for action in listing.told if action != change.hides]
    if change.is_cut:
        told = [a for a in told if day_ms(a.ex_date) >= change.first_ms]
    elif change.tells is not None:
        told.append(change.tells)
    return replace(telling, listing=replace(listing, told=tuple(told)))


def _listing(telling: Telling, change: Change) -> Telling:
    if telling.listing is None or change.operation in ("told by another", "told late"):
        return replace(telling, listing=None)
    lacks = (*telling.lacks, change.span)
    listing = replace(telling.listing, listed=iso(change.first_ms))
    return replace(telling, listing=listing, lacks=lacks)


def _end(telling: Telling, change: Change) -> Telling:
    if telling.listing is None or change.operation in ("told by another", "told late"):
        return replace(telling, listing=None)
    # No vendor has bars of after the true end.
    end = min(filter(None, (telling.listing.delisted, iso(change.first_ms))))
    return replace(telling, listing=replace(telling.listing, delisted=end))


def _unit(telling: Telling, change: Change) -> Telling:
    if telling.listing is None:
        return telling
    factors = telling.factors
    if change.size != 1.0:
        factors = (*factors, (Span(0, NEVER), change.size))
    unit = {1.0: "", 0.01: "GBP"}.get(change.size, "USD")
    return replace(telling, listing=replace(telling.listing, currency=unit), factors=factors)


def _zone(telling: Telling, change: Change) -> Telling:
    if telling.listing is None:
        return telling
    zone = "UTC" if change.operation == "withdrawn" else "America/Chicago"
    return replace(telling, listing=replace(telling.listing, timezone=zone))


def other_company(listing: Listing) -> Listing:
    """Return the company that a vendor takes a symbol for by mistake."""
    made = replace(listing, seed="OTHER", base=37.0, name="Other plc", actions=())
    return made if listing.told is None else replace(made, told=())


def _identity(telling: Telling, change: Change) -> Telling:
    if telling.listing is None or change.operation == "told by another":
        return replace(telling, listing=None)
    return replace(telling, listing=other_company(telling.listing))


_APPLY = {
    "identity": _identity,
    "bar": _bars, "split": _actions, "dividend": _actions, "listing": _listing, "end": _end,
    "unit": _unit, "zone": _zone,
}  # fmt: skip


# --- making changes ------------------------------------------------------------------------------


def change_of(
    history: History, fact: str, operation: str, vendor: str, now_ms: int, until_ms: int, size: int
) -> Change | None:
    """Return the change of one cell, beginning now; None if it cannot happen here.

    Args:
        history: what happened so far.
        fact, operation: the cell.
        vendor: who tells it.
        now_ms, until_ms: from when to when the vendor tells it.
        size: a small number that chooses how large, or how far away, something is.
    """
    made = _MAKE[fact](history, operation, now_ms, size)
    if made is None:
        return None
    is_cut = operation == "cut at the front"
    # The days that an action is told otherwise are counted from its own day.
    action = made.get("happens") or made.get("tells")
    if action is not None:
        until_ms += max(0, day_ms(action.ex_date) - now_ms)
    plain = Change(fact, operation, vendor, now_ms, NEVER if is_cut else until_ms)
    return replace(plain, **made)


def _day_of(history: History, now_ms: int, sessions: int) -> int:
    """Return the date of the session that is so many after the next one, in UTC milliseconds."""
    calendar = sessions_of(history.base.calendar)
    place = int((calendar.opens > now_ms).argmax()) + sessions
    return int(calendar.dates[place])


def _close_of(history: History, now_ms: int, sessions: int) -> int:
    """Return the close of a session, counted as in `_day_of`."""
    calendar = sessions_of(history.base.calendar)
    return int(calendar.closes[int((calendar.opens > now_ms).argmax()) + sessions])


def _open_of(history: History, now_ms: int, sessions: int) -> int:
    """Return the open of a session, counted as in `_day_of`."""
    calendar = sessions_of(history.base.calendar)
    return int(calendar.opens[int((calendar.opens > now_ms).argmax()) + sessions])


_RATIOS = ((2, 1), (10, 1), (3, 1), (1, 10))
# Parts of the price; the price does not fall by them, and a larger part would look like a wrong dividend.
_PARTS = (0.02, 0.01, 0.015, 0.005)
# Sessions by which a date is told too late (or too early).
_SHIFTS = (1, 9, -1, 4)


def _action_made(fact: str) -> Any:
    def make(history: History, operation: str, now_ms: int, size: int) -> dict[str, Any] | None:
        if operation == "cut at the front":
            return {"first_ms": _day_of(history, now_ms, -8 * (1 + size))}
        known = [a for a in history.truth().actions if a.type == fact]
        if operation == "withdrawn" and size % 2 and known:  # there, then gone, then there again
            return {"hides": known[-1]}
        for ahead in range(10):  # the first of the next sessions that is far from other actions
            day, other_day = (
                date_of(_day_of(history, now_ms, n)) for n in (ahead, ahead + _SHIFTS[size])
            )
            if _is_free(history, fact, *((day, other_day) if operation == "moved" else (day,))):
                break
        else:
            return None
        action = _action(history, fact, day, size)
        if operation == "told":
            return {"vendor": "", "happens": action}
        if operation == "withdrawn":
            return {"tells": action}
        if operation == "moved":
            other = replace(action, ex_date=other_day)
            return {"happens": action, "hides": action, "tells": other}
        return {"happens": action, "hides": action}  # told by another, or late

    return make


def _is_free(history: History, fact: str, *days: date) -> bool:
    """Return whether no action is near these dates: two near each other are a dispute about one."""
    made = [a for c in history.changes for a in (c.happens, c.tells) if a is not None]
    for day in days:
        if any(a.type == fact and abs((a.ex_date - day).days) <= 60 for a in made):
            return False
        if any(abs((a.ex_date - day).days) <= 6 for a in (*made, *history.base.actions)):
            return False
    return True


def _action(history: History, fact: str, day: date, size: int) -> Action:
    if fact == "split":
        return split(day.isoformat(), *_RATIOS[size])
    shares = 1.0
    for action in history.truth().actions:
        shares *= float(action.ratio) if action.type == "split" else 1.0
    return dividend(day.isoformat(), round(history.base.base * _PARTS[size] / shares, 6))


def _bar_made(history: History, operation: str, now_ms: int, size: int) -> dict[str, Any] | None:
    if operation == "told":
        return {"vendor": ""}
    if operation == "cut at the front":
        return {"span": Span(0, _open_of(history, now_ms, -3 - 10 * size))}
    if operation == "told by another":
        return {}
    if operation == "told late":
        return {"span": Span(_open_of(history, now_ms, 0), NEVER)}
    span = Span(_open_of(history, now_ms, -4 - 5 * size), _close_of(history, now_ms, -3 - 5 * size))
    return {"span": span, "size": 1.02}


def _listing_made(
    history: History, operation: str, now_ms: int, size: int
) -> dict[str, Any] | None:
    if operation == "told":
        return {"vendor": ""}
    if operation in ("told by another", "told late"):
        return {}
    first = max(_open_of(history, now_ms, -12 * (1 + size)), history.base.tape.listed_ms)
    if operation == "withdrawn":  # a date long before the first bar
        return {"first_ms": history.base.tape.listed_ms - 2000 * 86_400_000,
                "span": Span(0, history.base.tape.listed_ms)}  # fmt: skip
    return {"first_ms": first, "span": Span(0, first)}


def _end_made(history: History, operation: str, now_ms: int, size: int) -> dict[str, Any] | None:
    if operation == "told":
        if any(c.fact == "end" and not c.vendor for c in history.changes):
            return None
        return {"vendor": "", "until_ms": NEVER, "since_ms": _close_of(history, now_ms, 0)}
    return {"first_ms": _close_of(history, now_ms, -1 - size)}


def _unit_made(history: History, operation: str, now_ms: int, size: int) -> dict[str, Any] | None:
    if operation == "told":
        return {"vendor": ""}
    return {"size": 1.0 if operation in ("withdrawn", "told late") else 0.01}


def _plain_made(history: History, operation: str, now_ms: int, size: int) -> dict[str, Any] | None:
    return {"vendor": ""} if operation == "told" else {}


_MAKE = {
    "bar": _bar_made, "split": _action_made("split"), "dividend": _action_made("dividend"),
    "listing": _listing_made, "end": _end_made, "unit": _unit_made, "zone": _plain_made,
    "identity": _plain_made,
}  # fmt: skip


def cells(value: str = WALK) -> Sequence[tuple[str, str]]:
    """Return the cells of the table with a value."""
    return [(f, o) for f, row in TABLE.items() for o, held in row.items() if held == value]
