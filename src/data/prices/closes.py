"""The closes before ex-dates, also out of prices that dividends were taken out of.

A dividend ``D`` multiplies older prices by ``1 - D / C``, with ``C`` the close before its ex-date,
split-adjusted. Of a vendor that serves fully adjusted prices alone ``C`` is known all the same:
with ``F`` the product of the factors of all later dividends, the adjusted close of that day is
``A = F (C - D)``. So ``C = A / F + D``, from the newest dividend backwards, and with all ``C`` every
price is brought to ``split`` and ``raw``.

That is exact but for the vendor's rounding. Let ``r`` be the most that rounding moves an adjusted
close, relatively (half a cent in 50 dollars: 1e-4). A factor found this way is off by at most
``r (1 - F)``, since every close adds only the ``D / C`` of its own error and the later ones shrink
by the rest; hence a price is off by at most ``r (2 - F)``, to first order: less than twice what the
vendor itself rounded away, however many dividends lie behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from ..model.actions import Action, amount_on, current
from ..model.bars import BarTable
from ..model.kind import Basis
from ..model.span import Span
from .adjustment import BasisPart, OwnActions, rebase


class LastSession(NamedTuple):
    """The last daily bars before an ex-date, ending with that of the session before it."""

    table: BarTable
    parts: Sequence[BasisPart]


@dataclass
class ClosesBefore:
    """Split-adjusted closes before ex-dates; the ``close_before`` of :func:`.adjust.rebase`.

    Each is worked out once, so one object serves one conversion. For one thread.

    Attributes:
        actions: what counts.
        as_of: up to when splits are applied to the closes.
        last_session: reads the bars before an ex-date; None where they are not known. What it
            raises is raised.
        own: see :func:`.adjust.rebase`.
    """

    actions: Sequence[Action]
    as_of: date
    last_session: Callable[[date], LastSession | None]
    own: OwnActions | None = None
    _known: dict[date, float | None] = field(default_factory=dict)

    def __call__(self, ex_date: date) -> float | None:
        """Return the close of the session before ``ex_date``, or None where it is not known.

        Raises:
            KindMismatchError: the bar cannot be brought to split-adjusted prices.
        """
        if ex_date not in self._known:
            self._known[ex_date] = self._close(ex_date)
        return self._known[ex_date]

    def _close(self, ex_date: date) -> float | None:
        found = self.last_session(ex_date)
        if found is None:
            return None
        last = found.table.take(slice(len(found.table) - 1, None))
        # Without its adjusted close, which would need what is being looked for.
        row = last.with_adj_close(None)
        part = _part_of(row, found.parts)
        actions = current(self.actions if self.own is None else self.own(part.vendor))
        paid = [a for a in actions if a.type == "dividend" and a.ex_date == ex_date]
        if not any(a.is_in(part.basis.adjustment, part.basis.as_of) for a in paid):
            return self._split(row, part, actions)
        # The newest first: each needs those behind it, and none is to begin a long recursion.
        for later in reversed([a for a in actions if a.type == "dividend"]):
            if later.ex_date > ex_date and later.is_in("all", part.basis.as_of):
                self(later.ex_date)
        without = self._split(row, part, [a for a in actions if a not in paid])
        splits = [a for a in actions if a.type == "split" and a.is_sound]
        return without + sum(float(amount_on(a, splits, self.as_of)) for a in paid)

    def _split(self, row: BarTable, part: BasisPart, actions: Sequence[Action]) -> float:
        done = rebase(
            row, [part], actions, "split", as_of=self.as_of, intraday=False, close_before=self
        )
        return float(done.close[-1])


def _part_of(row: BarTable, parts: Sequence[BasisPart]) -> BasisPart:
    """Return the part of the only row; of several the later one counts."""
    stamp = int(row.stamps[-1])
    nobody = BasisPart(Span(stamp, stamp + 1), Basis("unknown"))
    return next((part for part in reversed(parts) if stamp in part.span), nobody)
