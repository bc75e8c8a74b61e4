"""Whether answers are about one and the same company."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..model.fundamentals import Snapshot

# Legal forms and words that half of all names contain.
_COMMON = frozenset(
    "inc incorporated corp corporation co company ltd limited plc ag sa se nv spa ab asa oyj kgaa "
    "the group holding holdings international class common stock ordinary shares adr etf fund "
    "trust and of de".split()
)


def strangers(snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """Return vendor to reason for answers that are about another company than the others'.

    An answer that names the symbol asked for is what was asked for, whatever it calls the
    company. Where none does, the first one rules.
    """
    named = [s for s in snapshots if _name(s)]
    proven = [s for s in named if s.names_symbol] or named[:1]
    found = {}
    for one in named:
        if any(_words(_name(one)) & _words(_name(p)) for p in proven):
            continue
        found[one.vendor] = (
            f"it answered about {_name(one)!r}, {proven[0].vendor} about {_name(proven[0])!r}"
        )
    return found


def _name(snapshot: Snapshot) -> str:
    fact = snapshot.facts.get("company_name")
    return str(fact.value) if fact else ""


def _words(name: str) -> frozenset[str]:
    """Return what tells a company apart in its name; all of it where nothing does."""
    words = frozenset(re.findall(r"\w+", name.lower()))
    return (words - _COMMON) or words
