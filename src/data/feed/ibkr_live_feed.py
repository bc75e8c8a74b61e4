"""Bars of Interactive Brokers, asked of a gateway as they close."""

from __future__ import annotations

from typing import Any

from .polled_live_data_feed import PolledLiveDataFeed


class IBKRLiveDataFeed(PolledLiveDataFeed):
    """Bars of a symbol from a gateway of Interactive Brokers.

    Args:
        symbol, interval: whose bars, and their timeframe.
        host, port, client_id: of the gateway. The data manager asks the one that its rules name
            (``providers.ibkr``) or the environment; these are told in the status.
        **others: as :class:`PolledLiveDataFeed`.
    """

    source_name = "IBKR"
    pinned = "ibkr"

    def __init__(
        self,
        symbol: str,
        interval: str,
        host: str = "127.0.0.1",
        port: int = 7497,
        client_id: int = 1,
        **others: Any,
    ) -> None:
        self.host, self.port, self.client_id = host, port, client_id
        super().__init__(symbol, interval, **others)

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
