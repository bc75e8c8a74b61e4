"""The data that each vendor serves, by timeframe: for commands and the pages about vendors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.model.identity.instrument import AssetClass, Instrument
from ...core.model.identity.kind import Kind
from ...core.model.request.capabilities import Capabilities
from ...core.model.time.instant import MINUTE_MS
from ...core.model.time.timeframe import Timeframe
from ...core.provider_selector import ProviderSelector
from ...core.vendors.base import BaseDataDownloader, is_ours
from ...core.vendors.factory import names, usable_class

# Any stock, with the hours before the open and after the close.
_IN_EXTENDED_HOURS = Instrument("ANY", "stock").extended()


@dataclass(frozen=True)
class ServedRow:
    """The data that a vendor serves for one timeframe.

    Attributes:
        vendor: Canonical name of the vendor.
        timeframe: Timeframe, as this library spells it.
        page_bars, page_days: Maximum number of bars and of days in one answer; 0 means no such
            limit.
        depth_days: Length of the history in days; None if it reaches back to the listing.
        settles: Maps each asset class to the number of minutes after a bar's close for which the
            bar may change; None means until the next session opens.
        kinds: Maps each asset class to the kind of its bars.
        adjustment: Adjustment of the prices.
        has_forming: Whether the vendor's answers include the bar that has not closed yet.
        extended: Whether the vendor serves bars for extended trading hours.
    """

    vendor: str
    timeframe: str
    page_bars: int
    page_days: int
    depth_days: int | None
    settles: Mapping[AssetClass, float | None]
    kinds: Mapping[AssetClass, Kind]
    adjustment: str
    has_forming: bool
    extended: bool = False


def matrix(selector: ProviderSelector) -> list[ServedRow]:
    """Return the rows for all vendors, given the rules and keys of ``selector``.

    If a vendor cannot be queried here, its rows are taken from its declaration.
    """
    return [row for name in names() for row in served(name, capabilities_of(selector, name))]


def capabilities_of(selector: ProviderSelector, name: str) -> Capabilities:
    """Return the capabilities of a vendor here or, if it cannot be queried, those that it declares."""
    source: BaseDataDownloader | type[BaseDataDownloader] = usable_class(name) or BaseDataDownloader
    downloader = selector.downloader(name)
    if downloader is not None and is_ours(downloader):
        source = downloader
    return source.capabilities


def served(vendor: str, caps: Capabilities) -> list[ServedRow]:
    """Return a vendor's rows, one for each timeframe, in the order of ``caps``."""
    return [_served_row(vendor, caps, Timeframe.parse(label)) for label in caps.timeframes]


def _served_row(vendor: str, caps: Capabilities, timeframe: Timeframe) -> ServedRow:
    classes, label = sorted(caps.asset_classes), timeframe.label
    minutes = caps.settle_ms / MINUTE_MS
    return ServedRow(
        vendor,
        label,
        caps.page_bars,
        caps.page_days.get(label, 0),
        caps.depth_days.get(label),
        {c: minutes if timeframe.is_intraday or c == "crypto" else None for c in classes},
        {c: caps.kind(Instrument("ANY", c), timeframe) for c in classes},
        caps.at(timeframe).adjustment,
        caps.has_forming,
        label in caps.serving(_IN_EXTENDED_HOURS).labels("stock"),
    )


def bounds_table(entries: Sequence[ServedRow]) -> list[list[str]]:
    """Return a table that describes the rows' limits in words, with the columns of ``BOUNDS``.

    Timeframes that differ in no other column share a line.
    """
    lines: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        texts = (
            entry.vendor,
            _page(entry),
            "all" if entry.depth_days is None else f"{entry.depth_days} days",
            _settle_text(entry.settles),
            entry.adjustment,
            "sent" if entry.has_forming else "not sent",
            "yes" if entry.extended else "-",
        )
        lines.setdefault(texts, []).append(entry.timeframe)
    return [[texts[0], " ".join(labels), *texts[1:]] for texts, labels in lines.items()]


def kinds_table(entries: Sequence[ServedRow]) -> list[list[str]]:
    """Return a table that describes each row's kind in words, with the columns of ``KIND_COLUMNS``."""
    lines: dict[tuple[str, str], Kind] = {}
    for entry in entries:
        for asset_class, kind in entry.kinds.items():
            # The first timeframe is a short one: daily bars would not show whether hourly bars
            # start at the open or on the clock hour.
            lines.setdefault((entry.vendor, asset_class), kind)
    return [[*key, *_kind(kind)] for key, kind in lines.items()]


BOUNDS = (
    "vendor",
    "timeframes",
    "page",
    "depth",
    "settles after",
    "prices",
    "forming bar",
    "extended hours",
)
KIND_COLUMNS = ("vendor", "asset class", "session", "hours begin", "venue", "volume counts")
_ANCHORS = {"session": "with the open", "clock": "on the clock"}


def _page(entry: ServedRow) -> str:
    limits = [f"{entry.page_bars} bars"] if entry.page_bars else []
    limits += [f"{entry.page_days} days"] if entry.page_days else []
    return ", ".join(limits) or "any range"


def _settle_text(settles: Mapping[AssetClass, float | None]) -> str:
    by_text: dict[str, list[str]] = {}
    for asset_class, minutes in settles.items():
        text = "the next open" if minutes is None else f"{minutes:g} min" if minutes else "at once"
        by_text.setdefault(text, []).append(asset_class)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{', '.join(classes)}: {text}" for text, classes in by_text.items())


def _kind(kind: Kind) -> list[str]:
    texts = (kind.session, _ANCHORS.get(kind.anchor, ""), kind.venue, kind.volume)
    return [text or "-" for text in texts]
