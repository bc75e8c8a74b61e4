"""The portal: bar values as a backtest could have known them at a given time, for pandas and Polars.

Numbers are float64 until :class:`PandasDataPortal` or :class:`.PolarsDataPortal` turns them into
Series and frames.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from ...core.bars.client import Wishes
from ...core.calendars.calendar import named_calendar
from ...core.calendars.ranges import moment_of
from ...core.model.display.texts import counted
from ...core.model.time.instant import HOUR_MS, day_ms, iso
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import called_from, warn_user, working_for
from ...core.model.words.suggestion import did_you_mean
from ...core.net.calls.call_threads import awaited
from ...core.observability.reads import reads
from ...core.runtime.forks import renew_after_fork
from ...core.runtime.lru_cache import LruCache
from ...data_manager import DataManager
from ...errors import LookaheadError, NoDataAvailableError, QueryError
from ..frames.panel import (
    FIELDS,
    Moment,
    Panel,
    first_of,
    group_of,
    known_until,
    most_rows,
    start_of,
)
from .portal_reads import PanelReads, RunReads
from .portal_sources import (
    Assets,
    ForeignBars,
    ManagerBars,
    PortalSource,
    ReaderBars,
    Wanted,
    others_code,
)

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.calendars.calendar import MarketCalendar
    from ...core.model.stored.stored import CommitNotice

__all__ = ["BasePortal", "PandasDataPortal", "PortalQuestion"]

S = TypeVar("S")
F = TypeVar("F")
# A panel and, for each of its groups, the instant up to which the caller may see bars.
_Visible = tuple[Panel, tuple[int, ...]]

# Maximum memory for all panels of a portal, and for one panel that is read ahead.
MOST_BYTES = 64 << 20
_AHEAD_BYTES = 16 << 20
# Rows to read ahead, and back for a caller that moves back in time (no more than most vendors send
# in one page); at most a year.
_AHEAD_ROWS, _BEHIND_ROWS = 4096, 900
_AHEAD_MS = 366 * 24 * HOUR_MS
# No bar is requested from before this time.
_FIRST_MS = day_ms(date(1900, 1, 2))
# Extra rows to read before the requested ones.
_SPARE_ROWS = 4
# An incomplete answer is read again after this time.
_RETRY_MS = 60_000
# In the east, a session begins up to this long before the UTC day of its date.
_EAST_MS = 14 * HOUR_MS
_FREQUENCIES = {"daily": "1d", "minute": "1m"}
_NOTHING_GIVEN = "a portal needs a data_source, or a daily_reader or minute_reader"


class PortalQuestion(NamedTuple):
    """The checked arguments of one portal call.

    Attributes:
        assets, timeframe: Assets and timeframe of the bars.
        field: One of :data:`FIELDS`.
        moment: Time of the call; only bars that had closed by then may be visible.
        is_daily: Whether the simulation advances in days.
        rows: Number of rows requested.
    """

    assets: Assets
    timeframe: Timeframe
    field: str
    moment: Moment
    is_daily: bool
    rows: int


class BasePortal(ABC, Generic[S, F]):
    """The values of bars as a backtest could have known them at a given time. Thread-safe.

    A query for a date includes the bars that have closed by the end of its session. A query for an
    instant (naive means UTC) includes only the bars that have closed by then. If ``data_frequency``
    is daily, a naive midnight is a date, because pandas represents dates that way. After
    :meth:`set_simulation_time`, nothing later can be requested, whatever the source.

    Args:
        daily_reader, minute_reader: Readers of a bundle, as used by older programs;
            ``daily_bar_reader`` and ``minute_bar_reader`` are aliases.
        current_simulation_time: Time limit, see :meth:`set_simulation_time`; None means the current
            time.
        data_source: A :class:`~onetape.DataManager`, a source from :mod:`onetape.sources` (then
            only its vendor is queried), or an object with ``async fetch(symbols, start, end,
            frequency)`` that returns a Polars frame with ``timestamp`` (or ``date``), ``symbol``
            and ``open high low close volume``. ``fetch`` receives naive UTC times, both inclusive,
            and a ``frequency`` such as ``1d``.
        use_cache: Whether to keep bars in memory. If False, every call queries the source; a data
            manager then queries its vendors again.
        asset_finder: Object that finds an asset by its number (``retrieve_asset``) or its symbol
            (``lookup_symbol``). It is used if assets are passed in one of these forms and the
            source needs the other.
        calendar: Name of an exchange's calendar, or an object with ``name``, for readers and
            sources. It determines which bars are expected, and when they close. None means that the
            bars from the source determine the rows, and that a daily bar closes at the end of its
            UTC day. ``trading_calendar`` is an alias. With a data manager, each asset has its own
            calendar.
        validator: Object whose ``validate(frame)`` is called with each Polars frame that is read;
            the frame is rejected if the result, or its ``valid``, is false.
        cache_manager: Object with ``get(symbols, start_date, end_date, resolution, source)`` and
            ``put(..., data)``, queried before a source or reader, such as a
            :class:`~onetape.sources.CacheManager`. ``source`` identifies the
            arguments of the source or the folder of the bundle, followed by ``@`` and the version
            of the data, if there is one. It cannot be used with a data manager, which has its own
            store.
        data_catalog: Object with ``find_dataset`` and ``get_dataset_info``, such as a
            :class:`~onetape.bundles.DataCatalog`: the checksum of the dataset with the requested
            bars is part of the version, so a frame of an older dataset is not used. Any other
            object is only kept as an attribute.

    Attributes:
        asset_finder, calendar, data_catalog: See the arguments.

    Raises:
        QueryError: No source or reader is given, more than one source is given, or a source cannot
            be used (a ``ValueError``).

    Warns:
        DeprecationWarning: Readers are given instead of a ``data_source``.
    """

    def __init__(
        self,
        daily_reader: Any = None,
        minute_reader: Any = None,
        current_simulation_time: Any = None,
        data_source: Any = None,
        use_cache: bool = True,
        *,
        asset_finder: Any = None,
        calendar: Any = None,
        validator: Any = None,
        trading_calendar: Any = None,
        daily_bar_reader: Any = None,
        minute_bar_reader: Any = None,
        cache_manager: Any = None,
        data_catalog: Any = None,
    ) -> None:
        daily = _aliased("daily_reader", daily_reader, "daily_bar_reader", daily_bar_reader)
        minute = _aliased("minute_reader", minute_reader, "minute_bar_reader", minute_bar_reader)
        self.calendar = _aliased("calendar", calendar, "trading_calendar", trading_calendar)
        self.asset_finder, self.data_catalog = asset_finder, data_catalog
        given = (daily, minute), data_source, cache_manager, validator
        self._source = self._source_of(*given, use_cache=use_cache)
        self._ahead_bytes = _AHEAD_BYTES if use_cache else 0
        self._panels = LruCache(MOST_BYTES if use_cache else 0)
        self._time: date | datetime | None = None
        if current_simulation_time is not None:
            self.set_simulation_time(current_simulation_time)
        self._hits = self._misses = self._commits = 0
        # Number of the latest commit to each series.
        self._changed: dict[tuple[str, str], int] = {}
        self.after_fork()
        renew_after_fork(self)
        if isinstance(self._source, ManagerBars):
            self._subscribe(self._source.client)

    def after_fork(self) -> None:
        """Create new locks in a forked child."""
        self._guard = threading.Lock()
        self._turns: dict[Any, threading.Lock] = {}
        self._runs: dict[Any, RunReads] = {}

    def _source_of(
        self, readers: tuple[Any, Any], source: Any, cache: Any, validator: Any, *, use_cache: bool
    ) -> PortalSource:
        has_readers = readers != (None, None)
        if source is None and not has_readers:
            raise QueryError(_NOTHING_GIVEN, hint="such as data_source=get_data_manager()")
        if source is not None and has_readers:
            raise QueryError(
                "data_source and readers cannot be used together", hint="give only one of them"
            )
        if cache is not None and not _has_methods(cache, "get", "put"):
            raise QueryError(f"cache_manager has no methods get and put: {cache!r:.80}")
        # Packaged sources are data managers with one vendor pinned.
        is_pinned = hasattr(source, "provider") and not isinstance(source, DataManager)
        manager = getattr(source, "manager", None) if is_pinned else source
        if isinstance(manager, DataManager):
            if cache is not None or self.calendar is not None:
                name = "calendar" if cache is None else "cache_manager"
                raise QueryError(
                    f"a data manager as data_source already has its own {name}",
                    hint="omit the argument",
                )
            wishes = Wishes(refresh=not use_cache)
            if is_pinned:
                adjustment = getattr(source, "adjustment", wishes.adjustment)
                wishes = replace(wishes, provider=source.provider, adjustment=adjustment)
            return ManagerBars(manager.client, wishes, validator)
        is_catalog = _has_methods(self.data_catalog, "find_dataset", "get_dataset_info")
        catalog = self.data_catalog if is_catalog else None
        options = named_calendar(self.calendar), cache, catalog, validator
        if not has_readers:
            if not _has_methods(source, "fetch"):
                raise QueryError(
                    f"data_source is not a data manager and has no fetch method: {source!r:.80}",
                    hint=(
                        "give it a method async fetch(symbols, start, end, frequency) that returns a "
                        "Polars frame"
                    ),
                )
            return ForeignBars(source, *options)
        warn_user(
            "readers are deprecated; use data_source=get_data_manager() instead",
            DeprecationWarning,
        )
        return ReaderBars(*readers, *options)

    # --- the time of the simulation -----------------------------------------------------------

    @property
    def current_simulation_time(self) -> date | datetime | None:
        """The time set by :meth:`set_simulation_time`, or None if the limit is the current time."""
        return self._time

    def set_simulation_time(self, dt: Any) -> None:
        """Forbid requests for bars that close after a given time.

        Args:
            dt: An instant, or a date, which allows bars up to the end of its session.

        Raises:
            QueryError: ``dt`` is not a time.
        """
        moment = _time_of("the simulation time", dt)
        _moment("the simulation time", moment, is_daily=False)
        self._time = moment

    # --- answers --------------------------------------------------------------------------------

    def get_spot_value(self, assets: Any, field: str, dt: Any, data_frequency: str) -> S:
        """Return the value of each asset's last closed bar, in asset order.

        On a day without a session, the last closed bar is the one from the previous session. A
        value is null if the asset has no bar where its calendar expects the last one.

        Args:
            assets: List of symbols, or of objects with ``symbol``.
            field: ``open``, ``high``, ``low``, ``close`` or ``volume``.
            dt: A date or an instant.
            data_frequency: ``daily`` (``1d``), ``minute`` (``1m``), or another timeframe.

        Returns:
            A Series named after the field, which can also be awaited.

        Raises:
            LookaheadError: ``dt`` is after the simulation time.
            NoDataAvailableError: No asset has a value in the last rows of its market that had
                closed by then.
            DataPortalError: The source failed, or returned invalid bars.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: The data manager's answer has gaps; issued only when bars are
                read.
        """
        question = self._question(assets, field, dt, (data_frequency, data_frequency), 1)
        return self._series(question, *self._read(question))

    def get_history_window(
        self,
        assets: Any,
        end_dt: Any,
        bar_count: int,
        frequency: str,
        field: str,
        data_frequency: str,
    ) -> F:
        """Return the last ``bar_count`` closed bars, with one column for each asset.

        There is a row for each bar that the assets' calendars expect, in ascending order. A value
        is null if an asset has no bar, for example before its listing. If no calendar is known,
        there is a row for each stamp in the source, possibly fewer than ``bar_count``.

        Args:
            assets: List of symbols, or of objects with ``symbol``, without duplicates.
            end_dt: A date or an instant.
            bar_count: Number of rows, at least 1.
            frequency: Timeframe of the bars, such as ``1d``, ``1h``, ``1m``.
            field: See :meth:`get_spot_value`.
            data_frequency: Steps in which the simulation advances: ``daily``, ``minute`` or a
                timeframe.

        Returns:
            A frame with ``date`` (for bars of a day or longer) or ``timestamp`` (the bar's opening
            time, UTC), followed by the assets in order. It can also be awaited.

        Raises:
            LookaheadError, NoDataAvailableError, DataPortalError, QueryError: See
                :meth:`get_spot_value`.

        Warns:
            IncompleteDataWarning: The data manager's answer has gaps; issued only when bars are
                read.
        """
        question = self._question(assets, field, end_dt, (frequency, data_frequency), bar_count)
        return self._frame(question, *self._read(question))

    async def async_get_spot_value(
        self, assets: Any, field: str, dt: Any, data_frequency: str
    ) -> S:
        """Run :meth:`get_spot_value` in another thread while the event loop continues.

        If the call is cancelled, it ends immediately; the read continues, and its bars are kept for
        later calls.
        """
        question = self._question(assets, field, dt, (data_frequency, data_frequency), 1)
        return self._series(question, *await self._await(question))

    async def async_get_history_window(
        self,
        assets: Any,
        end_dt: Any,
        bar_count: int,
        frequency: str,
        field: str,
        data_frequency: str,
    ) -> F:
        """Run :meth:`get_history_window` as :meth:`async_get_spot_value` does."""
        question = self._question(assets, field, end_dt, (frequency, data_frequency), bar_count)
        return self._frame(question, *await self._await(question))

    @property
    def cache_hit_rate(self) -> float:
        """Percentage of the calls that were answered without querying a source or vendor.

        The percentage is 0.0 before the first call.
        """
        with self._guard:
            total = self._hits + self._misses
            return 100.0 * self._hits / total if total else 0.0

    # --- output ---------------------------------------------------------------------------------

    @abstractmethod
    def _series(self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]) -> S:
        """Return the values of the last visible row as a Series."""

    @abstractmethod
    def _frame(self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]) -> F:
        """Return the last visible rows as a frame."""

    def _checked(self, question: PortalQuestion, visible: _Visible) -> _Visible:
        """Return a panel, unless no asset has a value in the last rows of its own market.

        Raises:
            NoDataAvailableError: No asset has one.
        """
        panel, horizons = visible
        if not panel.lacks(question.field, horizons, question.rows):
            return visible
        every = question.assets.names
        names = ", ".join(every[:5])
        more = f" and {len(every) - 5} more" if len(every) > 5 else ""
        raise NoDataAvailableError(
            (
                f"no {question.timeframe} bar with a {question.field} for {names}{more} in the last "
                f"{counted(question.rows, 'row')} that had closed by {_spell(question.moment)}"
            ),
            symbol=every[0] if len(every) == 1 else None,
            hint="use more rows, a later time, or assets that have bars by then",
        )

    # --- arguments ------------------------------------------------------------------------------

    def _question(
        self, assets: Any, field: Any, dt: Any, frequencies: tuple[Any, Any], count: Any
    ) -> PortalQuestion:
        if field not in FIELDS:
            raise QueryError(
                f"unknown field {field!r:.80}",
                hint=f"{did_you_mean(str(field), FIELDS)}use one of {', '.join(FIELDS)}",
            )
        timeframe, is_daily = _timeframe(frequencies[0]), not _timeframe(frequencies[1]).is_intraday
        if type(count) is not int or count < 1:
            raise QueryError(f"bar_count must be a positive integer, not {count!r:.80}")
        moment = _moment("dt", _time_of("dt", dt), is_daily=is_daily)
        return PortalQuestion(self._assets(assets), timeframe, field, moment, is_daily, count)

    def _assets(self, assets: Any) -> Assets:
        every = () if isinstance(assets, str) or not isinstance(assets, Iterable) else tuple(assets)
        if not every:
            raise QueryError(
                f"assets must be a list of symbols or of objects with .symbol, not {assets!r:.80}"
            )
        # Most assets are strings, hundreds of them in each call.
        is_plain = set(map(type, every)) == {str} and "" not in every
        names = every if is_plain else tuple([self._name(asset) for asset in every])
        if not isinstance(self._source, ReaderBars):
            return Assets(names)
        return Assets(names, tuple(map(self._number, every)))

    def _name(self, asset: Any) -> str:
        """Return the symbol of an asset, or its number as text if the source is a reader.

        Raises:
            QueryError: The source needs a symbol, and the asset does not have one.
        """
        if isinstance(asset, int | np.integer) and not isinstance(asset, bool):
            if self.asset_finder is not None:
                asset = self._find("retrieve_asset", int(asset))
            elif isinstance(self._source, ReaderBars):
                return str(asset)
        symbol = asset if isinstance(asset, str) else getattr(asset, "symbol", None)
        if not isinstance(symbol, str) or not symbol:
            raise QueryError(
                f"invalid asset {asset!r:.80}; use a string or an object with .symbol",
                hint="a number can be used only with an asset_finder",
            )
        return symbol

    def _number(self, asset: Any) -> int:
        """Return the number (sid) by which readers identify an asset.

        Raises:
            QueryError: The asset has no id number.
        """
        sid = asset if isinstance(asset, int | np.integer) else getattr(asset, "sid", None)
        if sid is None and self.asset_finder is not None:
            asset_found = self._find("lookup_symbol", self._name(asset), as_of_date=None)
            sid = getattr(asset_found, "sid", None)
        if sid is None:
            raise QueryError(
                f"asset {asset!r:.80} has no number (sid), which readers need",
                hint="pass assets with .sid, numbers, or an asset_finder",
            )
        return int(sid)

    def _find(self, method: str, asset: Any, **options: Any) -> Any:
        """Look up an asset in the user's asset finder.

        Raises:
            QueryError: The asset finder does not know the asset.
        """
        with others_code(f"the asset finder does not know {asset!r:.80}", QueryError):
            return getattr(self.asset_finder, method)(asset, **options)

    # --- panels ---------------------------------------------------------------------------------

    def _read(self, question: PortalQuestion) -> _Visible:
        """Return a panel that answers the portal call, reading one if none is in memory.

        Raises:
            LookaheadError: The requested time is after the simulation time, or after now.
            NoDataAvailableError: No asset has a value in the last rows.
        """
        return self._checked(question, self._in_memory(question) or self._load(question))

    async def _await(self, question: PortalQuestion) -> _Visible:
        """Return a panel as :meth:`_read` does, but do the reading in another thread."""
        visible = self._in_memory(question)
        if visible is None:
            caller = called_from()

            def load() -> _Visible:
                """Read the panel; warnings point to the line of user code that awaits it."""
                with working_for(caller):
                    return self._load(question)

            visible = await awaited(load)
        return self._checked(question, visible)

    def _in_memory(self, question: PortalQuestion) -> _Visible | None:
        """Return a panel from memory that answers the portal call, or None."""
        panel: Panel | None = self._panels.get(_key(question))
        if panel is None or self._is_outdated(panel):
            return None
        now_ms = self._source.now_ms()
        horizons = self._horizons(question, [g.market.calendar for g in panel.groups], now_ms)
        is_due = panel.expires_ms is not None and now_ms >= panel.expires_ms
        if is_due or not panel.covers(horizons, question.rows):
            return None
        with self._guard:
            self._hits += 1
        if panel.shown is not None:
            panel.shown.add(horizons, question.rows)
        return panel, horizons

    def _subscribe(self, client: BarsClient) -> None:
        """Note the series of each commit to the store, for as long as this object exists."""
        here = weakref.ref(self)

        def hear(notice: CommitNotice) -> None:
            """Note a commit, after which panels of its series are outdated."""
            portal = here()
            if portal is not None:
                with portal._guard:
                    portal._commits += 1
                    series = notice.series.symbol, notice.series.timeframe.label
                    portal._changed[series] = portal._commits

        weakref.finalize(self, client.subscribe(hear))

    def _is_outdated(self, panel: Panel) -> bool:
        """Return whether a commit has changed one of the panel's series since it was read."""
        return panel.mark < self._commits and any(
            self._changed.get(series, 0) > panel.mark for series in panel.series
        )

    def _load(self, question: PortalQuestion) -> _Visible:
        """Read a panel; if another caller is already reading it, wait for that panel instead."""
        key = _key(question)
        with self._guard:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            try:
                visible = self._in_memory(question)
                if visible is None:
                    with self._source.as_one_call():
                        visible = self._keep(key, *self._read_panel(question))
                return visible
            finally:
                with self._guard:
                    self._turns.pop(key, None)

    def _read_panel(self, question: PortalQuestion) -> tuple[Panel, tuple[int, ...], bool]:
        """Read a panel for a portal call; return whether it was read without querying a source.

        For a caller whose reads are recorded (see ``lineage``), only the rows that the caller sees
        are recorded, not those that are read ahead. If the answers cannot be cut to the visible
        rows, nothing is read ahead.
        """
        record, key = reads.get(), _key(question)
        rows = min(_AHEAD_ROWS, most_rows(len(question.assets.names), self._ahead_bytes))
        ahead_ms = min(_AHEAD_MS, rows * question.timeframe.longest_ms)
        if record is None or not ahead_ms or not isinstance(self._source, ManagerBars):
            return self._build(question, ahead_ms)
        with self._guard:
            if record not in self._runs:
                self._runs[record] = RunReads(record, partial(self._forget, record))
            run = self._runs[record]
        was_hit = True
        if key not in run.uncut:
            shown = PanelReads(record)
            token = reads.set(shown)
            try:
                panel, horizons, was_hit = self._build(question, ahead_ms)
            finally:
                reads.reset(token)
            if shown.can_be_cut():
                run.add(panel, shown)
                shown.add(horizons, question.rows)
                shown.hand_over()
                return panel, horizons, was_hit
            run.uncut.add(key)
        panel, horizons, is_hit = self._build(question, 0, with_spare=False)
        return panel, horizons, is_hit and was_hit

    def _forget(self, record: Any) -> None:
        """Drop everything that was read for a recorded run that has ended."""
        with self._guard:
            self._runs.pop(record, None)
        self._panels.drop_where(lambda key, _: key[-1] is record)

    def _keep(self, key: Any, panel: Panel, horizons: tuple[int, ...], is_hit: bool) -> _Visible:
        """Keep a panel that was just read, and count it as a hit or a miss.

        Panels with other bars of an asset than this one, such as bars before a split that another
        process has stored, are dropped: all values have one price scale.
        """
        with self._guard:
            self._hits += is_hit
            self._misses += not is_hit
        self._panels.put(key, panel, panel.nbytes)
        self._panels.drop_where(
            lambda _, kept: any(kept.scales.get(n, s) != s for n, s in panel.scales.items())
        )
        return panel, horizons

    def _build(
        self, question: PortalQuestion, ahead_ms: int, *, with_spare: bool = True
    ) -> tuple[Panel, tuple[int, ...], bool]:
        """Read a panel that extends at most ``ahead_ms`` beyond the requested time.

        Without spare rows, it begins with the first row of the answer; if the bars start at other
        times than the calendar's, it is read again with some.

        Raises:
            LookaheadError: The requested time is after the simulation time, or after now.
        """
        timeframe, now_ms = question.timeframe, self._source.now_ms()
        markets = self._source.markets(question.assets, timeframe)
        horizons = self._horizons(question, [market.calendar for market in markets], now_ms)
        # Extra rows in case a bar has not closed, or the bars start at other times of day.
        starts = [
            start_of(market, timeframe, horizon, question.rows + _SPARE_ROWS)
            if with_spare
            else first_of(market, timeframe, horizon, question.rows)
            for market, horizon in zip(markets, horizons, strict=True)
        ]
        last_ms, is_hit = max(horizons), True
        until_ms = min(now_ms, last_ms + ahead_ms)
        wanted = Wanted(question.assets, timeframe, markets, tuple(starts), last_ms, until_ms)
        if ahead_ms:
            kept: Panel | None = self._panels.get(_key(question))
            # If a panel in memory covers the time but begins too late, the caller moves back.
            is_back = kept is not None and kept.until_ms >= last_ms
            behind_ms = min(ahead_ms, _BEHIND_ROWS * timeframe.longest_ms)
            if timeframe.is_intraday and not is_back:  # takes many requests
                behind_ms = 0
            backs = [min(start, max(_FIRST_MS, start - behind_ms)) for start in starts]
            wanted, is_hit = self._source.reach(wanted, backs, is_back=is_back)
        # Commits from now on may change the bars, which are read next.
        mark = self._commits
        read = self._source.read(wanted)
        groups = tuple(
            group_of(
                market, timeframe, span, [read.bars[n] for n in market.columns], wanted.until_ms
            )
            for market, span in wanted.spans()
        )
        panel = Panel(
            question.assets.names,
            timeframe,
            read.series,
            groups,
            min(known_until(group, timeframe, wanted.until_ms) for group in groups),
            None if read.is_complete else now_ms + _RETRY_MS,
            read.scales,
            mark,
        )
        closed = (g.closed_by(h) for g, h in zip(groups, horizons, strict=True))
        if not with_spare and min(closed) < question.rows:
            return self._build(question, ahead_ms)
        return panel, horizons, is_hit and read.is_hit

    def _horizons(
        self, question: PortalQuestion, calendars: Sequence[MarketCalendar], now: int
    ) -> tuple[int, ...]:
        """Return the instant by which bars must have closed to be visible, for each market.

        Raises:
            LookaheadError: The requested time is after the simulation time, or after now.
        """
        moment, time = question.moment, self._time
        if moment.ms - (0 if moment.day is None else _EAST_MS) > now:
            raise LookaheadError(f"{_spell(moment)} is in the future: now is {iso(now)}")
        if time is None:
            return tuple([min(now, moment.horizon(calendar)) for calendar in calendars])
        limit = _moment("the simulation time", time, is_daily=question.is_daily)
        horizons = []
        for calendar in calendars:
            horizon, known = moment.horizon(calendar), limit.horizon(calendar)
            # If the limit is a date, no bar of that date closes after its session has ended.
            if horizon > known and (limit.day is None or horizon > max(known, limit.last_ms)):
                raise LookaheadError(
                    (
                        f"{_spell(moment)} is after the simulation time {_spell(limit)}: the answer "
                        f"could contain {calendar.name} bars that had not closed by then"
                    ),
                    hint="set_simulation_time moves the simulation time",
                )
            horizons.append(min(horizon, known, now))
        return tuple(horizons)


def _key(question: PortalQuestion) -> Any:
    """Return the key for a panel; a recorded run (see ``lineage``) has its own panels."""
    return question.assets, question.timeframe, reads.get()


def _aliased(name: str, value: Any, other: str, alias: Any) -> Any:
    """Return the value of an argument that may be passed under either of two names.

    Raises:
        QueryError: Values were passed under both names.
    """
    if value is not None and alias is not None:
        raise QueryError(
            f"{name} and {other} are two names for one argument", hint="give only one of them"
        )
    return alias if value is None else value


def _has_methods(value: Any, *names: str) -> bool:
    return all(callable(getattr(value, name, None)) for name in names)


@lru_cache(64)
def _parse_frequency(frequency: str) -> Timeframe:
    return Timeframe.parse(_FREQUENCIES.get(frequency, frequency))


def _timeframe(frequency: Any) -> Timeframe:
    """Convert a frequency to a timeframe.

    Raises:
        BadTimeframeError: The frequency is not a timeframe.
    """
    return _parse_frequency(frequency) if isinstance(frequency, str) else Timeframe.parse(frequency)


def _time_of(name: str, value: Any) -> date | datetime:
    """Convert a time to a date or a datetime.

    Raises:
        QueryError: The value is not a time.
    """
    moment = moment_of(value)
    if moment is None:
        raise QueryError(
            f"{name} is not a time: {value!r:.80}",
            hint="use a date, a datetime, a pandas Timestamp, or an ISO string such as 2024-01-12",
        )
    return moment


def _moment(name: str, value: date | datetime, *, is_daily: bool) -> Moment:
    """Convert a date or a time to a :class:`.Moment`.

    Raises:
        QueryError: The time zone is invalid, or the year is out of range.
    """
    try:
        moment = Moment.of(value, is_daily=is_daily)
    except (ValueError, OverflowError) as error:
        raise QueryError(f"{name} is not a time: {value!s:.80} ({error})") from error
    if not 1900 <= value.year < 2262:
        raise QueryError(f"{name} is outside the years 1900 to 2261: {value!s:.80}")
    return moment


def _spell(moment: Moment) -> str:
    return iso(moment.ms) if moment.day is None else moment.day.isoformat()


class _Series(pd.Series):
    """A Series that can also be awaited; awaiting it returns the Series itself."""

    def __await__(self) -> Generator[Any, None, pd.Series[Any]]:
        return same_value(self).__await__()


class _Frame(pd.DataFrame):
    """A frame that can also be awaited; awaiting it returns the frame itself."""

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        return same_value(self).__await__()


async def same_value(value: Any) -> Any:
    """Return a value, when it is awaited."""
    return value


class PandasDataPortal(BasePortal[_Series, _Frame]):
    """The values of bars as a backtest could have known them at a given time, in pandas.

    Values are float64; a missing value is NaN. A Series has the assets as its index; a frame has a
    naive UTC index (``date`` or ``timestamp``, ns) and a column for each asset.
    """

    __doc__ = f"{__doc__}\n\n{BasePortal.__doc__}"

    def _series(self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]) -> _Series:
        row = panel.row(question.field, horizons)
        return _Series(row, index=list(panel.names), name=question.field)

    def _frame(self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]) -> _Frame:
        stamps, values = panel.window(question.field, horizons, question.rows)
        name = "timestamp" if question.timeframe.is_intraday else "date"
        index = pd.DatetimeIndex(stamps.astype("M8[ms]"), name=name).as_unit("ns")
        return _Frame(values.copy(), index=index, columns=list(panel.names))
