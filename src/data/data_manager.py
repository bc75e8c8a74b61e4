"""The facade: ``DataManager``, whose methods only delegate to the services behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from .bars.client import Wishes
from .clock import Clock
from .errors import BadRangeError, QueryError
from .errors import ProviderTimeoutError as TimeoutException
from .errors import RateLimitedError as RateLimitException
from .errors import TransientError as NetworkException
from .observability.logs import running, subject_of
from .provider_selector import ProviderSelector, get_provider_selector
from .removed import load_part
from .wiring import MANAGER, build

if TYPE_CHECKING:
    import pandas as pd

    from .feed.live_feeds import LiveFeeds
    from .feed.selection import AnyFeed
    from .jobs.gaps import GapReport
    from .model.explanation import Explanation
    from .model.instrument import Instrument
    from .model.kind import AskedAdjustment, AskedSession
    from .model.listings import Listing
    from .model.picture import Picture
    from .model.plan import Plan
    from .model.query import ExtraColumn
    from .model.quote import LivePrice, Quote, Quotes
    from .model.stored_report import BarsReport
    from .model.universe import Universes
    from .model.wide import BatchWishes, Layout
    from .observability.events import Event
    from .prices.judgement.findings import Level, QualityReport
    from .progress.by_symbol import Explanations, Plans

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


class DataManager:
    """Bars, futures data and fundamentals from vendors and the cache, behind one object.

    Args:
        cache_dir: Folder of the cache. Default: ``DATA_CACHE_DIR``, else an existing
            ``./data-cache``, else the user's cache folder.
        config_path: Rules file that overrides the packaged one; it must exist.
        clock: Clock to use instead of the system clock, for simulations.

    Attributes:
        cache: The :class:`~.cache.unified_cache.UnifiedCache` on the same folder.
        provider_selector: Chooses the vendors for a symbol; its ``downloaders`` may be replaced in
            tests.
        rate_limiters: Maps each vendor name to its limiter; read-only.
        client: The :class:`~.bars.client.BarsClient` behind this class. Code built on top of the
            manager gets series, coverage, commits and stored columns from it.

    Thread-safe.

    Raises:
        RulesError: The rules file is invalid; all its errors are listed.
        StorageError: The cache folder cannot be used.
    """

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
        from .model.texts import as_html

        places = [("cache", str(self._services.settings.cache_dir))]
        return as_html("DataManager", [*places, ("rules", self.provider_selector.about)])

    def get_ohlcv(
        self,
        symbol: str,
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
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
        """Return closed bars for ``symbol``, from the cache if they are there.

        The frame's index is the naive UTC open time (``timestamp``, ns); daily and longer bars are
        stamped 00:00 of the venue's session date. Columns: ``open high low close volume``
        (float64), then ``adj_close`` if known. ``df.attrs["onetape"]`` has the vendor and state of
        every bar, and lists missing bars. ``final`` bars do not change; ``provisional`` ones have
        closed and may still change; ``suspect`` ones are doubtful and will be fetched again.
        ``rejected`` names each vendor in the rules that was not queried, with the reason; it is
        empty for an answer that comes only from the cache. ``empty`` is the reason if there are no
        bars at all. The caller owns the frame.

        If no vendor has bars of the requested kind, one other kind answers for the whole range.
        The same happens if bars are missing, all vendors that serve them are down and another kind
        is complete, no matter how much of the range is cached. ``substitute`` names that kind;
        ``strict`` rejects it. An ``offline`` call, or one with a ``provider``, never switches to
        another kind if part of the range is cached.

        Args:
            symbol: Symbol such as ``BTCUSDT``, ``AAPL``, ``BRK.B``, ``VOD.L``, ``EURUSD=X``,
                ``^VIX``.
            timeframe: Timeframe such as ``1m``, ``1h``, ``1d``, ``1w``, ``1M``.
            start_date, end_date: Datetimes are UTC instants (naive means UTC), both inclusive on
                the open stamp; dates and ``YYYY-MM-DD`` strings are whole session dates of the
                venue. ``"2024"`` and ``"2024-06"`` mean their first date as a start and their last
                as an end. ``"now"``, ``"-12h"``, ``"-90m"`` and timedeltas (that long ago) are
                instants; ``"today"``, ``"yesterday"``, ``"-30d"``, ``"-2w"``, ``"-6mo"`` and
                ``"-1y"`` are dates at the venue. Without an end: now. With only a symbol and a
                timeframe: the last 500 bars.
            force_refresh: Fetch everything again.
            bars: Number of closed bars to return, counted back from the end.
            period: Length of the range before the end, instead of a start (``"1y"``, ``"6mo"``,
                ``"30d"``, ``"12h"``, a timedelta), or ``"ytd"`` or ``"max"`` (1900); both ends
                inclusive.
            provider: Query only this vendor and use only the data it supplied. The symbol
                ``BINANCE:BTCUSDT`` is the same as ``BTCUSDT`` with ``provider="binance"``.
            adjustment: ``raw``, ``split`` (default) or ``all`` (dividends too).
            closed_by: Return only bars that had closed by this instant, or by the end of this
                session date, and so could be known then. It is also the end if there is no other.
                A bar that was forming then is left out, even though it has closed since. Values
                and adjustment are those known today; only ``raw`` prices are free of later splits.
            include_forming: Add the bar that has not closed yet; it is never stored.
            offline: Use only the cache.
            strict: Raise instead of returning an incomplete answer.
            version: Number of a commit in ``onetape cache log``: return the series as it was right
                after this commit, adjusted with the actions known today. No vendor is queried.
            columns: Extra columns for each bar, in this order: ``source`` (its vendor), ``state``
                (``final``, ``provisional``, ``suspect``, ``forming``), ``is_final``,
                ``fetched_at`` (naive UTC: when the span around it was last fetched). For shares
                also ``dividend`` (cash per share with an ex-date in that bar, in terms of the
                shares its prices refer to; several are added up) and ``split`` (new shares per old
                share). Both are float64, 0.0 if there is none, and NaN if no vendor could be
                queried; in that case the answer is not ``complete``.
            timeout: Seconds after which the call stops waiting for vendors, limits and other
                callers and returns what is cached by then. None means 30 s without a page from any
                vendor. Reading the cache is not interrupted.
            session: ``extended``: minute or hourly bars from 04:00 to 20:00 New York time (to
                17:00 on half days) for US shares, from vendors that have them. They are a series
                of their own (``1m@extended``), with the gaps of these hours, and are never mixed
                with those of the ``regular`` session (default), for which the extended hours of a
                vendor that always sends them are cut off. Overnight sessions (20:00 to 04:00) are
                not served.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            NoProviderError: No vendor is configured for the symbol (a ``ValueError`` and
                ``RuntimeError``).
            AllProvidersFailedError: Bars were missing, no vendor could supply them and nothing is
                cached (a ``RuntimeError``).
            UnknownSymbolError: As above, because the symbol is unknown at its venue. The message
                names the instruments that other venues list under the same ticker; they are not
                served unless they are proven to be the same.
            IncompleteDataError: ``strict`` is set, and the answer has gaps, fewer bars than
                ``bars``, flagged rows, or is of another kind; ``.frame`` has the bars that were
                available.

        Warns:
            IncompleteDataWarning: The same without ``strict``; once per call.
        """
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, columns, version, timeout, session=session)
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
        answer: _T = load_part("quality.marks").refreshed(
            self._services, ask, symbols, timeframe, wishes
        )
        return answer

    def plot(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
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
        """Return a chart of the :meth:`get_ohlcv` answer; arguments as there, except ``symbol``.

        One symbol is drawn as bars with volume. Gaps are shaded; splits, dividends and doubtful
        bars are marked; bars that may still change are pale; the vendor of each span is shown
        below. Times are in the venue's time zone, without the hours in which it is closed. Several
        symbols are drawn as lines of their close prices, set to 100 at their first common bar. The
        chart states how many bars it received, drew, merged and rejected. To draw a frame that you
        already have, use ``onetape.plot``.

        Args:
            symbol: One symbol as for :meth:`get_ohlcv`, or several.

        Returns:
            The chart: ``.png()``, ``.svg()``, ``.html()``, ``.save(path)``; a notebook shows it.
            It is drawn when one of these is called. Thread-safe.

        Raises:
            QueryError: An argument is invalid, or the symbols cannot share one chart.
            NoProviderError, AllProvidersFailedError, IncompleteDataError: As for
                :meth:`get_ohlcv`. If there are several symbols, one that failed is named on the
                chart instead.

        Warns:
            IncompleteDataWarning: As for :meth:`get_ohlcv`.
        """
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, (), version, timeout, session=session)
        bounds = (
            _start(symbol if isinstance(symbol, str) else "a plot", start_date, period),
            end_date,
            bars,
        )
        charts, client = load_part("charts.picture"), self._services.client
        if not isinstance(symbol, str) and len(symbol) == 1:
            symbol = symbol[0]
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
        **wishes: Unpack[BatchWishes],
    ) -> dict[str, pd.DataFrame]: ...

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
    ) -> dict[str, pd.DataFrame] | pd.DataFrame:
        """Return a frame for each of many symbols, or one wide frame; see :meth:`get_ohlcv`.

        ``timeout`` applies to all symbols together.

        ``progress`` is called in the calling thread with a ``Progress`` (``result``, ``done`` of
        ``total`` symbols, ``share``, ``left_s``), once before vendors are queried and then for
        each symbol they answered. By default it is a progress bar in a terminal or notebook, and
        nothing elsewhere.

        ``layout="wide"``: One frame with the columns (field, symbol) and a row for every timestamp
        that occurs in any symbol. ``wide["close"]`` has a column for each symbol, the layout that
        vectorbt takes and ``yfinance.download`` returns. A symbol without a bar has NaN; one that
        failed is NaN throughout. ``attrs["onetape"]`` has ``symbols`` (maps each symbol to the
        attributes its own frame would have), ``failed`` and ``complete``.

        Every symbol is in the answer. One that failed has an empty frame, and its error is in
        ``attrs["onetape"]["error"]`` (``type``, ``message``, ``reason``, ``brief``,
        ``candidates``) next to the entries that every frame has; ``describe(frame)`` shows it.

        ``universe`` may be given instead of ``symbols``. It stands for the members of this universe
        in :attr:`universes` on the session date ``as_of``, including delisted ones; without
        ``as_of``, for today's members, which leave out companies that have failed since the first
        bar. The dict then has the attributes ``members`` (with ``is_pit``, ``known_from``,
        ``unresolved``, ``reason``) and ``without_bars`` (maps each member to the sessions in the
        range for which it has no bar); for a wide frame both are in
        ``attrs["onetape"]["universe"]``.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.
            UniverseError: There is no such universe, it has no members on that date, or ``strict``
                is set and its members are not point-in-time.
            MissingExtraError: A universe was requested and the extra ``db`` is not installed.
            DatabaseError: A universe was requested and its database cannot be used.

        Warns:
            IncompleteDataWarning: Symbols of a wide frame failed; issued once, naming all of them.
            SurvivorshipWarning: The members are not point-in-time, or they are today's and differ
                from those on the first bar's date, or some have no bars at all.
        """
        if layout != "dict":
            from .model.wide import check_layout, wide_frame

            check_layout(layout)
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, columns, timeout=timeout, session=session)
        bounds = (_start("a batch", start_date, period), end_date, bars)
        from .progress.bar import listening
        from .progress.events import BatchProgress

        client, members = self._services.client, None
        if symbols is None or universe is not None or as_of is not None:
            from .members import check_choice, member_frames, named_members, warn_of_past

            name, now_ms = check_choice(symbols, universe, as_of), self._services.clock.now_ms()
            symbols = members = named_members(self.universes, name, as_of, now_ms, strict=strict)
        with listening(progress) as reporter:
            listener, names = None if reporter is None else BatchProgress(client, reporter), symbols

            def ask(wishes: Wishes) -> dict[str, pd.DataFrame]:
                """Return the bars for each symbol."""
                return client.get_by_symbol(names, timeframe, bounds, wishes, listener)

            if force_refresh:
                frames = self._refreshed(ask, names, timeframe, wishes)
            else:
                frames = client.get_by_symbol(names, timeframe, bounds, wishes, listener)
        if members is not None:
            frames = member_frames(client, frames, members, (timeframe, bounds, wishes))
            if as_of is None:
                warn_of_past(self.universes, members, frames)
        if layout == "wide":
            return wide_frame(frames)
        from .model.member_frames import Frames

        return frames if members is not None else Frames(frames)

    def get_quote(
        self,
        symbol: str,
        max_age: float = 5.0,
        *,
        timeout: float | None = None,
        session: AskedSession = "regular",
    ) -> Quote:
        """Return the last price of ``symbol``, with its time and its state (live, stale and so on).

        The price comes from one of this manager's running streams if a vendor in the rules streams
        the symbol and its latest price is no older than ``max_age``. Otherwise the vendors used
        for bars are queried for the current minute or, while the market is closed, for the last
        close. A fetched quote is reused for ``max_age`` seconds, as long as the market neither
        opens nor closes; of several simultaneous callers, one queries the vendors. Quotes are
        never stored as bars.

        Args:
            symbol: As for :meth:`get_ohlcv`.
            max_age: Seconds for which a fetched quote or a streamed price is reused; from 0
                (always query) to a day.
            timeout: Seconds after which the call stops waiting, as for :meth:`get_ohlcv`.
            session: ``extended``: the market for a US share counts as open from 04:00 to 20:00 New
                York time, and its last price is from these hours; ``change`` is relative to the
                close of the previous session.

        Returns:
            The quote. Its ``state`` is ``live`` or ``forming`` only for a price from this minute;
            it is ``stale`` for a symbol that is halted, delisted or out of reach, and ``note``
            says why.

        Raises:
            QueryError: An argument is invalid, or the symbol is ambiguous (a ``ValueError``).
            NoProviderError: No vendor is configured for the symbol.
            UnknownSymbolError: The symbol is unknown at its venue.
            AllProvidersFailedError, NoDataError: No price is known, and none could be fetched.
        """
        return self._services.client.get_quote(symbol, max_age, timeout, self._streamed, session)

    def get_quotes(
        self,
        symbols: Sequence[str],
        max_age: float = 5.0,
        *,
        timeout: float | None = None,
        session: AskedSession = "regular",
    ) -> Quotes:
        """Return a quote for each symbol, keyed as it was typed; arguments as :meth:`get_quote`.

        A few symbols are requested at a time; ``timeout`` applies to all of them together. A
        symbol that failed is not in the dict: its error is in ``.errors``, and looking the symbol
        up raises it.

        Raises:
            QueryError: An argument that applies to all symbols is invalid.

        Warns:
            IncompleteDataWarning: Some quotes could not be fetched; once per call.
        """
        return self._services.client.get_quotes(symbols, max_age, timeout, self._streamed, session)

    def search(
        self, text: str, limit: int = 20, *, offline: bool = False, timeout: float | None = None
    ) -> list[Listing]:
        """Return the symbols whose symbol or name matches ``text``, the most likely first.

        Exact symbols come first, then exact names, symbol prefixes, whole words in names, word
        prefixes and substrings; ties keep the order of the vendor's answer. Vendors that support
        text search are queried in the order of the rules until one lists something; Binance is
        queried for all its pairs at once. Results are kept for a week in the cache folder. Results
        that no rule recognizes as a symbol are left out, so each ``symbol`` can be requested as it
        is. If no vendor is queried or none answers, and nothing stored matches, a packaged list of
        the best-known shares and coins is searched.

        Args:
            text: Part of a symbol or name, at most 64 characters; case does not matter.
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
        with self._services.observer.call_beside(text, ""):
            return self._services.names.search(text, limit, offline, timeout)

    def _streamed(self, instrument: Instrument) -> LivePrice | None:
        """Return the latest price of a running stream, or None if there is none."""
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
        bars: int | None = None,
        period: str | timedelta | None = None,
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        closed_by: When = None,
        include_forming: bool = False,
        offline: bool = False,
        session: AskedSession = "regular",
    ) -> Plan | Plans:
        """Return what :meth:`get_ohlcv` would do with these arguments; no vendor is queried.

        The plan lists the stored bars, the bars that would be requested from each vendor, the
        number of requests and how long they would currently wait for the vendors' limits, and the
        bars that no vendor could supply. Nothing is written. Damage is not repaired: bars that a
        repair would save count as stored. If the cache has everything, no vendor module is loaded.
        A plan prints well, in notebooks too; ``to_json()`` returns plain values. For several
        symbols, the result is a dict of plans by symbol, with the total in ``requests``.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            CacheError: The cache cannot be read.
        """
        if not isinstance(symbol, str):
            from .progress.by_symbol import Plans

            bounds = (start_date, end_date, force_refresh)
            names = dict.fromkeys(symbol)
            return Plans({
                name: self.plan(
                    name, timeframe, *bounds, bars=bars, period=period, provider=provider,
                    adjustment=adjustment, closed_by=closed_by, include_forming=include_forming,
                    offline=offline, session=session,
                )
                for name in names
            })  # fmt: skip
        options = (provider, adjustment, include_forming, offline, False, force_refresh, closed_by)
        wishes = Wishes(*options, session=session)
        client, start = self._services.client, _start(symbol, start_date, period)
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
        provider: str | None = None,
        adjustment: AskedAdjustment = "split",
        session: AskedSession = "regular",
    ) -> Explanation | Explanations:
        """Return an explanation of which vendors are queried for a series, and of its stored bars.

        The explanation includes each vendor's limits and pauses. With a start, it also shows the
        vendors whose history is too short for these dates. No vendor is queried and nothing is
        written. The explanation prints well; ``to_json()`` returns plain values. For several
        symbols, the result is a dict of explanations by symbol.

        Raises:
            QueryError: The symbol is unknown or ambiguous, or the timeframe is invalid (a
                ``ValueError``).
        """
        if not isinstance(symbol, str):
            from .progress.by_symbol import Explanations

            names = dict.fromkeys(symbol)
            return Explanations({
                name: self.explain(
                    name, timeframe, start_date, end_date,
                    provider=provider, adjustment=adjustment, session=session,
                )
                for name in names
            })  # fmt: skip
        client = self._services.client
        wishes = Wishes(provider, adjustment, session=session)
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
    ) -> pd.DataFrame:
        """Return splits and dividends of a share, fetching those that are missing or due.

        One row for each action that counts, in ascending order of ex-date. Index ``ex_date``:
        session dates of the venue at 00:00 (``datetime64[ns]``). Columns: ``type`` (``split``,
        ``dividend``); ``ratio`` (new shares per old share; NaN for a dividend); ``amount`` (cash
        per share in terms of today's shares, which fits prices adjusted for splits; NaN for a
        split); ``paid`` (cash per share in terms of the shares on the ex-date); ``currency`` (of
        both: the one the vendor reports, else that of the share's prices; empty if neither is
        known, and for a split); ``pay_date`` (``datetime64[ns]``; NaT if no vendor that reports
        the dividend gives one); ``source`` (the trusted vendor); ``dispute`` (the differing
        reports of other vendors; empty if they agree). ``attrs["onetape"]``: ``symbol``,
        ``attempts``, ``complete``, ``gaps`` (ex-dates that no vendor could answer for),
        ``awaited`` (ex-dates that come with the bar for their day) and ``left_out`` (actions
        reported by too few vendors to count). Crypto, currencies, indices and futures have none:
        the frame is empty, and no vendor is queried.

        Fetched actions are stored next to the bars; they are due again with the market's next
        session. Thread-safe.

        Args:
            symbol: Symbol such as ``AAPL``, ``BRK.B``, ``VOD.L``.
            start, end: Ex-dates, both inclusive; a datetime means its session date at the venue.
                Without a start: as far back as there are any. Without an end: up to and including
                those already announced.
            timeout: Seconds after which the call stops waiting, as for :meth:`get_ohlcv`.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            NoProviderError: No vendor in the rules serves splits or dividends for this share, and
                none was ever queried.
            AllProvidersFailedError: No vendor answered, and none ever has (a ``RuntimeError``).

        Warns:
            IncompleteDataWarning: No vendor answered for some of the ex-dates; ``gaps`` lists
                them.
        """
        from .calendars.ranges import resolve_days

        now_ms = self._services.clock.now_ms()
        days = resolve_days(self._services.selector.instrument(symbol), start, end, now_ms)
        return self._services.client.get_actions(symbol, *days, timeout).frame()

    def coverage(self, symbol: str, timeframe: str) -> pd.DataFrame:
        """Return the coverage of a series: its stored spans and their state; queries no vendor.

        One row for each span, ascending; the lane that answers under the rules comes first.
        Columns: ``lane`` (empty for the default one; otherwise the difference from it, such as
        ``raw``, or a pinned vendor); ``start``, ``end`` (bounds of open stamps, naive UTC
        ``datetime64[ns]``, half-open; for daily and longer bars session dates at 00:00); ``state``
        (``final``; ``provisional``: closed, may change; ``suspect``: stored but doubtful;
        ``empty``: requested, but without bars); ``vendor``; ``reason`` (why the span is empty or
        doubtful); ``next_due`` (naive UTC: time from which fetching again can change the span; NaT:
        never). The ranges between the spans were never requested; if the series is not stored, the
        frame is empty. Thread-safe.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`.

        Raises:
            QueryError: The symbol or the timeframe is invalid (a ``ValueError``).
            CacheError: The cache cannot be read.
        """
        from .model.stored import coverage_frame
        from .model.timeframe import Timeframe

        client, step = self._services.client, Timeframe.parse(timeframe)
        keys = client.lanes(self._services.selector.instrument(symbol).symbol, step)
        return coverage_frame((key, part) for key in keys for part in client.coverage(key))

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
    ) -> QualityReport:
        """Check the stored bars of a series, and return a report of their faults.

        ``intrinsic`` uses only the series itself, which can prove x100 units, splits that are
        missing or applied in part, wrong dividends, stale runs, spikes, rows that are not bars,
        and missing bars; no vendor is queried. ``corroborated`` also compares the range (by
        default the last 500 bars) with a second vendor, and ``authoritative`` with the exchange
        itself, as ``onetape verify`` does; these take requests, counted in ``requests`` of the
        report. No bars are changed: a finding whose cause is certain has ``repairs``, the steps
        that would resolve it. A score below ``validation.min_quality_score`` in the rules also
        emits an event (``QualityLow``). Thread-safe.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`.
            start, end: As for :meth:`get_ohlcv`; by default everything that is stored.
            level: Sources to compare with: ``intrinsic``, ``corroborated`` or ``authoritative``.
            lane: Lane as named by :meth:`coverage`. None means the one that answers under the rules, or
                else the first that is stored.
            timeout: Seconds after which the call stops waiting for vendors; comparisons that were
                not finished by then are listed in ``not_checked``.
            mark: Mark the bars with ``intrinsic`` findings whose cause is certain, as one commit.
                In every later answer these bars are ``suspect``, with a reason that begins with
                ``grave:``. Marks that are no longer proven are removed. ``marked`` and ``unmarked``
                in the report count the bars. The whole series is examined.

        Returns:
            The report; ``as_dict()`` returns the values that ``onetape validate --json`` prints.

        Raises:
            QueryError: An argument is invalid, or nothing is stored for the series.
            CacheError: The cache cannot be read.
        """
        from .net.deadline import run_call, seconds_of

        job = load_part("jobs.validate")
        question = job.ValidateQuestion(symbol, timeframe, start, end, level, lane, mark)
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
    ) -> GapReport:
        """Return every gap in stored series, with its class (its cause), evidence and next step.

        No vendor is queried. ``report.gaps`` has the gaps, ``report.to_frame()`` a row for each,
        ``report.incidents`` the sessions that a vendor lacks for most of its symbols, and
        ``report.series`` the counts by series. Thread-safe.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`; several symbols, such as the members of a
                universe; None means everything that is stored.
            start, end: As for :meth:`get_ohlcv`; by default from the first bar ever requested
                until now.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            CacheError: Nothing is stored for it, or the cache cannot be read. If there are several
                symbols, ``report.absent`` names those without stored data.
        """
        gaps = load_part("jobs.gaps").gap_report(self._services, symbol, timeframe, start, end)
        report: GapReport = gaps
        return report

    def report(self, symbol: str | None = None, timeframe: str | None = None) -> BarsReport:
        """Return a report of the known facts about one stored series, or about all of them.

        For one series, in each of its lanes: chart, coverage by month, gaps with their class and
        evidence, findings, confirmations by second vendors, commit log, vendors in the rules, and
        the fingerprint of its bars. For everything: coverage of all series by month, their counts,
        gaps and incidents. No vendor is queried. If a part cannot be read, for example because of a
        damaged file, the report has the reason instead.

        Args:
            symbol, timeframe: As for :meth:`get_ohlcv`. Pass both, or pass neither to report on
                everything that is stored.

        Returns:
            The report: ``.html()``, ``.to_json()``, ``.save(path)``; it also prints well in
            notebooks.

        Raises:
            QueryError: An argument is invalid, or only one of the two is given (a ``ValueError``).
            CacheError: Nothing is stored for the series, or the cache cannot be read.

        Warns:
            IncompleteDataWarning: The bars drawn for the series are incomplete.
        """
        report: BarsReport = load_part("charts.report").report_of(self, symbol, timeframe)
        return report

    def sessions(self, symbol: str, start: When, end: When) -> pd.DataFrame:
        """Return the sessions of a symbol's market, from its calendar; no vendor is queried.

        One row for each session that trades at any time in the range, ascending, including future
        ones. Index ``session``: session dates at 00:00 (``datetime64[ns]``). Columns: ``open``,
        ``close`` (naive UTC ``datetime64[ns]``, half-open; futures and currencies open the evening
        before); ``early_close`` (bool: closes before the usual hour); ``next_due`` (naive UTC: time
        from which the session's daily bar no longer changes); ``holidays_known`` (bool: False if no
        holidays are on record and every weekday counts). A market that never closes has one session
        for each UTC day. Thread-safe.

        Args:
            symbol: As for :meth:`get_ohlcv`.
            start, end: Both inclusive; dates and ``YYYY-MM-DD`` strings are whole session dates of
                the venue, datetimes are UTC instants (naive means UTC).

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            ConfigError: There is no calendar for this market.
        """
        from .calendars.ranges import resolve_instants
        from .model.stored import sessions_frame

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
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return a perpetual future's funding rates (``fundingRate``), one row per funding time.

        The frame, like those for open interest and long/short ratios, has a naive UTC index
        (``timestamp``, ns) and float64 columns, ascending; spans that were fetched once come from
        the cache. ``BTCUSDT`` is the future settled in dollars, ``BTCUSD`` (or ``BTCUSD_PERP``)
        the one settled in the coin.

        Args:
            symbol: Pair, such as ``BTCUSDT``.
            start_date, end_date: Both inclusive; datetimes are UTC instants (naive means UTC),
                dates and ``YYYY-MM-DD`` strings are whole UTC days. Default: from 29 days ago
                until now.
            force_refresh: Fetch everything again.
            timeout: Seconds after which the call stops waiting, as for ``get_ohlcv``.

        Raises:
            QueryError: An argument is invalid, or the symbol is not a crypto pair.
            AllProvidersFailedError: No vendor could supply the rates and nothing is cached.

        Warns:
            IncompleteDataWarning: Part of the range could not be fetched; ``attrs["onetape"]``
                says which.
        """
        from .model.figures import FUNDING, FUNDING_PERIOD

        bounds = (start_date, end_date)
        return self._services.figures.get(
            FUNDING, symbol, FUNDING_PERIOD, bounds, force_refresh, timeout
        )

    def get_open_interest(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return open interest: columns ``sumOpenInterest``, ``sumOpenInterestValue``.

        The exchange keeps the last 30 days; fetched rows stay in the cache.

        Args:
            symbol, start_date, end_date, force_refresh, timeout: As for :meth:`get_funding_rate`.
            period: Time between two rows: 5m 15m 30m 1h 2h 4h 6h 12h 1d.

        Raises:
            QueryError, AllProvidersFailedError: As for :meth:`get_funding_rate`.
        """
        from .model.figures import OPEN_INTEREST

        bounds = (start_date, end_date)
        return self._services.figures.get(
            OPEN_INTEREST, symbol, period, bounds, force_refresh, timeout
        )

    def get_long_short_ratio(
        self,
        symbol: str,
        period: str,
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        timeout: float | None = None,
    ) -> pd.DataFrame:
        """Return long/short ratios: ``longShortRatio``, ``longAccount``, ``shortAccount``.

        Arguments, depth and errors are as for :meth:`get_open_interest`.
        """
        from .model.figures import LONG_SHORT

        bounds = (start_date, end_date)
        return self._services.figures.get(
            LONG_SHORT, symbol, period, bounds, force_refresh, timeout
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
        as_of: datetime | date | str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return vendors' data on a company or coin as one record; {} if no vendor has any.

        It never raises; if the record is empty, a warning has the reason. ``_metadata`` has the
        vendor and time of each field, the disagreements between vendors, and the vendors that were
        queried or failed. ``docs/fundamentals.md`` lists the fields with their units.

        Args:
            symbol: Symbol such as ``AAPL``, ``BRK.B``, ``BTCUSDT``.
            providers: Query and use only these vendors. If their values differ, an earlier vendor
                is trusted over a later one, whatever the order in the rules.
            force_refresh: Fetch again even if the cached record is fresh.
            combination_strategy: ``priority_based``, ``quality_based`` or ``consensus``.
            data_type: ``general``, ``profile``, ``ratios``, ``statements`` or one of their
                aliases.
            max_age_days: Maximum age of cached data; by default the one for its type.
            as_of: Return only data that was public by this date or, for an instant, by the day
                before.
            timeout: Seconds after which the call stops waiting for vendors and other callers,
                instead of ``time_budget_seconds`` in the fundamentals file (20).

        Warns:
            IncompleteDataWarning: The record is empty; once per call, with the reason.
        """
        from .fundamentals.request import Wish

        wish = Wish(
            providers, force_refresh, combination_strategy, data_type, max_age_days, as_of, timeout
        )
        return self._services.fundamentals.get(symbol, wish)

    def live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed:
        """Return a feed that delivers history first, then each bar as it closes.

        Iterating, awaiting or ``cerebro.adddata`` starts the feed. ``timeout=`` limits each of its
        requests for bars; see :func:`~.feed.selection.live_feed` for all options.

        Raises:
            QueryError: The symbol, timeframe or timeout is invalid (a ``ValueError``).
            ConfigError: An option is unknown or invalid, or a key or an extra is missing.
            DataError: There is no history to begin with.
        """
        selection = load_part("feed.selection")
        feed: AnyFeed = selection.live_feed(self, symbol, timeframe, lookback_bars, **kwargs)
        return feed

    def get_live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed | None:
        """Return :meth:`live_feed`; if that raises, warn with the reason and return None."""
        live_feed_or_none = load_part("feed.selection").live_feed_or_none
        feed: AnyFeed | None = live_feed_or_none(self, symbol, timeframe, lookback_bars, **kwargs)
        return feed

    @cached_property
    def universes(self) -> Universes:
        """The universes of the default database (:func:`get_universes`); assignable."""
        return get_universes()

    @cached_property
    def _feeds(self) -> LiveFeeds:
        feeds: LiveFeeds = load_part("feed.live_feeds").LiveFeeds(self, self._services)
        return feeds

    def _normalize_symbol(self, symbol: Any) -> str:
        """Return the symbol of a company in the form ``BRK-B``; empty if it is not a company's.

        Kept because older programs call it.
        """
        from .fundamentals.request import normalized

        return normalized(symbol)

    def get_cache_stats(self) -> dict[str, Any]:
        """Return cache statistics: ``total_size_gb``, ``files_count``, ``last_updated``."""
        return self.cache.get_stats()

    def metrics(self) -> dict[str, Any]:
        """Return the counters since this manager was created, as plain values (see the docs).

        ``vendors`` (requests, outcomes, seconds, bytes, waits), ``calls``, ``quality``,
        ``events``, ``cache`` (sizes as of the last minute), ``process`` (memory, CPU time).
        The counts are for this process; only ``vendor_days`` (the number of sessions each vendor
        lacks) covers all processes.
        """
        vendor_days = self._services.network.vendor_days()
        days = Counter(day.vendor for day in vendor_days if day.condition != "pending")
        return self._services.observer.snapshot() | {"vendor_days": dict(days)}

    def on_event(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call ``listener`` with each :class:`~.observability.events.Event`: retries, fallbacks...

        The listener runs in the thread of the call that the event is about, and the call waits for
        it. An exception that it raises is logged once and has no other effect. Returns a function
        that removes the listener.
        """
        return self._services.observer.on_event(listener)

    def clear_cache(self, symbol: str | None = None, timeframe: str | None = None) -> None:
        """Delete cached bars: those of a series, a symbol or a timeframe, or all of them."""
        with running(subject_of(symbol, timeframe)):
            self.cache.clear(symbol, timeframe)


def _start(symbol: str, start: When, period: str | timedelta | None) -> Any:
    """Return the start of a range: ``start``, or the period that replaces it."""
    if period is None:
        return start
    if start is not None:
        raise BadRangeError(
            f"{symbol}: start {start} and period {period} cannot be used together",
            symbol=symbol,
            hint="give start and end, or period and end",
        )
    from .calendars.written_times import Period

    return Period(period)


def get_data_manager(
    cache_dir: str | Path | None = None, config_path: str | Path | None = None
) -> DataManager:
    """Return this process's one manager, creating it on the first call; thread-safe.

    A forked child creates its own, on the same folder and with the same rules. Different arguments
    in later calls are ignored, with a warning.
    """
    manager: DataManager = MANAGER.get(DataManager, cache_dir, config_path)
    return manager


def get_universes() -> Universes:
    """Return the universes of the default database; ``docs/database.md`` says how to choose it.

    Raises:
        MissingExtraError: The extra ``db`` is not installed.
        DatabaseError: The database cannot be used.
    """
    universes: Universes = load_part("db.universe").open_universes()
    return universes


def existing_data_manager() -> DataManager | None:
    """Return this process's manager, or None before the first :func:`get_data_manager`."""
    manager: DataManager | None = MANAGER.look()
    return manager


def reset_data_manager() -> None:
    """Forget this process's manager; the next call creates a new one. For tests."""
    MANAGER.forget()
