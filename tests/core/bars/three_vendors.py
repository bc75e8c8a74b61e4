"""Three vendors in one process, each with its own sender, limiter and circuit breaker.

They serve the same prices; their volumes 1, 2 and 3 distinguish them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.data.core.bars.service import BarsService
from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.reasons import REJECTED
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.circuit_breaker import CircuitPolicy
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import UnavailableError
from tests.core.net.guarding import Circuits
from tests.core.net.scripted import answer
from tests.vendor_server.face import http_date

from .answers import COIN, LATER, hour, hours

NAMES = ("a", "b", "c")
HOURS = Timeframe.parse("1h")
ENDPOINT = "bars/1h at vendor.example"
KEY = SeriesKey(COIN.symbol, HOURS)
Log = list[tuple[str, int, int]]
# What a vendor answers to a request for the hours [first, end) of the day.
Responder = Callable[["Wire", int, int], HttpResponse]


class Wire:
    """What carries the requests to one vendor; ``log`` has each one's vendor and hours, in order.

    Each answer says what time it is.
    """

    def __init__(self, name: str, respond: Responder, log: Log, clock: ManualClock) -> None:
        self.name, self.respond, self.log, self.clock = name, respond, log, clock

    def send(self, request: HttpRequest) -> HttpResponse:
        first, end = (int(request.params[bound]) for bound in ("first", "end"))
        self.log.append((self.name, first, end))
        response = self.respond(self, first, end)
        return replace(
            response, headers={"date": http_date(self.clock.now_ms()), **response.headers}
        )

    def rows(self, first: int, end: int) -> list[list[float]]:
        """Return the true bars of some hours."""
        volume = NAMES.index(self.name) + 1.0
        return [[hour(h), 100.0 + h, 102.0 + h, 99.0 + h, 101.0 + h, volume]
                for h in range(first, end)]  # fmt: skip


class WiredVendor(BaseDataDownloader):
    """A vendor of hours of a coin."""

    default_base_url = "https://vendor.example"
    capabilities = Capabilities(
        frozenset({"crypto"}), {"1h": "hour"},
        kinds={"crypto": Kind("24h", "clock", "acme", "USDT", "base")},
    )  # fmt: skip

    def __init__(self, wire: Wire, state: State) -> None:
        self.name = wire.name
        limiter = Limiter(self.name, Limits(), state)
        super().__init__(sender=Sender(wire, limiter, state.clock))

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        first, end = ((ms - hour(0)) // HOUR_MS for ms in query.span)
        return HttpRequest(f"{self.base_url}/bars", params={"first": first, "end": end})

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        body = response.json()
        return BarPage([Bar(*row) for row in body["rows"]], unit=body.get("unit", ""))


def serve(wire: Wire, first: int, end: int) -> HttpResponse:
    """Answer the truth."""
    return answer({"rows": wire.rows(first, end)})


class ThreeVendors:
    """The routing service over a store, a clock that stands still, and three vendors.

    Attributes:
        log: Every request to any vendor, in order, with its hours.
        wires: Maps each vendor's name to its connection, which decides what the vendor returns.
        downloaders: Maps each vendor's name to the vendor, in the order in which they are queried.
            A test may replace them.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(LATER)
        self.state = State(folder / "state", self.clock)
        self.store = BarStore(folder / "cache", clock=self.clock)
        self.log: Log = []
        self.wires = {name: Wire(name, serve, self.log, self.clock) for name in NAMES}
        self.downloaders: dict[str, Any] = {
            name: WiredVendor(wire, self.state) for name, wire in self.wires.items()
        }
        self._well = dict(self.downloaders)
        self.service = BarsService(self.store, self, self.clock)

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return the vendors to query, as the selector does."""
        return list(self.downloaders)

    def ask(self, first: int = 0, end: int = 24, **wishes: Any) -> pd.DataFrame:
        """Ask for the hours [first, end)."""
        now = self.clock.now_ms()
        return self.service.get(BarsQuery(COIN, HOURS, hours(first, end), now, **wishes)).owned()

    def declare(self, name: str, **fields: Any) -> None:
        """Let a vendor declare something else."""
        vendor = self.downloaders[name]
        vendor.capabilities = replace(vendor.capabilities, **fields)

    def break_circuit(self, name: str) -> None:
        """Let a vendor's endpoint fail until its circuit opens."""
        circuits = Circuits(self.state)
        for _ in range(CircuitPolicy().failing.threshold):
            with contextlib.suppress(UnavailableError), circuits.guard(Account(name), ENDPOINT):
                raise UnavailableError("down")

    def open_circuits(self) -> str:
        """Return the vendors whose circuit for the endpoint is open."""
        circuits = Circuits(self.state)
        return "".join(n for n in NAMES if not circuits.look(Account(n), ENDPOINT).is_closed)

    def heal(self) -> None:
        """Let everybody be well again."""
        self.downloaders.update(self._well)
        for name in NAMES:
            self.wires[name].respond = serve
            self.downloaders[name].capabilities = WiredVendor.capabilities

    def asked(self) -> str:
        """Return and forget who was asked how often, in order, such as ``3a b``.

        The hours are left out: more may be asked for than is lacking, to compare what two vendors
        have in common.
        """
        return self._counted(name for name, _, _ in self.log)

    def asked_by_half(self) -> str:
        """Return the same for each half of the day, such as ``a.am b.am 3a.pm``."""
        return self._counted(f"{name}.{'am' if end <= 12 else 'pm'}" for name, _, end in self.log)

    def _counted(self, names: Iterable[str]) -> str:
        runs = [(len(list(run)), name) for name, run in itertools.groupby(names)]
        self.log.clear()
        return " ".join(f"{count if count > 1 else ''}{name}" for count, name in runs)

    def stored(self) -> str:
        """Return the day as text, read only from the store; an hour counts if it is final."""
        table, coverage = self.store.read(KEY, hours(0, 24))
        rows = dict(zip(table.stamps.tolist(), table.volume.tolist(), strict=True))
        final = [part.span for part in coverage if part.state == "final"]
        known = {h for h in range(24) if any(hour(h) in span for span in final)}
        assert known == {(stamp - hour(0)) // HOUR_MS for stamp in rows}, "final without a bar"
        return _runs(NAMES[int(rows[hour(h)]) - 1] if hour(h) in rows else "-" for h in range(24))


def vendors_by_hour(frame: pd.DataFrame) -> str:
    """Return the vendor of each hour of the day according to the rows, such as ``a5 -3 c?16``.

    A letter is the vendor whose volume the row has; ``-`` means that the hour has no row, ``?``
    that its row was rejected. The number counts consecutive hours.
    """
    names = [NAMES[int(volume) - 1] for volume in frame["volume"]]
    return _by_hour(frame, dict(zip(_hours(frame), names, strict=True)))


def sources(frame: pd.DataFrame) -> str:
    """Return the same according to the provenance, which names the vendor of each row."""
    spans = [
        (span["vendor"], parse_iso(span["start"]), parse_iso(span["end"]))
        for span in frame.attrs["onetape"]["spans"]
    ]
    named = {
        h: next((vendor for vendor, start, end in spans if start <= hour(h) < end), "nobody")
        for h in _hours(frame)
    }
    return _by_hour(frame, named)


def _by_hour(frame: pd.DataFrame, names: Mapping[int, str]) -> str:
    rejected = [
        Span(parse_iso(gap["start"]), parse_iso(gap["end"]))
        for gap in frame.attrs["onetape"]["gaps"]
        if gap["reason"].startswith(REJECTED)
    ]
    lost = ("?" if any(hour(h) in span for span in rejected) else "-" for h in range(24))
    return _runs(names.get(h, letter) for h, letter in enumerate(lost))


def _hours(frame: pd.DataFrame) -> list[int]:
    return [(int(stamp.value) // 1_000_000 - hour(0)) // HOUR_MS for stamp in frame.index]


def _runs(letters: Iterable[str]) -> str:
    return " ".join(f"{name}{len(list(run))}" for name, run in itertools.groupby(letters))
