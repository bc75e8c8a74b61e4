"""Values of companies' reports as of their filing days, and rows of the members of a universe. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.bars import Stamps
from ..model.fundamentals import FIELDS, canonical_field
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.suggestion import did_you_mean
from ..model.texts import counted
from .rolling import Values

__all__ = ["ReportUse", "are_members", "parse_report", "values_of_reports"]

_PERIODS = ("FY", "Q")


@dataclass(frozen=True)
class ReportUse:
    """A field of a company's reports, such as ``fund:net_income`` or ``fund:revenue,Q``.

    Attributes:
        field: Field of the statements in a record of fundamentals.
        period: ``FY`` for annual reports, ``Q`` for quarterly ones.
    """

    field: str
    period: str = "FY"

    @property
    def text(self) -> str:
        """The recipe as it is written; annual reports are not named."""
        return f"fund:{self.field}" + (f",{self.period}" if self.period != "FY" else "")

    @property
    def names(self) -> list[str]:
        """The name of the only column."""
        return [self.text]


def parse_report(text: str, words: Sequence[str]) -> ReportUse:
    """Return the use of a report's field.

    Raises:
        QueryError: The field is unknown or is not a number, or the period is neither ``FY`` nor ``Q``.
    """
    field, period = canonical_field(words[0]) if words else "", words[1] if words[1:] else "FY"
    if FIELDS.get(field, "text") == "text" or period not in _PERIODS or len(words) > 2:
        fields = [name for name, unit in FIELDS.items() if unit != "text"]
        raise QueryError(
            f"invalid field or period in {text!r:.80}",
            hint=f"{did_you_mean(field, fields)}write fund:FIELD for annual reports and fund:FIELD,Q "
            "for quarterly ones; onetape docs fundamentals lists the fields",
        )
    return ReportUse(field, period)


def values_of_reports(
    uses: Iterable[ReportUse], reports: Sequence[Mapping[str, Any]], closes: Stamps
) -> tuple[dict[str, Values], list[str]]:
    """Return the values of the latest period that had been filed by each bar's close.

    Only the day of a filing is known, so a report counts from the end of that day, in UTC. A report
    without a filing day is withheld. Of the reports for one period, the one filed last counts.

    Args:
        uses: Fields.
        reports: Statements of a record of fundamentals, an amended one before the original.
        closes: Closing times of bars, ascending, UTC milliseconds.

    Returns:
        The values by column name, and the reasons why reports are missing.
    """
    found, lacks = {}, []
    for use in uses:
        own = [r for r in reports if use.field in r and r["period"].startswith(use.period)]
        filed = sorted((r for r in own[::-1] if r["filed_at"]), key=lambda r: r["filed_at"])
        steps = list(_latest(filed, use.field))
        since = np.array([since for since, _ in steps], np.int64)
        values = np.array([np.nan, *(value for _, value in steps)])
        found[use.text] = values[since.searchsorted(closes, "right")]
        if not own:
            lacks.append(f"no report has {use.text}")
        elif len(filed) < len(own):
            withheld = counted(len(own) - len(filed), "report")
            lacks.append(f"{withheld} with {use.text} withheld: no filing day")
    return found, lacks


def _latest(filed: Iterable[Mapping[str, Any]], field: str) -> Iterator[tuple[int, float]]:
    """Yield the time from which each value counts; amendments of earlier periods never do."""
    newest = ""
    for report in filed:
        if report["period_end"] >= newest:
            newest = report["period_end"]
            yield day_ms(date.fromisoformat(report["filed_at"][:10])) + DAY_MS, report[field]


def are_members(
    symbol: str, days: Values, members: Callable[[date], Collection[str]]
) -> NDArray[np.bool_]:
    """Return for each bar whether a symbol was a member on the bar's day.

    Args:
        symbol: Symbol.
        days: Session dates of the bars, in days since 1970-01-01.
        members: Function that returns the members on a date.
    """
    distinct, rows = np.unique(days, return_inverse=True)
    return np.array([symbol in members(date_of(int(d) * DAY_MS)) for d in distinct], bool)[rows]
