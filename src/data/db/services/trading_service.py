"""Bots, trades and positions, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.data.db.repos.repo_trading.TradeRepository`, and are
documented there. If a value is rejected, functions that return a bool or None only log it; the
others raise :class:`~onetape.data.errors.QueryError`, which is a ``ValueError``. All are thread-safe.
"""

from __future__ import annotations

from ..repos.repo_trading import TradeRepository as _Logic
from ..repos.repo_trading import bot_configuration_schema as get_bot_configuration_schema
from .base_service import BaseDBService, reading, writing

__all__ = ["TradingService", "get_bot_configuration_schema", "trading_service"]


class TradingService(BaseDBService):
    """The functions of this module as methods, for any database. Thread-safe."""

    part = "trading"

    upsert_bot = writing(_Logic.upsert_bot)
    heartbeat = writing(_Logic.heartbeat, refused=None)
    get_bot_by_id = reading(_Logic.get_bot_by_id, refused=None)
    get_enabled_bots = reading(_Logic.get_enabled_bots)
    get_bots_by_status = reading(_Logic.get_bots_by_status)
    update_bot_status = writing(_Logic.update_bot_status, refused=False)
    update_bot_performance = writing(_Logic.update_bot_performance, refused=False)
    add_trade = writing(_Logic.add_trade)
    close_trade = writing(_Logic.close_trade, refused=False)
    get_open_trades = reading(_Logic.get_open_trades)
    get_pnl_summary = reading(_Logic.get_pnl_summary)
    ensure_open_position = writing(_Logic.ensure_open_position)
    apply_fill = writing(_Logic.apply_fill)
    apply_action = writing(_Logic.apply_action)
    close_if_flat = writing(_Logic.close_if_flat)
    mark_closed = writing(_Logic.mark_closed)
    get_open_positions = reading(_Logic.get_open_positions)
    add_metric = writing(_Logic.add_metric)
    latest_metrics = reading(_Logic.latest_metrics)
    validate_bot_configuration = reading(_Logic.validate_bot_configuration)
    validate_all_bot_configurations = reading(_Logic.validate_all_bot_configurations)
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
apply_action = trading_service.apply_action
close_if_flat = trading_service.close_if_flat
mark_closed = trading_service.mark_closed
get_open_positions = trading_service.get_open_positions
add_metric = trading_service.add_metric
latest_metrics = trading_service.latest_metrics
validate_bot_configuration = trading_service.validate_bot_configuration
validate_all_bot_configurations = trading_service.validate_all_bot_configurations
