"""Which vendors are left alone just now, and why: for people who wonder."""

from __future__ import annotations

from dataclasses import dataclass

from .state import State
from .state_tables import StateTables


@dataclass(frozen=True)
class Standing:
    """Something that is not asked for a while.

    Attributes:
        vendor: who is left alone.
        door: what is not asked for, such as ``bars/1d at <host>``; empty for everything.
        until_ms: when it may be asked again (UTC milliseconds).
        reason: why.
    """

    vendor: str
    door: str
    until_ms: int
    reason: str


def standing(state: State) -> list[Standing]:
    """Return all pauses and shut doors; nothing is made or changed."""
    if not state.exists:
        return []
    found = state.run(_read, write=False)
    now_ms = state.clock.now_ms()
    return [
        Standing(who.rpartition(":")[0], door, now_ms + round(left_s * 1000), reason)
        for who, door, left_s, reason in found
    ]


def unknown_symbols(state: State) -> dict[str, int]:
    """Return vendor to the number of symbols that it said lately it does not know."""
    found: dict[str, int] = {}
    if state.exists:
        for who, count in state.run(lambda book: book.count_unknown(), write=False):
            vendor = who.rpartition(":")[0]
            found[vendor] = found.get(vendor, 0) + count
    return found


def _read(book: StateTables) -> list[tuple[str, str, float, str]]:
    pauses = [
        (who, "", pause.left_s(book.now_s), "it asked us to pause") for who, pause in book.pauses()
    ]
    doors = [
        (who, door, circuit.shut_for(book.now_s), circuit.reason)
        for who, door, circuit in book.open_circuits()
    ]
    return pauses + [door for door in doors if door[2] > 0]
