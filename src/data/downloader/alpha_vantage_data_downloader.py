"""Alpha Vantage: stocks by the month, the day, week and month of currencies and crypto too.

A free key has 25 requests a day (2024) and the last 100 days (2025). What stands here was seen in
its answers between 2017 and 2026.
"""

from __future__ import annotations

from typing import Any, Unpack

from ..errors import CapabilityError, DataError, SymbolNotFoundError
from ..model.actions import Action
from ..model.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import DAY_MS, HOUR_MS
from ..model.instrument import Instrument
from ..model.kind import Kind
from ..model.span import Span
from ..net.status import error_of
from .alpha_vantage_rows import meaning_of, month_after, month_of, read_actions, read_series
from .base_data_downloader import BaseDataDownloader, Wired
from .dated import within
from .paging import check_symbol, readable

_DAYS = {"1d": "DAILY", "1w": "WEEKLY", "1M": "MONTHLY"}
_FUNCTIONS = {"stock": "TIME_SERIES", "forex": "FX", "crypto": "DIGITAL_CURRENCY"}
# A quote of a symbol that it does not know.
_NO_QUOTE: dict[str, Any] = {"Global Quote": {}}
# "compact" holds the last 100 bars; those of currencies have six in a week.
_COMPACT_MS = 110 * DAY_MS


class AlphaVantageDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends of Alpha Vantage, prices as traded.

    Args:
        api_key: goes before the environment's.
        **wired: see :class:`BaseDataDownloader`.
    """

    name = "alpha_vantage"
    display_name = "Alpha Vantage"
    aliases = ("av", "alphavantage")
    secrets = (("ALPHA_VANTAGE_API_KEY", "ALPHAVANTAGE_API_KEY"),)
    requires_api_key = True
    limits = Limits(per_minute=5, per_day=25, burst=1)  # of a free key
    default_base_url = "https://www.alphavantage.co"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "forex", "crypto"}),
        # No hours: whether they count from the open or the clock has changed over the years.
        timeframes={label: f"{label[:-1]}min" for label in ("1m", "5m", "15m", "30m")} | _DAYS,
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "forex": Kind("24h", "clock", "aggregate", volume="none"),
            "crypto": Kind("24h", "clock", "aggregate", volume="base"),
        },
        adjustment="raw",
        settle_ms=18 * HOUR_MS,  # a free key sees a session on the evening of its day
        actions_apart=True,
        # Minutes of these go back some days only, and cannot be asked for by date.
        only=dict.fromkeys(("forex", "crypto"), frozenset(_DAYS)),
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {"ALPHA_VANTAGE_API_KEY": api_key}
        super().__init__(**wired)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Ask for a month of minutes, or for all days there are: no range can be named."""
        who, frame = query.instrument, query.timeframe
        theirs = self.capabilities.timeframes[frame.label]
        params: dict[str, str] = {"function": f"{_FUNCTIONS[who.asset_class]}_{theirs}"}
        params |= self._named(who)
        if frame.is_intraday:
            params |= {
                "function": "TIME_SERIES_INTRADAY",
                "interval": theirs,
                "month": month_of(query.span.start),
                "outputsize": "full",
                "adjusted": "false",
                "extended_hours": "false",
            }
        elif frame.label == "1d" and who.asset_class != "crypto":
            is_recent = query.span.start > query.now_ms - _COMPACT_MS
            params["outputsize"] = "compact" if is_recent else "full"
        return self._request(params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read a series by date; bars beside the span came because no range can be asked for."""
        bars, unit = read_series(response, query)
        inside = [bar for bar in bars if bar.stamp_ms in query.span]
        following = month_after(query.span.start) if query.timeframe.is_intraday else None
        if following is not None and following >= query.span.end:
            following = None
        return BarPage(inside, unit=unit, next_ms=following)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Read the sentence that comes in place of data, with status 200."""
        error = error_of(response)
        if (
            error is not None or response.body[:1] != b"{"
        ):  # CSV, or HTML that is told as such later
            return error
        body = response.json()
        if body == _NO_QUOTE:
            return SymbolNotFoundError(f"{self.display_name} has nothing under this symbol")
        texts = [body.get(key) for key in ("Error Message", "Information", "Note")]
        said = next((text for text in texts if isinstance(text, str)), None)
        return None if said is None else meaning_of(said, "Error Message" in body)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        """Return splits and dividends with an ex-date in ``span``: two requests."""
        found: list[Action] = []
        for function in ("SPLITS", "DIVIDENDS"):
            asked = self._request({"function": function, **self._named(instrument)})
            answer = self.send(asked)
            with readable(self.name, "actions"):
                body = answer.json()
                check_symbol(self.name, instrument.spelling(self.name), body.get("symbol"))
                found += read_actions(body["data"], instrument, now_ms)
        return within(found, span)

    def _named(self, who: Instrument) -> dict[str, str]:
        """Return the parameters that name an instrument."""
        name = who.spelling(self.name)
        first, dash, second = name.partition("-")
        if who.asset_class == "stock":
            return {"symbol": name}
        if not dash:
            raise CapabilityError(f"{self.display_name} takes pairs such as BTC-USD, not {name}")
        if who.asset_class == "forex":
            return {"from_symbol": first, "to_symbol": second}
        return {"symbol": first, "market": second}

    def _request(self, params: dict[str, str]) -> HttpRequest:
        secret = {"apikey": self.secret("ALPHA_VANTAGE_API_KEY")}
        return HttpRequest(f"{self.base_url}/query", params=params, secret_params=secret)
