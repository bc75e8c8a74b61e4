"""Polygon: shares of the consolidated tape, paged by addresses."""

from src.data.errors import NoDataError, ResponseFormatError
from tests.conformance.sheet import SHARES, Series, Sheet

SHEET = Sheet(
    vendor="polygon",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("BRK-B", "1h", "2024-06-06", "2024-06-08", "clock"),
        Series("SPY", "5m", "2024-03-08T18:00", "2024-03-11T15:00", "clock"),
        Series("BTC-USD", "1d", "2024-05-28", "2024-06-03"),
    ),
    keys={"POLYGON_API_KEY": "canary-polygon"},
    errors={
        # A ticker that it does not know has no aggregates, and nothing says so.
        "unknown_symbol": NoDataError,
        # It never answers an error with HTTP 200; what does is no answer of its own.
        "limit_in_200": ResponseFormatError,
    },
    paging="rows",
    row="results.0",
    changed="doc-aggs-crypto",
    spellings={
        "BRK.B": "BRK.B",
        "BAC-PL": "BACpL",
        "EUR/USD": "C:EURUSD",
        "BTCUSDT": "X:BTCUSDT",
        "BTC-USD": "X:BTCUSD",
        "ETHBTC": "X:ETHBTC",
    },
    **SHARES,
)
