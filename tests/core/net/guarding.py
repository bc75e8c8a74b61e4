"""Guarded calls to one vendor's services for accounts of a test: their outcomes and refusals."""

from __future__ import annotations

from contextlib import AbstractContextManager

from src.data.core.model.request.capabilities import Limits
from src.data.core.net.limits.circuit_breaker import Circuit
from src.data.core.net.limits.guarded_call import CircuitHook, GuardedCall
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.net.limits.unknown_symbols import SymbolCheck


def limiter_of(state: State, account: Account, on_change: CircuitHook | None = None) -> Limiter:
    """Return the limiter of an account without limits."""
    return Limiter(account.vendor, Limits(), state, account, on_change)


class Circuits:
    """The circuits of all accounts over one state."""

    def __init__(self, state: State, on_change: CircuitHook | None = None) -> None:
        self.state = state
        self._on_change = on_change

    def guard(self, account: Account, door: str) -> AbstractContextManager[GuardedCall | None]:
        """Return the context of one call."""
        return limiter_of(self.state, account, self._on_change).guard(door)

    def look(self, account: Account, door: str) -> Circuit:
        """Return a circuit as it is now."""
        return self.state.run(
            lambda b: b.account(account.named(b.salt)).circuit(door), writes=False
        )


class Symbols:
    """The symbols that one account requests at one address."""

    def __init__(self, state: State, account: Account, address: str) -> None:
        self.state = state
        self._limiter, self._address = limiter_of(state, account), address

    def asking(
        self, symbol: str, *, insist: bool = False, is_trusted: bool = False
    ) -> AbstractContextManager[GuardedCall | None]:
        """Return the context of one call for ``symbol``."""
        return self._limiter.guard("bars", SymbolCheck(symbol, self._address, insist, is_trusted))
