"""What of an installation changes from day to day: age of the bars, damage, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache.facade.arguments import configured_instrument
from ..cache.facade.catalog import Catalogue
from ..cache.maintenance import Maintenance
from ..cache.recovery.check import Inspection, waiting
from ..cache.retention.inventory import Holdings, Size
from ..cache.store import BarStore
from ..clock import SystemClock
from ..disk.files import Disk
from ..model.series import SeriesKey
from ..provider_selector import ProviderSelector
from ..resources import memory
from .freshness import SeriesHealth, SeriesWatch

LITTLE_MEMORY = 200e6
# How long files are read for digests, unless all of them are to be read.
GLANCE_S = 1.0


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


def catalogue_of(folder: Path, selector: ProviderSelector) -> Catalogue:
    """Return what lists a cache folder; nothing is changed by it."""
    disk = Disk(root=folder, private=selector.parsed_rules.cache.private)
    return Catalogue(folder, BarStore(folder, disk), disk)


def health(
    catalogue: Catalogue, selector: ProviderSelector, held: Holdings, *, full: bool = False
) -> Iterator[Check]:
    """Look at what changes from day to day: age of the bars, damage, lost commits, memory.

    Files are read for ``GLANCE_S``, with ``full`` all of them.
    """
    clock, store = SystemClock(), catalogue.store
    folder = store.root
    yield _fresh(SeriesWatch(folder, selector, clock).look())
    upkeep = Maintenance(store.workshop, catalogue, configured_instrument, clock)
    yield _integrity(held.size, upkeep.inspect(None if full else GLANCE_S, held))
    yield from _commits(waiting(store.workshop, catalogue.listing(held)))
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


def _integrity(size: Size, found: Inspection) -> Check:
    """Say what reading the files found; without damage it is good only if all of them were read."""
    bars = found.total - found.others
    said = f"{bars:,} file{'' if bars == 1 else 's'} of bars"
    said += f" and {found.others:,} of tables and fundamentals" if found.others else ""
    if found.is_whole:
        said += ", all read" if found.total else ""
    else:
        said += f", {found.files:,} of them read in {GLANCE_S:g} s"
    said += f"; {size.without_metadata:,} without metadata" if size.without_metadata else ""
    aside = f"{size.quarantined:,} file{'' if size.quarantined == 1 else 's'} in quarantine"
    said += f", {aside if size.quarantined else 'nothing in quarantine'}"
    if damage := found.damage:
        more = f" and {len(damage) - 1:,} more" if len(damage) > 1 else ""
        advice = "`onetape cache verify` lists it, `onetape cache repair` mends what can be mended"
        return Check("health", "integrity", False, f"{said}; damaged: {damage[0]}{more}", advice)
    if size.quarantined:
        advice = "they lie in the folders `_quarantine`, each with its reason beside it"
        return Check("health", "integrity", None, said, advice)
    advice = "" if found.is_whole else "`onetape doctor --full` reads all of them"
    return Check("health", "integrity", found.ok, said, advice)


def _commits(years: list[tuple[SeriesKey, int]]) -> Iterator[Check]:
    """Say of which years a power loss parted bars from their metadata: a repair takes them in."""
    if years:
        (key, year), more = years[0], f" and {len(years) - 1:,} more" if len(years) > 1 else ""
        said = f"{key} {year}{more}: bars that were committed are not in the metadata"
        yield Check("health", "commits", False, said, "`onetape cache repair` takes them in")
