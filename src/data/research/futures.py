"""Continuous futures: the bars of several contracts as one series, joined by a table of rolls."""

from __future__ import annotations

import csv
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np

from ..core.model.answer.frame import build_frame
from ..core.model.answer.provenance import ATTRS_KEY, freeze
from ..core.model.display.texts import stamp, written
from ..core.model.identity.kind import Kind
from ..core.model.market.bars import PRICES, concat
from ..core.model.time.instant import DAY_MS, MINUTE_MS, iso
from ..core.model.words.suggestion import did_you_mean
from ..errors import QueryError, StorageError
from .given_bars import GivenBars, instant_of

if TYPE_CHECKING:
    import pandas as pd

Adjust = Literal[
    "backward_difference", "backward_ratio", "forward_difference", "forward_ratio", "none"
]
_COLUMNS = ("at", "from", "to")
# Yahoo's ending for its own continuous series.
_SPLICED = "=F"
# Days, of which fewer bars may all be on either side of a weekend or holiday.
_FEW = 8


class _Roll(NamedTuple):
    """A change from one contract to the next.

    Attributes:
        at: Stamp of the first bar from the new contract, UTC milliseconds.
        old, new: Names of the contracts.
    """

    at: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"the roll from {self.old} to {self.new} at {stamp(self.at)}"


class _Gap(NamedTuple):
    """The closes of both contracts in the last bar that they share before a roll.

    Attributes:
        measured: Stamp of that bar, UTC milliseconds.
        old, new: Closes, exactly as they are written.
    """

    measured: int
    old: Fraction
    new: Fraction


def stitch(
    frames: Mapping[str, pd.DataFrame],
    rolls: pd.DataFrame | str | PathLike[str] | Iterable[Sequence[Any]],
    adjust: Adjust = "backward_difference",
    closed_by: Any = None,
) -> pd.DataFrame:
    """Join the bars of futures contracts into one continuous series.

    Examples:
        >>> at = pd.to_datetime(["2024-03-06", "2024-03-07", "2024-03-08"])
        >>> march = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 100.0), at)
        >>> rolls = [("2024-03-08", "H24", "M24")]
        >>> stitch({"H24": march, "M24": march + 2}, rolls)["close"].tolist()
        [102.0, 102.0, 102.0]

    Bars at the time of a roll and later are those of the new contract. The two contracts are compared
    by their closes in the last bar before the roll that both have, so an offset is known when the roll
    happens. Backward leaves the prices of the last contract as they are and changes those before it;
    forward leaves those of the first. A difference is added to prices, a ratio multiplies them; volume
    stays as it is.

    Args:
        frames: Maps the name of each contract to its bars as traded: an answer of ``get_ohlcv``, or any
            frame of bars. Naive times are UTC. ``currency``, ``multiplier`` and ``timeframe`` in
            ``frame.attrs`` are compared, if they are there; without a timeframe, the shortest distances
            between bars are.
        rolls: Table with the columns ``at``, ``from`` and ``to``, such a table as a CSV file (its path),
            or tuples. ``at`` is the time of a bar that both contracts have; a date is that daily bar.
        adjust: ``backward_difference``, ``backward_ratio``, ``forward_difference``, ``forward_ratio`` or
            ``none``.
        closed_by: Time by which bars must have closed; a date is the end of that UTC day. A roll counts
            if the bar at its time had closed. Default: all bars and all rolls.

    Returns:
        A new frame: ``open high low close volume``, ``contract``, and ``offset`` (or ``factor``, for
        ratios), on a naive UTC index. The price as traded is the price less the offset, or divided by
        the factor. ``attrs["onetape"]`` has the rolls and the provenance of each contract.

    Raises:
        QueryError: The frames, the rolls or the adjustment cannot be used; the message names the
            contract or the roll.
        StorageError: The file cannot be read.

    Thread-safe. Sends no requests.
    """
    if adjust not in get_args(Adjust):
        near = did_you_mean(str(adjust), get_args(Adjust))
        hint = f"{near}use {', '.join(get_args(Adjust))}"
        raise QueryError(f"unknown adjustment {written(adjust):.80}", hint=hint)
    contracts = _contracts(frames)
    chain = _chain(rolls, contracts)
    first = chain[0].old if chain else next(iter(contracts))
    if not chain and len(contracts) > 1:
        raise QueryError("there is no roll", hint="name at least one, or pass one contract")
    if closed_by is not None:
        known = instant_of("closed_by", closed_by, is_end=True)
        chain = [roll for roll in chain if _had_closed(roll, contracts, known)]
        used = {first, *(roll.new for roll in chain)}
        contracts = {name: _until(contracts[name], known) for name in used}
    gaps = [_gap(roll, contracts) for roll in chain]
    names = [first, *(roll.new for roll in chain)]
    parts = _parts(names, [roll.at for roll in chain], contracts)
    if adjust.endswith("ratio"):
        _check_positive(parts, chain, gaps)
    steps = _steps(adjust, gaps)
    tables = [_shifted(part, step, adjust) for part, step in zip(parts, steps, strict=True)]
    frame = build_frame(concat(tables))
    lengths = [len(table) for table in tables]
    frame["contract"] = np.repeat(np.array(names, dtype=object), lengths)
    frame["contract"] = frame["contract"].astype("str")
    column = "factor" if adjust.endswith("ratio") else "offset"
    frame[column] = np.repeat(np.array([float(step) for step in steps], np.float64), lengths)
    facts = _provenance(parts, chain, gaps, adjust, closed_by)
    ends = [iso(int(part.table.stamps[at])) for part, at in ((parts[0], 0), (parts[-1], -1))]
    extent = {"rows": len(frame), "first": ends[0], "last": ends[1]}
    notes = contracts[first].notes
    frame.attrs = {name: notes[name] for name in ("currency", "multiplier") if name in notes}
    frame.attrs[ATTRS_KEY] = freeze({**facts, **extent})
    return frame


def rolls_by_days(
    frames: Mapping[str, pd.DataFrame], expiries: Mapping[str, Any], days: int = 5
) -> pd.DataFrame:
    """Return a table of rolls some calendar days before the contracts expire.

    Examples:
        >>> at = pd.date_range("2024-03-04", "2024-03-15", freq="B")
        >>> bars = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 100.0), at)
        >>> frames = {"H24": bars, "M24": bars}
        >>> rolls_by_days(frames, {"H24": "2024-03-15", "M24": "2024-06-21"})["at"].tolist()
        [Timestamp('2024-03-11 00:00:00')]

    Each roll is at the first bar that both contracts have on or after that day (UTC). A day after the
    last bar of a contract gives no roll yet.

    Args:
        frames: Maps the name of each contract to its bars.
        expiries: Maps each of these names to the date of expiry, which decides the order.
        days: Calendar days between roll and expiry, 0 or more.

    Returns:
        A frame with the columns ``at`` (naive UTC), ``from`` and ``to``, for :func:`stitch` or a file.

    Raises:
        QueryError: An expiry is missing or is not a date, two are equal, or two contracts share no bar
            between the day of the roll and the end of the first.
    """
    contracts, days = _contracts(frames), _whole("days", days, 0)
    missing = sorted(contracts.keys() - expiries.keys())
    if missing:
        raise QueryError(f"no expiry is given for {', '.join(missing)}")
    ends = {name: instant_of(f"the expiry of {name}", expiries[name]) for name in contracts}
    ordered = sorted(contracts, key=ends.__getitem__)
    chain: list[_Roll] = []
    for old, new in pairwise(ordered):
        if ends[old] == ends[new]:
            raise QueryError(f"{old} and {new} have the same expiry")
        day = ends[old] - ends[old] % DAY_MS - days * DAY_MS
        if contracts[old].table.stamps[-1] < day:
            break
        common = _common(contracts[old], contracts[new])
        common = common[common >= day]
        if not len(common):
            raise QueryError(f"{old} and {new} have no bar in common from {stamp(day)} on")
        chain.append(_Roll(int(common[0]), old, new))
    return _table(chain)


def rolls_by_volume(frames: Mapping[str, pd.DataFrame], lag: int = 1) -> pd.DataFrame:
    """Return a table of rolls to the contract that traded more.

    Examples:
        >>> at = pd.date_range("2024-03-04", periods=4, freq="B")
        >>> bars = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 100.0), at)
        >>> more = bars.assign(volume=[1.0, 1.0, 101.0, 150.0])
        >>> rolls_by_volume({"H24": bars, "M24": more})["at"].tolist()
        [Timestamp('2024-03-07 00:00:00')]

    A session's volume is known when it ends. A roll is therefore ``lag`` sessions after the first one in
    which the next contract traded more, and a table made of earlier bars has the same earlier rolls.

    Args:
        frames: Maps the name of each contract to its daily bars, in the order of their expiries.
        lag: Sessions that both contracts have, from the one with more volume to the roll; at least 1.

    Returns:
        A frame with the columns ``at`` (naive UTC), ``from`` and ``to``, for :func:`stitch` or a file.

    Raises:
        QueryError: The lag is below 1, bars are not daily, a contract ends before the one in front of
            it, or it ends before the next one traded more.
    """
    if _whole("lag", lag, 0) < 1:
        raise QueryError(
            "lag 0 would roll in the session whose volume decides, which is not known before its end",
            hint="use 1 or more",
        )
    contracts = _contracts(frames)
    for one in contracts.values():
        if (one.table.stamps % DAY_MS).any():
            raise QueryError(f"{one.name}: volume is compared by session", hint="pass daily bars")
    ordered, chain, since = [*contracts.values()], list[_Roll](), 0
    for old, new in pairwise(ordered):
        last, end = int(old.table.stamps[-1]), int(new.table.stamps[-1])
        if end < last:
            raise QueryError(
                f"{new.name} ends at {stamp(end)}, before {old.name} at {stamp(last)}",
                hint="pass the contracts in the order of their expiries",
            )
        common = _common(old, new)
        volumes = [one.table.volume[one.table.stamps.searchsorted(common)] for one in (old, new)]
        more = np.flatnonzero((volumes[1] > volumes[0]) & (common >= since))
        place = int(more[0]) + lag if len(more) else len(common)
        if place >= len(common):
            if end > last:
                raise QueryError(
                    f"{old.name} ends at {stamp(last)}, before a roll to {new.name} by volume"
                )
            break
        since = int(common[place])
        chain.append(_Roll(since, old.name, new.name))
    return _table(chain)


# --- contracts --------------------------------------------------------------------------------


def _contracts(frames: Mapping[str, pd.DataFrame]) -> dict[str, GivenBars]:
    """Return the bars of each contract, which must be of one kind.

    Raises:
        QueryError: A frame is not one of a contract's bars as traded, or two differ in kind.
    """
    if not isinstance(frames, Mapping) or not frames:
        raise QueryError(
            f"frames must map names of contracts to frames, not {written(frames):.80}",
            hint='{"ESH24": march, "ESM24": june}',
        )
    contracts = {str(name): _contract(str(name), frame) for name, frame in frames.items()}
    for one, other in combinations(contracts.values(), 2):
        for what, (first, second) in _differences(one, other).items():
            raise QueryError(
                f"{one.name} and {other.name} have different {what}: {first} and {second}",
                hint="all contracts of a series must have the same",
            )
    return contracts


def _contract(name: str, frame: pd.DataFrame) -> GivenBars:
    given = GivenBars.of(name, frame)
    for symbol in (name, str(given.facts.get("symbol"))):
        if symbol.endswith(_SPLICED):
            raise QueryError(
                f"{symbol} is Yahoo's own splice, which does not say which contract a bar is from",
                hint="pass the bars of single contracts",
            )
    table, adjustment = given.table, given.facts.get("adjustment")
    if adjustment is None and table.adj_close is not None:
        is_same = np.array_equal(table.adj_close, table.close, equal_nan=True)
        adjustment = "raw" if is_same else "unknown, its adjusted closes differ"
    if adjustment not in (None, "raw"):
        raise QueryError(
            f"{name} has adjusted prices ({adjustment})",
            hint="pass prices as traded: get_ohlcv(..., adjustment='raw')",
        )
    return replace(given, table=table.with_adj_close(None))


def _differences(one: GivenBars, other: GivenBars) -> dict[str, tuple[Any, Any]]:
    """Return the differences of two contracts; facts that one of them does not state are not compared."""
    kinds = [each.facts.get("kind", {}) for each in (one, other)]
    found: dict[str, tuple[Any, Any]] = {}
    if all(kinds):
        found |= Kind.from_json(kinds[0]).differences(Kind.from_json(kinds[1]))
    pairs = {
        "currencies": (one.unit, other.unit),
        "multipliers": (one.notes.get("multiplier"), other.notes.get("multiplier")),
        "timeframes": (one.timeframe, other.timeframe),
    }
    if not (one.timeframe and other.timeframe):
        first, second = (_length(each) for each in (one, other))
        if first and second and first != second:
            lengths = tuple(f"{ms / MINUTE_MS:g} minutes" for ms in (first, second))
            stated = "(state the length, if it is the same: frame.attrs['timeframe'] = '1h')"
            found["distances between bars"] = (lengths[0], f"{lengths[1]} {stated}")
    found.pop("unit", None)
    return {k: p for k, p in pairs.items() if all(p) and p[0] != p[1]} | found


def _length(contract: GivenBars) -> int:
    """Return the shortest distance between bars; a day if it may be one across a pause."""
    found = contract.distance_ms
    return min(found, DAY_MS) if len(contract.table) < _FEW else found


def _common(old: GivenBars, new: GivenBars) -> Any:
    """Return the stamps of the bars that two contracts share."""
    return np.intersect1d(old.table.stamps, new.table.stamps, assume_unique=True)


def _until(contract: GivenBars, known: int) -> GivenBars:
    """Return a contract with the bars that had closed by an instant.

    Raises:
        QueryError: There are none.
    """
    table = contract.table
    table = table.take(contract.closes(table.stamps) <= known)
    if not len(table):
        raise QueryError(f"no bar of {contract.name} had closed by {stamp(known)}")
    return replace(contract, table=table)


# --- rolls ------------------------------------------------------------------------------------


def _chain(rolls: Any, contracts: Mapping[str, GivenBars]) -> list[_Roll]:
    """Return the rolls of a table, each from the contract to which the one before it leads.

    Raises:
        QueryError: A row cannot be read, names an unknown contract, or does not follow the one before.
        StorageError: The file cannot be read.
    """
    chain: list[_Roll] = []
    for number, row in enumerate(_rows(rolls), start=1):
        where = f"roll {number}"
        if len(row) != len(_COLUMNS):
            raise QueryError(f"{where} must be at, from, to, not {written(row):.80}")
        roll = _Roll(instant_of(f"{where}: at", row[0]), *(str(name).strip() for name in row[1:]))
        for name in (roll.old, roll.new):
            if name not in contracts:
                near = did_you_mean(name, contracts)
                known = ", ".join(contracts)
                raise QueryError(
                    f"{where} names the unknown contract {name!r}", hint=f"{near}frames: {known}"
                )
        earlier = {one.old for one in chain} | {roll.old}
        if chain and roll.at <= chain[-1].at:
            what = "at the time of" if roll.at == chain[-1].at else "before"
            raise QueryError(f"{where} ({roll}) is {what} the one in front of it", hint=_ORDER)
        if chain and roll.old != chain[-1].new:
            raise QueryError(
                f"{where} ({roll}) does not begin with {chain[-1].new}, to which the last one leads",
                hint=_ORDER,
            )
        if roll.new in earlier:
            raise QueryError(f"{where} ({roll}) leads back to a contract that has ended")
        chain.append(roll)
    return chain


_ORDER = "each roll is later than the one in front of it, and continues it"


def _rows(rolls: Any) -> list[Sequence[Any]]:
    if isinstance(rolls, str | PathLike):
        return _rows_of_file(Path(rolls))
    if hasattr(rolls, "columns"):
        missing = [name for name in _COLUMNS if name not in rolls.columns]
        if missing:
            raise QueryError(f"the table of rolls lacks {', '.join(missing)}", hint=_HEADER)
        return [*zip(*(rolls[name] for name in _COLUMNS), strict=True)]
    try:
        rows = [row if isinstance(row, str) else tuple(row) for row in rolls]
    except TypeError:
        rows = [""]
    if any(isinstance(row, str) for row in rows):
        raise QueryError(f"rolls must be a table, a file or tuples, not {written(rolls):.80}")
    return cast("list[Sequence[Any]]", rows)


_HEADER = "its columns are at, from and to"


def _rows_of_file(path: Path) -> list[Sequence[Any]]:
    """Return the rows of a CSV file; empty lines and lines that begin with ``#`` are skipped."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as exc:
        raise StorageError(f"the rolls in {path} cannot be read: {exc}") from exc
    rows = [*csv.reader(line for line in lines if line.strip() and not line.startswith("#"))]
    if not rows or tuple(cell.strip() for cell in rows[0]) != _COLUMNS:
        raise QueryError(f"the first line of {path} is not at,from,to", hint=_HEADER)
    return [[cell.strip() for cell in row] for row in rows[1:]]


def _had_closed(roll: _Roll, contracts: Mapping[str, GivenBars], known: int) -> bool:
    """Return whether the bars of both contracts at a roll had closed by an instant."""
    at = np.array([roll.at], dtype=np.int64)
    return all(contracts[name].closes(at)[0] <= known for name in (roll.old, roll.new))


def _gap(roll: _Roll, contracts: Mapping[str, GivenBars]) -> _Gap:
    """Return the closes that decide how far a roll moves prices.

    Raises:
        QueryError: A contract has no bar at the roll, they share none before it, or a close is not a
            number.
    """
    old, new = contracts[roll.old], contracts[roll.new]
    lacking = [c.name for c in (old, new) if roll.at not in c.table.stamps]
    if lacking:
        have = " and ".join(
            f"{c.name} has bars from {stamp(int(c.table.stamps[0]))} to {stamp(int(c.table.stamps[-1]))}"
            for c in (old, new)
        )
        raise QueryError(
            f"{roll} must be at a bar of both; {' and '.join(lacking)} has none then", hint=have
        )
    common = _common(old, new)
    before = common[common < roll.at]
    if not len(before):
        raise QueryError(f"{roll}: {roll.old} and {roll.new} have no bar in common before it")
    closes = [float(c.table.close[c.table.stamps == before[-1]][0]) for c in (old, new)]
    if not all(map(math.isfinite, closes)):
        raise QueryError(
            f"{roll}: the closes at {stamp(int(before[-1]))} are {closes[0]} and {closes[1]}"
        )
    return _Gap(int(before[-1]), *(Fraction(repr(close)) for close in closes))


def _table(chain: Sequence[_Roll]) -> pd.DataFrame:
    import pandas as pd

    at = np.array([roll.at for roll in chain], dtype="M8[ms]").astype("M8[ns]")
    names = {"from": [roll.old for roll in chain], "to": [roll.new for roll in chain]}
    return pd.DataFrame({"at": at} | {k: pd.Series(v, dtype="str") for k, v in names.items()})


def _whole(what: str, value: Any, least: int) -> int:
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise QueryError(f"{what} {written(value):.80} is not a whole number from {least} on")
    return number


# --- the series -------------------------------------------------------------------------------


def _parts(
    names: Sequence[str], bounds: Sequence[int], contracts: Mapping[str, GivenBars]
) -> list[GivenBars]:
    """Return each contract with the bars that it gives: from its own roll to the next."""
    edges = [None, *bounds, None]
    parts = []
    for name, start, end in zip(names, edges[:-1], edges[1:], strict=True):
        stamps = contracts[name].table.stamps
        first = 0 if start is None else int(stamps.searchsorted(start))
        last = len(stamps) if end is None else int(stamps.searchsorted(end))
        table = contracts[name].table.take(slice(first, last))
        parts.append(replace(contracts[name], table=table))
    return parts


def _check_positive(
    parts: Sequence[GivenBars], chain: Sequence[_Roll], gaps: Sequence[_Gap]
) -> None:
    """Reject ratios of prices that are zero or negative.

    Raises:
        QueryError: A price in the series, or one that decides an offset, is not above zero.
    """
    found = [
        (part.name, int(part.table.stamps[row]), float(values[row]))
        for part in parts
        for values in (getattr(part.table, name) for name in PRICES)
        for row in np.flatnonzero(values <= 0)[:1]
    ]
    for roll, gap in zip(chain, gaps, strict=True):
        pairs = ((roll.old, gap.old), (roll.new, gap.new))
        found += [(name, gap.measured, float(price)) for name, price in pairs if price <= 0]
    for name, at, price in found[:1]:
        raise QueryError(
            f"{name} has the price {price:g} at {stamp(at)}, and a ratio needs prices above zero",
            hint="use adjust='backward_difference'",
        )


def _steps(adjust: Adjust, gaps: Sequence[_Gap]) -> list[Fraction]:
    """Return the offset or factor of each contract in the series, without rounding.

    Backward, that of a contract combines all rolls after it; forward, all rolls before it, reversed.
    """
    is_ratio = adjust.endswith("ratio")
    combine = operator.mul if is_ratio else operator.add
    neutral = Fraction(int(is_ratio))
    if adjust == "none":
        return [neutral] * (len(gaps) + 1)
    if adjust.startswith("forward"):
        gaps = [gap._replace(old=gap.new, new=gap.old) for gap in gaps]
    else:
        gaps = gaps[::-1]
    steps = [neutral]
    for gap in gaps:
        steps.append(combine(steps[-1], gap.new / gap.old if is_ratio else gap.new - gap.old))
    return steps if adjust.startswith("forward") else steps[::-1]


def _shifted(part: GivenBars, step: Fraction, adjust: Adjust) -> Any:
    combine = operator.mul if adjust.endswith("ratio") else operator.add
    columns = {name: combine(getattr(part.table, name), float(step)) for name in PRICES}
    return replace(part.table, **columns, index=None)


def _provenance(
    parts: Sequence[GivenBars],
    chain: Sequence[_Roll],
    gaps: Sequence[_Gap],
    adjust: Adjust,
    closed_by: Any,
) -> dict[str, Any]:
    """Return the content of ``attrs["onetape"]`` of a continuous series."""
    stated = [part.facts for part in parts]
    rolled = [
        {
            "at": iso(roll.at),
            "from": roll.old,
            "to": roll.new,
            "measured": iso(gap.measured),
            "closes": [float(gap.old), float(gap.new)],
        }
        for roll, gap in zip(chain, gaps, strict=True)
    ]
    timeframes = [str(part.timeframe) for part in parts if part.timeframe]
    facts = {
        "adjustment": adjust,
        "kind": next((one["kind"] for one in stated if one.get("kind")), {}),
        "complete": all(one.get("complete", True) for one in stated),
        "rolls": rolled,
        "closed_by": None if closed_by is None else str(closed_by),
        "contracts": {part.name: part.facts for part in parts},
    }
    facts |= {"timeframe": timeframes[0]} if timeframes else {}
    warned = {k: True for k in ("made_up", "sample") if any(one.get(k) for one in stated)}
    return facts | warned
