"""Any exchange that ccxt speaks to, each one a vendor of its own: ``ccxt:kraken``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Unpack, cast

from ..errors import CapabilityError, ConfigError, DataError, KindMismatchError
from ..model.bars import Bar
from ..model.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import DAY_MS, MINUTE_MS, iso
from ..model.instrument import Instrument
from ..model.kind import Kind
from ..net.carriers.ccxt_carrier import CcxtCarrier, exchanges_with_bars, facts_of
from .base_data_downloader import BaseDataDownloader, Wired
from .ccxt_errors import error_said
from .ccxt_exchanges import USUAL_PAGE, capabilities_of, limits_of
from .dated import label, list_of, number


class CCXTDataDownloader(BaseDataDownloader):
    """Spot bars of one exchange, asked and read by ccxt. See decision 12.

    Bars longer than a day are not asked for: exchanges begin their weeks on different days, and days
    make them exactly.

    Args:
        **wired: see :class:`BaseDataDownloader`; ``base_url`` is another host of this exchange.

    Raises:
        ConfigError: it was made without an exchange; :meth:`member` has the class of one.
    """

    name = "ccxt"
    display_name = "Exchanges by ccxt"
    # What exchanges usually serve; each one's own class says it exactly.
    limits = Limits(per_second=1, burst=2)
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in "1m 5m 15m 30m 1h 1d".split()},
        page_bars=USUAL_PAGE,
        kinds={"crypto": Kind("24h", "clock", volume="base")},
        dense=False,
    )
    exchange: str = ""

    def __init__(self, **wired: Unpack[Wired]) -> None:
        if not self.exchange:
            raise ConfigError(
                "ccxt stands for many exchanges; one is needed",
                provider=self.name,
                hint="name it behind a colon, such as ccxt:kraken",
            )
        wired.setdefault("carrier", CcxtCarrier(self.exchange))
        super().__init__(**wired)

    @classmethod
    def member(cls, name: str) -> type[CCXTDataDownloader]:
        """Return the class of an exchange by its vendor's name, such as ``ccxt:kraken``.

        Raises:
            MissingExtraError: ccxt is not installed.
            UnknownProviderError: it has no such exchange, or no bars of it.
        """
        return _member(name)

    @classmethod
    def members(cls) -> list[type[CCXTDataDownloader]]:
        """Return the classes of all exchanges that the installed ccxt gives bars of, by name.

        Raises:
            MissingExtraError: ccxt is not installed.
        """
        found = [_member(f"ccxt:{name}") for name in sorted(exchanges_with_bars())]
        return [made for made in found if made.capabilities.timeframes]

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Ask for a page from the start on; ends are not understood everywhere."""
        params: dict[str, str | int] = {
            "symbol": self._symbol(query.instrument),
            "timeframe": self.capabilities.timeframes[query.timeframe.label],
            "since": max(0, query.span.start),
            "limit": min(self._bars_to(query), self.capabilities.page_bars),
        }
        return HttpRequest(f"{self.base_url}/{self.exchange}/bars", params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read ``[open ms, open, high, low, close, volume]`` rows; no rows are not yet the end."""
        rows, step = response.json(), query.timeframe.step_ms or DAY_MS
        bars = [Bar(label(r[0]), *map(number, r[1:6])) for r in list_of(rows)]
        odd = bars[0].stamp_ms if bars else 0
        # Days from another hour on are another kind; single stamps in between are off the grid.
        if all(bar.stamp_ms % step and not bar.stamp_ms % MINUTE_MS for bar in bars) and bars:
            raise KindMismatchError(
                f"{self.name} begins its {query.timeframe} bars at another time than UTC's: "
                f"{iso(odd)}"
            )
        if bars and min(bar.stamp_ms for bar in bars) >= query.span.end:
            raise CapabilityError(
                f"{self.name} has {query.timeframe} bars from {iso(bars[0].stamp_ms)} on only, "
                "or does not say what it had before"
            )
        asked = min(self._bars_to(query), self.capabilities.page_bars)
        following = query.span.start + asked * step
        if bars:
            following = max(bar.stamp_ms for bar in bars) + step
        is_last = following >= min(query.span.end, query.now_ms) or following <= query.span.start
        return BarPage(bars, next_ms=None if is_last else following)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Name the error that ccxt made of the answer, else what its status says."""
        return error_said(response, self.display_name)

    def _symbol(self, who: Instrument) -> str:
        """Return a pair as ccxt writes it, whatever the exchange; a user's own spelling first."""
        for name in (self.name, "ccxt"):
            if name in who.spellings:
                return who.spellings[name]
        return f"{who.base}/{who.quote}" if who.base and who.quote else who.symbol

    @staticmethod
    def _bars_to(query: FetchQuery) -> int:
        step = query.timeframe.step_ms or DAY_MS
        return max(1, -(-(query.span.end - max(0, query.span.start)) // step))


@lru_cache(256)
def _member(name: str) -> type[CCXTDataDownloader]:
    exchange = name.partition(":")[2]
    facts = facts_of(exchange)
    declared: dict[str, Any] = {
        "__doc__": f"Spot bars of {facts.title}.",
        "name": name,
        "display_name": f"{facts.title} (ccxt)",
        "exchange": exchange,
        "limits": limits_of(facts),
        "default_base_url": facts.base_url,
        "capabilities": capabilities_of(exchange, facts),
    }
    made = type(f"CCXT{exchange.title()}DataDownloader", (CCXTDataDownloader,), declared)
    return cast("type[CCXTDataDownloader]", made)
