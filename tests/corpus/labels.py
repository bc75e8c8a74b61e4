"""The labelled list of real series: file, rows, what is wrong with them, and by whose evidence.

``labels.json`` names files and rows and holds no price. Files lie beside the repository (``market/``,
``recordings/``), in the package of sample bars (``demo/``) or in ``tests/golden/answers`` (``golden/``). Rows
are open stamps in UTC, those of days the date of the session; ``a/b`` is a stretch, both ends included.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from src.data.core.model.time.instant import DAY_MS, parse_iso

_LIST = Path(__file__).with_name("labels.json")

Half = Literal["first", "held out"]
# The last three are no defects: one of two sources is wrong and nothing says which; numbers that were
# made by hand; and rows that look wrong and are right.
Cause = Literal[
    "order", "print", "unit", "split", "dividend", "hole", "null", "disputed", "made", "right"
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
Stretches = tuple[tuple[int, int], ...]


class Label(NamedTuple):
    """What is known of some rows of a series; ``rows`` are stamps in milliseconds, ends included."""

    cause: Cause
    rows: Stretches
    wrong: str
    evidence: str

    def covers(self, stamps: np.ndarray) -> np.ndarray:
        """Tell of each stamp whether the label is about it."""
        inside = np.zeros(len(stamps), dtype=bool)
        for first, last in self.rows:
            inside |= (stamps >= first) & (stamps <= last)
        return inside

    def of_weeks(self) -> Label:
        """Return the label of the weeks that hold these rows, by their Mondays."""
        return self._replace(rows=tuple((first - 6 * DAY_MS, last) for first, last in self.rows))


class Entry(NamedTuple):
    """One series of the list; the digest of demo bars is that of their table as CSV text."""

    file: str
    digest: str
    half: Half
    bars: int
    labels: tuple[Label, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """Return the whole list, in its order."""
    plain = json.loads(_LIST.read_text("utf-8"))
    return tuple(
        Entry(
            one["file"],
            one["sha256"],
            one["half"],
            one["bars"],
            tuple(
                Label(label["cause"], _stretches(label["rows"]), label["wrong"], label["evidence"])
                for label in one["labels"]
            ),
        )
        for one in plain["series"]
    )


def digest() -> str:
    """Return the digest of the list, and with it of every file that it names."""
    return sha256(_LIST.read_bytes()).hexdigest()


def half_of(file: str) -> Half:
    """Return the half that a file belongs to, by its name alone."""
    name = file.rpartition("/")[2]
    return "held out" if sha256(name.encode()).digest()[0] % 2 else "first"


def _stretches(rows: list[str] | str) -> Stretches:
    if rows == "all":
        return ((-(2**62), 2**62),)
    pairs = (row.partition("/") for row in rows)
    return tuple((parse_iso(first), parse_iso(last or first)) for first, _, last in pairs)
