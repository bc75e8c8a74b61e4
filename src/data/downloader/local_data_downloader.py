"""The user's own files as a vendor: only the columns are mapped here."""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from typing import Any, Unpack
from urllib.parse import quote, unquote

from ..calendars.calendar import MarketCalendar, calendar_for
from ..calendars.gaps import BarGrid
from ..errors import DataError, ResponseFormatError, SymbolNotFoundError
from ..model.bars import NAN, Bar
from ..model.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import day_ms, to_ms
from ..model.kind import Kind
from ..model.timeframe import Timeframe
from ..net.carriers.demo_files import DemoFilesCarrier
from ..net.carriers.files import FileCarrier
from ..net.redact import where
from ..net.status import error_of
from .base_data_downloader import BaseDataDownloader, Wired
from .close_labels import date_of_close, opens_of
from .local_files import LocalFiles

# So many files are kept as they were read.
_MOST_FILES = 8
_stamp = attrgetter("stamp_ms")
_REQUIRED = ("open", "high", "low", "close")
_COLUMNS = (*_REQUIRED, "volume", "adj_close")
# Nothing is known about files but what their owner says.
_UNKNOWN = Kind(session="", anchor="")
# They trade around the clock, or nearly: there is no open to count from.
_BY_CLOCK = ("crypto", "forex")


class LocalDataDownloader(BaseDataDownloader):
    """Bars out of the user's CSV, gzip CSV and Parquet files.

    Args:
        files: how they are laid out, also as the ``providers.local`` mapping of the rules.
        **wired: see :class:`BaseDataDownloader`.

    Raises:
        ConfigError: there is no folder, or the layout is not understood.
    """

    name = "local"
    display_name = "Local files"
    limits = Limits(burst=0)
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto", "future"}),
        timeframes={"1d": "1d"},
        kinds=dict.fromkeys(("stock", "index", "forex", "crypto", "future"), _UNKNOWN),
        adjustment="unknown",
        settle_ms=0,
        dense=False,
        has_forming=False,
    )

    def __init__(
        self, files: LocalFiles | Mapping[str, Any] | None = None, **wired: Unpack[Wired]
    ) -> None:
        self.files = (
            files if isinstance(files, LocalFiles) else LocalFiles.from_mapping(files or {})
        )
        classes = self.capabilities.asset_classes
        self.capabilities = replace(
            self.capabilities,
            timeframes=self.files.labels(),
            adjustment=self.files.adjustment,
            dense=self.files.dense,
            kinds={name: self._kind(name) for name in classes},
        )
        self._files_read: dict[tuple[str, ...], tuple[bytes, tuple[list[int], list[Bar]]]] = {}
        folder = self.files.folder
        wired.setdefault("carrier", FileCarrier(folder) if folder else DemoFilesCarrier())
        super().__init__(**wired)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Name the file; a symbol cannot name anything outside its folder."""
        name = self.files.pattern.format(
            symbol=quote(query.instrument.spelling(self.name), safe="^="),
            timeframe=self.capabilities.timeframes[query.timeframe.label],
        )
        return HttpRequest(f"file:///{quote(name)}")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read the rows of the span; a file holds all there is."""
        stamps, bars = self._parsed(response, query)
        first, end = bisect_left(stamps, query.span.start), bisect_left(stamps, query.span.end)
        return BarPage(bars[first:end])

    def _kind(self, asset_class: str) -> Kind:
        """Return what the owner of the files says about bars of a class."""
        anchor = self.files.anchor
        if anchor and asset_class in _BY_CLOCK:
            anchor = "clock"
        volume = "" if self.files.has_volume else "none"
        return replace(_UNKNOWN, anchor=anchor, unit=self.files.unit, volume=volume)

    def _parsed(self, response: HttpResponse, query: FetchQuery) -> tuple[list[int], list[Bar]]:
        """Return all bars of a file by stamp; it is read once, until it holds something else."""
        place = (response.url, query.timeframe.label, query.instrument.calendar)
        known = self._files_read.get(place)
        if known is not None and known[0] == response.body:
            return known[1]
        bars = sorted(self._bars(response, query), key=_stamp)
        found = [bar.stamp_ms for bar in bars], bars
        others = [(other, read) for other, read in list(self._files_read.items()) if other != place]
        self._files_read = dict(others[1 - _MOST_FILES :]) | {place: (response.body, found)}
        return found

    def _bars(self, response: HttpResponse, query: FetchQuery) -> list[Bar]:
        name, calendar = _name(response), calendar_for(query.instrument)
        rows = csv.reader(response.text.lstrip("\ufeff").splitlines())
        places = self._places(next(rows, []), name)
        bars = []
        for number, row in enumerate(rows, start=2):
            if not row:
                continue
            try:
                bar = self._bar(row, places, query.timeframe, calendar)
            except (ValueError, IndexError, OverflowError) as exc:
                raise ResponseFormatError(f"{name} line {number}: {str(exc)[:100]}") from exc
            bars.append(bar)
        if self.files.label == "end" and query.timeframe.is_intraday:
            anchor = self.capabilities.kind(query.instrument, query.timeframe).anchor or "session"
            grid = BarGrid(calendar, query.timeframe, anchor)
            opens = opens_of([bar.stamp_ms for bar in bars], grid)
            return [bar._replace(stamp_ms=at) for bar, at in zip(bars, opens, strict=True)]
        return bars

    def classify(self, response: HttpResponse) -> DataError | None:
        """Say that there is no file for the symbol."""
        if response.status == 404:
            return SymbolNotFoundError(f"there is no file {_name(response)} in its folder")
        return error_of(response)

    def _places(self, header: Sequence[str], name: str) -> dict[str, int]:
        """Return where each of our columns stands; compared without case where need be.

        Raises:
            ResponseFormatError: a column is missing.
        """
        there = {
            text.strip().casefold(): place for place, text in reversed(list(enumerate(header)))
        }
        named = {ours: self.files.columns.get(ours, ours) for ours in _COLUMNS}
        theirs = {ours: name for ours, name in named.items() if name is not None}
        theirs["timestamp"] = self.files.time_column
        places = {o: there[t.casefold()] for o, t in theirs.items() if t.casefold() in there}
        missing = [theirs[o] for o in ("timestamp", *_REQUIRED) if o not in places]
        if missing:
            raise ResponseFormatError(
                f"{name} line 1 lacks the columns {', '.join(missing)}",
                hint="providers.local.columns and time_column name them",
            )
        return places

    def _bar(
        self,
        row: Sequence[str],
        places: Mapping[str, int],
        timeframe: Timeframe,
        calendar: MarketCalendar,
    ) -> Bar:
        moment = self.files.wall_time(row[places["timestamp"]])
        stamp = to_ms(moment)
        if not timeframe.is_intraday:
            is_close = self.files.label == "end"
            day = date_of_close(moment, timeframe, calendar) if is_close else moment.date()
            if timeframe.unit == "w":
                day -= timedelta(days=day.weekday())
            stamp = day_ms(day.replace(day=1) if timeframe.unit == "M" else day)
        return Bar(stamp, *(_number(row, places, name) for name in _COLUMNS))


def _number(row: Sequence[str], places: Mapping[str, int], name: str) -> float:
    """Return a value; an empty field, and a column that is not there, are NaN."""
    text = row[places[name]].strip() if name in places else ""
    try:
        return float(text) if text else NAN
    except ValueError:
        raise ValueError(f"column {name!r} holds {text[:40]!r}") from None


def _name(response: HttpResponse) -> str:
    """Return the name of the file as it is written in the rules, below its folder."""
    return unquote(where(response.url).removeprefix("file/"))
