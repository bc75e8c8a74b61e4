"""The record that users get: values flat, the vendors' blocks, and whose each value is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..model.fundamentals import FIELDS, Snapshot, quality
from ..model.fundamentals_plain import METADATA, copied, meaning_of, plain_statement
from ..model.instant import from_ms, iso
from .merge import Merged


@dataclass(frozen=True)
class RecordContext:
    """How a record came about, beside what is in it.

    Attributes:
        symbol, data_type: what was asked; ours, canonical.
        now_ms: when it was put together.
        asked: the vendors that were to say something, in order.
        failed: vendor to why it did not.
        not_asked: vendors of the rules to why they cannot be asked about it here.
        listing: market, exchange, country and currency of the listing, by its symbol.
        from_cache: vendors whose words were read from the cache.
        as_of: the day whose knowledge was wanted, ISO; empty for today's.
        withheld: field to why it was not public then, by vendor.
        required: fields whose lack is told.
    """

    symbol: str
    data_type: str
    now_ms: int
    asked: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    from_cache: frozenset[str] = frozenset()
    as_of: str = ""
    withheld: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    not_asked: Mapping[str, str] = field(default_factory=dict)
    listing: Mapping[str, Any] = field(default_factory=dict)


def record_of(
    merged: Merged, snapshots: Iterable[Snapshot], story: RecordContext
) -> dict[str, Any]:
    """Return the record; empty where nobody knows anything. It is the caller's own."""
    if not merged.used:
        return {}
    said = {snapshot.vendor: snapshot for snapshot in snapshots}
    newest = max(said[vendor].fetched_at_ms for vendor in merged.used)
    ordered = dict.fromkeys((*(n for n in FIELDS if n in merged.fields), *merged.fields))
    merged = replace(merged, fields={name: merged.fields[name] for name in ordered})
    values = {name: chosen.fact.value for name, chosen in merged.fields.items()}
    record: dict[str, Any] = dict(values)
    record |= {n: copied(b) for n, b in merged.blocks.items() if n not in values}
    if merged.statements:
        record["statements"] = [
            plain_statement(s) | {"vendor": merged.statements_from} for s in merged.statements
        ]
    if story.symbol:
        record |= {"symbol": story.symbol, "ticker": story.symbol}
    if story.listing.get("market", "unknown") != "unknown":
        record["market"] = story.listing["market"]
    record["data_source"] = merged.used[0]
    record["last_updated"] = from_ms(newest).isoformat()
    record["provider_info"] = {
        "primary_source": merged.used[0],
        "combined_from": list(merged.used),
        "last_updated": record["last_updated"],
    }
    record[METADATA] = _metadata(merged, said, story)
    return record


def _metadata(merged: Merged, said: Mapping[str, Snapshot], story: RecordContext) -> dict[str, Any]:
    facts = {name: chosen.fact for name, chosen in merged.fields.items()}
    told: dict[str, Any] = {
        "symbol": story.symbol,
        "data_type": story.data_type,
        "combination_strategy": merged.strategy,
        "combination_timestamp": from_ms(story.now_ms).isoformat(),
        "providers_asked": list(story.asked or said),
        "providers_used": list(merged.used),
        "providers_failed": {**story.failed, **merged.refused},
        "providers_not_asked": dict(story.not_asked),
        "providers": {vendor: _vendor(said[vendor], story) for vendor in said},
        "field_sources": {name: "+".join(c.vendors) for name, c in merged.fields.items()},
        "fields": {
            name: meaning_of(c.fact)
            | {"source": "+".join(c.vendors), "fetched_at": _oldest(c.vendors, said)}
            for name, c in merged.fields.items()
        },
        "conflicts": list(merged.conflicts),
        "dropped": list(merged.dropped),
        "missing": [name for name in story.required if name not in facts],
        "quality_score": quality(facts),
        "is_stale": any(said[vendor].is_stale for vendor in merged.used),
    }
    if story.listing:
        told["listing"] = dict(story.listing)
    if story.as_of:
        told |= {"as_of": story.as_of, "withheld": {v: dict(w) for v, w in story.withheld.items()}}
    return told


def _vendor(snapshot: Snapshot, story: RecordContext) -> dict[str, Any]:
    return {
        "fetched_at": iso(snapshot.fetched_at_ms),
        "is_stale": snapshot.is_stale,
        "from_cache": snapshot.vendor in story.from_cache,
    }


def _oldest(vendors: Iterable[str], said: Mapping[str, Snapshot]) -> str:
    return iso(min(said[vendor].fetched_at_ms for vendor in vendors))
