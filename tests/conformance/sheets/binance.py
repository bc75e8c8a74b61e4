"""Binance: coins, paged by rows at a single address."""

from src.data.errors import RateLimitedError, ResponseFormatError
from tests.conformance.sheet import NAMELESS, Series, Sheet

SHEET = Sheet(
    vendor="binance",
    series=(
        Series("BTCUSDT", "1d", "2024-05-27", "2024-06-06"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHBTC", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
        Series("BTCUSDT", "1w", "2024-04-29", "2024-06-03"),
        Series("THINUSDT", "15m", "2024-06-03T10:00", "2024-06-03T14:00"),
    ),
    unknown="ZZZZUSDT",
    young=Series("NEWUSDT", "1h", "2024-06-01", "2024-06-04"),
    gone=Series("OLDUSDT", "1d", "2022-05-01", "2022-05-20"),
    errors={
        "firewall": RateLimitedError,
        "forbidden": RateLimitedError,
        # It never answers an error with HTTP 200; what does is no answer of its own.
        "limit_in_200": ResponseFormatError,
    },
    empties=frozenset({"[]"}),
    paging="rows",
    row="0",
    changed="klines-spot-BTCUSDT-5m-limit24",
    spellings={
        "BTCUSDT": "BTCUSDT",
        "BTC-USD": "BTCUSD",
        "ETHBTC": "ETHBTC",
    },
    excused=NAMELESS,
)
