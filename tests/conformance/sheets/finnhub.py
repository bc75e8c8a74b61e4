"""Finnhub: columns with UTC seconds; ``no_data`` for an empty range and for an unknown symbol alike."""

from src.data.errors import NoDataError
from tests.conformance.sheet import NAMELESS, SHARES, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="finnhub",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("BRK-B", "1d", "2024-05-28", "2024-06-08"),
        Series("AAPL", "30m", "2024-06-06", "2024-06-08", "clock"),
        Series("BTCUSDT", "1d", "2024-05-28", "2024-06-08"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHBTC", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
    ),
    keys={"FINNHUB_API_KEY": KEY},
    adjustment="split",
    # It says the same of an empty range and of a symbol that it does not know.
    errors={"unknown_symbol": NoDataError},
    actionless=frozenset({"[]"}),
    paging="days",
    paged=Series("BTCUSDT", "1h", "2024-05-01", "2024-06-01"),
    row="",
    changed="candle-ok-shape-sample",
    spellings={
        "BRK.B": "BRK.B",
        "BAC-PL": "BAC.PL",
        "VOD.L": "VOD.L",
        "BHP.AX": "BHP.AX",
        "0700.HK": "0700.HK",
        "BTCUSDT": "BINANCE:BTCUSDT",
        "BTC-USD": "BINANCE:BTCUSD",
        "ETHBTC": "BINANCE:ETHBTC",
    },
    excused=NAMELESS,
    **SHARES,
)
