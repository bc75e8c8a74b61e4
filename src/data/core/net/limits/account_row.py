"""The state of one account as one value: spent units, requests in flight, pause and circuits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ....errors import CorruptEntryError
from ...model.request.capabilities import Limits
from .circuit_breaker import Circuit
from .quota import Pause, QuotaReport, SpentUnits, Window, windows_of

# No request takes longer than this; one that has not ended by then belonged to a process that died.
_LONGEST_FLIGHT_S = 150.0
_CHECKSUM_BYTES = 4
_CLOSED = Circuit()
_Values = tuple[
    dict[float, list[SpentUnits]], dict[str, tuple[float, float]], Pause, dict[str, Circuit]
]


@dataclass
class AccountRow:
    """The state of one account; times are seconds of the remembered time. Not thread-safe.

    Attributes:
        spent: Maps the length of each window to the units spent in it, oldest first.
        flights: Maps the ticket of each request in flight to its units, and to the time by which it
            has ended.
        pause: Current or last pause that the vendor demanded.
        circuits: Maps each endpoint to its circuit; an endpoint without one is closed.
        changes: Changes of the counts since the row was read, in order, for a server that counts
            for several hosts; not stored. Each is ``["end", ticket]``, ``["spend", lengths,
            units]``, ``["reach", [length], units used]`` or ``["forget"]``.
    """

    spent: dict[float, list[SpentUnits]] = field(default_factory=dict)
    flights: dict[str, tuple[float, float]] = field(default_factory=dict)
    pause: Pause = Pause()
    circuits: dict[str, Circuit] = field(default_factory=dict)
    changes: list[list[Any]] = field(default_factory=list, init=False)

    @classmethod
    def unpack(cls, packed: bytes) -> AccountRow:
        """Return the row that :meth:`pack` has packed; see :func:`unpack` for the error."""
        return cls(*unpack(packed, _Values))

    def pack(self) -> bytes:
        """Return the row as bytes, with a checksum."""
        return pack((self.spent, self.flights, self.pause, self.circuits))

    def windows(self, limits: Limits, now_s: float) -> list[Window]:
        """Return a window per limit, whose entries are those of this row.

        Requests that have not ended in time count as spent at the latest possible moment.
        """
        windows = windows_of(limits)
        for window in windows:
            window.entries = self.spent.setdefault(window.length_s, [])
        dead = {key: flight for key, flight in self.flights.items() if flight[1] <= now_s}
        for ticket, (units, until_s) in sorted(dead.items(), key=lambda item: item[1][1]):
            del self.flights[ticket]
            for window in windows:
                window.spend(units, until_s)
        return windows

    @property
    def in_flight(self) -> float:
        """The units of all requests in flight."""
        return sum(units for units, _ in self.flights.values())

    def circuit(self, endpoint: str) -> Circuit:
        """Return the circuit of an endpoint; it is closed if none is stored."""
        return self.circuits.get(endpoint, _CLOSED)

    def take(self, ticket: str, units: float, now_s: float) -> None:
        """Record a request in flight."""
        self.flights[ticket] = units, now_s + _LONGEST_FLIGHT_S

    def release(self, ticket: str) -> float:
        """Remove a request from those in flight; return its units, or 0 if it is unknown."""
        self.changes.append(["end", ticket])
        return self.flights.pop(ticket, (0.0, 0.0))[0]

    def settle(
        self, ticket: str, reports: Iterable[QuotaReport], limits: Limits, now_s: float
    ) -> None:
        """Count the units of a finished request from now on, and the units that its vendor reports."""
        windows = self.windows(limits, now_s)
        if units := self.release(ticket):
            self.spend(units, limits, now_s)
        for report in reports:
            lacking, window = report.lacking(windows, now_s, self.in_flight), report.meant(windows)
            if lacking and window is not None:
                window.spend(lacking, now_s)
                self.changes.append(["reach", [window.length_s], window.used(now_s)])

    def spend(self, units: float, limits: Limits, now_s: float) -> None:
        """Count units as spent in every window."""
        windows = self.windows(limits, now_s)
        for window in windows:
            window.spend(units, now_s)
        self.changes.append(["spend", [window.length_s for window in windows], units])

    def forget(self) -> None:
        """Forget the spent units, the requests in flight and the pause."""
        self.spent, self.flights, self.pause = {}, {}, Pause()
        self.changes.append(["forget"])


def pack(value: Any) -> bytes:
    """Return a value as bytes, with a checksum."""
    body = msgspec.msgpack.encode(value)
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES) + body


def unpack(packed: Any, kind: Any) -> Any:
    """Return the value of a type that :func:`pack` has packed.

    Raises:
        CorruptEntryError: The bytes are damaged.
    """
    try:
        checksum, body = packed[:_CHECKSUM_BYTES], packed[_CHECKSUM_BYTES:]
        if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES) == checksum:
            return msgspec.msgpack.decode(body, type=kind)
    except (TypeError, msgspec.MsgspecError):
        pass
    raise CorruptEntryError("the state file contains damaged bytes")
