"""Prices in another currency: each bar at the last rate that had closed when the bar closed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.model.answer.provenance import ATTRS_KEY, freeze, thaw
from ..core.model.display.texts import stamp, written
from ..core.model.identity.kind import HUNDREDTHS
from ..core.model.market.bars import PRICES, Stamps
from ..core.model.time.instant import DAY_MS, iso
from ..core.model.time.span import Span
from ..core.model.words.caller import warn_user
from ..errors import IncompleteDataWarning, QueryError
from .given_bars import GivenBars

if TYPE_CHECKING:
    import pandas as pd

_CODE = re.compile(r"[A-Z]{3,5}")
_PAIR = re.compile(r"([A-Za-z]{3})([A-Za-z]{3})|([A-Za-z]{3,5})[/-]([A-Za-z]{3,5})")
# Rates without a calendar may be missing for so long, as from Maundy Thursday to Easter Monday.
_LONGEST_MS = 4 * DAY_MS
_MOST_NAMED = 5


def convert(
    frame: pd.DataFrame,
    to: str,
    rates: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
    *,
    fix: Literal["close"] = "close",
) -> pd.DataFrame:
    """Return bars with their prices in another currency.

    Examples:
        >>> at = pd.to_datetime(["2024-03-07", "2024-03-08"])
        >>> bars = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 110.0), at)
        >>> bars.attrs["currency"] = "USD"
        >>> convert(bars, "EUR", {"EURUSD": bars / 100})["close"].round(2).tolist()
        [100.0, 100.0]

    The prices of a bar are converted at one rate: the close of the last bar of ``rates`` that had closed
    when the bar closed. A bar for which a rate is missing is left out. Volume stays as it is, unless it
    is an amount of money; splits and dividends stay in their own currency.

    Args:
        frame: Answer of ``get_ohlcv``, or any frame of bars with ``frame.attrs["currency"]``.
        to: Currency, such as ``EUR``; ``GBp`` and ``GBX`` are hundredths of ``GBP``.
        rates: Answer of ``get_ohlcv`` for a pair (``EURUSD=X``), or a mapping with one pair and its
            frame: ``{"EURUSD": frame}`` has dollars for one euro. Either direction. Not needed between
            a currency and its hundredths.
        fix: ``close``, the only rule.

    Returns:
        A new frame with the columns of ``frame`` and ``rate``, by which prices were multiplied. The
        kind in ``attrs["onetape"]`` has the currency, and ``converted`` the pair, the currency of before
        and the bars that were left out.

    Raises:
        QueryError: A currency is unknown, the pair is another one, a rate is not above zero, or no bar
            has a rate.

    Warns:
        IncompleteDataWarning: Rates are missing; the message names the bars.

    Thread-safe. Sends no requests.
    """
    if fix != "close":
        raise QueryError(f"unknown fix {written(fix):.80}", hint="use fix='close'")
    bars = GivenBars.of("frame", frame)
    for code in (to, bars.unit or to):
        if not isinstance(code, str) or not (code in HUNDREDTHS or _CODE.fullmatch(code)):
            hint = "use a code in capitals such as EUR, or GBp for pence"
            raise QueryError(f"{written(code):.80} is not a currency", hint=hint)
    if str(bars.facts.get("adjustment")).endswith("_difference"):
        raise QueryError(
            "the offsets of this continuous series are amounts in its own currency",
            hint="convert the contracts, then call stitch",
        )
    if not bars.unit:
        hint = "set frame.attrs['currency'] = 'USD'"
        raise QueryError("the currency of the prices is unknown", hint=hint)
    (old, old_part), (new, new_part) = _whole(bars.unit), _whole(to)
    factor, pair = np.full(len(frame), old_part / new_part), ""
    if old != new:
        pair, given, is_inverse = _rates(rates, old, new)
        values = _closed_rates(given, bars)
        factor *= 1 / values if is_inverse else values
    kept = ~np.isnan(factor)
    missing = bars.table.stamps[~kept]
    if not kept.any():
        raise QueryError(f"no bar of the frame has a rate of {pair}")
    converted = _converted(frame, bars, factor)[kept]
    facts: dict[str, Any] = thaw(bars.facts) if bars.facts else {}
    facts["kind"] = {**facts.get("kind", {}), "unit": to}
    facts["complete"] = facts.get("complete", True) and not len(missing)
    facts["converted"] = {
        "from": bars.unit,
        "to": to,
        "pair": pair,
        "fix": fix,
        "missing": [iso(at) for at in missing.tolist()],
    }
    converted.attrs = {**frame.attrs, ATTRS_KEY: freeze(facts), "currency": to}
    if len(missing):
        named = ", ".join(stamp(at) for at in missing[:_MOST_NAMED].tolist())
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        warn_user(
            f"rates of {pair} are missing for bars, which are left out: {named}{more}",
            IncompleteDataWarning,
        )
    return converted


def _whole(unit: str) -> tuple[str, float]:
    """Return a currency and the part of it that a unit is: GBP and 0.01 for pence."""
    return (HUNDREDTHS[unit], 0.01) if unit in HUNDREDTHS else (unit, 1.0)


def _rates(rates: Any, old: str, new: str) -> tuple[str, GivenBars, bool]:
    """Return the pair of rates, its bars, and whether they have the old currency for one new.

    Raises:
        QueryError: There are no rates, or they are those of another pair, or of hundredths.
    """
    needed = f"rates of {new}/{old} or {old}/{new} are needed"
    if rates is None:
        raise QueryError(needed, hint=f"pass get_ohlcv('{new}{old}=X', ...)")
    if not isinstance(rates, Mapping):
        facts = getattr(rates, "attrs", {}).get(ATTRS_KEY) or {}
        rates = {facts.get("symbol", ""): rates}
    if len(rates) != 1:
        raise QueryError(f"{needed}, not {len(rates)} pairs", hint="pass one pair")
    ((name, frame),) = rates.items()
    match = _PAIR.fullmatch(str(name).removesuffix("=X"))
    pair = tuple(filter(None, match.groups())) if match else ()
    if pair not in ((old, new), (new, old)):
        hint = f"pass {{'{new}{old}': frame}} for {old} of one {new}"
        raise QueryError(f"{needed}, not {name!r}", hint=hint)
    given = GivenBars.of(str(name), frame)
    if given.unit and given.unit != pair[1]:
        raise QueryError(f"the rates {name} are in {given.unit}, not in {pair[1]}")
    bad = np.flatnonzero((given.table.close <= 0) | np.isinf(given.table.close))
    if len(bad):
        at, rate = given.table.stamps[bad[0]], given.table.close[bad[0]]
        raise QueryError(f"the rate of {name} at {stamp(int(at))} is {rate:g}")
    kept = ~np.isnan(given.table.close)
    if not kept.any():
        raise QueryError(f"no rate of {name} is a number")
    return str(name), replace(given, table=given.table.take(kept)), pair == (new, old)


def _closed_rates(rates: GivenBars, bars: GivenBars) -> Any:
    """Return the last rate that had closed by the close of each bar; NaN if one after it is missing.

    By the calendar of the rates, or, without one, if the rate is older than four days.
    """
    closes, ends = bars.closes(bars.table.stamps), rates.closes(rates.table.stamps)
    place = ends.searchsorted(closes, side="right") - 1
    used = ends[np.maximum(place, 0)]
    due = _due(rates, closes) if rates.grid else closes - _LONGEST_MS
    return np.where((place < 0) | (used < due), np.nan, rates.table.close[np.maximum(place, 0)])


def _due(rates: GivenBars, closes: Stamps) -> Any:
    """Return the close of the last expected rate by each instant."""
    grid, begin = rates.grid, int(rates.table.stamps[0])
    assert grid is not None
    stamps = grid.required(Span(begin, max(int(closes.max()), begin) + 1))
    expected = grid.closes(stamps) if len(stamps) else np.array([0], dtype=np.int64)
    return expected[np.maximum(expected.searchsorted(closes, side="right") - 1, 0)]


def _converted(frame: pd.DataFrame, bars: GivenBars, factor: Any) -> pd.DataFrame:
    """Return a copy of the frame with converted prices and the rates."""
    names = {*PRICES, "adj_close"}
    if bars.facts.get("kind", {}).get("volume") == "quote":
        names.add("volume")
    result = frame.copy()
    for column in frame.columns:
        if str(column).strip().lower().replace(" ", "_") in names:
            result[column] = frame[column].to_numpy(np.float64) * factor
    return result.assign(rate=factor)
