"""The test bench: a vendor's downloader connected to the vendor server, and its expected answers."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import Fetched, FetchQuery, Limits
from src.data.core.model.time.span import Span
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.prices.quality import CheckedRows, check
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import downloader_class
from src.data.data_manager import DataManager
from src.data.errors import DataError, NoDataError, QualityError
from tests.e2e.scripted_vendor import route_to
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.ground_truth import Row

from .sheet import Series, Sheet, Situation

Bars = list[tuple[float, ...]]
_ONCE = RetryPolicy(attempts=1)


@dataclass
class Bench:
    """One vendor under examination; made anew for every check."""

    sheet: Sheet
    vendors: VendorServer
    clock: ManualClock
    folder: Path
    patch: pytest.MonkeyPatch
    transport: HttpTransport = field(default_factory=lambda: HttpTransport(timeout=(5.0, 30.0)))

    @property
    def name(self) -> str:
        """The vendor's name."""
        return self.sheet.vendor

    @property
    def face(self) -> str:
        """Who plays it in the vendor server."""
        return self.sheet.face or self.name

    # --- the vendor

    def downloader(self, keys: Any = None) -> BaseDataDownloader:
        """Return the vendor's downloader at the local server, with its keys or with ``keys``."""
        limiter = Limiter(self.name, Limits(), State(None, self.clock))
        return downloader_class(self.name)(
            credentials=self.sheet.keys if keys is None else keys,
            base_url=self.vendors.base_url(self.face),
            sender=Sender(self.transport, limiter, self.clock, _ONCE),
        )

    def url(self) -> str:
        """Return where it asks."""
        return self.vendors.base_url(self.face)

    def manager(self, name: str = "") -> DataManager:
        """Return the whole library, with this vendor alone; each name has a cache of its own."""
        found = DataManager(self.folder / f"cache{name}", clock=self.clock)
        route_to(self.patch, found, **{self.name: self.downloader()})
        return found

    def turn_pages(self, size: int) -> None:
        """Let a page hold at most so many rows or days from now on."""
        cls = downloader_class(self.name)
        if self.sheet.paging == "rows" and cls.capabilities.page_bars:
            smaller = replace(cls.capabilities, page_bars=size)
            self.patch.setattr(cls, "capabilities", smaller)
            self.patch.setattr(sys.modules[cls.__module__], "PAGE_BARS", size, raising=False)
        if self.sheet.paging == "days":
            label = self.paged.timeframe
            days = {label: min(size, cls.capabilities.page_days[label])}
            smaller = replace(cls.capabilities, page_days=days)
            self.patch.setattr(cls, "capabilities", smaller)

    @property
    def paged(self) -> Series:
        """The series that is asked page by page."""
        return self.sheet.paged or self.sheet.main

    def fault(self, fault: Fault, **when: Any) -> None:
        """Let something go wrong at the vendor."""
        self.vendors.fault(self.face, fault, **when)

    def heal(self) -> None:
        """Take back all faults."""
        self.vendors.heal(self.face)

    def asked(self) -> int:
        """Return how many requests the vendor got."""
        return self.vendors.count(self.face)

    # --- its answers

    def query(self, series: Series, span: Span | None = None) -> FetchQuery:
        """Return the question for a series, or for other stamps of it."""
        return FetchQuery(series.instrument, series.frame, span or series.span, self.clock.now_ms())

    def fetch(self, series: Series, span: Span | None = None) -> Fetched:
        """Ask a new downloader."""
        return self.downloader().fetch(self.query(series, span))

    def checked(self, series: Series, span: Span | None = None) -> CheckedRows:
        """Ask, and judge the answer as the library does."""
        asked = self.query(series, span)
        found = self.downloader().fetch(asked)
        return check(found.table, asked.span, timeframe=series.frame, now_ms=asked.now_ms)

    def outcome(self, series: Series, span: Span | None = None) -> CheckedRows | DataError:
        """Ask, and return the judged answer or the error."""
        try:
            return self.checked(series, span)
        except DataError as error:
            return error

    def bars(self, series: Series, span: Span | None = None) -> Bars:
        """Ask, and return the good bars of the answer."""
        return self.told(self.checked(series, span).good)

    def told(self, table: BarTable) -> Bars:
        """Return a table as tuples, to be compared with :meth:`truth`."""
        columns = [table.stamps.tolist(), *(column.tolist() for column in table.values()[:5])]
        return [self._comparable(row) for row in zip(*columns, strict=True)]

    # --- what must not happen

    def refuses(
        self, situation: Situation, series: Series | None = None, span: Span | None = None
    ) -> DataError:
        """Ask, and return the error that a situation must come out as."""
        series = series or self.sheet.main
        with pytest.raises(DataError) as caught:
            self.fetch(series, span)
        self._assert_told(caught.value, series)
        wanted = self.sheet.error(situation)
        assert type(caught.value) is wanted, f"{situation}: {caught.value!r}"
        return caught.value

    def right_or_refused(
        self, wanted: Bars | None = None, *, why: str = "", series: Series | None = None
    ) -> DataError | None:
        """Ask for the main series or another; return None for the right bars, or the error.

        An error that says that there is nothing is wrong, too.
        """
        series = series or self.sheet.main
        wanted = self.truth(series) if wanted is None else wanted
        found = self.outcome(series)
        assert not isinstance(found, NoDataError), f"taken for nothing there: {why}"
        if isinstance(found, QualityError):  # by the judge, who knows no names
            return found
        if isinstance(found, DataError):
            self._assert_told(found, series)
            return found
        assert self.told(found.good) == wanted, f"wrong bars: {why}"
        return None

    def _assert_told(self, error: DataError, series: Series) -> None:
        assert (error.provider, error.symbol) == (self.name, series.instrument.symbol)
        assert str(error)

    # --- what they should be

    def rows(self, series: Series, span: Span | None = None) -> list[Row]:
        """Return what truly traded, the running bar included."""
        start, end = span or series.span
        return self.vendors.truth.rows(
            series.listing or series.symbol, series.timeframe, start, end,
            self.sheet.adjustment, self.clock.now_ms(), anchor=series.anchor,
        )  # fmt: skip

    def truth(self, series: Series, span: Span | None = None) -> Bars:
        """Return the closed bars that truly traded."""
        now_ms = self.clock.now_ms()
        closed = [row for row in self.rows(series, span) if row.closes_ms <= now_ms]
        return [self._comparable(row[:6]) for row in closed]

    def _comparable(self, row: tuple[Any, ...]) -> tuple[float, ...]:
        """Return stamp, prices and volume, without the volume where the vendor tells none."""
        return row if self.sheet.volume else row[:5]


def agree(got: Bars, wanted: Bars) -> bool:
    """Tell whether bars are the same, but for volumes that are missing."""
    return len(got) == len(wanted) and all(
        one[:5] == other[:5] and (one[5:] == other[5:] or math.isnan(one[5]))
        for one, other in zip(got, wanted, strict=True)
    )
