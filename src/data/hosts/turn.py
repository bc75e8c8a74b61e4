"""The lease under which the current call works; what the call appends to the log is checked by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from ..model.coverage import VendorDay
from .entry import SeriesName

Pair = tuple[str, str]
Heads = Mapping[SeriesName, tuple[int, bytes]]


@dataclass
class HeldLease:
    """A lease in the shared server that the current call holds. Use from one thread only.

    Attributes:
        lease, owner: Name of the lease, and of its holder.
        fence: Number of this holder; the log rejects entries of earlier ones.
        pairs: Symbols and timeframes that the lease is about.
        heads: Their latest entries when the lease was taken; None once these were used.
        vendor_days: Days that vendors lack; None if no host has changed them since.
        is_freed: Whether the lease was freed together with an entry.
    """

    lease: str
    owner: str
    fence: int
    pairs: Sequence[Pair] = ()
    heads: Heads | None = None
    vendor_days: Sequence[VendorDay] | None = None
    is_freed: bool = False

    def use_heads(self, pairs: Iterable[Pair]) -> Heads | None:
        """Return the heads that came with the lease if they answer this question, but only once."""
        if self.heads is None or set(pairs) != set(self.pairs):
            return None
        heads, self.heads = self.heads, None
        return heads


current_turn: ContextVar[HeldLease | None] = ContextVar("turn", default=None)
