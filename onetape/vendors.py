"""What the class of a vendor needs, and the classes of all vendors; see ``docs/adding-a-provider.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.core.model.identity.instrument import Instrument as Instrument
    from .data.core.model.identity.kind import Kind as Kind
    from .data.core.model.market.bars import Bar as Bar
    from .data.core.model.market.stream import Heard as Heard
    from .data.core.model.market.stream import Ready as Ready
    from .data.core.model.market.stream import StreamAddress as StreamAddress
    from .data.core.model.market.stream import StreamEvent as StreamEvent
    from .data.core.model.market.stream import StreamRefusal as StreamRefusal
    from .data.core.model.market.stream import StreamReply as StreamReply
    from .data.core.model.market.stream import Subscribed as Subscribed
    from .data.core.model.market.stream import Topic as Topic
    from .data.core.model.request.capabilities import BarPage as BarPage
    from .data.core.model.request.capabilities import Capabilities as Capabilities
    from .data.core.model.request.capabilities import Fetched as Fetched
    from .data.core.model.request.capabilities import FetchQuery as FetchQuery
    from .data.core.model.request.capabilities import Limits as Limits
    from .data.core.model.request.http import HttpRequest as HttpRequest
    from .data.core.model.request.http import HttpResponse as HttpResponse
    from .data.core.model.time.span import Span as Span
    from .data.core.model.time.timeframe import Timeframe as Timeframe
    from .data.core.net.http.status import error_of as error_of
    from .data.core.own_loops.limiters import RateLimiter as RateLimiter
    from .data.core.vendors.alpaca.bars import AlpacaDataDownloader as AlpacaDataDownloader
    from .data.core.vendors.alpha_vantage.bars import (
        AlphaVantageDataDownloader as AlphaVantageDataDownloader,
    )
    from .data.core.vendors.base import BaseDataDownloader as BaseDataDownloader
    from .data.core.vendors.binance.bars import BinanceDataDownloader as BinanceDataDownloader
    from .data.core.vendors.ccxt.bars import CCXTDataDownloader as CCXTDataDownloader
    from .data.core.vendors.coingecko.bars import CoinGeckoDataDownloader as CoinGeckoDataDownloader
    from .data.core.vendors.dates import day as day
    from .data.core.vendors.dates import label as label
    from .data.core.vendors.dates import list_of as list_of
    from .data.core.vendors.dates import number as number
    from .data.core.vendors.dates import stamp_of as stamp_of
    from .data.core.vendors.demo.bars import DemoDataDownloader as DemoDataDownloader
    from .data.core.vendors.eodhd.bars import EODHDDataDownloader as EODHDDataDownloader
    from .data.core.vendors.factory import DataDownloaderFactory as DataDownloaderFactory
    from .data.core.vendors.factory import register as register
    from .data.core.vendors.finnhub.bars import FinnhubDataDownloader as FinnhubDataDownloader
    from .data.core.vendors.fmp.bars import FMPDataDownloader as FMPDataDownloader
    from .data.core.vendors.fundamentals_table import SYMBOL as SYMBOL
    from .data.core.vendors.fundamentals_table import Ask as Ask
    from .data.core.vendors.fundamentals_table import Key as Key
    from .data.core.vendors.fundamentals_table import Pick as Pick
    from .data.core.vendors.fundamentals_table import TableAnswer as TableAnswer
    from .data.core.vendors.fundamentals_table import VendorTable as VendorTable
    from .data.core.vendors.ibkr.bars import IBKRDataDownloader as IBKRDataDownloader
    from .data.core.vendors.local.bars import LocalDataDownloader as LocalDataDownloader
    from .data.core.vendors.mock.bars import MockDataDownloader as MockDataDownloader
    from .data.core.vendors.paging import check_interval as check_interval
    from .data.core.vendors.paging import check_symbol as check_symbol
    from .data.core.vendors.polygon.bars import PolygonDataDownloader as PolygonDataDownloader
    from .data.core.vendors.replay.bars import ReplayDownloader as ReplayDownloader
    from .data.core.vendors.stream_protocol import StreamTraits as StreamTraits
    from .data.core.vendors.stream_protocol import bar_of as bar_of
    from .data.core.vendors.stream_protocol import key_of as key_of
    from .data.core.vendors.stream_protocol import seen as seen
    from .data.core.vendors.stream_protocol import spelled as spelled
    from .data.core.vendors.stream_protocol import understood as understood
    from .data.core.vendors.tiingo.bars import TiingoDataDownloader as TiingoDataDownloader
    from .data.core.vendors.twelvedata.bars import (
        TwelveDataDataDownloader as TwelveDataDataDownloader,
    )
    from .data.core.vendors.yahoo.bars import YahooDataDownloader as YahooDataDownloader
else:
    __all__, __getattr__, __dir__ = door(__name__)
