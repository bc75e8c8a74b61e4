"""A vendor in process that has only the bars a test lists, and managers that query only such vendors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched, FetchQuery
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.registry import SAMPLES
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import downloader_class, names
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.errors import DataError, NoDataError

from .scripted_vendor import route_to

OURS = [name for name in names() if name not in {"ccxt", "local", "mock", *SAMPLES}]


def serving(asset_class: str, timeframe: str = "1h") -> list[str]:
    """Return the names of the packaged vendors that serve such bars."""
    return [n for n in OURS if timeframe in downloader_class(n).capabilities.labels(asset_class)]  # type: ignore[arg-type]


class FixedVendor(BaseDataDownloader):
    """Has the bars given to it and no others; what begins after now has not been traded yet.

    Args:
        clock: the time of its answers.
        stamps: where its bars stand; each one's price tells its place in time.
        like: the vendor whose name and capabilities it bears.
        **more: capabilities that differ.

    Attributes:
        stamps: as given; they may be changed.
        asked: the spans asked for, in order.
        errors: raised one after another, before anything is answered.
        spoil: changes the rows of every answer.
        listed_ms: the listing, where it tells one.
        page: stamps at which a new page of its answer begins.
    """

    def __init__(
        self, clock: ManualClock, stamps: Iterable[int], like: str = "yahoo", **more: Any
    ) -> None:
        super().__init__(sender=object())  # type: ignore[arg-type]
        declared: Capabilities = downloader_class(like).capabilities
        self.name, self.capabilities = like, replace(declared, depth_days={}, **more)
        self.clock, self.stamps = clock, sorted(stamps)
        self.asked: list[Span] = []
        self.errors: list[DataError | None] = []
        self.spoil: Callable[[list[Bar]], list[Bar]] = lambda rows: rows
        self.listed_ms: int | None = None
        self.page: list[int] = []

    def bar(self, stamp: int) -> Bar:
        """Return the one bar of a stamp."""
        price = 1.0 + stamp / HOUR_MS % 1000 / 1000
        return Bar(stamp, price, price + 0.5, price - 0.5, price + 0.25, 7.0)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer the bars of the span that have begun."""
        self.asked.append(query.span)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        now, step = self.clock.now_ms(), query.timeframe
        begun = [s for s in self.stamps if s in query.span and s <= now]
        rows = self.spoil([self.bar(s) for s in begun])
        if not rows:
            nothing = NoDataError("nothing here", provider=self.name)
            nothing.server_now_ms = now
            raise nothing
        caps = self.capabilities.at(step)
        return Fetched(
            BarTable.from_bars(rows),
            self.name,
            self.capabilities.kind(query.instrument, step),
            Basis(caps.adjustment),
            now,
            settle_ms=caps.settle_ms,
            dense=caps.dense,
            dated=True,
            listed_ms=self.listed_ms,
            seams=tuple(self._seam(rows, begin) for begin in self.page if begin in query.span),
        )

    @staticmethod
    def _seam(rows: list[Bar], begin: int) -> Span:
        before = max((r.stamp_ms for r in rows if r.stamp_ms < begin), default=begin)
        return Span(
            before + 1, min((r.stamp_ms for r in rows if r.stamp_ms >= begin), default=begin)
        )

    def fetch_actions(self, *_: Any, **__: Any) -> Any:
        """Nothing happened."""
        return []


class Market:
    """One cache folder, whose managers query only the vendors given to them."""

    def __init__(self, folder: Path, clock: ManualClock, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.clock, self.patch = folder, clock, patch

    def manager(self, *vendors: BaseDataDownloader, folder: str = "cache") -> DataManager:
        """Return a new manager that queries these vendors in this order."""
        manager = DataManager(self.folder / folder, clock=self.clock)
        route_to(self.patch, manager, **{vendor.name: vendor for vendor in vendors})
        return manager

    def services(self, *, folder: str = "cache") -> Services:
        """Return what a job on the same folder works with; vendors are those of the rules."""
        return build(self.folder / folder, clock=self.clock)


def at(text: str) -> int:
    """Return the UTC milliseconds of a text."""
    return parse_iso(text)


def every(step: str, first: str, last: str) -> list[int]:
    """Return the stamps from ``first`` to ``last``, both inclusive, one each step."""
    length = Timeframe.parse(step).step_ms or 0
    return list(range(at(first), at(last) + 1, length))


def days(first: str, last: str) -> list[date]:
    """Return the weekdays from ``first`` to ``last``."""
    return [day.date() for day in pd.bdate_range(first, last)]


def shown(frame: pd.DataFrame) -> list[str]:
    """Return the stamps of a frame as short texts."""
    return [stamp.isoformat()[:16] for stamp in frame.index]
