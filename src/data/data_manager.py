"""The facade: one door to market data. A table of contents, nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from .bars.client import Wishes
from .clock import Clock
from .errors import BadRangeError
from .errors import ProviderTimeoutError as TimeoutException
from .errors import RateLimitedError as RateLimitException
from .errors import TransientError as NetworkException
from .observability.logs import running, subject_of
from .provider_selector import ProviderSelector, get_provider_selector
from .wiring import MANAGER, build

if TYPE_CHECKING:
    import pandas as pd

    from .feed.live_feeds import LiveFeeds
    from .feed.selection import AnyFeed
    from .jobs.by_symbol import Explanations, Plans
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
    from .prices.judgement.report import Level, QualityReport

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
    """One door to market data: bars, figures of futures and fundamentals, from vendors and cache.

    Args:
        cache_dir: folder of the cache. Default: ``DATA_CACHE_DIR``, else an existing
            ``./data-cache``, else the user's cache folder.
        config_path: a rules file laid over the packaged one; it must exist.
        clock: another clock than the machine's, for simulations.

    Attributes:
        cache: the :class:`~.cache.unified_cache.UnifiedCache` on the same folder.
        provider_selector: symbol to vendors; its ``downloaders`` may be replaced in tests.
        rate_limiters: vendor name to its limiter, as a read-only mapping.
        client: the :class:`~.bars.client.BarsClient` that answers: series, coverage, commits and stored
            columns, for what is built above the manager.

    Thread-safe.

    Raises:
        RulesError: the rules file is wrong; all its mistakes are listed.
        StorageError: the cache folder cannot be used.
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
        """Return closed bars of ``symbol``, from the cache where held.

        The frame's index is the naive UTC open time (``timestamp``, ns); daily and longer bars
        are stamped 00:00 of the venue's session date. Columns: ``open high low close volume``
        (float64), then ``adj_close`` where known. ``df.attrs["onetape"]`` has the vendor of every
        bar, and what is missing: ``final`` bars stay as they are; ``provisional`` ones have closed
        and may still change; ``suspect`` ones were fetched around a split and are asked for again.
        ``rejected`` names each vendor of the rules that was not asked, with the reason; an answer
        from the cache alone asks and rejects none. ``empty`` says why there is no bar, where there is
        none. The frame is the caller's own.

        Where no vendor has a bar of the wanted kind, one other kind answers for the whole range. So
        does one that lacks nothing where bars are missing and all vendors that serve them are
        down, whatever part of the range is cached. ``substitute`` names it, ``strict`` refuses it;
        an ``offline`` call or one for a ``provider`` never turns to it from a part that is cached.

        Args:
            symbol: such as ``BTCUSDT``, ``AAPL``, ``BRK.B``, ``VOD.L``, ``EURUSD=X``, ``^VIX``.
            timeframe: such as ``1m``, ``1h``, ``1d``, ``1w``, ``1M``.
            start_date, end_date: datetimes are UTC instants (naive means UTC), both inclusive on
                the open stamp; dates and ``YYYY-MM-DD`` texts are whole session dates of the
                venue. Of ``"2024"`` and ``"2024-06"`` a start means the first date, an end the
                last. ``"now"``, ``"-12h"``, ``"-90m"`` and timedeltas (so long ago) are instants,
                ``"today"``, ``"yesterday"``, ``"-30d"``, ``"-2w"``, ``"-6mo"`` and ``"-1y"``
                dates at the venue. Without an end: now. With symbol and timeframe alone: the last
                500 bars.
            force_refresh: ask for all of it again.
            bars: the last so many closed bars up to the end.
            period: in place of a start: so long before the end (``"1y"``, ``"6mo"``, ``"30d"``,
                ``"12h"``, a timedelta), ``"ytd"`` or ``"max"`` (1900); both ends inclusive.
            provider: ask this vendor only, and use only what it supplied. ``BINANCE:BTCUSDT`` as the
                symbol is the same as ``BTCUSDT`` with ``provider="binance"``.
            adjustment: ``raw``, ``split`` (default) or ``all`` (dividends too).
            closed_by: only bars that have closed by this instant, or by the end of this session
                date: what could be known then. Without an end it is the end; a bar forming then
                is not among them, though it has closed since. Values and adjustment are those
                known today: only ``raw`` prices know of no later split.
            include_forming: add the bar that has not closed yet; it is never stored.
            offline: use the cache alone.
            strict: raise instead of returning an answer that lacks something.
            version: the series as it stood right after this commit to it, by its number in
                ``onetape cache log``; no vendor is asked. Adjusted with the actions known today.
            columns: further columns beside each bar, in this order: ``source`` (its vendor), ``state``
                (``final``, ``provisional``, ``suspect``, ``forming``), ``is_final``, ``fetched_at``
                (naive UTC: when the stretch around it was last fetched); of a share ``dividend`` (cash
                per share with an ex-date in that bar, in the shares of its prices; several are added up)
                and ``split`` (new shares for one old share), both float64, 0.0 where there is none, NaN
                where no vendor could be asked: then the answer is not ``complete``.
            timeout: seconds after which no vendor, limit or other caller is waited for any more;
                what is cached by then is the answer. None: 30 s without a page of any vendor.
                Reading the cache is not cut.
            session: ``extended``: minutes or hours of 04:00 to 20:00 New York time (to 17:00 on half
                days), of shares of the USA, from vendors that have them; they are a series of their
                own (``1m@extended``), with the gaps of these hours, and are never mixed with those of
                the ``regular`` session (default); a vendor that always sends extended hours and is
                alone in the rules, or pinned, answers with them, as ``kind`` says. Overnight sessions
                (20:00 to 04:00) are not served.

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            NoProviderError: no vendor is configured for it (a ``ValueError`` and ``RuntimeError``).
            AllProvidersFailedError: bars were missing, no vendor could supply them and nothing is
                cached (a ``RuntimeError``).
            UnknownSymbolError: the same, because the symbol is unknown at its venue; what other
                venues list under the same letters is named, and not served without proof.
            IncompleteDataError: ``strict``, and the answer has holes, fewer bars than ``bars``,
                flagged rows or is of another kind; ``.frame`` holds what could be had.

        Warns:
            IncompleteDataWarning: the same, without ``strict``; once a call.
        """
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, columns, version, timeout, session=session)
        client = self._services.client
        start = start_date if period is None else _start(symbol, start_date, period)
        if not force_refresh:
            return client.get(client.query(symbol, timeframe, start, end_date, bars, wishes))

        def ask(wishes: Wishes) -> pd.DataFrame:
            """Return the bars."""
            return client.get(client.query(symbol, timeframe, start, end_date, bars, wishes))

        return self._refreshed(ask, [symbol], timeframe, wishes)

    def _refreshed(
        self, ask: Callable[[Wishes], _T], symbols: Iterable[str], timeframe: str, wishes: Wishes
    ) -> _T:
        from .jobs.validate import refreshed

        return refreshed(self._services, ask, symbols, timeframe, wishes)

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
        """Return a chart of what :meth:`get_ohlcv` answers; all arguments but ``symbol`` are its own.

        One symbol is drawn as bars with volume: gaps shaded, splits and dividends marked, what may
        still change pale, doubts named, the vendor of each stretch below, times in the venue's time
        zone without the hours in which it is closed. Several are lines of their closes, 100 at their
        first common bar. The chart says how many bars it was given, drew, merged and refused. A frame
        that is at hand is drawn by ``onetape.plot``.

        Args:
            symbol: as for :meth:`get_ohlcv`, or several.

        Returns:
            The chart: ``.png()``, ``.svg()``, ``.html()``, ``.save(path)``; a notebook shows it. It is
            drawn when one of these is called. Thread-safe.

        Raises:
            QueryError: an argument cannot be understood, or several symbols cannot stand on one chart.
            NoProviderError, AllProvidersFailedError, IncompleteDataError: as :meth:`get_ohlcv`. Of
                several symbols one that failed is named on the chart.

        Warns:
            IncompleteDataWarning: as :meth:`get_ohlcv`.
        """
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, (), version, timeout, session=session)
        bounds = (_start(str(symbol), start_date, period), end_date, bars)
        charts, client = _above("charts.picture"), self._services.client
        picture: Picture = charts.picture_asked(client, symbol, timeframe, bounds, wishes)
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
        """Return symbol to frame for many symbols, or one wide frame; arguments as :meth:`get_ohlcv`.

        ``timeout`` is for all of them together.

        ``progress`` is called in the calling thread with a ``Progress`` (``result``, ``done`` of
        ``total`` symbols, ``share``, ``left_s``) before vendors are asked, and with each symbol that they
        answered. By default it is a bar on a terminal and in a notebook, and nothing elsewhere.

        ``layout="wide"``: one frame, with the columns (field, symbol) and a row for each stamp of any
        symbol; ``wide["close"]`` has a column for each symbol, as vectorbt takes it and
        ``yfinance.download`` gives it. Where a symbol has no bar stands NaN; one that failed is NaN
        throughout. ``attrs["onetape"]`` has ``symbols`` (symbol to what its frame would carry),
        ``failed`` and ``complete``.

        Every symbol is in the answer. One that failed has an empty frame, and its error stands
        in ``attrs["onetape"]["error"]`` (``type``, ``message``, ``reason``, ``brief``,
        ``candidates``) beside the
        entries that every frame has; ``describe(frame)`` tells it.

        ``universe``, in place of ``symbols``: the members of this universe of :attr:`universes` on the
        session date ``as_of``, delisted ones included; without it today's members, which leave out what
        has failed since the first bar. The dict then has the attributes ``members`` (with ``is_pit``,
        ``known_from``, ``unresolved``, ``reason``) and ``without_bars`` (member to the sessions of the
        range for which there is no bar of it); of a wide frame both are in
        ``attrs["onetape"]["universe"]``.

        Raises:
            QueryError: an argument that all symbols share is wrong.
            UniverseError: there is no such universe, it has no member then, or ``strict`` and its members
                are not point-in-time.
            MissingExtraError: a universe, and the extra ``db`` is not installed.
            DatabaseError: a universe, and its database cannot be used.

        Warns:
            IncompleteDataWarning: symbols of a wide frame failed; once, with their names.
            SurvivorshipWarning: the members are not point-in-time; they are today's, and those of the first
                bar's day were others; or some have no bar at all.
        """
        if layout != "dict":
            from .model.wide import check_layout, wide_frame

            check_layout(layout)
        options = (provider, adjustment, include_forming, offline, strict, force_refresh, closed_by)
        wishes = Wishes(*options, columns, timeout=timeout, session=session)
        bounds = (_start("a batch", start_date, period), end_date, bars)
        from .jobs.progress import BatchProgress
        from .jobs.progress_bar import listening

        client, members = self._services.client, None
        if symbols is None or universe is not None or as_of is not None:
            from .jobs.universe import check_choice, member_frames, members_asked, warn_of_past

            name, now_ms = check_choice(symbols, universe, as_of), self._services.clock.now_ms()
            symbols = members = members_asked(self.universes, name, as_of, now_ms, strict=strict)
        with listening(progress) as heard:
            listener, names = None if heard is None else BatchProgress(client, heard), symbols

            def ask(wishes: Wishes) -> dict[str, pd.DataFrame]:
                """Return the bars of each symbol."""
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
        """Return the last price of ``symbol``, with its time and how far it can be trusted.

        A running stream of this manager gives it, where a vendor of the rules sends one and its
        newest price is no older than ``max_age``. Else the vendors that bars are asked of are asked
        for the running minute, and while the market is closed for the last close. What was asked
        for is given again for ``max_age`` seconds, as long as the market neither opens nor closes;
        of those that ask at once one asks the vendors. No quote is ever stored as a bar.

        Args:
            symbol: as for :meth:`get_ohlcv`.
            max_age: seconds since a quote was asked for, or a price of a stream came, within which
                it is given again; from 0 (ask) to a day.
            timeout: seconds after which nothing is waited for any more, as for :meth:`get_ohlcv`.
            session: ``extended``: the market of a share of the USA is open from 04:00 to 20:00 New
                York time, and its last price is that of these hours; ``change`` is since the close of
                the session before.

        Returns:
            The quote. Its ``state`` is ``live`` or ``forming`` only for a price of this minute; that of
            a symbol that is halted, delisted or out of reach is ``stale``, and ``note`` says why.

        Raises:
            QueryError: an argument cannot be understood, or the symbol is ambiguous (a ``ValueError``).
            NoProviderError: no vendor is configured for it.
            UnknownSymbolError: the symbol is unknown at its venue.
            AllProvidersFailedError, NoDataError: no price is known, and none could be had.
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
        """Return symbol, as it was typed, to quote; arguments as :meth:`get_quote`.

        A few symbols are asked for at a time; ``timeout`` is for all of them together. A symbol that
        could not be had is not in the dict: its error is in ``.errors``, and reading it raises that.

        Raises:
            QueryError: an argument that all symbols share is wrong.

        Warns:
            IncompleteDataWarning: some could not be had; once a call.
        """
        return self._services.client.get_quotes(symbols, max_age, timeout, self._streamed, session)

    def search(
        self, text: str, limit: int = 20, *, offline: bool = False, timeout: float | None = None
    ) -> list[Listing]:
        """Return the symbols whose symbol or name fits ``text``, the likeliest first.

        Exact symbols come first, then exact names, beginnings of symbols, whole words of names,
        beginnings of words, parts; among equals the order of the vendor's answer counts. Vendors
        that take a text are asked in the order of the rules until one lists something; the pairs of
        Binance are asked for as a whole. What they list is kept for a week under the cache folder.
        What no rule understands as a symbol is left out: each ``symbol`` can be asked for as it is.
        Where no vendor is asked or none answers, and nothing that is held fits, a packaged list of the
        best-known shares and coins is searched.

        Args:
            text: a part of a symbol or name, of at most 64 characters; case does not matter.
            limit: how many at most, from 1 to 1,000.
            offline: search what is held alone; no vendor is asked.
            timeout: seconds after which nothing is waited for any more, as for :meth:`get_ohlcv`.

        Returns:
            Listings with symbol, name, venue, type and currency; empty where nothing fits.

        Raises:
            QueryError: an argument cannot be understood.
            NoProviderError: no vendor that can be searched is configured.
            AllProvidersFailedError: no vendor answered, and nothing that is held or packaged fits.

        Warns:
            IncompleteDataWarning: some vendors did not answer.
        """
        with self._services.observer.call_beside(text, ""):
            return self._services.names.search(text, limit, offline, timeout)

    def _streamed(self, instrument: Instrument) -> LivePrice | None:
        """Return the newest price of a running stream; None where there is none."""
        feeds: LiveFeeds | None = self.__dict__.get("_feeds")  # none were made: none run
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
        """Return what :meth:`get_ohlcv` would do with these arguments; no vendor is asked.

        What is stored, what would be asked of which vendor, how many requests that takes, how long
        they would wait for the vendors' limits as of now, and what could not be had. Nothing is
        written, and damage is not repaired: what a repair would leave counts as stored. A hit loads
        no vendor. It prints well, in notebooks too; ``to_json()`` gives plain values. Several symbols
        are a dict of plans by symbol, with ``requests`` in all.

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            CacheError: the cache cannot be read.
        """
        if not isinstance(symbol, str):
            from .jobs.by_symbol import Plans

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
        """Return which vendors are asked for a series and why, which are not, and what is stored.

        Limits and pauses of each vendor are part of it. With a start, it says whose history is too short
        for these dates. No vendor is asked, nothing is written. It prints well; ``to_json()`` gives plain
        values. Several symbols are a dict of explanations by symbol.

        Raises:
            QueryError: the symbol is unknown or ambiguous, the timeframe none (a ``ValueError``).
        """
        if not isinstance(symbol, str):
            from .jobs.by_symbol import Explanations

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
        """Return splits and dividends of a share, asked for where they are missing or due.

        One row for each that counts, ascending by ex-date. Index ``ex_date``: session dates of the
        venue at 00:00 (``datetime64[ns]``). Columns: ``type`` (``split``, ``dividend``); ``ratio``
        (new shares for one old share; NaN of a dividend); ``amount`` (cash per share as shares are
        today, which fits prices adjusted for splits; NaN of a split); ``paid`` (cash per share as
        shares were on the ex-date); ``currency`` (of both, as the vendor tells it, else that of the
        share's prices; empty where neither is known, and of a split); ``pay_date`` (``datetime64[ns]``;
        NaT where no vendor that reports it tells one); ``source`` (the vendor believed); ``dispute``
        (what other vendors have, empty where they agree).
        ``attrs["onetape"]``: ``symbol``, ``attempts``, ``complete``, ``gaps`` (ex-dates that no
        vendor knows of), ``awaited`` (ex-dates that come with the bar of their day) and
        ``left_out`` (what too few vendors have to count). Crypto, currencies,
        indices and futures have none: an empty frame, and no vendor is asked.

        What was asked for is stored beside the bars; it is due again with the next session of the
        market. Thread-safe.

        Args:
            symbol: such as ``AAPL``, ``BRK.B``, ``VOD.L``.
            start, end: ex-dates, both inclusive; of a datetime its session date at the venue.
                Without a start: all there are; without an end: those announced already, too.
            timeout: seconds after which nothing is waited for any more, as for :meth:`get_ohlcv`.

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            NoProviderError: no vendor of the rules serves any, and none was ever asked.
            AllProvidersFailedError: no vendor answered, and none ever has (a ``RuntimeError``).

        Warns:
            IncompleteDataWarning: for a part of the ex-dates no vendor answered; ``gaps`` has it.
        """
        from .calendars.ranges import resolve_days

        now_ms = self._services.clock.now_ms()
        days = resolve_days(self._services.selector.instrument(symbol), start, end, now_ms)
        return self._services.client.get_actions(symbol, *days, timeout).frame()

    def coverage(self, symbol: str, timeframe: str) -> pd.DataFrame:
        """Return the coverage of a series: which stretches are stored, and how; no vendor is asked.

        One row for each stretch, ascending; the lane that answers by the rules comes first. Columns:
        ``lane`` (empty: the default one; else what differs, such as ``raw``, or a pinned vendor);
        ``start``, ``end``
        (naive UTC ``datetime64[ns]``, half-open, of open stamps; of days and longer bars session
        dates at 00:00); ``state`` (``final``; ``provisional``: closed, may change; ``suspect``:
        stored and doubted; ``empty``: asked for, no bar was there); ``vendor``; ``reason`` (why it
        is empty or doubted); ``next_due`` (naive UTC: from when asking again can change it, NaT:
        never). What lies between the stretches was never asked for; of a series that is not stored
        the frame is empty. Thread-safe.

        Args:
            symbol, timeframe: as for :meth:`get_ohlcv`.

        Raises:
            QueryError: symbol or timeframe cannot be understood (a ``ValueError``).
            CacheError: the cache cannot be read.
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
        """Return what is wrong with the stored bars of a series, as far as that can be told.

        By itself (``intrinsic``) a series proves x100 units, splits that are missing or applied in
        part, wrong dividends, stale runs, spikes, rows that are no bars and missing bars: no vendor
        is asked. ``corroborated`` compares the range (by default the last 500 bars) with a second
        vendor, too, and ``authoritative`` with the exchange itself, as ``onetape verify`` does: that
        takes requests, which ``requests`` of the report counts. No bar is changed: a finding whose
        cause is certain has ``repairs``, which say what would make it go away. A score below
        ``validation.min_quality_score`` of the rules is also an event (``QualityLow``). Thread-safe.

        Args:
            symbol, timeframe: as for :meth:`get_ohlcv`.
            start, end: as for :meth:`get_ohlcv`; by default all that is stored.
            level: what may be asked: ``intrinsic``, ``corroborated`` or ``authoritative``.
            lane: as :meth:`coverage` names it; None: the one that answers by the rules, or else the
                first that is stored.
            timeout: seconds after which no vendor is waited for any more; what could not be
                compared by then stands in ``not_checked``.
            mark: Commit the findings of the series alone whose cause is certain as marks on its bars:
                they are ``suspect`` from then on, with a reason that begins with ``grave:``, and every
                answer has it. Marks that nothing proves any more are taken off. ``marked`` and
                ``unmarked`` of the report count the bars. It looks at the whole series.

        Returns:
            The report; ``as_dict()`` gives what ``onetape validate --json`` prints.

        Raises:
            QueryError: an argument cannot be understood, or nothing of the series is stored.
            CacheError: the cache cannot be read.
        """
        from .jobs.validate import ValidateQuestion, validate_with
        from .net.deadline import run_call, seconds_of

        question = ValidateQuestion(symbol, timeframe, start, end, level, lane, mark)
        seconds = seconds_of(timeout, symbol)
        return run_call(self._services.clock, seconds, validate_with, self._services, question)

    def gaps(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: When = None,
        end: When = None,
    ) -> GapReport:
        """Return why stored series lack bars: every gap with class, evidence and next step.

        No vendor is asked. ``report.gaps`` has the gaps, ``report.to_frame()`` a row for each,
        ``report.incidents`` the sessions that a vendor lacks for most of its symbols,
        ``report.series`` the counts by series. Thread-safe.

        Args:
            symbol, timeframe: as for :meth:`get_ohlcv`; several symbols, such as the members of a
                universe; None: of everything that is stored.
            start, end: as for :meth:`get_ohlcv`; by default from what was first asked for up to now.

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            CacheError: nothing of it is stored, or the cache cannot be read; of several symbols
                ``report.absent`` names those of which nothing is stored.
        """
        from .jobs.gaps import gap_report

        return gap_report(self._services, symbol, timeframe, start, end)

    def report(self, symbol: str | None = None, timeframe: str | None = None) -> BarsReport:
        """Return all that is known of a stored series, or of everything that is stored.

        Of a series: chart, coverage by month, gaps with class and evidence, findings, what second vendors
        confirmed, the log of commits, the vendors of the rules, and the fingerprint of its bars, in each
        of its lanes. Of everything: coverage of all series by month, their counts, gaps and incidents.
        No vendor is asked. A part that cannot be read, such as a damaged file, is named in its place.

        Args:
            symbol, timeframe: as for :meth:`get_ohlcv`; both, or neither for everything that is stored.

        Returns:
            The report: ``.html()``, ``.to_json()``, ``.save(path)``; it prints well, in notebooks too.

        Raises:
            QueryError: an argument cannot be understood, or stands alone (a ``ValueError``).
            CacheError: nothing is stored of it, or the cache cannot be read.

        Warns:
            IncompleteDataWarning: the bars of the series, which are drawn, lack something.
        """
        report: BarsReport = _above("charts.report").report_of(self, symbol, timeframe)
        return report

    def sessions(self, symbol: str, start: When, end: When) -> pd.DataFrame:
        """Return the sessions of a symbol's market by its calendar; no vendor is asked.

        One row for each session that trades at any time of the range, ascending, those to come
        included. Index ``session``: session dates at 00:00 (``datetime64[ns]``). Columns: ``open``,
        ``close`` (naive UTC ``datetime64[ns]``, half-open; futures and currencies open the evening
        before); ``early_close`` (bool: before the usual hour); ``next_due`` (naive UTC: from when
        the session's daily bar does not change any more); ``holidays_known`` (bool: False where no
        holidays are on record and every weekday counts). A market that never closes has one session
        for each UTC day. Thread-safe.

        Args:
            symbol: as for :meth:`get_ohlcv`.
            start, end: both inclusive; dates and ``YYYY-MM-DD`` texts are whole session dates of
                the venue, datetimes UTC instants (naive means UTC).

        Raises:
            QueryError: an argument cannot be understood (a ``ValueError``).
            ConfigError: there is no calendar of this market.
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
        """Return the funding rates of a perpetual future: column ``fundingRate``, at every funding time.

        The frame, as those of open interest and long/short ratios, has a naive UTC index
        (``timestamp``, ns) and float64 columns, ascending; a stretch that was answered once comes from
        the cache. ``BTCUSDT`` is the future settled in dollars, ``BTCUSD`` (or ``BTCUSD_PERP``) the
        one settled in the coin.

        Args:
            symbol: of the pair, such as ``BTCUSDT``.
            start_date, end_date: inclusive; datetimes are UTC instants (naive means UTC), dates
                and ``YYYY-MM-DD`` texts whole UTC days. Default: from 29 days ago, until now.
            force_refresh: ask for all of it again.
            timeout: seconds after which nothing is waited for any more, as for ``get_ohlcv``.

        Raises:
            QueryError: an argument cannot be understood, or the symbol is no crypto pair.
            AllProvidersFailedError: no vendor could supply it and nothing is cached.

        Warns:
            IncompleteDataWarning: part of it could not be had; ``attrs["onetape"]`` says which.
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
        """Return open contracts: columns ``sumOpenInterest``, ``sumOpenInterestValue``.

        The exchange keeps the last 30 days; what was fetched stays in the cache.

        Args:
            symbol, start_date, end_date, force_refresh, timeout: as for :meth:`get_funding_rate`.
            period: time between two rows: 5m 15m 30m 1h 2h 4h 6h 12h 1d.

        Raises:
            QueryError, AllProvidersFailedError: as :meth:`get_funding_rate`.
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
        """Return accounts long and short: ``longShortRatio``, ``longAccount``, ``shortAccount``.

        Arguments, depth and errors as for :meth:`get_open_interest`.
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
        """Return what vendors have of a company or coin, as one record; {} where none has any.

        It never raises; a warning says why it is empty. ``_metadata`` has for each field its vendor and
        time, what vendors disagree about, which were asked and which failed. ``docs/fundamentals.md``
        lists the fields with their units.

        Args:
            symbol: such as ``AAPL``, ``BRK.B``, ``BTCUSDT``.
            providers: ask and use these alone; where they differ, an earlier one is believed before
                a later one, whatever the rules' order.
            force_refresh: ask again though what is cached is fresh.
            combination_strategy: ``priority_based``, ``quality_based`` or ``consensus``.
            data_type: ``general``, ``profile``, ``ratios``, ``statements`` or one of their aliases.
            max_age_days: how old what is cached may be; by default the type's own age.
            as_of: only what was public by this date; of an instant, by the day before.
            timeout: seconds after which no vendor and no other caller is waited for any more, in
                place of ``time_budget_seconds`` of the fundamentals file (20).

        Warns:
            IncompleteDataWarning: it is empty; once a call, with the reason.
        """
        from .fundamentals.request import Wish

        wish = Wish(
            providers, force_refresh, combination_strategy, data_type, max_age_days, as_of, timeout
        )
        return self._services.fundamentals.get(symbol, wish)

    def live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed:
        """Return a feed of bars as they close, history first.

        Iterating, awaiting or ``cerebro.adddata`` starts it. ``timeout=`` is the time of each
        question for bars that it asks; see :func:`~.feed.selection.live_feed` for all options.

        Raises:
            QueryError: symbol, timeframe or timeout cannot be understood (a ``ValueError``).
            ConfigError: an option is unknown or wrong, or a key or an extra is missing.
            DataError: there is no history to begin with.
        """
        from .feed.selection import live_feed

        return live_feed(self, symbol, timeframe, lookback_bars, **kwargs)

    def get_live_feed(
        self, symbol: str, timeframe: str, lookback_bars: int = 1000, **kwargs: Any
    ) -> AnyFeed | None:
        """Return :meth:`live_feed`; where it raises, None, with one warning that says why."""
        from .feed.selection import live_feed_or_none

        return live_feed_or_none(self, symbol, timeframe, lookback_bars, **kwargs)

    @cached_property
    def universes(self) -> Universes:
        """The universes of the default database (:func:`get_universes`); others may be set in their place."""
        return get_universes()

    @cached_property
    def _feeds(self) -> LiveFeeds:
        from .feed.live_feeds import LiveFeeds

        return LiveFeeds(self, self._services)

    def _normalize_symbol(self, symbol: Any) -> str:
        """Return how a company's symbol is written here (``BRK-B``), empty where it is none.

        Older programs reach in for it.
        """
        from .fundamentals.request import normalized

        return normalized(symbol)

    def get_cache_stats(self) -> dict[str, Any]:
        """Return what the cache holds: ``total_size_gb``, ``files_count``, ``last_updated``."""
        return self.cache.get_stats()

    def metrics(self) -> dict[str, Any]:
        """Return what was counted since this manager was made, as plain values (see the docs).

        ``vendors`` (requests, outcomes, seconds, bytes, waits), ``calls``, ``quality``, ``events``,
        ``cache`` (sizes as of the last minute), ``process`` (memory, processor time). Counts are this
        process' own; ``vendor_days`` (how many sessions each vendor lacks) are those of all processes.
        """
        vendor_days = self._services.network.vendor_days()
        days = Counter(day.vendor for day in vendor_days if day.condition != "pending")
        return self._services.observer.snapshot() | {"vendor_days": dict(days)}

    def on_event(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Have ``listener`` called with every :class:`~.observability.events.Event`: retries, fallbacks, ...

        It runs in the thread of the call that the event is about, which waits for it. What it raises
        is logged once and breaks nothing. Returns a function that takes it out again.
        """
        return self._services.observer.on_event(listener)

    def clear_cache(self, symbol: str | None = None, timeframe: str | None = None) -> None:
        """Delete cached bars: of a series, of a symbol, of a timeframe, or all of them."""
        with running(subject_of(symbol, timeframe)):
            self.cache.clear(symbol, timeframe)


def _above(module: str) -> Any:
    """Return a module of a package that is built above the facade; it is loaded when it is needed."""
    return import_module(f".{module}", __package__)


def _start(symbol: str, start: When, period: str | timedelta | None) -> Any:
    """Return the start of a range; a period takes its place."""
    if period is None:
        return start
    if start is not None:
        raise BadRangeError(
            f"{symbol}: start {start} and period {period} exclude each other",
            symbol=symbol,
            hint="give start and end, or period and end",
        )
    from .calendars.written_times import Period

    return Period(period)


def get_data_manager(
    cache_dir: str | Path | None = None, config_path: str | Path | None = None
) -> DataManager:
    """Return the one manager of this process, making it at the first call; thread-safe.

    A forked child makes its own, on the same folder and by the same rules. Later arguments that
    differ are ignored, with a warning.
    """
    manager: DataManager = MANAGER.get(DataManager, cache_dir, config_path)
    return manager


def get_universes() -> Universes:
    """Return the universes of the default database, which ``docs/database.md`` says how to choose.

    Raises:
        MissingExtraError: the extra ``db`` is not installed.
        DatabaseError: the database cannot be used.
    """
    universes: Universes = _above("db.universe").open_universes()
    return universes


def existing_data_manager() -> DataManager | None:
    """Return the one manager of this process; None before the first :func:`get_data_manager`."""
    manager: DataManager | None = MANAGER.look()
    return manager


def reset_data_manager() -> None:
    """Forget the manager of this process; the next call makes a new one. For tests."""
    MANAGER.forget()
