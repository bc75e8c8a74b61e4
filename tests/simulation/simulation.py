"""One installation, its users and its world, step by step; after every step the model judges.

Every step is an ordinary method, so that a failure found by the state machine of ``machine.py`` can
be written down as plain calls.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from src.data.core.bars import batch
from src.data.core.bars.selection.lanes import LaneFinder
from src.data.core.bars.stream_store import StreamKeeper
from src.data.core.clock import ManualClock
from src.data.core.config import offered
from src.data.core.disk import calls, files
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso
from src.data.core.net.http import http
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadRangeError,
    CacheError,
    CorruptEntryError,
    DataError,
    IncompleteDataError,
    KindMismatchError,
    QueryError,
)
from tests.vendor_server import Fault, Listing, Truth, dividend, split
from tests.vendor_server.listings import NEW_YORK
from tests.vendor_server.sessions import FOREX_EARLY, sessions_of

from .fakes import Disks, Killed, OwnDownloader, Vendors, WrongClock
from .model import DAYS, STEPS, USER, Memory, Model, Question, Quote, Seen
from .sources import PLUGIN, REGISTERED, AcmeFace, Folder, Stream

KEYS = {
    "ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "b", "POLYGON_API_KEY": "c", "TIINGO_API_KEY": "d",
    "FMP_API_KEY": "vendor-server-key", "EODHD_API_KEY": "vendor-server-key",
}  # fmt: skip
COLUMNS = ("source", "state")
# A folder in memory, where the machine has one: no run waits for a platter.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
OWN = "own"
# Runs after which their objects are collected.
_COLLECTED = 25
_closed = count(1)
# Splits of one share: more would leave prices of nothing.
_MOST_SPLITS = 3
# Trading, a split ahead, a weekend, summer time beginning, an early close, midnight.
STARTS = ("2024-06-05T13:45", "2024-06-09T20:30", "2024-03-10T06:30", "2024-07-03T19:30",
          "2024-06-08T00:00:00")  # fmt: skip
# How late after a bar's close a vendor is sure to tell it.
_LATE_MS = {"alpaca": HOUR_MS, "polygon": HOUR_MS, "tiingo": HOUR_MS, "fmp": HOUR_MS,
            "eodhd": 30 * HOUR_MS, OWN: 0, "binance": 0, "yahoo": 0, PLUGIN: 0}  # fmt: skip


def coin(symbol: str, base: float, listed: str = "2017-08-17T04:00", **more: Any) -> Listing:
    """Return a coin."""
    made = {"currency": "USDT", "exchange": "Binance", "volume_decimals": 3, "lot": 7} | more
    return Listing(symbol, "crypto", base, listed=listed, **made)


def share(symbol: str, base: float, **more: Any) -> Listing:
    """Return a share, of New York if ``more`` says nothing else."""
    made = {"calendar": "XNYS", "timezone": NEW_YORK, "exchange": "NMS", "name": f"{symbol} Inc."}
    return Listing(symbol, "stock", base, **(made | more))


def listings() -> list[Listing]:
    """Return what is listed when a simulation begins."""
    dollars = {"currency": "USD", "exchange": "CCC", "volume_decimals": 0}
    return [
        coin("BTCUSDT", 30_000.0),
        coin("BTC-USD", 30_000.0, name="Bitcoin USD", **dollars),
        coin("NEWUSDT", 5.0, "2024-06-03T10:30", decimals=4),
        coin("HALTUSDT", 300.0, outages=(("2024-06-04T02:00", "2024-06-04T05:30"),)),
        # The letters of a coin; at the exchange of coins nothing is traded under META, at times.
        coin("META-USD", 0.02, decimals=6, name="Metadium USD", **dollars),
        share("AAPL", 180.0),
        share("NVDA", 900.0),
        share("META", 500.0),
        # Its session opens on the UTC day before its date.
        share(
            "AIR.NZ", 5.0, calendar="XNZE", timezone="Pacific/Auckland", exchange="NZE",
            currency="NZD", decimals=4,
        ),
        # Its sessions have a break for lunch.
        share(
            "0700.HK", 380.0, calendar="XHKG", timezone="Asia/Hong_Kong", exchange="HKG",
            currency="HKD",
        ),
        Listing(
            "NZDUSD=X", "forex", 0.61, decimals=5, lot=0, calendar=FOREX_EARLY,
            timezone="Europe/London", exchange="CCY", name="NZD/USD", listed="2023-01-02",
            spellings={"yahoo": "NZDUSD=X"},
        ),
    ]  # fmt: skip


# Which listings are one thing: the first is the one that a symbol names at its own venue.
SAME = {"BTCUSDT": ("BTCUSDT", "BTC-USD"), "METAUSDT": ("METAUSDT",)}


@dataclass(frozen=True)
class Profile:
    """A corner of the market: who serves it, and what is asked there.

    Attributes:
        vendors: the vendors asked, in order; the first of them may be any of ``choices``.
        symbols, timeframes: of the questions.
        rules: names of the rules that decide who is asked.
        projects: the orders of sources in the rules of several projects with one cache, where there
            are any; each source has bars of its own kind. ``local:a`` is the folder ``a``.
        streams: whether a stream brings bars, too.
        is_extended: whether shares trade before the open and after the close, and most questions are
            about those hours, too.
        starts: when a simulation may begin.
    """

    name: str
    vendors: tuple[str, ...]
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    rules: tuple[str, ...]
    projects: tuple[tuple[str, ...], ...] = ()
    streams: bool = False
    is_extended: bool = False
    starts: tuple[str, ...] = STARTS


COINS = Profile(
    "coins", ("binance",), ("BTCUSDT", "NEWUSDT", "HALTUSDT"), ("1h", "15m", "1d"), ("crypto",)
)
COIN_PAIR = Profile(
    "coin_pair", ("binance", "yahoo"), ("BTCUSDT", "METAUSDT", "BTC-USD"), ("1h", "15m", "1d"),
    ("crypto",),
)  # fmt: skip
OWN_COINS = Profile("own_coins", (OWN,), ("BTCUSDT",), ("1h", "1d"), ("crypto",))
PLUGINS = Profile(
    "plugins", (PLUGIN, "binance"), ("BTCUSDT",), ("1h", "15m", "1d"), ("crypto",),
    projects=((PLUGIN, "binance"), ("binance", PLUGIN), (PLUGIN,)),
)  # fmt: skip
FILES = Profile(
    "files", ("binance",), ("BTCUSDT",), ("1h", "1d"), ("crypto",),
    projects=(("local:a", "binance"), ("local:b",), ("binance", "local:a"), ("binance",)),
)  # fmt: skip
STREAMS = Profile(
    "streams", ("binance",), ("BTCUSDT", "HALTUSDT"), ("1h", "15m"), ("crypto",), streams=True
)
LONG_OF_COINS = Profile(
    "long_of_coins", ("binance",), ("BTCUSDT", "NEWUSDT", "HALTUSDT"), ("1w", "1d", "1M"),
    ("crypto",),
)  # fmt: skip
CURRENCIES = Profile("currencies", ("yahoo",), ("NZDUSD=X",), ("1h",), ("forex",))
_OF_SHARES = ("stock_daily", "stock_intraday")
SHARES_BY_THE_HOUR = Profile(
    "shares_by_the_hour", ("yahoo",), ("AAPL", "NVDA"), ("1h", "1d"), _OF_SHARES
)


def extended_hours(*vendors: str) -> Profile:
    """Return the profile of shares that these vendors have in extended hours, too."""
    name = "extended_hours_" + "_".join(vendors)
    timeframes = ("30m", "15m", "1h")
    # Before the open, at it, after the close when UTC has the next date, the evening before a
    # weekend, an early close.
    starts = (
        "2024-06-06T09:50", "2024-06-05T13:25", "2024-03-08T00:40", "2024-03-08T23:10",
        "2024-07-03T19:30",
    )  # fmt: skip
    return Profile(
        name, vendors, ("AAPL", "NVDA"), timeframes, _OF_SHARES, is_extended=True, starts=starts
    )


AUCKLAND = Profile("auckland", ("yahoo",), ("AIR.NZ",), ("1h", "1d"), _OF_SHARES)
# Before the break, in it, after the close, before the open; the evening before a weekend.
HONG_KONG = Profile(
    "hong_kong", ("yahoo",), ("0700.HK",), ("1h", "30m", "1d"), _OF_SHARES,
    starts=("2024-06-05T03:40", "2024-06-05T04:20", "2024-06-05T08:20", "2024-06-05T01:10",
            "2024-06-07T07:50"),
)  # fmt: skip


def long_of_shares(*vendors: str) -> Profile:
    """Return the profile of weeks, days and months of shares by these vendors."""
    name = "long_of_shares_" + "_".join(vendors)
    return Profile(
        name, vendors, ("AAPL", "NVDA"), ("1w", "1d", "1M"), (*_OF_SHARES, "stock_weekly_monthly")
    )


@cache
def _rules_file(text: str) -> Path:
    """Return a file of these rules, the same one in every run: the library reads it once."""
    _rule_files.append(tempfile.TemporaryDirectory(prefix="onetape-simulation-rules-"))
    path = Path(_rule_files[-1].name, "rules.yaml")
    path.write_text(text)
    return path


_rule_files: list[tempfile.TemporaryDirectory[str]] = []


def shares(*vendors: str) -> Profile:
    """Return the profile of shares by these vendors."""
    name = "shares_" + "_".join(vendors)
    return Profile(name, vendors, ("AAPL", "NVDA"), ("1d",), _OF_SHARES)


@dataclass
class Simulation:
    """Everything of one run; made within :func:`simulated`."""

    profile: Profile
    start: str = "2024-06-05T13:45"
    truth: Truth = field(default_factory=lambda: Truth(listings()))
    memory: Memory = field(default_factory=Memory)
    disks: Disks = field(default_factory=Disks)
    was_well: bool = True
    denying: set[str] = field(default_factory=set)
    clock_was_right: bool = True
    was_undated: bool = False
    was_split: bool = False
    was_damaged: bool = False
    backup: Path | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="onetape-simulation-", dir=_MEMORY))
        self.true = ManualClock(parse_iso(self.start))
        self.clock = WrongClock(self.true)
        self.vendors = Vendors(self.true, self.truth, self.memory)
        self.vendors.add(AcmeFace())
        for symbol in self.profile.symbols if self.profile.is_extended else ():
            self.truth.change(symbol, extended=True)
        self.own = OwnDownloader(self.vendors, OWN)
        self.model = Model(self.truth, self.memory, SAME)
        self.stream = Stream(self.truth, self.memory)
        # Files begin a while before the simulation does, and reach as far as they are written.
        self.files_since = self.true.now_ms() // DAY_MS * DAY_MS - 20 * DAY_MS
        names = {one for order in self.profile.projects for one in order if ":" in one}
        self.folders = {
            name: Folder(
                self.folder / name.partition(":")[2], 1 + number / 10, self.truth, self.memory
            )
            for number, name in enumerate(sorted(names), start=1)
        }
        for folder in self.folders.values():
            self._write(folder)
        # Commit, question, answer, and the machine's time then.
        self.versions: dict[tuple[str, str], list[tuple[int, Question, Seen, int]]] = {}
        self._restores: list[Callable[[], None]] = []
        self._patch(offered, "_registered", REGISTERED)
        self.project = -1
        self.set_project(0)
        self._patch(http.HttpTransport, "send", lambda _, request: self.vendors.carry(request))
        # A disk at which nothing is to fail is looked at as in production, and syncs nothing.
        self._patch(files.Disk, "perform", lambda _, step, call: self.disks.perform(step, call))
        self._patch(files.Disk, "_is_watched", property(lambda _: self.disks.is_armed))
        # One thread at a time: which of two meets the full disk first is no matter of the seed.
        self._patch(batch, "WORKERS", 1)
        self._patch(LaneFinder, "first_vendor", lambda *_: "")
        self._patch(calls, "full_sync", lambda *_: None)
        self._patch(calls, "sync_folder", lambda *_: None)
        self._environ = {n: os.environ.get(n) for n in (*KEYS, "ONETAPE_STATE_DIR")}
        os.environ.update(KEYS, ONETAPE_STATE_DIR=str(self.folder / "state"))
        self.manager = self.new_manager()
        self.other: DataManager | None = None

    def set_project(self, number: int) -> None:
        """Go on in another project: other rules, the same cache."""
        orders = self.profile.projects
        if not orders:
            self.rules = _rules_file(self._rules(self.profile.vendors))
            return
        number %= len(orders)
        if number == self.project:
            return
        self.project, order = number, orders[number]
        text = self._rules(order)
        if self.folders:
            self.rules = self.folder / f"rules-{number}.yaml"
            self.rules.write_text(text)
        else:
            self.rules = _rules_file(text)
        folder = next((name for name in order if name in self.folders), "")
        self.model.order, self.model.named = order, {"local": folder or "local"}
        self.versions.clear()
        self.restart()
        self.other = None

    def close(self) -> None:
        """Put back what was replaced, and remove the folder."""
        for restore in self._restores:
            restore()
        for name, value in self._environ.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        shutil.rmtree(self.folder, ignore_errors=True)
        # Managers are rings of objects, each with an open file of limits: thousands of runs would
        # open more than a process may. To look for a few takes as long as for many.
        del self.manager, self.other
        if next(_closed) % _COLLECTED == 0:
            gc.collect()

    def _patch(self, owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        setattr(owner, name, value)
        self._restores.append(lambda: setattr(owner, name, before))

    def _rules(self, order: Sequence[str]) -> str:
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        first, *rest = [v.partition(":")[0] for v in order if v != OWN] or ["binance"]
        lines = [
            f"{rule}: {{primary: {first}, backup: [{', '.join(rest)}]}}"
            for rule in self.profile.rules
        ]
        lines.append("providers:")
        lines += [
            f"  {name}: {{base_url: '{self.vendors.url(name)}', rate_limits: {fast}"
            + (", transport: http}" if name in ("binance", "yahoo") else "}")
            for name in (first, *rest)
            if name != "local"
        ]
        # Files in another unit than the vendors' are of another kind: none completes them.
        lines += [
            f"  local: {{folder: '{self.folders[name].path}', dense: true, unit: EUR}}"
            for name in order
            if name in self.folders
        ]
        return "\n".join(lines) + "\n"

    def new_manager(self) -> DataManager:
        made = DataManager(self.folder / "cache", self.rules, clock=self.clock)
        if OWN in self.profile.vendors:
            selector: Any = made.provider_selector
            selector.get_provider_with_failover = lambda *_: list(self.profile.vendors)
            selector.downloaders[OWN] = self.own
        return made

    # --- files and streams -----------------------------------------------------------------

    def write_files(self, place: int, *, is_edited: bool) -> None:
        """Let a user's program write a folder anew: bars since then, or another price of one bar."""
        if not self.folders:
            return
        names = sorted(self.folders)
        self._write(self.folders[names[place % len(names)]], place if is_edited else None)

    def _write(self, folder: Folder, edited: int | None = None) -> None:
        now = self.true.now_ms()
        for symbol in self.profile.symbols:
            for timeframe in self.profile.timeframes:
                if edited is None:
                    folder.write(symbol, timeframe, self.files_since, now)
                else:
                    folder.edit(symbol, timeframe, edited, self.files_since, now)

    def stream_bars(self, symbol: str, timeframe: str, defects: tuple[str, ...]) -> None:
        """Let the exchange's stream bring its newest closed bars, each with its defect."""
        if not self.profile.streams:
            return
        manager: Any = self.manager
        instrument = manager.provider_selector.instrument(symbol)
        times = self.true.now_ms(), self.clock.now_ms()
        with self._acting():
            keeper = StreamKeeper(manager.provider_selector, manager.cache.store, self.clock)
            self.stream.send(keeper, instrument, timeframe, *times, defects)

    # --- time and processes ----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.true.advance(seconds)

    def set_clock(self, wrong_s: float) -> None:
        """Let the machine's clock be wrong by so much from now on."""
        self.clock.wrong_ms = self.vendors.wrong_ms = round(wrong_s * 1000)
        self.clock_was_right &= not wrong_s

    def restart(self) -> None:
        """End the process and start it again."""
        self.manager = self.new_manager()

    def switch(self) -> None:
        """Go on in another process of the same installation, which has been there all along."""
        self.manager, self.other = self.other or self.new_manager(), self.manager

    # --- vendors ---------------------------------------------------------------------------

    def fault(self, vendor: str, fault: Fault, times: int | None = None) -> None:
        """Let a vendor misbehave so many times, or until :meth:`heal`."""
        if vendor == OWN:
            self.own.faults.append(fault)
        else:
            self.vendors.fault(vendor, fault, times=times)
        self.was_well = False
        if fault.name == Fault.empty().name:
            self._denies_history(vendor)

    def _denies_history(self, vendor: str) -> None:
        """Note who says that there is nothing: what two vendors say of a listing is believed."""
        self.denying.add(vendor)
        self.model.may_be_denied |= len(self.denying) > 1

    def shorten(self, vendor: str, first: str) -> None:
        """Let a vendor forget what lies before."""
        self.vendors.first_ms[vendor] = parse_iso(first)
        self.was_well = False
        self._denies_history(vendor)

    def date(self, skew_s: float | None) -> None:
        """Let the ``Date`` of answers be wrong by so much, or absent."""
        self.vendors.skew_date(skew_s)
        self.was_well = False
        self.was_undated |= skew_s is None

    def heal(self) -> None:
        """Let every vendor be well again."""
        self.vendors.heal()
        self.vendors.skew_date(0)
        self.vendors.first_ms.clear()
        self.denying.clear()
        self.own.faults.clear()

    def told_otherwise(self, symbol: str, fact: str) -> None:
        """Note that vendors tell a fact otherwise than it is; empty if something happened instead.

        The model does not judge what depends on it: a fresh cache does (``walks.World.unnamed``).
        """
        self.was_well, self.was_split = False, True
        if fact:
            self.model.told[symbol].add(fact)

    def revise(self, symbol: str, timeframe: str) -> None:
        """Let the last closed bar stand at another price until it has settled."""
        step = STEPS[timeframe]
        stamp = self.true.now_ms() // step * step - step
        self.vendors.revise(symbol, timeframe, stamp, 1.01, stamp + step + 2 * MINUTE_MS)

    def _next_session(self, symbol: str) -> str:
        """Return the date of the session that opens next."""
        calendar = sessions_of(self.truth.listing(symbol).calendar)
        place = int((calendar.opens > self.true.now_ms()).argmax())
        return iso(int(calendar.dates[place]))[:10]

    def pay(self, symbol: str, part: float) -> None:
        """Let a share be traded without a dividend, a part of its usual price, from its next session on.

        The price does not fall with it; a large part would look like a wrong dividend.
        """
        day = self._next_session(symbol)
        known = self.truth.listing(symbol).actions
        # Two dividends a few days apart are a dispute of vendors about one.
        near = iso(parse_iso(day) - 60 * DAY_MS)[:10]
        since = [a for a in known if a.type == "dividend" and a.ex_date.isoformat() > near]
        if since or any(a.ex_date.isoformat() >= day for a in known):
            return
        self.was_split = True
        shares = prod(float(a.ratio) for a in known if a.type == "split")
        amount = round(self.truth.listing(symbol).base * part / shares, 6)
        self.truth.act(symbol, dividend(day, amount))

    def split(self, symbol: str, numerator: int, denominator: int = 1) -> None:
        """Let a share be split before its next session opens."""
        day = self._next_session(symbol)
        known = [a for a in self.truth.listing(symbol).actions if a.type == "split"]
        if len(known) == _MOST_SPLITS or any(a.ex_date.isoformat() >= day for a in known):
            return
        # The same split under two dates a few days apart is a dispute of vendors, not two splits.
        near = iso(parse_iso(day) - 60 * DAY_MS)[:10]
        if any(a.ratio == numerator / denominator and a.ex_date.isoformat() > near for a in known):
            return
        self.was_split = True
        self.truth.act(symbol, split(day, numerator, denominator))

    # --- questions -------------------------------------------------------------------------

    def ask(self, question: Question, *, planned: bool = False) -> Seen | None:
        """Put a question, and judge the answer; then put it again."""
        plan = self._plan(question) if planned else None
        self.memory.fresh.clear()
        sent, times = self.vendors.sent.total(), (self.true.now_ms(), self.clock.now_ms())
        is_free = self._is_free
        # A plan holds for vendors that have every bar, and no news of splits.
        is_free &= question.symbol not in ("NEWUSDT", "HALTUSDT", "METAUSDT", "BTC-USD")
        is_free &= not self.was_split
        seen = self._answer(question)
        asked = self.vendors.sent.total() - sent
        if question.has("offline"):
            assert not asked, f"{question}: {asked} requests offline"
        if plan is not None and is_free and self.disks.is_armed is False:
            assert asked <= plan, f"{question}: {asked} requests, {plan} were planned"
        if seen is None:
            return None
        self._judge(question, seen, times)
        if not question.has("force_refresh", "include_forming") and not self.disks.is_armed:
            self._ask_again(question, seen)
        return seen

    def _ask_again(self, question: Question, first: Seen) -> None:
        sent, times = self.vendors.sent.total(), (self.true.now_ms(), self.clock.now_ms())
        seen = self._answer(question)
        if seen is None:
            # A book that was fetched undated reached up to the machine's today; the next one, dated,
            # does not where that clock is ahead: there are then no prices of its today's basis.
            is_ahead = self.was_undated and self.clock.wrong_ms >= DAY_MS
            is_lost = (first.is_complete or first.rows) and not is_ahead
            assert not is_lost, f"{question}: answered once, failed at once after"
            return
        if self.vendors.sent.total() == sent:
            self.model.again(question, first, seen)
        self._judge(question, seen, times)

    def ask_plainly(self, question: Question) -> None:
        """Put a question that was just answered again without columns, as most users put it.

        Such answers are held in memory, from the second time on.
        """
        if self.disks.is_armed:
            return
        first, sent = self._answer(question), self.vendors.sent.total()
        for _ in range(2):
            seen = self._answer(question, columns=())
            if first is not None and seen is not None and self.vendors.sent.total() == sent:
                self.model.again(question, first, seen)

    def ask_for_actions(self, question: Question) -> None:
        """Put a question again with the splits and dividends of its rows."""
        if not self._is_free or self.disks.is_armed or question.bars is not None:
            return
        options = {n: v for n, v in question.arguments.items() if n != "strict"}
        try:
            frame = self.manager.get_ohlcv(
                question.symbol, question.timeframe, columns=("split", "dividend"), **options
            )
        except DataError:
            return
        self.model.true_ms = self.true.now_ms()
        self.model.check_actions(question, frame)

    def _judge(self, question: Question, seen: Seen, times: tuple[int, int]) -> None:
        if self.disks.is_armed:
            self.memory.fresh.clear()  # what could not be stored is known to this answer alone
        # What stands in for the bars of an exchange comes from one that is sparse.
        is_sparse = self._is_sparse(question.symbol, question.timeframe)
        skips = (is_sparse or bool(seen.facts["substitute"])) and not self.was_well
        if question.option("adjustment") == "all" and self._is_free and not self.disks.is_armed:
            self.model.check_total_return(question, seen)
        before = copy.deepcopy(self.model.acknowledged) if self.disks.is_armed else None
        self.model.judge(
            question,
            seen,
            times,
            self._slack_ms(),
            may_skip=skips,
            must_have=self._is_free
            and self._is_due(question)
            and not self.disks.is_armed
            and not self._may_lack_closes(question),
        )
        if before is not None and is_sparse:
            # What could not be stored and is left out the next time is taken for no trade.
            self.model.acknowledged = before

    def _is_due(self, question: Question) -> bool:
        """Tell whether the source that is asked first has all that a question is about."""
        if question.has("offline"):
            return False
        folder = self.folders.get(next(iter(self.model.order), ""))
        pinned = question.option("provider")
        if folder is None or pinned not in (None, "local"):
            return pinned != "local"
        span = question.span(self.true.now_ms())
        written = folder.upto.get((question.symbol, question.timeframe), 0)
        return self.files_since <= span.start and span.end <= written

    def _is_sparse(self, symbol: str, timeframe: str) -> bool:
        """Tell whether a bar that the vendor leaves out is taken for one without trades."""
        is_listed_here = self.profile.vendors[0] in ("binance", PLUGIN) and symbol != "BTC-USD"
        return OWN in self.profile.vendors or not (timeframe in DAYS or is_listed_here)

    @property
    def _is_free(self) -> bool:
        """Whether nothing but the disk has ever been wrong."""
        return self.vendors.is_well and self.was_well and self.clock_was_right

    def _slack_ms(self) -> int:
        late = max(_LATE_MS[vendor] for vendor in self.profile.vendors)
        skew = self.vendors.skew_ms or 0
        return late + max(-skew, 0)

    def _plan(self, question: Question) -> int:
        sent, changes = self.vendors.sent.total(), self.disks.changes
        options = {k: v for k, v in question.arguments.items() if k != "strict"}
        try:
            plan = self.manager.plan(question.symbol, question.timeframe, **options)
        except QueryError:
            return 1 << 30
        except CorruptEntryError as error:
            is_lost = self.was_damaged and self._may_fail(question)
            _require(self.disks.struck or is_lost, f"{question}: {error!r}")
            return 1 << 30
        finally:
            assert self.disks.changes == changes, f"{question}: a plan wrote"
        assert self.vendors.sent.total() == sent, f"{question}: a plan asked a vendor"
        return plan.requests

    def _answer(self, question: Question, columns: Sequence[str] = COLUMNS) -> Seen | None:
        """Return the answer; None where the question failed and may fail."""
        try:
            frame = self.manager.get_ohlcv(
                question.symbol, question.timeframe, columns=columns, **question.arguments
            )
        except IncompleteDataError as error:
            frame = error.frame
            is_right = frame is not None and not frame.attrs["onetape"]["complete"]
            _require(is_right and question.has("strict"), f"{question}: {error}")
        except Killed:
            self.disks.heal()
            self.restart()
            return None
        except AllProvidersFailedError as error:
            # The closes before dividends are days that could not be stored, or are damaged.
            _require(
                self._may_fail(question) or self._may_lack_closes(question),
                f"{question} failed: {error}",
            )
            return None
        except BadRangeError as error:
            _require(self._may_be_refused(question), f"{question}: {error}")
            return None
        except CorruptEntryError as error:
            # Without splits and dividends there are no prices of today's basis.
            is_lost = self.was_damaged and self._may_fail(question)
            _require(self.disks.struck or is_lost, f"{question}: {error!r}")
            return None
        except CacheError as error:
            _require(self.disks.struck, f"{question}: {error!r}")
            return None
        return Seen.of(frame)

    def _may_be_refused(self, question: Question) -> bool:
        """Tell whether a question's range may be no range: it lies ahead of the machine's clock.

        A date begins where the venue is, up to five hours after it does in UTC.
        """
        late = 5 * HOUR_MS if question.timeframe in DAYS else 0
        ahead = question.span(self.clock.now_ms()).start + late > self.clock.now_ms()
        return ahead or bool(self.clock.wrong_ms)

    def _may_fail(self, question: Question) -> bool:
        """Tell whether a question may remain without any answer."""
        known = {listing.symbol for listing in self.truth.listings()}
        is_listed = SAME.get(question.symbol, (question.symbol,))[0] in known
        is_usual = self.was_well and not self.clock.wrong_ms
        return not (is_listed and is_usual) or question.has("offline")

    def _may_lack_closes(self, question: Question) -> bool:
        """Return whether the closes before dividends may be absent for one question."""
        is_hurt = self.disks.struck or self.was_damaged
        return is_hurt and question.option("adjustment") == "all"

    def ask_batch(self, symbols: Sequence[str], question: Question) -> None:
        """Put one question for several symbols at once."""
        self.memory.fresh.clear()
        times = self.true.now_ms(), self.clock.now_ms()
        try:
            frames = self.manager.get_ohlcv_batch(
                list(symbols), question.timeframe, columns=COLUMNS, **question.arguments
            )
        except Killed:
            self.disks.heal()
            self.restart()
            return
        except BadRangeError as error:
            _require(self._may_be_refused(question), f"{question}: {error}")
            return
        assert list(frames) == list(dict.fromkeys(symbols)), "a symbol is missing in a batch"
        for symbol, frame in frames.items():
            one = replace(question, symbol=symbol)
            if error := frame.attrs["onetape"].get("error"):
                allowed = self._may_fail(one) or self.disks.struck
                if error["type"] == "BadRangeError":
                    allowed = self._may_be_refused(one)
                assert allowed, f"{one} failed in a batch: {error}"
            else:
                self._judge(one, Seen.of(frame), times)

    def ask_version(self, symbol: str, label: str) -> None:
        """Ask for a series as it stood when it was answered before."""
        for generation, question, seen, answered in self.versions.get((symbol, label), [])[-2:]:
            try:
                frame = self.manager.get_ohlcv(
                    symbol, question.timeframe, version=generation, **question.arguments
                )
            except (QueryError, Killed, CacheError, KindMismatchError):
                continue
            # A clock that was behind hid bars which had come before: the version has them all the same.
            step, now = STEPS[question.timeframe], self.clock.now_ms()
            rows = Seen.of(frame).rows.items()
            then = {s: row for s, row in rows if s in seen.rows or s + step <= answered}
            first = {stamp: row for stamp, row in seen.rows.items() if stamp <= now}
            # A split since then changes the prices of a version, too.
            same = list(then) == list(first) if self.was_split else then == first
            assert same, f"{question}: version {generation} is another one"

    def mark(self, symbol: str, timeframe: str, *, is_extended: bool = False) -> None:
        """Let the user mark the bars that the whole series proves wrong: the next answer has them all."""
        report, sent = None, self.vendors.sent.total()
        with self._acting():
            lane = "extended" if is_extended else None
            try:
                self.manager.validate(symbol, timeframe, lane=lane, mark=True)
                report = self.manager.validate(symbol, timeframe, lane=lane, mark=True)
            except CacheError as error:
                is_bare = str(error).startswith("nothing is cached")
                _require(is_bare or self.disks.struck, repr(error))
        assert self.vendors.sent.total() == sent, f"{symbol} {timeframe}: a vendor was asked"
        if report is None or report.first_ms is None or report.last_ms is None:
            return
        assert not report.marked + report.unmarked, f"{symbol} {timeframe}: marked twice"
        if self._is_free and not (self.was_damaged or self.disks.struck or self.was_undated):
            errors = report.at_least("error")
            assert not errors, (
                f"{symbol} {timeframe}: every vendor is well, and errors are {errors}"
            )
        cut = 10 if timeframe in DAYS else 16
        ends = iso(report.first_ms)[:cut], iso(report.last_ms)[:cut]
        offline = (("offline", True),)
        question = Question(symbol, timeframe, *ends, options=offline, is_extended=is_extended)
        seen = self._answer(question)
        if seen is None:
            return
        self.model.check_grave(question, seen, report)
        strict = replace(question, options=(*offline, ("strict", True)))
        if seen.grave or not seen.is_complete:
            try:
                self.manager.get_ohlcv(symbol, timeframe, **strict.arguments)
            except IncompleteDataError:
                return
            except Killed:
                self.disks.heal()
                self.restart()
                return
            raise AssertionError(f"{strict}: not refused, grave are {seen.grave}")

    def remember(self, question: Question, seen: Seen | None) -> None:
        """Keep an answer for :meth:`ask_version`."""
        if seen is None or not seen.is_complete or question.options or question.bars:
            return
        if "derived_from" in seen.facts:  # the generation is that of the shorter bars
            return
        if seen.facts["generation"] is None:
            assert self.disks.struck, f"{question}: a version is not told"
            return
        kept = self.versions.setdefault((question.symbol, question.label), [])
        kept.append((seen.facts["generation"], question, seen, self.clock.now_ms()))

    # --- the cache -------------------------------------------------------------------------

    def put(self, symbol: str, timeframe: str, start: str, end: str, hole: int | None) -> None:
        """Store a user's own bars, with a hole in them or without."""
        now = min(self.true.now_ms(), self.clock.now_ms())
        window = parse_iso(start), parse_iso(end) + 1
        rows = self.truth.rows(symbol, timeframe, *window, "raw", now)
        rows = [row for row in rows if row.closes_ms <= now]
        if hole is not None and len(rows) > hole + 3:
            rows = rows[:hole] + rows[hole + 2 :]
        if not rows:
            return
        index = pd.to_datetime([row.stamp_ms for row in rows], unit="ms").rename("timestamp")
        names = ["open", "high", "low", "close", "volume"]
        frame = pd.DataFrame([row[1:6] for row in rows], index=index, columns=names, dtype=float)
        quotes = {
            row.stamp_ms: [Quote(self.true.now_ms(), "raw", tuple(row[1:6]), row.closes_ms)]
            for row in rows
        }
        self.memory.hear(USER, symbol, timeframe, quotes)
        with self._acting():
            stored = self.manager.cache.put(frame, symbol, timeframe, provider=USER)
            assert stored or self.disks.struck, f"{symbol} {timeframe}: a put was refused"

    def clear(self, symbol: str) -> None:
        """Let the user delete what is stored of a symbol."""
        self.model.forget(symbol)
        self.versions.clear()
        with self._acting():
            self.manager.clear_cache(symbol)

    def evict(self) -> None:
        """Let the cache be too large by all that it holds."""
        self.versions.clear()
        cache = self.manager.cache
        with self._acting():
            cache.look_after()
            self.advance(3600)
            cache.max_size_gb = 1e-9
            cache.enforce_limit()
        cache.max_size_gb = 0.0
        self._dropped()

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        """Let a step end early where the process is killed, or the disk has failed."""
        try:
            yield
        except Killed:
            self.disks.heal()
            self.restart()
        except CacheError as error:
            _require(self.disks.struck, repr(error))

    # --- the disk --------------------------------------------------------------------------

    def files(self) -> list[Path]:
        """Return the files of the cache but locks, in order."""
        found = (p for p in (self.folder / "cache").rglob("*") if p.is_file())
        return sorted(p for p in found if not p.name.endswith(".lock") and p.stat().st_size)

    def damage(self, place: int, how: str) -> None:
        """Flip a bit of a file, cut it short, fill it with nonsense, or take it away."""
        found = self.files()
        if found:
            self._damage(found[place % len(found)], how)

    def damage_bars(self, how: str) -> None:
        """Damage every file of bars, and take the columns beside them away."""
        for path in self.files():
            if path.suffix in (".gz", ".bars"):
                self._damage(path, how if path.suffix == ".gz" else "remove")

    def _damage(self, path: Path, how: str) -> None:
        content = bytearray(path.read_bytes())
        if how == "flip":
            content[len(content) // 2] ^= 4
            path.write_bytes(content)
        elif how == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif how == "garbage":
            path.write_bytes(b"\xff" * len(content))
        else:
            path.unlink()
        self._shaken()

    def back_up(self) -> None:
        """Copy the cache."""
        self.backup = self.folder / "backup"
        shutil.rmtree(self.backup, ignore_errors=True)
        if (self.folder / "cache").is_dir():
            shutil.copytree(self.folder / "cache", self.backup)

    def restore(self, part: int) -> None:
        """Bring back a part of the copy: every file but one in three."""
        if self.backup is None or not self.backup.is_dir():
            return
        found = sorted(p for p in self.backup.rglob("*") if p.is_file())
        for number, path in enumerate(found):
            if number % 3 != part % 3:
                target = self.folder / "cache" / path.relative_to(self.backup)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
        self._shaken()

    def _shaken(self) -> None:
        self.was_damaged = True
        self.restart()
        self.other = None
        self.versions.clear()
        self.model.heard.clear()
        self._dropped()

    def _dropped(self) -> None:
        """Bars are asked again; what a sparse vendor leaves out then is taken for no trade."""
        for table in (self.model.heard, self.model.acknowledged):
            for key in [k for k in table if self._is_sparse(*k[:2])]:
                del table[key]


def _require(is_right: bool, what: str) -> None:
    """Fail unless an error was allowed to happen."""
    assert is_right, what


@contextlib.contextmanager
def simulated(profile: Profile, start: str = "2024-06-05T13:45") -> Iterator[Simulation]:
    """Yield a simulation of a profile, and put everything back after it."""
    made = Simulation(profile, start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield made
        finally:
            made.close()
