"""Functions shared by vendors of American stocks: spellings, session dates, splits, dividends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from ...errors import CapabilityError, NoDataError, ResponseFormatError
from ..calendars.localtime import local_date, local_to_utc
from ..model.identity.instrument import Instrument
from ..model.market.actions import Action, vendor_currency, vendor_date
from ..model.request.http import HttpRequest
from ..model.time.instant import DAY_MS, day_ms
from ..model.time.span import Span
from .dates import amount
from .paging import IDLE_PAGES, PagedVendor, format_errors

NEW_YORK = "America/New_York"
_ZONE = ZoneInfo(NEW_YORK)
_CLASS = re.compile(r"([A-Z]+)[-.](P?)([A-Z]{1,2})")
# Maximum number of pages of actions, more than any company has; it stops a vendor that always
# announces another page.
_PAGE_CAP = 100
_MOST_ACTIONS = 10_000

ActionReader = Callable[[Any], tuple[Iterable[Action], HttpRequest | None]]


def share(instrument: Instrument, vendor: str, separator: str, preferred: str) -> str:
    """Return the vendor's spelling of an American stock.

    Args:
        instrument: Stock to spell; if it has a spelling for this vendor, that is used unchanged.
        vendor: Canonical name of the vendor.
        separator: Text between the name and the class of a share, such as the dot in ``BRK.B``.
        preferred: Text between the name and the letter of a preferred share, such as ``.PR`` in
            ``BAC.PRK``.

    Raises:
        CapabilityError: The stock is not listed in the USA, where its symbol could mean another
            stock.
    """
    if instrument.timezone not in ("UTC", NEW_YORK):
        raise CapabilityError(f"{vendor} serves US stocks, not {instrument.symbol}")
    spelled = instrument.spelling(vendor)
    match = _CLASS.fullmatch(spelled)
    if match is None or spelled != instrument.symbol.removesuffix(".US"):
        return spelled
    name, is_preferred, letters = match.groups()
    # WS, UN and P alone are also classes.
    return f"{name}{preferred if is_preferred else separator}{letters}"


def session_ms(label_ms: int) -> int:
    """Convert a vendor's label of a daily bar to the session's timestamp.

    The label is midnight in New York, in UTC milliseconds; the timestamp is midnight UTC of the same
    date.
    """
    return day_ms(local_date(_ZONE, label_ms))


def midnight_ms(day: int) -> int:
    """Return the instant of midnight in New York on the date with the timestamp ``day``."""
    return local_to_utc(_ZONE, day)


def days_of(span: Span) -> Span:
    """Return the span of whole days whose timestamps, at midnight, are in ``span``.

    Raises:
        NoDataError: The span contains no midnight.
    """
    days = Span(-(-span.start // DAY_MS) * DAY_MS, -(-span.end // DAY_MS) * DAY_MS)
    if days.is_empty:
        raise NoDataError("no day begins in this range")
    return days


def split(day: str, new: Any, old: Any) -> Action:
    """Return a split that gives ``new`` shares for ``old`` ones, with the ISO ex-date ``day``."""
    return Action(date.fromisoformat(day), "split", _ex_at(day), amount(new), amount(old))


def dividend(day: str, cash: Any, pay_date: Any = None, currency: Any = None) -> Action:
    """Return a cash dividend with the ISO ex-date ``day``, in terms of the shares on that date.

    ``pay_date`` and ``currency`` are the vendor's values, if any.
    """
    return Action(
        date.fromisoformat(day),
        "dividend",
        _ex_at(day),
        amount=amount(cash),
        as_paid=True,
        pay_date=vendor_date(pay_date),
        currency=vendor_currency(currency),
    )


def stamped(actions: Iterable[Action], vendor: str, now_ms: int) -> list[Action]:
    """Return the actions with ``vendor`` set as their source, and ``now_ms`` as the time of the request."""
    return [replace(action, source=vendor, fetched_at=now_ms) for action in actions]


def ask_actions(
    vendor: PagedVendor, first: HttpRequest, read: ActionReader, span: Span, now_ms: int
) -> Sequence[Action]:
    """Return the actions with an ex-date in ``span``, over as many pages as needed.

    Args:
        vendor: Vendor that sends the requests.
        first: Request for the first page.
        read: Function that parses a response into its actions and the request for the next page, if
            any.
        span: Span of session dates.
        now_ms: Time of the request, in UTC milliseconds.

    Raises:
        ResponseFormatError: A response cannot be parsed, or there are too many pages.
        DataError: The vendor refused or failed.
    """
    actions: dict[Action, None] = {}
    request: HttpRequest | None = first
    idle = 0
    for _ in range(_PAGE_CAP):
        if request is None:
            reported = stamped(actions, vendor.name, now_ms)
            return sorted(action for action in reported if day_ms(action.ex_date) in span)
        before = len(actions)
        page, request = _read(vendor, request, read)
        actions.update(dict.fromkeys(page))
        idle = 0 if len(actions) > before else idle + 1
        if request is not None and (idle > IDLE_PAGES or len(actions) > _MOST_ACTIONS):
            raise ResponseFormatError(
                f"{vendor.name} sends the same splits and dividends again and again"
            )
    raise ResponseFormatError(f"{vendor.name} has more than {_PAGE_CAP} pages of actions")


def _read(
    vendor: PagedVendor, request: HttpRequest, read: ActionReader
) -> tuple[list[Action], HttpRequest | None]:
    response = vendor.send(request)
    with format_errors(vendor.name, "splits and dividends"):
        actions, following = read(response.json())
        return list(actions), following


def _ex_at(day: str) -> int:
    """Return the time from which an action with the ex-date ``day`` applies: midnight in New York.

    There is no trading at that time, not even in extended hours.
    """
    return midnight_ms(day_ms(date.fromisoformat(day)))
