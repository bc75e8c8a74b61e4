"""Alpha Vantage: all days at once, minutes by the month, refusals as sentences with status 200."""

from tests.conformance.sheet import SHARES, TEXT_LABELS, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="alpha_vantage",
    series=(
        # All of its days: nothing shorter can be asked for.
        Series("YOUNG", "1d", "2024-04-24", "2024-06-12"),
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("AAPL", "5m", "2024-05-31T18:00", "2024-06-03T15:00"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("AAPL", "1M", "2024-01-01", "2024-06-01"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
        Series("BTC-USD", "1d", "2024-05-24", "2024-06-01"),
    ),
    keys={"ALPHA_VANTAGE_API_KEY": KEY},
    nothings=frozenset({("Time Series (Daily)", "{}")}),
    paging="months",
    paged=Series("AAPL", "30m", "2024-03-25", "2024-06-05"),
    row="*.*",
    changed="daily-MSFT-2018-05",
    spellings={
        "BRK.B": "BRK-B",
        "BAC-PL": "BAC-PL",
        "VOD.L": "VOD.LON",
        "BHP.AX": "BHP.AX",
        "0700.HK": "0700.HK",
        "EUR/USD": "EUR USD",
        "BTCUSDT": "BTC USD",
        "BTC-USD": "BTC USD",
        "ETHBTC": "ETH BTC",
    },
    excused=TEXT_LABELS,
    **SHARES,
)
