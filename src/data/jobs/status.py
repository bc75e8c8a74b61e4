"""How an installation stands at one moment, and again a moment later, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.retention.disk_usage import Fill, Gauge
from ..cache.retention.eviction import BYTES_IN_GB
from ..clock import Clock, SystemClock
from ..config.rules_file import load_rules
from ..config.survey import Where, survey
from ..disk.scratch import free_bytes
from ..errors import DataError
from ..model.health import Quota
from ..model.instant import iso
from ..model.timeframe import Timeframe
from ..net.paused_vendors import Standing
from ..net.reach import Reached, reach_all
from ..net.state import FILE
from ..provider_selector import ProviderSelector
from ..resources import Memory, memory
from ..vendors.base import is_ours, look_at
from ..wiring import network_of
from .checkup import LITTLE_SPACE
from .freshness import SeriesHealth, SeriesWatch
from .health import LITTLE_MEMORY
from .vendors import describe_vendors

Knock = Callable[[Mapping[str, str]], dict[str, Reached]]

# Vendors' doors are no doorbells.
_KNOCK_EVERY_S = 300.0
_ANY_DAYS = Timeframe.parse("1d")


@dataclass(frozen=True)
class VendorState:
    """How one vendor stands.

    Attributes:
        name: who.
        lack: why it cannot be asked here at all; empty when it can be.
        alone: what it is not asked for just now, and until when.
        quotas: what is left of its limits.
        reached: how the last knock at its door ended; None when nobody knocked.
    """

    name: str
    lack: str = ""
    alone: tuple[Standing, ...] = ()
    quotas: tuple[Quota, ...] = ()
    reached: Reached | None = None

    @property
    def is_well(self) -> bool:
        """Whether it may be asked now, and can be reached as far as anybody knows."""
        return not self.lack and not self.alone and (self.reached is None or self.reached.ok)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "name": self.name,
            "ready": not self.lack,
            "lack": self.lack,
            "alone": [
                {"door": a.door, "until": iso(a.until_ms), "reason": a.reason} for a in self.alone
            ],
            "quotas": [quota.to_json() for quota in self.quotas],
            "reached": self.reached.ok if self.reached else None,
            "reached_s": round(self.reached.seconds, 3) if self.reached else None,
            "refusal": self.reached.refusal if self.reached else "",
        }


@dataclass(frozen=True)
class Places:
    """Where things lie and what is left there.

    Attributes:
        cache_dir, fill, limit_gb: the cache, what it holds, how much it may (0: anything).
        free: bytes left on its disk; None where the system does not tell.
        state_file, state_bytes: what processes remember together; None bytes: nothing yet.
    """

    cache_dir: Path
    fill: Fill
    limit_gb: float
    free: int | None
    state_file: Path
    state_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        limit = round(self.limit_gb * BYTES_IN_GB) or None
        return {
            "cache": {
                "folder": str(self.cache_dir),
                "limit_bytes": limit,
                "free_bytes": self.free,
                **self.fill.to_json(),
            },
            "state": {"file": str(self.state_file), "bytes": self.state_bytes},
        }


@dataclass(frozen=True)
class StatusSnapshot:
    """Everything at one moment."""

    at_ms: int
    vendors: tuple[VendorState, ...]
    series: SeriesHealth
    places: Places
    memory: Memory

    def worries(self) -> Iterator[str]:
        """Yield what somebody should know, one sentence each."""
        for vendor in self.vendors:
            for one in vendor.alone:
                what = f" for {one.door}" if one.door else ""
                yield f"{vendor.name} is not asked{what} until {iso(one.until_ms)}: {one.reason}"
            if vendor.reached is not None and not vendor.reached.ok:
                yield f"{vendor.name}: {vendor.reached.refusal}"
        places, fill = self.places, self.places.fill
        if places.free is not None and places.free < LITTLE_SPACE:
            yield f"only {places.free / 1e6:,.0f} MB are free on the disk of the cache"
        if places.limit_gb and fill.bytes > places.limit_gb * BYTES_IN_GB:
            yield f"the cache is above its limit of {places.limit_gb:g} GB"
        if self.memory.free is not None and self.memory.free < LITTLE_MEMORY:
            yield f"this machine has only {self.memory.free / 1e6:,.0f} MB of memory left"

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "at": iso(self.at_ms),
            "vendors": [vendor.to_json() for vendor in self.vendors],
            "series": self.series.to_json(),
            **self.places.to_json(),
            "process": self.memory.to_json(),
            "worries": list(self.worries()),
        }


class Watch:
    """Looks at an installation as often as somebody asks; nothing is made or changed by it.

    Used by one thread.

    Args:
        cache_dir, config_path: as for the data manager.
        clock: another clock than the machine's.
        knock: how to find out who can be reached; None: nobody is knocked at.

    Raises:
        ConfigError: there is no home folder, so that nothing has a place at all.
    """

    def __init__(
        self,
        cache_dir: Where = None,
        config_path: Where = None,
        *,
        clock: Clock | None = None,
        knock: Knock | None = reach_all,
    ) -> None:
        # Mistakes of the configuration are the check-up's to tell.
        self._settings = survey(cache_dir, config_path).settings
        self.clock = clock or SystemClock()
        rules = load_rules(self._settings.rules_path)
        self._network = network_of(self._settings, rules, self.clock)
        self._selector = ProviderSelector(settings=self._settings, make_sender=self._network.sender)
        self._series = SeriesWatch(self._settings.cache_dir, self._selector, self.clock)
        self._gauge = Gauge(self._settings.cache_dir, self.clock)
        self._knock = knock
        self._reached: dict[str, Reached] = {}
        self._knocked_s: float | None = None

    def look(self) -> StatusSnapshot:
        """Return how everything stands now. Doors are knocked at every five minutes only."""
        return StatusSnapshot(
            self.clock.now_ms(),
            tuple(self._vendors()),
            self._series.look(),
            self._places(),
            memory(),
        )

    def _vendors(self) -> Iterator[VendorState]:
        described, alone = describe_vendors(self._selector), self._network.standing()
        self._knock_at(
            {
                v["name"]: v["base_url"]
                for v in described
                if v["ready"] and str(v["base_url"]).startswith("http")
            }
        )
        for vendor in described:
            name = vendor["name"]
            yield VendorState(
                name,
                "" if vendor["ready"] else vendor["why_not"],
                tuple(one for one in alone if one.vendor == name),
                self._quotas(name),
                self._reached.get(name),
            )

    def _knock_at(self, doors: Mapping[str, str]) -> None:
        now = self.clock.monotonic()
        is_early = self._knocked_s is not None and now - self._knocked_s < _KNOCK_EVERY_S
        if self._knock is not None and not is_early:
            self._knocked_s = now
            self._reached = self._knock(doors)

    def _quotas(self, name: str) -> tuple[Quota, ...]:
        made = self._selector.downloaders.get(name)
        if made is None or not is_ours(made):
            return ()
        try:
            found = look_at(made, min(made.capabilities.asset_classes), _ANY_DAYS)
        except DataError:
            return ()  # its key was taken away meanwhile: it is told as a lack next time
        return found.health(self.clock.now_ms()).quotas if found else ()

    def _places(self) -> Places:
        settings = self._settings
        return Places(
            settings.cache_dir,
            self._gauge.read(),
            settings.max_size_gb,
            free_bytes(settings.cache_dir),
            *_state_file(settings.state_dir),
        )


def _state_file(folder: Path) -> tuple[Path, int | None]:
    path = folder / FILE
    try:
        return path, path.stat().st_size
    except OSError:
        return path, None
