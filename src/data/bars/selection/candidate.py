"""One vendor that may be asked for one series: ours, or anything with a ``get_ohlcv``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...errors import CapabilityError
from ...model.capabilities import Capabilities, Fetched, FetchQuery
from ...model.coverage import Covered
from ...model.instant import DAY_MS
from ...model.instrument import Instrument
from ...model.kind import Adjustment, Kind
from ...model.query import BarsQuery
from ...model.span import Span
from ...model.timeframe import Timeframe
from .conversion import Conversion, conversion_for

if TYPE_CHECKING:
    from ...vendors.foreign import OwnSender


@dataclass(frozen=True)
class Candidate:
    """One vendor that may be asked for one series.

    Attributes:
        name: as the rules spell it.
        downloader: ours, or anything with a ``get_ohlcv``.
        capabilities: what it declares; None for a downloader that is not ours.
        conversion: how its bars are brought to the wanted kind, where they are of another; its
            capabilities are then those it has by way of that.
        own_sender: limits, repeats and counts calls of a downloader that is not ours.
    """

    name: str
    downloader: Any = field(repr=False, compare=False)
    capabilities: Capabilities | None = None
    conversion: Conversion | None = None
    own_sender: OwnSender | None = field(default=None, repr=False, compare=False)

    @property
    def account_name(self) -> str:
        """The name under which its requests are counted."""
        return getattr(self.downloader, "name", "") if self.capabilities else self.name

    def refusal(self, instrument: Instrument, timeframe: Timeframe) -> str:
        """Return why it cannot serve this series at all, or an empty text."""
        caps = self.capabilities
        if caps is None:
            return ""
        if instrument.asset_class not in caps.asset_classes:
            return f"serves no {instrument.asset_class}"
        if timeframe.label not in (labels := caps.labels(instrument.asset_class)):
            return f"serves no {timeframe}, only {' '.join(labels)}"
        try:
            self.downloader.spelled(instrument)
        except CapabilityError as error:
            return str(error)
        return ""

    def has_answered(self, nothing: Covered) -> bool:
        """Tell whether it is one of the vendors that said that there is ``nothing``."""
        own = getattr(self.downloader, "name", None)
        return bool({self.name, own} & set(nothing.vendor.split(",")))

    def servable(self, segment: Span, timeframe: Timeframe, now_ms: int) -> Span:
        """Return the part of ``segment`` within its depth of history; it may be empty."""
        depth = self.capabilities.depth_days.get(timeframe.label) if self.capabilities else None
        if depth is None:
            return segment
        return segment.clip(Span(now_ms - depth * DAY_MS, segment.end))

    def fetch(self, asked: FetchQuery) -> Fetched:
        """Ask ours by its machinery, and anything else by its ``get_ohlcv``.

        Raises:
            ProviderError, ConfigError: it did not answer bars.
        """
        from ...vendors.foreign import fetch_legacy

        if self.capabilities is None:
            return fetch_legacy(self.downloader, asked, self.name, self.own_sender)
        if self.conversion is not None:
            return self.conversion.fetch(asked, self.downloader.fetch)
        fetched: Fetched = self.downloader.fetch(asked)
        return fetched

    def is_shut(self, instrument: Instrument, timeframe: Timeframe) -> bool:
        """Tell whether it is not asked for such bars now because it failed or refused lately.

        Raises:
            ConfigError: its key is not set any more.
        """
        from ...vendors.calls import door_of

        if self.capabilities is None:
            return False
        frame = self.conversion.source if self.conversion else timeframe
        door = door_of(self.downloader.capabilities, instrument.asset_class, frame)
        return bool(self.downloader.is_shut(door))

    def kind(self, instrument: Instrument, timeframe: Timeframe) -> Kind:
        """Return the kind of its bars; unknown for a downloader that is not ours."""
        if self.capabilities is None:
            from ...vendors.foreign import kind_of

            return kind_of(self.downloader, instrument, timeframe)
        return self.capabilities.kind(instrument, timeframe)

    def converted(self, query: BarsQuery, wanted: Kind) -> Candidate | None:
        """Return the same vendor with bars brought to the wanted kind; None where none need be.

        None too where they cannot be, or not exactly.
        """
        if self.capabilities is None:
            return None
        conversion = conversion_for(query, self.capabilities, wanted)
        if conversion is None:
            return None
        made = conversion.capabilities(self.capabilities)
        return replace(self, capabilities=made, conversion=conversion)

    @property
    def adjustment(self) -> Adjustment:
        """What its prices are adjusted for."""
        return self.capabilities.adjustment if self.capabilities else "unknown"

    @property
    def tells_actions(self) -> bool:
        """Whether it tells splits and dividends."""
        return self.capabilities is not None and self.capabilities.tells_actions

    def leans_on_actions(self, query: BarsQuery) -> bool:
        """Tell whether its prices fit beside others only by actions that are known already.

        A vendor of raw prices that sends the actions along with its bars does not.
        """
        if query.provider is not None or query.instrument.asset_class != "stock":
            return False
        sends_them = self.capabilities is not None and self.capabilities.actions
        return self.adjustment == "all" or (self.adjustment == "raw" and not sends_them)
