"""The reference model: what each vendor told and when, in plain dictionaries; and the verdicts.

It knows nothing of the library but the documented frame and its ``attrs``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isnan, prod
from typing import Any

import numpy as np
import pandas as pd

from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.stored.lifetime import NO_BARS_SINCE
from src.data.core.model.stored.reasons import UNASKED
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.span import Span, coalesce
from src.data.core.prices.judgement.findings import QualityReport
from src.data.core.prices.judgement.grave import grave_of
from tests.vendor_server import Row, Truth, sessions
from tests.vendor_server.ground_truth import NEVER
from tests.vendor_server.sessions import FOREX, FOREX_EARLY, sessions_of

Values = tuple[float | None, ...]
EXTENDED = "@extended"
STEPS = {
    "15m": 15 * MINUTE_MS, "30m": 30 * MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS, "1w": 7 * DAY_MS,
    "1M": 31 * DAY_MS,
}  # fmt: skip
# Bars that are stamped with dates.
DAYS = ("1d", "1w", "1M")
# All bars begin at one of these.
_GRID_MS = 15 * MINUTE_MS
NAMES = ["open", "high", "low", "close", "volume"]
# What bars are called that a user stores himself.
USER = "mine"


def label_of(timeframe: str, *, is_extended: bool) -> str:
    """Return the name of a timeframe's bars: bars of extended hours have another name."""
    return timeframe + EXTENDED * is_extended


@dataclass(frozen=True)
class Quote:
    """What a vendor said of one bar.

    Attributes:
        at_ms: when, by the true time.
        adjustment: what its prices were adjusted for, then.
        values: open, high, low, close, volume.
        closes_ms: when the bar closes.
        spoilt: why it cannot be believed; empty where it can.
        lead_ms: how far ahead both clocks were then, the machine's and the vendor's.
        by_a_wrong_clock: whether the machine's clock was wrong, and the vendor told no date: as of which day
            its prices are split is then not known.
        skew_ms: by how much the vendor's date was wrong: it says which splits are in its prices.
    """

    at_ms: int
    adjustment: str
    values: Values
    closes_ms: int
    spoilt: str = ""
    lead_ms: int = 0
    by_a_wrong_clock: bool = False
    skew_ms: int = 0

    @property
    def was_closed(self) -> bool:
        return self.closes_ms <= self.at_ms

    @property
    def seemed_closed(self) -> bool:
        return self.closes_ms <= self.at_ms + self.lead_ms


class Memory:
    """Everything that vendors told: by vendor, listing, timeframe and stamp.

    Attributes:
        fresh: what was told, within what was asked, since the last question began.
        left_out: listing, timeframe and stamp of bars of what was asked that did not come.
    """

    def __init__(self) -> None:
        self.quotes: dict[tuple[str, str, str], dict[int, list[Quote]]] = {}
        self.fresh: list[tuple[str, str, int, Quote]] = []
        self.left_out: set[tuple[str, str, int]] = set()
        # What files said before they were written anew.
        self.past: dict[tuple[str, str, str, int], list[Quote]] = defaultdict(list)

    def hear(
        self, vendor: str, symbol: str, label: str, quotes: Mapping[int, Sequence[Quote]],
        left_out: Iterable[int] = (), until_ms: int = 1 << 53,
    ) -> None:  # fmt: skip
        """Note what a vendor tells of a listing, and which of its bars it leaves out.

        What is stamped ``until_ms`` or later comes along unasked.
        """
        known = self.quotes.setdefault((vendor, symbol, label), defaultdict(list))
        absent = {(symbol, label, stamp) for stamp in left_out}
        self.left_out |= absent
        self.fresh = [one for one in self.fresh if one[:3] not in absent]
        for stamp, told in quotes.items():
            known[stamp] += told
            if stamp < until_ms:
                self.fresh += ((symbol, label, stamp, quote) for quote in told)

    def forget(self, vendor: str, symbol: str, label: str) -> None:
        """What a vendor told of a series is told no longer; it remains known that it was."""
        for stamp, told in self.quotes.pop((vendor, symbol, label), {}).items():
            self.past[vendor, symbol, label, stamp] += told

    def of(self, vendor: str, symbols: Sequence[str], label: str, stamp: int) -> list[Quote]:
        """Return what a vendor told of a bar of one of these listings."""
        found: list[Quote] = []
        for symbol in symbols:
            found += self.quotes.get((vendor, symbol, label), {}).get(stamp, [])
        return found

    def by_any(self, symbols: Sequence[str], label: str, stamp: int) -> list[Quote]:
        """Return what all vendors told of a bar of one of these listings."""
        told = (
            stamps
            for (_, symbol, frame), stamps in self.quotes.items()
            if symbol in symbols and frame == label
        )
        return [quote for stamps in told for quote in stamps.get(stamp, ())]

    def strangers(self, vendor: str, symbols: Sequence[str], label: str, stamp: int) -> list[str]:
        """Return the other listings of which the vendor told a bar with this stamp."""
        return [
            symbol
            for (name, symbol, frame), stamps in self.quotes.items()
            if (name, frame) == (vendor, label) and symbol not in symbols and stamp in stamps
        ]


@dataclass(frozen=True)
class Question:
    """One question, as a user puts it.

    Attributes:
        start, end: ISO texts; dates for days, instants for shorter bars. None with ``bars``.
        bars: how many of the last bars up to ``end``.
        options: further arguments of ``get_ohlcv``.
        is_extended: whether bars before the open and after the close of regular hours are requested, too.
    """

    symbol: str
    timeframe: str
    start: str | None
    end: str | None
    bars: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    is_extended: bool = False

    @property
    def label(self) -> str:
        """The name under which vendors' bars for this question are kept."""
        return label_of(self.timeframe, is_extended=self.is_extended)

    @property
    def arguments(self) -> dict[str, Any]:
        bounds = {"start_date": self.start, "end_date": self.end, "bars": self.bars}
        session = {"session": "extended"} if self.is_extended else {}
        return {n: v for n, v in bounds.items() if v} | dict(self.options) | session

    def has(self, *names: str) -> bool:
        return bool(set(names) & {name for name, value in self.options if value})

    def option(self, name: str) -> Any:
        return dict(self.options).get(name)

    def known_ms(self) -> int:
        """Return the instant by which bars must have closed to be asked for."""
        known = self.option("closed_by") or (self.end if self.bars is not None else None)
        if known is None:
            return 1 << 53
        return parse_iso(known) + (0 if "T" in known else DAY_MS)

    def span(self, now_ms: int) -> Span:
        """Return the stamps asked for, half-open; wide open at the start where bars are counted."""
        end = parse_iso(self.end) + 1 if self.end else now_ms + 1
        return Span(parse_iso(self.start) if self.start else 0, max(end, 1))


@dataclass(frozen=True)
class Seen:
    """An answer in plain values.

    Attributes:
        rows: stamp to open, high, low, close, volume.
        source, state: stamp to what the columns say.
        facts: the provenance.
    """

    rows: dict[int, tuple[float, ...]]
    source: dict[int, str]
    state: dict[int, str]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Seen:
        stamps = frame.index.to_numpy().astype("datetime64[ms]").astype("int64").tolist()
        values = zip(*(frame[name].tolist() for name in NAMES), strict=True)
        told = [
            frame[name].tolist() if name in frame else [""] * len(stamps)
            for name in ("source", "state")
        ]
        return cls(
            dict(zip(stamps, values, strict=True)),
            dict(zip(stamps, told[0], strict=True)),
            dict(zip(stamps, told[1], strict=True)),
            frame.attrs["onetape"],
        )

    @property
    def is_complete(self) -> bool:
        return bool(self.facts["complete"])

    @property
    def gaps(self) -> list[Span]:
        return [Span(parse_iso(g["start"]), parse_iso(g["end"])) for g in self.facts["gaps"]]

    @property
    def grave(self) -> set[int]:
        """The bars that the answer has as wrong nearly for certain, and doubted ones among merged."""
        found = set()
        for one in self.facts["spans"]:
            if str(one.get("reason")).startswith("grave:"):
                span = Span(parse_iso(one["start"]), parse_iso(one["end"]))
                own = {stamp for stamp in self.rows if stamp in span}
                found |= {s for s in own if self.state[s] == "suspect"} if "merged" in one else own
        return found

    @property
    def grave_count(self) -> int:
        """The number of bars that the answer has as wrong nearly for certain."""
        spans = self.facts["spans"]
        return sum(one["rows"] for one in spans if str(one.get("reason")).startswith("grave:"))

    def summary(self) -> dict[str, Any]:
        """Return what the same question must be answered again, while no vendor is asked."""
        names = ("complete", "flagged", "substitute", "adjustment", "as_of")
        now = parse_iso(self.facts["asked_at"])
        # If a clock was set back, a pinned vendor's lane may take over the coverage of closed hours of shares
        # only in the next call.
        of_hours = self.facts["timeframe"] == "1h" and not self.facts["symbol"].endswith("=X")
        is_late = of_hours and self.facts["pinned"]
        gaps = [one for one in self.facts["gaps"] if not (is_late and one["reason"] == UNASKED)]
        # One that reaches up to now ends later the second time: by as much as requests took.
        is_now = now - 2 * MINUTE_MS
        # One that reaches up to the last bar closed by now does too: it has the same bars, all of which
        # begin at a quarter of an hour.
        # Adjacent gaps count as one: their reasons may differ only in a day.
        joined = coalesce(Span(parse_iso(one["start"]), parse_iso(one["end"])) for one in gaps)
        ends = [-(-gap.end // _GRID_MS) * _GRID_MS for gap in joined]
        spans = [
            (gap.start, None if gap.end > is_now else end)
            for gap, end in zip(joined, ends, strict=True)
        ]
        told = {name: self.facts.get(name) for name in names} | {"gaps": spans}
        # What failed on the way is of that call, not of the bars; an end is reported once.
        passing = "sent no splits and dividends", NO_BARS_SINCE
        lasting = [
            text for text in self.facts["problems"] if not any(one in text for one in passing)
        ]
        return told | {"problems": lasting}


@dataclass
class Model:
    """What may be answered.

    Attributes:
        truth: what truly traded.
        memory: what vendors told.
        same: symbol to all listings that are that thing.
        may_be_denied: whether two vendors have said at once that there is nothing: together they prove
            a listing that is none.
        acknowledged: series (symbol, timeframe, pin, adjustment) to the stamps of final bars that
            a user was given.
        heard: symbol, timeframe and pin to the closed bars that vendors told for answers that arrived.
        order: the sources of the project that asks, first to last, where each has bars of its own kind;
            empty where their bars may stand beside each other.
        named: what a source is called in answers to its name in the memory, where these differ.
        true_ms: the true time of the question that is judged.
        told: symbol to the facts that a vendor has told otherwise than they are. Prices and the absence of
            bars that depend on them are not judged here.
    """

    truth: Truth
    memory: Memory
    same: Mapping[str, tuple[str, ...]]
    may_be_denied: bool = False
    acknowledged: dict[tuple[Any, ...], set[int]] = field(default_factory=lambda: defaultdict(set))
    heard: dict[tuple[Any, ...], set[int]] = field(default_factory=lambda: defaultdict(set))
    order: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    true_ms: int = 0
    told: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def _has_other_prices(self, symbol: str) -> bool:
        """Return whether prices may be adjusted, or in units, by what is not so."""
        return bool(self.told.get(symbol, set()) - {"bar", "listing", "end"})

    def forget(self, symbol: str | None = None) -> None:
        """Bars of a symbol, or all, may be gone."""
        for table in (self.acknowledged, self.heard):
            for key in [k for k in table if symbol in (None, k[0])]:
                del table[key]

    # --- one answer ------------------------------------------------------------------------

    def judge(
        self, question: Question, seen: Seen, times: tuple[int, int], slack_ms: int,
        *, may_skip: bool = False, must_have: bool = False,
    ) -> None:  # fmt: skip
        """Assert that an answer may be given.

        Args:
            question, seen: the question and its answer.
            times: the true time and the machine's when it was put.
            slack_ms: how late after their close vendors tell bars.
            may_skip: whether a vendor that leaves out bars without trades has left some out.
            must_have: whether no vendor has ever failed to tell anything, so that all is to be had.
        """
        now, self.true_ms = times[1], times[0]
        span = question.span(now)
        self._take_back()
        self._inside(question, seen, span)
        self._by_the_rules(question, seen, must_have=must_have)
        for stamp in seen.rows:
            self._bar(question, seen, stamp, times)
        expected = self._expected(question, seen, span, min(times) - slack_ms)
        if may_skip:
            expected &= self.heard[self._asked(question)]
        if must_have:
            absent = sorted(expected - set(seen.rows))
            assert not absent, f"{question}: all vendors are well, and absent is {_some(absent)}"
        closed = Span(0, now - max(DAY_MS, STEPS[question.timeframe]))
        self._nothing_absent(question, seen, expected, span.clip(closed))
        self._note(question, seen, span)

    def _inside(self, question: Question, seen: Seen, span: Span) -> None:
        outside = [iso(stamp) for stamp in seen.rows if stamp not in span]
        assert not outside, f"{question}: bars outside of what was asked: {outside[:3]}"
        self._known_then(question, seen)
        if question.bars is not None:
            assert len(seen.rows) <= question.bars + question.has("include_forming"), question
        assert list(seen.rows) == sorted(seen.rows), f"{question}: bars out of order"

    def _by_the_rules(self, question: Question, seen: Seen, *, must_have: bool) -> None:
        """Assert that the rules decide who answers, and that no answer has bars of two kinds."""
        # What users store themselves is of no kind, and stands beside any.
        sources = {one for told in seen.source.values() for one in told.split(",")} - {"", USER}
        if not self.order or not sources:
            return
        assert len(sources) == 1, f"{question}: bars of several kinds, by {sources}"
        pinned = question.option("provider")
        first = pinned or self.order[0].partition(":")[0]
        if seen.facts["substitute"]:
            assert not pinned, f"{question}: a substitute by {sources}"
            is_due = must_have and self.order[0] == first and not question.has("offline")
            assert not is_due, f"{question}: {sources} stand in, and {first} is well"
        else:
            assert sources == {first}, f"{question}: by {sources}, the rules say {first} first"
            allowed = {name.partition(":")[0] for name in self.order}
            assert pinned or sources <= allowed, f"{question}: {sources} are not in the rules"

    def _known_then(self, question: Question, seen: Seen) -> None:
        """Assert that no bar closes after the instant by which all must have closed."""
        known = question.known_ms()
        near = [s for s in seen.rows if s > known - 4 * DAY_MS]
        if not near:
            return
        name = self.same.get(question.symbol, (question.symbol,))[0]
        if name not in {listing.symbol for listing in self.truth.listings()}:
            return
        rows = self._rows(question, name, near[0], near[-1] + 1)
        later = [
            row.stamp_ms for row in rows if row.stamp_ms in seen.rows and row.closes_ms > known
        ]
        assert not later, f"{question}: bars that close later: {_some(later)}"

    def _bar(self, question: Question, seen: Seen, stamp: int, times: tuple[int, int]) -> None:
        """Assert that a bar is what its vendor told, and as far along as its state says."""
        true_now, now = times[0], min(times)  # a clock behind knows of no later split
        what = f"{question}: {iso(stamp)} by {seen.source[stamp]!r}, {seen.state[stamp]!r}"
        state, values = seen.state[stamp], seen.rows[stamp]
        if seen.facts.get("derived_from"):
            self._made(question, seen, stamp, now)
            return
        price, high, low, close = values[:4]
        assert low * (1 - 1e-5) <= min(price, close), f"{what}: {values}"
        assert high * (1 + 1e-5) >= max(price, close), f"{what}: {values}"
        names = self.same.get(question.symbol, (question.symbol,))
        label = question.label
        vendors = [self.named.get(v, v) for v in seen.source[stamp].split(",")]
        # Regular hours may be cut out of the bars of a vendor that always sends the others, too.
        labels = {label, label_of(question.timeframe, is_extended=True)}
        quotes = [q for v in vendors for t in labels for q in self.memory.of(v, names, t, stamp)]
        if state == "suspect" and question.has("offline") and not seen.is_complete:
            # An offline answer reads no file: it has what was read, and says that it is not final.
            quotes += [q for v in vendors for q in self.memory.past[v, names[0], label, stamp]]
        if not quotes and label == "1h" and self._is_extended(names[0]):
            self._made(question, seen, stamp, now)  # hours from the open, out of half hours
            return
        if not quotes:
            strangers = [s for v in vendors for s in self.memory.strangers(v, names, label, stamp)]
            assert not strangers, f"{what} is a bar of another thing, {strangers}"
            assert not vendors, f"{what} was told by nobody: {values}"
        if state == "forming":
            return
        fitting = [q for q in quotes if self._fits(question, seen, stamp, values, q, now)]
        assert fitting, f"{what} is {values}, its vendor told {quotes[-3:]}"
        if any(parse_iso(one["stamp"]) == stamp for one in seen.facts["flagged"]):
            return
        spoilt = {q.spoilt for q in fitting}
        if spoilt == {
            "contradicted"
        }:  # of two rows that contradict each other a second vendor has this one
            others = self.memory.by_any(names, label, stamp)
            beside = (q for q in others if self._fits(question, seen, stamp, values, q, now))
            spoilt |= {q.spoilt for q in beside}
        assert "" in spoilt or state in ("suspect", "provisional"), (
            f"{what} is not flagged, it was {spoilt}"
        )
        if state == "final":
            closed = [q for q in fitting if q.seemed_closed]
            assert closed, f"{what} was told while it formed"
            lead = max(q.lead_ms for q in closed)
            assert stamp + MINUTE_MS <= true_now + lead, f"{what} is final and has not begun"

    def _made(self, question: Question, seen: Seen, stamp: int, now: int) -> None:
        """Assert that every price of a bar made of shorter ones is a price that was told of one."""
        names = self.same.get(question.symbol, (question.symbol,))
        parts = Span(stamp, stamp + STEPS[question.timeframe])
        is_share = self._is_share(question)
        told: list[tuple[float, ...]] = []
        for (_, name, label), stamps in self.memory.quotes.items():
            timeframe = label.removesuffix(EXTENDED)
            if (
                name in names
                and STEPS.get(timeframe, 0) < STEPS[question.timeframe]
                and (timeframe != label or not question.is_extended)
            ):
                for part, quotes in stamps.items():
                    for quote in quotes if part in parts else ():
                        factors = {1.0}
                        if is_share:  # by the true time, and by that which its vendor sent
                            at = {quote.at_ms, quote.at_ms + quote.skew_ms}
                            factors = {
                                self._factor(names[0], seen, part, quote, now, ms) for ms in at
                            }
                        told += [tuple((v or 0.0) * f for v in quote.values[:4]) for f in factors]
        if seen.facts["adjustment"] == "all" or self._has_other_prices(question.symbol):
            return  # see :meth:`check_total_return`, and a fresh cache
        assert told, f"{question}: {iso(stamp)} is made of bars that no vendor reported"
        for value, column in zip(seen.rows[stamp][:4], zip(*told, strict=True), strict=False):
            fits = any(isclose(value, one, rel_tol=1e-5) for one in column)
            assert fits, (
                f"{question}: {iso(stamp)} is made of bars that no vendor reported: {value}"
            )

    def _is_share(self, question: Question) -> bool:
        name = self.same.get(question.symbol, (question.symbol,))[0]
        known = {listing.symbol: listing for listing in self.truth.listings()}
        return name in known and known[name].asset_class == "stock"

    def _fits(
        self, question: Question, seen: Seen, stamp: int, values: Values, quote: Quote, now: int
    ) -> bool:
        """Tell whether values are those of a quote, in the adjustment and basis of the answer."""
        if None in quote.values[:4]:
            return False
        is_total = seen.facts["adjustment"] == "all" and self._is_share(question)
        if is_total or self._has_other_prices(question.symbol):
            return True  # see :meth:`check_total_return`, and a fresh cache
        name = self.same.get(question.symbol, (question.symbol,))[0]
        if not self._is_share(question):
            told = [v for v in quote.values[:4] if v is not None]
            return all(  # prices are sent with eight decimals
                isclose(a or 0.0, b, rel_tol=1e-9, abs_tol=5e-9)
                for a, b in zip(values, told, strict=False)
            )
        known = {self._factor(name, seen, stamp, quote, now)}
        if quote.skew_ms:
            known.add(self._factor(name, seen, stamp, quote, now, quote.at_ms + quote.skew_ms))
        if seen.facts["as_of"] and self._opens(name, parse_iso(seen.facts["as_of"])) > self.true_ms:
            # By a vendor's wrong date a session has opened: whoever is right has no split of it yet.
            known.add(self._factor(name, seen, stamp, quote, now, has_opened=False))
        if quote.by_a_wrong_clock:
            known.add(1.0)  # of splits since then nothing is known, but in what was told
        return any(
            all(isclose(a or 0.0, (v or 0.0) * factor, rel_tol=1e-5)
                for a, v in zip(values, quote.values[:4], strict=False))
            for factor in known
        )  # fmt: skip

    def _factor(
        self,
        name: str,
        seen: Seen,
        stamp: int,
        quote: Quote,
        now: int,
        at_ms: int | None = None,
        *,
        has_opened: bool = True,
    ) -> float:
        """Return what a told price is multiplied by to stand in the basis of the answer.

        ``at_ms`` is when it was told by the vendor's own time. ``has_opened`` is False if the session as of
        which the answer is has not opened by the true time.
        """
        at_ms = quote.at_ms if at_ms is None else at_ms
        as_of = parse_iso(seen.facts["as_of"]) if seen.facts["as_of"] else now
        if seen.is_complete and not seen.facts["problems"]:
            as_of = max(as_of, now - DAY_MS)  # a session has opened since
        latest = max(now, as_of + DAY_MS)
        wanted = set() if seen.facts["adjustment"] == "raw" else self._splits(name, stamp, latest)
        wanted = {s for s in wanted if (s[0] <= as_of if has_opened else s[0] < as_of)}
        done = set() if quote.adjustment == "raw" else self._splits(name, stamp, at_ms)
        factor = 1.0
        for split in wanted - done:
            factor /= split[1]
        for split in done - wanted:
            factor *= split[1]
        return factor

    def _opens(self, name: str, day: int) -> int:
        return sessions_of(self.truth.listing(name).calendar).open_of(day)

    def _splits(self, name: str, stamp: int, as_of_ms: int) -> set[tuple[int, float]]:
        """Return the splits behind a day that were known: their dates and ratios."""
        found = {
            (parse_iso(a.ex_date.isoformat()), float(a.ratio))
            for a in self.truth.actions(name, as_of_ms)
            if a.type == "split"
        }
        day = self._day_of(name, stamp)
        return {one for one in found if day < one[0]}

    def _is_extended(self, name: str) -> bool:
        known = {listing.symbol: listing for listing in self.truth.listings()}
        return name in known and known[name].extended

    def _day_of(self, name: str, stamp: int) -> int:
        """Return the session date of a bar, which may be on the UTC day before its date or behind it."""
        calendar = self.truth.listing(name).calendar
        if self._is_extended(name):
            calendar += sessions.EXTENDED
        around = sessions_of(calendar).between(stamp, stamp + 1)
        return int(around.dates[0]) if len(around.dates) else stamp // DAY_MS * DAY_MS

    def _rows(
        self, question: Question, name: str, start: int, end: int, now: int = NEVER,
        adjustment: Adjustment = "raw",
    ) -> list[Row]:  # fmt: skip
        """Return the bars that truly traded, of the hours that a question is about."""
        anchor = "clock" if question.is_extended else "session"
        return self.truth.rows(
            name, question.timeframe, start, end, adjustment, now,
            anchor=anchor, extended=question.is_extended,
        )  # fmt: skip

    # --- what is not there -------------------------------------------------------------------

    def _expected(self, question: Question, seen: Seen, span: Span, closed_by: int) -> set[int]:
        """Return the stamps of all bars that had closed and should be in the answer."""
        names = self.same.get(question.symbol, (question.symbol,))
        first = min(seen.rows, default=span.end) if question.bars is not None else span.start
        first = max(first, span.start)
        closed_by = min(closed_by, question.known_ms())
        name = names[0]
        if name not in {listing.symbol for listing in self.truth.listings()}:
            return set()
        rows = self._rows(question, name, first, span.end, closed_by)
        found = {row.stamp_ms for row in rows if row.closes_ms <= closed_by}
        if self.truth.listing(name).calendar != FOREX_EARLY:
            return found
        # Before its week begins a market need not be asked for its own sake.
        weeks = sessions_of(FOREX)
        begun = {s for s in found if len(weeks.between(s, s + 1).dates)}
        if question.has("offline"):
            return begun
        # Nor where the week itself was told before: nothing is asked for then.
        before = self.heard[self._asked(question)] | self.acknowledged[self._series(question, seen)]
        fresh = begun - before
        return begun | {s for s in found - begun if any(s < t < s + DAY_MS for t in fresh)}

    def _nothing_absent(
        self, question: Question, seen: Seen, expected: set[int], span: Span
    ) -> None:
        absent = [] if self.told.get(question.symbol) else sorted(expected - set(seen.rows))
        if self.may_be_denied:
            denied = [gap for gap in seen.facts["gaps"] if gap["reason"] == "before the first bar"]
            spans = [Span(parse_iso(gap["start"]), parse_iso(gap["end"])) for gap in denied]
            absent = [s for s in absent if not any(s in span for span in spans)]
        if seen.is_complete:
            assert not absent, f"{question}: complete without {_some(absent)}"
        gaps = seen.gaps
        # An answer that lacks too much of a stretch is doubted there as a whole, in words that count it.
        doubted = [
            Span(parse_iso(one["start"]), parse_iso(one["end"]))
            for one in seen.facts["spans"]
            if str(one.get("reason")).startswith("doubtful: ") and "did not come" in one["reason"]
        ]
        untold = [s for s in absent if not any(s in gap for gap in (*gaps, *doubted))]
        if seen.facts["gaps_total"] == len(gaps) and question.bars is None:
            assert not untold, f"{question}: absent and not told: {_some(untold)}, gaps {gaps}"
        lane = self.acknowledged[self._series(question, seen)]
        lost = [
            s for s in lane
            if s in span and s not in seen.rows and not any(s in gap for gap in gaps)
        ]  # fmt: skip
        if question.bars is None and not question.option("closed_by"):
            assert not lost, f"{question}: was given before and is gone: {_some(lost)}"
        if question.bars is None and not question.option("closed_by") and seen.is_complete:
            heard = self.heard[self._asked(question)]
            hidden = sorted(s for s in heard - set(seen.rows) if s in span)
            assert not hidden, f"{question}: complete, and told bars are hidden: {_some(hidden)}"

    def _take_back(self) -> None:
        """Forget bars that were not final yet and did not come again: their vendor took them back."""
        for symbol, label, stamp in self.memory.left_out:
            for key, heard in self.heard.items():
                if key[:2] != (symbol, label):
                    continue
                # A bar that is final for a pinned vendor may be in a lane of its own.
                finals = (s for name, s in self.acknowledged.items() if name[: len(key)] == key)
                if not any(stamp in stamps for stamps in finals):
                    heard.discard(stamp)
        self.memory.left_out.clear()

    def _note(self, question: Question, seen: Seen, span: Span) -> None:
        """Remember what was acknowledged, and what vendors told for this answer."""
        lane = self.acknowledged[self._series(question, seen)]
        lane |= {s for s, state in seen.state.items() if state == "final"}
        names = self.same.get(question.symbol, (question.symbol,))
        # An answer that was refused as a whole, for it lacks too much of what is stored, or is in
        # another unit, told nothing.
        refused = [
            Span(parse_iso(one["start"]), parse_iso(one["end"]))
            for one in seen.facts["attempts"]
            if one["outcome"] in ("QualityError", "SpliceConflictError")
        ]
        # Bars before the last N were sent to be compared: their vendor may lack them when they are wanted.
        first = min(seen.rows, default=span.end) if question.bars is not None else span.start
        for symbol, label, stamp, quote in self.memory.fresh:
            good = quote.was_closed and not quote.spoilt and stamp >= first
            good &= not any(stamp in part for part in refused)
            if good and label == question.label and symbol in names[:1] and stamp in span:
                self.heard[self._asked(question)].add(stamp)

    def _asked(self, question: Question) -> tuple[Any, ...]:
        return question.symbol, question.label, question.option("provider"), self.order

    def _series(self, question: Question, seen: Seen) -> tuple[Any, ...]:
        # In an outage, bars are made of shorter ones, and their vendor may leave others out of these.
        return (
            *self._asked(question),
            seen.facts["substitute"],
            seen.facts["adjustment"],
            "derived_from" in seen.facts,
        )

    def check_grave(self, question: Question, seen: Seen, report: QualityReport) -> None:
        """Assert that an answer has as grave what a validation of its series has as errors."""
        if seen.facts.get("derived_from"):
            return  # its bars are made of shorter ones, which the report is not about
        findings = [one for one in report.findings if one.is_grave]
        stamps = np.array(sorted(seen.rows), dtype=np.int64)
        # Where units change, the wrong rows are those to be repaired, not those after the change.
        wrong = {stamp for one in findings for stamp in grave_of(stamps, one).stamps.tolist()}
        final = {stamp for stamp, state in seen.state.items() if state == "final"}
        settled = [
            Span(parse_iso(one["start"]), parse_iso(one["end"]))
            for one in seen.facts["spans"]
            if str(one.get("reason")).startswith("settled:")
        ]
        passed = {s for s in wrong & final if not any(s in span for span in settled)}
        assert not passed, f"{question}: errors that are not grave: {_some(sorted(passed))}"
        errors = [one for one in report.findings if one.severity == "error"]
        wrong |= {stamp for one in errors for stamp in one.rows.tolist()}
        odd = sorted(seen.grave - wrong)
        if not any("merged" in one for one in seen.facts["spans"]):
            assert not odd, f"{question}: grave without an error: {_some(odd)}"
        assert seen.grave_count <= len(wrong & set(seen.rows)), f"{question}: grave beyond errors"

    def check_total_return(self, question: Question, seen: Seen) -> None:
        """Assert that prices adjusted for dividends, too, are those of the truth as of their session.

        No vendor may ever have failed, for only the truth has the close before each dividend.
        """
        name, rows = self.same.get(question.symbol, (question.symbol,))[0], sorted(seen.rows)
        if not rows or not self._is_share(question):
            return
        assert seen.facts["adjustment"] == "all" or not seen.is_complete, (
            f"{question}: {seen.facts}"
        )
        if seen.facts["adjustment"] != "all" or not seen.facts["as_of"]:
            return
        # Up to the open of the next session, no other action applies.
        known = self._opens(name, parse_iso(seen.facts["as_of"]) + DAY_MS) - 1
        for row in self._rows(question, name, rows[0], rows[-1] + 1, known, "all"):
            if row.stamp_ms in seen.rows and seen.state[row.stamp_ms] == "final":
                pairs = zip(seen.rows[row.stamp_ms][:4], row[1:5], strict=True)
                fits = all(isclose(a, b or 0.0, rel_tol=1e-4) for a, b in pairs)
                assert fits, (
                    f"{question}: {iso(row.stamp_ms)} {seen.rows[row.stamp_ms]}, truly {row}"
                )

    def check_actions(self, question: Question, frame: pd.DataFrame) -> None:
        """Assert that each row has the splits and dividends of its dates, or that they are unknown.

        No vendor may ever have failed, and rows must not be missing.
        """
        name, facts = self.same.get(question.symbol, (question.symbol,))[0], frame.attrs["onetape"]
        stamps = frame.index.to_numpy().astype("datetime64[ms]").astype("int64").tolist()
        if not stamps or not self._is_share(question):
            return
        as_of = parse_iso(facts["as_of"]) if facts["as_of"] else NEVER
        known = self.truth.actions(name, self.true_ms)
        splits = [(parse_iso(str(a.ex_date)), float(a.ratio)) for a in known if a.type == "split"]
        days = self._first_rows(question, name, stamps)
        for row, stamp in enumerate(stamps):
            split, paid = 1.0, 0.0
            own = [a for a in known if parse_iso(str(a.ex_date)) in days[stamp]]
            for action in own:
                day = parse_iso(str(action.ex_date))
                later = prod(ratio for at, ratio in splits if day < at <= as_of)
                raw = question.option("adjustment") == "raw"
                if action.type == "split":
                    split *= float(action.ratio)
                else:
                    paid += action.amount if raw else action.amount / later
            true = split if any(a.type == "split" for a in own) else 0.0, paid
            for told, value in zip(
                frame[["split", "dividend"]].iloc[row].tolist(), true, strict=True
            ):
                fits = isclose(told, value, rel_tol=1e-4) or (isnan(told) and not facts["complete"])
                assert fits, f"{question}: {iso(stamp)} has the actions {told}, truly {value}"

    def _first_rows(self, question: Question, name: str, stamps: Sequence[int]) -> dict[int, Span]:
        """Return the dates of the first row of each session, of a week or of a month, by its stamp."""
        if question.timeframe in DAYS:
            months = np.array(stamps, "datetime64[ms]").astype("datetime64[M]") + 1
            ends = months.astype("datetime64[ms]").astype("int64").tolist()
            step = STEPS[question.timeframe]
            ends = ends if question.timeframe == "1M" else [stamp + step for stamp in stamps]
            return {stamp: Span(stamp, end) for stamp, end in zip(stamps, ends, strict=True)}
        rows = self._rows(question, name, stamps[0] - 2 * DAY_MS, stamps[-1] + 1)
        calendar = self.truth.listing(name).calendar + sessions.EXTENDED * question.is_extended
        first: dict[int, int] = {}
        for traded in rows:
            around = sessions_of(calendar).between(traded.stamp_ms, traded.stamp_ms + 1)
            first.setdefault(int(around.dates[0]), traded.stamp_ms)
        opened = {stamp: day for day, stamp in first.items()}
        return {
            stamp: Span(opened[stamp], opened[stamp] + DAY_MS) if stamp in opened else Span(0, 0)
            for stamp in stamps
        }

    def again(self, question: Question, first: Seen, second: Seen) -> None:
        """Assert that the same question got the same answer, nobody having been asked between."""
        assert second.rows == first.rows or _equal(first.rows, second.rows), (
            f"{question}: other bars the second time: "
            f"{_some(sorted(set(first.rows) ^ set(second.rows)))}"
        )
        one, other = first.summary(), second.summary()
        if question.bars is not None:  # the first may have reached further back than its bars
            one["problems"] = other["problems"] = []
        assert one == other, (
            f"{question}: told otherwise the second time: {_differences(one, other)}"
        )


def _equal(one: Mapping[int, Values], other: Mapping[int, Values]) -> bool:
    return list(one) == list(other) and all(
        a == b or (a != a and b != b) for s in one for a, b in zip(one[s], other[s], strict=True)
    )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return "; ".join(f"{n}: {one[n]} / {other[n]}" for n in one if one[n] != other[n])


def _some(stamps: Sequence[int]) -> str:
    return f"{len(stamps)} ({', '.join(iso(s) for s in stamps[:3])})"
