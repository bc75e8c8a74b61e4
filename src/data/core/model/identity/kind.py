"""The kind of bars and the basis of their prices. Bars that differ in kind never share a series."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

from ..time.instant import date_of

Adjustment = Literal["raw", "split", "all", "unknown"]
# Adjustments that callers may request.
AskedAdjustment = Literal["raw", "split", "all"]
ADJUSTMENTS: tuple[Adjustment, ...] = ("raw", "split", "all")
# Trading hours that callers may request bars for.
AskedSession = Literal["regular", "extended"]
SESSIONS: tuple[AskedSession, ...] = ("regular", "extended")

# Asset classes without a central venue: currencies, and indices, which are computed.
NO_VOLUME = ("forex", "index")
# Maps vendors' codes for hundredths of a currency, in which shares are quoted, to the currency.
HUNDREDTHS = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ZAC": "ZAR", "ILA": "ILS", "ILa": "ILS"}
_HARD = ("session", "anchor", "venue", "unit")


@dataclass(frozen=True)
class Kind:
    """The properties that all bars of a series share, except price adjustment: see :class:`Basis`.

    An empty string means that an attribute is unknown. An unknown attribute agrees with any value,
    and is replaced by the value of the first stored bars that have one.

    Attributes:
        session: ``regular``, ``extended`` or ``24h``.
        anchor: Alignment of the bars: ``session`` (intraday bars start at the session's open) or
            ``clock`` (they start on the full minute or hour, regardless of the open); daily and
            longer bars are always ``session``.
        venue: Exchange where prices originate, ``aggregate`` for averages over venues, or
            ``consolidated`` for a national tape.
        unit: Currency or unit of prices; case-sensitive, because ``GBp`` is not ``GBP``.
        volume: Unit of the volume: ``shares``, ``base``, ``quote``, ``ticks`` or ``none``. A soft
            attribute, i.e. bars that differ in it may share a series.
        feed: Tape that the volume comes from, such as ``sip`` or ``iex``. A soft attribute, like
            ``volume``.
    """

    session: str = "regular"
    anchor: str = "session"
    venue: str = ""
    unit: str = ""
    volume: str = ""
    feed: str = ""

    def needs_volume(self, asset_class: str, without_volume: Collection[str]) -> bool:
        """Return whether bars without a volume are incomplete.

        Such bars are complete if the kind declares that its bars have no volume. If the kind does
        not say (as for custom downloaders, files and imported frames), the asset class decides;
        ``without_volume`` has those whose bars from this vendor have none (``no_volume`` of its row).
        """
        if self.volume:
            return self.volume != "none"
        return asset_class not in (*NO_VOLUME, *without_volume)

    def differences(self, other: Kind) -> dict[str, tuple[str, str]]:
        """Return the differing attributes; maps each name to the values in ``self`` and in ``other``.

        Soft and unknown attributes are ignored.
        """
        if self == other:
            return {}
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _HARD}
        return {name: pair for name, pair in pairs.items() if all(pair) and pair[0] != pair[1]}

    def agrees(self, other: Kind) -> bool:
        """Return whether the kinds have no :meth:`differences`, so that their bars may share a series."""
        return not self.differences(other)

    def filled_from(self, other: Kind) -> Kind:
        """Return this kind with its unknown attributes taken from ``other``."""
        if self == other:
            return self
        values, other_values = self.to_json(), other.to_json()
        return Kind(**{name: value or other_values[name] for name, value in values.items()})

    def to_json(self) -> dict[str, str]:
        """Return the JSON-compatible dictionary that is stored with bars."""
        # Written out because `asdict` makes deep copies, and every answer carries its kind.
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Kind:
        """Parse a stored mapping; keys unknown to this version are ignored."""
        return _kind_of(tuple(map(mapping.get, _NAMES)))


_NAMES = tuple(f.name for f in fields(Kind))


# All years of all series share a few kinds and bases, which are parsed again and again.
@lru_cache
def _kind_of(values: tuple[Any, ...]) -> Kind:
    pairs = zip(_NAMES, values, strict=True)
    return Kind(**{name: str(value) for name, value in pairs if value is not None})


@dataclass(frozen=True)
class Basis:
    """The price adjustment, and the date as of which prices are adjusted.

    Attributes:
        adjustment: ``raw`` (as traded), ``split`` (adjusted for splits) or ``all`` (adjusted for
            splits and dividends).
        as_of: Date of the last session that opened before the fetch. None if this date is not after
            the first bar's date, so that bars appended every day can share one basis.
    """

    adjustment: Adjustment = "raw"
    as_of: date | None = None

    def of_bars(self, first_ms: int, session: str, *, intraday: bool) -> Basis:
        """Return the basis for bars from ``first_ms`` on, omitting a redundant date.

        A date that is not after the first bar's session adds no information. If bars include
        trading outside regular hours (see ``session``), those after the close may belong to the
        session of the day before their UTC date.
        """
        if self.as_of is None:
            return self
        is_before_open = intraday and session != "regular"
        first = date_of(first_ms) - timedelta(days=int(is_before_open))
        return self if first < self.as_of else Basis(self.adjustment)

    def to_json(self) -> dict[str, str]:
        """Return the JSON-compatible dictionary that is stored with bars."""
        entry: dict[str, str] = {"adjustment": self.adjustment}
        if self.as_of is not None:
            entry["as_of"] = self.as_of.isoformat()
        return entry

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Basis:
        """Parse a stored mapping.

        Raises:
            ValueError: The adjustment is unknown to this version.
        """
        return _basis_of(mapping.get("adjustment", "unknown"), mapping.get("as_of"))


@lru_cache
def _basis_of(adjustment: Any, as_of: Any) -> Basis:
    if adjustment not in (*ADJUSTMENTS, "unknown"):
        raise ValueError(f"unknown adjustment {adjustment!r}")
    return Basis(adjustment, date.fromisoformat(as_of) if as_of else None)
