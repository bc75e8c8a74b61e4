"""Determines the state of an installation, once or repeatedly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bars.freshness import Freshness, Pace, is_at_rest
from ..cache.facade.listing import Catalog
from ..cache.layout import Layout
from ..cache.retention.disk_usage import Fill, Gauge
from ..cache.retention.eviction import BYTES_IN_GB
from ..cache.store import BarStore
from ..calendars.calendar import calendar_for
from ..clock import Clock, SystemClock
from ..config.rules_file import load_rules
from ..config.survey import Where, survey
from ..disk.files import Disk
from ..disk.scratch import free_bytes
from ..errors import DataError
from ..model.coverage import Coverage, VendorDay
from ..model.health import Quota
from ..model.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso
from ..model.series import SeriesKey
from ..model.texts import time_until
from ..net.reach import ReachResult, reach_all
from ..net.state import FILE
from ..net.vendor_status import VendorPause
from ..provider_selector import ProviderSelector
from ..runtime.resources import Memory, memory
from ..vendors.factory import usable_class
from ..wiring import network_of
from .vendors import describe_vendors, quotas_of

Reach = Callable[[Mapping[str, str]], dict[str, ReachResult]]

# Free space and memory below these limits, in bytes, count as low.
_LITTLE_SPACE = 1e9
_LITTLE_MEMORY = 200e6
# Minimum time between two attempts to reach the vendors, in seconds.
_REACH_EVERY_S = 300.0


@dataclass(frozen=True)
class VendorState:
    """The state of one vendor.

    Attributes:
        name: Canonical name of the vendor.
        lack: Reason why the vendor cannot be queried on this machine; empty if it can be.
        pauses: Current pauses; each names the data for which the vendor is not queried, and the end
            of the pause.
        quotas: Remaining quotas under the vendor's rate limits.
        reached: Result of the last attempt to reach the vendor, or None if none was made.
    """

    name: str
    lack: str = ""
    pauses: tuple[VendorPause, ...] = ()
    quotas: tuple[Quota, ...] = ()
    reached: ReachResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON-serializable dictionary."""
        return {
            "name": self.name,
            "ready": not self.lack,
            "lack": self.lack,
            "alone": [
                {"door": a.door, "until": iso(a.until_ms), "reason": a.reason} for a in self.pauses
            ],
            "quotas": [quota.to_json() for quota in self.quotas],
            "reached": self.reached.ok if self.reached else None,
            "reached_s": round(self.reached.seconds, 3) if self.reached else None,
            "refusal": self.reached.refusal if self.reached else "",
        }


@dataclass(frozen=True)
class Locations:
    """The locations of the cache and the state file, with their sizes and free space.

    Attributes:
        cache_dir, fill, limit_gb: Cache folder, its content, and its size limit (0 means none).
        free: Free bytes on the disk of the cache; None if the system does not report them.
        state_file, state_bytes: File with the state that processes share, and its size (None if the
            file does not exist yet).
    """

    cache_dir: Path
    fill: Fill
    limit_gb: float
    free: int | None
    state_file: Path
    state_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts about the folder as a JSON-serializable dictionary."""
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
    """A snapshot of a whole installation's state.

    Attributes:
        vendor_days: Sessions that vendors lack for most of their symbols.
    """

    at_ms: int
    vendors: tuple[VendorState, ...]
    series: SeriesHealth
    locations: Locations
    memory: Memory
    vendor_days: tuple[VendorDay, ...] = ()

    def worries(self) -> Iterator[str]:
        """Yield one sentence for each problem."""
        for vendor in self.vendors:
            for pause in vendor.pauses:
                what = f" for {pause.door}" if pause.door else ""
                until = next_request(pause, self.at_ms)
                yield f"{vendor.name} is paused{what}: {pause.reason}; {until}"
            if vendor.reached is not None and not vendor.reached.ok:
                yield f"{vendor.name}: {vendor.reached.refusal}"
        locations, fill = self.locations, self.locations.fill
        if locations.free is not None and is_little_space(locations.free):
            yield f"only {locations.free / 1e6:,.0f} MB are free on the cache disk"
        if is_above_limit(fill.bytes, locations.limit_gb):
            yield f"the cache is above its limit of {locations.limit_gb:g} GB"
        if self.memory.free is not None and is_little_memory(self.memory):
            yield f"this machine has only {self.memory.free / 1e6:,.0f} MB of memory left"

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as a JSON-serializable dictionary."""
        return {
            "at": iso(self.at_ms),
            "vendors": [vendor.to_json() for vendor in self.vendors],
            "series": self.series.to_json(),
            **self.locations.to_json(),
            "process": self.memory.to_json(),
            "worries": list(self.worries()),
            "incidents": [day.to_json() for day in self.vendor_days],
        }


# --- conditions of problems, shared by `doctor` and its watch, which use different wordings


def is_little_space(free: int) -> bool:
    """Return whether a disk with ``free`` bytes left has too little space."""
    return free < _LITTLE_SPACE


def is_little_memory(state: Memory) -> bool:
    """Return whether this machine has too little memory left; False if the system does not report it."""
    return state.free is not None and state.free < _LITTLE_MEMORY


def is_above_limit(size: int, limit_gb: float) -> bool:
    """Return whether a cache of ``size`` bytes is above its limit; a limit of 0 means none."""
    return bool(limit_gb) and size > limit_gb * BYTES_IN_GB


def next_request(pause: VendorPause, now_ms: int) -> str:
    """Return a text that states when a paused vendor may be queried again."""
    left_s = max(0.0, (pause.until_ms - now_ms) / SECOND_MS)
    return f"next request possible in {time_until(left_s, now_ms)}"


class Watch:
    """Checks an installation, once or repeatedly, without creating or changing anything.

    Use from one thread only.

    Args:
        cache_dir, config_path: See ``DataManager``.
        clock: Clock to use instead of the system clock.
        reach: Function that tries to reach vendors; None means that no vendor is contacted.

    Attributes:
        survey: Settings, and the errors in the configuration.
        selector, network: Vendors and rate limits according to the current rules.

    Raises:
        ConfigError: No home folder exists, so the locations are unknown.
    """

    def __init__(
        self,
        cache_dir: Where = None,
        config_path: Where = None,
        *,
        clock: Clock | None = None,
        reach: Reach | None = reach_all,
    ) -> None:
        self.survey = survey(cache_dir, config_path)
        self.clock = clock or SystemClock()
        settings = self.survey.settings
        self.network = network_of(settings, load_rules(settings.rules_path), self.clock)
        self.selector = ProviderSelector(settings=settings, make_sender=self.network.sender)
        self._series = SeriesWatch(settings.cache_dir, self.selector, self.clock)
        self._gauge = Gauge(catalog_of(settings.cache_dir, self.selector).holdings, self.clock)
        self._reach = reach
        self._reached: dict[str, ReachResult] = {}
        self._reached_s: float | None = None

    def snapshot(self) -> StatusSnapshot:
        """Return the current state of everything; vendors are contacted at most every five minutes."""
        return StatusSnapshot(
            self.clock.now_ms(),
            tuple(self._vendors()),
            self.series(),
            self._locations(),
            memory(),
            tuple(self.network.vendor_days()),
        )

    def series(self) -> SeriesHealth:
        """Return the freshness of the stored series."""
        return self._series.health()

    def reached(self, urls: Mapping[str, str]) -> Mapping[str, ReachResult]:
        """Return whether each vendor can be reached; the result may be up to five minutes old.

        Args:
            urls: Maps each vendor to its URL.
        """
        now = self.clock.monotonic()
        is_early = self._reached_s is not None and now - self._reached_s < _REACH_EVERY_S
        if self._reach is not None and not is_early:
            self._reached_s = now
            self._reached = self._reach(urls)
        return self._reached

    def _vendors(self) -> Iterator[VendorState]:
        described, paused = describe_vendors(self.selector), self.network.pauses()
        urls = {v["name"]: str(v["base_url"]) for v in described if v["ready"]}
        reached = self.reached({name: url for name, url in urls.items() if url.startswith("http")})
        for vendor in described:
            name = vendor["name"]
            yield VendorState(
                name,
                "" if vendor["ready"] else vendor["why_not"],
                tuple(pause for pause in paused if pause.vendor == name),
                quotas_of(self.selector, name, self.clock.now_ms()),
                reached.get(name),
            )

    def _locations(self) -> Locations:
        settings = self.survey.settings
        return Locations(
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


# --- freshness of the stored series; only active ones are checked

# A series whose latest bar is older than this is no longer active.
REST_DAYS = 30
_MOST_LOOKED_AT = 3000
_MOST_LISTED = 20
_USUAL_SETTLE_MS = 2 * MINUTE_MS


@dataclass(frozen=True)
class StaleSeries:
    """A series with missing bars that should be final by now."""

    key: SeriesKey
    freshness: Freshness

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary; ``age_s`` counts only time when the market was open."""
        freshness = self.freshness
        return {
            "symbol": self.key.symbol,
            "timeframe": "@".join((self.key.timeframe.label, *self.key.lane)),
            "newest": iso(freshness.newest_ms) if freshness.newest_ms is not None else None,
            "due": iso(freshness.due_ms) if freshness.due_ms is not None else None,
            "behind": freshness.behind,
            "age_s": freshness.age_ms // SECOND_MS if freshness.age_ms is not None else None,
        }


@dataclass(frozen=True)
class SeriesHealth:
    """Counts of series by freshness.

    Attributes:
        fresh: Number of series that contain every bar that should be final.
        stale: Number of series that lack at least one of these bars.
        at_rest: Number of series that have not changed for so long that they seem to be inactive.
        unread: Number of series that cannot be read, or were not checked because there are too
            many.
        stalest: Stale series with the most missing bars, the worst first.
    """

    fresh: int = 0
    stale: int = 0
    at_rest: int = 0
    unread: int = 0
    stalest: tuple[StaleSeries, ...] = ()

    @property
    def total(self) -> int:
        """The total number of series."""
        return self.fresh + self.stale + self.at_rest + self.unread

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON-serializable dictionary."""
        counts = {name: getattr(self, name) for name in ("fresh", "stale", "at_rest", "unread")}
        return {"total": self.total, **counts, "stalest": [s.to_json() for s in self.stalest]}


def catalog_of(folder: Path, selector: ProviderSelector) -> Catalog:
    """Return the catalog (the list of stored series) of a cache folder, without changing anything."""
    disk = Disk(root=folder, private=selector.parsed_rules.cache.private)
    return Catalog(folder, BarStore(folder, disk), disk)


class SeriesWatch:
    """Checks the series of one cache folder repeatedly. Use from one thread only.

    A series is read again only if its folder has changed.

    Args:
        root: Cache folder; it need not exist.
        selector: Selector that resolves symbols.
        clock: Source of the current time.
        most: Maximum number of series to check; the most recently changed ones are checked first.
    """

    def __init__(
        self, root: Path, selector: ProviderSelector, clock: Clock, most: int = _MOST_LOOKED_AT
    ) -> None:
        disk = Disk(root=root, private=selector.parsed_rules.cache.private)
        self._store = BarStore(root, disk, clock)
        self._layout = Layout(root)
        self._selector = selector
        self._clock = clock
        self._most = most

    def health(self) -> SeriesHealth:
        """Return the current freshness of the series; unreadable series are only counted."""
        now = self._clock.now_ms()
        changed = sorted(
            ((self._changed_ms(key), str(key), key) for key in self._store.keys()), reverse=True
        )
        followed = [key for at, _, key in changed if at >= now - REST_DAYS * DAY_MS]
        paces: dict[tuple[str, ...], Pace] = {}
        looked_at = [(key, self._freshness(key, now, paces)) for key in followed[: self._most]]
        return _health(looked_at, now, len(changed) - len(followed), len(followed) - len(looked_at))

    def _changed_ms(self, key: SeriesKey) -> int:
        """Return the time of the last write to a series; all bars in it are older."""
        try:
            return self._layout.lane(key).folder.stat().st_mtime_ns // 1_000_000
        except (OSError, DataError):
            return 0

    def _freshness(
        self, key: SeriesKey, now_ms: int, paces: dict[tuple[str, ...], Pace]
    ) -> Freshness | None:
        try:
            view = self._store.tail(key)
            instrument = self._selector.instrument(key.symbol).in_session(key.session)
            anchor = (view.kind.anchor if view.kind else None) or "session"
            settle = _settle_ms(view.coverage)
            name = (instrument.calendar, key.timeframe.label, anchor, str(settle))
            if name not in paces:
                calendar = calendar_for(instrument)
                paces[name] = Pace.at(calendar, key.timeframe, now_ms, settle, anchor)
            return paces[name].of(view.coverage, view.last)
        except DataError:
            return None


def _settle_ms(coverage: Coverage) -> int:
    """Return the time after a bar's close during which the series' latest vendor may still change the bar."""
    last = coverage[-1].vendor.partition(",")[0] if coverage else ""
    vendor = usable_class(last) if last else None
    return vendor.capabilities.settle_ms if vendor else _USUAL_SETTLE_MS


def _health(
    series: Iterable[tuple[SeriesKey, Freshness | None]], now_ms: int, at_rest: int, unread: int
) -> SeriesHealth:
    fresh, stale = 0, []
    for key, freshness in series:
        if freshness is None:
            unread += 1
        elif is_at_rest(freshness.newest_ms, now_ms, REST_DAYS):
            at_rest += 1
        elif freshness.is_stale:
            stale.append(StaleSeries(key, freshness))
        else:
            fresh += 1
    stale.sort(key=lambda lane: (-lane.freshness.behind, str(lane.key)))
    return SeriesHealth(fresh, len(stale), at_rest, unread, tuple(stale[:_MOST_LISTED]))
