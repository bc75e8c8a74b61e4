"""The bench for file vendors: each file is written from the true bars when it is requested."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import downloader_class
from src.data.core.vendors.local.carrier import FileCarrier
from tests.vendor_server import Fault
from tests.vendor_server.face import Face, Page, Reply, local_midnight
from tests.vendor_server.listings import NEW_YORK

from .bench import Bench
from .sheet import Series

_SINCE = {"m": "2024-05-28", "h": "2024-05-28"}


@dataclass
class FileBench(Bench):
    """Files of bars in a folder; what a fault does to rows and bodies is done to the files."""

    faults: list[tuple[Fault, int | None]] = field(default_factory=list)
    opened: int = 0

    def downloader(self, keys: Any = None) -> BaseDataDownloader:
        """Return the vendor over the folder; wall times and days are New York's."""
        layout = {"folder": str(self.shelf), "timezone": NEW_YORK, "adjustment": "raw"}
        limiter = Limiter(self.name, Limits(), State(None, self.clock))
        carrier = _Writing(self, FileCarrier(self.shelf))
        sender = Sender(carrier, limiter, self.clock)
        return downloader_class(self.name)(files=layout, carrier=carrier, sender=sender)  # type: ignore[call-arg]

    def url(self) -> str:
        """Return where it asks."""
        return "file:///"

    @property
    def shelf(self) -> Path:
        """The folder of the files."""
        self.folder.joinpath("files").mkdir(exist_ok=True)
        return self.folder / "files"

    def fault(self, fault: Fault, *, times: int | None = None, **_: Any) -> None:
        """Let files be wrong from now on, or so many times."""
        self.faults.append((fault, times))

    def heal(self) -> None:
        """Let files be right again."""
        self.faults.clear()

    def asked(self) -> int:
        """Return how many files were opened."""
        return self.opened

    def write(self, name: str) -> None:
        """Write a file as the truth is, with whatever is to be wrong with it."""
        symbol, _, label = name.rpartition("_")
        (self.shelf / f"{name}.csv").unlink(missing_ok=True)
        if symbol not in {one.symbol for one in self.vendors.truth.listings()}:
            return
        striking = [fault for fault, _ in self.faults]
        self.faults = [(f, t and t - 1) for f, t in self.faults if t != 1]
        page = self._page(symbol, label)
        for fault in striking:
            page = fault.rows(page) if fault.rows else page
        reply = Reply.text(_csv(page))
        for fault in striking:
            if fault.instead is not None:
                reply = fault.instead(cast(Face, None), cast(Any, None), 0)
            reply = fault.reply(reply) if fault.reply else reply
        (self.shelf / f"{name}.csv").write_bytes(reply.body)

    def _page(self, symbol: str, label: str) -> Page:
        frame = Timeframe.parse(label)
        span = Span(parse_iso(_SINCE.get(frame.unit, "2022-01-01")), self.clock.now_ms() + 1)
        rows = self.rows(Series(symbol, label, "", "", "clock"), span)
        labels = [
            row.stamp_ms if frame.is_intraday else local_midnight(row.stamp_ms, NEW_YORK)
            for row in rows
        ]
        return Page(tuple(labels), tuple(rows))


@dataclass
class _Writing:
    """Carries as the library's own carrier of files does, and writes what it is to find."""

    bench: FileBench
    files: FileCarrier

    def send(self, request: HttpRequest) -> HttpResponse:
        """Write the file that is asked for, and return it."""
        self.bench.opened += 1
        self.bench.write(unquote(urlsplit(request.url).path).lstrip("/"))
        return self.files.send(request)


def _csv(page: Page) -> str:
    lines = ["timestamp,open,high,low,close,volume"]
    for stamp, row in zip(page.stamps(), page.rows, strict=True):
        values = ("" if value is None else repr(value) for value in row[1:6])
        lines.append(",".join([str(stamp), *values]))
    return "\n".join(lines) + "\n"
