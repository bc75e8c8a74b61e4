"""Compares dividends with the price on their ex-dates and with the adjusted close.

The amount, the step of ``adj_close`` across the ex-date and the fall of the price are three
measures of one dividend. If the first two disagree, the fall decides, if it can: its likelihood is
computed under each of them, with tails as heavy as those of real returns, so that one odd day does
not decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...model.display.texts import counted
from ...model.market.bars import NAN
from ...model.time.instant import DAY_MS, iso
from .findings import Repair
from .levels import Defect, price_text
from .series import CheckedSeries, ShareEvent, by_section, noise

# Two measures agree if they differ by less than this, the precision of prices with few digits.
_SLACK, _ROUNDING = 0.05, 2e-4
# Yields from which a payment is examined. Of 277 real payments, four are 25 % or more.
_LARGE_YIELD, _OF_MEDIAN, _FOR_MEDIAN = 0.25, 20.0, 3
_HUNDRED = 100.0
_NEAR_HUNDRED = (70.0, 140.0)
# Log odds that decide: a thousand to one.
_DECIDED = float(np.log(1000))
# If the payment before or after was a hundredth of an amount, half of the usual odds are enough to
# show that it is off by a hundred. Several amounts with such large yields that the price did not
# follow prove an error together even if each by itself does not.
_SAME_AMOUNT, _ALL_LARGE, _FOR_ALL = 0.05, 0.04, 3
# Number of days before and after, a quarter each, with whose moves a day is compared.
_NEAR_DAYS = 60
# Distribution of the yields of single payments. Of 277 real ones, the median is 0.8 %, and nine in
# ten are between 0.07 and 8.4 %.
_USUAL_YIELD, _SCATTER = 0.01, 1.1
_LEAST_NOISE, _WAITS = 2e-3, 10
# Only funds that pay every week pay nearly the same twice in ten days.
_TWICE_MS, _TWICE_LIKE, _OFTEN_MS = 10 * DAY_MS, 0.15, 25 * DAY_MS
# Number of usual moves by which the price may have changed if the previous day's bar is missing.
_DRIFTS = 6.0
# Size from which a step of adj_close is not due to rounding.
_STEP, _STEPS = 1e-3, 8.0


class _Payment(NamedTuple):
    """One dividend, with its row, its yields, and the price drop.

    ``paid`` and ``implied`` are the yields according to the amount and to ``adj_close`` (NaN if
    unknown). ``usual`` is the usual size of price moves in the same time. ``drift`` is the relative
    size of a possible move between the previous bar and the actual last bar before the ex-date; it
    is 0 if these are the same bar.
    """

    event: ShareEvent
    row: int
    paid: float
    implied: float
    fall: float
    usual: float
    drift: float

    def evidence(self, true: float, other: float) -> float:
        """Return the log odds that one yield is true rather than another, given the price drop."""
        return _likelihood(self.fall - true, self.usual) - _likelihood(
            self.fall - other, self.usual
        )


def _likelihood(error: float, usual: float) -> float:
    """Return the log density of a t distribution (3 degrees of freedom), without constant terms."""
    return float(-2 * np.log1p((error / usual) ** 2 / 3))


def _density(yielded: float) -> float:
    """Return the log density of a dividend yield, without constant terms."""
    return float(-((np.log(max(yielded, 1e-9) / _USUAL_YIELD) / _SCATTER) ** 2) / 2)


@by_section
def dividend_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find wrong amounts, amounts that ``adj_close`` does not reflect, and duplicates.

    The result is a string with the reason if the series cannot be checked.
    """
    if series.asset_class != "stock":
        return "it has no dividends"
    if not series.timeframe.is_intraday and series.timeframe.step_ms != DAY_MS:
        return "in weeks and months a dividend cannot be distinguished from a price move"
    if series.dividends is None:
        return "its dividends are not stored: `onetape actions SYMBOL` fetches them"
    payments = _payments(series)
    defects = list(_adj_close_defects(series, payments))
    wrong = {int(stamp) for defect in defects for stamp in defect.stamps}
    defects += _price_defects(series, [p for p in payments if p.event.at_ms not in wrong])
    defects += _double_payments(payments)
    return defects + list(_unexplained_steps(series, payments))


def _payments(series: CheckedSeries) -> list[_Payment]:
    table, dividends = series.table, [e for e in series.dividends or () if e.value > 0]
    rows = series.rows_of(dividends)
    adj = np.full(len(table), NAN) if table.adj_close is None else table.adj_close / table.close
    payments = []
    for event, row in zip(dividends, rows.tolist(), strict=True):
        if not 0 < row < len(table) or event.at_ms < table.stamps[0]:
            continue
        before = float(table.close[row - 1])
        has_step = np.isfinite(adj[row - 1 : row + 1]).all() and adj[row] > 0
        implied = 1 - float(adj[row - 1] / adj[row]) if has_step else NAN
        implied = implied if -1e9 < implied < 1 else NAN  # as where adj_close is nearly nothing
        near = series.moves[max(0, row - 1 - _NEAR_DAYS) : row + _NEAR_DAYS]
        near = near if np.count_nonzero(near) >= _WAITS else series.moves
        usual = max(noise(near[near != 0]), _scale(near), _LEAST_NOISE)
        # Rarely traded shares do not move on the ex-date at all, so their next price counts.
        moved = np.flatnonzero(table.close[row : row + _WAITS] != before)
        fall = 1 - float(table.close[row + (moved[0] if len(moved) else 0)] / before)
        lacking = _days_between(int(table.stamps[row - 1]), int(table.stamps[row]))
        usual, drift = usual * np.sqrt(1 + lacking), _DRIFTS * usual * np.sqrt(lacking)
        paid = event.value / before
        payments.append(_Payment(event, row, paid, implied, fall, float(usual), float(drift)))
    return payments


def _days_between(stamp: int, other: int) -> int:
    """Return the number of weekdays, Monday to Friday, between the dates of two timestamps."""
    days = np.array([stamp, other], dtype="M8[ms]").astype("M8[D]")
    return max(0, int(np.busday_count(days[0], days[1])) - 1)


def _scale(moves: np.ndarray) -> float:
    """Return the usual size of moves; works even for rarely traded shares with constant prices."""
    finite = moves[np.isfinite(moves)]
    if not len(finite):
        return 0.0
    low, high = np.quantile(np.abs(finite), [0.68, 0.9])
    return float(max(low, high / 2))


# --- against adj_close ---------------------------------------------------------------------------


def _adj_close_defects(series: CheckedSeries, payments: Sequence[_Payment]) -> Iterator[Defect]:
    """Yield defects for dividends whose amounts do not match the steps of ``adj_close``."""
    odd = [
        p
        for p in payments
        if np.isfinite(p.implied)
        and max(p.paid, p.implied) > 2 * _ROUNDING
        and abs(p.paid - p.implied) > max((_SLACK + p.drift) * max(p.paid, p.implied), _ROUNDING)
    ]
    missing = [p for p in odd if p.implied < _ROUNDING / 2 and p.paid / max(p.implied, 1e-9) > 1000]
    hundred = [p for p in odd if p not in missing and _is_hundred(p.paid / max(p.implied, 1e-9))]
    # A series may have both: amounts that are too large, and steps that are too small.
    large = [p for p in hundred if p.paid >= _LARGE_YIELD]
    small = [p for p in hundred if p.paid < _LARGE_YIELD]
    # Amounts in pounds for prices in pence.
    pounds = [p for p in odd if _is_hundred(p.implied / p.paid)]
    for group, name in (
        (large, "a hundredth of"),
        (small, "a hundredth of"),
        (pounds, "a hundred times"),
        (missing, "nothing of"),
    ):
        if group:
            yield from _judge(series, group, name)
    for payment in odd:
        if payment not in (*hundred, *pounds, *missing):
            yield from _judge(series, [payment], f"{payment.implied / payment.paid:.3g} times")


def _is_hundred(ratio: float) -> bool:
    return _NEAR_HUNDRED[0] <= ratio <= _NEAR_HUNDRED[1]


def _judge(series: CheckedSeries, group: Sequence[_Payment], name: str) -> Iterator[Defect]:
    """Yield defects for payments that are wrong in the same way, in the amount or in ``adj_close``."""
    text = (
        f"adj_close follows {name} the dividend in {len(group)} of its ex-dates: on "
        f"{iso(group[0].event.at_ms)[:10]} {price_text(group[0].event.value)} were paid, "
        f"{group[0].paid:.2%} of the price"
    )
    is_missing = name.startswith("nothing")
    odds = sum(p.evidence(p.paid, p.implied) for p in group)
    odds += float(
        np.mean([_density(p.paid) - (0.0 if is_missing else _density(p.implied)) for p in group])
    )
    stamps = np.array([p.event.at_ms for p in group], dtype=np.int64)
    if is_missing:
        # A missing step does not suggest another amount, so the alternative to this one is a
        # hundredth of it.
        large = [p for p in group if _doubt(p, _median_of(series, p)) < -_DECIDED]
        amounts = {id(p): p.paid / (_HUNDRED if p in large else 1) for p in group}
        repairs = [_repair(series, p, 1 - amounts[id(p)]) for p in group]
        repairs += [_scaled([p], 1 / _HUNDRED) for p in large]
        if large:
            text += f"; {len(large)} of these amounts are 100 times too large"
        yield Defect(stamps, text, "error", tuple(repairs), "adj_close")
    elif odds > _DECIDED:
        repairs = [_repair(series, p, (1 - p.paid) / (1 - p.implied)) for p in group]
        yield Defect(
            stamps, f"{text}, which the price confirms", "error", tuple(repairs), "adj_close"
        )
    elif odds < -_DECIDED or all(p.paid >= 1 or _is_of_split(series, p) for p in group):
        repairs = [_scaled([p], _correction(p)) for p in group]
        fell = "fell by more" if group[0].implied > group[0].paid else "did not fall by that much"
        yield Defect(
            stamps,
            f"{text}, and the price {fell}: the amount is wrong",
            "error",
            tuple(repairs),
            "dividend beside adj_close",
        )
    else:
        yield Defect(
            stamps,
            f"{text}; which of the two is right is unknown",
            "warning",
            cause="dividend or adj_close",
        )


def _correction(payment: _Payment) -> float:
    """Return the factor by which an amount becomes the one that ``adj_close`` follows."""
    factor = payment.implied / payment.paid
    if _is_hundred(factor):
        return _HUNDRED
    return 1 / _HUNDRED if _is_hundred(1 / factor) else factor


def _is_of_split(series: CheckedSeries, payment: _Payment) -> bool:
    """Return whether an amount is off by the ratio of a nearby split.

    Such an amount is in terms of the shares on the other side of the split.
    """
    ratio = payment.paid / payment.implied
    near = [s.value for s in series.splits or () if abs(s.at_ms - payment.event.at_ms) <= _TWICE_MS]
    return any(abs(ratio / value - 1) < _SLACK / 5 for value in near)


def _median_of(series: CheckedSeries, payment: _Payment) -> float:
    """Return the median yield of the series' other dividends by ``adj_close``; NaN if there are few."""
    others = [
        p.implied for p in _payments(series) if p.row != payment.row and p.implied > _ROUNDING
    ]
    return float(np.median(others)) if len(others) >= _FOR_MEDIAN else NAN


def _repair(series: CheckedSeries, payment: _Payment, factor: float) -> Repair:
    return Repair("adj_close", np.array([series.table.stamps[payment.row]], np.int64), factor)


def _scaled(group: Sequence[_Payment], factor: float) -> Repair:
    return Repair("dividend", np.array([p.event.at_ms for p in group], dtype=np.int64), factor)


# --- against the price ---------------------------------------------------------------------------


def _doubt(payment: _Payment, median: float, neighbors: Sequence[_Payment] = ()) -> float:
    """Return the log odds that an amount is correct rather than a hundred times too large.

    ``neighbors`` are the payments before and after this one.
    """
    if payment.paid >= 1:
        return -np.inf
    odds = payment.evidence(payment.paid, payment.paid / _HUNDRED)
    if payment.paid >= _LARGE_YIELD or payment.paid >= _OF_MEDIAN * median:
        odds += min(0.0, _density(payment.paid) - _density(payment.paid / _HUNDRED)) - _DECIDED / 2
        amount = payment.event.value / _HUNDRED
        if any(abs(amount / other.event.value - 1) <= _SAME_AMOUNT for other in neighbors):
            odds -= _DECIDED / 2
    return odds


def _amounts_in_cents(payments: Sequence[_Payment]) -> list[_Payment]:
    """Return the large amounts if, taken together, they prove to be a hundred times too large.

    Otherwise, the list is empty.
    """
    large = [p for p in payments if _ALL_LARGE <= p.paid < 1]
    if len(large) < _FOR_ALL:
        return []
    odds = sum(p.evidence(p.paid, p.paid / _HUNDRED) for p in large)
    return large if odds < -2 * _DECIDED else []


def _all_wrong(group: Sequence[_Payment]) -> Defect:
    first, fall = group[0], np.median([p.fall for p in group])
    paid = np.median([p.paid for p in group])
    text = (
        f"{counted(len(group), 'dividend')} of {paid:.1%} of the price, the first of "
        f"{price_text(first.event.value)} on {iso(first.event.at_ms)[:10]}, while the price fell by "
        f"{fall:.1%} on these days: 100 times too much"
    )
    stamps = np.array([p.event.at_ms for p in group], dtype=np.int64)
    repairs = (_scaled(group, 1 / _HUNDRED),)
    return Defect(stamps, text, "error", repairs, "dividend beside price")


def _price_defects(series: CheckedSeries, payments: Sequence[_Payment]) -> Iterator[Defect]:
    """Yield defects for amounts that do not match the price drop; ``adj_close`` may be equally wrong."""
    yields, together = np.array([p.paid for p in payments], np.float64), _amounts_in_cents(payments)
    if together:
        yield _all_wrong(together)
    for index, payment in enumerate(payments):
        if payment in together:
            continue
        others = np.delete(yields, index)
        median = float(np.median(others)) if len(others) >= _FOR_MEDIAN else NAN
        neighbors = [payments[at] for at in (index - 1, index + 1) if 0 <= at < len(payments)]
        odds = _doubt(payment, median, neighbors)
        is_large = payment.paid >= _LARGE_YIELD or payment.paid >= _OF_MEDIAN * median
        text = (
            f"a dividend of {price_text(payment.event.value)}, {payment.paid:.1%} of the price, while the "
            f"price fell by {payment.fall:.1%} on that day (usual: {payment.usual:.1%})"
        )
        stamps = np.array([payment.event.at_ms], dtype=np.int64)
        if odds < -_DECIDED:
            repairs = [_scaled([payment], 1 / _HUNDRED)]
            if payment.implied > _ROUNDING:
                # Undo the amount's factor in adj_close, and apply the one for a hundredth of it.
                factor = (1 - payment.paid / _HUNDRED) / (1 - payment.implied)
                repairs += [_repair(series, payment, factor)] if payment.implied < 1 else []
            certain = (is_large or odds < -1.5 * _DECIDED) and (
                payment.implied < 1 or not np.isfinite(payment.implied)
            )
            yield Defect(
                stamps,
                f"{text}: 100 times too much",
                "error",
                tuple(repairs) if certain else (),
                "dividend beside price",
            )
        elif is_large and payment.fall < payment.paid / 3:
            yield Defect(
                stamps, f"{text}: 100 times too much?", "warning", cause="dividend by size"
            )
        elif payment.paid * _OF_MEDIAN <= median and payment.paid * _HUNDRED <= 3 * median:
            yield Defect(stamps, f"{text}; the others are {median:.2%}: a hundredth of it?", "info")


def _double_payments(payments: Sequence[_Payment]) -> Iterator[Defect]:
    """Yield defects for dividends that were reported twice within a few days."""
    times = [p.event.at_ms for p in payments]
    if len(times) > 2 and np.median(np.diff(times)) < _OFTEN_MS:
        return
    for one, other in pairwise(payments):
        ratio = other.event.value / one.event.value
        is_like = abs(np.log(ratio)) < _TWICE_LIKE or _is_hundred(ratio) or _is_hundred(1 / ratio)
        if other.event.at_ms - one.event.at_ms <= _TWICE_MS and is_like:
            stamps = np.array([one.event.at_ms, other.event.at_ms], dtype=np.int64)
            less = one if one.evidence(one.paid, 0.0) < other.evidence(other.paid, 0.0) else other
            text = (
                f"dividends of {price_text(one.event.value)} and {price_text(other.event.value)} on "
                f"{iso(one.event.at_ms)[:10]} and {iso(other.event.at_ms)[:10]}: one, reported twice? "
                f"The price is less consistent with that of {iso(less.event.at_ms)[:10]}"
            )
            yield Defect(stamps, text, "warning", cause="dividend twice")


def _unexplained_steps(series: CheckedSeries, payments: Sequence[_Payment]) -> Iterator[Defect]:
    """Yield defects for steps of ``adj_close`` that no known dividend or split explains."""
    table = series.table
    if table.adj_close is None:
        return
    share = table.adj_close / table.close
    steps = 1 - share[:-1] / share[1:]
    rows = np.flatnonzero(np.abs(steps) > max(_STEP, _STEPS * noise(steps))) + 1
    explained = {p.row for p in payments}
    explained |= {int(r) for r in series.rows_of(list(series.splits or ()))}
    explained |= {int(r) for r in series.rows_of(list(series.dividends or ()))}
    odd = [row for row in rows.tolist() if row not in explained]
    if odd:
        more = f" and on {counted(len(odd) - 1, 'other day')}" if len(odd) > 1 else ""
        step, day = abs(steps[odd[0] - 1]), iso(int(table.stamps[odd[0]]))[:10]
        text = (
            f"adj_close steps by {step:.2%} on {day}{more}, but no dividend is known for that time"
        )
        yield Defect(table.stamps[odd], text, "warning", cause="adj_close step")
