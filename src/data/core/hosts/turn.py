"""The lease under which the current call works; the files that it changes are pushed under it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from .protocol import Head


@dataclass
class HeldLease:
    """A lease that the current call holds. Use from one thread only.

    Attributes:
        name, owner: Series, and name of the owner.
        pairs: Symbols and timeframes whose series are in ``heads``.
        heads: Latest states when the lease was taken, updated by this call's own changes.
        is_used: Whether these states have answered a request already.
        is_freed: Whether the lease ended together with a change.
        is_brief: Whether it is held for one change.
    """

    name: str
    owner: str
    pairs: Sequence[str] = ()
    heads: dict[str, tuple[Head, int]] = field(default_factory=dict)
    is_used: bool = False
    is_freed: bool = False
    is_brief: bool = False

    def use_heads(self, pairs: Iterable[str]) -> dict[str, tuple[Head, int]] | None:
        """Return the latest states if they answer this request, but only once."""
        if self.is_used or set(pairs) != set(self.pairs):
            return None
        self.is_used = True
        return self.heads


current_lease: ContextVar[HeldLease | None] = ContextVar("shared_lease", default=None)


@contextmanager
def working_under(lease: HeldLease | None) -> Iterator[None]:
    """Make ``lease`` the current call's lease in the block."""
    token = current_lease.set(lease)
    try:
        yield
    finally:
        current_lease.reset(token)
