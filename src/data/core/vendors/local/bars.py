"""The user's own files as a vendor: the layout of the folder, the columns, and the timestamps."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from itertools import islice, pairwise
from math import log
from pathlib import Path
from statistics import mode
from typing import Any, Final, NoReturn, TypeVar, Unpack
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

import numpy as np

from ....errors import (
    CapabilityError,
    ConfigError,
    DataError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from ...calendars.calendar import MarketCalendar, calendar_for
from ...calendars.grid import BarGrid
from ...calendars.session import ALWAYS_OPEN
from ...config.rules import pattern_fault
from ...model.display.texts import duration, lacks_columns
from ...model.identity.instrument import Instrument
from ...model.identity.kind import ADJUSTMENTS, Adjustment, Kind
from ...model.identity.series import folder_lane
from ...model.market.bars import NAN, Bar, BarTable, Stamps
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, day_ms, to_ms
from ...model.time.span import Span, coalesce
from ...model.time.timeframe import Timeframe
from ...model.words.canonical import canonical
from ...model.words.suggestion import nearest
from ...net.calls.deadline import check_time
from ...net.http.redact import where
from ...net.http.status import error_of
from ...runtime.once import cached_property
from ..base import BaseDataDownloader, Wired
from .carrier import AS_WRITTEN, OF_ARROW, SUFFIXES, VERSION, FileCarrier
from .columns import Columns

T = TypeVar("T")
LABELS: Final = ("start", "end")
ANCHORS: Final = ("clock", "session")
DELIMITERS: Final = (",", ";", "|", "\t")
_LABELS = "1m 2m 3m 5m 15m 30m 1h 90m 2h 4h 6h 8h 12h 1d 3d 1w 1M"
# A number: seconds since 1970, or digits of a date and time.
_DIGITS = re.compile(r"-?\d+(\.\d*)?")
_BASIC_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DOTTED = re.compile(r"(\d{4})[./](\d\d)[./](\d\d)")
# Dates in which the day or the month comes first, and their mark.
_DAY_FIRST = re.compile(r"\d\d?([./-])\d\d?\1\d{4}(?: \d\d?:\d\d(:\d\d)?)?")
# Parts of `strptime` formats that are a time of day.
_HOUR = re.compile("%[HIXTRcs]")
# Names of the time column that are tried if the rules name none.
_TIME_COLUMNS = ("timestamp", "datetime", "date", "time")
# The column with times of day, by that with dates.
_CLOCK_COLUMNS = {"date": "time"}
# Seconds since 1970 have at most 11 digits, milliseconds 13, microseconds 16, nanoseconds 19.
_EPOCH_SCALES = ((10**11, 1000), (10**14, 1), (10**17, 1e-3))
# Number of rows after which the remaining time of the call is checked.
_ROWS_AT_ONCE = 2_000
# The bars of sparse files have the distances of longer bars by chance in at most one of so many.
_BY_CHANCE = 1_000
# Number of rows, the newest in a file, whose times are checked.
_MOST_CHECKED = 500
# Days before the newest row that are checked: a row with a wrong century must not take minutes.
_MOST_DAYS = 3_660
# Number of parsed files kept in memory.
_MOST_FILES = 8
_REQUIRED = ("open", "high", "low", "close")
_COLUMNS = (*_REQUIRED, "volume", "adj_close")
# The column that is true in filled-in rows (``core.model.answer.frame.FILLED``).
_FILLED = "filled"
_DAY = Timeframe.parse("1d")
# Files do not describe themselves, so properties that the rules do not declare are unknown.
_UNKNOWN = Kind(session="", anchor="")
# These asset classes trade nearly around the clock, so their bars cannot begin at an open.
_BY_CLOCK = ("crypto", "forex")


@dataclass(frozen=True)
class LocalFiles:
    """The layout of a folder of bars.

    Attributes:
        folder: Folder that contains the files.
        pattern: Pattern of file names in the folder, in which ``{symbol}`` and ``{timeframe}`` are
            replaced, and for a pair also ``{base}`` and ``{quote}``. The extension may be left out:
            ``.csv``, ``.csv.gz``, ``.parquet`` and ``.feather`` are tried. If ``symbol_column`` or
            ``symbol`` is set, the pattern does not have to contain ``{symbol}``.
        symbol_column: Column with the symbol of each row, if files contain several symbols.
        symbol: Symbol to which all files belong, if there is only one.
        delimiter: Field separator of CSV files: ``,``, ``;``, ``|`` or a tab; not used for Parquet and
            Feather.
        columns: Maps each of this library's column names to the name used in the files, if
            different; ``volume`` maps to None if the bars have no volume.
        time_column: Column with the timestamps. If it is ``timestamp``, the columns ``datetime``,
            ``date`` and ``time`` are tried after it.
        time_format: ``strptime`` format of the timestamps; not needed for ISO 8601 and epoch
            numbers.
        timezone: Time zone of naive timestamps.
        label: Meaning of the timestamps: ``start`` for the opening times of bars, ``end`` for their
            closing times.
        anchor: Start of minute and hourly bars: ``clock`` if they begin at full minutes or hours,
            ``session`` if the first one begins at the session's open; empty if unknown.
        timeframes: Maps each of this library's timeframe labels to the label used in file names, if
            different.
        adjustment: Adjustment of the prices.
        unit: Currency or unit of the prices.
        dense: Whether a missing bar counts as a gap.
    """

    folder: Path
    pattern: str = "{symbol}_{timeframe}"
    symbol_column: str = ""
    symbol: str = ""
    delimiter: str = ","
    columns: Mapping[str, str | None] = field(default_factory=dict)
    time_column: str = "timestamp"
    time_format: str = ""
    timezone: str = "UTC"
    label: str = "start"
    anchor: str = ""
    timeframes: Mapping[str, str] = field(default_factory=dict)
    adjustment: Adjustment = "unknown"
    unit: str = ""
    dense: bool = False

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> LocalFiles:
        """Read the layout from the ``providers.local`` section of the rules.

        Raises:
            ConfigError: A setting is unknown or invalid; the message names it.
        """
        settings = {key: value for key, value in mapping.items() if value is not None}
        names = [f.name for f in fields(cls)]
        for key in settings.keys() - set(names):
            near = nearest(key, names)
            raise ConfigError(
                f"unknown setting providers.local.{key}",
                hint=f"did you mean {near}?" if near else f"valid ones: {', '.join(names)}",
            )
        if "folder" not in settings:
            raise ConfigError(
                "no folder is set for the vendor `local`",
                hint="set providers.local.folder in a rules file, and start with --config FILE",
            )
        settings["folder"] = Path(str(settings["folder"]))
        return cls(**settings)

    def __post_init__(self) -> None:
        for name, choices, more in (
            ("adjustment", ADJUSTMENTS, "unknown"),
            ("label", LABELS, "start"),
            ("anchor", ANCHORS, ""),
        ):
            if getattr(self, name) not in (*choices, more):
                raise ConfigError(
                    f"providers.local.{name} {getattr(self, name)!r} is not valid",
                    hint=f"use one of {', '.join(choices)}",
                )
        if self.delimiter not in DELIMITERS:
            raise ConfigError(
                f"providers.local.delimiter {self.delimiter!r} is not valid",
                hint='use "," ";" "|" or, in double quotes, "\\t"',
            )
        if reason := pattern_fault(self.pattern):
            raise ConfigError(f"providers.local.pattern: {reason}")
        has_symbol = any(name in self.pattern for name in ("{symbol}", "{base}"))
        if not has_symbol and not (self.symbol_column or self.symbol):
            raise ConfigError(
                "providers.local.pattern must contain {symbol} or {base}",
                hint="or set symbol_column, or symbol if there is only one",
            )
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError) as exc:
            raise ConfigError(
                f"unknown time zone {self.timezone!r} in providers.local.timezone"
            ) from exc

    @property
    def has_volume(self) -> bool:
        """Whether the bars should have a volume: True unless the user declares that they have none."""
        return self.columns.get("volume", "volume") is not None

    @cached_property
    def digest(self) -> str:
        """A digest of all settings except the folder; with other settings, a file yields different bars."""
        layout = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "folder"}
        layout |= {name: dict(layout[name]) for name in ("columns", "timeframes")}
        return sha256(canonical(layout).encode()).hexdigest()[:16]

    def labels(self) -> dict[str, str]:
        """Return a mapping from each supported timeframe to the text for it in file names."""
        own = {Timeframe.parse(label).label: text for label, text in self.timeframes.items()}
        return {label: label for label in _LABELS.split()} | own

    def wall_time(self, text: str) -> datetime:
        """Parse ``text`` into an aware datetime, in the files' time zone if it has no offset of its own.

        Raises:
            ValueError: The text is not a time in the expected format.
        """
        moment = self.written_time(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.timezone))

    def in_zone(self, moment: datetime) -> datetime:
        """Return a time in the files' zone; midnight stays a date as it is written."""
        return moment if moment.time() == time.min else moment.astimezone(ZoneInfo(self.timezone))

    def written_time(self, text: str) -> datetime:
        """Parse ``text`` into a datetime as it is written: naive if it has no offset.

        Raises:
            ValueError: The text is not a time in the expected format.
        """
        text = text.strip()
        if self.time_format:
            return datetime.strptime(text, self.time_format)
        if text[4:5] != "-" and _DIGITS.fullmatch(text):
            if (written := _BASIC_FORMATS.get(len(text))) and text.isdigit() and _is_dated(text):
                return datetime.strptime(text, written)
            number = float(text) if "." in text else int(text)
            moment = datetime.fromtimestamp(_epoch_ms(number) / 1000, UTC)
            return moment.astimezone(ZoneInfo(self.timezone))
        try:
            return datetime.fromisoformat(_DOTTED.sub(r"\1-\2-\3", text, count=1))
        except ValueError as exc:
            if (parts := _DAY_FIRST.fullmatch(text)) is None:
                raise
            mark, seconds = parts.groups()
            clock = " %H:%M" * (":" in text) + ":%S" * bool(seconds)
            # Which number is the day cannot be seen; dots are for dates in which it comes first.
            orders = (f"%m{mark}%d", f"%d{mark}%m")[mark == "." :]
            lines = " or ".join(f'"{order}{mark}%Y{clock}"' for order in orders)
            raise ValueError(f"{exc}; time_format: {lines}") from None


class FileRows:
    """The rows of a CSV file of bars, and the positions of this library's columns, ignoring case.

    Args:
        text: Content of the file.
        files: Layout of the file.
        name: Name of the file, for errors.
        delimiter: Field separator.
        needed: Columns other than the time that must be there.
        times: Other names of the time column, tried if the one in ``files`` is not there.

    Attributes:
        header: Names of the columns.
        last_time: The last time that was read, as it is written.

    Raises:
        ResponseFormatError: A column is missing, or the first line is not CSV.
    """

    def __init__(
        self,
        text: str,
        files: LocalFiles,
        name: str,
        delimiter: str,
        needed: Sequence[str] = _REQUIRED,
        times: Sequence[str] = (),
    ) -> None:
        self._files, self._name, self.last_time = files, name, ""
        self._delimiter = delimiter
        self._rows = _rows(text.lstrip("\ufeff").splitlines(), delimiter, name)
        self.header = next(self._rows, [])
        places = reversed(list(enumerate(self.header)))
        there = {_plain(text): index for index, text in places}
        usual = (files.time_column, *times)
        tried = _TIME_COLUMNS if usual == _TIME_COLUMNS[:1] else usual
        time = next((name for name in tried if _plain(name) in there), " or ".join(usual))
        columns: dict[str, str | None] = {name: name for name in (*_COLUMNS, _FILLED)}
        columns |= {**files.columns, "timestamp": time, "symbol": files.symbol_column}
        if not files.time_format or _HOUR.search(files.time_format):
            columns["clock"] = _CLOCK_COLUMNS.get(_plain(time))
        lowered = {ours: _plain(theirs) for ours, theirs in columns.items() if theirs}
        self._at = {ours: there[theirs] for ours, theirs in lowered.items() if theirs in there}
        needed = ("timestamp", *needed, *(("symbol",) if files.symbol_column else ()))
        lacking = [ours for ours in needed if ours not in self._at]
        missing = [str(columns[ours]) for ours in lacking]
        if missing and not "".join(self.header).replace("\t", "").isprintable():
            raise ResponseFormatError(f"{name} is not CSV text in UTF-8")
        if missing:
            has = ", ".join(self.header[:20]) or "none"
            raise ResponseFormatError(
                f"{name} line 1 {lacks_columns(missing)}; it has {has}",
                hint=self._lines(lacking),
            )

    def _lines(self, lacking: Sequence[str]) -> str:
        """Return the lines to write in the rules, so that columns are found that seem to be missing."""
        header = self.header
        mark = next((m for m in DELIMITERS if len(header) == 1 and m in header[0]), None)
        if mark is not None:
            return f"write `delimiter: {json.dumps(mark)}` under providers.local"
        dated = [text for text in header if re.search("time|date", text, re.IGNORECASE)]
        time = json.dumps(dated[0].strip()) if len(dated) == 1 else "NAME"
        prices = ", ".join(f"{name}: NAME" for name in lacking if name in _REQUIRED)
        lines = [f"`time_column: {time}`"] if "timestamp" in lacking else []
        lines += [f"`columns: {{{prices}}}`"] if prices else []
        lines += ["`symbol_column: NAME`"] if "symbol" in lacking else []
        return f"write {' and '.join(lines)} under providers.local, with the names in the file"

    def columns(self, body: bytes) -> Columns | None:
        """Return the columns of the whole file; None if it has no rows, or a time format of its own.

        Args:
            body: Content of the file, of which this object has the first two lines.
        """
        row, files = next(self._rows, None), self._files
        if row is None or files.time_format:
            return None
        at = self._at["timestamp"]
        first, zone = "".join(row[at : at + 1]), ZoneInfo(files.timezone)
        return Columns(body, self.header, self._delimiter, self._at, first, zone)

    def parsed(
        self,
        parse: Callable[[Sequence[str]], T | None],
        refuse: Callable[[str, Exception], None],
    ) -> Iterator[T]:
        """Yield the result of ``parse`` for each row, unless it is None.

        Args:
            parse: Function that parses the fields of a row.
            refuse: Called for each row that cannot be read or has too many fields, with the file's
                name, the line and the reason, and with the error; it may raise an error.
        """
        for number, row in enumerate(self._rows, start=2):
            try:
                value = parse(row) if row else None
                # Decimal commas in a comma-separated file would shift every value after the first.
                if value is not None and any(row[len(self.header) :]):
                    count = len(self.header)
                    raise ValueError(f"a row has {len(row)} fields, but there are {count} columns")
            except (ValueError, IndexError, OverflowError) as exc:
                refuse(f"{self._name} line {number}: {str(exc)[:120]}", exc)
                continue
            if value is not None:
                yield value

    def moment(self, row: Sequence[str], *, with_clock: bool = True) -> datetime:
        """Return the time of a row.

        Args:
            row: Fields of the row.
            with_clock: Whether a date in the column ``date`` is joined with the time of day in the
                column ``time``, if there is one.

        Raises:
            ValueError: There is no time in the row.
        """
        text = row[self._at["timestamp"]]
        if with_clock and "clock" in self._at:
            if ":" not in (clock := self.text(row, "clock")):
                column = self.header[self._at["clock"]]
                raise ValueError(
                    f"{column} does not contain times such as 14:30, but {clock!r:.40}"
                )
            text = f"{text.strip()} {clock}"
        self.last_time = text
        return self._files.wall_time(text)

    def text(self, row: Sequence[str], name: str) -> str:
        """Return the value in a column; empty if the column or the value is missing."""
        return row[self._at[name]].strip() if name in self._at else ""

    def number(self, row: Sequence[str], name: str) -> float:
        """Return the value in a column as a number; NaN if the column or the value is missing.

        Raises:
            ValueError: The value is not a number.
        """
        text = self.text(row, name)
        try:
            return float(text) if text else NAN
        except ValueError:
            raise ValueError(f"column {name!r} contains {text[:40]!r}, not a number") from None


def _reject_file(reason: str, error: Exception) -> NoReturn:
    raise ResponseFormatError(reason) from error


class LocalDataDownloader(BaseDataDownloader):
    """Bars from the user's CSV, gzip CSV, Parquet and Feather files.

    Args:
        files: Layout of the files, or the mapping ``providers.local`` in the rules.
        **wired: See :class:`BaseDataDownloader`.

    Raises:
        ConfigError: The folder does not exist, or the layout is invalid.
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
        self._files_read: dict[tuple[str, ...], tuple[str, BarTable]] = {}
        self._own = FileCarrier(self.files.folder)
        self._carrier = wired.setdefault("carrier", self._own)
        self._folder_lane = folder_lane(self.name, str(self._own.folder))
        super().__init__(**wired)

    @property
    def folder_lane(self) -> str:
        """The part of a lane's name that identifies the folder, derived from its real path."""
        return self._folder_lane

    @property
    def is_there(self) -> bool:
        """Whether the path of the folder still leads to the folder that this downloader reads."""
        return self._own.is_there

    def file_version(self, instrument: Instrument, timeframe: Timeframe) -> str | None:
        """Return a digest of a series' file and of its layout, or None if another transport supplies it.

        The digest is empty if the file does not exist.
        """
        if not isinstance(self._carrier, FileCarrier):
            return None
        version = self._carrier.version(self._request(instrument, timeframe))
        return version and f"{self.files.digest} {version}"

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Return a request for the series' file; no symbol can lead to a file outside the folder."""
        return self._request(query.instrument, query.timeframe)

    def _request(self, instrument: Instrument, timeframe: Timeframe) -> HttpRequest:
        labels = self.capabilities.timeframes
        label = labels[timeframe.label]
        alike = {text for text in labels.values() if text.casefold() == label.casefold()}
        name = self.files.pattern.format(
            symbol=_name_part(instrument.spelling(self.name)),
            timeframe=label,
            base=_name_part(instrument.base or instrument.symbol),
            quote=_name_part(instrument.quote or ""),
        )
        is_in_name = len(alike) > 1 and "{timeframe}" in self.files.pattern.rpartition("/")[2]
        return HttpRequest(f"file:///{quote(name)}", {AS_WRITTEN: label} if is_in_name else {})

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse the rows in the span; a file contains all bars of a symbol and timeframe.

        The CSV has a header line and its columns in any order; :class:`LocalFiles` maps other
        names::

            timestamp,open,high,low,close,volume
            2024-03-01,179.55,180.53,177.38,179.66,73563082
        """
        return BarPage(self._parse_file(response, query).within(query.span))

    def _kind(self, asset_class: str) -> Kind:
        """Return the kind of an asset class's bars, with the declared anchor, unit and volume."""
        anchor = self.files.anchor
        if anchor and asset_class in _BY_CLOCK:
            anchor = "clock"
        volume = "" if self.files.has_volume else "none"
        return replace(_UNKNOWN, anchor=anchor, unit=self.files.unit, volume=volume)

    def _parse_file(self, response: HttpResponse, query: FetchQuery) -> BarTable:
        """Return the bars of a whole file, ascending; it is parsed again only after a change."""
        key = (
            response.url,
            query.timeframe.label,
            query.instrument.calendar,
            query.instrument.symbol,
        )
        version = response.headers.get(VERSION, "")
        stored = self._files_read.get(key)
        if stored is not None and version and stored[0] == version:
            return stored[1]
        table = self._table(response, query)
        if (np.diff(table.stamps) < 0).any():
            table = table.take(np.argsort(table.stamps, kind="stable"))
        if "{timeframe}" not in self.files.pattern:
            last = table.take(slice(-_MOST_CHECKED, None)).bars()
            _check_timeframe(last, query, _name(response))
        others = [(other, read) for other, read in list(self._files_read.items()) if other != key]
        self._files_read = dict(others[1 - _MOST_FILES :]) | {key: (version, table)}
        return table

    def _table(self, response: HttpResponse, query: FetchQuery) -> BarTable:
        """Return the bars in a file, in their order."""
        name, calendar = _name(response), calendar_for(query.instrument)
        spellings = _spellings(query.instrument, self.name)
        # Arrow tables are received as comma-separated text, whatever the delimiter of other files
        # is.
        delimiter = "," if name.endswith(OF_ARROW) else self.files.delimiter
        second = response.body.find(b"\n", response.body.find(b"\n") + 1)
        begin = response.body[: second if second > 0 else None].decode(errors="replace")
        rows = FileRows(begin, self.files, name, delimiter)
        if self.files.symbol and self.files.symbol.casefold() not in spellings:
            raise SymbolNotFoundError(f"{name} has only bars for {self.files.symbol}")
        is_intraday = query.timeframe.is_intraday
        is_of_closes = self.files.label == "end"
        columns = rows.columns(response.body) if is_intraday or not is_of_closes else None
        check_time(self.name)
        table = columns and columns.table(query.timeframe, spellings)
        if table is None:
            rows = FileRows(response.text, self.files, name, delimiter)

        def bar(row: Sequence[str]) -> Bar | None:
            """Return the bar in a row; None if the row is about another symbol."""
            if self.files.symbol_column and rows.text(row, "symbol").casefold() not in spellings:
                return None
            return self._bar(rows, row, query, calendar)

        if table is None:
            bars = list(rows.parsed(bar, _reject_file))
            if is_intraday and bars and not self.files.written_time(rows.last_time).tzinfo:
                bars = with_second_hours(bars, ZoneInfo(self.files.timezone))
            table = BarTable.from_bars(bars)
        if not len(table) and self.files.symbol_column:
            raise SymbolNotFoundError(
                f"no row in {name} has {query.instrument.symbol} in column "
                f"{self.files.symbol_column}"
            )
        if not (is_intraday and is_of_closes and len(table)):
            return table
        anchor = self.capabilities.kind(query.instrument, query.timeframe).anchor or "session"
        opens = opens_of(table.stamps, BarGrid(calendar, query.timeframe, anchor))
        return replace(table, stamps=opens)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error that a response represents: 404 means that the symbol has no file."""
        if response.status == 404:
            name, folder = _name(response), self.files.folder
            others = "" if name.endswith(SUFFIXES) else f" (or {', '.join(SUFFIXES[1:])})"
            name += SUFFIXES[0] if others else ""
            return SymbolNotFoundError(f"there is no file {name}{others} in {folder}")
        return error_of(response)

    def _bar(
        self, rows: FileRows, row: Sequence[str], query: FetchQuery, calendar: MarketCalendar
    ) -> Bar:
        if rows.text(row, _FILLED).casefold() in ("true", "1"):
            raise ValueError("the row was filled in and is not a bar")
        timeframe = query.timeframe
        moment = rows.moment(row, with_clock=timeframe.is_intraday)
        stamp = to_ms(moment)
        if not timeframe.is_intraday:
            if self.files.label == "end":
                day = date_of_close(self.files.in_zone(moment), timeframe, calendar)
            elif calendar.name != ALWAYS_OPEN or query.instrument.asset_class == "crypto":
                day = date_of_open(moment, timeframe, calendar)
            else:  # nothing is known of the venue
                day = self.files.in_zone(moment).date()
            if timeframe.unit == "w":
                day -= timedelta(days=day.weekday())
            stamp = day_ms(day.replace(day=1) if timeframe.unit == "M" else day)
        return Bar(stamp, *(rows.number(row, name) for name in _COLUMNS))


def _check_timeframe(bars: Sequence[Bar], query: FetchQuery, name: str) -> None:
    """Reject a file whose times show that its bars are of another timeframe.

    Its bars are shorter if some follow sooner and many are off the grid, or if many share a day, week
    or month. They are longer if many bars are missing and most distances are the same. A few long
    distances prove nothing, because some stocks are rarely traded.

    Raises:
        CapabilityError: The file contains bars of another timeframe.
    """
    timeframe = query.timeframe
    bars = [bar for bar in bars if bar.stamp_ms > bars[-1].stamp_ms - _MOST_DAYS * DAY_MS]
    times = sorted({bar.stamp_ms for bar in bars})
    if len(bars) < 2:
        return
    stamps, span = np.array(times, dtype=np.int64), Span(times[0], times[-1] + 1)
    grids = [BarGrid(calendar_for(query.instrument), timeframe, anchor) for anchor in ANCHORS]
    opens = [grid.opens(span) for grid in grids]
    off = min(
        int((~grid.aligned(stamps) & ~np.isin(stamps, expected)).sum())
        for grid, expected in zip(grids, opens, strict=True)
    )
    apart = sorted(later - earlier for earlier, later in pairwise(times))
    step_ms, usual = timeframe.longest_ms, mode(apart or [0])
    # Weeks may begin on a Tuesday, and months differ in length.
    slack = 0 if timeframe.is_intraday else usual // 4
    alike = sum(abs(distance - usual) <= slack for distance in apart)
    different = {tuple(None if value != value else value for value in bar) for bar in bars}
    if timeframe.is_intraday and min(apart, default=step_ms) < step_ms and 4 * off > len(times):
        why = f"no such bar opens at {off} of the last {len(times)} times"
    elif not timeframe.is_intraday and 4 * len(different) > 5 * len(times):
        why = f"the last {len(bars)} rows are only {len(times)} of them"
    elif (
        usual > step_ms
        and 4 * len(times) < 3 * min(map(len, opens))
        and 2 * alike >= len(apart) - 1
        and (alike - 1) * log(usual / step_ms) >= log(_BY_CHANCE)
    ):
        why = f"most of the last times are {duration(usual / 1000)} apart"
    else:
        return
    raise CapabilityError(
        f"{name} does not contain {timeframe} bars: {why}",
        hint="if each timeframe has a file, add {timeframe} to providers.local.pattern",
    )


def _plain(column: str) -> str:
    """Return a column's name as it is compared: ``Adj Close`` as ``adj_close``, ``<OPEN>`` as ``open``."""
    return column.strip(" <>\t").casefold().replace(" ", "_")


def _name_part(text: str) -> str:
    """Convert ``text`` to a part of a file name that cannot lead to another folder."""
    return quote(text, safe="^=")


def _rows(lines: Sequence[str], delimiter: str, name: str) -> Iterator[list[str]]:
    """Yield the rows of a CSV file while the call has time left.

    Raises:
        ProviderTimeoutError: The call has run out of time.
        ResponseFormatError: A line is not CSV, for example one with a field of 131,073 characters.
    """
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        while block := list(islice(rows, _ROWS_AT_ONCE)):
            check_time(LocalDataDownloader.name)
            yield from block
    except csv.Error as exc:
        raise ResponseFormatError(f"{name} line {rows.line_num}: {str(exc)[:100]}") from exc


def _spellings(instrument: Instrument, vendor: str) -> set[str]:
    """Return the spellings that files may use for an instrument, in lowercase."""
    spellings = {instrument.symbol, instrument.spelling(vendor)}
    if instrument.base and instrument.quote:
        spellings |= {f"{instrument.base}{mark}{instrument.quote}" for mark in ("", "/", "-", "_")}
    elif instrument.asset_class == "stock":
        spellings.add(instrument.symbol.replace("-", "."))
    return {text.casefold() for text in spellings}


def _is_dated(digits: str) -> bool:
    """Return whether digits begin with a year, and so are a date, not a number of (milli)seconds."""
    return digits >= "1900" and (len(digits) == len("YYYYMMDD") or digits < "2200")


def _epoch_ms(number: float) -> float:
    for below, factor in _EPOCH_SCALES:
        if abs(number) < below:
            return number * factor
    return number / 10**6


def _name(response: HttpResponse) -> str:
    """Return the file's name relative to its folder, as the rules write it."""
    return unquote(where(response.url).removeprefix("file/"))


# --- from closing times of bars to their opening times -----------------------------------


def opens_of(closes: Stamps, grid: BarGrid) -> Stamps:
    """Return the opening times of the minute or hourly bars that close at ``closes``.

    The last bar of a session may be shorter than the timeframe. If no expected bar closes at one of
    the times, the opening time is one step earlier, and is checked like any other timestamp.
    """
    step_ms = grid.timeframe.step_ms or 0
    # Some exchanges write the end of a day as 23:59:59.999.
    ends = closes + (closes % 1000 == 999)
    opens: Stamps = ends - step_ms
    odd = ~grid.aligned(opens) | (grid.closes(opens) != ends)
    near = coalesce(Span(end - DAY_MS, end) for end in sorted(ends[odd].tolist()))
    near_opens = [grid.opens(span) for span in near]
    expected: Stamps = np.concatenate([*near_opens, np.array([], dtype=np.int64)])
    by_close = dict(zip(grid.closes(expected).tolist(), expected.tolist(), strict=True))
    for row in np.flatnonzero(odd).tolist():
        opens[row] = by_close.get(int(ends[row]), opens[row])
    return opens


def with_second_hours(bars: Sequence[Bar], zone: ZoneInfo) -> list[Bar]:
    """Return bars with naive times, with those of a repeated hour moved to its second occurrence.

    If clocks go back, the second occurrence begins with the first bar that is not later than the
    one before it in the file, or after it if most of the file is descending.
    """
    corrected, earlier, is_second = list(bars), None, False
    is_descending = np.sign(np.diff([bar.stamp_ms for bar in bars])).sum() < 0
    places = range(len(bars))
    for at in reversed(places) if is_descending else places:
        bar = bars[at]
        if is_second or (earlier is not None and bar.stamp_ms <= earlier.stamp_ms):
            moment = datetime.fromtimestamp(bar.stamp_ms / 1000, zone)
            second_ms = round(moment.replace(fold=1).timestamp() * 1000)
            corrected[at] = bar._replace(stamp_ms=second_ms)
            # A row that only repeats the one before it does not begin the second occurrence.
            is_second = second_ms != bar.stamp_ms and (is_second or bar != earlier)
        earlier = bar
    return corrected


def date_of_open(opened: datetime, timeframe: Timeframe, calendar: MarketCalendar) -> date:
    """Return the date of the daily, weekly or monthly bar that opens at ``opened``.

    Midnight, in the offset in which it is written, stands for a plain date. Any other time is an
    instant: the date is that of the session that contains it, or else the date at the venue.

    Raises:
        ValueError: A week is dated by a day of a weekend, on which the market is closed.
    """
    day, at_ms = opened.date(), to_ms(opened)
    is_instant = opened.time() != time.min
    if is_instant:
        around = calendar.sessions(day - timedelta(days=1), day + timedelta(days=1))
        inside = [s.day for s in around if s.open_ms <= at_ms < s.close_ms]
        if inside:
            return inside[0]
        day = opened.astimezone(ZoneInfo(calendar.timezone)).date()
    if timeframe.unit == "w" and day.weekday() >= 5 and not calendar.sessions(day, day):
        raise ValueError(f"no week begins on {day:%A, %Y-%m-%d}; label: end is for weeks that end")
    return day


def date_of_close(close: datetime, timeframe: Timeframe, calendar: MarketCalendar) -> date:
    """Return the first date of the daily, weekly or monthly bar that closes at ``close``.

    For weekly and monthly bars, and in markets that close at midnight, a ``close`` at midnight
    belongs to the day that has just ended. In all other cases, midnight stands for a plain date:
    the day that begins then.
    """
    moment = close + timedelta(milliseconds=close.microsecond == 999_000)
    day = moment.date()
    is_midnight = day != (moment - timedelta(milliseconds=1)).date()
    if is_midnight and (timeframe.unit != "d" or _closes_at(calendar, moment)):
        day -= timedelta(days=1)
    if timeframe.unit == "d":
        return day - timedelta(days=timeframe.count - 1)
    if timeframe.unit == "w":
        return day - timedelta(days=day.weekday(), weeks=timeframe.count - 1)
    year, month = divmod(day.year * 12 + day.month - timeframe.count, 12)
    return date(year, month + 1, 1)


def _closes_at(calendar: MarketCalendar, moment: datetime) -> bool:
    """Return whether the bar of the previous day closes at ``moment``."""
    before = np.array([day_ms(moment.date()) - DAY_MS], dtype=np.int64)
    return int(calendar.closes(_DAY, before)[0]) == to_ms(moment)
