"""Values of companies' reports as of their filing days. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from ..core.model.display.texts import counted
from ..core.model.market.bars import Stamps
from ..core.model.market.fundamentals import FIELDS, WITH_CURRENCY, canonical_field
from ..core.model.time.instant import DAY_MS, day_ms, parse_iso
from ..core.model.words.suggestion import did_you_mean
from ..errors import QueryError
from .rolling import Values

__all__ = ["ReportUse", "parse_report", "values_of_report"]

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
    def is_amount(self) -> bool:
        """Whether the field is an amount of a currency."""
        return FIELDS[self.field] in WITH_CURRENCY

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


def values_of_report(
    use: ReportUse,
    reports: Sequence[Mapping[str, Any]],
    closes: Stamps,
    opens_after: Callable[[int], int] = int,
) -> tuple[Values, list[str], list[str]]:
    """Return the values of the latest period that had been filed by each bar's close.

    A report counts from the open of the next session after its acceptance or, if only the day of its
    filing is known, from the end of that day, in UTC. A report without a filing day is withheld. Of the
    reports for one period, the one filed last counts. If none of them has the field, the value is
    missing, even if earlier periods have one.

    Args:
        use: Field.
        reports: Statements of a record of fundamentals, an amended one before the original.
        closes: Closing times of bars, ascending, UTC milliseconds.
        opens_after: Function that returns the open of the first session at or after an instant.

    Returns:
        The value for each bar; reasons why some are missing; and the currencies of the values, in
        the order of their use, empty for one that the vendor does not give.
    """
    theirs = [r for r in reports if r["period"].startswith(use.period)]
    own = [r for r in theirs if use.field in r]
    filed = [(_since(r, opens_after), r) for r in theirs[::-1] if r["filed_at"]]
    filed.sort(key=lambda pair: (pair[0], pair[1]["period_end"]))
    steps = list(_latest(filed, use.field))
    rows = np.array([since for since, _ in steps], np.int64).searchsorted(closes, "right")
    values = np.array([np.nan, *(report.get(use.field, np.nan) for _, report in steps)], np.float64)
    used = [steps[row - 1][1] for row in np.unique(rows).tolist() if row]
    lacks = [
        f"the report for {r['period_end']} has no {use.text}" for r in used if use.field not in r
    ]
    reasons, undated = lacks[-1:], sum(not r["filed_at"] for r in own)
    if undated:
        withheld = f"{counted(undated, 'report')} with {use.text} withheld: no filing day"
        reasons.insert(0, withheld)
    currencies = dict.fromkeys(r["currency"] for r in used if use.field in r)
    return values[rows], reasons if own else [f"no report has {use.text}"], list(currencies)


def _since(report: Mapping[str, Any], opens_after: Callable[[int], int]) -> int:
    """Return the time from which a report counts."""
    if accepted := report.get("accepted_at"):
        return opens_after(parse_iso(accepted))
    return day_ms(date.fromisoformat(report["filed_at"][:10])) + DAY_MS


def _latest(
    filed: Iterable[tuple[int, Mapping[str, Any]]], field: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the time from which each report counts; amendments of earlier periods never do.

    A report without the field does not replace one for the same period that has it. It does not
    count at all before one of its kind, such as the balance sheet, has been filed with the field.
    """
    newest: Mapping[str, Any] = {"period_end": ""}
    kinds = set[str]()
    for since, report in filed:
        kinds |= {report["kind"]} if field in report else set()
        is_newer = report["period_end"] > newest["period_end"] and report["kind"] in kinds
        if is_newer or (report["period_end"] == newest["period_end"] and field in report):
            newest = report
            yield since, report
