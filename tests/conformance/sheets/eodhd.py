"""EODHD: raw days with volumes in today's shares, minutes in UTC seconds, bare words for errors."""

from src.data.errors import ResponseFormatError
from tests.conformance.sheet import NAMELESS, NAMELESS_SPLITS, SHARES, TEXT_LABELS, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="eodhd",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("REVS", "1d", "2024-04-08", "2024-04-20"),
        Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-07T15:00"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
        Series("BTC-USD", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("BTC-USD", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
    ),
    keys={"EODHD_API_KEY": KEY},
    empties=frozenset({"[]"}),
    # It never answers an error with HTTP 200; what does is no answer of its own.
    errors={"limit_in_200": ResponseFormatError},
    paging="days",
    paged=Series("AAPL", "5m", "2024-05-20", "2024-06-11"),
    row="0",
    changed="eod-BHP.AU-daily-json",
    spellings={
        "BRK.B": "BRK-B.US",
        "BAC-PL": "BAC-PL.US",
        "VOD.L": "VOD.LSE",
        "BHP.AX": "BHP.AU",
        "0700.HK": "0700.HK",
        "EUR/USD": "EURUSD.FOREX",
        "BTCUSDT": "BTC-USD.CC",
        "BTC-USD": "BTC-USD.CC",
        "ETHBTC": "ETH-BTC.CC",
        "^GSPC": "GSPC.INDX",
    },
    excused=NAMELESS | NAMELESS_SPLITS | TEXT_LABELS,
    **SHARES,
)
