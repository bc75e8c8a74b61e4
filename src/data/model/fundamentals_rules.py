"""The rules of fundamentals as values: order of vendors, how long an answer is fresh, how to merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .fundamentals import canonical_field
from .instant import DAY_MS

STRATEGIES = ("priority_based", "quality_based", "consensus")


@dataclass(frozen=True)
class FundamentalsRules:
    """A whole fundamentals file, checked.

    Attributes:
        sequences: data type to vendors, the most trusted first.
        ttl_ms: data type to how long an answer is fresh.
        default_ttl_ms: the same for types that are not named.
        field_priorities: field to vendors that go before the sequence for it.
        grades: vendor to its quality, 1 to 5, for ``quality_based``.
        tolerance, consensus_tolerance: how far values may differ, as a fraction: before it is a
            conflict, and for being averaged.
        consensus_fallback: the strategy where they may not.
        reports_conflicts: whether a record lists conflicts.
        required_fields: fields whose absence a record lists.
        min_quality: the part of an older copy's worth that a newer one needs to push it out.
        stale_ms: how old a copy may be that stands in for a vendor that failed.
        serves_stale: whether one may.
        asks_others: whether vendors behind the first of a sequence are asked.
        budget_s: seconds that a lookup may take, however many vendors are asked.
        cleans_up: whether older copies are deleted.
        copies: how many copies of a vendor and type are kept then.
        symbols: symbol to the name under which vendors are asked for it.
    """

    sequences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ttl_ms: Mapping[str, int] = field(default_factory=dict)
    default_ttl_ms: int = 7 * DAY_MS
    field_priorities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grades: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.1
    consensus_tolerance: float = 0.1
    consensus_fallback: str = "priority_based"
    reports_conflicts: bool = True
    required_fields: tuple[str, ...] = ()
    min_quality: float = 0.8
    stale_ms: int = 30 * DAY_MS
    serves_stale: bool = True
    asks_others: bool = True
    budget_s: float = 20.0
    cleans_up: bool = True
    copies: int = 1
    symbols: Mapping[str, str] = field(default_factory=dict)

    def ttl_of(self, data_type: str) -> int:
        """Return how many milliseconds an answer of a type is fresh."""
        return self.ttl_ms.get(data_type, self.default_ttl_ms)

    def order(self, data_type: str, name: str = "") -> tuple[str, ...]:
        """Return vendors, the most trusted first; for one field where a name is given."""
        usual = self.sequences.get(data_type, self.sequences.get("profile", ()))
        own = self.field_priorities.get(canonical_field(name), ()) if name else ()
        return tuple(dict.fromkeys((*own, *usual)))
