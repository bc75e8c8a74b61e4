"""The bars of a universe: a frame for each member, and the days for which a member has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from .universe import Members

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DaysWithoutBars", "MemberFrames"]


class DaysWithoutBars(NamedTuple):
    """Sessions in a row for which a member has no bar.

    Attributes:
        first, last: session dates at the venue, both inclusive.
        sessions: how many sessions of the market these are.
        reason: why the first of them has no bar, as far as the answer says it; else empty.
    """

    first: date
    last: date
    sessions: int
    reason: str


class MemberFrames(dict[str, "pd.DataFrame"]):
    """Member to frame, in the order of the members: the dict that a batch is, with two attributes.

    Attributes:
        members: the members, with day and proof.
        without_bars: member to the sessions of the range that have no bar of it, those before its listing
            and behind its delisting included; a member without such sessions is not in it. Sessions that
            have not ended are not counted.
    """

    def __init__(
        self,
        frames: Mapping[str, pd.DataFrame],
        members: Members,
        without_bars: Mapping[str, Sequence[DaysWithoutBars]],
    ) -> None:
        super().__init__(frames)
        self.members = members
        self.without_bars = {symbol: tuple(runs) for symbol, runs in without_bars.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.members, self.without_bars)

    def as_dict(self) -> dict[str, Any]:
        """Return members and days without bars as plain JSON values; the frames are no part of it."""
        runs = {
            symbol: [
                run._asdict() | {"first": str(run.first), "last": str(run.last)} for run in each
            ]
            for symbol, each in self.without_bars.items()
        }
        return self.members.as_dict() | {"without_bars": runs}
