"""The answer of a batch: a frame for each symbol, and for a universe the days without bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from .provenance import ATTRS_KEY
from .texts import InLines, Line, counted
from .universe import Members

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DaysWithoutBars", "Frames", "MemberFrames"]


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


class Frames(InLines, dict[str, "pd.DataFrame"]):
    """Maps each symbol to its frame: the dict that a batch is, shown as one table."""

    def __repr__(self) -> str:
        return str(self)

    @property
    def title(self) -> str:
        """How many symbols there are, and of how many bars are missing."""
        lacking = sum(not facts.get("complete", False) for facts in map(_facts, self.values()))
        return f"bars of {counted(len(self), 'symbol')}: " + (
            f"{lacking} incomplete" if lacking else "complete"
        )

    def lines(self) -> Iterator[Line]:
        """Yield each symbol with its bars, its vendors and what it lacks."""
        from .proof import extent_of

        for name, frame in self.items():
            facts = _facts(frame)
            if not facts:
                yield name, counted(len(frame), "row")
                continue
            vendors = ", ".join(dict.fromkeys(span["vendor"] for span in facts["spans"]))
            gaps = facts["gaps_total"] if not facts.get("error") else 0
            parts = [extent_of(facts), f"from {vendors}" if vendors else ""]
            parts += [counted(gaps, "gap")] if gaps else []
            yield name, ", ".join(filter(None, parts))


def _facts(frame: pd.DataFrame) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = frame.attrs.get(ATTRS_KEY, {})
    return facts


class MemberFrames(Frames):
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
