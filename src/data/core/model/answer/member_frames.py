"""The answer to a batch: a frame for each symbol and, for a universe, the sessions without bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from ..display.texts import InLines, Line, counted
from .provenance import ATTRS_KEY

if TYPE_CHECKING:
    import pandas as pd

    from ..identity.universe import Members

__all__ = ["DaysWithoutBars", "Frames", "MemberFrames"]


class DaysWithoutBars(NamedTuple):
    """Consecutive sessions for which a member of a universe has no bar.

    Attributes:
        first, last: Session dates at the venue, both inclusive.
        sessions: Number of market sessions in the range.
        reason: Reason why the first of these sessions has no bar; empty if the answer does not give
            a reason.
    """

    first: date
    last: date
    sessions: int
    reason: str


class Frames(InLines, dict[str, "pd.DataFrame"]):
    """The result of a batch; maps each symbol to its frame, and is displayed as one table."""

    def __repr__(self) -> str:
        return str(self)

    def __missing__(self, name: Any) -> pd.DataFrame:
        if name in ("open", "high", "low", "close", "volume", "adj_close"):
            how = f"get_ohlcv_batch(..., layout='wide')[{name!r}]"
            raise KeyError(f"{name!r} is a column of each frame; for all symbols, use {how}")
        raise KeyError(name)

    @property
    def title(self) -> str:
        """The number of symbols, and how many of them are incomplete."""
        lacking = sum(not facts.get("complete", False) for facts in map(_facts, self.values()))
        return f"bars of {counted(len(self), 'symbol')}: " + (
            f"{lacking} incomplete" if lacking else "complete"
        )

    def lines(self) -> Iterator[Line]:
        """Yield each symbol with its bars, its vendors and its gaps."""
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
    """The result of a batch for a universe; maps each member to its frame, in order.

    Attributes:
        members: Members of the universe, with the date of the membership and its reliability.
        without_bars: Maps each member to the sessions in the range for which it has no bar,
            including those before its listing and after its delisting; a member without such
            sessions is omitted. Sessions that have not ended are not counted.
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
        """Return the members and their sessions without bars as JSON-compatible values.

        The frames are not included.
        """
        runs = {
            symbol: [
                run._asdict() | {"first": str(run.first), "last": str(run.last)} for run in each
            ]
            for symbol, each in self.without_bars.items()
        }
        return self.members.as_dict() | {"without_bars": runs}
