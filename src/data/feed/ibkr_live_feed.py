"""Bars of Interactive Brokers, asked of a gateway as they close."""

from __future__ import annotations

from typing import Any

from ..config.gateway import ibkr_gateway
from .polled_live_data_feed import PolledLiveDataFeed
from .services import get_door, get_gateway_door, is_manager


class IBKRLiveDataFeed(PolledLiveDataFeed):
    """Bars of a symbol from a gateway of Interactive Brokers.

    Args:
        symbol, interval: whose bars, and their timeframe.
        host, port, client_id: of the gateway that is asked; what is left out is as the rules
            (``providers.ibkr``), the environment (``IBKR_HOST``, ...) or the usual say.
        **others: as :class:`PolledLiveDataFeed`.

    Raises:
        ConfigError: a port or a client's number is none.
        ValueError: there is no history.
    """

    source_name = "IBKR"
    pinned = "ibkr"

    def __init__(
        self,
        symbol: str,
        interval: str,
        host: str | None = None,
        port: int | None = None,
        client_id: int | None = None,
        **others: Any,
    ) -> None:
        manager = others.pop("data_manager", None) or get_door()
        given = {"host": host, "port": port, "client_id": client_id}
        named = {name: value for name, value in given.items() if value is not None}
        rules = (
            manager.provider_selector.parsed_rules.provider("ibkr") if is_manager(manager) else None
        )
        wanted = ibkr_gateway({**(rules.options if rules else {}), **named})
        self.host, self.port, self.client_id = wanted
        if named:
            manager = get_gateway_door(manager, wanted)
        super().__init__(symbol, interval, data_manager=manager, **others)

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with the gateway's address."""
        status = super().get_status()
        return status | {
            "ibkr_connected": status["is_connected"],
            "host": self.host,
            "port": self.port,
            "client_id": self.client_id,
            "ibkr_interval": self.live_timeframe.label,
            "contract_valid": not self.df.empty,
            "data_subscribed": self.stream.is_running,
        }
