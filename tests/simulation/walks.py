"""Random walks over what vendors tell, each answer compared with that of a fresh cache.

A walk is a list of plain steps. `play` plays them in a `World` and returns every difference that the cached
answer does not name; `shrunk` makes a walk shorter while a difference remains.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from math import isclose, isnan, log, prod
from typing import Any

import pandas as pd

from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, date_of, day_ms, iso, parse_iso
from src.data.data_manager import DataManager
from src.data.errors import DataError
from tests.vendor_server import Fault, Listing
from tests.vendor_server.ground_truth import Row, Truth
from tests.vendor_server.listings import dividend
from tests.vendor_server.sessions import sessions_of

from .facts import NEVER, TABLE, WALK, Change, History, Telling, change_of, other_company
from .fakes import times
from .model import STEPS, Memory, Question
from .simulation import Profile, Simulation, coin, listings, share, simulated
from .sources import Folder

VENDORS = (
    "yahoo", "fmp", "eodhd", "polygon", "alpaca", "tiingo", "twelvedata", "finnhub",
)  # fmt: skip
MORE_KEYS = {"TWELVE_DATA_API_KEY": "vendor-server-key", "FINNHUB_API_KEY": "vendor-server-key"}
_RULES = ("stock_daily", "stock_intraday", "stock_weekly_monthly")
_PRICES = ("open", "high", "low", "close")
START = "2024-05-14T15:00"

# Hours (UTC) of a question: before the open, in the session, after the close, and late after it.
HOURS = (12, 15, 21, 23)
# A user's own files have prices in another unit, so that they are of another kind.
FILE_FACTOR = 1.1
# What an error says about a vendor that has forgotten bars, and about stored ones that cannot be adjusted
# without it.
_FORGOT = "now lacks"
_STUCK = ("splits and dividends for", "are not known for all of")
_LONDONERS = ("yahoo", "fmp", "eodhd", "twelvedata")

Step = tuple[Any, ...]
# The kind of a difference, and its text.
Differing = list[tuple[str, str]]


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One answer in plain values.

    Attributes:
        rows: maps stamps to open, high, low, close, volume.
        more: maps stamps to adjusted close, split and dividend.
        state: maps stamps to `final`, `provisional` or `suspect`.
        source: maps stamps to the vendor.
        facts: the provenance.
        error: the error in place of an answer; empty if there is none.
    """

    rows: dict[int, tuple[float, ...]] = field(default_factory=dict)
    more: dict[int, tuple[float, ...]] = field(default_factory=dict)
    state: dict[int, str] = field(default_factory=dict)
    source: dict[int, str] = field(default_factory=dict)
    facts: Any = None
    error: str = ""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Answer:
        stamps = frame.index.to_numpy().astype("datetime64[ms]").astype("int64").tolist()

        def columns(*names: str) -> dict[int, tuple[Any, ...]]:
            held = [frame[n].tolist() for n in names if n in frame]
            return dict(zip(stamps, zip(*held, strict=True), strict=True)) if held else {}

        rows, more = columns(*_PRICES, "volume"), columns("adj_close", "split", "dividend")
        if "adj_close" not in frame:
            more = {stamp: (float("nan"), *values) for stamp, values in more.items()}
        states, sources = ({s: v[0] for s, v in columns(n).items()} for n in ("state", "source"))
        return cls(rows, more, states, sources, frame.attrs["onetape"])  # type: ignore[arg-type]

    @property
    def substitute(self) -> str | None:
        """The other kind with which the question was answered."""
        return None if self.error else self.facts["substitute"]

    def doubts(self, stamp: int) -> bool:
        """Return whether a row is not to be trusted, and the answer says so: `strict` raises."""
        return self.state[stamp] == "suspect" and not self.facts["complete"]

    def disputes_dividend(self, stamp: int, timeframe: str) -> bool:
        """Return whether the answer names a dividend of a row about which vendors disagree."""
        listed = [e for e in self.facts.get("actions_disputed", ()) if e["type"] == "dividend"]
        row = range(stamp, _end_of(stamp, timeframe))
        return any(parse_iso(str(entry["ex_date"])) in row for entry in listed)

    def names_gap(self, stamp: int) -> bool:
        """Return whether a bar is listed as missing, with a reason that is true."""
        gaps = self.facts["gaps"]
        inside = [g for g in gaps if parse_iso(g["start"]) <= stamp < parse_iso(g["end"])]
        is_listed = bool(inside) or self.facts["gaps_total"] > len(gaps)
        is_offline = any("offline" in g["reason"] for g in inside)
        return not self.facts["complete"] and is_listed and not is_offline


@dataclass(frozen=True)
class Difference:
    """A difference that the cached answer does not name.

    Attributes:
        kind: `error`, `row`, `missing`, `substitute`, `trust` if a wrong row that a fresh cache doubts
            is not in doubt, or the column that differs.
        asked, text: where, and what.
    """

    kind: str
    asked: Asked
    text: str

    def __str__(self) -> str:
        q = self.asked
        span = f"bars={q.bars}" if q.bars else f"{q.start} to {q.end}"
        more = ", refresh" * q.refresh + f", {q.provider} alone" * bool(q.provider)
        return f"{self.kind}: {q.symbol} {q.timeframe} {span} {q.adjustment}{more}: {self.text}"


@dataclass(frozen=True)
class Asked:
    """One question."""

    symbol: str
    timeframe: str
    start: str | None
    end: str | None
    bars: int | None
    adjustment: Adjustment
    refresh: bool = False
    provider: str | None = None

    @classmethod
    def of(cls, question: Question) -> Asked:
        """Return what a question of the simulation is about, without its other options."""
        return cls(
            question.symbol, question.timeframe, question.start, question.end, question.bars,
            question.option("adjustment") or "split", question.has("force_refresh"),
            question.option("provider"),
        )  # fmt: skip

    @property
    def arguments(self) -> dict[str, Any]:
        bounds = {
            "start_date": self.start, "end_date": self.end, "bars": self.bars,
            "provider": self.provider,
        }  # fmt: skip
        return {n: v for n, v in bounds.items() if v} | {
            "adjustment": self.adjustment,
            "columns": ("source", "state", "split", "dividend"),
        }


# --- the world -----------------------------------------------------------------------------------


@dataclass
class World:
    """One installation with its cache, and the vendors whose tellings change.

    Attributes:
        sim: the processes, the cache, the clock, the vendors.
        history: what happened, and what vendors make of it.
        found: differences that were not named.
        changed_ms: when a vendor told something else the last time.
        sent: requests of the cached manager until then.
        known_since: the first bar that was stored before a vendor forgot some.
        is_settled: whether vendors have told the truth for days.
        refused: changes that could not happen, such as a second split within days.
    """

    sim: Simulation
    history: History
    found: list[Difference] = field(default_factory=list)
    changed_ms: int = 0
    sent: int = 0
    known_since: int = NEVER
    made: int = 0
    is_settled: bool = False
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vendors = self.sim.profile.vendors
        self.known_since = self.now_ms
        self._tell()

    # --- time and tellings

    @property
    def now_ms(self) -> int:
        return self.sim.true.now_ms()

    def wait_until(self, ms: int) -> None:
        """Let time pass, with all that vendors tell otherwise on the way."""
        while (edge := self.history.next_ms(self.now_ms)) <= ms:
            self.sim.true.advance((edge - self.now_ms) / 1000)
            self._tell()
        if ms > self.now_ms:
            self.sim.true.advance((ms - self.now_ms) / 1000)
        self._tell()

    def wait(self, days: int, hour: int) -> None:
        """Wait for an hour of a day, at least so many days from now."""
        ms = self.now_ms // DAY_MS * DAY_MS + days * DAY_MS + hour * HOUR_MS
        self.wait_until(ms if ms > self.now_ms else ms + DAY_MS)

    def change(
        self, fact: str, operation: str, place: int, days: float, size: int
    ) -> Change | None:
        """Let one cell of the table happen; the vendor tells the truth again after some days.

        Return the change; None if it could not happen here.
        """
        vendor = self.vendors[place % len(self.vendors)]
        until = self.now_ms + round(days * DAY_MS)
        made = change_of(self.history, fact, operation, vendor, self.now_ms, until, size)
        if made is None:
            self.refused.append((fact, operation))
            return None
        self.history.changes.append(made)
        self.is_settled = False
        self.sim.told_otherwise(self.history.base.symbol, fact if made.vendor else "")
        self._tell()
        return made

    def _tell(self) -> None:
        symbol, now = self.history.base.symbol, self.now_ms
        self.sim.truth.add(self.history.truth())
        tellings = self.sim.vendors.tellings
        for vendor in self.vendors:
            told = self.history.telling(vendor, now)
            if vendor in self.sim.folders:
                self._write(self.sim.folders[vendor], told)
            before = tellings.get((vendor, symbol))
            if told == before or (before is None and not self.history.changes):
                continue
            self.changed_ms, self.sent = now, self.sim.vendors.sent.total()
            tellings[vendor, symbol] = told
            if vendor in self.sim.folders:
                continue
            self.sim.vendors.heal(vendor)
            if told.is_down:
                self.sim.vendors.fault(vendor, Fault.status(503))

    def _write(self, folder: Folder, told: Telling) -> None:
        """Write a folder's files anew: all closed bars that its owner has now."""
        for frame in self.sim.profile.timeframes:
            path = folder.path / f"{self.history.base.symbol}_{frame}.csv"
            if told.listing is None or told.is_down:
                path.unlink(missing_ok=True)
                continue
            truth, now = Truth([told.listing]), self.now_ms
            rows = truth.rows(told.listing.symbol, frame, now - 100 * DAY_MS, now + 1, "raw", now)
            lines = ["timestamp,open,high,low,close,volume"]
            for row in rows:
                if row.closes_ms <= now and told.has(row.opens_ms, row.closes_ms):
                    factor = FILE_FACTOR * told.factor(row.opens_ms, row.closes_ms)
                    prices = [f"{(v or 0.0) * factor:.4f}" for v in row[1:5]]
                    lines.append(",".join([iso(row.stamp_ms), *prices, str(row.volume)]))
            path.write_text("\n".join(lines) + "\n")

    # --- questions

    def ask(self, asked: Asked) -> None:
        """Put a question to the cache and to a fresh one, and note what differs in silence."""
        cached = self._answer(self.sim.manager, asked, refresh=asked.refresh)
        is_asked = self.sim.vendors.sent.total() > self.sent
        if not self.history.is_cut:
            self.known_since = min([self.known_since, *cached.rows])
        with self.fresh() as manager:
            fresh = self._answer(manager, asked)
        found = self.unnamed(asked, cached, fresh)
        calendar = sessions_of(self.history.base.calendar)
        is_open = any(self.changed_ms < at <= self.now_ms for at in calendar.opens.tolist())
        if not is_asked and not is_open:
            # Nobody has been asked since vendors tell something else, and no session has opened since.
            found = [(kind, text) for kind, text in found if kind in ("missing", "substitute")]
        self.found += [Difference(kind, asked, text) for kind, text in found]

    def _answer(self, manager: DataManager, asked: Asked, *, refresh: bool = False) -> Answer:
        more = {"refresh": True} if refresh else {}
        try:
            return Answer.of(
                manager.get_ohlcv(asked.symbol, asked.timeframe, **asked.arguments, **more)
            )
        except DataError as error:
            return Answer(error=f"{type(error).__name__}: {error}")

    @contextmanager
    def fresh(self) -> Iterator[DataManager]:
        """Yield a manager with an empty cache, and nothing known about vendors.

        What vendors tell it, the simulation neither counts nor remembers.
        """
        self.made += 1
        folder, vendors = self.sim.folder / f"fresh-{self.made}", self.sim.vendors
        state, before = os.environ["ONETAPE_STATE_DIR"], (vendors.memory, vendors.sent)
        os.environ["ONETAPE_STATE_DIR"] = str(folder / "state")
        vendors.memory, vendors.sent = Memory(), Counter()
        try:
            yield DataManager(folder / "cache", self.sim.rules, clock=self.sim.clock)
        finally:
            os.environ["ONETAPE_STATE_DIR"] = state
            vendors.memory, vendors.sent = before
            shutil.rmtree(folder, ignore_errors=True)

    def settle(self) -> None:
        """Let all vendors tell the truth, and time pass: then no difference may remain, named or not."""
        edges = [c.until_ms for c in self.history.changes if c.until_ms != NEVER]
        self.wait_until(max([self.now_ms, *edges]))
        end = iso(self.now_ms)[:10]
        start = iso(self.now_ms - LONG * DAY_MS)[:10]
        for refresh in (False, False, True, True):
            self.wait(2, 21)
            self.ask(Asked(self.history.base.symbol, "1d", start, end, None, "all", refresh))
        self.is_settled = True
        for adjustment in ADJUSTMENTS:
            self.ask(Asked(self.history.base.symbol, "1d", start, end, None, adjustment))

    # --- the comparison

    def unnamed(self, asked: Asked, cached: Answer, fresh: Answer) -> Differing:
        """Return the differences between two answers that the cached one does not name.

        These are named, or no fault, and nothing else is:

        - a row that is `suspect` in an answer that is not complete, so that `strict` raises;
        - a row that is missing in a listed gap of an answer that is not complete, with a reason that
          is true: an answer that was not requested offline is not incomplete because it is;
        - a row or a column that is truly so, although the vendors now tell otherwise: the cache
          remembers more than a fresh one can know. What is true, the tape says and not the library;
        - a row that is adjusted for true actions that a vendor has forgotten, as far back as the
          cache knows them;
        - a final row as its vendor told it, before it told otherwise: only `refresh` asks again. A
          week built from such days and from others, or a dividend's part of such a close (in prices or
          in an adjusted close), is no better and no worse than these days: its prices are between
          the two. It is not compared if a vendor took the symbol for another company. A refresh
          does not change it if the vendor has forgotten the bar;
        - a row without an action that its vendor has not reported so far, if a fresh cache has no such row
          since the vendor does not know the share at the moment: else it would have the same. The same
          applies to one that is adjusted for an action that its vendor reports by mistake, also if the
          vendor's history begins later now;
        - an adjusted close, a split or a dividend that is NaN: unknown;
        - a row that is `suspect` in both answers, because it was fetched within a week of a split that one
          vendor tells by mistake: others know of none, and nothing decides yet who is right;
        - a dividend that `actions_disputed` names: its amount depends on whose splits count, and who has
          forgotten its report is no longer heard;
        - the dividend of a row as its vendor tells it now, forgotten or on another day, if a fresh cache
          asks a second vendor for bars, too, since that of the row lacks some or they are doubted;
        - a row adjusted for the dividends that its own vendor reports, if that vendor omits one and a
          fresh cache also asks another vendor for bars, which reports it: nobody has told the cache;
        - an error that says that the vendor now lacks bars that are stored;
        - an error that says that stored bars cannot be adjusted, since splits and dividends are not known,
          if the vendor has forgotten some. A fresh cache has no such bars: it answers with the few that
          the vendor still has, or with those of another company that it takes the symbol for.

        After vendors have told the truth for days, and the caller has refreshed, doubts and gaps are
        over, too; not bars of another company that their vendor has forgotten, and the gaps beside them.
        """
        if cached.error:
            if fresh.error or _FORGOT in cached.error:
                return []
            has_forgotten = any(
                c.is_cut and c.fact in ("bar", "listing") for c in self.history.changes
            )
            is_stuck = all(part in cached.error for part in _STUCK)
            is_few = has_forgotten and not fresh.facts["complete"]
            is_named = is_stuck and (is_few or self._has_namesake)
            return [] if is_named else [("error", f"a fresh cache answers: {cached.error[:200]}")]
        found: Differing = []
        has_namesake = self._has_namesake
        is_built = asked.timeframe != "1d" or asked.adjustment == "all"
        if has_namesake and is_built and not self.is_settled:
            return found
        if cached.substitute and fresh.rows and cached.substitute != fresh.substitute:
            found.append(("substitute", f"{cached.substitute}, a fresh cache: {fresh.substitute}"))
        truth = self._true_rows(asked, cached, self.history.truth())
        told_before = self._told_before(asked, cached, fresh)
        reported = self._rows_as_reported(asked, cached)
        own_dividends = self._rows_with_own_dividends(asked, cached, fresh)
        for stamp, row in cached.rows.items():
            other = fresh.rows.get(stamp)
            found += self._contradictory(stamp, truth.get(stamp), cached, fresh)
            if other is not None and _alike(row, other):
                kept = told_before.get(stamp, [])
                is_right = stamp not in truth or _is_among(row, (truth[stamp], *kept))
                if fresh.doubts(stamp) and not (cached.doubts(stamp) or is_right):
                    told = f"{iso(stamp)[:16]} {cached.state[stamp]} {row[:4]}"
                    found.append(("trust", f"{told}, a fresh cache doubts it"))
                found += self._unlike(asked, stamp, truth.get(stamp), kept, cached, fresh)
                continue
            is_doubted = cached.doubts(stamp) and not self._is_over(cached)
            # Another company's bars are adjusted for dividends of the right one.
            within = 0.02 if has_namesake else 1e-4
            kept = told_before.get(stamp, [])
            is_kept = _is_among(row, kept, within)
            if asked.timeframe in ("1w", "1M") and stamp in truth:
                is_kept = is_kept or _is_between(row, [truth[stamp], *kept])
            if other is None and _is_among(row, reported.get(stamp, [])):
                continue
            if _is_among(row, own_dividends.get(stamp, [])):
                continue
            if is_doubted or is_kept or (stamp in truth and _is_among(row, (truth[stamp],))):
                continue
            if (
                self._tells_false_split()
                and cached.state[stamp] == fresh.state.get(stamp) == "suspect"
            ):
                continue
            told = f"{iso(stamp)[:16]} {cached.state[stamp]} {row[:4]}"
            found.append(("row", f"{told}, a fresh cache has {other}"))
        if asked.bars is not None and len(cached.rows) >= len(fresh.rows):
            return found
        lost = [s for s in fresh.rows if s not in cached.rows]
        # No other vendor's bars are put beside another company's, which their vendor has forgotten.
        is_unlike = any("do not match those" in gap["reason"] for gap in cached.facts["gaps"])
        is_stuck = has_namesake and self.history.is_cut and is_unlike
        is_over = self.is_settled and not is_stuck
        silent = [s for s in lost if is_over or not cached.names_gap(s)]
        return found + [("missing", f"{iso(s)[:16]}, in silence") for s in silent]

    def _unlike(
        self, asked: Asked, stamp: int, true: Row | None, kept: Sequence[Row], cached: Answer,
        fresh: Answer,
    ) -> Differing:  # fmt: skip
        """Return the differences in the columns beside the prices."""
        if cached.doubts(stamp) or fresh.doubts(stamp):
            return []
        # The rows before an action carry the doubt about it.
        is_doubted = any(map(cached.doubts, cached.rows)) and not self._is_over(cached)
        is_of_others = self._has_namesake and not self.is_settled
        names = ("adj_close", "split", "dividend")
        told = [bar.adj_close or 0.0 for bar in ([true] if true else []) + [*kept]]
        split, paid = self._true_actions(asked, stamp, cached)
        # An amount is per share, as the prices of its row are: also if no vendor reports a split yet.
        shares = cached.rows[stamp][3] / ((true and true[4]) or cached.rows[stamp][3])
        actions = [split], [paid, paid * shares]
        # A fresh cache may know more of another vendor, which it asks if it doubts the bars of the first.
        others = set(fresh.facts["vendors"]) - {cached.source[stamp]}
        was_asked = others or any(p.startswith("settled: ") for p in fresh.facts["problems"])
        listing = self.history.telling(cached.source[stamp], self.now_ms).listing
        told_now = self._true_actions(asked, stamp, cached, (listing and listing.told) or ())[1]
        pairs = zip(names, cached.more[stamp], fresh.more[stamp], (told, *actions), strict=True)
        return [
            (name, f"{iso(stamp)[:10]} {a}, a fresh cache has {b}")
            for name, a, b, allowed in pairs
            if not (isnan(a) or isnan(b) or _near(a, b))
            and not (is_of_others if name == "adj_close" else is_doubted)
            and not any(_near(a, value) for value in allowed)
            and not (name == "dividend" and cached.disputes_dividend(stamp, asked.timeframe))
            and not (name == "dividend" and was_asked and _near(a, told_now))
        ]

    def _contradictory(
        self, stamp: int, true: Row | None, cached: Answer, fresh: Answer
    ) -> Differing:
        """Return the difference if an adjusted close is off from a true close by a split that happened."""
        row, told = cached.rows[stamp], cached.more[stamp][0]
        is_true = true is not None and isclose(row[3], true[4] or 0.0, rel_tol=0.05)
        if true is None or not (is_true and true.adj_close and told > 0) or cached.doubts(stamp):
            return []
        if stamp in fresh.rows and not fresh.doubts(stamp):
            other = fresh.rows[stamp][3], fresh.more[stamp][0]
            if _alike((row[3], told), other):
                return []
        off = abs(log(told / true.adj_close))
        # Nothing shows a split that the row's vendor has never told if no bar after it is known.
        unknown = {
            c.hides
            for c in self.history.changes
            if c.hides is not None and c.vendor == cached.source[stamp]
            and c.since_ms <= c.hides.ex_at < c.until_ms and self.now_ms < c.until_ms
            and max(cached.rows) < day_ms(c.hides.ex_date) and not fresh.rows
        }  # fmt: skip
        splits = [a for a in self.history.truth().actions if a.type == "split"]
        # Nor one that its vendor, which now ends before it, would report with a later bar: the answer
        # names the day that its prices are as of, and a fresh cache does not have the row at all.
        if stamp not in fresh.rows:
            unknown |= {a for a in splits if day_ms(a.ex_date) >= self._as_of(cached)}
        ratios = [float(a.ratio) for a in splits if a not in unknown]
        is_off = any(isclose(off, abs(log(ratio)), abs_tol=0.1) for ratio in ratios)
        text = f"{iso(stamp)[:10]} {told} beside {row[3]}, truly {true.adj_close}"
        return [("adj_close", text)] * is_off

    def _told_since(self, true: Listing) -> Iterator[tuple[Action, ...]]:
        """Yield the true actions that a cache may know after a vendor has forgotten some.

        It knows what a vendor still tells and all splits, since one that stored bars show is kept; or
        what a vendor still tells and all since it first asked, or more, until some question before they
        were forgotten.
        """
        since = date_of(self.known_since)
        changes = self.history.changes
        forgot = date_of(max(c.since_ms for c in changes if c.is_cut))
        # What happened, and no vendor has told yet.
        unheard = {c.hides for c in changes if c.hides == c.happens and self.now_ms < c.until_ms}
        firsts = {since, *(a.ex_date for a in true.actions if a.ex_date <= since)}
        lasts = {forgot, *(a.ex_date for a in true.actions if since <= a.ex_date <= forgot)}
        for vendor in self.vendors:
            listing = self.history.telling(vendor, self.now_ms).listing
            told = (listing and listing.told) or ()
            yield tuple(a for a in true.actions if a.type == "split" or a in told)
            for first, last in product(firsts, lasts):
                yield tuple(
                    a
                    for a in true.actions
                    if a in told
                    or (first <= a.ex_date and not last <= a.ex_date < forgot and a not in unheard)
                )

    def _tells_false_split(self) -> bool:
        """Return whether a vendor now tells a split that did not happen."""
        return any(
            c.fact == "split"
            and c.tells
            and not c.happens
            and c.since_ms <= self.now_ms < c.until_ms
            for c in self.history.changes
        )

    @property
    def _has_namesake(self) -> bool:
        """Whether a vendor has taken the symbol for another company."""
        return any(c.fact == "identity" for c in self.history.changes)

    def _is_over(self, cached: Answer) -> bool:
        """Return whether no doubt may remain.

        One remains about an action if its vendor now tells none of its type, or has forgotten those of
        long ago: an answer without any action, or one that lacks many, withdraws nothing. So does one
        without a bar after the ex-date.
        """
        told = [day_ms(c.tells.ex_date) for c in self.history.changes if c.tells is not None]
        if max(told, default=0) >= max(cached.rows):
            return False
        known = {a.type for a in self.history.truth().actions}
        taken_back = {c.fact for c in self.history.changes if c.tells is not None and not c.happens}
        return self.is_settled and not self.history.is_cut and taken_back <= known

    def _as_of(self, cached: Answer) -> int:
        day = cached.facts["as_of"]
        return parse_iso(day) + DAY_MS if day else self.now_ms

    def _true_actions(
        self, asked: Asked, stamp: int, cached: Answer, told: Sequence[Action] | None = None
    ) -> tuple[float, float]:
        """Return the split and the dividend that truly belong to a row, or those of what is ``told``."""
        actions = self.history.truth().actions if told is None else told
        known = [a for a in actions if day_ms(a.ex_date) < self._as_of(cached)]
        ratio, paid = 1.0, 0.0
        # What happened where bars are missing belongs to the next row, but not to the first.
        before = [s for s in cached.rows if s < stamp]
        begin = _end_of(before[-1], asked.timeframe) if before else stamp
        own = [a for a in known if begin <= day_ms(a.ex_date) < _end_of(stamp, asked.timeframe)]
        for action in own:
            later = prod(float(a.ratio) for a in known if a.type == "split" and a > action)
            if action.type == "split":
                ratio *= float(action.ratio)
            else:
                paid += action.amount / (1.0 if asked.adjustment == "raw" else later)
        return ratio if any(a.type == "split" for a in own) else 0.0, paid

    def _true_rows(self, asked: Asked, cached: Answer, listing: Listing) -> dict[int, Row]:
        """Return what truly traded, by stamp, in the units of each row's vendor."""
        found: dict[int, Row] = {}
        if not cached.rows:
            return found
        stamps, known = list(cached.rows), self._as_of(cached)
        truth = Truth([listing, _DOLLARS])
        for vendor in set(cached.source.values()):
            is_dollars = asked.symbol == "BTCUSDT" and vendor == "yahoo"
            symbol = "BTC-USD" if is_dollars else asked.symbol
            window = stamps[0], stamps[-1] + 1
            rows = truth.rows(symbol, asked.timeframe, *window, asked.adjustment, known)
            factor = FILE_FACTOR if vendor == "local" else 1.0
            here = {row.stamp_ms: times(row, factor) for row in rows}
            # Bars after the date as of which prices are adjusted are as traded.
            for row in truth.rows(symbol, asked.timeframe, *window, "raw", self.now_ms):
                here.setdefault(row.stamp_ms, times(row, factor))
            found |= {s: here[s] for s in stamps if cached.source[s] == vendor and s in here}
        return found

    def _rows_as_reported(self, asked: Asked, cached: Answer) -> dict[int, list[Row]]:
        """Return the rows with the actions that their vendors report now, if these have no such bars now."""
        true, now = self.history.truth(), self.now_ms
        gone = {v for v in self.vendors if self.history.telling(v, now).listing is None}
        forgot = {c.vendor for c in self.history.changes if c.is_cut and c.fact == "listing"}
        now_told = [c for c in self.history.changes if c.since_ms <= now < c.until_ms]
        hidden = {c.hides for c in now_told if c.vendor in gone and c.hides}
        told = [c.tells for c in now_told if c.vendor in gone | forgot and c.tells]
        actions = (*(action for action in true.actions if action not in hidden), *told)
        is_true = not (hidden or told)
        rows = {} if is_true else self._true_rows(asked, cached, replace(true, told=actions))
        return {stamp: [row] for stamp, row in rows.items()}

    def _rows_with_own_dividends(
        self, asked: Asked, cached: Answer, fresh: Answer
    ) -> dict[int, list[Row]]:
        """Return the rows without the dividends that their vendors omit, if a fresh cache asks others."""
        vendors = set(cached.facts["vendors"])
        true, now = self.history.truth(), self.now_ms
        omitted = [
            c.hides
            for c in self.history.changes
            if c.fact == "dividend" and c.vendor in vendors and c.since_ms <= now < c.until_ms
        ]
        if fresh.error or not any(omitted) or not set(fresh.facts["vendors"]) - vendors:
            return {}
        told = tuple(action for action in true.actions if action not in omitted)
        rows = self._true_rows(asked, cached, replace(true, told=told))
        return {stamp: [row] for stamp, row in rows.items()}

    def _told_before(self, asked: Asked, cached: Answer, fresh: Answer) -> dict[int, list[Row]]:
        """Return the bars as a vendor may have told them before it told otherwise, by stamp.

        After a refresh, these are only bars that vendors have forgotten.
        """
        found: dict[int, list[Row]] = defaultdict(list)
        true = self.history.truth()
        for told in self._told_since(true) if self.history.is_cut else ():
            for stamp, row in self._true_rows(asked, cached, replace(true, told=told)).items():
                found[stamp].append(row)
        is_over = asked.refresh or self.is_settled
        changes = self.history.changes
        sizes = {c.size for c in changes if (c.fact, c.operation) == ("bar", "moved")}
        for stamp, row in self._true_rows(asked, cached, true).items():
            if not is_over or (self.history.is_cut and stamp not in fresh.rows):
                found[stamp] += [times(row, size) for size in sizes]
        told_now = {v: self.history.telling(v, self.now_ms) for v in self.vendors}
        forgotten = {
            stamp
            for stamp, names in cached.source.items()
            for vendor in names.split(",")
            if vendor in told_now
            and not told_now[vendor].has(stamp, _end_of(stamp, asked.timeframe))
        }
        kept = set(cached.rows) if not is_over else forgotten
        mistakes = [c for c in changes if c.fact == "identity"]
        # Before a vendor took the symbol for another company, or none, it told what it knew.
        lost = [*mistakes, *(c for c in changes if c.fact == "listing")]
        honest = History(self.history.base, [c for c in changes if c not in lost])
        told_of = [honest.telling(v, c.since_ms).listing for c in lost for v in self.vendors]
        for listing in filter(None, told_of):
            for stamp, row in self._true_rows(asked, cached, listing).items():
                found[stamp] += [row] if stamp in kept else []
        if mistakes:
            splits = [a for a in true.actions if a.type == "split" and asked.adjustment == "raw"]
            for stamp, row in self._true_rows(asked, cached, other_company(true)).items():
                # Another company's bars as traded are without the splits of the right one.
                days = range(stamp + 1, self._as_of(cached))
                undone = prod(float(a.ratio) for a in splits if day_ms(a.ex_date) in days)
                found[stamp] += [row, times(row, undone)] if stamp in kept else []
        return found


def _is_among(row: Sequence[float], bars: Sequence[Row], within: float = 1e-4) -> bool:
    """Return whether the prices of a row are those of one of these bars."""
    return any(
        all(isclose(a, b or 0.0, rel_tol=within) for a, b in zip(row[:4], bar[1:5], strict=True))
        for bar in bars
    )


def _is_between(row: Sequence[float], bars: Sequence[Row], within: float = 1e-4) -> bool:
    """Return whether each price of a row is between the lowest and the highest of these bars."""
    columns = zip(row[:4], *(bar[1:5] for bar in bars), strict=True)
    return all(
        min(told) * (1 - within) <= price <= max(told) * (1 + within) for price, *told in columns
    )


def _end_of(stamp: int, timeframe: str) -> int:
    if timeframe == "1M":
        return day_ms((date_of(stamp) + timedelta(31)).replace(day=1))
    return stamp + STEPS[timeframe]


def _near(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-4)


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(_near(a, b) or (isnan(a) and isnan(b)) for a, b in pairs)


# --- steps ---------------------------------------------------------------------------------------

LONG, SHORT = 70, 20
# For how many days a vendor tells something else, and how many pass until the next question.
DAYS_TOLD, DAYS_BETWEEN = (0.1, 1, 3, 9, 30), (0, 1, 1, 2, 5, 12, 40)
ADJUSTMENTS: tuple[Adjustment, ...] = ("split", "all", "raw")


def cells_of(symbol: str) -> list[tuple[str, str]]:
    """Return the cells of the table that are drawn for a symbol."""
    return [(f, o) for f in _FACTS_OF[symbol] for o, held in TABLE[f].items() if held == WALK]


def _change(chance: random.Random, symbol: str) -> Step:
    """Return one cell of the table: at which vendor, for how many days, how far off."""
    fact, operation = chance.choice(cells_of(symbol))
    days = chance.choice(DAYS_TOLD)
    # What the first vendor tells decides most.
    return "change", fact, operation, chance.choice((0, 0, 1, 2)), days, chance.randrange(4)


def _question(chance: random.Random, frames: Sequence[str]) -> Step:
    """Return a question: whole, in pieces and in another order, or the last bars."""
    frame, adjustment = chance.choice(frames), chance.choice(ADJUSTMENTS)
    name = chance.choices(("ask", "pieces", "last"), (5, 1, 2))[0]
    if name == "pieces":
        return "pieces", frame, tuple(chance.sample(range(4), 4)), adjustment
    if name == "last":
        return "last", frame, chance.choice((5, 30)), adjustment
    back, length = chance.choice((0, 0, 5, 30)), chance.choice((LONG, SHORT, 6))
    return (
        "ask",
        frame,
        back,
        length,
        adjustment,
        chance.choices(("", "refresh", "pinned"), (8, 1, 1))[0],
    )


def _steps(chance: random.Random, symbol: str, rounds: int) -> Iterator[Step]:
    """Yield the steps of a walk: in each round something changes, time passes, a question is put."""
    frames = _FRAMES_OF.get(symbol, _FRAMES)
    for number in range(rounds):
        if number and chance.random() < 0.75:
            yield _change(chance, symbol)
        if number:
            yield "wait", chance.choice(DAYS_BETWEEN), chance.choice(HOURS)
        if chance.random() < 0.2:
            yield ("restart",)
        yield _question(chance, frames)
    yield ("settle",)


def take(world: World, step: Step) -> None:
    """Take one step."""
    name, *how = step
    today = world.now_ms // DAY_MS * DAY_MS
    symbol = world.history.base.symbol

    def ask(frame: str, back: int, length: int, adjustment: Adjustment, how: str = "") -> None:
        unit = {"1h": HOUR_MS, "1d": DAY_MS, "1w": 2 * DAY_MS, "1M": 3 * DAY_MS}[frame]
        now = world.now_ms // HOUR_MS * HOUR_MS if frame == "1h" else today
        end = now - back * min(unit, DAY_MS)
        cut = 16 if frame == "1h" else 10
        bounds = iso(end - length * unit)[:cut], iso(end)[:cut]
        vendor = world.vendors[0] if how == "pinned" else None
        world.ask(Asked(symbol, frame, *bounds, None, adjustment, how == "refresh", vendor))

    if name == "wait":
        world.wait(*how)
    elif name == "change":
        world.change(*how)
    elif name == "ask":
        ask(*how)
    elif name == "pieces":
        frame, order, adjustment = how
        for part in order:
            ask(frame, 15 * part, 15, adjustment)
        ask(frame, 0, 60, adjustment)
    elif name == "last":
        frame, bars, adjustment = how
        world.ask(Asked(symbol, frame, None, None, bars, adjustment))
    elif name == "settle":
        world.settle()
    else:
        world.sim.restart()


@dataclass(frozen=True)
class Walk:
    """A walk: who is asked about what, and the steps."""

    vendors: tuple[str, ...]
    symbol: str
    steps: tuple[Step, ...]


# Ex-dates of a dividend of each month: a vendor that takes back the only action that it ever told is not
# believed, and a share without any other would show nothing but that.
_EX_DATES = (
    "2023-12-05", "2024-01-05", "2024-02-05", "2024-03-05", "2024-04-05", "2024-05-07",
    "2024-06-05", "2024-07-05", "2024-08-05", "2024-09-05", "2024-10-07", "2024-11-05",
)  # fmt: skip
_MONTHLY = tuple(dividend(day, 0.1) for day in _EX_DATES)
LISTINGS: dict[str, Listing] = {
    "AAPL": share("AAPL", 180.0, actions=_MONTHLY),
    "YNG": share("YNG", 35.0, listed="2024-04-03T13:30", actions=_MONTHLY[5:]),
    "VOD.L": share(
        "VOD.L", 80.0, calendar="XLON", timezone="Europe/London", currency="GBp", exchange="LSE",
        actions=_MONTHLY,
    ),
}  # fmt: skip
LISTINGS["BTCUSDT"] = coin("BTCUSDT", 30_000.0)
_DOLLARS = next(one for one in listings() if one.symbol == "BTC-USD")
_FRAMES = ("1d", "1d", "1d", "1w", "1M")
_FRAMES_OF = {"BTCUSDT": ("1h", "1d")}
# Facts that may change; one that is there twice changes more often.
_FACTS_OF = {
    "AAPL": ("bar", "split", "dividend", "split", "dividend", "end", "identity"),
    "YNG": ("bar", "listing", "listing", "split"),
    "VOD.L": ("unit", "zone", "bar", "dividend"),
    "BTCUSDT": ("bar",),
}
_OF_COINS = (("binance", "yahoo"), ("local:a", "binance"), ("binance", "local:a"))


def walk_of(seed: int, rounds: int = 6) -> Walk:
    """Return the walk of a seed: of shares, even ones ask one vendor, odd ones three."""
    chance = random.Random(seed)
    symbol = chance.choices(list(LISTINGS), (12, 4, 2, 3))[0]
    some = _LONDONERS if symbol == "VOD.L" else VENDORS
    vendors = (some[seed // 2 % len(some)],) if seed % 2 == 0 else tuple(chance.sample(some, 3))
    if symbol == "BTCUSDT":
        vendors = chance.choice(_OF_COINS)
    return Walk(vendors, symbol, tuple(_steps(chance, symbol, rounds)))


def profile_of(symbol: str, vendors: tuple[str, ...]) -> Profile:
    """Return the profile of one symbol, of which these vendors are asked."""
    is_coin = symbol == "BTCUSDT"
    return Profile(
        "_".join(("told", symbol, *vendors)), vendors, (symbol,),
        ("1h", "1d") if is_coin else ("1d", "1w", "1M"), ("crypto",) if is_coin else _RULES,
        projects=(vendors,) if any(":" in vendor for vendor in vendors) else (),
    )  # fmt: skip


@contextmanager
def world_of(walk: Walk) -> Iterator[World]:
    """Yield the world in which a walk is played."""
    with simulated(profile_of(walk.symbol, walk.vendors), START) as sim:
        yield World(sim, History(LISTINGS[walk.symbol]))


def play(walk: Walk, most: int = 1) -> list[Difference]:
    """Play a walk until so many steps had differences that are not named; return these."""
    with world_of(walk) as world:
        for step in walk.steps:
            take(world, step)
            if len(world.found) >= most:
                break
        return world.found


def shrunk(walk: Walk, kind: str) -> Walk:
    """Return a shorter walk in which a difference of a kind remains."""
    steps = list(walk.steps)
    for place in reversed(range(len(steps))):
        fewer = steps[:place] + steps[place + 1 :]
        found = play(replace(walk, steps=tuple(fewer)))
        if found and found[0].kind == kind:
            steps = fewer
    return replace(walk, steps=tuple(steps))
