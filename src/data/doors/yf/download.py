"""``download``, and the code that it shares with ``Ticker.history`` to fetch bars in batches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from ...core.bars.client import BarsClient, Wishes
from ...core.calendars.buckets import bucket_at, start_at
from ...core.calendars.calendar import calendar_for
from ...core.interface import request_s
from ...core.model.answer.provenance import freeze
from ...core.model.identity.instrument import Instrument
from ...core.model.stored.reasons import FORMING
from ...core.model.time.instant import DAY_MS, date_of, day_ms, parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import collecting_warnings, warn_user
from ...core.registry import is_free
from ...data_manager import DataManager, get_data_manager
from ...errors import DataError, IncompleteDataWarning, QueryError
from ...jobs.progress.bar import listening
from ...jobs.progress.events import BatchProgress
from .arguments import Arguments, Bounds, When, is_isin, refuse, symbols_of, zone_of
from .frames import Table, bar_times, shown_columns, wide_frame

if TYPE_CHECKING:
    from ...core.bars.client import Rows

__all__ = ["BACK_ADJUST", "ISIN", "SESSION", "bars_of", "download", "shared"]

# Decimals of `rounding=True`.
_DIGITS = 2
_UNADJUSTED = "prices adjusted for dividends are not known"
BACK_ADJUST = "it returns prices that no longer fit together; use auto_adjust=True"
SESSION = "requests are sent by the data manager; set proxies and addresses in its rules file"
ISIN = "{} is an ISIN, not a symbol; find the symbol by the company's name: yf.Search('...').quotes"

# The one entry of ``yfinance.shared`` that scripts read: tickers without bars in the last `download`,
# each with the reason.
shared = SimpleNamespace(_ERRORS={})


class Bars(NamedTuple):
    """The result of a call for several tickers.

    Attributes:
        tables: Maps each ticker that has bars to its bars.
        failed: Maps each ticker without bars to its provenance.
        reasons: Maps each ticker without bars to the reason, as a sentence.
    """

    tables: dict[str, Table]
    failed: dict[str, Mapping[str, Any]]
    reasons: dict[str, str]


def download(
    tickers: str | Sequence[str],
    start: When = None,
    end: When = None,
    actions: bool = False,
    threads: bool | int = True,
    ignore_tz: bool | None = None,
    group_by: Literal["column", "ticker"] = "column",
    auto_adjust: bool = True,
    back_adjust: bool = False,
    repair: bool = False,
    keepna: bool = False,
    progress: bool = True,
    period: str | None = None,
    interval: str = "1d",
    prepost: bool = False,
    rounding: bool = False,
    timeout: float | None = 10,
    session: None = None,
    multi_level_index: bool = True,
) -> pd.DataFrame:
    """Return the bars for several tickers side by side, as ``yfinance.download`` does.

    Examples:
        >>> from onetape import yf
        >>> bars = yf.download(["AAPL", "MSFT"], start="2024-05-06", end="2024-05-11")
        >>> bars["Close"].shape
        (5, 2)

    Args:
        tickers: Symbols, as a list or as a string with spaces or commas.
        start, end: Dates, datetimes (naive ones are in the exchange's time zone) or seconds since
            1970; the end is exclusive.
        actions: Whether to add splits and dividends.
        threads: Number of tickers to fetch at once; True means all, False means one at a time.
        ignore_tz: Whether to remove the index's time zone; by default, it is removed only for daily
            and longer bars.
        group_by: Upper level of the columns: ``column`` or ``ticker``.
        auto_adjust: Whether to adjust prices for dividends as well as for splits.
        back_adjust: Not supported.
        repair: Whether to examine the stored bars. The findings are in
            ``attrs["onetape"]["symbols"][ticker]`` under ``repair``; no bar is changed.
        keepna: Whether to add a row of NaN for each bar that is known to be missing.
        progress: Whether to show a progress bar in a terminal or notebook.
        period: Length of the range, such as ``1mo`` (default), ``5d``, ``ytd``, ``max``. If a start
            or an end is given, the period is counted from there.
        interval: Bar length: 1m, 2m, 5m, 15m, 30m, 60m, 90m, 1h, 1d, 1wk, 1mo or 3mo.
        prepost: Whether to add bars before the open and after the close, for US stocks.
        rounding: Whether to round values to two decimals.
        timeout: Maximum seconds for each request; None means the data manager's own limit.
        session: Not supported.
        multi_level_index: Whether the columns have two levels even if there is only one ticker.

    Returns:
        The frame; all values of a ticker without bars are NaN. ``attrs["onetape"]`` contains
        ``symbols`` (which maps each ticker to its provenance, with ``gaps``), ``failed`` and
        ``complete``.

    Raises:
        QueryError: An argument is invalid, or asks for something that is not supported.

    Warns:
        IncompleteDataWarning: Some tickers have no bars, bars are missing, or ``repair`` found
            something. It is issued once per call.
    """
    refuse("back_adjust=True", back_adjust, BACK_ADJUST)
    refuse("session", session is not None, SESSION)
    by_ticker = str(group_by).lower() == "ticker"  # any case is accepted by yfinance
    if not by_ticker and group_by != "column":
        raise QueryError(f"unknown group_by {group_by!r}; use column or ticker")
    options = (bool(prepost), bool(actions), bool(auto_adjust), bool(repair), bool(keepna))
    asked = Arguments(interval, period, start, end, *options, bool(rounding), timeout)
    names = symbols_of(tickers)
    bars = bars_of(names, asked, at_once=_threads(threads, len(names)), is_shown=bool(progress))
    shared._ERRORS = dict(bars.reasons)
    naive = not asked.is_intraday if ignore_tz is None else bool(ignore_tz)
    frame = wide_frame(bars.tables, bars.failed, names, ignore_tz=naive, by_ticker=by_ticker)
    if not multi_level_index and len(names) == 1:
        frame = frame.droplevel(0 if by_ticker else 1, axis=1).rename_axis(None, axis=1)
    return frame


def _threads(threads: bool | int, count: int) -> int:
    """Return the number of tickers to fetch at once."""
    if isinstance(threads, bool):
        return count if threads else 1
    if not isinstance(threads, int) or threads < 1:
        raise QueryError(f"threads must be True, False or a number from 1 on, not {threads!r:.80}")
    return threads


def bars_of(
    names: Sequence[str], asked: Arguments, *, at_once: int, is_shown: bool, is_told: bool = True
) -> Bars:
    """Return the bars for several tickers.

    Args:
        names: Tickers.
        asked: Checked arguments of the call.
        at_once: Number of tickers to fetch at once.
        is_shown: Whether to show a progress bar.
        is_told: Whether to issue a warning about failed tickers; otherwise, none is issued if any
            ticker failed.
    """
    manager = get_data_manager()
    bars = Bars({}, {}, {})
    with collecting_warnings() as texts, np.errstate(invalid="ignore", divide="ignore"):
        for bounds, members in _groups(names, asked, manager, bars).items():
            tickers = list(members)
            for index in range(0, len(tickers), at_once):
                batch = {ticker: members[ticker] for ticker in tickers[index : index + at_once]}
                _fetch(manager.client, batch, asked, bounds, bars, is_shown=is_shown)
        findings = list(_examine(manager, asked, bars)) if asked.repair else []
    if is_told or not bars.failed:
        _report(bars, asked, len(names), texts, findings)
    return bars


def _groups(
    names: Sequence[str], asked: Arguments, manager: DataManager, bars: Bars
) -> dict[Bounds, dict[str, Instrument]]:
    """Group the tickers by the range to request; tickers with an empty range count as failed."""
    groups: defaultdict[Bounds, dict[str, Instrument]] = defaultdict(dict)
    known: dict[tuple[str, ...], Bounds | None] = {}
    for name in names:
        try:
            if is_isin(name):
                raise QueryError(ISIN.format(name))
            instrument = manager.provider_selector.instrument(name)
            market = asked.market(name, instrument)
            if market not in known:
                known[market] = asked.bounds(name, instrument, manager.client)
        except DataError as error:
            _fail(bars, name, str(error))
            continue
        bounds = known[market]
        if bounds is None:
            _fail(bars, name, "the range is empty")
        else:
            groups[bounds][name] = instrument
    return groups


def _fail(bars: Bars, name: str, reason: str, facts: Mapping[str, Any] | None = None) -> None:
    bars.reasons[name] = reason
    bars.failed[name] = facts or {"symbol": name, "complete": False, "gaps": [], "empty": reason}


def _fetch(
    client: BarsClient,
    members: Mapping[str, Instrument],
    asked: Arguments,
    bounds: Bounds,
    bars: Bars,
    *,
    is_shown: bool,
) -> None:
    """Fetch tickers that have the same range; add their bars, or the reasons for their absence."""

    def ask(names: list[str], **more: Any) -> dict[str, Rows]:
        """Request the bars for some of the tickers."""
        wishes = Wishes(provider=bounds.provider, session=bounds.session, **more)
        ends = (bounds.start, bounds.end, None)
        limit = request_s.set(math.inf if asked.timeout is None else asked.timeout)
        try:
            with listening(None) if is_shown else nullcontext() as reporter:
                listener = None if reporter is None else BatchProgress(client, reporter)
                return client.get_rows_by_symbol(names, asked.timeframe, ends, wishes, listener)
        finally:
            request_s.reset(limit)

    kept: dict[str, Rows] = {}
    columns = ("dividend", "split", "capital_gain") if asked.actions else ()
    rows = ask(list(members), include_forming=bounds.may_be_forming, columns=columns)
    for ticker, answer in rows.items():
        facts = answer.facts
        if not len(answer.arrays().stamps):
            _fail(bars, ticker, _reason(facts), facts)
            continue
        kept[ticker] = _noted(answer, members[ticker], asked, bounds)
    shares = [t for t in kept if members[t].asset_class == "stock" and not _is_forming(kept[t])]
    whole = {} if asked.is_intraday or not shares else ask(shares, adjustment="all")
    times: dict[tuple[bytes, str], pd.DatetimeIndex] = {}
    for ticker, answer in kept.items():
        adjusted = whole.get(ticker)
        if adjusted is not None:
            answer, adjusted, reason = _adjusted(answer, adjusted, asked)
            if reason and adjusted is None:
                _fail(bars, ticker, reason, whole[ticker].facts)
                continue
        facts = answer.facts
        if asked.auto_adjust and not asked.is_intraday:
            # The prices of instruments without dividends are the same in every adjustment.
            kind = "all" if adjusted is None else adjusted.facts["adjustment"]
            facts = freeze({**facts, "adjustment": kind})
        stamps, zone = answer.arrays().stamps, zone_of(members[ticker])
        key = stamps.tobytes(), zone
        if key not in times:
            times[key] = bar_times(stamps, zone, is_intraday=asked.is_intraday)
        digits = _DIGITS if asked.rounding else None
        shown = shown_columns(answer, adjusted, auto_adjust=asked.auto_adjust, digits=digits)
        bars.tables[ticker] = Table(times[key], shown, facts)


def _noted(rows: Rows, instrument: Instrument, asked: Arguments, bounds: Bounds) -> Rows:
    """Return rows with those of missing bars, if wanted; warn if the forming bar is missing."""
    facts = rows.facts
    if asked.keepna:
        filled = _with_missing(rows.frame, facts, instrument, asked)
        rows = rows._replace(frame=filled, kept=None)
    attempts = bounds.is_traded and facts.get("attempts")
    if attempts and all(attempt["outcome"] != "ok" for attempt in attempts):
        text = f"the forming bar is missing: {attempts[-1]['message']}"
        warn_user(f"{facts['symbol']}: {text}", IncompleteDataWarning)
        rows = rows._replace(facts=_incomplete(facts, text))
    return rows


def _incomplete(facts: Mapping[str, Any], problem: str) -> Mapping[str, Any]:
    """Return the provenance of bars with one more problem."""
    noted: Mapping[str, Any] = freeze(
        {**facts, "complete": False, "problems": [*facts["problems"], problem]}
    )
    return noted


def _is_forming(rows: Rows) -> bool:
    """Return whether the only bar has not closed, so that no dividend follows it."""
    return len(rows.arrays().stamps) == 1 and rows.facts["spans"][-1].get("reason") == FORMING


def _lacks(rows: Rows) -> bool:
    """Return whether dividend-adjusted closes are missing, which some vendors do not supply."""
    names, _, values = rows.arrays()
    if "adj_close" not in names:
        return True
    adjusted, close = (np.isnan(values[names.index(name)]) for name in ("adj_close", "close"))
    return bool((adjusted > close).any())


def _adjusted(rows: Rows, whole: Rows, asked: Arguments) -> tuple[Rows, Rows | None, str]:
    """Note in the provenance that closes adjusted for dividends are missing, if they are.

    Args:
        rows: Bars adjusted for splits.
        whole: The same bars, adjusted for dividends; empty if no such prices are known.
        asked: Arguments of the call.

    Returns:
        The bars; the bars whose closes are adjusted for dividends, or None; and the reason if there
        are none, in which case the ticker fails. Without such closes, the vendor's own adjusted
        closes are used if no row lacks one. Otherwise, the user's own files keep their prices, and
        other tickers fail if the call adjusts for dividends.
    """
    facts, adjusted = rows.facts, whole.facts
    is_empty, vendors = not len(whole.frame), facts["vendors"]
    is_own = asked.auto_adjust and is_empty and bool(vendors) and all(map(is_free, vendors))
    gaps = [gap for gap in adjusted["gaps"] if gap not in facts["gaps"]]
    if (gaps or is_empty) and not _lacks(rows):
        return rows, None, ""
    if gaps or is_empty:
        reason = gaps[0]["reason"] if gaps else _reason(adjusted)
        noted = _incomplete(facts, f"{_UNADJUSTED} for all rows: {reason}")
        if asked.auto_adjust and not is_own:
            noted = freeze({**noted, **{name: adjusted[name] for name in ("gaps", "gaps_total")}})
        rows = rows._replace(facts=noted)
    reason = f"{_UNADJUSTED}: {_reason(adjusted)}" if is_empty else ""
    if is_empty and asked.auto_adjust and not is_own:
        return rows, None, reason
    if is_empty:
        more = "; the prices are without this adjustment" if is_own else ""
        warn_user(f"{adjusted['symbol']}: {reason}{more}", IncompleteDataWarning)
    return rows, rows if is_own else whole, reason


def _reason(facts: Mapping[str, Any]) -> str:
    """Return the reason why a frame is empty, as a sentence."""
    error, gaps = facts.get("error"), facts["gaps"]
    if error:
        return str(error["brief" if error["reason"] == "unknown_symbol" else "message"])
    return str(facts.get("empty") or (gaps[0]["reason"] if gaps else "no bars in this range"))


def _with_missing(
    frame: pd.DataFrame, facts: Mapping[str, Any], instrument: Instrument, asked: Arguments
) -> pd.DataFrame:
    """Add a row of NaN for each bar that is missing between a frame's first row and its last."""
    calendar, timeframe = calendar_for(instrument), Timeframe.parse(asked.timeframe)
    first, last = (int(at.value) // 1_000_000 for at in (frame.index[0], frame.index[-1]))
    gaps = [(parse_iso(gap["start"]), parse_iso(gap["end"])) for gap in facts["gaps"]]
    if facts["gaps_total"] > len(gaps):  # only the first ones are listed
        gaps.append((gaps[-1][1], last))
    stamps = [
        calendar.opens(timeframe, Span(max(first, start), min(last, end)), facts["kind"]["anchor"])
        for start, end in gaps
        if max(first, start) < min(last, end)
    ]
    if not stamps:
        return frame
    missing = pd.DatetimeIndex(np.concatenate(stamps).astype("M8[ms]").astype("M8[ns]"))
    return frame.reindex(frame.index.union(missing))


def _examine(manager: DataManager, asked: Arguments, bars: Bars) -> Iterator[str]:
    """Add the findings about stored bars to each ticker's provenance, and yield them as text.

    For bars longer than a day, the daily bars behind them are examined. No bar is changed.
    """
    timeframe = asked.timeframe if asked.is_intraday else "1d"
    for ticker, table in bars.tables.items():
        ends = _examined_ends(table.times, Timeframe.parse(asked.timeframe))
        # The bars of the answer, and not another vendor's or those of other hours.
        lane = table.facts.get("lane") if timeframe == asked.timeframe else None
        label = None if lane is None else lane.partition("@")[2]
        try:
            report = manager.validate(ticker, timeframe, *ends, lane=label)
        except DataError as error:
            rows: list[dict[str, Any]] = [{"check": "not examined", "evidence": str(error)}]
        else:
            rows = [finding.as_dict() for finding in report.findings if finding.severity != "info"]
        bars.tables[ticker] = table._replace(facts=freeze({**table.facts, "repair": rows}))
        for finding in rows:
            yield f"repair=True: {ticker} {finding['check']}: {finding['evidence']}"


def _examined_ends(times: pd.DatetimeIndex, timeframe: Timeframe) -> tuple[date, date]:
    """Return the first and last time to examine: for daily and longer bars, the dates of their days."""
    first, last = times[0].to_pydatetime(), times[-1].to_pydatetime()
    if timeframe.is_intraday:
        return first, last
    after = start_at(timeframe, bucket_at(timeframe, day_ms(last.date())) + 1)
    return first.date(), date_of(after - DAY_MS)


def _report(
    bars: Bars, asked: Arguments, count: int, texts: Sequence[str], findings: Sequence[str]
) -> None:
    """Issue a single warning about everything that the result lacks."""
    lacking = []
    if bars.failed:
        names = list(bars.failed)
        reason = f"{names[0]}: {bars.reasons[names[0]]}"
        listed = f"{', '.join(names[:20])}{', ...' if names[20:] else ''}"
        lacking.append(
            reason if count == 1 else f"{len(names)} of {count} have no bars: {listed}; {reason}"
        )
    starts = tuple(f"{facts['symbol']} " for facts in bars.failed.values())
    everything = filter(_is_all, bars.tables.values()) if asked.period == "max" else ()
    gaps = [(table.facts["symbol"], table.facts["gaps_total"]) for table in everything]
    usual = tuple(f"{symbol} {asked.timeframe}: {count} gap" for symbol, count in gaps)
    # A text with more than the gap before the first bar, such as a substitute, is reported.
    others = [
        text
        for text in texts
        if not text.startswith(starts) and not (text.startswith(usual) and "; " not in text)
    ]
    ranks = {table.facts["symbol"]: index for index, table in enumerate(bars.tables.values())}
    # Tickers are fetched in threads, so their texts arrive in any order.
    others.sort(key=lambda text: ranks.get(text.partition(" ")[0].rstrip(":"), 0))
    for each, end in ((others, ""), (findings, "; no bar was changed")):
        if each:
            more = f" (and {len(each) - 1} more)" if each[1:] else ""
            lacking.append(f"{each[0]}{more}{end}")
    if lacking:
        warn_user(f"{'; '.join(lacking)}; see frame.attrs['onetape']", IncompleteDataWarning)


def _is_all(table: Table) -> bool:
    """Return whether no bar is missing after the first one."""
    first = table.times[0].timestamp() * 1000
    return all(parse_iso(gap["end"]) <= first + DAY_MS for gap in table.facts["gaps"])
