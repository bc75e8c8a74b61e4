"""The facade: ``DataManager``, whose methods delegate to the library's services."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from .core.bars.client import Wishes
from .core.calendars.ranges import resolve_days, resolve_instants
from .core.calendars.written_times import Period
from .core.clock import Clock
from .core.guesses import answering_guesses, refuse_attribute
from .core.interface import run_call, seconds_of
from .core.model.display.texts import as_html
from .core.model.request.query import check_switches, distinct_symbols, only_given
from .core.model.time.timeframe import Timeframe
from .core.observability.logs import running, subject_of
from .core.parts import load_part
from .core.provider_selector import ProviderSelector, get_provider_selector
from .core.runtime.once import cached_property
from .core.wiring import MANAGER, build
from .errors import BadRangeError, QueryError
from .errors import ProviderTimeoutError as TimeoutException
from .errors import RateLimitedError as RateLimitException
from .errors import TransientError as NetworkException

if TYPE_CHECKING:
    import pandas as pd

    from .core.model.answer.member_frames import Frames, MemberFrames
    from .core.model.answer.wide import BatchWishes, Layout
    from .core.model.display.picture import Picture
    from .core.model.display.stored_report import BarsReport
    from .core.model.identity.instrument import Instrument
    from .core.model.identity.kind import AskedAdjustment, AskedSession
    from .core.model.identity.listings import Listing
    from .core.model.identity.universe import Universes
    from .core.model.market.quote import LivePrice, Quote, Quotes
    from .core.model.request.explanation import Explanation
    from .core.model.request.plan import Plan
    from .core.model.request.query import ExtraColumn
    from .core.observability.events import Event
    from .core.prices.judgement.findings import Level, QualityReport
    from .features.features import FeatureLayout
    from .features.kept import BlockStore
    from .feed.live_feeds import LiveFeeds
    from .feed.selection import AnyFeed
    from .jobs.progress.by_symbol import Explanations, Plans
    from .jobs.validation.gaps import GapReport

__all__ = [
    "DataManager",
    "NetworkException",
    "ProviderSelector",
    "RateLimitException",
    "TimeoutException",
    "get_data_manager",
    "get_provider_selector",
    "reset_data_manager",
]

_T = TypeVar("_T")
When = datetime | date | timedelta | str | None
# The values given under an argument's long and short name.
_Named = tuple[Any, Any]
# Time for which the levels of an installation's checks are valid, in seconds.
_LEVELS_EVERY_S = 60.0
# Maximum size of the folder in which features are kept with other frames.
_MOST_KEPT_BYTES = 10 << 30


@answering_guesses
class DataManager:
    """Bars, futures data and fundamentals from vendors and the cache, behind one object.

    Examples:
        >>> manager = DataManager("my-cache")
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> len(bars)
        3

    Args:
        cache_dir: Folder of the cache. Default: ``DATA_CACHE_DIR``, else an existing
            ``./data-cache``, else the user's cache folder.
        config_path: Rules file that overrides the packaged one; it must exist.
        clock: Clock to use instead of the system clock, for simulations.

    Attributes:
        cache: The :class:`~.unified_cache.UnifiedCache` for the same folder.
        provider_selector: Selector of the vendors for a symbol; its ``downloaders`` may be replaced
            in tests.
        rate_limiters: Maps each vendor name to its limiter; read-only.
        client: The :class:`~.bars.client.BarsClient` behind this class. Use it in code built on top
            of the manager, for series, coverage, commits and stored columns.

    Thread-safe.

    Raises:
        RulesError: The rules file is invalid; the message lists every error.
        StorageError: The cache folder cannot be used.
    """

    # The levels of checks, and the time at which they were found.
    _levels: tuple[float, dict[str, int]] = (-_LEVELS_EVERY_S, {})

    def __init__(
        self,
        cache_dir: str | Path | None = None,
        config_path: str | Path | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._services = build(cache_dir, config_path, clock=clock)
        self.cache = self._services.cache
        self.provider_selector = self._services.selector
        self.rate_limiters = self._services.rate_limiters
        self.client = self._services.client

    def __repr__(self) -> str:
        return f"<DataManager: cache {self._services.settings.cache_dir}, {self.provider_selector.about}>"

    def _repr_html_(self) -> str:
        rows = [("cache", str(self._services.settings.cache_dir))]
        return as_html("DataManager", [*rows, ("rules", self.provider_selector.about)])

    if not TYPE_CHECKING:  # type checkers report attributes that do not exist

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("_") and not hasattr(type(self), name):
                refuse_attribute(self, name, DataManager)
            # The usual error, or that of a property.
            return object.__getattribute__(self, name)

    def get_ohlcv(
        self,
        symbol: str,
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        strict: bool = False,
        version: int | None = None,
        columns: Sequence[ExtraColumn] = (),
        timeout: float | None = None,
        session: AskedSession = "regular",
    ) -> pd.DataFrame:
        """Return closed bars for ``symbol``, from the cache as far as possible.

        Examples:
            >>> bars = manager.get_ohlcv(
            ...     "AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo"
            ... )
            >>> bars["close"].tolist()
            [411.23, 413.44, 418.03]
            >>> bars.attrs["onetape"]["complete"]
            True

        The index is the naive UTC open time (``timestamp``); daily and longer bars have the session
        date of the venue. Columns: ``open high low close volume`` (float64), and ``adj_close`` if
        known. ``attrs["onetape"]`` contains the vendor and state of every bar, and lists missing
        bars; ``onetape.describe(bars)`` prints it. If no vendor has bars of the requested kind
        (hours, venue, units), all bars are of one other kind, named in ``substitute``.
        ``onetape docs bars`` explains each argument and entry.

        Args:
            symbol: Symbol such as ``AAPL``, ``BRK.B``, ``VOD.L``, ``BTCUSDT``, ``EURUSD=X``.
            timeframe: Timeframe such as ``1m``, ``1h``, ``1d``, ``1w``, ``1M``.
            start, end: Bounds, both inclusive: dates (sessions of the venue), UTC datetimes,
                ``"2024-06"``, ``"-30d"``. Default: until now; the last 500 bars if no start is
                given.
            refresh: Fetch all bars again.
            start_date, end_date, force_refresh: Other names of ``start``, ``end`` and ``refresh``.
            bars: Number of closed bars, counted back from the end.
            period: Length of the range in place of a start: ``"1y"``, ``"ytd"``, ``"max"``.
            provider: Query only this vendor and use only its data.
            adjustment: ``raw``, ``split`` (default) or ``all`` (splits and dividends).
            closed_by: Return only bars that had closed by this time.
            include_forming: Also return the forming bar.
            offline: Use only the cache.
            strict: Raise an error if the answer is incomplete.
            version: Number of a commit; the series is returned as of it.
            columns: Extra columns: ``source``, ``state``, ``is_final``, ``fetched_at``,
                ``dividend``, ``split``, ``capital_gain``.
            timeout: Seconds after which the call returns.
            session: ``regular`` or ``extended`` (04:00 to 20:00 New York time, US shares).

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            NoProviderError: No vendor is configured for the symbol.
            AllProvidersFailedError: No vendor answered and nothing is cached (a ``RuntimeError``).
            UnknownSymbolError: The symbol is unknown at its venue.
            IncompleteDataError: ``strict`` is set and the answer is incomplete (``.frame``).

        Warns:
            IncompleteDataWarning: The answer is incomplete; issued once per call.
            SeriesEndedWarning: The series ended before the range does; once per process.
        """
        if start is not None or end is not None or refresh is not False:
            start_date, end_date, force_refresh = _bounds(
                (start_date, start), (end_date, end), (force_refresh, refresh)
            )
        wishes = Wishes(
            provider=provider,
            adjustment=adjustment,
            include_forming=include_forming,
            offline=offline,
            strict=strict,
            refresh=force_refresh,
            closed_by=closed_by,
            columns=columns,
            version=version,
            timeout=timeout,
            session=session,
        )
        client = self._services.client
        start = start_date if period is None else _start(symbol, start_date, period)
        if not force_refresh:
            return client.get(client.query(symbol, timeframe, start, end_date, bars, wishes))

        def ask(wishes: Wishes) -> pd.DataFrame:
            """Return the bars for the given options."""
            return client.get(client.query(symbol, timeframe, start, end_date, bars, wishes))

        return self._refreshed(ask, [symbol], timeframe, wishes)

    def _refreshed(
        self, ask: Callable[[Wishes], _T], symbols: Iterable[str], timeframe: str, wishes: Wishes
    ) -> _T:
        answer: _T = load_part("jobs.validation.marks").refreshed(
            self._services, ask, symbols, timeframe, wishes
        )
        return answer

    def at(self, moment: When) -> DataManager:
        """Return a manager that answers as of a past time, which nothing in its answers may pass.

        Examples:
            >>> then = manager.at("2012-01-04")
            >>> bars = then.get_ohlcv("AAPL", "1d", start="2012-01-03", provider="demo")
            >>> len(bars)
            2

        Its bars had closed by that time, and their prices are adjusted for the splits and dividends
        whose ex-date had come, and for no later ones. Fundamentals were filed, values of macro
        series published, and members of universes current by then; bounds such as ``"-30d"`` and
        ``period`` count back from it. Methods that cannot answer as of a past time, such as
        :meth:`get_quote`, raise an error; ``onetape docs as-of`` lists the rule of each. Values are
        those known today, including later corrections of bars; ``version=`` returns what was
        stored.

        Args:
            moment: Time (naive means UTC), or a date, which means its end in UTC, and for filings
                and publications the date itself. Not in the future.

        Raises:
            BadRangeError: The value is not a time, or is in the future.
        """
        manager: DataManager = load_part("research.at").ManagerAt(self, moment)
        return manager

    def plot(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        strict: bool = False,
        version: int | None = None,
        timeout: float | None = None,
        session: AskedSession = "regular",
    ) -> Picture:
        """Return a chart of the bars from :meth:`get_ohlcv`, with the same arguments except ``symbol``.

        Examples:
            >>> chart = manager.plot("AAPL", "1d", start="2012-01", end="2012-03", provider="demo")
            >>> page = chart.html()

        One symbol is drawn as bars with volume. Gaps are shaded; splits, dividends and doubtful
        bars are marked; bars that may still change are pale; the vendor of each span is shown below
        the bars. Times are in the venue's time zone, leaving out the hours when the venue is
        closed. Several symbols are drawn as lines of their closes, each of which is set to 100 at
        its first bar in common with another symbol; one that has none is left out, and named. A
        single close far from both its neighbours does not change the scale; it is marked at the
        edge. The chart states how many bars it received, drew, merged and rejected. To
        draw a frame that you already have, use ``onetape.plot``.

        Args:
            symbol: One symbol, as in :meth:`get_ohlcv`, or several symbols.

        Returns:
            The chart: ``.png()``, ``.svg()``, ``.html()``, ``.save(path)``; notebooks display it.
            The chart is drawn when one of these is called. Thread-safe.

        Raises:
            QueryError: An argument is invalid, or the symbols cannot share one chart.
            NoProviderError, AllProvidersFailedError, IncompleteDataError: As for :meth:`get_ohlcv`.
                If several symbols are requested, the chart instead names those that failed.

        Warns:
            IncompleteDataWarning: As for :meth:`get_ohlcv`.
        """
        if start is not None or end is not None or refresh is not False:
            start_date, end_date, force_refresh = _bounds(
                (start_date, start), (end_date, end), (force_refresh, refresh)
            )
        wishes = Wishes(
            provider=provider,
            adjustment=adjustment,
            include_forming=include_forming,
            offline=offline,
            strict=strict,
            refresh=force_refresh,
            closed_by=closed_by,
            version=version,
            timeout=timeout,
            session=session,
        )
        bounds = (
            _start(symbol if isinstance(symbol, str) else "a plot", start_date, period),
            end_date,
            bars,
        )
        charts, client = load_part("show.charts.picture"), self._services.client
        if not isinstance(symbol, str):
            symbols = distinct_symbols(symbol)
            symbol = symbols[0] if len(symbols) == 1 else symbols
        picture: Picture
        if isinstance(symbol, str):
            picture = charts.picture_of(client, client.query(symbol, timeframe, *bounds, wishes))
        else:
            if version is not None:
                raise QueryError("a version needs exactly one symbol", hint="name one symbol")
            frames = client.get_by_symbol(symbol, timeframe, bounds, wishes)
            picture = charts.picture_of_several(client, frames, timeframe, wishes)
        return picture

    @overload
    def get_ohlcv_batch(
        self,
        symbols: Sequence[str] | None = None,
        timeframe: str = "",
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        layout: Literal["dict"] = "dict",
        universe: None = None,
        as_of: When = None,
        **wishes: Unpack[BatchWishes],
    ) -> Frames: ...

    @overload
    def get_ohlcv_batch(
        self,
        symbols: Sequence[str] | None = None,
        timeframe: str = "",
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        layout: Literal["dict"] = "dict",
        universe: str,
        as_of: When = None,
        **wishes: Unpack[BatchWishes],
    ) -> MemberFrames: ...

    @overload
    def get_ohlcv_batch(
        self,
        symbols: Sequence[str] | None = None,
        timeframe: str = "",
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        layout: Literal["wide"],
        universe: str | None = None,
        as_of: When = None,
        **wishes: Unpack[BatchWishes],
    ) -> pd.DataFrame: ...

    def get_ohlcv_batch(
        self,
        symbols: Sequence[str] | None = None,
        timeframe: str = "",
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        strict: bool = False,
        columns: Sequence[ExtraColumn] = (),
        timeout: float | None = None,
        session: AskedSession = "regular",
        progress: Callable[[Any], object] | None = None,
        layout: Layout = "dict",
        universe: str | None = None,
        as_of: When = None,
    ) -> Frames | pd.DataFrame:
        """Return a frame for each of many symbols, or one wide frame; see :meth:`get_ohlcv`.

        Examples:
            >>> frames = manager.get_ohlcv_batch(
            ...     ["AAPL", "MSFT"], "1d", start="2012", end="2012", provider="demo"
            ... )
            >>> {symbol: len(frame) for symbol, frame in frames.items()}
            {'AAPL': 250, 'MSFT': 250}

        ``timeout`` is the limit for all symbols together.

        ``progress`` is called in the calling thread with a ``Progress`` (``result``, ``done`` of
        ``total`` symbols, ``share``, ``left_s``), once before vendors are queried and then after
        each symbol for which vendors were queried. By default, a progress bar is shown in a
        terminal or notebook, and nothing elsewhere.

        With ``layout="wide"``, the result is one frame with the columns (field, symbol) and a row
        for every timestamp that occurs for any symbol. ``wide["close"]`` has a column for each
        symbol: the layout that vectorbt accepts and ``yfinance.download`` returns. If a symbol has
        no bar at a timestamp, its values are NaN; a symbol that failed is NaN throughout.
        ``attrs["onetape"]`` contains ``symbols`` (maps each symbol to the attributes that its own
        frame would have), ``failed`` and ``complete``.

        The answer contains every symbol. A symbol that failed has an empty frame, whose
        ``attrs["onetape"]["error"]`` contains the error (``type``, ``message``, ``reason``,
        ``brief``, ``candidates``) in addition to the entries that every frame has;
        ``describe(frame)`` shows it.

        ``universe``, the name of a universe (a recorded list of symbols), may be given instead of
        ``symbols``. It stands for the universe's members in :attr:`universes` on the session date
        ``as_of``, including delisted ones. If ``as_of`` is None, the universe stands for today's
        members, which do not include companies that have failed since the first bar. The returned
        dict then has the attributes ``members`` (with ``is_pit``, ``known_from`` and ``reason``)
        and ``without_bars`` (maps each member to the sessions in the range for which it has no
        bar); for a wide frame, both are in ``attrs["onetape"]["universe"]``.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.
            UniverseError: The universe does not exist or has no members on that date, or ``strict``
                is set and its members are not point-in-time.
            MissingExtraError: A universe was requested and the ``db`` extra is not installed.
            DatabaseError: A universe was requested and its database cannot be used.

        Warns:
            IncompleteDataWarning: Symbols of a wide frame failed; issued once, naming all of them.
            SurvivorshipWarning: The members are not point-in-time, or they are today's and differ
                from those on the first bar's date, or some have no bars at all.
        """
        if start is not None or end is not None or refresh is not False:
            start_date, end_date, force_refresh = _bounds(
                (start_date, start), (end_date, end), (force_refresh, refresh)
            )
        if layout != "dict":
            from .core.model.answer.wide import check_layout, wide_frame

            check_layout(layout)
        wishes = Wishes(
            provider=provider,
            adjustment=adjustment,
            include_forming=include_forming,
            offline=offline,
            strict=strict,
            refresh=force_refresh,
            closed_by=closed_by,
            columns=columns,
            timeout=timeout,
            session=session,
        )
        bounds = (_start("a batch", start_date, period), end_date, bars)
        from .jobs.progress.bar import listening

        client, members = self._services.client, None
        if symbols is None or universe is not None or as_of is not None:
            from .core.members import check_choice, member_frames, named_members, warn_of_past

            name, now_ms = check_choice(symbols, universe, as_of), self._services.clock.now_ms()
            symbols = members = named_members(self.universes, name, as_of, now_ms, strict=strict)
        with listening(progress) as reporter:
            listener, names = None, symbols
            if reporter is not None:
                from .jobs.progress.events import BatchProgress  # most batches are not watched

                listener = BatchProgress(client, reporter)

            def ask(wishes: Wishes) -> dict[str, pd.DataFrame]:
                """Return the bars for each symbol, for the given options."""
                return client.get_by_symbol(names, timeframe, bounds, wishes, listener)

            if force_refresh:
                frames = self._refreshed(ask, names, timeframe, wishes)
            else:
                frames = client.get_by_symbol(names, timeframe, bounds, wishes, listener)
        from .core.model.answer.member_frames import Frames

        if members is None:
            found = Frames(frames)
        else:
            found = member_frames(client, frames, members, (timeframe, bounds, wishes))
            if as_of is None:
                warn_of_past(self.universes, members, found)
        return wide_frame(found) if layout == "wide" else found

    def features(
        self,
        symbols: Sequence[str] | None,
        timeframe: str,
        start: When = None,
        end: When = None,
        recipes: Sequence[Any] | str | Path = (),
        *,
        closed_by: When = None,
        anchor: str | date | None = None,
        store: Any = False,
        layout: FeatureLayout = "long",
        **options: Any,
    ) -> pd.DataFrame:
        """Return features of many symbols: numbers for each closed bar, from that bar and those before it.

        Examples:
            >>> frame = manager.features(
            ...     ["AAPL"], "1d", "2012-01-03", "2012-01-05", ["sma:2", "ret:1"], provider="demo"
            ... )
            >>> frame["sma:2"].round(3).tolist()
            [408.115, 412.335, 415.735]

        A value is the same to the bit wherever the range begins or ends, because it is computed from a fixed
        block of bars: those from the start of the block that contains ``start``, and the longest lead
        before it, are read as well. ``onetape docs features`` lists the recipes and explains blocks.

        Args:
            symbols, timeframe, start, end, closed_by: As for :meth:`get_ohlcv_batch`.
            recipes: Texts such as ``rsi:14``, ``macd:12,26,9``, ``vwap:session``, ``rsi:14@1h`` (a longer
                timeframe, as of its close) or ``fund:net_income`` (a report, as of its filing day);
                or the path of a YAML file with the key ``recipes``.
            anchor: ``session``, ``listing`` or a date: where anchored recipes begin that name no anchor.
            store: Whether to keep the computed blocks in the folder of cached frames; or a store, such as
                ``onetape.sources.FrameStore``.
            layout: ``long`` (a row for each bar of each symbol) or ``wide`` (columns (recipe, symbol)).
            **options: Other options of :meth:`get_ohlcv_batch`, except ``include_forming`` and ``columns``.
                With ``universe`` and without ``as_of``, the rows are those of each day's members.

        Returns:
            A frame. ``long``: ``symbol`` (categorical), ``timestamp`` (naive UTC, the bar's opening
            time), a float64 column for each output, and ``closed_by`` (naive UTC, when the bar closed
            and the row was known). ``wide``: naive UTC index ``timestamp``. A value that cannot be
            computed is NaN; nothing is filled forward. ``attrs["onetape"]`` contains ``symbols`` (the
            provenance of each symbol's bars), ``failed``, ``lead_missing`` (why values are NaN for want
            of bars before the range), ``reports_missing`` (why reports are), ``reports`` (by symbol: the
            ``vendor`` whose reports are used, ``currencies`` of the values by column,
            ``providers_not_asked`` and ``providers_failed``, with reasons),
            ``not_members`` (number of rows left out because the symbol was not a member, by symbol),
            ``nan`` (rows without a value, by symbol and column) and ``complete``.

        Raises:
            QueryError: An argument or a recipe is invalid; nothing is requested.
            FeatureError: A registered function looks ahead, changes its frame, or returns other rows.
            ForeignError: A registered function raised an error.
            MissingExtraError: ``store`` needs the ``features`` extra.
            IncompleteDataError: ``strict`` is set and the answer is incomplete (``.frame``).

        Warns:
            IncompleteDataWarning: Symbols have no bars, lack bars before the range, or lack reports.
            SurvivorshipWarning: The members of a universe are not point-in-time.
        """
        from .features.features import Request, features

        if store is True:
            store = self._kept_features
        client, members, bounds = self._services.client, None, (start, end)
        if symbols is None and options.get("as_of") is None:
            from .core.members import members_by_day

            now_ms = getattr(self._services, "known_ms", client.clock.now_ms())
            name, strict = options.pop("universe", None), options.get("strict", False)
            days = _start("features", start, options.get("period")), end
            bar = Timeframe.parse(timeframe)
            symbols, members = members_by_day(self.universes, name, now_ms, days, strict, bar)
        request = Request(self, bounds, options | {"closed_by": closed_by}, members, store or None)
        seconds = seconds_of(options.get("timeout"), "features")
        own = (request, symbols, timeframe, recipes, anchor, layout)
        found: pd.DataFrame = run_call(client.clock, seconds, features, *own)
        return found

    def get_quote(
        self,
        symbol: str,
        max_age: float = 5.0,
        *,
        timeout: float | None = None,
        session: AskedSession = "regular",
        provider: str | None = None,
    ) -> Quote:
        """Return the last price of ``symbol``, with its time and state (live, stale and so on).

        Examples:
            >>> quote = manager.get_quote("AAPL")
            >>> price, time, state = quote.price, quote.time, quote.state

        The price comes from one of this manager's running streams if a vendor in the rules streams
        the symbol and its latest price is no older than ``max_age``. Otherwise the vendors used for
        bars are queried for the current minute or, while the market is closed, for the last close.
        A fetched quote is reused for ``max_age`` seconds, unless the market opens or closes in
        between; if several callers request it at the same time, only one of them queries the
        vendors. Quotes are never stored as bars.

        Args:
            symbol: As for :meth:`get_ohlcv`.
            max_age: Seconds for which a fetched quote or a streamed price is reused; from 0
                (always query) to a day.
            timeout: Seconds after which the call stops waiting, as for :meth:`get_ohlcv`.
            session: ``regular`` or ``extended``. With ``extended``, the market for a US share
                counts as open from 04:00 to 20:00 New York time, and the last price is from these
                hours; ``change`` is relative to the close of the previous session.
            provider: Use only prices from this vendor.

        Returns:
            The quote. Its ``state`` is ``live`` or ``forming`` only for a price from this minute;
            it is ``stale`` if the symbol is halted or delisted or its vendors cannot be reached,
            and ``note`` gives the reason.

        Raises:
            QueryError: An argument is invalid, or the symbol is ambiguous (a ``ValueError``).
            NoProviderError: No vendor is configured for the symbol.
            UnknownSymbolError: The symbol is unknown at its venue.
            AllProvidersFailedError, NoDataError: No price is known, and none could be fetched.
        """
        options = max_age, timeout, self._streamed, session, provider
        return self._services.client.get_quote(symbol, *options)

    def get_quotes(
        self,
        symbols: Sequence[str],
        max_age: float = 5.0,
        *,
        timeout: float | None = None,
        session: AskedSession = "regular",
        provider: str | None = None,
    ) -> Quotes:
        """Return a quote for each symbol, keyed as typed; for arguments, see :meth:`get_quote`.

        Examples:
            >>> quotes = manager.get_quotes(["AAPL", "BTCUSDT"])
            >>> price = quotes["BTCUSDT"].price

        A few symbols are requested at a time; ``timeout`` is the limit for all symbols together. A
        symbol that failed is missing from the dict: ``.errors`` contains its error, and looking up
        the symbol raises the error.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.

        Warns:
            IncompleteDataWarning: Some quotes could not be fetched; issued once per call.
        """
        options = max_age, timeout, self._streamed, session, provider
        return self._services.client.get_quotes(symbols, *options)

    def search(
        self, text: str, limit: int = 20, *, offline: bool = False, timeout: float | None = None
    ) -> list[Listing]:
        """Search for symbols by symbol or name, and return the matches, the most likely first.

        Examples:
            >>> manager.search("apple", limit=1, offline=True)[0].symbol
            'AAPL'

        Exact symbols come first, then exact names, symbol prefixes, whole words in names, word
        prefixes and substrings; ties keep the order of the vendor's answer. Vendors that support
        text search are queried in the order of the rules until one of them returns a match; from
        Binance, the list of all its pairs is requested at once. Results are kept in the cache
        folder for a week. Matches that no rule recognizes as a symbol are left out, so that each
        ``symbol`` can be requested as it is. If no vendor is queried or none answers, and no stored
        result matches, a packaged list of the best-known shares and coins is searched.

        Args:
            text: Part of a symbol or name, at most 64 characters, case-insensitive.
            limit: Maximum number of results, from 1 to 1,000.
            offline: Search only stored results; no vendor is queried.
            timeout: Seconds after which the call stops waiting, as for :meth:`get_ohlcv`.

        Returns:
            Listings with symbol, name, venue, type and currency; empty if nothing matches.

        Raises:
            QueryError: An argument is invalid.
            NoProviderError: No vendor that supports search is configured.
            AllProvidersFailedError: No vendor answered, and nothing stored or packaged matches.

        Warns:
            IncompleteDataWarning: Some vendors did not answer.
        """
        check_switches(offline=offline)
        with self._services.observer.call_beside(text, ""):
            return self._services.names.search(text, limit, offline, timeout)

    def _streamed(self, instrument: Instrument) -> LivePrice | None:
        """Return the latest price from a running stream, or None if no stream has a price."""
        feeds: LiveFeeds | None = self.__dict__.get("_feeds")  # unset until a feed is made
        return feeds.live_price(instrument) if feeds is not None else None

    @overload
    def plan(
        self,
        symbol: str,
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        session: AskedSession = "regular",
    ) -> Plan: ...
    @overload
    def plan(
        self, symbol: list[str] | tuple[str, ...], timeframe: str, *args: Any, **wishes: Any
    ) -> Plans: ...
    def plan(
        self,
        symbol: str | list[str] | tuple[str, ...],
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        session: AskedSession = "regular",
        recipes: Sequence[Any] | str | Path = (),
        anchor: str | date | None = None,
        store: bool = False,
    ) -> Plan | Plans:
        """Return a plan of what :meth:`get_ohlcv` would do with these arguments; no vendor is queried.

        Examples:
            >>> plan = manager.plan("BTCUSDT", "1h", start="2024-05-01", end="2024-05-31")
            >>> requests = plan.requests

        The plan lists the stored bars, the bars that would be requested from each vendor, the number of
        requests, their current waiting time due to the vendors' limits, and the bars that no vendor
        could supply. It counts the requests for each gap at the first usable vendor; requests that
        prove the beginning or the end of a series, or repair something, are not counted. Nothing is
        written. Damaged files are not repaired; bars that a repair would recover count as stored. If
        the cache contains everything, no vendor module is loaded. A plan can be printed, and notebooks
        show it as a table; ``to_json()`` returns a JSON-compatible dict. For several symbols, the
        result is a dict of plans by symbol, with the total number of requests in ``requests``.

        Args:
            recipes, anchor, store: As for :meth:`features`, whose plan is returned: for a list of symbols,
                a dict that also has plans for the bars before the range, such as ``AAPL 1d bars before``,
                and for those of longer timeframes. Requests for reports are not counted.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            CacheError: The cache cannot be read.
        """
        if start is not None or end is not None or refresh is not False:
            start_date, end_date, force_refresh = _bounds(
                (start_date, start), (end_date, end), (force_refresh, refresh)
            )
        wishes = Wishes(
            provider=provider,
            adjustment=adjustment,
            include_forming=include_forming,
            offline=offline,
            refresh=force_refresh,
            closed_by=closed_by,
            session=session,
        )
        client = self._services.client
        if recipes or not isinstance(symbol, str):
            from .jobs.progress.by_symbol import Plans

            symbol = [symbol] if isinstance(symbol, str) else symbol
            common: dict[str, Any] = {"provider": provider, "adjustment": adjustment}
            common |= {"closed_by": closed_by, "offline": offline, "session": session}
            more: dict[str, Any] = {"bars": bars, "include_forming": include_forming}
            bounds, plans = (end_date, force_refresh), dict[str, Any]()
            for name in distinct_symbols(symbol):
                start = _start(name, start_date, period)
                plans[name] = self.plan(name, timeframe, start, *bounds, **common, **more)
                if recipes:
                    from .features.features import Request, reads_before

                    request = Request(self, (start, end_date), common | more, store=store)
                    asked = name, timeframe, recipes, anchor
                    for what, other, own in reads_before(request, *asked):
                        plans[f"{name} {what}"] = self.plan(name, other.label, **common | own)
            if not plans:
                start = _start("a batch", start_date, period)
                client.get_by_symbol([], timeframe, (start, end_date, bars), wishes)  # checks them
            return Plans(plans)
        start = _start(symbol, start_date, period)
        with running(subject_of(symbol, timeframe)):
            return client.plan(client.query(symbol, timeframe, start, end_date, bars, wishes))

    @overload
    def explain(
        self,
        symbol: str,
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        *,
        start: When = None,
        end: When = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        session: AskedSession = "regular",
    ) -> Explanation: ...
    @overload
    def explain(
        self, symbol: list[str] | tuple[str, ...], timeframe: str, *args: Any, **wishes: Any
    ) -> Explanations: ...
    def explain(
        self,
        symbol: str | list[str] | tuple[str, ...],
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        *,
        start: When = None,
        end: When = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        session: AskedSession = "regular",
    ) -> Explanation | Explanations:
        """Return an explanation of which vendors are queried for a series, and of its stored bars.

        Examples:
            >>> explanation = manager.explain("AAPL", "1d")
            >>> text = str(explanation)

        The explanation includes each vendor's limits and pauses. If a start is given, the
        explanation also shows which vendors' history is too short for these dates. No vendor is
        queried and nothing is written. The explanation can be printed; ``to_json()`` returns a
        JSON-compatible dict. For several symbols, the result is a dict of explanations by symbol.

        Raises:
            QueryError: The symbol is unknown or ambiguous, or the timeframe is invalid (a
                ``ValueError``).
        """
        if start is not None or end is not None:
            start_date, end_date, _ = _bounds((start_date, start), (end_date, end))
        client = self._services.client
        wishes = Wishes(provider=provider, adjustment=adjustment, session=session)
        if not isinstance(symbol, str):
            from .jobs.progress.by_symbol import Explanations

            explanations = {
                name: self.explain(
                    name,
                    timeframe,
                    start_date,
                    end_date,
                    provider=provider,
                    adjustment=adjustment,
                    session=session,
                )
                for name in distinct_symbols(symbol)
            }
            if not explanations:
                bounds = (start_date, end_date, None)
                client.get_by_symbol([], timeframe, bounds, wishes)  # checks them
            return Explanations(explanations)
        with running(subject_of(symbol, timeframe)):
            query = client.query(symbol, timeframe, start_date, end_date, wishes=wishes)
            explanation = client.explain(query)
        if start_date is not None or end_date is not None:
            explanation = replace(explanation, span=query.span)
        return explanation.with_days(self._services.network.vendor_days())

    def get_actions(
        self,
        symbol: str,
        start: When = None,
        end: When = None,
        *,
        timeout: float | None = None,
        provider: str | None = None,
    ) -> pd.DataFrame:
        """Return a share's splits and dividends, after fetching any that are missing or due.

        Examples:
            >>> actions = manager.get_actions("AAPL", start="2020-01-01")
            >>> splits = actions[actions["type"] == "split"]

        The frame has one row for each action that counts, in ascending order of ex-date; two if a
        fund's dividend is partly a capital gain. Index
        ``ex_date``: session dates of the venue at 00:00 (``datetime64[ns]``). Columns: ``type``
        (``split``, ``dividend``); ``ratio`` (new shares per old share; NaN for a dividend);
        ``amount`` (cash per share in terms of today's shares, which fits prices adjusted for
        splits; NaN for a split); ``paid`` (cash per share in terms of the shares on the ex-date);
        ``currency`` (of both amounts, as reported by the vendor, or else the currency of the
        share's prices; empty for a split, or if neither is known); ``pay_date``
        (``datetime64[ns]``; NaT if no vendor that reports the dividend gives one); ``source`` (the
        trusted vendor); ``dispute`` (the differing reports of other vendors; empty if they agree);
        ``kind`` (``split``, ``dividend`` for income, or ``capital_gain`` for the part of a fund's
        dividend that a vendor reports as such: its ``type`` is ``dividend``, too, so that the sum
        of all rows of that type is what was paid).
        ``attrs["onetape"]``: ``symbol``, ``attempts``, ``complete``, ``gaps`` (ex-dates for which
        no vendor answered), ``awaited`` (ex-dates whose actions will be known once that day's bar
        is available) and ``left_out`` (actions that are reported by too few vendors to count, or that
        their vendor has withdrawn). For crypto, currencies, indices and futures, which have no
        actions, the frame is empty, and no vendor is queried.

        Fetched actions are stored next to the bars, and are due to be fetched again at the market's
        next session. Thread-safe.

        Args:
            symbol: Symbol such as ``AAPL``, ``BRK.B``, ``VOD.L``.
            start, end: Ex-dates, both inclusive; a datetime means its session date at the venue. If
                ``start`` is None, all known actions are returned. If ``end`` is None, actions that
                have been announced but have not taken place yet are included.
            timeout: Seconds after which the call stops waiting, as for :meth:`get_ohlcv`.
            provider: Query only this vendor, and return only what it reports; ``demo`` reports
                dividends and splits of its sample bars.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            NoProviderError: No vendor in the rules serves splits or dividends for this share, and
                none was ever queried.
            AllProvidersFailedError: No vendor answered, and none ever has (a ``RuntimeError``).

        Warns:
            IncompleteDataWarning: No vendor answered for some of the ex-dates; ``gaps`` lists
                them.
        """
        now_ms = self._services.clock.now_ms()
        days = resolve_days(self._services.selector.instrument(symbol), start, end, now_ms)
        return self._services.client.get_actions(symbol, *days, timeout, provider).frame()

    def coverage(self, symbol: str, timeframe: str, provider: str | None = None) -> pd.DataFrame:
        """Return the coverage of a series: its stored spans and their states; no vendor is queried.

        Examples:
            >>> bars = manager.get_ohlcv("AAPL", "1d", bars=20)
            >>> spans = manager.coverage("AAPL", "1d")[["start", "end", "state", "vendor"]]

        The frame has one row for each span, ascending; spans of the lane (the folder for one kind
        of bars) that the rules select come first. Thread-safe. The columns:

        - ``lane``: Empty for the default lane; for others, the difference from it, such as ``raw``,
          or a pinned vendor.
        - ``start``, ``end``: Bounds of the bars' opening times, naive UTC ``datetime64[ns]``,
          half-open; for daily and longer bars, session dates at 00:00.
        - ``state``: ``final``, ``provisional`` (closed, may change), ``suspect`` (stored but
          doubtful) or ``empty`` (requested, but without bars).
        - ``vendor``: Vendor of the bars.
        - ``reason``: Reason why the span is empty or doubtful.
        - ``next_due``: Time (naive UTC) from which fetching again can change the span; NaT if this
          is never possible.

        Ranges between the spans have never been requested. If the series is not stored, the frame
        is empty.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`.
            provider: Vendor; only lanes with an answer from it are listed.

        Raises:
            QueryError: The symbol or the timeframe is invalid (a ``ValueError``).
            CacheError: The cache cannot be read.
        """
        from .core.model.stored.stored import coverage_frame

        client, parsed = self._services.client, Timeframe.parse(timeframe)
        name = self._services.selector.instrument(symbol).symbol
        keys = client.of_vendor(client.lanes(name, parsed), provider)
        return coverage_frame((key, entry) for key in keys for entry in client.coverage(key))

    def validate(
        self,
        symbol: str,
        timeframe: str,
        start: When = None,
        end: When = None,
        *,
        level: Level = "intrinsic",
        lane: str | None = None,
        timeout: float | None = None,
        mark: bool = False,
        provider: str | None = None,
    ) -> QualityReport:
        """Check a series' stored bars, and return a report on the faults found.

        Examples:
            >>> bars = manager.get_ohlcv("AAPL", "1d", bars=20)
            >>> report = manager.validate("AAPL", "1d")
            >>> score = report.score

        ``intrinsic`` uses only the series itself, which is sufficient to detect prices that are off
        by a factor of 100, splits that are missing or partly applied, wrong dividends, unchanging
        prices, spikes, invalid rows and missing bars; no vendor is queried. ``corroborated`` also
        compares the range (by default the last 500 bars) with a second vendor, and
        ``authoritative`` with the exchange itself, as ``onetape verify`` does; these levels send
        requests, which ``requests`` in the report counts. No bars are changed: if the cause of a
        finding is certain, its ``repairs`` lists the steps that would resolve it. A score below
        ``validation.min_quality_score`` in the rules also emits an event (``QualityLow``).
        Thread-safe.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`.
            start, end: As for :meth:`get_ohlcv`; by default, all stored bars are checked.
            level: Sources to compare with: ``intrinsic``, ``corroborated`` or ``authoritative``.
            lane: Lane, as named by :meth:`coverage`. None means the lane that answers under the
                rules or, if that is not stored, the first stored lane.
            timeout: Seconds after which the call stops waiting for vendors; comparisons that are
                not finished by then are listed in ``not_checked``.
            mark: Mark the bars that have ``intrinsic`` findings with a certain cause, in one
                commit. In every later answer, these bars are ``suspect``, with a reason that begins
                with ``grave:``. Marks that are no longer proven are removed. The report counts the
                bars in ``marked`` and ``unmarked``. The whole series is examined.
            provider: Vendor; only lanes with an answer from it are considered.

        Returns:
            The report; ``as_dict()`` returns the values that ``onetape validate --json`` prints.

        Raises:
            QueryError: An argument is invalid.
            CacheError: Nothing is stored for the series, or the cache cannot be read.
        """
        check_switches(mark=mark)
        job = load_part("jobs.validation.validate")
        question = job.ValidateQuestion(symbol, timeframe, start, end, level, lane, mark, provider)
        seconds, services = seconds_of(timeout, symbol), self._services
        query = services.client.query(symbol, timeframe, *question.bounds)
        work = job.validate_with, services, question, query
        report: QualityReport = run_call(services.clock, seconds, *work)
        return report

    def gaps(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: When = None,
        end: When = None,
        provider: str | None = None,
    ) -> GapReport:
        """Return every gap in stored series, with its cause's class, the evidence and the next step.

        Examples:
            >>> report = manager.gaps()
            >>> table = report.to_frame()

        No vendor is queried. ``report.gaps`` lists the gaps, ``report.to_frame()`` returns a frame
        with a row for each, ``report.incidents`` lists the sessions in which a vendor lacks bars
        for most of its symbols, and ``report.series`` gives the counts by series. Thread-safe.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`. Several symbols can be given, such as the
                members of a universe; None means all stored series.
            start, end: As for :meth:`get_ohlcv`; by default, from the first bar ever requested
                until now.
            provider: Vendor; only lanes with an answer from it are reported on.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            CacheError: Nothing is stored for the symbol, or the cache cannot be read. If several
                symbols are given, ``report.absent`` instead names those without stored bars.
        """
        question = symbol, timeframe, start, end, provider
        report: GapReport = load_part("jobs.validation.gaps").gap_report(self._services, *question)
        return report

    def report(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        provider: str | None = None,
    ) -> BarsReport:
        """Return a report on one stored series, or on everything that is stored.

        Examples:
            >>> bars = manager.get_ohlcv("AAPL", "1d", bars=20)
            >>> page = manager.report("AAPL", "1d").html()

        The report on one series contains, for each of its lanes: a chart, coverage by month, gaps
        with their class and evidence, findings, the commit log, the vendors in the rules, and the
        fingerprint of the bars. The report on everything contains the coverage of all series by
        month, their counts, gaps and incidents. No vendor is queried.
        If a part cannot be read, for example because of a damaged file, the report gives the reason
        instead.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`. Pass both, or pass neither to report on
                everything that is stored.
            provider: Vendor; the report then covers only the lanes of the series that have bars
                from it.

        Returns:
            The report, with ``.html()``, ``.to_json()`` and ``.save(path)``; notebooks also display
            it.

        Raises:
            QueryError: An argument is invalid, only one of ``symbol`` and ``timeframe`` is given, or
                only ``provider`` is (a ``ValueError``).
            CacheError: Nothing is stored for the series, or the cache cannot be read.

        Warns:
            IncompleteDataWarning: The bars that the chart shows are incomplete.
        """
        report: BarsReport = load_part("show.reports.report").report_of(
            self, symbol, timeframe, provider
        )
        return report

    def sessions(self, symbol: str, start: When, end: When) -> pd.DataFrame:
        """Return the sessions of a symbol's market, from its calendar; no vendor is queried.

        Examples:
            >>> manager.sessions("AAPL", "2024-07-01", "2024-07-05")["early_close"].tolist()
            [False, False, True, False]

        The frame has one row for each session with trading hours in the range, ascending, including
        future sessions. Index ``session``: session dates at 00:00 (``datetime64[ns]``). Columns:
        ``open``, ``close`` (naive UTC ``datetime64[ns]``, half-open; futures and currencies open on
        the previous evening); ``early_close`` (bool: the session closes earlier than usual);
        ``next_due`` (naive UTC: time from which the session's daily bar no longer changes);
        ``holidays_known`` (bool: False if the calendar has no holidays on record, so that every
        weekday counts as a session). A market that never closes has one session for each UTC day.
        Thread-safe.

        Args:
            symbol: As for :meth:`get_ohlcv`.
            start, end: Bounds, both inclusive; dates and ``YYYY-MM-DD`` strings are whole session
                dates of the venue, datetimes are UTC instants (naive means UTC).

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            ConfigError: This market has no calendar.
        """
        from .core.model.stored.stored import sessions_frame

        instrument = self._services.selector.instrument(symbol)
        span = resolve_instants(instrument, start, end, self._services.clock.now_ms())
        return sessions_frame(self._services.client.sessions(instrument, span))

    def get_funding_rate(
        self,
        symbol: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return a perpetual future's funding rates (``fundingRate``), one row per funding time.

        Examples:
            >>> rates = manager.get_funding_rate("BTCUSDT", start="2024-01-01", end="2024-01-31")
            >>> mean = rates["fundingRate"].mean()

        The frame, like those for open interest and long/short ratios, has an ascending naive UTC
        index (``timestamp``, ns) and float64 columns; spans that have been fetched before come from
        the cache. ``BTCUSDT`` is the future settled in dollars, and ``BTCUSD`` (or ``BTCUSD_PERP``)
        is the future settled in the coin.

        Args:
            symbol: Pair, such as ``BTCUSDT``.
            start, end: Bounds, both inclusive; datetimes are UTC instants (naive means
                UTC), dates and ``YYYY-MM-DD`` strings are whole UTC days. Default: from 29 days ago
                until now.
            refresh: Fetch all rows again, even if they are cached.
            start_date, end_date, force_refresh: Other names of ``start``, ``end`` and ``refresh``.
            timeout: Seconds after which the call stops waiting, as for ``get_ohlcv``.

        Raises:
            QueryError: An argument is invalid, or the symbol is not a crypto pair.
            AllProvidersFailedError: No vendor could supply the rates and nothing is cached.

        Warns:
            IncompleteDataWarning: Part of the range could not be fetched; ``attrs["onetape"]``
                shows which part.
        """
        from .core.model.market.figures import FUNDING, FUNDING_PERIOD

        given = (start_date, start), (end_date, end), (force_refresh, refresh)
        return self._figures(FUNDING, symbol, FUNDING_PERIOD, given, timeout)

    def get_open_interest(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return open interest, in the columns ``sumOpenInterest`` and ``sumOpenInterestValue``.

        Examples:
            >>> interest = manager.get_open_interest("BTCUSDT", "1h", start="-7d")

        The exchange provides only the last 30 days; rows that have been fetched stay in the cache.

        Args:
            symbol, start, end, refresh, timeout: As for :meth:`get_funding_rate`.
            period: Time between two rows: 5m, 15m, 30m, 1h, 2h, 4h, 6h, 12h or 1d.

        Raises:
            QueryError, AllProvidersFailedError: As for :meth:`get_funding_rate`.
        """
        from .core.model.market.figures import OPEN_INTEREST

        given = (start_date, start), (end_date, end), (force_refresh, refresh)
        return self._figures(OPEN_INTEREST, symbol, period, given, timeout)

    def get_long_short_ratio(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        start: When = None,
        end: When = None,
        refresh: bool = False,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return long/short ratios, in the columns ``longShortRatio``, ``longAccount``, ``shortAccount``.

        Examples:
            >>> ratios = manager.get_long_short_ratio("BTCUSDT", "1h", start="-7d")

        Arguments, length of history and errors are the same as for :meth:`get_open_interest`.
        """
        from .core.model.market.figures import LONG_SHORT

        given = (start_date, start), (end_date, end), (force_refresh, refresh)
        return self._figures(LONG_SHORT, symbol, period, given, timeout)

    def _figures(
        self, kind: Any, symbol: str, period: str, given: Iterable[_Named], timeout: float | None
    ) -> pd.DataFrame:
        start, end, refresh = _bounds(*given)
        check_switches(force_refresh=refresh)
        return self._services.figures.get(kind, symbol, period, (start, end), refresh, timeout)

    def announcements(
        self, symbol: str, start: When = None, end: When = None, *, timeout: float | None = None
    ) -> pd.DataFrame:
        """Return a company's announcements of earnings: 8-K filings with item 2.02.

        Examples:
            >>> frame = manager.announcements("AAPL", "2024", "2025")
            >>> accepted, timing = frame["accepted"], frame["timing"]

        They are read from filings with the SEC, which needs a contact address instead of a key
        (``SEC_CONTACT``). The range must be past: dates of future reports are estimates.

        Args:
            symbol: American stock.
            start, end: First and last time of acceptance, both inclusive; a date means the hours of
                its session date in New York. Default: the last 365 days.
            timeout: Seconds after which the call stops waiting, as for ``get_ohlcv``.

        Returns:
            A frame in ascending order. ``accepted`` is naive UTC (datetime64[ns]); ``timing`` is
            ``before``, ``during`` or ``after`` the regular session on the date ``session``, which
            may close early (``early_close``); ``form``, ``items``, ``accession`` and ``url``
            describe the filing. ``accepted_raw`` is the time as the SEC writes it, and
            ``is_certain`` whether its time zone is proven; if not, the later reading is used.

        Raises:
            QueryError: An argument is invalid, the symbol does not mean a stock, or the range is in
                the future.
            MissingCredentialsError: No contact address is set.
            NoDataError: No filing proves that the symbol means the listed company.
            DataError: The SEC refused or failed.

        Warns:
            IncompleteDataWarning: Filings of the range are not proven to be those of the symbol, or
                have no usable time of acceptance; the SEC's answer differs from an earlier one; or the
                SEC is down, and its last answer is used.
        """
        frame: pd.DataFrame = load_part("research.filings.announcements").announcements(
            self._services, symbol, start, end, timeout=timeout
        )
        return frame

    def statement_lines(
        self, symbol: str, *, adjusted: bool = False, timeout: float | None = None
    ) -> pd.DataFrame:
        """Return the lines of a company's reports, each value with the filing that contains it.

        Examples:
            >>> lines = manager.statement_lines("AAPL")
            >>> revenue = lines[(lines["line"] == "revenue") & (lines["period"] == "Q")]

        They are read from filings with the SEC, which needs a contact address instead of a key
        (``SEC_CONTACT``).

        Args:
            symbol: American stock.
            adjusted: Whether values per share and numbers of shares are converted to today's shares,
                by the splits after the date of each filing. Default: as filed.
            timeout: Seconds after which the call stops waiting, as for ``get_ohlcv``.

        Returns:
            A frame with a row for each value, by the time at which it became public. ``line``,
            ``value``, ``unit``; ``period`` (``FY``, ``Q``, or empty for a value at one date) from
            ``start`` to ``end``, both inclusive; ``accession``, ``form``, ``filed``; ``accepted``
            (naive UTC; NaT if only the day is known) and ``accepted_raw``; ``is_certain``, whether that
            time is known and its zone proven; ``tag``, empty for a fourth quarter that is ``derived``;
            ``version``, 0 for the value first filed and 1 for its first restatement. With ``adjusted``,
            ``splits`` names the splits. Dates are datetime64[ns].

        Raises:
            QueryError: An argument is invalid, or the symbol does not mean a stock.
            MissingCredentialsError: No contact address is set.
            NoDataError: The company has no facts, files as a foreign company, or no filing proves that
                the symbol means it.
            DataError: The SEC refused or failed.

        Warns:
            IncompleteDataWarning: Earlier filings are not proven to be those of the symbol; the SEC's
                answer differs from an earlier one; an older part of the list of filings was not read;
                or the SEC is down, and its last answer is used.
        """
        frame: pd.DataFrame = load_part("research.filings.lines").statement_lines(
            self, symbol, adjusted=adjusted, timeout=timeout
        )
        return frame

    def get_series(
        self,
        series: str,
        start: When = None,
        end: When = None,
        as_of: When = None,
        *,
        refresh: bool = False,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return a macro series of FRED, with its values as they were published by a day.

        Examples:
            >>> prices = manager.get_series("CPIAUCSL", start="2023-01-01", as_of="2024-06-01")

        All revisions of a series are fetched once and kept in the cache; afterwards only new
        publications are requested, at most once an hour. A free key is needed (``FRED_API_KEY``).

        Args:
            series: FRED's ID of the series.
            start, end: First and last date of the periods, both inclusive. Default: all periods.
            as_of: Day by which values had to be public, in St. Louis. If an instant is given (naive
                means UTC), the last day that was complete by then, because only the days of
                publications are known. Default: now.
            refresh: Fetch all revisions again.
            timeout: Seconds after which the call stops waiting, as for ``get_ohlcv``.

        Returns:
            A frame in ascending order with the columns ``date`` (first day of the period),
            ``value`` (float64, in FRED's units; NaN if the period was published without a value),
            ``released`` (day on which this value became public) and ``vintage`` (the last day up to
            ``as_of`` on which any value of the series appeared or changed). Days are datetime64[ns]
            without a time zone.

        Raises:
            QueryError: An argument is invalid, or ``as_of`` is in the future.
            NoDataError: Nothing of the series was public by ``as_of``.
            MissingCredentialsError: The key is not set.
            AllProvidersFailedError: FRED did not answer, and nothing is stored.

        Warns:
            IncompleteDataWarning: FRED did not answer; the values are those of its last answer.
        """
        return self._services.macro.get(
            series, start, end, as_of=as_of, refresh=refresh, timeout=timeout
        )

    def get_fundamentals(
        self,
        symbol: str,
        providers: Sequence[str] | None = None,
        force_refresh: bool = False,
        combination_strategy: str = "priority_based",
        data_type: str = "general",
        max_age_days: float | None = None,
        *,
        refresh: bool = False,
        as_of: datetime | date | str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return vendors' fundamentals for a company or coin as one record; {} if no vendor has data.

        Examples:
            >>> record = manager.get_fundamentals("AAPL")
            >>> cap = record.get("market_cap")

        This method raises no error, except if ``refresh`` is given under both its names; if the
        record is empty, a warning gives the reason.
        ``_metadata`` contains the vendor and time of each field, the disagreements between vendors,
        and the vendors that were queried or failed. ``docs/fundamentals.md`` lists the fields with
        their units.

        Args:
            symbol: Symbol such as ``AAPL``, ``BRK.B``, ``BTCUSDT``.
            providers: Query and use only these vendors. If their values differ, earlier vendors in
                this list are trusted over later ones, regardless of the order in the rules.
            refresh: Fetch again even if the cached record is fresh; ``force_refresh`` is the same.
            combination_strategy: ``priority_based``, ``quality_based`` or ``consensus``.
            data_type: ``general``, ``profile``, ``ratios``, ``statements`` or one of their
                aliases.
            max_age_days: Maximum age of cached data in days; by default, the maximum for the data
                type.
            as_of: Return only data that was public by this date or, if an instant is given, by the
                day before it; a report whose time of acceptance is known, before that instant.
            timeout: Seconds after which the call stops waiting for vendors and other callers,
                instead of ``time_budget_seconds`` in the fundamentals file (20).

        Warns:
            IncompleteDataWarning: The record is empty; issued once per call, with the reason.
        """
        from .core.interface import Wish

        if refresh is not False:
            force_refresh = only_given(force_refresh=force_refresh, refresh=refresh)
        wish = Wish(
            providers, force_refresh, combination_strategy, data_type, max_age_days, as_of, timeout
        )
        return self._services.fundamentals.get(symbol, wish)

    def live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed:
        """Return a feed that delivers history first, then each bar as it closes.

        Examples:
            >>> feed = manager.live_feed("BTCUSDT", "1m")  # then: for bar in feed: ...

        The feed starts when it is iterated (with ``for`` or ``async for``) or run by Cerebro.
        ``timeout=`` limits each of its requests for bars; see :func:`~.feed.selection.live_feed`
        for all options.

        Raises:
            QueryError: The symbol, timeframe or timeout is invalid (a ``ValueError``).
            ConfigError: An option is unknown or invalid, or a key or an extra is missing.
            DataError: The history with which the feed would begin is not available.
        """
        selection = load_part("feed.selection")
        feed: AnyFeed = selection.live_feed(self, symbol, timeframe, lookback_bars, **kwargs)
        return feed

    def get_live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed | None:
        """Return the result of :meth:`live_feed`; if that raises an error, warn and return None.

        Examples:
            >>> feed = manager.get_live_feed("BTCUSDT", "1m")
        """
        live_feed_or_none = load_part("feed.selection").live_feed_or_none
        feed: AnyFeed | None = live_feed_or_none(self, symbol, timeframe, lookback_bars, **kwargs)
        return feed

    @cached_property
    def universes(self) -> Universes:
        """The universes in the default database (:func:`get_universes`); others can be assigned."""
        return get_universes()

    @cached_property
    def _kept_features(self) -> BlockStore:
        folder = load_part("research.settings.folder").frames_folder()
        store: BlockStore = load_part("research.sources.frame_store").FrameStore(
            folder, _MOST_KEPT_BYTES
        )
        return store

    @cached_property
    def _feeds(self) -> LiveFeeds:
        feeds: LiveFeeds = load_part("feed.live_feeds").LiveFeeds(self, self._services)
        return feeds

    def _normalize_symbol(self, symbol: Any) -> str:
        """Return a company's symbol in the form ``BRK-B``; empty if the symbol is not a company's.

        This method is kept because older programs call it.
        """
        from .core.fundamentals.request import normalized

        return normalized(symbol)

    def get_cache_stats(self) -> dict[str, Any]:
        """Return cache statistics: ``total_size_gb``, ``files_count``, ``last_updated``.

        Examples:
            >>> manager.get_cache_stats()["files_count"]
            0
        """
        return self.cache.get_stats()

    def metrics(self) -> dict[str, Any]:
        """Return this manager's counters since its creation, as a JSON-compatible dict.

        Examples:
            >>> by_vendor = manager.metrics()["vendors"]

        ``vendors`` (requests, outcomes, seconds, bytes, waits), ``calls``, ``quality``, ``events``,
        ``cache`` (sizes as of the last minute), ``process`` (memory, CPU time), ``checks`` (the level
        of each check of folders, sizes, freshness, memory and paused vendors as of the last minute:
        0 if everything is in order, 1 for a note, 2 for something to fix). The counts are for
        this process; only ``vendor_days`` (the number of sessions in which each vendor lacks bars)
        and ``checks`` cover all processes. With a store that many hosts share, ``hosts`` has this
        host's state and its lag, which are read from the server.
        """
        vendor_days = self._services.network.vendor_days()
        days = Counter(day.vendor for day in vendor_days if day.condition != "pending")
        figures = self._services.observer.snapshot() | {"vendor_days": dict(days)}
        now_s = self._services.clock.monotonic()
        if now_s - self._levels[0] >= _LEVELS_EVERY_S:
            self._levels = now_s, load_part("jobs.doctor.health").worst_levels(self._services)
        figures["checks"] = dict(self._levels[1])
        if hasattr(hosts := self.cache.store.hosts, "shared"):
            from .core.hosts.state import host_metrics

            figures["hosts"] = host_metrics(hosts)
        return figures

    def on_event(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call ``listener`` with each :class:`~.observability.events.Event`: retries, fallbacks and so on.

        Examples:
            >>> remove = manager.on_event(print)
            >>> remove()

        The listener runs in the thread of the call that caused the event, and the call waits for
        it. An exception that the listener raises is logged once and has no other effect. The result
        is a function that removes the listener.
        """
        return self._services.observer.on_event(listener)

    def clear_cache(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        everything: bool = False,
    ) -> None:
        """Delete the cached bars for a symbol, a timeframe, or both, or everything in the cache.

        Examples:
            >>> manager.clear_cache("AAPL", "1d")

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`.
            everything: Whether to delete all bars and tables; no symbol or timeframe is given then.

        Raises:
            QueryError: The symbol or the timeframe is invalid, and nothing is stored under it; or
                there is neither of them nor ``everything``, or both.
        """
        check_switches(everything=everything)
        if bool(everything) == ((symbol, timeframe) != (None, None)):
            stats = self.cache.get_stats()
            how = "takes no symbol or timeframe" if everything else "needs everything=True"
            raise QueryError(
                f"clear_cache {how} to delete all of {self._services.settings.cache_dir} "
                f"({stats['files_count']:,} files, {stats['total_size_gb']:.3g} GB)",
                hint="or name a symbol, a timeframe or both to delete only these bars",
            )
        with running(subject_of(symbol, timeframe)):
            names = [symbol]
            try:
                names += [] if symbol is None else [self.cache.meaning_of(symbol).symbol]
            except QueryError:
                if not self.cache.list_timeframes(str(symbol)):
                    raise
            for name in dict.fromkeys(names):
                self.cache.clear(name, timeframe)


def _bounds(start: _Named, end: _Named, refresh: _Named = (False, False)) -> tuple[Any, Any, Any]:
    """Return the values of the arguments that have a short and a long name, each given as one of them.

    Raises:
        QueryError: An argument is given under both names.
    """
    names = ("start_date", "start"), ("end_date", "end"), ("force_refresh", "refresh")
    given = zip(names, (start, end, refresh), strict=True)
    values = [
        long if short is None or short is False else only_given(**{names[0]: long, names[1]: short})
        for names, (long, short) in given
    ]
    return values[0], values[1], values[2]


def _start(symbol: str, start: When, period: str | timedelta | None) -> Any:
    """Return ``start``, or ``period`` if that is given instead."""
    if period is None:
        return start
    if start is not None:
        raise BadRangeError(
            f"{symbol}: start {start} and period {period} cannot be used together",
            symbol=symbol,
            hint="give start and end, or period and end",
        )
    return Period(period)


def get_data_manager(
    cache_dir: str | Path | None = None, config_path: str | Path | None = None
) -> DataManager:
    """Return this process's only data manager, creating it on the first call. Thread-safe.

    Examples:
        >>> manager = get_data_manager()
        >>> manager is get_data_manager()
        True

    A forked child creates its own manager, with the same folder and rules. If later calls have
    different arguments, these are ignored, with a warning.
    """
    manager: DataManager = MANAGER.get(DataManager, cache_dir, config_path)
    return manager


def get_universes() -> Universes:
    """Return the universes in the default database (``docs/database.md`` explains how to choose it).

    Raises:
        MissingExtraError: The extra ``db`` is not installed.
        DatabaseError: The database cannot be used.
    """
    universes: Universes = load_part("db.universe").open_universes()
    return universes


def existing_data_manager() -> DataManager | None:
    """Return this process's data manager, or None before the first :func:`get_data_manager`."""
    manager: DataManager | None = MANAGER.existing()
    return manager


def current_selector() -> ProviderSelector:
    """Return the selector with the rules of this process's data manager or, without one, the usual rules."""
    manager = existing_data_manager()
    return get_provider_selector() if manager is None else manager.provider_selector


def reset_data_manager() -> None:
    """Forget this process's data manager, so that the next call creates a new one. For tests.

    Examples:
        >>> reset_data_manager()
    """
    MANAGER.forget()
