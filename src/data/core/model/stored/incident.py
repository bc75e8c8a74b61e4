"""Incidents: consecutive sessions in which a vendor lacks bars for most of its symbols."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .coverage import VendorDay


@dataclass(frozen=True)
class Incident:
    """Consecutive sessions in which one vendor lacks the same bars, for one market and timeframe.

    Attributes:
        days: Sessions, ascending; at least one.
    """

    days: tuple[VendorDay, ...]

    def __str__(self) -> str:
        first, last = self.days[0], self.days[-1]
        if first == last:
            return str(first)
        worst = max(self.days, key=lambda day: day.lacking / day.symbols)
        counts = f"{worst.lacking} of {worst.symbols} symbols"
        most = "up to " if len({(d.lacking, d.symbols) for d in self.days}) > 1 else ""
        when = f"{first.day} to {last.day} ({len(self.days)} sessions)"
        return f"{first.vendor} {when} {first.timeframe}: {first.condition} for {most}{counts}"

    @property
    def text(self) -> str:
        """A description of the incident."""
        is_pending = self.days[0].condition == "pending"
        return f"{self}; possibly not published yet" if is_pending else str(self)


def incidents_of(days: Iterable[VendorDay]) -> list[Incident]:
    """Group sessions into incidents, which are sorted by last day, vendor and timeframe."""
    runs: list[list[VendorDay]] = []
    grouped = sorted(days, key=lambda d: (d.vendor, d.calendar, d.timeframe, d.span))
    for day in grouped:
        before = runs[-1][-1] if runs else None
        is_next = before is not None and before.span.end == day.span.start
        if is_next and _group_key(before) == _group_key(day):
            runs[-1].append(day)
        else:
            runs.append([day])
    runs.sort(key=lambda run: (run[-1].day, run[-1].vendor, run[-1].timeframe))
    return [Incident(tuple(run)) for run in runs]


def _group_key(day: VendorDay | None) -> tuple[str, ...]:
    return () if day is None else (day.vendor, day.calendar, day.timeframe, day.condition)
