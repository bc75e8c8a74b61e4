"""Charts for users, from frames that they already have or from the client's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.display.picture import Picture
from ...core.model.words.html import element
from ...errors import CacheError, DataError, MissingExtraError, QueryError
from .chart import Chart
from .overlays import overlaid
from .reading import chart_of

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import BarsClient, Wishes
    from ...core.model.identity.instrument import Instrument
    from ...core.model.request.query import BarsQuery, ExtraColumn
    from ...core.model.stored.stored import KnownAction

_ENDINGS = (".png", ".svg", ".html", ".htm")
# Columns with the vendor and state of each bar, and for stocks, splits and dividends.
_COLUMNS: tuple[ExtraColumn, ...] = ("source", "state")
_COLUMNS_OF_SHARES: tuple[ExtraColumn, ...] = (*_COLUMNS, "dividend", "split")


class ChartPicture(Picture):
    """A chart that can be drawn; see :class:`~onetape.data.core.model.display.picture.Picture`.

    Args:
        chart: Chart to draw.
    """

    def __init__(self, chart: Chart) -> None:
        self.chart = chart

    def __repr__(self) -> str:
        gaps, marks = len(self.chart.gaps), len(self.chart.marks)
        return (
            f"<chart of {self.chart.title}: {self.chart.given:,} bars, {gaps} gaps, {marks} marks>"
        )

    def png(self, width: int = 800, height: int = 500) -> bytes:
        """Return the picture as PNG; requires the ``plot`` extra. The size is in pixels."""
        from .draw import png_of

        return png_of(self.chart, width, height)

    def svg(self, width: int = 800, height: int = 500) -> str:
        """Return the picture as SVG; requires the ``plot`` extra. The size is in pixels."""
        from .draw import svg_of

        return svg_of(self.chart, width, height)

    def html(self) -> str:
        """Return a page with the chart, which can be zoomed and needs no network."""
        from .chart_page import html_of

        return html_of(self.chart)

    def save(self, path: str | Path) -> Path:
        """Write the chart atomically to a ``.png``, ``.svg`` or ``.html`` file; return its path.

        Raises:
            QueryError: The name has a different extension.
            StorageError: The file cannot be written; no partial file is left.
        """
        from ...core.disk.atomic import check_target, put

        path = Path(path)
        ending = picture_ending(path)
        check_target(path)  # before drawing
        if ending == ".png":
            return put(path, self.png())
        return put(path, (self.svg() if ending == ".svg" else self.html()).encode())

    def _repr_html_(self) -> str:
        try:
            return self.svg()
        except MissingExtraError as missing:
            return element("p", f"{self!r}: {missing}")


def picture_ending(path: str | Path) -> str:
    """Return the extension of a picture file, in lowercase.

    Raises:
        QueryError: The extension does not belong to a supported picture format.
    """
    return check_ending(Path(path), "picture", _ENDINGS, ".png, .svg or .html")


def check_ending(path: Path, what: str, endings: tuple[str, ...], accepted: str) -> str:
    """Return the extension of a file in lowercase.

    Raises:
        QueryError: The extension is not one of ``endings``.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        why = f"unknown extension {path.suffix}" if ending else "no file extension"
        raise QueryError(
            f"cannot determine the format of {what} {str(path)!r}: {why}",
            hint=f"use a name that ends in {accepted}",
        )
    return ending


def plot(
    frames: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    lines: Mapping[str, pd.Series | int] | None = None,
    marks: pd.DataFrame | Iterable[Mapping[str, Any]] | None = None,
) -> ChartPicture:
    """Return a chart of bars that you already have.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01", end="2012-03", provider="demo")
        >>> page = plot(bars).html()

    One frame is drawn as bars with volume; several frames, by symbol, are drawn as lines of close
    prices that are 100 at their first bar in common with another; a symbol that has none is left
    out, and named. Gaps, vendors and bars that may still change come
    from ``attrs["onetape"]``; if the frame has the columns ``source``, ``state``, ``dividend`` and
    ``split`` of ``get_ohlcv``, they come from each bar, and splits and dividends are marked. If a
    frame has no provenance, bars are drawn side by side and times are UTC. This process's data
    manager determines what symbols mean. Thread-safe.

    Args:
        frames: Frame from ``get_ohlcv``; any frame with columns ``open high low close`` and a time
            index or time column; or the dict from ``get_ohlcv_batch``. It is not changed.
        lines: Maps the name of each line over the bars of one symbol to a number of bars, of whose
            closes it is the moving average, or to its values: a Series of numbers with a time index
            (naive times are UTC).
        marks: Trades or notes over the bars of one symbol: a DataFrame, or a list of dicts, with
            ``time`` (or a time index) and optionally ``side`` (``buy`` or ``sell``), ``price``,
            ``text``.

    Returns:
        The chart: ``.png()``, ``.svg()``, ``.html()``, ``.save(path)``; a notebook shows it.

    Raises:
        QueryError: A value is not a frame of bars; several frames have different timeframes,
            adjustments or sessions, or no two have a bar in common; or a line or mark cannot be read.
    """
    instruments = _instruments(frames if isinstance(frames, Mapping) else {"": frames})
    chart = chart_of(frames, instruments)
    instrument = next(iter(instruments.values()), None)
    return ChartPicture(overlaid(chart, lines, marks, instrument))


def _instruments(frames: Mapping[str, Any]) -> dict[str, Instrument]:
    """Return the instruments of frames with provenance, omitting unknown ones."""
    told = {
        str(name): facts
        for name, frame in frames.items()
        if isinstance(facts := getattr(frame, "attrs", {}).get(ATTRS_KEY), Mapping)
        and facts.get("symbol")
    }
    if not told:
        return {}
    from ...data_manager import ProviderSelector, existing_data_manager

    manager = existing_data_manager()
    selector = manager.provider_selector if manager else ProviderSelector()
    instruments = {}
    for name, facts in told.items():
        try:
            instrument = selector.instrument(facts["symbol"])
        except QueryError:
            continue
        session = facts.get("kind", {}).get("session", "regular")
        instruments[name or facts["symbol"]] = instrument.in_session(session)
    return instruments


def picture_of(client: BarsClient, query: BarsQuery) -> ChartPicture:
    """Return a chart of the answer from ``client`` to a query for one symbol.

    Raises:
        NoProviderError, AllProvidersFailedError, IncompleteDataError: As for ``get_ohlcv``.
    """
    return ChartPicture(answered(client, query)[1])


def picture_of_several(
    client: BarsClient, frames: Mapping[str, pd.DataFrame], timeframe: str, wishes: Wishes
) -> ChartPicture:
    """Return a chart of the answers from ``client`` for several symbols, drawn as lines.

    Args:
        client: Client that returned the frames.
        frames: Maps each symbol to its frame; the provenance of an empty frame contains the reason.
        timeframe, wishes: Timeframe and options with which the frames were requested.

    Raises:
        QueryError: The symbols cannot share one chart.
    """
    instruments = {}
    for name in frames:
        try:
            instruments[name] = client.query(name, timeframe, wishes=wishes).instrument
        except DataError:  # its frame is empty and has the reason
            continue
    return ChartPicture(chart_of(frames, instruments))


def answered(client: BarsClient, query: BarsQuery) -> tuple[pd.DataFrame, Chart]:
    """Return the answer from ``client`` to a query for one symbol, and a chart of that answer.

    Raises:
        DataError: As for ``get_ohlcv``.
    """
    instrument = query.instrument
    columns = _COLUMNS_OF_SHARES if instrument.asset_class == "stock" else _COLUMNS
    frame = client.get(replace(query, columns=columns))
    facts = frame.attrs[ATTRS_KEY]
    doubts = []
    if any(span.get("merged") for span in facts["spans"]):
        # The provenance may have merged spans, so the stored series is read for each of them.
        stored = client.coverage(client.series_of(query))
        doubts = [(entry.span, entry.reason) for entry in stored if entry.reason]
    currencies = {action.currency for action in _dividends(client, query)}
    currency = currencies.pop() if len(currencies) == 1 else ""
    instruments = {facts["symbol"]: instrument}
    return frame, chart_of(frame, instruments, doubts=doubts, currency=currency)


def _dividends(client: BarsClient, query: BarsQuery) -> Iterable[KnownAction]:
    """Yield the stored dividends that apply to the prices; none if the stored data is damaged."""
    try:
        stored = client.actions(query.instrument.symbol, query.action_key)
    except CacheError:
        return
    yield from (action for action in stored if action.counts and action.action.type == "dividend")
