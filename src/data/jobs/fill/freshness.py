"""Freshness of the stored series; only active ones are read."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.bars.freshness import Freshness, Pace, is_at_rest
from ...core.cache.layout import Layout
from ...core.cache.store import BarStore
from ...core.calendars.calendar import calendar_for
from ...core.clock import Clock
from ...core.interface import usable_class
from ...core.model.identity.series import SeriesKey
from ...core.model.request.query import BarsQuery
from ...core.model.stored.coverage import Coverage
from ...core.model.time.instant import DAY_MS, MINUTE_MS
from ...core.provider_selector import ProviderSelector
from ...errors import DataError

# A series whose latest bar is older than this is no longer active.
REST_DAYS = 30
_MOST_LOOKED_AT = 3000
_USUAL_SETTLE_MS = 2 * MINUTE_MS


@dataclass(frozen=True)
class SeriesHealth:
    """Counts of series by freshness.

    Attributes:
        fresh: Number of series that contain every bar that should be final.
        at_rest: Number of series that have not changed for so long that they seem to be inactive.
        unread: Number of series that cannot be read, or were not checked because there are too
            many.
        stale: Series that lack at least one bar, with their freshness; most missing bars first.
    """

    fresh: int
    at_rest: int
    unread: int
    stale: tuple[tuple[SeriesKey, Freshness], ...]

    @property
    def total(self) -> int:
        """The total number of series."""
        return self.fresh + len(self.stale) + self.at_rest + self.unread


def series_health(
    store: BarStore, selector: ProviderSelector, clock: Clock, most: int = _MOST_LOOKED_AT
) -> SeriesHealth:
    """Return the freshness of the stored series; unreadable series are only counted.

    Args:
        store: Store of the cache folder, which need not exist.
        selector: Selector that resolves symbols.
        clock: Source of the current time.
        most: Maximum number of series to read; the most recently changed ones are read first.
    """
    now_ms, layout, paces = clock.now_ms(), store.parts.layout, dict[tuple[str, ...], Pace]()
    changed = sorted(
        ((_changed_ms(layout, key), str(key), key) for key in store.keys()), reverse=True
    )
    followed = [key for at, _, key in changed if at >= now_ms - REST_DAYS * DAY_MS]
    fresh, at_rest, unread = 0, len(changed) - len(followed), len(followed[most:])
    stale: list[tuple[SeriesKey, Freshness]] = []
    for key in followed[:most]:
        freshness = _freshness(store, selector, key, now_ms, paces)
        if freshness is None:
            unread += 1
        elif is_at_rest(freshness.last_ms, now_ms, REST_DAYS):
            at_rest += 1
        elif freshness.is_stale:
            stale.append((key, freshness))
        else:
            fresh += 1
    stale.sort(key=lambda pair: (-pair[1].behind, str(pair[0])))
    return SeriesHealth(fresh, at_rest, unread, tuple(stale))


def market_age_ms(query: BarsQuery, anchor: str, newest_ms: int, now_ms: int) -> int | None:
    """Return for how long the market was open between the close of a bar and a later time.

    Args:
        query: Query that the bar answers.
        anchor: Anchor of the bars, as in the ``kind`` of an answer.
        newest_ms: Open time of the bar, in UTC milliseconds.
        now_ms: The later time.
    """
    calendar = calendar_for(query.instrument)
    return Pace(calendar, query.timeframe, anchor, now_ms, None).age_ms(newest_ms)


def _changed_ms(layout: Layout, key: SeriesKey) -> int:
    """Return the time of the last write to a series; all bars in it are older."""
    try:
        return layout.lane(key).folder.stat().st_mtime_ns // 1_000_000
    except (OSError, DataError):
        return 0


def _freshness(
    store: BarStore,
    selector: ProviderSelector,
    key: SeriesKey,
    now_ms: int,
    paces: dict[tuple[str, ...], Pace],
) -> Freshness | None:
    """Return the freshness of one series, or None if it cannot be read; ``paces`` are kept by market."""
    try:
        view = store.tail(key)
        instrument = selector.instrument(key.symbol).in_session(key.session)
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
