"""What a series knows that has no year: its kind, when to ask again, long nothings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import CacheError, FormatVersionError
from ...model.coverage import Coverage, Covered
from ...model.frozen import filled
from ...model.kind import Kind
from ...model.lifetime import Lifetime
from ...model.series import SeriesKey
from . import json_document

_OURS = frozenset(
    (
        "sha256",
        "format",
        "symbol",
        "timeframe",
        "lane",
        "generation",
        "years_generation",
        "kind",
        "next_due",
        "empties",
        "compared_at",
        "listing",
        "delisting",
    )
)


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
    return json_document.dump(plain(series, key))


def plain(series: SeriesMeta, key: SeriesKey) -> dict[str, Any]:
    """Return what the document of the series ``key`` says, without its digest."""
    plain: dict[str, Any] = dict(series.extra) | _about(key)
    plain |= {
        "format": json_document.FORMAT,
        "generation": series.generation,
        "years_generation": series.years_generation,
        "next_due": series.next_due,
        "empties": [c.to_json() for c in series.empties],
        **series.lifetime.to_json(),
    }
    if series.kind is not None:
        plain["kind"] = series.kind.to_json()
    if series.compared_at is not None:
        plain["compared_at"] = series.compared_at
    return plain


def _about(key: SeriesKey) -> dict[str, Any]:
    return {"symbol": key.symbol, "timeframe": key.timeframe.label, "lane": key.lane_label}


def load_series(data: bytes, key: SeriesKey) -> SeriesMeta:
    """Read the bytes of the document of the series ``key``.

    Raises:
        DamagedError: it is not whole, or of another series.
        FormatVersionError: a newer version of this library wrote it.
    """
    return told(json_document.load(data), key)


def glance(data: bytes, key: SeriesKey) -> SeriesMeta | None:
    """Return what an ordinary, whole document of ours tells; None is no verdict."""
    text = json_document.sealed(data)
    try:
        return None if text is None else told(json_document.inner(text), key)
    except (ValueError, RecursionError, CacheError):
        return None


def told(plain: Mapping[str, Any], key: SeriesKey) -> SeriesMeta:
    """Read what the document of the series ``key`` says; raises as :func:`load_series`."""
    if plain.get("format") != json_document.FORMAT or plain.get("need"):
        raise FormatVersionError(f"series.json has the unknown format {plain.get('format')!r}")
    if any(plain.get(name, value) != value for name, value in _about(key).items()):
        raise json_document.DamagedError("it is about another series")
    try:
        return filled(
            SeriesMeta,
            generation=int(plain["generation"]),
            years_generation=int(plain["years_generation"]),
            kind=Kind.from_json(plain["kind"]) if "kind" in plain else None,
            next_due=plain["next_due"],
            empties=Coverage(map(Covered.from_json, plain["empties"])),
            compared_at=plain.get("compared_at"),
            lifetime=Lifetime.from_json(plain),
            extra={k: plain[k] for k in plain.keys() - _OURS},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise json_document.DamagedError(f"it lacks what it must hold: {exc!r}") from exc
