"""Validates a frame, scores it, and selects the strategies that its quality allows.

This wraps the checks used to validate stored series (:mod:`.prices.judgement`), with the
thresholds, sentences and weights of the second data layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ...core.model.display.texts import lacks_columns
from ...core.model.market.bars import PRICES, Stamps
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import ordered
from ...core.prices.judgement.levels import Defect, split_errors, unit_errors
from ...core.prices.judgement.series import CheckedSeries, Mask
from ...core.prices.judgement.shape import outliers
from ...data_manager import current_selector
from ...errors import BadTimeframeError, DataError, QueryError
from .missing_data import MissingDataHandler, expected_times, with_times
from .validation import table_of_bars

__all__ = [
    "CheckResult",
    "DataAwareStrategySelector",
    "DataQualityReport",
    "DataQualityScorer",
    "DataValidator",
]

_LONG_WEEKEND, _STEPS_OF_A_GAP, _GAPS_PCT = timedelta(days=4), 3, 1.0
_EXTREME, _ZERO_PCT, _SPIKE = 0.5, 5, 20
_PER_ISSUE, _PER_WARNING = 0.1, 0.05
_USABLE = 0.7


@dataclass
class CheckResult:
    """The findings of one check, as sentences."""

    issues: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class DataQualityReport:
    """The findings about a frame.

    Attributes:
        symbol, timeframe: Symbol and timeframe as passed.
        issues, warnings: Findings, as sentences.
        quality_score: Score from 0 to 1. It is 1 minus 0.1 for each issue and 0.05 for each
            warning, multiplied by the fraction of rows with four finite prices and a unique time; 0
            for an empty frame.
        record_count: Number of rows.
    """

    symbol: str
    timeframe: str
    issues: list[str]
    warnings: list[str]
    quality_score: float
    record_count: int

    def is_usable(self, min_score: float = _USABLE) -> bool:
        """Return whether the frame has rows and its score is at least ``min_score``."""
        return self.quality_score >= min_score and not any("No data" in i for i in self.issues)


Check = Callable[[Any, str, str], CheckResult]


class DataValidator:
    """Runs checks on a pandas or Polars frame of bars. A failed check is an issue in the report.

    Attributes:
        checks: Checks to run, in order; each is a function of frame, symbol and timeframe.
    """

    def __init__(self) -> None:
        self.checks: list[Check] = [
            self._check_rows,
            self._check_missing_data,
            self._check_price_consistency,
            self._check_volume_anomalies,
            self._check_corporate_actions,
            self._check_outliers,
        ]

    def validate(self, df: Any, symbol: str, timeframe: str) -> DataQualityReport:
        """Run all checks and return their findings; never raises.

        Args:
            df: Frame with columns ``open high low close volume``, and times in the index or in a
                column ``timestamp``, ``date``, ``datetime`` or ``time``. Rows may be in any order.
            symbol, timeframe: Symbol and timeframe of the frame.
        """
        result = CheckResult()
        for check in self.checks:
            try:
                outcome = check(df, symbol, timeframe)
            except Exception as error:  # noqa: BLE001 - programs append checks of their own to `checks`
                result.issues.append(f"Validation check failed: {error}")
                continue
            result.issues += outcome.issues
            result.warnings += outcome.warnings
        count = len(df) if hasattr(df, "__len__") else 0
        score = _score(result, df)
        return DataQualityReport(symbol, timeframe, result.issues, result.warnings, score, count)

    def _check_rows(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        if not len(df):
            return CheckResult()
        frame = _rows(df)
        issues = [f"{name} does not contain numbers" for name in _texts(frame)]
        priced, doubled = _has_prices(frame), frame.index.duplicated()
        if not priced.any():
            issues.append("No data available: no bar has prices")
        elif not priced.all():
            issues.append(f"{int((~priced).sum())} bars without finite prices")
        if doubled.any():
            issues.append(f"{int(doubled.sum())} bars whose time another one has")
        return CheckResult(issues)

    def _check_missing_data(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        if not len(df):
            return CheckResult(["No data available"])
        try:
            step = timedelta(milliseconds=Timeframe.parse(timeframe).longest_ms)
        except BadTimeframeError:
            return CheckResult(warnings=[f"Unknown timeframe: {timeframe}"])
        is_daily = _is_daily(timeframe)
        longest = _LONG_WEEKEND if is_daily else step * _STEPS_OF_A_GAP
        frame = _rows(df)
        frame = frame[_has_prices(frame)]
        is_gap = (frame.index.to_series().diff() > longest).to_numpy()
        if is_gap.any() and (lacking := _lacking_counts(frame, symbol, timeframe)) is not None:
            # A gap lacks at least this many bars that the calendar expects, so nights and days off
            # are not gaps.
            is_gap = is_gap & (lacking >= (1 if is_daily else _STEPS_OF_A_GAP))
        gaps = int(is_gap.sum())
        share = gaps / len(df) * 100
        return CheckResult([f"{gaps} time gaps ({share:.1f}%)"] if share > _GAPS_PCT else [])

    def _check_price_consistency(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        frame = _rows(df)
        ends = frame[["open", "close"]]
        moves = (frame["close"] / frame["close"].shift() - 1).abs()
        counts = {
            "bars where high < max(open,close)": frame["high"] < ends.max(axis=1),
            "bars where low > min(open,close)": frame["low"] > ends.min(axis=1),
            "extreme price moves (>50%)": (moves > _EXTREME) & _is_daily(timeframe),
            "bars with zero/negative prices": (frame[list(PRICES)] <= 0).any(axis=1),
        }
        return CheckResult(
            [f"{int(rows.sum())} {what}" for what, rows in counts.items() if rows.any()]
        )

    def _check_volume_anomalies(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        volume = _rows(df)["volume"]
        zero = float((volume == 0).mean() * 100)
        spikes = int((volume > volume[volume > 0].median() * _SPIKE).sum())
        warnings = [f"{zero:.1f}% bars with zero volume"] if zero > _ZERO_PCT else []
        warnings += [f"{spikes} extreme volume spikes (>20x median)"] if spikes else []
        return CheckResult(warnings=warnings)

    def _check_corporate_actions(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        defects = _defects(split_errors, df, symbol, timeframe)
        return CheckResult([defect.evidence for defect in defects])

    def _check_outliers(self, df: Any, symbol: str, timeframe: str) -> CheckResult:
        units = _defects(unit_errors, df, symbol, timeframe)
        odd = [d for d in _defects(outliers, df, symbol, timeframe) if d.severity != "info"]
        return CheckResult([d.evidence for d in units], [d.evidence for d in odd])


class DataQualityScorer:
    """Computes the quality score of a frame of bars.

    The weights are 0.4 for completeness, 0.3 for consistency, 0.2 for volume and 0.1 for findings.
    """

    def compute_score(self, df: Any, validation_report: DataQualityReport) -> float:
        """Return the quality of a frame, from 0 to 1; 0 if it is empty.

        Completeness is the fraction of the bars expected by the market's calendar, from the first
        row to the last, that exist. Consistency is the fraction of rows whose prices are in order.
        Volume is the fraction of rows with a volume (1 if there is no such column).

        Raises:
            QueryError: The frame, its symbol or its timeframe is invalid, or a column does not
                contain numbers.
        """
        if not len(df):
            return 0.0
        frame, report = _rows(df), validation_report
        if lacking := [name for name in PRICES if name not in frame]:
            raise QueryError(f"the frame {lacks_columns(lacking)}")
        if text := _texts(frame):
            raise QueryError(f"{text[0]} does not contain numbers", hint="pandas.to_numeric")
        gaps = MissingDataHandler().analyze_gaps(frame, report.symbol, report.timeframe)
        completeness = 1 - gaps.gap_pct if gaps.expected else 0.0
        consistency = float(ordered(table_of_bars(frame)).mean())
        volume = float((frame["volume"] > 0).mean()) if "volume" in frame else 1.0
        findings = 1 - _penalty(report)
        score = 0.4 * completeness + 0.3 * consistency + 0.2 * volume + 0.1 * findings
        return max(0.0, min(1.0, score))


class DataAwareStrategySelector:
    """Selects strategies by the quality of their symbols' data.

    Attributes:
        strategy_requirements: Maps each type of strategy to its ``min_quality`` and ``max_gaps``,
            both from 0 to 1.
    """

    def __init__(self) -> None:
        self.strategy_requirements: dict[str, dict[str, float]] = {
            "high_frequency": {"min_quality": 0.95, "max_gaps": 0.01},
            "intraday": {"min_quality": 0.85, "max_gaps": 0.05},
            "daily": {"min_quality": 0.70, "max_gaps": 0.10},
            "robust": {"min_quality": 0.50, "max_gaps": 0.20},
        }

    def filter_strategies(
        self,
        available_strategies: Sequence[str],
        data_quality: Mapping[str, float],
        gaps: Mapping[str, float] | None = None,
    ) -> list[str]:
        """Return the strategies for which every symbol's data is good enough, in the given order.

        Args:
            available_strategies: Names of strategies. A strategy is of the type that its name
                contains; if its name contains no type, it requires a quality of 0.7.
            data_quality: Maps each symbol to its score, 0 to 1; if empty, no strategy is suitable.
            gaps: Maps each symbol to the fraction of its bars that is missing, 0 to 1. If passed,
                this is checked as well.
        """
        if not data_quality:
            return []
        worst, most = min(data_quality.values()), max((gaps or {}).values(), default=0.0)
        suitable = []
        for name in available_strategies:
            needs = self.strategy_requirements.get(self._classify_strategy(name), {})
            enough = worst >= needs.get("min_quality", _USABLE)
            if enough and most <= needs.get("max_gaps", 1.0):
                suitable.append(name)
        return suitable

    def _classify_strategy(self, strategy: str) -> str:
        name = strategy.lower().replace("-", "_").replace(" ", "_")
        return next((known for known in self.strategy_requirements if known in name), "")


def _is_daily(timeframe: str) -> bool:
    """Return whether a timeframe is a day, in any spelling; an unknown one is not."""
    try:
        return Timeframe.parse(timeframe) == Timeframe(1, "d")
    except BadTimeframeError:
        return False


def _penalty(result: CheckResult | DataQualityReport) -> float:
    return len(result.issues) * _PER_ISSUE + len(result.warnings) * _PER_WARNING


def _score(result: CheckResult, df: Any) -> float:
    try:
        frame = _rows(df)
        valid = _has_prices(frame) & ~frame.index.duplicated()
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0.0  # the issues report what is not a frame of bars
    share = float(valid.mean()) if len(valid) else 0.0
    return max(0.0, 1 - _penalty(result)) * share


def _texts(frame: pd.DataFrame) -> list[str]:
    """Return the columns of values that contain text."""
    return [name for name in (*PRICES, "volume") if name in frame and _is_text(frame[name])]


def _is_text(column: pd.Series[Any]) -> bool:
    """Return whether a column contains values other than numbers and missing values."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return False
    values = [value for value in column.tolist() if not pd.isna(value)]
    return any(
        isinstance(value, bool) or not isinstance(value, (Real, Decimal)) for value in values
    )


def _has_prices(frame: pd.DataFrame) -> Mask:
    """Return a mask of the rows that have four finite prices."""
    valid = np.ones(len(frame), dtype=bool)
    for name in PRICES:
        if _is_text(frame[name]):
            return np.zeros(len(frame), dtype=bool)
        valid &= np.isfinite(frame[name].to_numpy(np.float64, na_value=np.nan))
    return valid


def _lacking_counts(frame: pd.DataFrame, symbol: str, timeframe: str) -> Stamps | None:
    """Return the number of expected bars missing before each row; None if no calendar applies."""
    try:
        expected = expected_times(frame, current_selector().instrument(symbol), timeframe)
    except DataError:
        return None
    times = pd.DatetimeIndex(frame.index)
    missing = expected[~expected.isin(times)]
    before = np.searchsorted(missing.asi8, times.as_unit(missing.unit).asi8)
    lacking: Stamps = np.diff(before, prepend=before[:1])
    return lacking


def _rows(df: Any) -> pd.DataFrame:
    """Return the rows sorted by time, with a naive UTC index."""
    return with_times(df)[0].sort_index()


def _defects(
    find: Callable[[CheckedSeries], list[Defect] | str], df: Any, symbol: str, timeframe: str
) -> list[Defect]:
    """Return the defects that a check finds; none if the timeframe is unknown, which is reported once."""
    try:
        defects = find(_series(df, symbol, timeframe))
    except BadTimeframeError:
        return []
    return [] if isinstance(defects, str) else defects


def _series(df: Any, symbol: str, timeframe: str) -> CheckedSeries:
    table = table_of_bars(_rows(df))
    valid = np.logical_and.reduce([column > 0 for column in table.values()[:4]])
    instrument = current_selector().instrument(symbol)
    return CheckedSeries(Timeframe.parse(timeframe), table.take(valid), instrument.asset_class)
