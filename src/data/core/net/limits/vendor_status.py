"""The status of vendors for plans and reports, determined without sending or changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

from ...model.request.health import REQUEST_S, Health, Quota
from .circuit_breaker import Circuit
from .quota import Pause, Window
from .state import State
from .state_tables import StateTables

_TO_PAUSE = "it asked us to pause"


class SimulatedRequests(NamedTuple):
    """The result of simulating requests that are sent one after another.

    Attributes:
        sent: Number of requests that would be sent.
        wait_s: Total seconds that these requests would wait.
        stuck_s: Seconds before the next request could be sent, if that is longer than a request may
            wait; otherwise 0.
    """

    sent: int
    wait_s: float
    stuck_s: float = 0.0


@dataclass
class VendorStatus:
    """A snapshot of the known status of a vendor's endpoint.

    Not thread-safe; each caller has its own object.

    Attributes:
        vendor: Canonical name of the vendor.
        windows: Windows of the vendor's limits, with the units spent; requests in flight count as
            spent.
        now_s: Time of the status, in seconds on the clock that the limits use.
        pause: Pause that the vendor demanded.
        circuit: Circuit of the endpoint.
        lost_s: Time before which the record of spent units is lost; None if it is complete.
        budget_s: Maximum number of seconds that a single request may wait.
        spent_s: Seconds that simulated requests have taken since ``now_s``, including waits.
    """

    vendor: str
    windows: Sequence[Window]
    now_s: float
    pause: Pause = Pause()
    circuit: Circuit = Circuit()
    lost_s: float | None = None
    budget_s: float = 0.0
    spent_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.windows = deepcopy(list(self.windows))

    @property
    def shut_s(self) -> float:
        """Seconds until the endpoint may be tried, or 0 if requests are allowed now."""
        return self.circuit.shut_for(self.now_s)

    def send(self, requests: int, cost: int) -> SimulatedRequests:
        """Simulate requests of ``cost`` units each, as far as the limits allow, and count their units."""
        waited_s = 0.0
        for sent in range(requests):
            wait = self._wait(cost)
            if wait > self.budget_s:
                return SimulatedRequests(sent, waited_s, wait)
            waited_s += wait
            self.spent_s += wait
            self.spent_s += REQUEST_S
            for window in self.windows:  # units expire one window after the answer
                window.spend(cost, self.now_s + self.spent_s)
        return SimulatedRequests(requests, waited_s)

    def _wait(self, cost: int) -> float:
        at_s = self.now_s + self.spent_s
        waits = (w.wait(cost, at_s, w.unknown(self.lost_s, at_s)) for w in self.windows)
        return max([self.pause.left_s(at_s), *waits])

    def health(self, now_ms: int) -> Health:
        """Return the status in the form used for reports; ``now_ms`` is the wall time of the status."""
        quotas = tuple(
            Quota(w.length_s, w.capacity, w.used(self.now_s) + w.unknown(self.lost_s, self.now_s))
            for w in self.windows
        )
        paused_s = self.pause.left_s(self.now_s)
        left_s = max(self.shut_s, paused_s)
        reason = _TO_PAUSE if paused_s and paused_s >= self.shut_s else self.circuit.reason
        until_ms = now_ms + round(left_s * 1000) if left_s > 0 else 0
        return Health(self.vendor, until_ms, reason, self.circuit.failures, quotas, left_s)


@dataclass(frozen=True)
class VendorPause:
    """A period during which a vendor, or one of its endpoints, is not queried.

    Attributes:
        vendor: Vendor that is not queried.
        door: Endpoint that is not queried, such as ``bars/1d at <host>``; empty if no endpoint of
            the vendor is queried.
        until_ms: Time when queries are allowed again (UTC milliseconds).
        reason: Reason for the pause.
    """

    vendor: str
    door: str
    until_ms: int
    reason: str


def vendor_pauses(state: State) -> list[VendorPause]:
    """Return all paused vendors and blocked endpoints, without creating or changing anything."""
    if not state.exists:
        return []
    paused = state.run(_paused_now, writes=False)
    now_ms = state.clock.now_ms()
    return [
        VendorPause(account.rpartition(":")[0], door, now_ms + round(left_s * 1000), reason)
        for account, door, left_s, reason in paused
    ]


def unknown_symbols(state: State) -> dict[str, int]:
    """Map each vendor to the number of symbols that it recently rejected as unknown."""
    counts: dict[str, int] = {}
    if state.exists:
        for account, count in state.run(lambda tables: tables.count_unknown(), writes=False):
            vendor = account.rpartition(":")[0]
            counts[vendor] = counts.get(vendor, 0) + count
    return counts


def _paused_now(tables: StateTables) -> list[tuple[str, str, float, str]]:
    pauses, doors = list[tuple[str, str, float, str]](), list[tuple[str, str, float, str]]()
    for account, row in tables.accounts():
        pauses.append((account, "", row.pause.left_s(tables.now_s), _TO_PAUSE))
        doors += [
            (account, door, circuit.shut_for(tables.now_s), circuit.reason)
            for door, circuit in sorted(row.circuits.items())
        ]
    return [pause for pause in pauses + doors if pause[2] > 0]
