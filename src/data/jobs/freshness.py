"""How fresh the stored series are: those that somebody follows, looked at one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bars.freshness import Freshness, Pace, is_at_rest
from ..cache.layout import Layout
from ..cache.store import BarStore
from ..calendars.calendar import calendar_for
from ..clock import Clock
from ..disk.files import Disk
from ..errors import DataError
from ..model.coverage import Coverage
from ..model.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso
from ..model.series import SeriesKey
from ..provider_selector import ProviderSelector
from ..vendors.factory import usable_class

# Whose newest bar is older than this: nobody follows it any more.
REST_DAYS = 30
_MOST_LOOKED_AT = 3000
_MOST_TOLD = 20
_USUAL_SETTLE_MS = 2 * MINUTE_MS


@dataclass(frozen=True)
class StaleSeries:
    """A series that lacks bars which should be final by now."""

    key: SeriesKey
    freshness: Freshness

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping; ``age_s`` is time during which the market was open."""
        found = self.freshness
        return {
            "symbol": self.key.symbol,
            "timeframe": "@".join((self.key.timeframe.label, *self.key.lane)),
            "newest": iso(found.newest) if found.newest is not None else None,
            "due": iso(found.due) if found.due is not None else None,
            "behind": found.behind,
            "age_s": found.age_ms // SECOND_MS if found.age_ms is not None else None,
        }


@dataclass(frozen=True)
class SeriesHealth:
    """How many series are how fresh.

    Attributes:
        fresh: hold every bar that should be final.
        stale: lack some.
        at_rest: ended so long ago that nobody seems to follow them.
        unread: there were too many to look at them all, or they could not be read.
        stalest: the first of the stale ones, the most bars behind first.
    """

    fresh: int = 0
    stale: int = 0
    at_rest: int = 0
    unread: int = 0
    stalest: tuple[StaleSeries, ...] = ()

    @property
    def total(self) -> int:
        """How many series there are."""
        return self.fresh + self.stale + self.at_rest + self.unread

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        counts = {name: getattr(self, name) for name in ("fresh", "stale", "at_rest", "unread")}
        return {"total": self.total, **counts, "stalest": [s.to_json() for s in self.stalest]}


class SeriesWatch:
    """Looks at the series of one cache folder, again and again. Used by one thread.

    What was read of a series is read again only where its folder has changed.

    Args:
        root: the cache folder; it need not exist.
        selector: tells what the symbols mean.
        clock: tells the time.
        most: how many series are looked at, those changed last before all others.
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

    def look(self) -> SeriesHealth:
        """Return how fresh they are now; what cannot be read is counted, not raised."""
        now = self._clock.now_ms()
        changed = sorted(
            ((self._changed_ms(key), str(key), key) for key in self._store.keys()), reverse=True
        )
        followed = [key for at, _, key in changed if at >= now - REST_DAYS * DAY_MS]
        paces: dict[tuple[str, ...], Pace] = {}
        found = [(key, self._freshness(key, now, paces)) for key in followed[: self._most]]
        return _summed(found, now, len(changed) - len(followed), len(followed) - len(found))

    def _changed_ms(self, key: SeriesKey) -> int:
        """Return when anything of the series was last written: no bar of it is newer."""
        try:
            return self._layout.lane(key).folder.stat().st_mtime_ns // 1_000_000
        except (OSError, DataError):
            return 0

    def _freshness(
        self, key: SeriesKey, now_ms: int, paces: dict[tuple[str, ...], Pace]
    ) -> Freshness | None:
        try:
            view = self._store.view(key)
            instrument = self._selector.instrument(key.symbol)
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
    """Return after what time the vendor that was asked last does not change its bars any more."""
    last = coverage[-1].vendor.partition(",")[0] if coverage else ""
    known = usable_class(last) if last else None
    return known.capabilities.settle_ms if known else _USUAL_SETTLE_MS


def _summed(
    found: Iterable[tuple[SeriesKey, Freshness | None]], now_ms: int, at_rest: int, unread: int
) -> SeriesHealth:
    fresh, stale = 0, []
    for key, freshness in found:
        if freshness is None:
            unread += 1
        elif is_at_rest(freshness.newest, now_ms, REST_DAYS):
            at_rest += 1
        elif freshness.is_stale:
            stale.append(StaleSeries(key, freshness))
        else:
            fresh += 1
    stale.sort(key=lambda one: (-one.freshness.behind, str(one.key)))
    return SeriesHealth(fresh, len(stale), at_rest, unread, tuple(stale[:_MOST_TOLD]))
