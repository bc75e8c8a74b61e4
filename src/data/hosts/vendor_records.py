"""Reads the shared server's records about vendors, in which another program may have written anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import CorruptEntryError
from ..model.instant import DAY_MS, day_ms
from ..net.circuit_breaker import Circuit, CircuitPolicy
from ..net.quota import LONGEST_PAUSE_S, Pause
from ..net.state_tables import DAY_STANDS_S
from ..net.unknown_symbols import LONGEST_S, UnknownSymbol
from .riders import MOST_VERSION

# More operations are not repeated, because every call would wait for that.
MOST_OPERATIONS = 5_000
# Most days that vendors lack.
MOST_DAYS = 1_000
_MOST_WINDOWS = 8
# A fact may say this much more than a host does, because the server's clock may have been set back.
_TOLERANCE_S = 3600.0
# The state of a host takes no larger ones than these, by its own clock.
_Number = Annotated[float, Meta(ge=0, le=9e10)]
_Count = Annotated[int, Meta(ge=0, le=10**10)]
_Length = Annotated[float, Meta(gt=0, le=1e9)]
_Ticket = Annotated[str, Meta(max_length=64)]
_Lengths = Annotated[list[_Length], Meta(max_length=_MOST_WINDOWS)]
_Spent = Annotated[
    list[tuple[_Length, _Number, _Number, _Number]], Meta(max_length=4 * MOST_OPERATIONS)
]
_Flights = Annotated[list[tuple[_Ticket, _Number, _Number]], Meta(max_length=MOST_OPERATIONS)]
_Log = Annotated[list[tuple[_Number, list[list[Any]]]], Meta(max_length=MOST_OPERATIONS)]
# What an operation says after its kind and its age; other kinds are of a newer version, and are skipped.
_OPERATIONS: dict[str, Any] = {
    "spend": tuple[_Number, _Number, _Lengths],
    "take_off": tuple[_Number, _Ticket, _Number],
    "land": tuple[_Number, _Ticket],
    "crashed": tuple[_Number],
    "forget": tuple[_Number],
}
_PAUSE = tuple[_Number, _Count]
_CIRCUIT = tuple[_Count, _Count, _Number, _Number, _Number, str, str]
_UNKNOWN = tuple[_Number, _Number, _Count]
_DAYS = Annotated[list[Any], Meta(max_length=MOST_DAYS)]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Condition = Literal["pending", "missing", "degraded"]
# From the year 1843 on, which is earlier than the first bar of any vendor.
_Ms = Annotated[int, Meta(ge=-4 * 10**12, le=10**14)]
_DAY = tuple[_Name, _Name, _Name, date, _Ms, _Ms, _Condition, _Count, _Count, _Number]
# A session may begin on another date in UTC than that which it is named after, and the next one follows.
_DATE_MS, _SESSION_MS = 2 * DAY_MS, 100 * DAY_MS
_WRONG = (msgspec.DecodeError, RecursionError, ValueError, TypeError, LookupError, OverflowError)


class _RecordBase(msgspec.Struct):
    spent: _Spent = []
    flights: _Flights = []


def ledger(
    base: str | None, log: str | None, folded: int | None
) -> tuple[dict[str, Any], list[tuple[float, list[list[Any]]]]]:
    """Return a ledger's base, and the operations behind it; None for all three is one that does not exist.

    Raises:
        CorruptEntryError: No host has written it.
    """
    if folded is None:
        return {}, []
    try:
        if base is None or log is None or not 0 <= folded <= MOST_VERSION:
            raise ValueError("it is too large")
        document = msgspec.structs.asdict(msgspec.json.decode(base, type=_RecordBase))
        entries = msgspec.json.decode(log, type=_Log)
        if sum(len(ops) for _, ops in entries) > MOST_OPERATIONS:
            raise ValueError("it has too many operations")
        for _, ops in entries:
            for op_type, *rest in ops:
                if op_type in _OPERATIONS:
                    msgspec.convert(rest, _OPERATIONS[op_type])
    except _WRONG as exc:
        raise CorruptEntryError(
            f"the shared store's record of a vendor's units cannot be used: {str(exc)[:200]}"
        ) from exc
    return document, entries


def fact(fact_type: str, value: str | None, now_s: float) -> Sequence[Any] | None:
    """Return the value of a fact; None if there is none, or if no host can have written it at ``now_s``.

    Days that vendors lack are a list, without those that no host can have written.
    """
    if value is None:
        return None
    try:
        shape: Any = {"pause": _PAUSE, "circuit": _CIRCUIT, "days": _DAYS}.get(fact_type, _UNKNOWN)
        values: Sequence[Any] | None = msgspec.json.decode(value, type=shape | None)
    except _WRONG:
        return None
    if values is None:
        return None
    if fact_type == "days":
        return [row for row in values if _is_day(row, now_s)]
    if fact_type == "pause":
        until_s, longest_s = Pause(*values).until_s, LONGEST_PAUSE_S
    elif fact_type == "circuit":
        circuit = Circuit(*values)
        until_s = max(circuit.until_s, circuit.trial_until_s, circuit.answered_s)
        longest_s = CircuitPolicy().refused.cap_s
    else:
        unknown = UnknownSymbol(*values)
        until_s, longest_s = max(unknown.until_s, unknown.said_s), LONGEST_S
    return values if until_s <= now_s + longest_s + _TOLERANCE_S else None


def _is_day(row: Any, now_s: float) -> bool:
    """Return whether a host can have recorded at ``now_s`` that a vendor lacks this day."""
    try:
        *names, day, start, end, _, symbols, lacking, until_s = msgspec.convert(row, _DAY)
    except _WRONG:
        return False
    return (
        all(map(str.isprintable, names))
        and abs(start - day_ms(day)) <= _DATE_MS
        and start < end <= start + _SESSION_MS
        and start / 1000 <= now_s + _TOLERANCE_S
        and 0 < lacking <= symbols
        and until_s <= now_s + DAY_STANDS_S + _TOLERANCE_S
    )
