"""What of an installation changes from day to day: age of the bars, damage, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache.checking import waiting
from ..cache.gauge import Fill
from ..cache.store import BarStore
from ..clock import SystemClock
from ..provider_selector import ProviderSelector
from ..resources import memory
from .freshness import SeriesHealth, SeriesWatch

LITTLE_MEMORY = 200e6


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        section: ``installation``, ``places``, ``health``, ``configuration``, ``keys`` or
            ``vendors``.
        topic: what was looked at.
        ok: True, False, or None where it is neither good nor bad.
        said: what was found.
        advice: what to do about it, empty when there is nothing to do.
    """

    section: str
    topic: str
    ok: bool | None
    said: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return asdict(self)


def health(folder: Path, selector: ProviderSelector, fill: Fill) -> Iterator[Check]:
    """Look at what changes from day to day: age of the bars, damage, lost commits, memory."""
    yield _fresh(SeriesWatch(folder, selector, SystemClock()).look())
    yield _integrity(fill)
    yield from _commits(folder)
    told = memory()
    used = "" if told.used is None else f"{told.used / 1e6:,.0f} MB used by this process"
    left = "" if told.free is None else f"{told.free / 1e9:,.1f} GB left on this machine"
    is_little = told.free is not None and told.free < LITTLE_MEMORY
    said = ", ".join(filter(None, (used, left))) or "this system does not tell"
    yield Check("health", "memory", not is_little, said, "end something" if is_little else "")


def _fresh(series: SeriesHealth) -> Check:
    """Say how many series are behind. That is no fault: nobody may have asked for them."""
    said = f"{series.total:,} series: {series.fresh:,} fresh, {series.stale:,} behind"
    said += f", {series.at_rest:,} at rest" if series.at_rest else ""
    said += f", {series.unread:,} not looked at" if series.unread else ""
    if not series.total:
        return Check("health", "freshness", None, "no series yet")
    if not series.stalest:
        return Check("health", "freshness", True, said)
    worst = series.stalest[0]
    bars = f"{worst.freshness.behind:,} bar{'' if worst.freshness.behind == 1 else 's'}"
    advice = "`onetape populate` brings them up to date, `onetape doctor --watch` names them"
    return Check("health", "freshness", None, f"{said}; {worst.key} lacks {bars}", advice)


def _integrity(fill: Fill) -> Check:
    others = f"; {fill.without_metadata:,} without metadata" if fill.without_metadata else ""
    said = f"{fill.data_files:,} file{'' if fill.data_files == 1 else 's'} of bars{others}"
    if fill.quarantined:
        files = f"{fill.quarantined:,} file{'' if fill.quarantined == 1 else 's'} in quarantine"
        advice = "they lie in the folders `_quarantine`, each with its reason beside it"
        return Check("health", "integrity", None, f"{said}, {files}", advice)
    return Check("health", "integrity", True, f"{said}, nothing in quarantine")


def _commits(cache_dir: Path) -> Iterator[Check]:
    """Find bars that a power loss parted from their metadata: nobody reads them until a repair."""
    store = BarStore(cache_dir)
    years = waiting(store.workshop, store.keys())
    if years:
        (key, year), more = years[0], f" and {len(years) - 1:,} more" if len(years) > 1 else ""
        said = f"{key} {year}{more}: bars that were committed are not in the metadata"
        yield Check("health", "commits", False, said, "`onetape cache repair` takes them in")
