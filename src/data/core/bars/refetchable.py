"""Determines, without a query, whether vendors could supply stored bars again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...errors import DataError, QueryError
from ..model.identity.instrument import Instrument
from ..model.identity.series import SeriesKey
from ..model.stored.coverage import Covered
from ..model.time.instant import DAY_MS
from ..registry import is_of_files

if TYPE_CHECKING:
    from .selection.candidates import Selector

    class Sources(Selector, Protocol):
        """The methods of the provider selector that this module needs."""

        def instrument(self, symbol: Any) -> Instrument:
            """Return the instrument of a symbol; an invalid symbol raises a ``QueryError``."""


# Bars deleted today may be needed in a few weeks; a vendor's history must still include them then.
_WEEKS_MS = 28 * DAY_MS

NO_SYMBOL = "the meaning of the symbol is no longer known"
NOT_ASKED = "the rules do not name its vendor for it, or its vendor cannot be used here"
FOREIGN = "its vendor is the user's own program"
FILES = "from files on this machine, which may be gone"
NOT_SERVED = "its vendor no longer serves such bars"
TOO_OLD = "its vendor's history does not reach back so far"
OTHER_KIND = "its vendor serves bars of another kind"
NOT_KNOWN = "its vendor does not know the symbol"


class Refetchability:
    """Determines why stored bars could not be fetched again. Thread-safe if the selector is.

    A vendor is considered if the rules name it for the series or the lane is named after it, and
    its keys are set. It is assumed to supply the bars that it declares, as far back as its declared
    history will reach four weeks from now.

    Args:
        selector: Selects the vendors for a series.
    """

    def __init__(self, selector: Sources) -> None:
        self._selector = selector

    def __call__(self, key: SeriesKey, part: Covered, now_ms: int) -> str:
        """Return the reason why ``part`` cannot be fetched again from its vendor; empty if it can be."""
        try:
            instrument = self._selector.instrument(key.symbol).in_session(key.session)
        except QueryError:
            return NO_SYMBOL
        if not self._is_queried(key, part.vendor):
            return NOT_ASKED
        downloader = self._selector.downloaders.get(part.vendor)
        return self._objection(instrument, key, part, downloader, now_ms)

    def _is_queried(self, key: SeriesKey, vendor: str) -> bool:
        """Return whether ``vendor`` is usable and is queried by an ordinary query for the series."""
        named = self._selector.get_provider_with_failover(key.symbol, key.timeframe.label)
        if vendor in named:
            return True
        build = getattr(self._selector, "downloader", None)
        is_its_lane = key.lane[:1] == (vendor,) or (bool(key.of_folder) and is_of_files(vendor))
        return is_its_lane and build is not None and build(vendor) is not None

    def _objection(
        self, instrument: Instrument, key: SeriesKey, entry: Covered, downloader: Any, now_ms: int
    ) -> str:
        # Imported here: an answer from the cache needs no vendor and no HTTP library.
        from ..model.request.capabilities import FetchQuery
        from ..vendors.base import is_ours, unknown_symbol_error
        from .selection.candidates import Candidate

        if not is_ours(downloader):
            return FOREIGN
        caps = downloader.capabilities
        if not downloader.default_base_url and not caps.made_up:
            return FILES
        candidate = Candidate(entry.vendor, downloader, caps.serving(instrument))
        if candidate.refusal(instrument, key.timeframe):
            return NOT_SERVED
        if not caps.kind(instrument, key.timeframe).agrees(entry.kind):
            return OTHER_KIND
        if candidate.servable(entry.span, key.timeframe, now_ms + _WEEKS_MS) != entry.span:
            return TOO_OLD
        query = FetchQuery(instrument, key.timeframe, entry.span, now_ms)
        try:
            return NOT_KNOWN if unknown_symbol_error(downloader, query) else ""
        except DataError:  # its key is no longer set, or the book cannot be read
            return NOT_KNOWN
