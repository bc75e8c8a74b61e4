"""Sources beside the vendors that onetape has: a plugin's vendor, folders of files, a stream.

Each takes the way that a user's does: the plugin is registered and asked by its own
requests, files are read from the disk, frames of the stream are parsed by the vendor's protocol.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from src.data.core.bars.stream_store import Origin, StreamKeeper
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.config.offered import ProgramOffer
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar
from src.data.core.model.market.stream import BarSeen
from src.data.core.model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.bar_rule import is_bar
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.binance.stream import BinanceStream
from tests.vendor_server import Row, Truth
from tests.vendor_server.face import Context, Face, Page, Reply, Request
from tests.vendor_server.listings import Listing
from tests.vendor_server.stream_faces import BinanceFace

from .fakes import quotes_of
from .model import Memory

PLUGIN = "acme"
NAMES = ("timestamp", "open", "high", "low", "close", "volume")


# --- a plugin ----------------------------------------------------------------------------------


class AcmeDataDownloader(BaseDataDownloader):
    """A vendor of another package: every bar of a range in one page of ``[[ms, o, h, l, c, v]]``."""

    name = PLUGIN
    display_name = "Acme"
    default_base_url = "https://acme.example"
    limits = Limits()
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={"15m": "15m", "1h": "1h", "1d": "1d"},
        page_bars=1000,
        kinds={"crypto": Kind("24h", "clock", PLUGIN, "USDT", "base")},
        adjustment="raw",
        settle_ms=0,
        dense=True,
    )

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Ask for a range, both ends inclusive."""
        symbol = query.instrument.spelling(self.name)
        params = {
            "frame": query.timeframe.label, "from": query.span.start, "to": query.span.end - 1,
        }  # fmt: skip
        return HttpRequest(f"{self.base_url}/{symbol}", params=params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read ``{"rows": [[ms, o, h, l, c, v]]}``."""
        return BarPage([Bar(*(cell_of(c) for c in row)) for row in response.json()["rows"]], ())


def cell_of(value: Any) -> Any:
    """Return a value of a row; what is absent is no number."""
    return float("nan") if value is None else value


REGISTERED = {PLUGIN: ProgramOffer(PLUGIN, AcmeDataDownloader)}


class AcmeFace(Face):
    """The plugin's vendor itself."""

    name: ClassVar[str] = PLUGIN

    def spelling(self, listing: Listing) -> str | None:
        """Pairs in USDT, spelled as the exchange spells them."""
        is_pair = listing.asset_class == "crypto" and listing.symbol.endswith("USDT")
        return listing.symbol if is_pair else None

    def symbol_in(self, request: Request) -> str | None:
        """Return the pair in the path."""
        return request.path.lstrip("/")

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer the bars of a range, the running one among them."""
        listing = self.find(self.symbol_in(request) or "", context.truth)
        if listing is None:
            return Reply.json({"error": "unknown symbol"}, 404)
        frame = Timeframe.parse(request.params["frame"])
        window = int(request.params["from"]), int(request.params["to"]) + 1
        rows = context.rows(listing, frame, window)
        page = context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows)))
        told = [[at, *row[1:6]] for at, row in zip(page.labels, page.rows, strict=True)]
        return Reply.json({"rows": told})


# --- folders of files --------------------------------------------------------------------------


class Folder:
    """A folder of a user's own files: what traded, at prices of its own.

    Args:
        path: where it lies.
        factor: what true prices are multiplied by, so that no two folders say the same.
        truth: what truly traded.
        memory: what the files say, under :attr:`name`.

    Attributes:
        name: of the source in the memory of the model.
        upto: timeframe to the instant to which its file is written.
    """

    def __init__(self, path: Path, factor: float, truth: Truth, memory: Memory) -> None:
        self.path, self._factor = path, factor
        self._truth, self._memory = truth, memory
        self.name = f"local:{path.name}"
        self.upto: dict[tuple[str, str], int] = {}
        self._edited: dict[tuple[str, str], dict[int, float]] = {}
        path.mkdir(parents=True)

    def write(self, symbol: str, timeframe: str, start_ms: int, now_ms: int) -> None:
        """Write all closed bars from ``start_ms`` on, those that were edited as they were."""
        edited = self._edited.get((symbol, timeframe), {})
        rows = self._truth.rows(symbol, timeframe, start_ms, now_ms + 1, "raw", now_ms)
        rows = [
            _scaled(row, self._factor * edited.get(row.stamp_ms, 1.0))
            for row in rows
            if row.closes_ms <= now_ms
        ]
        if not rows:
            return
        self.upto[symbol, timeframe] = rows[-1].closes_ms
        with (self.path / f"{symbol}_{timeframe}.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(NAMES)
            lines.writerows([iso(row.stamp_ms), *row[1:6]] for row in rows)
        page = Page(tuple(row.stamp_ms for row in rows), tuple(rows))
        frame = Timeframe.parse(timeframe)
        # What stood there before is said no longer.
        self._memory.forget(self.name, symbol, timeframe)
        self._memory.hear(self.name, symbol, timeframe, quotes_of(frame, page, page, now_ms, "raw"))

    def edit(self, symbol: str, timeframe: str, place: int, start_ms: int, now_ms: int) -> None:
        """Write the file again with another price in the bar at ``place``."""
        rows = self._truth.rows(symbol, timeframe, start_ms, now_ms + 1, "raw", now_ms)
        if rows:
            edited = self._edited.setdefault((symbol, timeframe), {})
            stamp = rows[place % len(rows)].stamp_ms
            edited[stamp] = edited.get(stamp, 1.0) * 1.01
        self.write(symbol, timeframe, start_ms, now_ms)


def _scaled(row: Row, factor: float) -> Row:
    o, h, low, c = (round((value or 0.0) * factor, 6) for value in row[1:5])
    return row._replace(open=o, high=h, low=low, close=c)


# --- a stream ----------------------------------------------------------------------------------


class Stream:
    """Binance's stream of one simulation: its frames, parsed, and closed bars stored.

    Attributes:
        defects: name to what a frame can suffer from; what it tells then is no bar.
    """

    defects: ClassVar[dict[str, Callable[[Row], Row]]] = {
        "": lambda row: row,
        "negative": lambda row: row._replace(low=-1.0),
        "all negative": lambda row: row._replace(open=-2.0, high=-1.0, low=-3.0, close=-2.0),
        "zero": lambda row: row._replace(open=0.0, high=0.0, low=0.0, close=0.0),
        "upside down": lambda row: row._replace(high=row.low, low=row.high),
        "huge": lambda row: row._replace(high=1e300),
        "no number": lambda row: row._replace(close=float("nan")),
    }

    def __init__(self, truth: Truth, memory: Memory) -> None:
        self._truth, self._memory = truth, memory

    def send(
        self, keeper: StreamKeeper, instrument: Instrument, timeframe: str, now_ms: int, told_ms: int,
        defects: tuple[str, ...],
    ) -> None:  # fmt: skip
        """Send the newest closed bars, one for each of ``defects``, oldest first.

        Args:
            keeper: stores them.
            instrument, timeframe: of the bars.
            now_ms: the true time.
            told_ms: the time of the machine that receives them.
            defects: of each bar; empty where it has none.
        """
        frame = Timeframe.parse(timeframe)
        since = now_ms - (len(defects) + 1) * frame.longest_ms
        rows = self._truth.rows(instrument.symbol, timeframe, since, now_ms, "raw", now_ms)
        rows = [row for row in rows if row.closes_ms <= now_ms][-len(defects) :]
        face, protocol = BinanceFace(), BinanceStream()
        bars: list[Bar] = []
        for row, name in zip(rows, defects, strict=False):
            bad = self.defects[name](row)
            text = face.bar(instrument.symbol, timeframe, bad, is_closed=True)
            bars += [
                event.bar.bar
                for event in protocol.read(text)
                if isinstance(event, BarSeen)
                and event.bar.stamp_ms <= told_ms
                and is_bar(event.bar)  # a connection drops the others
            ]
            page = Page((row.stamp_ms,), (bad,))
            quotes = quotes_of(frame, page, page, now_ms, "raw")
            if name:
                quotes = {
                    stamp: [replace(one, spoilt="impossible") for one in told]
                    for stamp, told in quotes.items()
                }
            self._memory.hear("binance", instrument.symbol, timeframe, quotes)
        self._memory.fresh.clear()  # what a stream tells is asked for again once it has settled
        if bars:
            grid = BarGrid(calendar_for(instrument), frame, "clock")
            origin = Origin("binance", protocol.kind(instrument), 0, Basis("raw"))
            keeper.keep(instrument, grid, origin, bars)
