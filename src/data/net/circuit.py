"""Doors of vendors that failed lately: nobody knocks for a while, then exactly one caller does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from ..errors import CircuitOpenError
from ..policy.circuit import Circuit, CircuitPolicy, Outcome, outcome_of
from .account import Account
from .book import Book
from .state import State

_POLICY = CircuitPolicy()
_LONGEST_REASON = 200


class Circuits:
    """The circuits of all vendors in the book of all processes. Thread-safe.

    Args:
        state: the book.
        policy: when a circuit opens and closes.
    """

    def __init__(self, state: State, policy: CircuitPolicy = _POLICY) -> None:
        self._state = state
        self._policy = policy

    @contextmanager
    def guard(self, account: Account, door: str) -> Iterator[None]:
        """Let the block ask ``door``, and learn from how it ends.

        Raises:
            CircuitOpenError: it failed lately, or somebody is just trying it; nothing was asked.
        """
        trial = self._enter(account, door)
        try:
            yield
        except BaseException as exc:
            # Also an interrupted trial must end, else the door stays shut until it runs out.
            self._leave(account, door, exc, trial)
            raise
        self._leave(account, door, None, trial)

    def look(self, account: Account, door: str) -> Circuit:
        """Return what is known of a door; times are those of the book."""
        return self._state.run(
            lambda book: book.circuit(account.named(book.salt), door), write=False
        )

    def _enter(self, account: Account, door: str) -> bool:
        """Return whether this call is the one that tries a half-open door."""
        if self.look(account, door).is_closed:
            return False
        shut_s, circuit = self._state.run(partial(self._try, account=account, door=door))
        if shut_s > 0:
            raise self._refusal(account, door, circuit, shut_s)
        return not circuit.is_closed

    def _try(self, book: Book, account: Account, door: str) -> tuple[float, Circuit]:
        name = account.named(book.salt)
        circuit = book.circuit(name, door)
        shut_s = circuit.shut_for(book.now_s)
        if shut_s <= 0 and not circuit.is_closed:
            book.keep_circuit(name, door, self._policy.enter(circuit, book.now_s))
        return shut_s, circuit

    def _leave(self, account: Account, door: str, error: BaseException | None, trial: bool) -> None:
        outcome = outcome_of(error)
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON] if error else ""
        after = partial(self._after, outcome=outcome, trial=trial, reason=reason)

        def keep(book: Book) -> None:
            name = account.named(book.salt)
            book.keep_circuit(name, door, after(book.circuit(name, door), now_s=book.now_s))

        known, now_s = self._state.run(
            lambda book: (book.circuit(account.named(book.salt), door), book.now_s), write=False
        )
        if after(known, now_s=now_s) != known:
            self._state.run(keep)

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
