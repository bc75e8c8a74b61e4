"""Universes without a database, for tests of what takes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from src.data.core.model.identity.universe import Members
from src.data.core.model.words.caller import warn_user
from src.data.errors import SurvivorshipWarning, UniverseError


@dataclass
class DatedUniverse:
    """The universe ``mine``: symbol to the half-open session dates of its membership.

    Before ``known_from`` its answers are not point-in-time.
    """

    intervals: Mapping[str, tuple[str, str | None]]
    known_from: str = "2010-01-04"

    def members(
        self,
        name: str,
        as_of: date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        if name != "mine":
            raise UniverseError(f"the universe does not exist: {name!r}")
        day, first = str(as_of), str(since or as_of)
        chosen = [
            symbol
            for symbol, (begin, end) in self.intervals.items()
            if begin <= day and (end is None or first < end)
        ]
        is_pit = first >= self.known_from
        answer = Members(
            name, tuple(sorted(chosen)), date.fromisoformat(day), is_pit,
            date.fromisoformat(self.known_from), "" if is_pit else "recorded later",
            since=None if since is None else date.fromisoformat(first),
        )  # fmt: skip
        if not is_pit and strict:
            raise UniverseError(str(answer))
        if not is_pit:
            warn_user(str(answer), SurvivorshipWarning)
        return answer
