"""The fields of a bundle's row; the SQLite table and all checks of rows are derived from them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .bundle_records import Records

__all__ = ["ROW", "Totals", "row_of"]


class Totals(NamedTuple):
    """The totals of a bundle, computed from its records.

    Attributes:
        rows, violations, size_bytes: Number of rows, number of invalid rows, and size in bytes.
        missing: Number of bars that the calendar expects but the answers lack.
        start_ms, end_ms: Stamps of the first and last bar, in UTC milliseconds; None if there are
            no bars.
        quality: Score from 0 to 1, see :class:`.BundleMetadata`.
        missing_pct: Percentage of the expected bars that are missing.
    """

    rows: int
    violations: int
    size_bytes: int
    missing: int
    start_ms: int | None
    end_ms: int | None
    quality: float
    missing_pct: float

    @classmethod
    def of(cls, records: Records) -> Totals:
        """Compute a bundle's totals from its records."""
        symbols, spans = records.origin.symbols, records.spans()
        rows, bad, size = (
            records.table[n].sum() for n in ("row_count", "violations", "size_bytes")
        )
        missing = sum(source.missing for source in symbols.values())
        # If an answer has no score, its score is the fraction of its rows that are valid.
        share = 1 - bad / rows if rows else 0.0
        scores = {s.sid: s.quality for s in symbols.values() if s.quality is not None}
        good = sum(scores.get(sid, share) * count for sid, (count, _, _) in spans.items())
        expected = rows + missing
        return cls(
            rows,
            bad,
            size,
            missing,
            min((first for _, first, _ in spans.values()), default=None),
            max((last for _, _, last in spans.values()), default=None),
            good / expected if expected else 0.0,
            100 * missing / expected if expected else 0.0,
        )


class RowField(NamedTuple):
    """A field of a bundle's row.

    If the value is a total over all files or symbols, compute it in :class:`Totals` first.

    Attributes:
        sql: SQL type of the field's column in ``bundle_metadata``.
        value: Function that returns the field's value; None if only user code can set it.
        is_quality: Whether ``get_quality_metrics`` returns the field.
    """

    sql: str
    value: Callable[[Records, Totals], Any] | None = None
    is_quality: bool = False


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else int(ms / 1000)


# In the order of the documented columns.
ROW: dict[str, RowField] = {
    "source_type": RowField("TEXT", lambda r, _: r.origin.source_type),
    "source_url": RowField("TEXT", lambda r, _: r.origin.source.get("source_url")),
    "api_version": RowField("TEXT", lambda r, _: r.origin.source.get("api_version")),
    "fetch_timestamp": RowField("INTEGER", lambda r, _: r.origin.ingested_at // 1000),
    "data_version": RowField("TEXT"),
    "timezone": RowField("TEXT", lambda *_: "UTC"),
    "row_count": RowField("INTEGER", lambda _, f: f.rows, is_quality=True),
    "start_date": RowField("INTEGER", lambda _, f: _seconds(f.start_ms), is_quality=True),
    "end_date": RowField("INTEGER", lambda _, f: _seconds(f.end_ms), is_quality=True),
    "missing_days_count": RowField("INTEGER", lambda _, f: f.missing, is_quality=True),
    "missing_days_list": RowField("TEXT", is_quality=True),
    "outlier_count": RowField("INTEGER", is_quality=True),
    "ohlcv_violations": RowField("INTEGER", lambda _, f: f.violations, is_quality=True),
    "validation_passed": RowField(
        "BOOLEAN", lambda _, f: not f.missing and not f.violations, is_quality=True
    ),
    "validation_timestamp": RowField("INTEGER", is_quality=True),
    "file_checksum": RowField("TEXT", lambda r, _: r.checksum()),
    "file_size_bytes": RowField("INTEGER", lambda _, f: f.size_bytes),
    "checksum": RowField("TEXT", lambda r, _: r.checksum()),
}

# Broken into lines, because SQLite stores the text in the file.
TABLE = textwrap.fill(
    "CREATE TABLE bundle_metadata (bundle_name TEXT PRIMARY KEY, "
    + ", ".join(f"{name} {field.sql}" for name, field in ROW.items())
    + ", created_at INTEGER, updated_at INTEGER, is_noted BOOLEAN NOT NULL DEFAULT 0, path TEXT, "
    "dataset_id TEXT, request_key TEXT, state TEXT)",
    99,
    subsequent_indent="    ",
)


def row_of(records: Records) -> Mapping[str, Any]:
    """Return the fields of a bundle's catalog row that can be derived from its records."""
    totals = Totals.of(records)
    return {name: field.value(records, totals) for name, field in ROW.items() if field.value}
