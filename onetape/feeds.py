"""Live bars after history, also for Backtrader; ``docs/live-feeds.md`` describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.core.config.feed_presets import load_preset as load_preset
    from .data.doors.compat.data_feed_factory import DataFeedFactory as DataFeedFactory
    from .data.feed.backtrader.backtest import BacktestFeed as BacktestFeed
    from .data.feed.backtrader.feed import BacktraderFeed as BacktraderFeed
    from .data.feed.backtrader.feed import run_live as run_live
    from .data.feed.backtrader.live import BaseLiveDataFeed as BaseLiveDataFeed
    from .data.feed.backtrader.live import BinanceLiveDataFeed as BinanceLiveDataFeed
    from .data.feed.backtrader.live import CoinGeckoLiveDataFeed as CoinGeckoLiveDataFeed
    from .data.feed.backtrader.live import IBKRLiveDataFeed as IBKRLiveDataFeed
    from .data.feed.backtrader.live import YahooLiveDataFeed as YahooLiveDataFeed
    from .data.feed.file_data_feed import FileDataFeed as FileDataFeed
    from .data.feed.live_feed import LiveFeed as LiveFeed
    from .data.feed.replay import replay_feed as replay_feed
else:
    __all__, __getattr__, __dir__ = door(__name__)
