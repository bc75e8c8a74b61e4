"""The lease under which the current call works; the files that it changes are pushed under it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from .protocol import Head


@dataclass
class HeldLease:
    """A lease that the current call holds, or has waited for in vain. Use from one thread only.

    Attributes:
        name, owner: Series, and name of the owner.
        pairs: Symbols and timeframes whose series are in ``heads``.
        heads: Latest states when the lease was taken, updated by this call's own changes.
        is_opened: Whether the series has been updated to these states.
        is_freed: Whether the lease is not held (any longer).
        is_brief: Whether it is held for one change.
    """

    name: str
    owner: str
    pairs: Sequence[str] = ()
    heads: dict[str, tuple[Head, int]] = field(default_factory=dict)
    is_opened: bool = False
    is_freed: bool = False
    is_brief: bool = False


current_lease: ContextVar[HeldLease | None] = ContextVar("shared_lease", default=None)


@contextmanager
def working_under(lease: HeldLease | None) -> Iterator[None]:
    """Make ``lease`` the current call's lease in the block."""
    token = current_lease.set(lease)
    try:
        yield
    finally:
        current_lease.reset(token)
