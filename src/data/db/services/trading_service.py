"""Bots, trades and positions, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.db.repos.TradeRepository`, and are
documented there. If a value is rejected, functions that return a bool or None only log it; the
others raise :class:`~onetape.QueryError`, which is a ``ValueError``. All are thread-safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    _reads = (
        "get_bot_by_id? get_enabled_bots get_bots_by_status validate_bot_configuration "
        "validate_all_bot_configurations get_open_trades get_pnl_summary get_open_positions latest_metrics"
    )
    _writes = (
        "upsert_bot heartbeat update_bot_status? update_bot_performance? add_trade close_trade? "
        "ensure_open_position apply_fill close_if_flat mark_closed add_metric"
    )

    get_bot_configuration_schema = staticmethod(get_bot_configuration_schema)


trading_service = TradingService()


def __getattr__(name: str) -> Any:
    """Return the function of the module with this name."""
    return getattr(trading_service, name)
