"""What differs between two tables of bars that should be the same, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .bars import Bar
from .instant import iso

Cause = Literal[
    "conflict",
    "unit x100",
    "split",
    "dividend adjustment",
    "actions",
    "adjusted close",
    "revision",
    "small difference",
    "missing here",
    "missing there",
    "stale",
]
# The gravest first.
CAUSES: tuple[Cause, ...] = (
    "conflict",
    "unit x100",
    "split",
    "dividend adjustment",
    "actions",
    "adjusted close",
    "revision",
    "small difference",
    "missing here",
    "missing there",
    "stale",
)


@dataclass(frozen=True)
class Difference:
    """Bars that differ for one probable cause.

    Attributes:
        cause: ``revision``: a few bars were corrected a little. ``unit x100``: pounds and pence.
            ``split``, ``dividend adjustment``: one side is adjusted for it, the other is not.
            ``actions``: the sides tell other splits or dividends. ``adjusted close``: nothing but
            that column differs. ``small difference``: two sources of one market, whose bars agree on
            the whole, count other trades at their edges.
            ``stale``: the first side is known not to be settled, or to be behind. ``missing
            here``, ``missing there``: the first, the second side has no such bars. ``conflict``:
            anything else.
        rows: how many bars; of ``actions`` how many splits and dividends.
        first_ms, last_ms: stamps of the first and the last of them.
        ours, theirs: the first of them on both sides; None where a side has none.
        said: what is seen, in words; may be empty.
    """

    cause: Cause
    rows: int
    first_ms: int
    last_ms: int
    ours: Bar | None
    theirs: Bar | None
    said: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        plain = asdict(self) | {"ours": _plain(self.ours), "theirs": _plain(self.theirs)}
        first, last = plain.pop("first_ms"), plain.pop("last_ms")
        return plain | {"first": iso(first), "last": iso(last)}


class Compared(NamedTuple):
    """How much was compared, and what differs.

    Attributes:
        rows: stamps that at least one side has.
        equal: those of them at which both have the same bar.
        differences: in the order of ``CAUSES``, then of time.
    """

    rows: int
    equal: int
    differences: tuple[Difference, ...]

    def with_actions(self, found: Difference | None) -> Compared:
        """Return it with what differs about splits and dividends, if anything does.

        Not where bars differ by a split: amounts are of other shares then, too.
        """
        if found is None or any(other.cause == "split" for other in self.differences):
            return self
        ranked = sorted((*self.differences, found), key=lambda d: CAUSES.index(d.cause))
        return self._replace(differences=tuple(ranked))


def _plain(bar: Bar | None) -> dict[str, float] | None:
    """Return the bar without its stamp and without what is no number."""
    if bar is None:
        return None
    return {n: v for n, v in bar._asdict().items() if n != "stamp_ms" and v == v}
