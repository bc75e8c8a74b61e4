"""The JSON documents of a series: one per year file, ``series.json`` and ``actions.json``.

The outer keys of a year's document are those that older tools read (times are naive, meaning UTC);
everything that the store itself uses is under ``onetape``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Self, get_type_hints

import msgspec

from ....errors import FormatVersionError
from ...model.identity.kind import ADJUSTMENTS, Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.identity.symbol_changes import SymbolChange
from ...model.market.actions import Action
from ...model.stored.coverage import SOURCE, STATES, Coverage, Covered, Splice
from ...model.stored.lifetime import Bound, Lifetime
from ...model.time.instant import from_ms
from ...model.time.span import Span
from ...model.words.canonical import canonical, canonical_with
from ...model.words.frozen import filled, of_values
from ..faults import Fault
from ..values import FACTS, SeriesFacts
from . import json_document
from .csv_rows import BASE_COLUMNS
from .gzip_member import file_id

_NO_SPAN, _NO_KIND, _NO_BASIS = Span(0, 0), Kind(), Basis()


class Record(msgspec.Struct, frozen=True, gc=False):
    """The content of a document.

    A record is never part of a reference cycle, so the garbage collector does not have to track
    thousands of them.
    """

    def replaced(self, **facts: Any) -> Self:
        """Return a copy in which the fields named in ``facts`` are replaced."""
        return msgspec.structs.replace(self, **facts)


def _as_declared(
    declared: Iterable[Field[Any]], record: type, **stored: Any
) -> list[tuple[str, Any] | tuple[str, Any, Any]]:
    """Return a dataclass's fields in the form that ``msgspec`` needs.

    ``stored`` overrides the types of fields that have a different type in the stored document.
    """
    types = get_type_hints(record) | stored
    return [
        (each.name, types[each.name])
        if each.default is MISSING
        else (each.name, types[each.name], each.default)
        for each in declared
    ]


class SpliceDocument(msgspec.Struct, rename={"other": "with"}):
    """An entry in ``splices``; see :class:`~.coverage.Splice`."""

    at: int
    other: str
    verdict: str
    ratio: float = 1.0
    common: int = 0
    because: str = ""


class SourceDocument(msgspec.Struct, kw_only=True):
    """A coverage entry without span, kind and basis; its fields are those in ``SOURCE``."""

    def covered(
        self,
        span: Span = _NO_SPAN,
        kind: Kind = _NO_KIND,
        basis: Basis = _NO_BASIS,
        parts: tuple[tuple[Covered, tuple[int, ...]], ...] = (),
    ) -> Covered:
        """Return the coverage entry, completed with the arguments."""
        values = msgspec.structs.asdict(self)
        values |= {"span": span, "kind": kind, "basis": basis, "parts": parts}
        if values["splices"]:
            splices = map(msgspec.structs.astuple, values["splices"])
            values["splices"] = tuple([Splice(*splice) for splice in splices])
        return of_values(Covered, values)


_SourceEntry: Any = msgspec.defstruct(
    "_SourceEntry",
    _as_declared(SOURCE, Covered, splices=tuple[SpliceDocument, ...]),
    bases=(SourceDocument,),
    kw_only=True,
)


class StretchDocument(_SourceEntry):  # type: ignore[misc]
    """An entry in ``coverage`` or ``empties``; ``parts`` are the components of a folded one."""

    span: Span
    kind: msgspec.Raw = msgspec.Raw(b"{}")
    basis: msgspec.Raw = msgspec.Raw(b"{}")
    parts: tuple[tuple[_SourceEntry, tuple[int, ...]], ...] = ()


# All years of all series share a few kinds and bases, so each is decoded once and becomes a single
# object.
_kind_of = lru_cache(msgspec.json.Decoder(Kind).decode)
_basis_of = lru_cache(msgspec.json.Decoder(Basis).decode)


def coverage_of(entries: Iterable[StretchDocument]) -> Coverage:
    """Return the coverage that a document lists.

    Raises:
        DecodeError: A kind or a basis is invalid (an error from ``msgspec``).
    """
    return Coverage(
        [
            entry.covered(
                entry.span,
                _kind_of(bytes(entry.kind)),
                _basis_of(bytes(entry.basis)),
                tuple([(source.covered(), spans) for source, spans in entry.parts]),
            )
            for entry in entries
        ]
    )


# --- the document of a year --------------------------------------------------------------

_ADJUSTMENTS = (*ADJUSTMENTS, "unknown")
_NO_QUALITY: Mapping[str, Any] = {
    "score": 1.0,
    "validation_errors": [],
    "gaps": 0,
    "duplicates": 0,
}


class YearState(Record, frozen=True, gc=False):
    """A committed state of a year: its expected data file and its coverage.

    Attributes:
        generation: Number of the commit that created the state.
        size: Size of the data file in bytes; 0 if it does not exist.
        rows, first, last: Number of bars, and the timestamps of the first and the last one.
        head, head_at: Digest and offset of the file's last member.
        members: Number of members in the file.
        open: Number of members appended since the last rewrite, which may be joined with the
            preceding ones.
        columns: Names of the value columns.
        coverage: Coverage of the year.
        faults: Faults in the answers that the bars came from.
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

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        return {**self.plain_json(), "coverage": [c.to_json() for c in self.coverage]}

    def plain_json(self) -> dict[str, Any]:
        """Return the stored dictionary without the coverage."""
        stored = dict(zip(_PLAIN_FACTS, _plain_facts(self), strict=True))
        stored["columns"] = list(self.columns)
        if self.faults:
            stored["faults"] = [fault.to_json() for fault in self.faults]
        return stored


# The facts of a year that are stored as they are; declare a new one before the coverage.
_PLAIN_FACTS = tuple(
    name for name in YearState.__struct_fields__ if name not in {"coverage", "faults"}
)
_plain_facts = attrgetter(*_PLAIN_FACTS)


class YearMeta(Record, frozen=True, gc=False):
    """The metadata document of a year.

    Four of its values have other names on disk, which are part of the format: ``created_at``,
    ``updated_at``, ``judged`` and ``data_source``.

    Attributes:
        state: Committed state.
        pending: State that a rewrite is about to commit, or None.
        vendor: Vendor of most bars or, if the year has no bars, the vendor that reported none.
        shares: Maps each vendor to the number of its bars, if there are several.
        is_judged: Whether all bars were checked on arrival, together with their neighbours, for
            almost certain errors.
        created_ms, updated_ms: Times of creation and last update, UTC milliseconds.
        quality: Quality of all bars.
        extra: Keys from other versions, kept unchanged.
    """

    state: YearState = YearState()
    pending: YearState | None = None
    vendor: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    quality: Mapping[str, Any] = msgspec.field(default_factory=lambda: _NO_QUALITY)
    extra: Mapping[str, Any] = {}
    shares: Mapping[str, int] = {}
    is_judged: bool = False

    def bars_of(self) -> dict[str, int]:
        """Return the number of bars from each vendor.

        If the recorded numbers do not add up, all bars are attributed to the main vendor.
        """
        if self.shares and sum(self.shares.values()) == self.state.rows:
            return dict(self.shares)
        return {self.vendor: self.state.rows} if self.state.rows else {}

    def with_shares(self, shares: Mapping[str, int]) -> YearMeta:
        """Return the document with ``shares`` as its bar counts, keyed by vendor, the latest vendor last."""
        counts = {vendor: bars for vendor, bars in shares.items() if bars}
        if not counts:
            return self.replaced(shares={})
        most = max(reversed(counts), key=counts.__getitem__)
        return self.replaced(vendor=most, shares=counts if len(counts) > 1 else {})

    def committed(self, state: YearState) -> YearMeta:
        """Return the document with ``state`` committed and nothing pending."""
        return self.replaced(state=state, pending=None)


def dump_meta(
    meta: YearMeta, key: SeriesKey, year: int, vendor_facts: Mapping[str, Any] | None = None
) -> bytes:
    """Return the bytes of a year's metadata document.

    Args:
        meta: Content of the document.
        key, year: Series and year of the file.
        vendor_facts: ``reliability`` and ``rate_limit`` of the vendor, for the outer keys.
    """
    state = meta.state
    ours: dict[str, Any] = dict(meta.extra) | state.plain_json()
    ours |= {
        "format": json_document.FORMAT,
        "id": file_id(key, year),
        "quality": dict(meta.quality),
        "created_at": meta.created_ms,
        "updated_at": meta.updated_ms,
    }
    if meta.is_judged:
        ours["judged"] = True
    if meta.pending is not None:
        old = {"size": state.size, "rows": state.rows, "head": state.head}
        ours["pending"] = meta.pending.to_json() | {"committed": old if state.size else None}
    text = canonical_with(ours, "coverage", state.coverage.text)
    outer = _outer(meta, key, year, vendor_facts or {})
    return json_document.seal(canonical_with(outer, "onetape", text))


def _outer(meta: YearMeta, key: SeriesKey, year: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outer keys of a year's document, which other tools read."""
    state = meta.state
    return {
        "symbol": key.symbol,
        "timeframe": key.timeframe.label,
        "year": year,
        "data_source": meta.vendor,
        "created_at": _naive_time(meta.created_ms),
        "last_updated": _naive_time(meta.updated_ms),
        "start_date": _naive_time(state.first),
        "end_date": _naive_time(state.last),
        "data_quality": dict(_NO_QUALITY) | dict(meta.quality),
        "file_info": {
            "format": "csv.gz",
            "size_bytes": state.size,
            "rows": state.rows,
            "columns": list(state.columns),
        },
        "provider_info": {
            "name": meta.vendor,
            # The bars' score is not a rating of their vendor, so this is null if the rules have no
            # rating.
            "reliability": facts.get("reliability"),
            "rate_limit": facts.get("rate_limit", ""),
            **({"bars": dict(meta.shares)} if meta.shares else {}),
        },
    }


class _State(msgspec.Struct):
    """A state of a year file, as stored in the year's document; see :class:`YearState`.

    A new fact of a year is declared here, with a default, because older documents lack it, and
    there, before ``coverage``. It is then written into every document. If its type is not one of
    JSON, it is an exception in ``_PLAIN_FACTS``, ``plain_json`` and ``value``, as ``faults`` is,
    which is written only if there are any. Commits, rewrites and compaction keep the fact
    (``state_of`` in ``write/year_writer.py``); a commit that changes it sets it in
    ``write/year_commit.py``. If a repair has to make a year's state from its data
    (``recovery/recover.py``), because no recorded state matches them, the fact is lost: it may be
    about bars that are gone. This includes ``faults``.
    """

    generation: int
    size: int
    rows: int
    first: int | None
    last: int | None
    head: str | None
    head_at: int
    members: int
    columns: tuple[str, ...]
    coverage: list[StretchDocument]
    open: int = 0
    faults: list[tuple[int, int, str, int, str]] = []

    def value(self) -> YearState:
        """Return the state as a :class:`YearState`."""
        faults = tuple([Fault(Span(a, b), k, n, text) for a, b, k, n, text in self.faults])
        coverage = coverage_of(self.coverage)
        return YearState(*_plain_facts(self), coverage=coverage, faults=faults)  # type: ignore[misc]


class _Ours(_State, kw_only=True, forbid_unknown_fields=True):
    """The content under a year document's key ``onetape``; keys not listed here are kept unchanged."""

    format: Literal[1]
    created_at: int
    updated_at: int
    quality: dict[str, Any]
    id: str
    pending: _State | None = None
    judged: bool = False


class _Shares(msgspec.Struct):
    """The part of a year document's ``provider_info`` that this library reads."""

    bars: dict[str, int] | None = None


class _YearDocument(msgspec.Struct):
    """The part of a year's metadata document that this library reads."""

    onetape: _Ours
    data_source: str
    provider_info: _Shares | None = None


_decode_year = msgspec.json.Decoder(_YearDocument).decode


def load_meta(data: bytes, identity: str) -> YearMeta:
    """Parse the bytes of a year's metadata document.

    Args:
        data: Bytes to parse.
        identity: Identifier of the year file that the document must be about.

    Raises:
        DamagedError: The document is incomplete, not this library's, or about another file.
        FormatVersionError: A newer version of this library wrote the document.
    """
    text = json_document.text_of(data)
    try:
        return _meta_of(_decode_year(text), identity, {})
    except msgspec.DecodeError as exc:
        return _with_unknown_keys(text, identity, exc)


def _meta_of(document: _YearDocument, identity: str, extra: Mapping[str, Any]) -> YearMeta:
    ours, shares = document.onetape, document.provider_info
    if ours.id != identity:
        # A year with only empty coverage has no bars that would show this.
        raise json_document.DamagedError("the document belongs to a different year or series")
    return YearMeta(
        state=ours.value(),
        pending=None if ours.pending is None else ours.pending.value(),
        vendor=document.data_source,
        created_ms=ours.created_at,
        updated_ms=ours.updated_at,
        # Nearly all are equal, so they share one object.
        quality=_NO_QUALITY if ours.quality == _NO_QUALITY else ours.quality,
        extra=extra,
        shares=(shares and shares.bars) or {},
        is_judged=ours.judged,
    )


def _with_unknown_keys(text: bytes, identity: str, problem: msgspec.DecodeError) -> YearMeta:
    """Parse a document with more keys than :class:`_Ours`.

    Raises:
        DamagedError: ``problem`` is not due to unknown keys, or the document is about another file.
        FormatVersionError: A newer version of this library wrote the document.
    """
    document = json_document.plain(text)
    ours = document.get("onetape")
    if not isinstance(ours, dict):
        raise json_document.DamagedError("this library did not write the document") from problem
    json_document.check_format(ours, "metadata have")
    _check_words(ours)
    extra = {key: ours.pop(key) for key in ours.keys() - {*_Ours.__struct_fields__}}
    try:
        return _meta_of(_decode_year(canonical(document)), identity, extra)
    except msgspec.DecodeError as exc:
        raise json_document.DamagedError(f"the document lacks required content: {exc}") from exc


def _check_words(ours: Mapping[str, Any]) -> None:
    """Reject coverage entries that only a newer version of this library can have written.

    Raises:
        FormatVersionError: A coverage entry has an unknown state or adjustment.
    """
    for state in (ours, ours.get("pending")):
        try:
            entries = [(e["state"], e.get("basis", {})) for e in state["coverage"]] if state else []
            words = [(state, basis.get("adjustment", "raw")) for state, basis in entries]
        except (AttributeError, KeyError, TypeError):
            continue  # the document is damaged
        for state_word, adjustment in words:
            if state_word not in STATES or adjustment not in _ADJUSTMENTS:
                raise FormatVersionError(
                    f"coverage was written by a newer version ({state_word!r}, {adjustment!r})"
                )


def _naive_time(ms: int | None) -> str | None:
    return None if ms is None else from_ms(ms).isoformat(timespec="seconds")


# --- series.json -------------------------------------------------------------------------


@dataclass(frozen=True)
class SeriesMeta(SeriesFacts):
    """The document ``series.json``. If it is lost, requests must be repeated, but no bars are lost.

    Attributes:
        generation: Generation of the commit that wrote the document.
        years_generation: Highest generation among the years when the document was written.
            ``next_due`` is valid only as long as this has not changed, because after a power loss
            the document may be older than the years.
        empties: Coverage without bars in years that have no file.
        extra: Keys from other versions, kept unchanged.
    """

    generation: int = 0
    years_generation: int = 0
    empties: Coverage = Coverage()
    extra: Mapping[str, Any] = field(default_factory=dict)


def dump_series(series: SeriesMeta, key: SeriesKey) -> bytes:
    """Return the bytes of the document for the series ``key``."""
    facts = {
        name: fact.to_json() if hasattr(fact, "to_json") else fact
        for name, fact in series.known_facts().items()
    }
    document: dict[str, Any] = dict(series.extra) | key.entries
    document |= {
        "format": json_document.FORMAT,
        "generation": series.generation,
        "years_generation": series.years_generation,
        "next_due": None,
        "empties": [c.to_json() for c in series.empties],
        **facts.pop("lifetime", {}),
        **facts,
    }
    return json_document.dump(document)


class _Bound(msgspec.Struct):
    """A bound of a lifetime in ``series.json``; see :class:`~.lifetime.Bound`."""

    at: int
    source: str
    learned_at: int
    expires: int
    proof: str = ""

    def value(self) -> Bound:
        """Return the bound as the type that the library uses."""
        return Bound(*msgspec.structs.astuple(self))


class _SeriesDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of ``series.json``, except those stored just as :class:`SeriesFacts` declares them.

    A key that is in neither class is kept unchanged.
    """

    format: Literal[1]
    generation: int
    years_generation: int
    next_due: int | None
    empties: list[StretchDocument]
    symbol: str
    timeframe: str
    lane: str
    listing: _Bound | None = None
    delisting: _Bound | None = None
    unknown: _Bound | None = None

    @property
    def lifetime(self) -> Lifetime:
        """First and last time at which bars can exist, from ``listing``, ``delisting`` and ``unknown``."""
        bounds = (self.listing, self.delisting, self.unknown)
        values = [bound.value() if bound else None for bound in bounds]
        return Lifetime(*values) if any(bounds) else _UNKNOWN_LIFETIME


_UNKNOWN_LIFETIME = Lifetime()
# `next_due` is always present, and a lifetime has three keys.
_OPTIONAL_FACTS = [fact for fact in fields(SeriesFacts) if not hasattr(_SeriesDocument, fact.name)]
_WholeSeries: Any = msgspec.defstruct(
    "_WholeSeries",
    _as_declared(_OPTIONAL_FACTS, SeriesFacts),
    bases=(_SeriesDocument,),
    kw_only=True,
    forbid_unknown_fields=True,
)
_decode_whole = msgspec.json.Decoder(_WholeSeries).decode


def _decode_series(text: bytes | str) -> tuple[_SeriesDocument, Coverage]:
    document: _SeriesDocument = _decode_whole(text)
    return document, coverage_of(document.empties)


def load_series(data: bytes, key: SeriesKey) -> SeriesMeta:
    """Parse the bytes of the document for the series ``key``.

    Raises:
        DamagedError: The document is incomplete, or belongs to another series.
        FormatVersionError: A newer version of this library wrote the document.
    """
    keys = _WholeSeries.__struct_fields__
    (document, empties), extra = json_document.decoded(data, _decode_series, keys, "series.json")
    expected = key.entries
    recorded = {name: getattr(document, name) for name in expected}
    json_document.check_about(recorded, expected, "series")
    facts = {name: getattr(document, name) for name in FACTS}
    return filled(
        SeriesMeta,
        generation=document.generation,
        years_generation=document.years_generation,
        empties=empties,
        extra=extra,
        **facts,
    )


# --- actions.json ------------------------------------------------------------------------


class AskedDocument(msgspec.Struct):
    """One entry in ``asked`` or ``awaited``: the vendor, the ex-dates requested, and the time."""

    span: Span
    source: str
    fetched_at: int


class LackDocument(msgspec.Struct):
    """An entry in ``lacking``; see :class:`~..actions.Lack`."""

    action: Action
    since: int
    last: int
    is_withdrawn: bool = False


class BookEntries(msgspec.Struct, kw_only=True):
    """Vendors' reports of a symbol's actions, and the queries sent to them."""

    actions: list[Action]
    disagreements: list[Action]
    asked: list[AskedDocument]
    confirmed: list[Action] = []
    awaited: list[AskedDocument] = []


class BookDocument(BookEntries, kw_only=True, forbid_unknown_fields=True):
    """The complete document ``actions.json``. A key that is not listed here is kept unchanged."""

    format: Literal[1]
    symbol: str
    samples: BookEntries | None = None
    changes: list[SymbolChange] = []
    lacking: list[LackDocument] = []
    late: list[Action] = []


_decode_book = msgspec.json.Decoder(BookDocument).decode


def load_book_document(data: bytes) -> tuple[BookDocument, dict[str, Any]]:
    """Parse the document, and also return its unknown keys.

    Raises:
        DamagedError: The document is incomplete.
        FormatVersionError: A newer version of this library wrote the document.
    """
    keys = BookDocument.__struct_fields__
    return json_document.decoded(data, _decode_book, keys, "actions.json")
