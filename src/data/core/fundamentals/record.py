"""Builds the record that users get: flat values, vendors' blocks, and the vendor of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..model.market.fundamentals import (
    FIELDS,
    METADATA,
    Snapshot,
    copied,
    meaning_of,
    plain_statement,
    quality,
)
from ..model.time.instant import from_ms, iso
from .merge import MergedRecord


@dataclass(frozen=True)
class RecordContext:
    """Information about a record, in addition to its content.

    Attributes:
        symbol, data_type: Requested symbol and type, in canonical spelling.
        now_ms: Time at which the record was created.
        vendors: Vendors that should have answered, in order.
        failed: Maps each vendor that did not answer to the reason.
        not_asked: Maps each vendor in the rules that cannot be queried to the reason.
        listing: Market, exchange, country and currency, as derived from the symbol.
        from_cache: Vendors whose answers were read from the cache.
        as_of: Date by which data had to be public, ISO; empty for today.
        withheld: Maps each vendor to its fields that were not public by ``as_of``, with reasons.
        required: Fields whose absence is reported.
    """

    symbol: str
    data_type: str
    now_ms: int
    vendors: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    from_cache: frozenset[str] = frozenset()
    as_of: str = ""
    withheld: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    not_asked: Mapping[str, str] = field(default_factory=dict)
    listing: Mapping[str, Any] = field(default_factory=dict)


def record_of(
    merged: MergedRecord, snapshots: Sequence[Snapshot], context: RecordContext
) -> dict[str, Any]:
    """Return the record, which the caller may modify; empty if no vendor has any data."""
    if not merged.used:
        return {}
    by_vendor: dict[str, Snapshot] = {}
    for snapshot in snapshots:  # a vendor's answer is before what completes it
        by_vendor.setdefault(snapshot.vendor, snapshot)
    newest = max(s.fetched_at_ms for s in snapshots if s.vendor in merged.used)
    ordered = dict.fromkeys((*(n for n in FIELDS if n in merged.fields), *merged.fields))
    merged = replace(merged, fields={name: merged.fields[name] for name in ordered})
    values = {name: chosen.fact.value for name, chosen in merged.fields.items()}
    record: dict[str, Any] = dict(values)
    record |= {n: copied(b) for n, b in merged.blocks.items() if n not in values}
    if merged.statements:
        record["statements"] = [
            plain_statement(s) | {"vendor": merged.statements_from} for s in merged.statements
        ]
    if context.symbol:
        record |= {"symbol": context.symbol, "ticker": context.symbol}
    if context.listing.get("market", "unknown") != "unknown":
        record["market"] = context.listing["market"]
    record["data_source"] = merged.used[0]
    record["last_updated"] = from_ms(newest).isoformat()
    record["provider_info"] = {
        "primary_source": merged.used[0],
        "combined_from": list(merged.used),
        "last_updated": record["last_updated"],
    }
    record[METADATA] = _metadata(merged, by_vendor, context)
    return record


def _metadata(
    merged: MergedRecord, by_vendor: Mapping[str, Snapshot], context: RecordContext
) -> dict[str, Any]:
    facts = {name: chosen.fact for name, chosen in merged.fields.items()}
    metadata: dict[str, Any] = {
        "symbol": context.symbol,
        "data_type": context.data_type,
        "combination_strategy": merged.strategy,
        "combination_timestamp": from_ms(context.now_ms).isoformat(),
        "providers_asked": list(context.vendors or by_vendor),
        "providers_used": list(merged.used),
        "providers_failed": {**context.failed, **merged.refused},
        "providers_not_asked": dict(context.not_asked),
        "providers": {vendor: _vendor(by_vendor[vendor], context) for vendor in by_vendor},
        "field_sources": {name: "+".join(c.vendors) for name, c in merged.fields.items()},
        "fields": {
            name: meaning_of(c.fact)
            | {"source": "+".join(c.vendors), "fetched_at": iso(c.fetched_at_ms)}
            for name, c in merged.fields.items()
        },
        "conflicts": list(merged.conflicts),
        "dropped": list(merged.dropped),
        "missing": [name for name in context.required if name not in facts],
        "quality_score": quality(facts),
        "is_stale": any(by_vendor[vendor].is_stale for vendor in merged.used),
    }
    if context.listing:
        metadata["listing"] = dict(context.listing)
    if context.as_of:
        metadata |= {
            "as_of": context.as_of,
            "withheld": {v: dict(w) for v, w in context.withheld.items()},
        }
    return metadata


def _vendor(snapshot: Snapshot, context: RecordContext) -> dict[str, Any]:
    return {
        "fetched_at": iso(snapshot.fetched_at_ms),
        "is_stale": snapshot.is_stale,
        "from_cache": snapshot.vendor in context.from_cache,
    }
