"""Times of acceptance in UTC. Pure.

The SEC writes times of acceptance with a ``Z``, but for about a fifth of filers, and for some
filings on their first day, they are New York's wall time. Examples (submissions; header of the same
filing, which always is New York's time): U.S. Steel 0001163302-25-000028, ``2025-05-01T16:21:59Z``
and ``20250501162159``; Apple, ``2026-01-02T21:30:52Z`` and ``20260102163052``.

What decides is whether a reading is possible: EDGAR accepts filings from 6:00 to 22:00 in New York,
and a report accepted after 17:30 has a later date of filing. A time that both readings allow is
read as the filer's other times are. If those contradict each other, or prove nothing, the later
reading applies, so that a filing never counts too early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ...calendars.localtime import local_to_utc, offset_ms
from ...model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of, day_ms, to_ms
from .answers import Filing

NEW_YORK = ZoneInfo("America/New_York")
_WALL = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T ]?(\d\d):?(\d\d):?(\d\d)(?:\.\d+)?")
_OFFSET = re.compile(r"[+-]\d\d:?\d\d$")
_OPENS, _CLOSES = 6 * HOUR_MS, 22 * HOUR_MS
# Acceptance may be recorded some minutes after submission.
_SLACK = 30 * MINUTE_MS
_SAME_DAY_UNTIL = 17 * HOUR_MS + 30 * MINUTE_MS
_NEARLY = 5 * MINUTE_MS
# Forms whose date of filing follows the rule above; ownership forms have other hours.
_DATED = re.compile(r"(10-[KQ]T?|8-K|20-F|40-F|6-K)(/A)?")
# The SEC's own documents, such as orders, are accepted at other hours.
_OWN = "99999999"
# Time after which the SEC has corrected the zone of a new filing's time.
_FRESH_MS = 3 * DAY_MS
# A filing is dated at most some days after its acceptance; an earlier time is a mistake.
_LONGEST_MS = 10 * DAY_MS


class _Readings(NamedTuple):
    """The two readings of a time, in UTC milliseconds, and which of them are possible."""

    as_utc: int
    as_new_york: int
    may_be_utc: bool
    may_be_new_york: bool

    @property
    def is_proven(self) -> bool:
        """Whether only one of them is possible."""
        return self.may_be_utc != self.may_be_new_york


def with_times(filings: Iterable[Filing], fetched_ms: int) -> tuple[Filing, ...]:
    """Return the filings of one filer with their times of acceptance.

    Args:
        filings: All known filings of the filer, in any order.
        fetched_ms: Time of the answer, in UTC milliseconds; nothing was accepted later.
    """
    known = tuple(filings)
    readings = {f.accession: r for f in known if (r := _readings(f, fetched_ms)) is not None}
    proofs = [r.may_be_utc for r in readings.values() if r.is_proven]
    in_utc = proofs.count(True)
    # One proof of UTC may be a filing that was accepted long after its submission.
    is_usual = bool(proofs) and in_utc in (0, len(proofs)) and in_utc != 1
    usual = proofs[0] if is_usual else None
    timed = (_timed(f, readings.get(f.accession), usual, fetched_ms) for f in known)
    return tuple(
        f
        if f.accepted_ms is None or f.accepted_ms >= _day_ms(f) - _LONGEST_MS
        else replace(f, accepted_ms=None, is_certain=False)
        for f in timed
    )


def _day_ms(filing: Filing) -> int:
    return day_ms(date.fromisoformat(filing.filed))


def _timed(f: Filing, reading: _Readings | None, usual: bool | None, fetched_ms: int) -> Filing:
    if reading is None:
        stated = _stated(f.accepted_raw)
        return replace(f, accepted_ms=stated, is_certain=stated is not None)
    if reading.is_proven:
        is_utc, is_certain = reading.may_be_utc, True
    else:
        is_fresh = reading.as_utc > fetched_ms - _FRESH_MS and reading.as_new_york <= fetched_ms
        is_certain = usual is not None and not is_fresh
        is_utc = bool(usual) and is_certain
    return replace(
        f,
        accepted_ms=reading.as_utc if is_utc else reading.as_new_york,
        is_certain=is_certain,
    )


def _readings(filing: Filing, fetched_ms: int) -> _Readings | None:
    """Return both readings of a time that ends with ``Z``; None for any other."""
    wall = _wall(filing.accepted_raw) if filing.accepted_raw.endswith("Z") else None
    if wall is None or filing.accession.startswith(_OWN):
        return None
    as_new_york = local_to_utc(NEW_YORK, wall)
    return _Readings(
        wall,
        as_new_york,
        _is_possible(filing, wall + offset_ms(NEW_YORK, wall)),
        _is_possible(filing, wall) and as_new_york <= fetched_ms,
    )


def _is_possible(filing: Filing, local_ms: int) -> bool:
    """Return whether EDGAR can have accepted a filing at a wall time in New York."""
    day, time = date_of(local_ms), local_ms % DAY_MS
    if not _OPENS <= time < _CLOSES + _SLACK or day.weekday() > 4:
        return False
    if not _DATED.fullmatch(filing.form):
        return True
    if abs(time - _SAME_DAY_UNTIL) < _NEARLY:
        return filing.filed >= day.isoformat()
    is_same_day = time < _SAME_DAY_UNTIL
    return filing.filed == day.isoformat() if is_same_day else filing.filed > day.isoformat()


def _stated(raw: str) -> int | None:
    """Return the instant of a time with an offset, or of New York's time without one."""
    if _OFFSET.search(raw):
        try:
            return to_ms(datetime.fromisoformat(raw))
        except (ValueError, OverflowError):
            return None
    wall = _wall(raw)
    return None if wall is None else local_to_utc(NEW_YORK, wall)


def _wall(raw: str) -> int | None:
    """Return a wall time in milliseconds as if it were UTC; None if the text is something else."""
    match = _WALL.fullmatch(raw.removesuffix("Z"))
    try:
        return None if match is None else to_ms(datetime(*map(int, match.groups())))  # type: ignore[arg-type, unused-ignore]
    except (ValueError, OverflowError):
        return None
