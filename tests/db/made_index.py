"""A made-up index: its members on every day, replayed without intervals, and its change log."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class MadeIndex:
    """Its list on each day, as it was made, and what its publisher would have written."""

    first: date
    last: date
    start: frozenset[str]
    changes: tuple[tuple[date, str, str], ...]  # day, added, removed

    def replayed(self) -> Iterator[tuple[date, frozenset[str]]]:
        """Yield each day with its members, forwards."""
        members, place = self.start, 0
        for offset in range((self.last - self.first).days + 1):
            day = self.first + timedelta(days=offset)
            while place < len(self.changes) and self.changes[place][0] == day:
                _, added, removed = self.changes[place]
                members = (members - {removed}) | {added}
                place += 1
            yield day, members

    @property
    def roster(self) -> list[str]:
        return sorted(dict(self.replayed())[self.last])

    def log(self) -> bytes:
        lines = [f"{day},{added},{removed}" for day, added, removed in self.changes]
        return "\n".join(["date,added,removed", *lines]).encode()

    def list_(self) -> bytes:
        return "\n".join(["symbol", *self.roster]).encode()

    def intervals(self) -> bytes:
        """Return the same as dated intervals."""
        begun = dict.fromkeys(self.start, self.first)
        lines = ["symbol,from,to"]
        for day, added, removed in self.changes:
            lines.append(f"{removed},{begun.pop(removed)},{day}")
            begun[added] = day
        lines += [f"{symbol},{day}," for symbol, day in begun.items()]
        return "\n".join(lines).encode()


def made_index(
    members: int = 500,
    years: int = 20,
    changes_a_year: int = 25,
    seed: int = 7,
    last: date = date(2025, 12, 31),
) -> MadeIndex:
    """Make one: some that leave come back later."""
    chance = random.Random(seed)
    first = date(last.year - years + 1, 1, 1)
    names = [f"{a}{b}{c}X" for a in "ABCDEFGHJK" for b in "ABCDEFGHJK" for c in "ABCDEFGHJKLM"]
    chance.shuffle(names)
    start = names[:members]
    inside, outside = list(start), names[members:]
    days = sorted(
        first + timedelta(days=chance.randrange(1, (last - first).days))
        for _ in range(years * changes_a_year)
    )
    changes = []
    moved: dict[str, date] = {}
    for day in days:
        free = [s for s in outside[:30] if moved.get(s) != day]
        added = chance.choice(free)
        removed = chance.choice([s for s in inside if moved.get(s) != day])
        outside.remove(added)
        inside.remove(removed)
        outside.insert(0 if chance.random() < 0.2 else len(outside), removed)
        inside.append(added)
        moved[added] = moved[removed] = day
        changes.append((day, added, removed))
    return MadeIndex(first, last, frozenset(start), tuple(changes))
