"""The list of checks, and the function that runs them on a series. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .adjusted import adjusted_close_errors
from .dividends import dividend_errors
from .findings import Level, QualityFinding
from .levels import Defect, repaired_prices, split_errors, unit_errors
from .precision import allowed
from .series import CheckedSeries, Mask
from .sessions import beside_days
from .shape import (
    beyond_days,
    calendar_errors,
    extreme_moves,
    order_errors,
    outliers,
    stale_runs,
    volume_spikes,
    zero_volume,
)


@dataclass(frozen=True)
class QualityCheck:
    """A check: its name, its requirements, and advice about its findings.

    Attributes:
        name: Name used in findings.
        about: Short description of the defects that the check finds.
        next_step: Advice on what to do about a finding; ``{symbol}``, ``{series}`` and ``{fetch}`` are
            filled in for each finding.
        find: Function that returns the defects, or the reason why the check could not run. None for
            checks against a vendor, which compare bars (like ``onetape verify``) or stored reports
            of splits and dividends (like price adjustment).
        level: Sources that the check needs.
        requests: Description of the requests that the check sends; empty if it does not send any.
            For the number of requests, use ``onetape validate ... --dry-run``.
        takes_all: Whether the check also looks at rows that have no positive price.
    """

    name: str
    about: str
    next_step: str
    find: Callable[[CheckedSeries], list[Defect] | str] | None = None
    level: Level = "intrinsic"
    requests: str = ""
    takes_all: bool = False


# Advice has places for the symbol, for symbol and timeframe, and for the command that requests the bars.
_FETCH = "fetch these bars again (from another vendor: add --provider): `{fetch} --refresh`"
_VERIFY = "nothing, if the market moved; `onetape verify {series}` queries the vendor again"
_SPLIT = (
    "compare with `onetape fundamentals {symbol} --type actions`, then fetch these bars again: "
    "`{fetch} --refresh`"
)

# In the order in which they run. The certain repairs from the first three are applied before the
# others run, so that a wrong unit is not also reported as an outlier, a missing split or an odd
# dividend.
CHECKS: tuple[QualityCheck, ...] = (
    QualityCheck("unit", "prices 100 times too large or too small", _FETCH, unit_errors),
    QualityCheck(
        "adjusted close",
        "splits that adj_close follows, but no vendor reported, or with another ratio",
        _SPLIT,
        adjusted_close_errors,
    ),
    QualityCheck(
        "split",
        "a split that is missing, or applied to only some of the rows",
        _SPLIT,
        split_errors,
    ),
    QualityCheck("order", "rows that cannot be bars", _FETCH, order_errors, takes_all=True),
    QualityCheck(
        "calendar",
        "bars that are missing, or exist while the market is closed",
        "`onetape gaps {series}` says why; `{fetch}` requests those that are due",
        calendar_errors,
        takes_all=True,
    ),
    QualityCheck("stale", "prices that do not change", _FETCH, stale_runs),
    QualityCheck("outlier", "single bars far from their neighbours", _FETCH, outliers),
    QualityCheck("move", "very large moves", _VERIFY, extreme_moves),
    QualityCheck("no volume", "bars without volume", _VERIFY, zero_volume),
    QualityCheck("volume", "unusually large volumes", _VERIFY, volume_spikes),
    QualityCheck(
        "dividend",
        "wrong dividends, or dividends that adj_close does not follow",
        "compare with `onetape fundamentals {symbol} --type actions`; let another vendor's dividends adjust",
        dividend_errors,
    ),
    QualityCheck(
        "beyond days",
        "weeks and months with prices outside those of their days",
        "build them from daily bars: fetch 1d and request the longer bars again",
        beyond_days,
    ),
    QualityCheck(
        "beside days", "hours and minutes that contradict their days", _FETCH, beside_days
    ),
    # Based on stored marks, not on the bars.
    QualityCheck("doubted", "bars that later answers cast doubt on", _FETCH),
    # Based on reports that vendors have already sent, so it needs no request.
    QualityCheck(
        "disputed action",
        "splits and dividends that vendors report differently",
        "the company's own notice decides; `onetape fundamentals {symbol} --type actions` shows all reports",
        level="corroborated",
    ),
    QualityCheck(
        "second vendor",
        "bars that differ from what vendors send now",
        "a third vendor decides: `onetape verify ... --against`",
        level="corroborated",
        requests="one request or more for each vendor and 500 bars",
    ),
    QualityCheck(
        "exchange",
        "bars that differ from those of the exchange itself",
        "the exchange is right: fetch these bars from it",
        level="authoritative",
        requests="one request or more for 500 bars",
    ),
)


def run_checks(
    series: CheckedSeries, checks: Sequence[QualityCheck] = CHECKS
) -> tuple[list[QualityFinding], list[str], dict[str, str]]:
    """Run the intrinsic checks; return the findings, the checks that ran, and why others did not."""
    findings: list[QualityFinding] = []
    ran: list[str] = []
    skipped: dict[str, str] = {}
    has_prices = np.logical_and.reduce([column > 0 for column in series.prices])
    is_whole = bool(has_prices.all())
    whole, priced = series, series if is_whole else _take_rows(series, has_prices)
    for check in checks:
        if check.find is None:
            continue
        rows = whole if check.takes_all else priced
        defects = check.find(rows) if len(rows) else "there are no bars"
        if isinstance(defects, str):
            skipped[check.name] = defects
            continue
        ran.append(check.name)
        findings += (finding_of(check, defect) for defect in defects)
        repairs = [r for defect in defects for r in defect.repairs if r.what == "prices"]
        if repairs:
            whole = replace(whole, table=repaired_prices(whole.table, repairs))
            priced = whole if is_whole else _take_rows(whole, has_prices)
    return findings, ran, skipped


def _take_rows(series: CheckedSeries, rows: Mask) -> CheckedSeries:
    return replace(series, table=series.table.take(rows))


def finding_of(check: QualityCheck, defect: Defect) -> QualityFinding:
    """Convert a check's defect to a finding, with the check's name, level and next step.

    The finding's severity is limited by the measured precision of its cause (:mod:`.precision`).
    Checks that query a vendor just report the vendor's data, so the severity of their findings is
    not limited.
    """
    cause = defect.cause or check.name
    return QualityFinding(
        check.name,
        check.level,
        allowed(cause, defect.severity) if check.level == "intrinsic" else defect.severity,
        defect.stamps,
        defect.evidence,
        check.next_step,
        defect.repairs,
        cause,
        defect.wrong,
    )
