"""The gaps of what is stored, with reasons, series by series; and what vendors may have of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..bars.client import BarsClient
from ..errors import CacheError, DataError, QueryError
from ..model.coverage import VendorDay
from ..model.incident import incidents_of
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.texts import InLines, Line, counted
from ..observability.events import VendorDayLacking
from ..quality.gaps import FINAL_CLASSES, ClassifiedGap, classify_gaps
from ..quality.vendor_days import VendorDays
from ..wiring import Services
from .universe import NOTHING_STORED, series_of_symbols

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import SeriesOutline
    from ..model.bars import Stamps

__all__ = ["GapReport", "SeriesGaps", "find_vendor_days", "gap_report", "gaps_of"]

log = logging.getLogger("onetape.gaps")

# So many gaps of a series are listed; all are counted.
MOST_LISTED = 64
# Behind every stamp: a range without an end goes up to what has closed.
_EVER = 1 << 62


@dataclass(frozen=True)
class SeriesGaps:
    """The gaps of one series.

    Attributes:
        series: which.
        listed: the gaps, ascending; of more than 64 those that vendors may fill come first.
        counts: class to how many stretches it has, over all of them.
        bars: class to how many bars are expected in these.
        problem: why the series could not be read; empty where it could.
    """

    series: SeriesKey
    listed: tuple[ClassifiedGap, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    bars: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "symbol": self.series.symbol,
            "timeframe": self.series.timeframe.label,
            "lane": self.series.lane_label,
            "counts": self.counts,
            "bars": self.bars,
            "gaps": [gap.as_dict() for gap in self.listed],
            "problem": self.problem,
        }


@dataclass(frozen=True, repr=False)
class GapReport(InLines):
    """The gaps of some series, and the sessions that vendors lack across theirs.

    Attributes:
        incidents: sessions that a vendor lacks for most of its symbols.
        series: one entry for each series, those without gaps among them.
        absent: of several symbols those of which nothing is stored.
    """

    incidents: tuple[VendorDay, ...]
    series: tuple[SeriesGaps, ...]
    absent: tuple[str, ...] = ()

    @property
    def gaps(self) -> list[ClassifiedGap]:
        """The listed gaps of all series."""
        return [gap for one in self.series for gap in one.listed]

    @property
    def title(self) -> str:
        """How many series there are, and how many gaps of each class they have."""
        counts = Counter[str]()
        for one in self.series:
            counts.update(one.counts)
        series = counted(len(self.series), "series")
        if not counts:
            return f"{series}, no gap"
        classes = (f"{name.replace('_', ' ')} {n:,}" for name, n in sorted(counts.items()))
        return f"{series}; {', '.join(classes)}"

    @property
    def unlisted(self) -> int:
        """How many gaps are counted and not listed."""
        return sum(sum(one.counts.values()) - len(one.listed) for one in self.series)

    def lines(self) -> Iterator[Line]:
        """Yield the incidents, the gaps that are worth a look, and the series that cannot be read."""
        for incident in incidents_of(self.incidents):
            yield "incident", str(incident)
        for gap in self.gaps:
            if gap.is_notable:
                yield str(gap.series), f"{gap.text}: {gap.evidence}"
                if gap.next_step:
                    yield "", f"→ {gap.next_step}"
        for one in self.series:
            if one.problem:
                yield str(one.series), one.problem
        for symbol in self.absent:
            yield symbol, NOTHING_STORED
        if self.unlisted:
            yield "", f"{counted(self.unlisted, 'gap')} more are not listed"

    def as_dict(self) -> dict[str, Any]:
        """Return the plain mapping, as ``onetape gaps --json`` prints it."""
        incidents = [day.to_json() for day in self.incidents]
        absent = {"absent": list(self.absent)} if self.absent else {}
        return {"incidents": incidents, "series": [one.as_dict() for one in self.series]} | absent

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each listed gap.

        Columns ``symbol``, ``timeframe``, ``lane``, ``start``, ``end`` (naive UTC, half-open),
        ``class``, ``bars`` (int), ``vendors`` (joined by commas), ``evidence``, ``next_step``.
        """
        import pandas as pd

        rows = [gap.as_dict() | {"vendors": ",".join(gap.vendors)} for gap in self.gaps]
        frame = pd.DataFrame(rows, columns=_COLUMNS)
        for name in ("start", "end"):
            times = pd.to_datetime(frame[name].astype("str"), utc=True)
            frame[name] = times.dt.tz_localize(None).astype("M8[ns]")
        return frame.astype({"bars": "int64"})


_COLUMNS = "symbol timeframe lane start end class bars vendors evidence next_step".split()


def gap_report(
    services: Services,
    symbol: str | Iterable[str] | None = None,
    timeframe: Any = None,
    start: Any = None,
    end: Any = None,
) -> GapReport:
    """Return the gaps of a series, of symbols, or of everything that is stored; no vendor is asked.

    The lanes that answer by the rules come first. Of everything, what vendors lack across their symbols
    is found out and noted; else what is noted counts.

    Args:
        services: of the installation.
        symbol, timeframe: as for ``get_ohlcv``; None: all but those of samples, recordings and made-up
            bars.
        start, end: as for ``get_ohlcv``; by default from what was first asked for up to now.

    Raises:
        QueryError: an argument cannot be understood, or there is an end without a start.
        CacheError: nothing is stored of it; of several symbols the report names those.
    """
    absent: list[str] = []
    if symbol is None or isinstance(symbol, str):
        keys = _chosen(services, symbol, timeframe)
    else:
        keys, absent = series_of_symbols(services, symbol, _chosen(services, None, timeframe))
    answering = services.client.answering(keys)
    keys.sort(key=lambda key: key not in answering)
    if symbol is None and start is None and end is None:
        days, series = gaps_of_all(services, keys)
    else:
        days = services.network.vendor_days()
        series = list(gaps_of(services, keys, days, (start, end)))
    return GapReport(tuple(days), tuple(series), tuple(absent))


def _chosen(services: Services, symbol: str | None, timeframe: Any) -> list[SeriesKey]:
    from ..model.timeframe import Timeframe

    step = None if timeframe is None else Timeframe.parse(timeframe)
    name = None if symbol is None else services.selector.instrument(symbol).symbol
    keys = services.cache.maintenance.series(name, step)
    if not keys and name is not None:
        what = name if step is None else f"{name} {step}"
        raise CacheError(
            f"nothing is cached of {what}: where nothing was asked for, there is no gap",
            symbol=name,
            hint="`onetape cache list` shows what there is",
        )
    # A vendor of samples is asked by name alone: of everything its series are no part.
    return keys if name is not None else [key for key in keys if not key.is_sample]


def gaps_of_all(
    services: Services, keys: Sequence[SeriesKey], most: int | None = MOST_LISTED
) -> tuple[list[VendorDay], list[SeriesGaps]]:
    """Return what vendors lack across these series, as :func:`find_vendor_days`, and all their gaps.

    Each series is read once; again only where a vendor lacks a session of its market.
    """
    counted, markets = VendorDays(services.clock.now_ms()), dict[SeriesKey, tuple[str, str]]()
    answering = set(services.client.answering(keys))

    def look(key: SeriesKey, outline: SeriesOutline) -> None:
        """Count the sessions of one series for its vendors, and note its market."""
        markets[key] = _market(key, outline)
        if key in answering:
            _count(services, counted, key, outline)

    series = list(gaps_of(services, keys, most=most, look=look))
    days = _noted(services, counted)
    lacking = {(day.calendar, day.timeframe) for day in days}
    again = {key for key, market in markets.items() if market in lacking}
    anew = gaps_of(services, [one.series for one in series if one.series in again], days, most=most)
    return days, [next(anew) if one.series in again else one for one in series]


def gaps_of(
    services: Services,
    keys: Iterable[SeriesKey],
    days: Sequence[VendorDay] = (),
    bounds: tuple[Any, Any] = (None, None),
    most: int | None = MOST_LISTED,
    look: Callable[[SeriesKey, SeriesOutline], None] | None = None,
) -> Iterator[SeriesGaps]:
    """Yield the gaps of one series after another; one that cannot be read has its reason.

    Args:
        services, keys: which series of which installation.
        days: what vendors lack across their symbols.
        bounds: start and end, as for :func:`gap_report`.
        most: so many gaps of a series are listed; None: all.
        look: is given each series and its outline.
    """
    start, end = bounds
    if end is not None and start is None:
        raise QueryError(f"an end {end} without a start", hint="name the start, too")
    client, now = services.client, services.clock.now_ms()
    for key in keys:
        try:
            within = None if start is None else _span(client, key, start, end)
            outline = client.outline(key)
            if look is not None:
                look(key, outline)
            yield _classified(client, key, outline, now, within, days, most)
        except QueryError:
            if start is not None:
                raise
            yield SeriesGaps(key, problem="its symbol means nothing by the rules")
        except DataError as error:
            yield SeriesGaps(key, problem=str(error))


def _span(client: BarsClient, key: SeriesKey, start: Any, end: Any) -> Span:
    span = client.query(key.symbol, key.timeframe, start, end).span
    return span if end is not None else Span(span.start, _EVER)


def _market(key: SeriesKey, outline: SeriesOutline) -> tuple[str, str]:
    return outline.grid.calendar.name, key.timeframe.label


def _classified(
    client: BarsClient,
    key: SeriesKey,
    outline: SeriesOutline,
    now: int,
    within: Span | None,
    days: Sequence[VendorDay],
    most: int | None,
) -> SeriesGaps:
    def present(span: Span) -> Stamps:
        """Return the stamps of the stored bars in ``span``."""
        return client.columns(key, span).table.stamps

    market = _market(key, outline)
    own = [day for day in days if (day.calendar, day.timeframe) == market]
    fetch = partial(_fetch, client, key)
    every = classify_gaps(key, outline, now, within, present, own, fetch)
    counts, bars = Counter[str](gap.gap_class for gap in every), Counter[str]()
    for gap in every:
        bars[gap.gap_class] += gap.bars
    first = sorted(every, key=lambda gap: gap.gap_class in FINAL_CLASSES)[:most]
    listed = tuple(sorted(first, key=lambda gap: gap.span))
    return SeriesGaps(key, listed, dict(counts), dict(bars))


def _fetch(client: BarsClient, key: SeriesKey, start: str, end: str) -> str:
    """Return the command that fetches a range into a series, or what answers in its place."""
    question = client.question_for(key, start, end)
    if question is None:
        by_rules = client.series_of(client.query(key.symbol, key.timeframe, start, end))
        return f"no request by the rules at hand fills it: {by_rules} answers"
    how = f" --provider {question.provider}" if question.provider else ""
    how += " --session extended" if question.instrument.is_extended else ""
    return f"onetape fetch {key.symbol} {key.timeframe} --start {start} --end {end}{how}"


def find_vendor_days(services: Services, keys: Iterable[SeriesKey]) -> list[VendorDay]:
    """Find the sessions that vendors lack for most of their symbols, by these series.

    What is found is noted for all processes: from then on such a day is asked of the other vendors
    first, and its holes are asked again within hours. A new one is an event (``VendorDayLacking``) and
    a warning in the log, a pending one not before it is a day old. A day that these series show to
    be there is forgotten, and so is one that was not found again for a week. One series is looked at
    after another, and none of them is kept.

    Returns:
        What is known of all days then.
    """
    counted = VendorDays(services.clock.now_ms())
    for key in services.client.answering(keys):
        try:
            _count(services, counted, key, services.client.outline(key))
        except DataError as error:
            log.debug("%s is not counted: %s", key, error)
    return _noted(services, counted)


def _count(services: Services, counted: VendorDays, key: SeriesKey, outline: SeriesOutline) -> None:
    try:
        counted.add(key, outline, partial(services.client.commits, key))
    except DataError as error:
        log.debug("%s is not counted: %s", key, error)


def _noted(services: Services, counted: VendorDays) -> list[VendorDay]:
    """Note what was counted, and tell what is new; return what is known then."""
    before = {_key(day): day for day in services.network.vendor_days()}
    new = [
        day
        for day in counted.days
        if day.condition != "pending"
        and ((noted := before.get(_key(day))) is None or noted.condition == "pending")
    ]
    for day in new:
        facts = {name: value for name, value in vars(day).items() if name in _EVENT_FIELDS}
        services.observer.tell(VendorDayLacking, bars=day.timeframe, **facts)
    if new:
        incidents = incidents_of(new)
        older = (
            f", and {len(incidents) - _MOST_LOGGED:,} older ones"
            if incidents[_MOST_LOGGED:]
            else ""
        )
        log.warning("%s%s", "; ".join(map(str, incidents[-_MOST_LOGGED:])), older)
    if not (counted.days or before):
        return []
    # What many symbols showed is not told anew by a few of them.
    fresh = [
        day if 2 * day.symbols >= (noted := before.get(_key(day), day)).symbols else noted
        for day in counted.days
    ]
    return services.network.keep_vendor_days(fresh, counted.is_available)


_MOST_LOGGED = 10
_EVENT_FIELDS = ("vendor", "day", "condition", "symbols", "lacking")


def _key(day: VendorDay) -> tuple[str, ...]:
    return day.vendor, day.calendar, day.timeframe, day.day
