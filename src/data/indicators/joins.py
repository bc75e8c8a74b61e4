"""Values of companies' reports as of their filing days, and rows of the members of a universe. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.bars import Stamps
from ..model.fundamentals import FIELDS, WITH_CURRENCY, canonical_field
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.suggestion import did_you_mean
from ..model.texts import counted
from .rolling import Values

__all__ = ["ReportUse", "ReportValues", "are_members", "parse_report", "values_of_reports"]

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


class ReportValues(NamedTuple):
    """Values of reports for the bars of one symbol.

    Attributes:
        values: Value for each bar, by column name.
        lacks: Reasons why reports are missing.
        currencies: Currencies of the values in each column of amounts, in the order of their use;
            empty for one that the vendor does not give.
    """

    values: dict[str, Values]
    lacks: list[str]
    currencies: dict[str, list[str]]


def values_of_reports(
    uses: Iterable[ReportUse], reports: Sequence[Mapping[str, Any]], closes: Stamps
) -> ReportValues:
    """Return the values of the latest period that had been filed by each bar's close.

    Only the day of a filing is known, so a report counts from the end of that day, in UTC. A report
    without a filing day is withheld. Of the reports for one period, the one filed last counts. If
    none of them has the field, the value is missing, even if earlier periods have one.

    Args:
        uses: Fields.
        reports: Statements of a record of fundamentals, an amended one before the original.
        closes: Closing times of bars, ascending, UTC milliseconds.
    """
    found = ReportValues({}, [], {})
    for use in uses:
        theirs = [r for r in reports if r["period"].startswith(use.period)]
        own = [r for r in theirs if use.field in r]
        kinds = {r["kind"] for r in own}
        filed = [r for r in theirs[::-1] if r["filed_at"] and r["kind"] in kinds]
        steps = list(_latest(sorted(filed, key=lambda r: r["filed_at"]), use.field))
        since = np.array([since for since, _ in steps], np.int64)
        values = np.array([np.nan, *(report.get(use.field, np.nan) for _, report in steps)])
        rows = since.searchsorted(closes, "right")
        found.values[use.text] = values[rows]
        used = [steps[row - 1][1] for row in np.unique(rows).tolist() if row]
        if FIELDS[use.field] in WITH_CURRENCY:
            amounts = [r["currency"] for r in used if use.field in r]
            found.currencies[use.text] = list(dict.fromkeys(amounts))
        without = [r["period_end"] for r in used if use.field not in r]
        undated = counted(sum(not r["filed_at"] for r in own), "report")
        if not own:
            found.lacks.append(f"no report has {use.text}")
        elif not all(r["filed_at"] for r in own):
            found.lacks.append(f"{undated} with {use.text} withheld: no filing day")
        if without:
            found.lacks.append(f"the report for {without[-1]} has no {use.text}")
    return found


def _latest(
    filed: Iterable[Mapping[str, Any]], field: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the time from which each report counts; amendments of earlier periods never do.

    A report without the field does not replace one for the same period that has it.
    """
    newest: Mapping[str, Any] = {"period_end": ""}
    for report in filed:
        is_newer = report["period_end"] > newest["period_end"]
        if is_newer or (report["period_end"] == newest["period_end"] and field in report):
            newest = report
            yield day_ms(date.fromisoformat(report["filed_at"][:10])) + DAY_MS, report


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
