"""Bots, trades and positions, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.db.repos.TradeRepository`, and are
documented there. If a value is rejected, functions that return a bool or None only log it; the
others raise :class:`~onetape.QueryError`, which is a ``ValueError``. All are thread-safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..repos.repo_trading import TradeRepository
from ..repos.repo_trading import bot_configuration_schema as get_bot_configuration_schema
from .base_service import BaseDBService

__all__ = ["TradingService", "get_bot_configuration_schema", "trading_service"]

# For type checkers, a service has the methods of the repository; at run time, units of work run them.
if TYPE_CHECKING:
    _Methods = TradeRepository
else:
    _Methods = object


class TradingService(BaseDBService, _Methods, part="trading", logic=TradeRepository):
    """The functions of this module as methods, for any database. Thread-safe."""

    get_bot_configuration_schema = staticmethod(get_bot_configuration_schema)


trading_service = TradingService()

upsert_bot = trading_service.upsert_bot
heartbeat = trading_service.heartbeat
get_bot_by_id = trading_service.get_bot_by_id
get_enabled_bots = trading_service.get_enabled_bots
get_bots_by_status = trading_service.get_bots_by_status
update_bot_status = trading_service.update_bot_status
update_bot_performance = trading_service.update_bot_performance
add_trade = trading_service.add_trade
close_trade = trading_service.close_trade
get_open_trades = trading_service.get_open_trades
get_pnl_summary = trading_service.get_pnl_summary
ensure_open_position = trading_service.ensure_open_position
apply_fill = trading_service.apply_fill
close_if_flat = trading_service.close_if_flat
mark_closed = trading_service.mark_closed
get_open_positions = trading_service.get_open_positions
add_metric = trading_service.add_metric
latest_metrics = trading_service.latest_metrics
validate_bot_configuration = trading_service.validate_bot_configuration
validate_all_bot_configurations = trading_service.validate_all_bot_configurations
