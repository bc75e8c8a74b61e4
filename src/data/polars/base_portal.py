"""The common part of both portals: bar values at a simulation time, for Polars and pandas.

Numbers are float64 until a subclass turns them into Series and frames.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..bars.client import Wishes
from ..calendars.calendar import named_calendar
from ..calendars.ranges import moment_of
from ..call_threads import awaited
from ..data_manager import DataManager
from ..errors import LookaheadError, NoDataAvailableError, QueryError
from ..forks import renew_after_fork
from ..lru_cache import LruCache
from ..model.caller import called_from, warn_user, working_for
from ..model.instant import HOUR_MS, day_ms, iso
from ..model.span import Span
from ..model.suggestion import did_you_mean
from ..model.texts import counted
from ..model.timeframe import Timeframe
from ..observability.reads import reads
from .bar_sources import (
    Assets,
    ForeignBars,
    ManagerBars,
    PortalSource,
    ReaderBars,
    ReadLimits,
    ReadResult,
    others_code,
)
from .panel import FIELDS, Market, Moment, Panel, end_of, group_of, known_until, most_rows, start_of
from .shown import PanelReads, ReadAhead, RunPanels

if TYPE_CHECKING:
    from ..calendars.calendar import MarketCalendar
    from ..model.stored import CommitNotice

S = TypeVar("S")
F = TypeVar("F")

# Maximum memory for all panels of a portal, and for one panel that is read ahead.
MOST_BYTES = 64 << 20
_AHEAD_BYTES = 16 << 20
_AHEAD_ROWS = 16384
_AHEAD_MS = 366 * 24 * HOUR_MS
# Number of earlier rows to read for a caller that moves back: more than a year of daily bars, and
# no more than most vendors send in one page.
_BEHIND_ROWS = 900
# No bar is requested from before this time.
_FIRST_MS = day_ms(date(1900, 1, 2))
# Extra rows to read before the requested ones, in case a bar has not closed, or the vendor's bars
# start at other times of day.
_SPARE_ROWS = 4
# An incomplete answer is read again after this time.
_RETRY_MS = 60_000
# Number of attempts if the calendar is unknown; each one looks further back.
_LOOKS_BACK = 4
# In the east, a session begins up to this long before the UTC day of its date.
_EAST_MS = 14 * HOUR_MS
_NO_ENDS: Mapping[str, int] = MappingProxyType({})
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

    @property
    def is_intraday(self) -> bool:
        """Whether the bars are shorter than a day."""
        return self.timeframe.is_intraday


class VisiblePanel(NamedTuple):
    """A panel and, for each of its groups, the instant up to which the caller may see bars."""

    panel: Panel
    horizons: tuple[int, ...]


class _BuiltPanel(NamedTuple):
    """A panel that was just read.

    ``mark`` is the number of commits to the store before the read; ``is_hit`` is whether the read
    succeeded without querying a vendor or source.
    """

    found: VisiblePanel
    mark: int
    is_hit: bool


class _Terms(NamedTuple):
    """The terms of reading a panel, which are the same for each of its reads.

    Attributes:
        markets: Assets grouped by market.
        horizons: Instant by which bars must have closed to be visible, for each market.
        now: Time of the call.
        ahead_ms: Number of milliseconds after the horizons up to which bars may be read ahead; 0
            means that no bars are read ahead.
        is_back: Whether the caller moves back in time, so that earlier bars are read as well.
    """

    markets: tuple[Market, ...]
    horizons: tuple[int, ...]
    now: int
    ahead_ms: int
    is_back: bool


class _Extent(NamedTuple):
    """The range of bars to read for a panel.

    ``until_ms`` is the instant by which a bar must have closed to be in the panel; for ``ends`` and
    ``is_hit``, see :class:`~.bar_sources.ReadRange`.
    """

    span: Span
    until_ms: int
    ends: Mapping[str, int] = _NO_ENDS
    is_hit: bool = True


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
        data_source: A :class:`~onetape.data.DataManager`, a source from :mod:`onetape.data.sources` (then
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
            :class:`~onetape.data.polars.cache_manager.CacheManager`. If both methods also have the
            arguments ``checksum`` and ``generation``, they get the version of the data as well, and
            ``source`` also identifies the folder or the arguments of the source. Otherwise, the
            version is part of ``source`` (``name@version``), if there is one. It cannot be used
            with a data manager, which has its own store.
        data_catalog: Object with ``find_dataset`` and ``get_dataset_info``, such as a
            :class:`~onetape.data.bundles.DataCatalog`: the checksum of the dataset with the requested
            bars is passed to the cache manager, which then notices that a frame is stale. Any other
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
        self._source = self._source_of(
            (daily, minute), data_source, cache_manager, validator, use_cache=use_cache
        )
        self._panels = _Panels() if use_cache else None
        self._time: date | datetime | None = None
        if current_simulation_time is not None:
            self.set_simulation_time(current_simulation_time)
        if isinstance(self._source, ManagerBars) and self._panels is not None:
            self._panels.drop_on_commits(self._source.client.subscribe, self)
        self._hits = self._misses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create new locks in a forked child."""
        self._guard = threading.Lock()
        self._turns: dict[Any, threading.Lock] = {}
        self._shown: dict[Any, RunPanels] = {}
        if self._panels is not None:
            self._panels.guard = threading.Lock()

    def _source_of(
        self,
        readers: tuple[Any, Any],
        source: Any,
        cache: Any,
        validator: Any,
        *,
        use_cache: bool,
    ) -> PortalSource:
        has_readers = any(reader is not None for reader in readers)
        if source is None and not has_readers:
            raise QueryError(_NOTHING_GIVEN, hint="such as data_source=get_data_manager()")
        if source is not None and has_readers:
            raise QueryError(
                "data_source and readers cannot be used together", hint="give only one of them"
            )
        if cache is not None and not all(callable(getattr(cache, n, None)) for n in ("get", "put")):
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
        catalog = self.data_catalog
        if not all(
            callable(getattr(catalog, n, None)) for n in ("find_dataset", "get_dataset_info")
        ):
            catalog = None
        options = named_calendar(self.calendar), cache, catalog, None, validator
        if not has_readers:
            if not callable(getattr(source, "fetch", None)):
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
        return self._spot(question, self._read(question))

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
        return self._window(question, self._read(question))

    async def async_get_spot_value(
        self, assets: Any, field: str, dt: Any, data_frequency: str
    ) -> S:
        """Run :meth:`get_spot_value` in another thread while the event loop continues.

        If the call is cancelled, it ends immediately; the read continues, and its bars are kept for
        later calls.
        """
        question = self._question(assets, field, dt, (data_frequency, data_frequency), 1)
        return self._spot(question, await self._await(question))

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
        return self._window(question, await self._await(question))

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
    def _series(self, question: PortalQuestion, visible: VisiblePanel) -> S:
        """Return the values of the last visible row as a Series."""

    @abstractmethod
    def _frame(self, question: PortalQuestion, visible: VisiblePanel) -> F:
        """Return the last visible rows as a frame."""

    def _spot(self, question: PortalQuestion, visible: VisiblePanel) -> S:
        self._refuse_without_bars(question, visible)
        return self._series(question, visible)

    def _window(self, question: PortalQuestion, visible: VisiblePanel) -> F:
        self._refuse_without_bars(question, visible)
        return self._frame(question, visible)

    def _refuse_without_bars(self, question: PortalQuestion, visible: VisiblePanel) -> None:
        """Raise an error if no asset has a value in the last rows of its own market.

        Raises:
            NoDataAvailableError: No asset has one.
        """
        if not visible.panel.lacks(question.field, visible.horizons, question.rows):
            return
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

    def _read(self, question: PortalQuestion) -> VisiblePanel:
        """Return a panel that answers the portal call, reading one if none is in memory.

        Raises:
            LookaheadError: The requested time is after the simulation time, or after now.
        """
        visible = self._panel_in_memory(question)
        return self._load_panel(question) if visible is None else visible

    async def _await(self, question: PortalQuestion) -> VisiblePanel:
        """Return a panel as :meth:`_read` does, but do the reading in another thread."""
        visible = self._panel_in_memory(question)
        if visible is not None:
            return visible
        caller = called_from()

        def load() -> VisiblePanel:
            """Read the panel; warnings point to the line of user code that awaits it."""
            with working_for(caller):
                return self._load_panel(question)

        return await awaited(load)

    def _panel_in_memory(self, question: PortalQuestion) -> VisiblePanel | None:
        """Return a panel from memory that answers the portal call, or None."""
        panel = None if self._panels is None else self._panels.get(_key(question))
        if panel is None:
            return None
        now_ms = self._source.now_ms()
        horizons = self._horizons(question, [g.market.calendar for g in panel.groups], now_ms)
        is_due = panel.expires_ms is not None and now_ms >= panel.expires_ms
        is_due = is_due and max(horizons) > panel.complete_until
        if is_due or not panel.covers(horizons, question.rows):
            return None
        with self._guard:
            self._hits += 1
        if panel.shown is not None:
            panel.shown.add(horizons, question.rows)
        return VisiblePanel(panel, horizons)

    def _load_panel(self, question: PortalQuestion) -> VisiblePanel:
        """Read a panel; if another caller is already reading it, wait for that panel instead."""
        key = _key(question)
        with self._guard:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            try:
                return self._panel_in_memory(question) or self._load(question)
            finally:
                with self._guard:
                    self._turns.pop(key, None)

    def _load(self, question: PortalQuestion) -> VisiblePanel:
        """Read a panel for a portal call, and keep it in memory."""
        record = reads.get()
        with self._source.as_one_call():
            if (
                record is not None
                and self._panels is not None
                and isinstance(self._source, ManagerBars)
            ):
                return self._keep_panel(question, self._read_recorded(question, record))
            return self._keep_panel(question, self._build_panel(question, self._ahead_ms(question)))

    def _read_recorded(self, question: PortalQuestion, record: Any) -> _BuiltPanel:
        """Read a panel for a caller whose reads are recorded (see ``lineage``).

        Only the rows that the caller sees are recorded, not those that are read ahead. If the
        answers cannot be cut to the visible rows, nothing is read ahead.
        """
        with self._guard:
            shown_to = self._shown.get(record)
            if shown_to is None:
                self._shown[record] = shown_to = RunPanels(record, partial(self._forget, record))
        key, is_hit = _key(question), True
        if key not in shown_to.uncut:
            ahead = ReadAhead(record)
            token = reads.set(ahead)
            try:
                built = self._build_panel(question, self._ahead_ms(question))
            finally:
                reads.reset(token)
            if ahead.can_be_cut():
                panel = built.found.panel
                panel.shown = PanelReads(ahead, panel, question.timeframe)
                panel.shown.add(built.found.horizons, question.rows)
                panel.shown.hand_over()
                shown_to.add(panel, panel.shown)
                return built
            is_hit = built.is_hit
            shown_to.uncut.add(key)
        built = self._build_panel(question, 0, is_exact=True)
        return built._replace(is_hit=is_hit and built.is_hit)

    def _forget(self, record: Any) -> None:
        """Drop everything that was read for a recorded run that has ended."""
        with self._guard:
            self._shown.pop(record, None)
        if self._panels is not None:
            self._panels.drop_of(record)

    def _keep_panel(self, question: PortalQuestion, built: _BuiltPanel) -> VisiblePanel:
        """Keep a panel that was just read, and count it as a hit or a miss."""
        with self._guard:
            self._hits += built.is_hit
            self._misses += not built.is_hit
        if self._panels is not None:
            self._panels.keep(_key(question), built.found.panel, built.mark)
        return built.found

    def _build_panel(
        self, question: PortalQuestion, ahead_ms: int, *, is_exact: bool = False
    ) -> _BuiltPanel:
        """Read a panel that extends at most ``ahead_ms`` beyond the requested time.

        If the panel has too few rows, earlier bars are read as well, a few times. This can happen
        only if the calendar is unknown or, with ``is_exact``, which reads no row before the
        requested ones, if the bars start at other times than the calendar's.
        """
        terms = self._terms(question, ahead_ms)
        counts = [(question.rows + _SPARE_ROWS) * 4**look for look in range(_LOOKS_BACK)]
        counts, is_hit = [0] * is_exact + counts, True
        for look, rows in enumerate(counts):
            extent = self._extent(question, terms, rows)
            # Commits from now on may change the bars, which are read next.
            mark = 0 if self._panels is None else self._panels.commits
            last = max(terms.horizons)
            read = self._source.read(
                question.assets, question.timeframe, extent.span, extent.ends, last
            )
            is_hit = is_hit and read.is_hit and extent.is_hit
            is_last = look == len(counts) - 1
            panel = _arrange_panel(question, terms, extent, read, is_last=is_last)
            if panel.covers(terms.horizons, question.rows):
                break
        return _BuiltPanel(VisiblePanel(panel, terms.horizons), mark, is_hit=is_hit)

    def _terms(self, question: PortalQuestion, ahead_ms: int) -> _Terms:
        """Return the terms of all reads of a panel.

        If a panel in memory covers the time but begins too late, the caller is moving back in time.

        Raises:
            LookaheadError: The requested time is after the simulation time, or after now.
        """
        now_ms = self._source.now_ms()
        markets = self._source.markets(question.assets, question.timeframe)
        horizons = self._horizons(question, [market.calendar for market in markets], now_ms)
        kept = None if self._panels is None else self._panels.get(_key(question))
        is_back = kept is not None and kept.until_ms >= max(horizons)
        return _Terms(markets, horizons, now_ms, ahead_ms, is_back)

    def _extent(self, question: PortalQuestion, terms: _Terms, rows: int) -> _Extent:
        """Return the range of bars to read for a panel.

        The range contains ``rows`` bars that are visible at the requested time in every market, and
        the bars to read ahead for later requests. With 0 rows, it begins with the first row of the
        answer.
        """
        timeframe, (markets, horizons, now, ahead_ms, is_back) = question.timeframe, terms
        start = min(
            start_of(market, timeframe, horizon, rows)
            if rows
            else start_of(market, timeframe, end_of(market, timeframe, horizon), question.rows)
            for market, horizon in zip(markets, horizons, strict=True)
        )
        until = min(now, max(horizons) + ahead_ms)
        span = Span(start, max(end_of(market, timeframe, until) for market in markets))
        if not ahead_ms:
            return _Extent(span, until)
        behind_ms = min(ahead_ms, _BEHIND_ROWS * timeframe.longest_ms)
        back = min(start, max(_FIRST_MS, start - behind_ms))
        around = ReadLimits(span, max(horizons), until, back, is_back)
        reach = self._source.reach(question.assets, timeframe, around)
        end = max(end_of(market, timeframe, reach.until_ms) for market in markets)
        return _Extent(Span(reach.start, end), reach.until_ms, reach.ends, reach.is_hit)

    def _ahead_ms(self, question: PortalQuestion) -> int:
        """Return the number of milliseconds to read ahead for the caller's next steps in time."""
        if self._panels is None:
            return 0
        rows = min(_AHEAD_ROWS, most_rows(len(question.assets.names), _AHEAD_BYTES))
        return min(_AHEAD_MS, rows * question.timeframe.longest_ms)

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


class _Panels:
    """The panels (tables of bars) that a portal keeps in memory. Thread-safe.

    The least recently used panel is dropped first.

    Attributes:
        commits: Number of commits to the store that have been reported so far.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.commits = 0
        self._panels = LruCache(MOST_BYTES)
        # Number of the latest commit to each series.
        self._changed: dict[tuple[str, str], int] = {}

    def get(self, key: Any) -> Panel | None:
        """Return a panel, and mark it as the most recently used."""
        panel: Panel | None = self._panels.get(key)
        return panel

    def keep(self, key: Any, panel: Panel, mark: int) -> None:
        """Keep a panel, unless one of its series changed after commit number ``mark``.

        A panel that is too large is not kept either.
        """
        with self.guard:
            if any(self._changed.get(s, 0) > mark for s in panel.series):
                self._panels.drop(key)
            else:
                self._panels.put(key, panel, panel.nbytes)

    def drop_of(self, record: Any) -> None:
        """Drop the panels that were read for a recorded run."""
        self._panels.drop_where(lambda key, _: key[-1] is record)

    def note(self, notice: CommitNotice) -> None:
        """Drop the panels that were built from the series that a commit has changed."""
        series = notice.series.symbol, notice.series.timeframe.label
        with self.guard:
            self.commits += 1
            self._changed[series] = self.commits
            self._panels.drop_where(lambda _, panel: series in panel.series)

    def drop_on_commits(
        self,
        subscribe: Callable[[Callable[[CommitNotice], object]], Callable[[], None]],
        owner: Any,
    ) -> None:
        """Subscribe to commits for as long as the owner of the panels exists."""
        here = weakref.ref(self)

        def hear(notice: CommitNotice) -> None:
            """Drop the panels that a commit has made outdated, if this object still exists."""
            panels = here()
            if panels is not None:
                panels.note(notice)

        weakref.finalize(owner, subscribe(hear))


def _arrange_panel(
    question: PortalQuestion, terms: _Terms, extent: _Extent, read: ReadResult, *, is_last: bool
) -> Panel:
    """Arrange bars in rows; ``is_last`` means that no earlier bars will be read after these."""
    timeframe, until = question.timeframe, extent.until_ms
    groups = tuple(
        group_of(market, timeframe, extent.span, [read.bars[n] for n in market.columns], until)
        for market in terms.markets
    )
    return Panel(
        question.assets.names,
        read.series,
        groups,
        min(known_until(group.market, group, timeframe, until) for group in groups),
        None if read.is_complete else terms.now + _RETRY_MS,
        whole_for=question.rows if is_last else 0,
        complete_until=read.complete_until,
    )


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
