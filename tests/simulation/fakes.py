"""The fakes below the library: a clock that may be wrong, a disk that may fail, vendors in process.

Nothing of the library is replaced but the system's calls: the time of day, the calls of the disk,
and the exchange of one HTTP request for one answer. What a vendor answers, the scripted vendors of
``tests/vendor_server`` write, byte by byte, without a socket.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pandas as pd

from src.data.core.clock import ManualClock
from src.data.core.disk.files import DiskStep
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, to_ms
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import DataError, ProviderTimeoutError, UnavailableError
from tests.core.cache.disks import CHANGING, Killed
from tests.vendor_server import Fault, Row, Truth, VendorServer
from tests.vendor_server.face import Context, Face, Page, Request
from tests.vendor_server.limits import Meter
from tests.vendor_server.listings import Listing

from .facts import Telling
from .model import Memory, Quote, label_of

T = TypeVar("T")
SLOW_S = 20.0
_VALUES = ("open", "high", "low", "close", "volume")
SYNCS = frozenset({"fsync", "fdatasync", "fsync_dir"})


class WrongClock:
    """The time of day as this machine has it: the true time, and ``wrong_ms`` beside it.

    Waiting lets the true time pass. Durations are right.
    """

    def __init__(self, true: ManualClock) -> None:
        self._true = true
        self.wrong_ms = 0

    def now_ms(self) -> int:
        return self._true.now_ms() + self.wrong_ms

    def monotonic(self) -> float:
        return self._true.monotonic()

    def sleep(self, seconds: float) -> None:
        self._true.advance(seconds)

    def jitter(self) -> float:
        return 0.0


@dataclass
class Disks:
    """What the disk does to all calls of the process, in place of :meth:`.Disk.perform`.

    Attributes:
        full_in: the changing call, counted from one, at which the disk is full, and so from then
            on; None while there is room.
        killed_in: the changing call before which the process is killed, half of its bytes written.
        struck: whether one of them has happened.
        changes: how many changing calls there were.
    """

    full_in: int | None = None
    killed_in: int | None = None
    struck: bool = False
    changes: int = 0

    @property
    def is_armed(self) -> bool:
        return self.full_in is not None or self.killed_in is not None

    def heal(self) -> None:
        self.full_in = self.killed_in = None
        self.struck = False

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        """Make one call of the disk, or fail in its place; nothing waits for the platter."""
        self.changes += step.name in CHANGING
        if step.name in SYNCS:
            return None  # type: ignore[return-value]
        if step.name not in CHANGING or not self.is_armed:
            return call()
        if self.killed_in is not None:
            self.killed_in -= 1
            if self.killed_in <= 0:
                self._halve(step, call)
                raise Killed
        if self.full_in is not None and step.name not in ("unlink", "truncate"):
            self.full_in -= 1
            if self.full_in <= 0:
                self._halve(step, call)
                raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        return call()

    def _halve(self, step: DiskStep, call: Any) -> None:
        """Let half of the bytes of a write reach the file, once."""
        if step.name == "write" and step.data is not None and not self.struck:
            fd, data, offset = call.args
            call.func(fd, data[: len(data) // 2], offset)
        self.struck = True


# --- vendors -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard(Context):
    """The context of one answer that notes what is answered, and may leave out old bars."""

    server: Vendors = field(kw_only=True)
    asked: list[tuple[Listing, Timeframe, str, str]] = field(default_factory=list, kw_only=True)

    def rows(
        self, listing: Listing, frame: Timeframe, window: tuple[int, int],
        adjustment: Any = "raw", anchor: str = "session", *, extended: bool = False,
    ) -> list[Row]:  # fmt: skip
        """Return the bars of the truth, from the first that the vendor still has."""
        found = super().rows(listing, frame, window, adjustment, anchor, extended=extended)
        first = self.server.first_ms.get(self.vendor)
        if first is not None:
            found = [row for row in found if row.stamp_ms >= first]
        told = self.server.tellings.get((self.vendor, listing.symbol))
        if told is not None:
            found = [
                times(row, told.factor(row.opens_ms, row.closes_ms))
                for row in found
                if told.has(row.opens_ms, row.closes_ms)
            ]
        is_extended = extended and listing.extended and frame.is_intraday
        label = label_of(frame.label, is_extended=is_extended)
        if not self.asked or self.asked[0][1] == frame:  # the days of a week that runs come with it
            self.asked[:] = [(listing, frame, label, adjustment)]
        return found


class Vendors(VendorServer):
    """The scripted vendors without a socket: :meth:`carry` stands in place of the HTTP transport.

    Attributes:
        memory: what they answered, for the reference model.
        first_ms: vendor to the stamp of the first bar that it has, where it has cut its history.
        sent: requests by vendor.
        wrong_ms: how far ahead of the true time the machine is that asks.
        tellings: vendor and symbol to what it tells, where that is not the truth.
    """

    def __init__(self, clock: ManualClock, truth: Truth, memory: Memory) -> None:
        super().__init__(clock, truth)
        self.memory = memory
        self.first_ms: dict[str, int] = {}
        self.sent: Counter[str] = Counter()
        self.wrong_ms = 0
        self.tellings: dict[tuple[str, str], Telling] = {}
        self._until_ms = 1 << 53

    def add(self, face: Face) -> None:
        """Let there be another vendor."""
        self._faces[face.name], self._meters[face.name] = face, Meter()

    def url(self, vendor: str) -> str:
        """Return what to configure as the vendor's address."""
        return f"http://127.0.0.1:9/{vendor}"

    @property
    def is_well(self) -> bool:
        """Whether every vendor answers everything, and the truth."""
        is_true = not self.first_ms and self.skew_ms == 0 and not self.tellings
        return not self._rules and is_true

    def carry(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request, as :meth:`.HttpTransport.send` does."""
        parts = urlsplit(request.url)
        vendor, _, path = parts.path.lstrip("/").partition("/")
        params = {**request.params, **request.secret_params}
        headers = {"user-agent": "Mozilla/5.0", **request.headers, **request.secret_headers}
        asked = Request(
            request.method,
            "/" + unquote(path),
            {name: str(value) for name, value in params.items()},
            {name.lower(): value for name, value in headers.items()},
        )
        self.sent[vendor] += 1
        # A bar labelled exactly so comes too, and is not of what was asked.
        self._until_ms = int(asked.params.get("period2", 1 << 43)) * SECOND_MS
        before = len(self.memory.fresh)
        reply = self.reply(vendor, asked, 1)
        outcome = self._delivered(reply.delivery.way)
        if outcome is not None or not is_whole(reply.body):
            del self.memory.fresh[before:]  # what it said has not arrived
        if outcome is not None:
            raise outcome
        told = {name.lower(): value for name, value in reply.headers.items()}
        date = self.date_header()
        told |= {"date": date} if date else {}
        return HttpResponse(reply.status, told, reply.body, request.url)

    def _delivered(self, way: str) -> DataError | None:
        """Return the error that the way of an answer comes out as."""
        if way == "hang":
            self.clock.advance(SLOW_S)
            return ProviderTimeoutError("no answer in time")
        return UnavailableError("the connection broke off") if way else None

    def _context(self, face: Face, now_ms: int, used: int, faults: Iterable[Fault]) -> Context:
        plain = super()._context(face, now_ms, used, faults)
        asked: list[tuple[Listing, Timeframe, str, str]] = []

        def spoil(page: Page) -> Page:
            sent = plain.spoil(page)
            if not asked:  # a range before the first trade: nothing was looked up
                return sent
            listing, frame, label, adjustment = asked[0]
            quotes = quotes_of(frame, page, sent, now_ms, adjustment)
            lead = max(0, min(self.wrong_ms, self.skew_ms or 0))
            wrong = self.wrong_ms != 0 and self.skew_ms is None
            skew = self.skew_ms or 0
            if lead or wrong or skew:
                quotes = {
                    stamp: [
                        replace(q, lead_ms=lead, by_a_wrong_clock=wrong, skew_ms=skew) for q in told
                    ]
                    for stamp, told in quotes.items()
                }
            self.memory.hear(
                face.name, listing.symbol, label, quotes, left_out(page, sent), self._until_ms
            )
            return sent

        truth = told_truth(plain.truth, face.name, self.tellings) if self.tellings else plain.truth
        return Heard(
            plain.vendor, truth, now_ms, used, plain.revised, spoil, server=self, asked=asked
        )


def told_truth(truth: Truth, vendor: str, tellings: Mapping[tuple[str, str], Telling]) -> Truth:
    """Return the truth as a vendor tells it."""
    told = {s: t.listing for (name, s), t in tellings.items() if name == vendor}
    listings = [told.get(one.symbol, one) for one in truth.listings()]
    return Truth([one for one in listings if one is not None])


def times(row: Row, factor: float) -> Row:
    """Return a row with prices multiplied by a factor."""
    if factor == 1.0:
        return row
    names = ("open", "high", "low", "close", "adj_close")
    return row._replace(**{name: (getattr(row, name) or 0.0) * factor for name in names})


def is_whole(body: bytes) -> bool:
    """Tell whether an answer can be read to its end, where it is JSON."""
    if body[:1] not in (b"{", b"["):
        return True
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def quotes_of(
    frame: Timeframe, page: Page, sent: Page, now_ms: int, adjustment: str
) -> dict[int, list[Quote]]:
    """Return by stamp what a page says of each bar; what it says beside the grid is no bar.

    Args:
        frame: the timeframe; a day is dated by whatever hour of it.
        page, sent: the page as it should be, and as it is sent.
        now_ms: the true time.
        adjustment: of its prices.
    """
    stamps = dict(zip(page.labels, (row.stamp_ms for row in page.rows), strict=True))
    labels = {stamp: label for label, stamp in stamps.items()}
    found: dict[int, list[Quote]] = {}
    for label, row in zip(sent.labels, sent.rows, strict=True):
        late = 0 if label in stamps else label - labels[row.stamp_ms]
        late = late if frame.is_intraday else late // DAY_MS * DAY_MS
        if late % DAY_MS:
            continue
        stamp = stamps.get(label, row.stamp_ms + late)
        values = tuple(row[1:6])
        wrong = "invented" if late else spoilt(values)
        found.setdefault(stamp, []).append(
            Quote(now_ms, adjustment, values, row.closes_ms + late, wrong)
        )
    for stamp, quotes in found.items():
        if len({quote.values for quote in quotes if not quote.spoilt}) > 1:
            found[stamp] = [replace(q, spoilt=q.spoilt or "contradicted") for q in quotes]
    return found


def left_out(page: Page, sent: Page) -> set[int]:
    """Return the stamps of bars that should be sent and are not, though later ones are.

    A row without any price is no bar, and one labelled after its bar has closed is not that bar.
    """
    last = max((row.stamp_ms for row in sent.rows), default=0)
    labels = {row.stamp_ms: label for label, row in zip(page.labels, page.rows, strict=True)}
    stamps = {
        row.stamp_ms
        for label, row in zip(sent.labels, sent.rows, strict=True)
        if any(v is not None for v in row[1:5])
        and label - labels.get(row.stamp_ms, label) < row.closes_ms - row.stamp_ms
    }
    return {row.stamp_ms for row in page.rows if row.stamp_ms < last} - stamps


def spoilt(values: tuple[float | None, ...]) -> str:
    """Return why values cannot be a bar, empty where they can."""
    if None in values[:4]:
        return "no values"
    o, h, low, c = (v or 0.0 for v in values[:4])
    return "" if low <= min(o, c) <= max(o, c) <= h else "impossible"


def invented(gap_ms: int) -> Fault:
    """Return the fault of a vendor that repeats its last row ``gap_ms`` later, with its label."""

    def change(page: Page) -> Page:
        if not len(page):
            return page
        labels, rows = (*page.labels, page.labels[-1] + gap_ms), (*page.rows, page.rows[-1])
        return replace(page, labels=labels, rows=rows)

    return Fault.on_rows("invented", change)


def close_times(factor: float, place: int) -> Fault:
    """Return the fault of one close that is ``factor`` times too high, in a row that can be a bar."""

    def change(page: Page) -> Page:
        return replace(page, rows=tuple(map(wrong, range(len(page)), page.rows)))

    def wrong(number: int, row: Row) -> Row:
        close = (row.close or 0.0) * factor
        high = max(row.high or 0.0, close)
        return row._replace(high=high, close=close) if number == place else row

    return Fault.on_rows("one close", change)


def times_from(factor: float, place: int) -> Fault:
    """Return the fault of prices that are ``factor`` times too high from a row on."""

    def change(page: Page) -> Page:
        return Fault.rescale(factor, *range(place, len(page))).rows(page)  # type: ignore[misc]

    return Fault.on_rows("from a row on", change)


def repeated(*places: int) -> Fault:
    """Return the fault of rows that repeat the values of the row before."""

    def change(page: Page) -> Page:
        rows = [
            row._replace(**{name: getattr(page.rows[n - 1], name) for name in _VALUES})
            if n in places
            else row
            for n, row in enumerate(page.rows)
        ]
        return replace(page, rows=tuple(rows))

    return Fault.on_rows("repeated", change)


def off_grid(*places: int) -> Fault:
    """Return the fault of rows that are labelled 28 minutes and 14.789 seconds late."""
    late = 28 * MINUTE_MS + 14_789

    def change(page: Page) -> Page:
        chosen = {i % len(page) for i in places if -len(page) <= i < len(page)} if places else None
        labels = [
            label + late if chosen is None or i in chosen else label
            for i, label in enumerate(page.labels)
        ]
        return replace(page, labels=tuple(labels))

    return Fault.on_rows("off grid", change)


def contradicted(factor: float = 1.3) -> Fault:
    """Return the fault of a page in which every bar stands twice, with other prices."""

    def change(page: Page) -> Page:
        doubled = [
            row._replace(
                **{n: (getattr(row, n) or 0.0) * factor for n in ("open", "high", "low", "close")}
            )
            for row in page.rows
        ]
        labels = [label for label in page.labels for _ in range(2)]
        rows = [row for pair in zip(page.rows, doubled, strict=True) for row in pair]
        return replace(page, labels=tuple(labels), rows=tuple(rows))

    return Fault.on_rows("contradicted", change)


class OwnDownloader:
    """A downloader of the user's own, by the documented method alone: no date, no kind, no word.

    Attributes:
        faults: changes of its next answers, such as those of the vendors.
    """

    def __init__(self, vendors: Vendors, name: str) -> None:
        self._vendors, self._name = vendors, name
        self.faults: list[Fault] = []
        # How far the machine's clock was ahead when a bar was told first, by its series and stamp.
        self._first_wrong: dict[tuple[str, str, int], int] = {}

    def _lead(self, symbol: str, interval: str, stamp: int) -> int:
        """Return how far ahead a bar may be taken for closed.

        Nothing but the machine's clock tells that a day has passed since it came first and came the
        same: a clock that jumped ahead by one between the two answers is believed.
        """
        wrong = self._vendors.wrong_ms
        jumped = wrong - self._first_wrong.setdefault((symbol, interval, stamp), wrong)
        return wrong if jumped >= DAY_MS else 0

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame | None:
        """Return bars, the running one among them, as many programs do."""
        self._vendors.sent[self._name] += 1
        truth, now = self._vendors.truth, self._vendors.clock.now_ms()
        if symbol not in {listing.symbol for listing in truth.listings()}:
            raise ValueError(f"{symbol} is not known")
        window = to_ms(start), to_ms(end) + 1
        rows = truth.rows(symbol, interval, *window, "raw", now)
        page = Page(tuple(row.stamp_ms for row in rows), tuple(rows))
        sent = page
        for fault in self.faults:
            sent = fault.rows(sent) if fault.rows else sent
        quotes = quotes_of(Timeframe.parse(interval), page, sent, now, "raw")
        quotes = {
            stamp: [replace(quote, lead_ms=self._lead(symbol, interval, stamp)) for quote in told]
            for stamp, told in quotes.items()
        }
        self._vendors.memory.hear(self._name, symbol, interval, quotes, left_out(page, sent))
        index = pd.to_datetime(list(sent.labels), unit="ms").rename("timestamp")
        names = ["open", "high", "low", "close", "volume"]
        return pd.DataFrame(
            [row[1:6] for row in sent.rows], index=index, columns=names, dtype=float
        )
