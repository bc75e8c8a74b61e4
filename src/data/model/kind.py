"""The kind of a bar and the basis of its prices: bars that differ in kind never share a series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

from ..vendors.registry import row_of
from .instant import date_of

Adjustment = Literal["raw", "split", "all", "unknown"]
# What callers may ask for.
AskedAdjustment = Literal["raw", "split", "all"]
ADJUSTMENTS: tuple[Adjustment, ...] = ("raw", "split", "all")
# The hours that callers may ask for bars of.
AskedSession = Literal["regular", "extended"]
SESSIONS: tuple[AskedSession, ...] = ("regular", "extended")

# Classes of which nothing is traded in one place: currencies, and indices, which are computed.
NO_VOLUME = ("forex", "index")
_HARD = ("session", "anchor", "venue", "unit")


@dataclass(frozen=True)
class Kind:
    """The kind of a series' bars. Price adjustment is not here: it is the :class:`Basis`.

    An empty text means "unknown": it agrees with anything and takes the value of the first bars
    stored.

    Attributes:
        session: ``regular``, ``extended`` or ``24h``.
        anchor: ``session`` (intraday bars counted from the session's open) or ``clock`` (on the
            full minute or hour, whatever the open); daily and longer bars are ``session``.
        venue: the exchange a price belongs to, ``aggregate`` for averages over venues,
            ``consolidated`` for a national tape.
        unit: the currency or unit of prices; ``GBp`` is not ``GBP``.
        volume: unit of the volume, ``shares``, ``base``, ``quote``, ``ticks`` or ``none`` (soft).
        feed: which tape the volume comes from, such as ``sip`` or ``iex`` (soft).
    """

    session: str = "regular"
    anchor: str = "session"
    venue: str = ""
    unit: str = ""
    volume: str = ""
    feed: str = ""

    def needs_volume(self, asset_class: str, vendor: str) -> bool:
        """Tell whether bars without a volume lack something: all but those declared to have none.

        Where it is not declared (a program's own downloader, files, imported frames) the asset
        class decides, and what the vendor of that name declares.
        """
        if self.volume:
            return self.volume != "none"
        return asset_class not in (*NO_VOLUME, *row_of(vendor).no_volume)

    def differences(self, other: Kind) -> dict[str, tuple[str, str]]:
        """Return the hard attributes in which the two differ, as ``name: (mine, theirs)``."""
        if self == other:
            return {}
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _HARD}
        return {name: pair for name, pair in pairs.items() if all(pair) and pair[0] != pair[1]}

    def agrees(self, other: Kind) -> bool:
        """Tell whether bars of the two may stand in one series (no hard difference)."""
        return not self.differences(other)

    def filled_from(self, other: Kind) -> Kind:
        """Return this kind with its unknown attributes taken from ``other``."""
        if self == other:
            return self
        mine, theirs = self.to_json(), other.to_json()
        return Kind(**{name: value or theirs[name] for name, value in mine.items()})

    def to_json(self) -> dict[str, str]:
        """Return the plain mapping that is stored with bars."""
        # By hand: `asdict` copies deeply, and every answer carries its kind.
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Kind:
        """Read a stored mapping; keys this version does not know are ignored."""
        return _kind_of(tuple(map(mapping.get, _NAMES)))


_NAMES = tuple(f.name for f in fields(Kind))


# The years of all series share a few kinds and bases, which are parsed over and over.
@lru_cache
def _kind_of(values: tuple[Any, ...]) -> Kind:
    pairs = zip(_NAMES, values, strict=True)
    return Kind(**{name: str(value) for name, value in pairs if value is not None})


@dataclass(frozen=True)
class Basis:
    """How prices are adjusted, and up to which day's knowledge.

    Attributes:
        adjustment: ``raw`` as traded, ``split`` adjusted for splits, ``all`` for dividends too.
        as_of: the last session opened before the fetch; None where it is not after the first
            bar's date, which lets daily appends share one basis.
    """

    adjustment: Adjustment = "raw"
    as_of: date | None = None

    def of_bars(self, first_ms: int, session: str, *, intraday: bool) -> Basis:
        """Return the basis of the bars from the stamp ``first_ms`` on, without a redundant date.

        A date that is not after the session of the first of them adds nothing to what each bar
        knows by itself. Outside of regular hours (``session``) a bar before the open is traded as
        on the day before.
        """
        if self.as_of is None:
            return self
        is_before_open = intraday and session != "regular"
        first = date_of(first_ms) - timedelta(days=int(is_before_open))
        return self if first < self.as_of else Basis(self.adjustment)

    def to_json(self) -> dict[str, str]:
        """Return the plain mapping that is stored with bars."""
        plain: dict[str, str] = {"adjustment": self.adjustment}
        if self.as_of is not None:
            plain["as_of"] = self.as_of.isoformat()
        return plain

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Basis:
        """Read a stored mapping; the adjustment must be known.

        Raises:
            ValueError: an adjustment this version does not know.
        """
        return _basis_of(mapping.get("adjustment", "unknown"), mapping.get("as_of"))


@lru_cache
def _basis_of(adjustment: Any, as_of: Any) -> Basis:
    if adjustment not in (*ADJUSTMENTS, "unknown"):
        raise ValueError(f"unknown adjustment {adjustment!r}")
    return Basis(adjustment, date.fromisoformat(as_of) if as_of else None)
