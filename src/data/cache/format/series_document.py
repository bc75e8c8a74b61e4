"""What a series knows that has no year: its kind, when to ask again, long nothings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ...errors import FormatVersionError
from ...model.canonical import canonical
from ...model.coverage import Coverage
from ...model.frozen import filled
from ...model.kind import Kind
from ...model.lifetime import Bound, Lifetime
from ...model.series import SeriesKey
from . import json_document
from .coverage_document import StretchDocument, coverage_of


@dataclass(frozen=True)
class SeriesMeta:
    """The document ``series.json``. Losing it costs requests, never bars.

    Attributes:
        generation: of the commit that wrote it.
        years_generation: the highest generation among the years then. ``next_due`` holds only
            while it still is: after a power loss the two may be of different age.
        kind: of the bars, or None.
        next_due: earliest UTC milliseconds at which asking again could change the answer.
        empties: stretches without bars in years that have no file.
        compared_at: UTC milliseconds at which the newest final bars were compared again with what
            their vendor says; the document has it only where they were.
        lifetime: from when to when there can be bars; the document has it only where it is known.
        extra: keys of other versions, kept as they are.
    """

    generation: int = 0
    years_generation: int = 0
    kind: Kind | None = None
    next_due: int | None = None
    empties: Coverage = Coverage()
    compared_at: int | None = None
    lifetime: Lifetime = Lifetime()
    extra: Mapping[str, Any] = field(default_factory=dict)


def dump_series(series: SeriesMeta, key: SeriesKey) -> bytes:
    """Return the bytes of the document of the series ``key``."""
    document: dict[str, Any] = dict(series.extra) | _about(key)
    document |= {
        "format": json_document.FORMAT,
        "generation": series.generation,
        "years_generation": series.years_generation,
        "next_due": series.next_due,
        "empties": [c.to_json() for c in series.empties],
        **series.lifetime.to_json(),
    }
    if series.kind is not None:
        document["kind"] = series.kind.to_json()
    if series.compared_at is not None:
        document["compared_at"] = series.compared_at
    return json_document.dump(document)


def _about(key: SeriesKey) -> dict[str, Any]:
    return {"symbol": key.symbol, "timeframe": key.timeframe.label, "lane": key.lane_label}


class _Bound(msgspec.Struct):
    """A ``listing`` or ``delisting``; see :class:`~..model.lifetime.Bound`."""

    at: int
    source: str
    learned_at: int
    expires: int
    proof: str = ""

    def value(self) -> Bound:
        """Return the bound."""
        return Bound(*msgspec.structs.astuple(self))


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document. A key that is not listed here is kept as it is."""

    format: Literal[1]
    generation: int
    years_generation: int
    next_due: int | None
    empties: list[StretchDocument]
    symbol: str | None = None
    timeframe: str | None = None
    lane: str | None = None
    kind: Kind | None = None
    compared_at: int | None = None
    listing: _Bound | None = None
    delisting: _Bound | None = None

    @property
    def lifetime(self) -> Lifetime:
        """From when to when there can be bars.

        A listing without its proof was concluded by an earlier version from the silence of one
        vendor, which proves nothing: it is left out, and asked about again.
        """
        if self.listing is None and self.delisting is None:
            return _UNKNOWN
        listed = self.listing.value() if self.listing and self.listing.proof else None
        return Lifetime(listed, self.delisting.value() if self.delisting else None)


_UNKNOWN = Lifetime()
_decode = msgspec.json.Decoder(_Document).decode


def load_series(data: bytes, key: SeriesKey) -> SeriesMeta:
    """Read the bytes of the document of the series ``key``.

    Raises:
        DamagedError: it is not whole, or of another series.
        FormatVersionError: a newer version of this library wrote it.
    """
    text, extra = json_document.text_of(data), dict[str, Any]()
    try:
        document = _decode(text)
    except msgspec.DecodeError:
        document, extra = _with_unknown_keys(text)
    about = document.symbol, document.timeframe, document.lane
    for found, value in zip(about, _about(key).values(), strict=True):
        if found not in (None, value):
            raise json_document.DamagedError("it is about another series")
    return filled(
        SeriesMeta,
        generation=document.generation,
        years_generation=document.years_generation,
        kind=document.kind,
        next_due=document.next_due,
        empties=coverage_of(document.empties),
        compared_at=document.compared_at,
        lifetime=document.lifetime,
        extra=extra,
    )


def _with_unknown_keys(text: bytes) -> tuple[_Document, dict[str, Any]]:
    """Return a document that holds more than :class:`_Document`, and apart from it what that is.

    Raises:
        DamagedError: that is not what is wrong with it.
        FormatVersionError: a newer version of this library wrote it.
    """
    plain = json_document.plain(text)
    if plain.get("format") != json_document.FORMAT or plain.get("need"):
        raise FormatVersionError(f"series.json has the unknown format {plain.get('format')!r}")
    extra = {key: plain.pop(key) for key in plain.keys() - {*_Document.__struct_fields__}}
    try:
        return _decode(canonical(plain)), extra
    except msgspec.DecodeError as exc:
        raise json_document.DamagedError(f"it lacks what it must hold: {exc}") from exc
