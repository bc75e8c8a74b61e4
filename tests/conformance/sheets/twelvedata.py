"""Twelve Data: numbers as text in pages of days, errors as a code in the body."""

from tests.conformance.sheet import SHARES, TEXT_LABELS, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="twelvedata",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-07T15:00"),
        Series("AAPL", "2h", "2024-06-06", "2024-06-08"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("AAPL", "1M", "2024-01-01", "2024-06-01"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
    ),
    keys={"TWELVE_DATA_API_KEY": KEY},
    adjustment="split",
    nothings=frozenset({("values", "[]")}),
    paging="days",
    paged=Series("AAPL", "5m", "2024-05-20", "2024-06-12"),
    row="values.0",
    changed="time_series-IBM-1day",
    spellings={
        "BRK.B": "BRK.B",
        "BAC-PL": "BAC.PL",
        "VOD.L": "VOD XLON",
        "0700.HK": "0700 XHKG",
        "EUR/USD": "EUR/USD",
        "BTCUSDT": "BTC/USDT",
        "BTC-USD": "BTC/USD",
        "ETHBTC": "ETH/BTC",
    },
    excused=TEXT_LABELS,
    **SHARES,
)
