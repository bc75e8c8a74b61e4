"""Yahoo: one answer for any range of days, minutes week by week."""

from src.data.errors import ResponseFormatError
from tests.conformance.sheet import SHARES, Series, Sheet

SHEET = Sheet(
    vendor="yahoo",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-07T15:00"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
        Series("BTC-USD", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
    ),
    adjustment="split",
    # Its limit is told with 429; the same text with HTTP 200 is no answer of its own.
    errors={"limit_in_200": ResponseFormatError},
    paging="days",
    paged=Series("AAPL", "1m", "2024-06-03", "2024-06-11"),
    row="chart.result.0.indicators.quote.0",
    changed="chart-GOOG-1d-2020-01",
    spellings={
        "BRK.B": "BRK-B",
        "BAC-PL": "BAC-PL",
        "VOD.L": "VOD.L",
        "BHP.AX": "BHP.AX",
        "0700.HK": "0700.HK",
        "EUR/USD": "EURUSD=X",
        "BTCUSDT": "BTC-USD",
        "BTC-USD": "BTC-USD",
        "ETHBTC": "ETH-BTC",
        "^GSPC": "^GSPC",
        "ES=F": "ES=F",
    },
    **SHARES,
)
