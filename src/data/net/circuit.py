"""Doors of vendors that failed lately: nobody knocks for a while, then exactly one caller does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from ..errors import CircuitOpenError
from .account import Account
from .circuit_breaker import Circuit, CircuitPolicy, Outcome, outcome_of
from .state import State
from .state_tables import StateTables

_POLICY = CircuitPolicy()
_LONGEST_REASON = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CircuitChange:
    """A circuit that a call of this process has opened, opened again or closed.

    Attributes:
        vendor, door: whose, and what is not asked for.
        is_open: whether nobody asks now.
        seconds: until somebody may try; 0 when it was closed.
        reason: what the last failure was, empty when it was closed.
    """

    vendor: str
    door: str
    is_open: bool
    seconds: float = 0.0
    reason: str = ""


CircuitHook = Callable[[CircuitChange], None]


@dataclass(frozen=True)
class CircuitVisit:
    """One call that a door let in; that its answer was bad may be found when it is long over.

    Attributes:
        account, door: who asked, and for what.
        before: what was known of the door when the call began.
        trial: whether this is the call that tries a half-open door.
    """

    circuits: Circuits = field(repr=False)
    account: Account
    door: str
    before: Circuit
    trial: bool

    def blame(self, error: BaseException) -> None:
        """Count ``error`` against the door, as if the call had ended with it."""
        self.circuits.blame(self, error)


class Circuits:
    """The circuits of all vendors in the book of all processes. Thread-safe.

    Args:
        state: the book.
        policy: when a circuit opens and closes.
        on_change: told of every circuit opened or closed; it observes and must not raise.
    """

    def __init__(
        self, state: State, policy: CircuitPolicy = _POLICY, on_change: CircuitHook | None = None
    ) -> None:
        self._state = state
        self._policy = policy
        self._on_change = on_change

    @contextmanager
    def guard(self, account: Account, door: str) -> Iterator[CircuitVisit]:
        """Let the block ask ``door``, and learn from how it ends.

        Raises:
            CircuitOpenError: it failed lately, or somebody is just trying it; nothing was asked.
        """
        try:
            visit = self._enter(account, door)
        except KeyboardInterrupt as exc:
            self._leave(account, door, exc, trial=True)
            raise
        try:
            yield visit
        except BaseException as exc:
            # Also an interrupted trial must end, else the door stays shut until it runs out.
            self._leave(account, door, exc, visit.trial)
            raise
        self._leave(account, door, None, visit.trial)

    def blame(self, visit: CircuitVisit, error: BaseException) -> None:
        """Count ``error`` against the door of a visit that had ended well."""

        def keep(book: StateTables) -> CircuitChange | None:
            name = visit.account.named(book.salt)
            known = book.circuit(name, visit.door)
            circuit = self._policy.blame(
                known, visit.before, outcome_of(error), book.now_s, _reason(error)
            )
            book.keep_circuit(name, visit.door, circuit)
            return _change(visit.account.vendor, visit.door, (known, circuit), book.now_s)

        if (change := self._state.run(keep)) is not None:
            self._tell(change)

    def reopen(self, account: Account, door: str) -> None:
        """Let the next call try a door that is shut, as if its time were over."""

        def keep(book: StateTables) -> None:
            name = account.named(book.salt)
            circuit = replace(book.circuit(name, door), until_s=book.now_s, trial_until_s=0.0)
            book.keep_circuit(name, door, circuit)

        if not self.look(account, door).is_closed:
            self._state.run(keep)

    def look(self, account: Account, door: str) -> Circuit:
        """Return what is known of a door; times are those of the book."""
        return self._state.run(
            lambda book: book.circuit(account.named(book.salt), door), write=False
        )

    def _enter(self, account: Account, door: str) -> CircuitVisit:
        """Return the visit of a call that may ask."""
        known = self.look(account, door)
        if known.is_closed:
            return CircuitVisit(self, account, door, known, trial=False)
        shut_s, circuit = self._state.run(partial(self._try, account=account, door=door))
        if shut_s > 0:
            raise self._refusal(account, door, circuit, shut_s)
        return CircuitVisit(self, account, door, circuit, trial=not circuit.is_closed)

    def _try(self, book: StateTables, account: Account, door: str) -> tuple[float, Circuit]:
        name = account.named(book.salt)
        circuit = book.circuit(name, door)
        shut_s = circuit.shut_for(book.now_s)
        if shut_s <= 0 and not circuit.is_closed:
            book.keep_circuit(name, door, self._policy.enter(circuit, book.now_s))
        return shut_s, circuit

    def _leave(self, account: Account, door: str, error: BaseException | None, trial: bool) -> None:
        outcome = outcome_of(error)
        after = partial(self._after, outcome=outcome, trial=trial, reason=_reason(error))

        def keep(book: StateTables) -> CircuitChange | None:
            name = account.named(book.salt)
            before = book.circuit(name, door)
            circuit = after(before, now_s=book.now_s)
            book.keep_circuit(name, door, circuit)
            return _change(account.vendor, door, (before, circuit), book.now_s)

        known, now_s = self._state.run(
            lambda book: (book.circuit(account.named(book.salt), door), book.now_s), write=False
        )
        if after(known, now_s=now_s) != known and (change := self._state.run(keep)) is not None:
            self._tell(change)

    def _tell(self, change: CircuitChange) -> None:
        if change.is_open:
            _log.warning(
                "%s is not asked for %s for %.0f s: %s",
                change.vendor,
                change.door,
                change.seconds,
                change.reason,
            )
        else:
            _log.info("%s answers for %s again", change.vendor, change.door)
        if self._on_change is not None:
            self._on_change(change)

    def _after(
        self, circuit: Circuit, *, now_s: float, outcome: Outcome, trial: bool, reason: str
    ) -> Circuit:
        return self._policy.leave(circuit, outcome, now_s, trial=trial, reason=reason)

    def _refusal(
        self, account: Account, door: str, circuit: Circuit, shut_s: float
    ) -> CircuitOpenError:
        until_ms = self._state.clock.now_ms() + round(shut_s * 1000)
        until = datetime.fromtimestamp(until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        times = "once" if circuit.failures == 1 else f"{circuit.failures} times in a row"
        error = CircuitOpenError(
            f"{account.vendor} is not asked for {door} before {until} UTC: it failed {times}, "
            f"last with {circuit.reason}",
            provider=account.vendor,
        )
        error.until_ms = until_ms
        return error


def _change(
    vendor: str, door: str, steps: tuple[Circuit, Circuit], now_s: float
) -> CircuitChange | None:
    """Return what a step means to people who wonder; None where they need not know."""
    before, after = steps
    if after.is_closed:
        return None if before.is_closed else CircuitChange(vendor, door, is_open=False)
    if after.times <= before.times:
        return None  # a trial began or said nothing
    return CircuitChange(vendor, door, True, after.shut_for(now_s), after.reason)


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON] if error else ""
