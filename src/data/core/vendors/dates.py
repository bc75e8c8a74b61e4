"""Parses dates, wall times and numbers in the formats that vendors use."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..calendars.localtime import local_date, local_to_utc
from ..model.identity.instrument import Instrument
from ..model.market.actions import Action, ActionType, vendor_currency, vendor_date
from ..model.market.bars import NAN, Bar
from ..model.request.capabilities import FetchQuery
from ..model.time.instant import DAY_MS, SECOND_MS, date_of, day_ms, to_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe

NEW_YORK = "America/New_York"
_NOTHING = frozenset({None, "", "-", "None", "NaN", "NA"})
# A factor with a denominator up to the first is exact as it is written; with two decimals below 1,
# up to the second, because 0.33 is 1/3 rather than 33/100. Up to the third, it is exact unless it
# may be rounded.
_SIMPLE, _SIMPLE_BELOW, _PLAUSIBLE = 100, 20, 50
# Terms of a fraction that is recognized in a rounded factor do not exceed the first; terms with
# more digits than the second has are not shown as integers.
_MOST_TERM, _MOST_WRITTEN = 5000, 10**6
# A float prints at most 24 characters. Exact arithmetic with a factor of a million would take a minute.
_MOST_CHARACTERS = 30
# Largest distance of a float from the fraction that it prints. Of all numbers with n decimals, one
# in twenty rounds some fraction with a denominator up to 0.4 * 10 ** (n / 2): up to a denominator q
# there are 0.3 * q ** 2 fractions in an interval of length 1.
_FLOAT_ERROR, _CHANCE = 1e-12, 0.4


def number(value: Any) -> float:
    """Return a number or numeric text as a float; a vendor's marker for a missing value gives NaN.

    Raises:
        ValueError, TypeError: The value is not numeric.
    """
    return NAN if value in _NOTHING else amount(value)


def amount(value: Any) -> float:
    """Return a number or numeric text as a float; a missing value is an error.

    Raises:
        ValueError, TypeError: The value is not numeric.
    """
    if isinstance(value, bool):
        raise TypeError("expected a number, not a boolean")
    return float(value)


def split_terms(value: Any) -> tuple[float, float]:
    """Return the new and the old shares of a split whose factor is written as one number.

    The written number is exact, unless it must be the rounding of a fraction:

    - It has as many digits as a float, and is within 1e-12 of a fraction with small terms.
    - It has four decimals or more (two if below 1), and rounds a fraction with a denominator so
      small that one number in twenty would match such a fraction by chance.
    - It is below 1, and rounds one over an integer: 0.0333 is 1/30 and 0.33 is 1/3, while 0.35 is
      7/20 and 1.0439 is 10439/10000.

    Terms are integers if the written number has six decimals at most, or is such a fraction.

    Raises:
        ValueError: The value is not a number above zero, or has more than 30 characters, or it is so
            small that rounding has changed it by more than 0.1 %: 0.0067 may be 1/149 or 1/150, and
            0.47 is not a simple ratio.
        TypeError, ArithmeticError: The value is not a number, or is too large for a float.
    """
    text = str(value).strip()
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"a split factor has at most 30 characters, not {len(text)}: {text[:9]}..."
        )
    if not 0 < amount(value) < math.inf:
        raise ValueError(f"a split factor must be a number above 0, not {value}")
    written = Decimal(text)
    exact, places = Fraction(written), _decimals(written)
    if exact.denominator <= (_SIMPLE_BELOW if exact < 1 and places == 2 else _SIMPLE):
        return exact.numerator, exact.denominator
    if len(written.normalize().as_tuple().digits) >= sys.float_info.dig:
        near = exact.limit_denominator(max(1, int(_MOST_TERM / max(1.0, float(exact)))))
        is_near = abs(near / exact - 1) <= _FLOAT_ERROR
    else:
        near = exact.limit_denominator(min(_MOST_TERM, int(_CHANCE * 10 ** (places / 2))))
        if exact < 1 and round(near, places) != exact:
            near = 1 / Fraction(round(1 / exact))
        decimals = _decimals(written.normalize())
        is_near = decimals >= (4 if exact > 1 else 2) and round(near, places) == exact
        is_coarse = exact.numerator > 1 and 2 * exact * 10**places < 1000
        is_coarse &= is_near or exact.denominator > _PLAUSIBLE
        if is_coarse and (not is_near or _is_ambiguous(near, places)):
            raise ValueError(f"the split factor {value} is rounded too much")
    if is_near:
        exact = near
    if exact.denominator <= _MOST_WRITTEN:
        return exact.numerator, exact.denominator
    return float(value), 1.0


def _decimals(written: Decimal) -> int:
    """Return the number of digits after the decimal point."""
    return max(0, -int(written.as_tuple().exponent))


def _is_ambiguous(near: Fraction, places: int) -> bool:
    """Return whether one over the next integer up or down is rounded to the same number."""
    if near.numerator != 1:
        return False
    others = (Fraction(1, near.denominator + step) for step in (-1, 1))
    return any(round(other, places) == round(near, places) for other in others)


def label(value: Any) -> int:
    """Return the time label of a bar, a number or numeric text, as an integer.

    Raises:
        ValueError, TypeError: The value is not numeric.
    """
    if isinstance(value, bool):
        raise TypeError("expected a time, not a boolean")
    return int(value)


def list_of(value: Any) -> list[Any]:
    """Return ``value`` if it is a list.

    Raises:
        TypeError: The value is not a list. Even an empty string or mapping does not mean "no rows".
    """
    if not isinstance(value, list):
        raise TypeError(f"expected a list of rows, not {type(value).__name__}")
    return value


def zone_named(name: Any) -> ZoneInfo:
    """Return the time zone that a response names.

    Raises:
        ValueError, TypeError: The name is not that of a time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as exc:  # a folder, or a name that is too long
        raise ValueError(f"there is no time zone {str(name)[:40]!r}") from exc


def day(text: str) -> int:
    """Return the timestamp of a date.

    Raises:
        ValueError: The text is not a date.
    """
    return day_ms(date.fromisoformat(text))


def stamp_of(text: str, timeframe: Timeframe, zone: ZoneInfo) -> int:
    """Return the timestamp of a bar that is labeled with a local time in ``zone``, or with a date.

    The label of a week or month may be any of its days: vendors use the first, the last, or the
    last trading day.

    Args:
        text: Label as an ISO 8601 string; a UTC offset in it is ignored.
        timeframe: Timeframe of the bar.
        zone: Time zone of local times; not used for daily and longer bars.

    Raises:
        ValueError: The text is neither a time nor a date.
    """
    moment = datetime.fromisoformat(text)
    if timeframe.is_intraday:
        return local_to_utc(zone, to_ms(moment.replace(tzinfo=None)))
    named = moment.date()
    if timeframe.unit == "w":
        named -= timedelta(days=named.weekday())
    return day_ms(named.replace(day=1) if timeframe.unit == "M" else named)


def dates_of(query: FetchQuery) -> dict[str, str]:
    """Return the first and the last date of a query, local to the venue, as ``from`` and ``to``."""
    first, last = _dates(query)
    return {"from": first.isoformat(), "to": last.isoformat()}


def dates_in(span: Span) -> dict[str, str]:
    """Return the first and the last date in a span of session dates, as ``from`` and ``to``."""
    return {"from": date_of(span.start).isoformat(), "to": date_of(span.end - 1).isoformat()}


def seconds_of(span: Span) -> dict[str, int]:
    """Return the first and the last second of ``span``, as ``from`` and ``to``."""
    return {"from": -(-span.start // SECOND_MS), "to": (span.end - 1) // SECOND_MS}


def without_margin(bars: Iterable[Bar], query: FetchQuery) -> list[Bar]:
    """Drop bars outside the span that were returned only because whole dates were requested.

    Rows for dates that were not requested are kept, because they show that the response is wrong.
    """
    first, last = map(day_ms, _dates(query))
    dates = Span(first, last + DAY_MS)
    if query.timeframe.is_intraday:
        zone = zone_of(query.instrument)
        dates = Span(local_to_utc(zone, dates.start), local_to_utc(zone, dates.end))
    return [bar for bar in bars if bar.stamp_ms in query.span or bar.stamp_ms not in dates]


def _dates(query: FetchQuery) -> tuple[date, date]:
    ends = query.span.start, query.span.end - 1
    if not query.timeframe.is_intraday:
        return date_of(ends[0]), date_of(ends[1])
    zone = zone_of(query.instrument)
    return local_date(zone, ends[0]), local_date(zone, ends[1])


def zone_of(instrument: Instrument) -> ZoneInfo:
    """Return the time zone of the times in a stock's bars; New York if the venue is unknown."""
    return ZoneInfo(NEW_YORK if instrument.calendar == "24/7" else instrument.timezone)


@dataclass(frozen=True)
class ActionReader:
    """Converts a vendor's rows about one stock to splits and dividends.

    Attributes:
        instrument: Stock to which the rows belong.
        source: Canonical name of the vendor.
        now_ms: Time of the request, in UTC milliseconds.
        as_paid: Whether dividends are in terms of the shares on their ex-date, that is, not
            adjusted for later splits.
    """

    instrument: Instrument
    source: str
    now_ms: int
    as_paid: bool = True

    def split(self, text: str, new: Any, old: Any) -> Action:
        """Return a split that gives ``new`` shares for ``old`` ones, with the ex-date in ``text``."""
        action = self._action(text, "split")
        return replace(action, numerator=amount(new), denominator=amount(old))

    def dividend(self, text: str, paid: Any, pay_date: Any = None, currency: Any = None) -> Action:
        """Return a dividend with the ex-date in ``text``; pay date and currency may be unknown."""
        action = self._action(text, "dividend")
        return replace(
            action,
            amount=amount(paid),
            as_paid=self.as_paid,
            pay_date=vendor_date(pay_date),
            currency=vendor_currency(currency),
        )

    def _action(self, text: str, action_type: ActionType) -> Action:
        ex_date = date.fromisoformat(text)
        # Midnight at the venue, which is never within a session of a stock.
        begins = local_to_utc(zone_of(self.instrument), day_ms(ex_date))
        return Action(ex_date, action_type, begins, source=self.source, fetched_at=self.now_ms)


def within(actions: Iterable[Action], span: Span) -> list[Action]:
    """Return the actions with an ex-date in ``span``, a span of session dates, oldest first."""
    return sorted(action for action in actions if day_ms(action.ex_date) in span)
