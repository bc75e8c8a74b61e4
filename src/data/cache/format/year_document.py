"""What is known about one year file, and the document it is kept in.

The document's outer keys are those that tools of old read (times naive, meaning UTC); everything
the store itself goes by stands under ``onetape``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from ...errors import FormatVersionError
from ...model.canonical import canonical_with
from ...model.coverage import STATES, Coverage, Covered
from ...model.frozen import filled
from ...model.instant import from_ms
from ...model.kind import ADJUSTMENTS
from ...model.series import SeriesKey
from ..recovery.faults import Fault
from . import json_document
from .csv_rows import BASE_COLUMNS
from .gzip_member import file_id

_ADJUSTMENTS = (*ADJUSTMENTS, "unknown")
_NO_QUALITY: Mapping[str, Any] = {
    "score": 1.0,
    "validation_errors": [],
    "gaps": 0,
    "duplicates": 0,
}


class StoredYear(Protocol):
    """What a year file must be, for whoever reads its bars out of something else."""

    @property
    def rows(self) -> int:
        """How many bars it has."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def head(self) -> str | None:
        """The digest of its last member."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Its value columns."""


class Extent(NamedTuple):
    """What a year file must be: of the committed state what tells it from any other one."""

    rows: int
    size: int
    head: str | None
    columns: tuple[str, ...]


@dataclass(frozen=True)
class YearState:
    """One committed state of a year: what the data file must be, and what it answers for.

    Attributes:
        generation: of the commit that made it.
        size: bytes of the data file; 0 means there is none.
        rows, first, last: its bars.
        head, head_at: digest and offset of its last member.
        members: how many it has.
        open: how many of them were appended since the last rewrite.
        columns: its value columns.
        coverage: what it answers for.
        faults: what was wrong with the answers.
    """

    generation: int = 0
    size: int = 0
    rows: int = 0
    first: int | None = None
    last: int | None = None
    head: str | None = None
    head_at: int = 0
    members: int = 0
    open: int = 0
    columns: tuple[str, ...] = BASE_COLUMNS
    coverage: Coverage = Coverage()
    faults: tuple[Fault, ...] = ()

    @property
    def extent(self) -> Extent:
        """What the data file must be."""
        return Extent(self.rows, self.size, self.head, self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        return {**self.facts(), "coverage": [c.to_json() for c in self.coverage]}

    def facts(self) -> dict[str, Any]:
        """Return the same without the coverage."""
        return {
            "generation": self.generation,
            "size": self.size,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "head": self.head,
            "head_at": self.head_at,
            "members": self.members,
            "open": self.open,
            "columns": list(self.columns),
            **({"faults": [fault.to_json() for fault in self.faults]} if self.faults else {}),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> YearState:
        """Read a stored mapping.

        Raises:
            FormatVersionError: a newer version of this library wrote it.
            KeyError, TypeError, ValueError: it is no state of a year.
        """
        for entry in plain["coverage"]:
            adjustment = entry["basis"].get("adjustment", "raw") if "basis" in entry else "raw"
            if entry["state"] not in STATES or adjustment not in _ADJUSTMENTS:
                known = f"{entry['state']!r}, {adjustment!r}"
                raise FormatVersionError(f"coverage was written by a newer version ({known})")
        return filled(
            cls,
            generation=int(plain["generation"]),
            size=int(plain["size"]),
            rows=int(plain["rows"]),
            first=plain["first"],
            last=plain["last"],
            head=plain["head"],
            head_at=int(plain["head_at"]),
            members=int(plain["members"]),
            open=int(plain.get("open", 0)),
            columns=tuple(map(str, plain["columns"])),
            coverage=Coverage(map(Covered.from_json, plain["coverage"])),
            faults=tuple(map(Fault.from_json, plain.get("faults", ()))),
        )


@dataclass(frozen=True)
class YearMeta:
    """The document of a year.

    Attributes:
        state: the committed state.
        pending: the state a rewrite is about to make true, or None.
        vendor: who supplied most bars; without bars who knew of none.
        shares: vendor to the number of its bars, where there are several.
        created_ms, updated_ms: UTC milliseconds.
        quality: of all its bars.
        extra: keys of other versions, kept as they are.
    """

    state: YearState = YearState()
    pending: YearState | None = None
    vendor: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    quality: Mapping[str, Any] = field(default_factory=lambda: dict(_NO_QUALITY))
    extra: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, int] = field(default_factory=dict)

    def bars_of(self) -> dict[str, int]:
        """Return vendor to the number of its bars; all are the one's where shares do not add up."""
        if self.shares and sum(self.shares.values()) == self.state.rows:
            return dict(self.shares)
        return {self.vendor: self.state.rows} if self.state.rows else {}

    def of(self, shares: Mapping[str, int]) -> YearMeta:
        """Return the document of a year whose bars are of these vendors, the newest last."""
        found = {vendor: bars for vendor, bars in shares.items() if bars}
        if not found:
            return replace(self, shares={})
        most = max(reversed(found), key=found.__getitem__)
        return replace(self, vendor=most, shares=found if len(found) > 1 else {})

    def settled(self, state: YearState) -> YearMeta:
        """Return the document with ``state`` committed and nothing pending."""
        return replace(self, state=state, pending=None)


_OURS = frozenset(
    (
        "format",
        "id",
        "generation",
        "size",
        "rows",
        "first",
        "last",
        "head",
        "head_at",
        "members",
        "open",
        "columns",
        "coverage",
        "quality",
        "faults",
        "pending",
        "created_at",
        "updated_at",
    )
)
_facts = itemgetter(
    "columns",
    "coverage",
    "created_at",
    "first",
    "format",
    "generation",
    "head",
    "head_at",
    "id",
    "last",
    "members",
    "open",
    "quality",
    "rows",
    "size",
    "updated_at",
)
# All of ours but what is pending.
_USUAL = 16
_BASE = list(BASE_COLUMNS)


def dump_meta(
    meta: YearMeta, key: SeriesKey, year: int, vendor_facts: Mapping[str, Any] | None = None
) -> bytes:
    """Return the bytes of the document.

    Args:
        meta: what to say.
        key, year: about which file.
        vendor_facts: ``reliability`` and ``rate_limit`` of the vendor, for the outer keys.
    """
    state = meta.state
    ours: dict[str, Any] = dict(meta.extra) | state.facts()
    ours |= {
        "format": json_document.FORMAT,
        "id": file_id(key, year),
        "quality": dict(meta.quality),
        "created_at": meta.created_ms,
        "updated_at": meta.updated_ms,
    }
    if meta.pending is not None:
        old = {"size": state.size, "rows": state.rows, "head": state.head}
        ours["pending"] = meta.pending.to_json() | {"committed": old if state.size else None}
    text = canonical_with(ours, "coverage", state.coverage.text)
    outer = _outer(meta, key, year, vendor_facts or {})
    return json_document.seal(canonical_with(outer, "onetape", text))


def _outer(meta: YearMeta, key: SeriesKey, year: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the documented keys, for the tools that read them."""
    state = meta.state
    return {
        "symbol": key.symbol,
        "timeframe": key.timeframe.label,
        "year": year,
        "data_source": meta.vendor,
        "created_at": _naive(meta.created_ms),
        "last_updated": _naive(meta.updated_ms),
        "start_date": _naive(state.first),
        "end_date": _naive(state.last),
        "data_quality": dict(_NO_QUALITY) | dict(meta.quality),
        "file_info": {
            "format": "csv.gz",
            "size_bytes": state.size,
            "rows": state.rows,
            "columns": list(state.columns),
        },
        "provider_info": {
            "name": meta.vendor,
            # The score of the bars is no grade of their vendor: null where the rules have none.
            "reliability": facts.get("reliability"),
            "rate_limit": facts.get("rate_limit", ""),
            **({"bars": dict(meta.shares)} if meta.shares else {}),
        },
    }


def load_meta(data: bytes, identity: str) -> YearMeta:
    """Read the bytes of a document.

    Args:
        data: the bytes.
        identity: the id of the year file it must be about.

    Raises:
        DamagedError: it is not whole, not ours, or about another file.
        FormatVersionError: a newer version of this library wrote it.
    """
    document = json_document.load(data)
    ours = document.get("onetape")
    if not isinstance(ours, dict):
        raise json_document.DamagedError("it is not ours")
    if ours.get("format") != json_document.FORMAT or ours.get("need"):
        raise FormatVersionError(f"metadata have the unknown format {ours.get('format')!r}")
    if ours.get("id", identity) != identity:
        # A year of nothing but empties has no bars that would tell.
        raise json_document.DamagedError("it is about another year or series")
    try:
        return YearMeta(
            state=YearState.from_json(ours),
            pending=YearState.from_json(ours["pending"]) if "pending" in ours else None,
            vendor=str(document["data_source"]),
            created_ms=int(ours["created_at"]),
            updated_ms=int(ours["updated_at"]),
            quality=dict(ours["quality"]),
            extra={k: v for k, v in ours.items() if k not in _OURS},
            shares=_shares(document),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise json_document.DamagedError(f"it lacks what it must hold: {exc!r}") from exc


def _shares(document: Mapping[str, Any]) -> dict[str, int]:
    told = (document.get("provider_info") or {}).get("bars") or {}
    return {str(vendor): int(bars) for vendor, bars in told.items()}


class YearSummary(NamedTuple):
    """What an ordinary document says of its year, as far as readers need it.

    Attributes:
        generation, rows, first, last: of the committed state.
        coverage: of it, as it is stored.
        extent: of the file.
    """

    generation: int
    rows: int
    first: int | None
    last: int | None
    coverage: list[dict[str, Any]]
    extent: Extent


def glance(data: bytes, identity: str) -> YearSummary | None:
    """Return what an ordinary, whole document of ours says.

    None is no verdict: :func:`load_meta` finds out what there is to say of any other one. The
    digest vouches for the rest of the document, which is not read.

    Args:
        data: the bytes.
        identity: the id of the year file it must be about.
    """
    text = json_document.sealed(data)
    if text is None or ',"data_source":"' not in text:
        return None
    try:
        ours = json_document.outer(text, "onetape")
        (
            columns,
            coverage,
            created,
            first,
            version,
            generation,
            head,
            head_at,
            about,
            last,
            members,
            opened,
            quality,
            rows,
            size,
            updated,
        ) = _facts(ours)
        if len(ours) != _USUAL or about != identity or version != json_document.FORMAT:
            return None
        # Numbers have a sum, and nothing else.
        numbers = generation + rows + size + head_at + members + opened + created + updated
        if numbers <= 0 or not generation or type(columns) is not list or type(quality) is not dict:
            return None
        extent = Extent(rows, size, head, BASE_COLUMNS if columns == _BASE else tuple(columns))
        return YearSummary(generation, rows, first, last, coverage, extent)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _naive(ms: int | None) -> str | None:
    return None if ms is None else from_ms(ms).isoformat(timespec="seconds")
