"""One local server that plays every vendor over one known truth."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType

from onetape.data.core.clock import Clock
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.registry import VENDORS
from onetape.data.core.runtime.once import cached_property

from .bot_api import Telegram
from .face import Context, Face, Page, Reply, Request, http_date
from .faults import Fault
from .ground_truth import Row, Truth
from .limits import Meter
from .listings import Listing
from .wire import Listener, LogEntry


def _vendor_faces() -> Iterator[type[Face]]:
    """Yield the face in each file of this folder that has the name of a vendor."""
    for name in sorted(VENDORS):
        if Path(__file__).with_name(f"{name}.py").exists():
            module = import_module(f".{name}", __package__)
            own = [one for one in vars(module).values() if isinstance(one, type)]
            yield next(o for o in own if issubclass(o, Face) and o.__module__ == module.__name__)


FACES = (*_vendor_faces(), Telegram)


@dataclass
class _Rule:
    """A fault and when it strikes."""

    vendor: str
    fault: Fault
    left: int | None
    skip: int
    symbol: str | None
    path: str | None

    def strikes(self, vendor: str, symbol: str | None, path: str) -> bool:
        """Tell whether it concerns this request; requests to skip are counted off here."""
        here = vendor == self.vendor and self.symbol in (None, symbol)
        if not here or (self.path is not None and self.path not in path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        return True


@dataclass(frozen=True)
class _Revision:
    vendor: str | None
    symbol: str
    timeframe: Timeframe
    stamp_ms: int
    factor: float
    settles_at_ms: int


class VendorServer:
    """Scripted vendors on 127.0.0.1. Thread-safe; use it as a context manager or start and stop it.

    Attributes:
        clock: the server's time. It decides which bars exist, which one forms, what is known of
            splits, and the ``Date`` header.
        truth: what truly traded.
        errors: what went wrong in the server itself; a test that leaves any here has found a bug.
    """

    def __init__(self, clock: Clock, truth: Truth | None = None) -> None:
        self.clock = clock
        self.truth = truth or Truth()
        self.errors: list[BaseException | None] = []
        self.release = threading.Event()
        self._faces: dict[str, Face] = {face.name: face() for face in FACES}
        self._rules: list[_Rule] = []
        self._revisions: list[_Revision] = []
        self._log: list[LogEntry] = []
        self._meters = {name: Meter() for name in self._faces}
        self.skew_ms: int | None = 0
        self._arrived = threading.Condition()

    # --- life

    # Made when first needed: a test that calls `reply` itself needs no socket.
    @cached_property
    def _listener(self) -> Listener:
        return Listener(self)

    @cached_property
    def _closed_door(self) -> socket.socket:
        return socket.socket()

    def start(self) -> VendorServer:
        """Begin to answer."""
        self._closed_door.bind(("127.0.0.1", 0))  # bound and never listening: connects are refused
        self._listener.start()
        return self

    def stop(self) -> None:
        """Release every stall, close every connection and end every thread."""
        self.release.set()
        for face in self._faces.values():
            face.close()
        self._listener.stop()
        self._closed_door.close()

    def __enter__(self) -> VendorServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def base_url(self, vendor: str) -> str:
        """Return what to configure as ``base_url`` of a vendor."""
        return f"http://127.0.0.1:{self._listener.port}/{self.face(vendor).name}"

    def refused_url(self, vendor: str) -> str:
        """Return a base URL at which every connection is refused."""
        return f"http://127.0.0.1:{self._closed_door.getsockname()[1]}/{vendor}"

    def face(self, vendor: str) -> Face:
        """Return a vendor's face, for its own switches.

        Raises:
            KeyError: no such vendor here.
        """
        if vendor not in self._faces:
            raise KeyError(f"no vendor {vendor!r} here, there are {', '.join(self._faces)}")
        return self._faces[vendor]

    # --- script

    def fault(
        self, vendor: str, fault: Fault, *, times: int | None = None, skip: int = 0,
        symbol: str | None = None, path: str | None = None,
    ) -> None:  # fmt: skip
        """Let something go wrong.

        Faults add up (``gzip`` and ``truncate``); of several that answer instead of the vendor
        the oldest strikes first.

        Args:
            times: for so many requests; None until ``heal``.
            skip: let so many requests of its kind pass first.
            symbol: only requests for this symbol, in the vendor's spelling.
            path: only requests whose path contains this.
        """
        rule = _Rule(self.face(vendor).name, fault, times, skip, symbol, path)
        with self._arrived:
            self._rules.append(rule)

    def heal(self, vendor: str | None = None) -> None:
        """Take back the faults of one vendor or of all, and release everything that waits."""
        with self._arrived:
            self._rules = [r for r in self._rules if vendor is not None and r.vendor != vendor]
            released, self.release = self.release, threading.Event()
        released.set()

    def pending(self) -> list[str]:
        """Return the names of the faults that have not struck as often as they should."""
        with self._arrived:
            return [f"{r.vendor}: {r.fault.name}" for r in self._rules]

    def limit(self, vendor: str, per_minute: int) -> None:
        """Refuse with 429 what goes over a weight a minute; who does not listen is banned (418)."""
        self._meters[self.face(vendor).name].limit = per_minute

    def revise(
        self, symbol: str, timeframe: str, stamp_ms: int, factor: float, settles_at_ms: int,
        *, vendor: str | None = None,
    ) -> None:  # fmt: skip
        """Serve a bar multiplied by ``factor`` (prices and volume) until ``settles_at_ms``."""
        frame = Timeframe.parse(timeframe)
        self._revisions.append(_Revision(vendor, symbol, frame, stamp_ms, factor, settles_at_ms))

    def skew_date(self, seconds: float | None) -> None:
        """Let the ``Date`` header be wrong by so much, or absent with None."""
        self.skew_ms = None if seconds is None else round(seconds * 1000)

    # --- log

    def log(self, vendor: str | None = None, path: str = "") -> list[LogEntry]:
        """Return the requests so far, in order of arrival."""
        with self._arrived:
            return [e for e in self._log if vendor in (None, e.vendor) and path in e.path]

    def count(self, vendor: str | None = None, path: str = "") -> int:
        """Return how many requests have arrived."""
        return len(self.log(vendor, path))

    def clear_log(self) -> None:
        """Forget the requests so far."""
        with self._arrived:
            self._log.clear()

    def wait_for(self, vendor: str, count: int, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests have arrived; tell whether they have."""

        def enough() -> bool:
            return sum(e.vendor == vendor for e in self._log) >= count

        with self._arrived:
            return self._arrived.wait_for(enough, timeout_s)

    # --- what the wire calls

    def date_header(self) -> str | None:
        """Return the ``Date`` header of now."""
        return None if self.skew_ms is None else http_date(self.clock.now_ms() + self.skew_ms)

    def reply(self, vendor: str, request: Request, connection: int) -> Reply:
        """Answer one request, with everything that is scripted to go wrong."""
        now_ms = self.clock.now_ms()
        self._note(vendor, request, now_ms, connection)
        face = self._faces.get(vendor)
        if face is None:
            return Reply.text("no such vendor", 404)
        faults = self._striking(face, request)
        for fault in faults:
            if fault.instead is not None:
                return self._finished(fault.instead(face, request, now_ms), faults, request)
        meter = self._meters[vendor]
        refusal = meter.take(face.weight(request), now_ms)
        if refusal is not None and refusal.instead is not None:
            return refusal.instead(face, request, now_ms)
        reply = face.answer(request, self._context(face, now_ms, meter.used, faults))
        return self._finished(reply, faults, request)

    def _note(self, vendor: str, request: Request, now_ms: int, connection: int) -> None:
        entry = LogEntry(
            vendor, request.path, dict(request.params), dict(request.headers), now_ms, connection,
            request.method,
        )  # fmt: skip
        with self._arrived:
            self._log.append(entry)
            self._arrived.notify_all()

    def _striking(self, face: Face, request: Request) -> list[Fault]:
        """Return the faults of this request and count them off."""
        symbol = face.symbol_in(request)
        struck: list[Fault] = []
        with self._arrived:
            for rule in self._rules:
                taken = rule.fault.instead is not None and any(f.instead for f in struck)
                if taken or not rule.strikes(face.name, symbol, request.path):
                    continue
                struck.append(rule.fault)
                rule.left = None if rule.left is None else rule.left - 1
            self._rules = [r for r in self._rules if r.left != 0]
        return struck

    def _context(self, face: Face, now_ms: int, used: int, faults: Iterable[Fault]) -> Context:
        def spoil(page: Page) -> Page:
            for fault in faults:
                page = fault.rows(page) if fault.rows else page
            return page

        def revised(listing: Listing, frame: Timeframe, rows: list[Row]) -> list[Row]:
            return self._revised(face.name, listing, frame, rows)

        return Context(face.name, self.truth, now_ms, used, revised, spoil)

    def _revised(
        self, vendor: str, listing: Listing, frame: Timeframe, rows: list[Row]
    ) -> list[Row]:
        now_ms = self.clock.now_ms()
        factors = {
            r.stamp_ms: r.factor
            for r in self._revisions
            if r.vendor in (None, vendor) and r.symbol == listing.symbol
            and r.timeframe == frame and now_ms < r.settles_at_ms
        }  # fmt: skip
        if not factors:
            return rows
        return [_multiplied(r, factors.get(r.stamp_ms, 1.0), listing) for r in rows]

    def _finished(self, reply: Reply, faults: Iterable[Fault], request: Request) -> Reply:
        for fault in faults:
            reply = fault.reply(reply) if fault.reply else reply
        if reply.headers.get("Location") == "":
            other = f"http://localhost:{self._listener.port}/elsewhere{request.path}"
            reply = replace(reply, headers={**reply.headers, "Location": other})
        return reply


def _multiplied(row: Row, factor: float, listing: Listing) -> Row:
    """Return the provisional form of a row, with the decimals of the listing."""
    if factor == 1.0:
        return row
    o, h, low, c = (round((x or 0.0) * factor, listing.decimals) for x in row[1:5])
    volume = round((row.volume or 0.0) * factor, listing.volume_decimals)
    adjusted = (row.adj_close or 0.0) * factor
    return row._replace(open=o, high=h, low=low, close=c, volume=volume, adj_close=adjusted)
