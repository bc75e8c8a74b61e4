"""The history of a macro series: every published value, with the days on which it was valid."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ..model.time.instant import iso, to_ms
from ..vendors.fred.series import Value

_COLUMNS = ("date", "value", "released", "until")
_COMMENT = "# fetched "
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Revision:
    """One value of one period.

    Attributes:
        day: First day of the period that the value describes.
        value: The value; NaN if the period was published without a value.
        released: First day on which the value was public.
        until: Last day on which it was valid; None if it still is.
    """

    day: date
    value: float
    released: date
    until: date | None = None

    def was_valid(self, day: date) -> bool:
        """Return whether this was the period's published value on ``day``."""
        return self.released <= day and (self.until is None or day <= self.until)


@dataclass(frozen=True)
class History:
    """All published values of one series.

    Attributes:
        revisions: The values, ordered by period and then by day of publication.
        fetched_ms: Time up to which publications are included (UTC milliseconds).
    """

    revisions: tuple[Revision, ...] = ()
    fetched_ms: int = 0

    def vintages(self) -> list[date]:
        """Return the days on which values appeared or changed, in ascending order."""
        days = {each.released for each in self.revisions}
        days |= {each.until + _DAY for each in self.revisions if each.until is not None}
        return sorted(days)

    def as_of(self, day: date) -> list[Revision]:
        """Return the values that were valid on ``day``, one per period, in ascending order."""
        return [each for each in self.revisions if each.was_valid(day)]


def extended(
    revisions: Iterable[Revision], values: Iterable[Value], first: date, last: date
) -> tuple[Revision, ...]:
    """Return ``revisions`` with the values that were valid from ``first`` to ``last``.

    Args:
        revisions: Values up to the vintage before ``first``.
        values: Values as a vendor returns them for the vintages from ``first`` to ``last``.
        first, last: Vintages that bound ``values``.
    """
    merged: list[Revision] = []
    valid: dict[date, Revision] = {}
    for each in revisions:
        if each.until is None:
            valid[each.day] = each
        else:
            merged.append(each)
    for value in sorted(values, key=lambda value: (value.day, value.released)):
        released, former = value.released, valid.pop(value.day, None)
        if former is not None:
            if value.released == first and _is_same(former.value, value.value):
                released = former.released  # nothing has changed on the first vintage
            else:
                merged.append(_ended(former, first - _DAY))
        until = None if value.until >= last else value.until
        merged.append(Revision(value.day, value.value, released, until))
    merged += [_ended(former, first - _DAY) for former in valid.values()]  # withdrawn
    # A value that was replaced on the day of its publication was never the day's value.
    lasting = (each for each in merged if each.until is None or each.released <= each.until)
    return tuple(sorted(lasting, key=lambda each: (each.day, each.released)))


def as_text(history: History) -> bytes:
    """Return the content of a file: a line with the time of the answer, then CSV."""
    text = io.StringIO()
    text.write(f"{_COMMENT}{iso(history.fetched_ms)}; a value is valid if `until` is empty\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for each in history.revisions:
        value = "" if math.isnan(each.value) else repr(each.value)
        table.writerow((each.day, value, each.released, each.until or ""))
    return text.getvalue().encode()


def of_text(content: bytes) -> History:
    """Parse what :func:`as_text` returned.

    Raises:
        ValueError: The content is something else.
    """
    comment, header, *lines = content.decode().splitlines()
    if not comment.startswith(_COMMENT) or header != ",".join(_COLUMNS):
        raise ValueError("it does not begin with the time of an answer and the names of columns")
    fetched = comment.removeprefix(_COMMENT).partition(";")[0]
    rows = csv.reader(lines)
    revisions = tuple(
        Revision(
            date.fromisoformat(day),
            float(value or "nan"),
            date.fromisoformat(released),
            date.fromisoformat(until) if until else None,
        )
        for day, value, released, until in rows
    )
    return History(revisions, to_ms(datetime.fromisoformat(fetched)))


def _ended(former: Revision, until: date) -> Revision:
    return Revision(former.day, former.value, former.released, until)


def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def chosen(revisions: Sequence[Revision], start: date | None, end: date | None) -> list[Revision]:
    """Return the values of periods that begin from ``start`` to ``end``, both inclusive."""
    return [
        each
        for each in revisions
        if (start is None or start <= each.day) and (end is None or each.day <= end)
    ]
