"""``BundleMetadata``: the metadata of bundles, as one value or as rows by name.

Values that can be derived from the files are read from them. Values that user code adds are lines
in ``catalog.jsonl``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from ..errors import QueryError
from .bundle import Bundle, bundle_names
from .bundle_records import SCHEMA_VERSION, Records
from .bundle_row import ROW, Totals, row_of
from .catalog_log import CatalogLog
from .commit import checked_name
from .folder import BUNDLE as _TYPE
from .folder import bundles_folder, path_in

__all__ = ["BundleMetadata"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleMetadata:
    """The recorded metadata of one bundle.

    The attributes are a fixed summary: a new field of a bundle's row (see ``bundle_row.py``) does
    not become one. It is in the row that :meth:`get` and :meth:`list_bundles` return.

    Attributes:
        bundle_name: Name of the bundle.
        symbols: Symbols in the order of their numbers.
        start_date, end_date: Times of the first and last bar, naive UTC; None if the bundle has no
            bars.
        frequency: Timeframe of the bars; if the bundle contains daily and minute bars, both
            timeframes, separated by a comma.
        source_type: Vendor's name; ``onetape`` if the library chose the vendors; or the name given
            by user code.
        ingestion_time: Time of the last change, naive UTC.
        row_count, size_bytes: Number of rows, and size in bytes, of all files together.
        quality_score: Score from 0 to 1: the mean of the answers' scores, weighted by their bars; a
            missing bar counts as 0. For rows written by user code, the fraction of valid rows.
        missing_data_pct: Percentage (0 to 100) of the bars expected by the calendar that are
            missing, for all requested symbols, including symbols without an answer. For rows
            written by user code, no bar is expected.
        schema_version: Schema version of the bundle's files.
    """

    bundle_name: str
    symbols: list[str]
    start_date: pd.Timestamp | None
    end_date: pd.Timestamp | None
    frequency: str
    source_type: str
    ingestion_time: pd.Timestamp
    row_count: int
    size_bytes: int
    quality_score: float
    missing_data_pct: float
    schema_version: str

    _folder: ClassVar[Path | None] = None

    @classmethod
    def load(cls, name: str, folder: str | os.PathLike[str] | None = None) -> BundleMetadata:
        """Return the metadata of a bundle; lost records are rebuilt from its files.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            QueryError: The name is invalid.
            BundleError, FormatVersionError: The bundle cannot be read.
        """
        return cls._metadata_of(Bundle(name, folder or cls._folder).records())

    @classmethod
    def _metadata_of(cls, records: Records) -> BundleMetadata:
        origin, totals, names = records.origin, Totals.of(records), records.names()
        return cls(
            bundle_name=origin.bundle_name,
            symbols=[names[sid] for sid in sorted(names)],
            start_date=_stamp(totals.start_ms),
            end_date=_stamp(totals.end_ms),
            frequency=",".join(sorted(set(origin.resolutions.values()))),
            source_type=origin.source_type,
            ingestion_time=pd.Timestamp(origin.ingested_at, unit="ms"),
            row_count=totals.rows,
            size_bytes=totals.size_bytes,
            quality_score=totals.quality,
            missing_data_pct=totals.missing_pct,
            schema_version=str(SCHEMA_VERSION),
        )

    # --- by name ---------------------------------------------------------------------------

    @classmethod
    def set_db_path(cls, db_path: str | os.PathLike[str] | None) -> None:
        """Use a path's parent folder as the bundles folder in the class methods below.

        The setting applies to the whole process; None restores the configured folder.
        """
        cls._folder = None if db_path is None else Path(db_path).absolute().parent

    @classmethod
    def update(cls, bundle_name: str, **fields: Any) -> None:
        """Record user-supplied metadata for a bundle, with or without files, as one durable line.

        Args:
            bundle_name: Name of the bundle.
            fields: Fields of the row that :meth:`get` returns. Times may be text or anything that
                pandas accepts. Values that can be derived from the files (rows, dates, sizes and
                digests) take precedence.

        Raises:
            QueryError: A field does not exist, or ``source_type`` is missing although nothing is
                known about the bundle yet (a ``ValueError``).
            StorageError, LockTimeoutError: The metadata is not recorded.
        """
        if unknown := sorted(set(fields) - ROW.keys()):
            raise QueryError(
                f"unknown bundle field{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
                hint=f"use one of {', '.join(ROW)}",
            )
        if "source_type" not in fields and cls.get(bundle_name) is None:
            raise QueryError(f"the new bundle {bundle_name!r} requires a source_type")
        cls._append(
            bundle_name, {"fields": {name: _to_json(name, value) for name, value in fields.items()}}
        )

    @classmethod
    def locate(cls, bundle_name: str, folder: Path, source_type: str) -> None:
        """Record the folder of a bundle outside the bundles folder, as one durable line.

        Args:
            bundle_name: Name for the bundle; a bundle with this name in the bundles folder takes
                precedence.
            folder: Absolute folder of the bundle.
            source_type: Source of its bars.

        Raises:
            StorageError, LockTimeoutError: The line is not recorded.
        """
        fields = {"source_type": source_type}
        cls._append(bundle_name, {"fields": fields, "path": os.fspath(folder)})

    @classmethod
    def get(cls, bundle_name: str) -> dict[str, Any] | None:
        """Return a bundle's row, or None if it has none. Times are Unix timestamps in seconds."""
        checked_name(bundle_name)
        added, created, updated, _ = cls._user_metadata(bundle_name)
        bundle = Bundle(bundle_name, cls._folder)
        if not bundle.exists():
            if added is None:
                return None
            return _row(bundle_name, {}, added, created, updated)
        records = bundle.records()
        times = records.origin.created_at // 1000, records.origin.ingested_at // 1000
        return _row(
            bundle_name,
            row_of(records),
            added or {},
            min(created or times[0], times[0]),
            max(updated, times[1]),
        )

    @classmethod
    def list_bundles(
        cls, source_type: str | None = None, start_date: Any = None, end_date: Any = None
    ) -> list[dict[str, Any]]:
        """Return one row per bundle, sorted by name.

        Args:
            source_type: Only source type to include; None means all.
            start_date, end_date: Range, ends inclusive, in which a bundle must have bars to be
                included.
        """
        low, high = _seconds(start_date), _seconds(end_date)
        logged = {entry["bundle"] for entry in cls._log().entries(_TYPE) if _makes_sense(entry)}
        rows = [cls.get(name) for name in sorted({*bundle_names(cls._folder), *logged})]
        return [
            row
            for row in rows
            if row is not None
            and (source_type is None or row["source_type"] == source_type)
            and (low is None or (row["end_date"] is not None and row["end_date"] >= low))
            and (high is None or (row["start_date"] is not None and row["start_date"] <= high))
        ]

    @classmethod
    def delete(cls, bundle_name: str) -> bool:
        """Delete the metadata that user code recorded for a bundle; return whether there was any.

        The bundle's files stay.
        """
        if cls._user_metadata(bundle_name)[0] is None:
            return False
        cls._append(bundle_name, {"deleted": True})
        return True

    @classmethod
    def add_symbol(
        cls, bundle_name: str, symbol: str, asset_type: str, exchange: str | None = None
    ) -> int:
        """Record a symbol in a bundle and return its number; a known symbol keeps its number.

        Raises:
            QueryError: Nothing is recorded for this bundle.
        """
        if cls.get(bundle_name) is None:
            raise QueryError(f"bundle {bundle_name!r} does not exist", hint="update() creates it")
        ids = {row["symbol"]: row["symbol_id"] for row in cls.get_symbols(bundle_name)}
        number = ids.get(symbol) or 1 + max(ids.values(), default=0)
        cls._append(
            bundle_name,
            {"symbol": symbol, "id": number, "asset_type": asset_type, "exchange": exchange},
        )
        return number

    @classmethod
    def get_symbols(cls, bundle_name: str) -> list[dict[str, Any]]:
        """Return one row per symbol, ordered by ``symbol_id``.

        Each row has ``symbol_id``, ``symbol``, ``asset_type`` and ``exchange``.
        """
        rows: dict[str, dict[str, Any]] = {}
        added = cls._user_metadata(bundle_name)[3]
        bundle = Bundle(bundle_name, cls._folder)
        if bundle.exists():
            for symbol, source in bundle.records().origin.symbols.items():
                rows[symbol] = _symbol(symbol, source.sid, source.asset_type, source.exchange)
        rows.update(added)
        return sorted(rows.values(), key=lambda row: int(row["symbol_id"]))

    @classmethod
    def get_quality_metrics(cls, bundle_name: str) -> dict[str, Any] | None:
        """Return the quality fields in a bundle's metadata row, or None if the bundle does not exist."""
        row = cls.get(bundle_name)
        return (
            None
            if row is None
            else {name: row[name] for name, field in ROW.items() if field.is_quality}
        )

    @classmethod
    def count_bundles(cls) -> int:
        """Return the number of bundles."""
        return len(cls.list_bundles())

    @classmethod
    def count_symbols(cls, bundle_name: str) -> int:
        """Return the number of symbols in a bundle."""
        return len(cls.get_symbols(bundle_name))

    @classmethod
    def _log(cls) -> CatalogLog:
        return CatalogLog(bundles_folder(cls._folder))

    @classmethod
    def _append(cls, bundle_name: str, entry: Mapping[str, Any]) -> None:
        cls._log().append(_TYPE, {"bundle": checked_name(bundle_name), **entry})

    @classmethod
    def _user_metadata(
        cls, bundle_name: str
    ) -> tuple[dict[str, Any] | None, int, int, dict[str, dict[str, Any]]]:
        """Return the metadata that user code recorded for a bundle.

        The result contains the fields (None if there are none), the times of the first and last log
        line in UTC seconds, and the symbols.
        """
        fields: dict[str, Any] | None = None
        symbols: dict[str, dict[str, Any]] = {}
        created = updated = 0
        for entry in cls._log().entries(_TYPE, holding=bundle_name):
            if entry.get("bundle") != bundle_name or not _makes_sense(entry):
                continue
            updated = _seconds(entry["time"]) or 0
            if entry.get("deleted"):
                fields, symbols, created = None, {}, 0
            elif "symbol" in entry:
                name = entry["symbol"]
                symbols[name] = _symbol(name, entry["id"], entry["asset_type"], entry["exchange"])
            else:
                created = created or updated
                fields = {**(fields or {}), **_known_fields(entry["fields"])}
        return fields, created, updated, symbols

    def as_dict(self) -> dict[str, Any]:
        """Return the metadata as a dict, with times as ISO text."""
        return {
            name: value.isoformat() if isinstance(value, pd.Timestamp) else value
            for name, value in asdict(self).items()
        }


def _makes_sense(entry: Mapping[str, Any]) -> bool:
    """Return whether a log entry, which another program may have changed, is valid."""
    try:
        checked_name(entry["bundle"])
        _seconds(str(entry["time"]))
        if "symbol" in entry:
            texts = entry["symbol"], entry["asset_type"], entry["exchange"] or ""
            is_right = type(entry["id"]) is int and all(isinstance(text, str) for text in texts)
            is_right &= is_right and _fits_integer(entry["id"])
        else:
            fields = {} if entry.get("deleted") else entry["fields"]
            is_right = isinstance(fields, dict)
            is_right &= is_right and all(_is_value(*pair) for pair in _known_fields(fields).items())
            is_right &= "path" not in entry or path_in(entry) is not None
    except (QueryError, KeyError, TypeError):
        is_right = False
    if not is_right:
        _log.warning(
            "skipped a line about bundle %.40r, which cannot be parsed",
            entry.get("bundle"),
        )
    return is_right


def _known_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that this version knows; a newer version may have recorded more."""
    return {name: value for name, value in fields.items() if name in ROW}


def _is_value(name: str, value: Any) -> bool:
    """Return whether a value is valid for a field (times in UTC seconds, integers of 64 bits)."""
    if name.endswith(("_date", "_timestamp")) and value is not None and type(value) is not int:
        return False
    return not isinstance(value, int) or _fits_integer(value)


def _fits_integer(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _row(
    name: str, facts: Mapping[str, Any], added: Mapping[str, Any], created: int, updated: int
) -> dict[str, Any]:
    row = {"bundle_name": name, **dict.fromkeys(ROW), **added}
    row.update((field, value) for field, value in facts.items() if value is not None)
    return {**row, "created_at": created, "updated_at": updated}


def _symbol(symbol: str, number: int, asset_type: str, exchange: str | None) -> dict[str, Any]:
    return {"symbol_id": number, "symbol": symbol, "asset_type": asset_type, "exchange": exchange}


def _stamp(ms: int | None) -> pd.Timestamp | None:
    return None if ms is None else pd.Timestamp(ms, unit="ms")


def _seconds(value: Any) -> int | None:
    """Return a time as UTC seconds; None remains None.

    Raises:
        QueryError: The value is not a time.
    """
    if value is None or isinstance(value, int):
        return value
    try:
        stamp = pd.Timestamp(value)
        return int((stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).timestamp())
    except (ValueError, TypeError, OverflowError) as exc:
        raise QueryError(
            f"invalid time {value!r}",
            hint="use UTC seconds, a datetime or a string such as 2024-01-12",
        ) from exc


def _to_json(name: str, value: Any) -> Any:
    """Convert the value of a field to its JSON form, with times as UTC seconds."""
    if name.endswith(("_date", "_timestamp")) or hasattr(value, "isoformat"):
        return _seconds(value)
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    raise QueryError(
        f"a bundle field must be a number, a string or a time, not {type(value).__name__}"
    )
