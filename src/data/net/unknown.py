"""Symbols that a vendor does not know: it is not asked for them again before some time is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import NoDataError, SymbolNotFoundError
from ..model.instant import SECOND_MS, iso
from .account import Account
from .state import State
from .state_tables import StateTables
from .unknown_symbols import Unknown, said_again


class UnknownSymbols:
    """What one vendor at one address does not know, in the book of all processes. Thread-safe.

    Args:
        state: the book.
        account: who asks: another plan may know other symbols.
        at: host and path of the address: a mirror may know what the vendor's own host does not.
    """

    def __init__(self, state: State, account: Account, at: str) -> None:
        self._state = state
        self._account = account
        self._at = at

    @contextmanager
    def asking(self, symbol: str, *, anyway: bool = False, trusted: bool = False) -> Iterator[None]:
        """Let the block ask for ``symbol``, and learn whether the vendor knows it.

        Args:
            symbol: as the vendor spells it.
            anyway: ask whatever it said before.
            trusted: it has known the symbol lately: that it does not is no news to be kept.

        Raises:
            SymbolNotFoundError: on entering, where it said so lately; nobody was asked.
        """
        known, now_s = self._state.run(lambda book: self._look(book, symbol), write=False)
        if known is not None and known.holds(now_s) and not anyway:
            raise self._refusal(symbol, known, now_s)
        try:
            yield
        except SymbolNotFoundError:
            if not trusted:
                self._state.run(lambda book: self._keep(book, symbol))
            raise
        except NoDataError:
            self._forget(symbol, known)
            raise
        self._forget(symbol, known)

    def look(self, symbol: str) -> SymbolNotFoundError | None:
        """Return why no vendor is asked for ``symbol`` now, or None; nothing is made or changed."""
        if not self._state.exists:
            return None
        known, now_s = self._state.run(lambda book: self._look(book, symbol), write=False)
        is_known = known is None or not known.holds(now_s)
        return None if known is None or is_known else self._refusal(symbol, known, now_s)

    def _look(self, book: StateTables, symbol: str) -> tuple[Unknown | None, float]:
        return book.unknown(self._account.named(book.salt), self._at, symbol), book.now_s

    def _keep(self, book: StateTables, symbol: str) -> None:
        known, now_s = self._look(book, symbol)
        book.keep_unknown(
            self._account.named(book.salt), self._at, symbol, said_again(known, now_s)
        )

    def _forget(self, symbol: str, known: Unknown | None) -> None:
        if known is not None:  # else there is nothing to write: most symbols are known
            self._state.run(
                lambda book: book.forget_unknown(self._account.named(book.salt), self._at, symbol)
            )

    def _refusal(self, symbol: str, known: Unknown, now_s: float) -> SymbolNotFoundError:
        vendor, now_ms = self._account.vendor, self._state.clock.now_ms()

        def told(then_s: float) -> str:
            moment_ms = now_ms + round((then_s - now_s) * SECOND_MS)
            return iso(moment_ms - moment_ms % SECOND_MS)

        said, until = told(known.said_s), told(known.until_s)
        return SymbolNotFoundError(
            f"{vendor} said at {said} that it does not know {symbol!r}; "
            f"it is not asked again before {until}",
            provider=vendor,
            hint="a forced refresh asks at once",
        )
