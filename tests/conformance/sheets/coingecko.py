"""CoinGecko: averages without volume, stamped with their close; tested with the key of a paid plan."""

from tests.conformance.sheet import NAMELESS, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="coingecko",
    series=(
        Series("BTCUSDT", "1d", "2024-05-28", "2024-06-08"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHUSDT", "4h", "2024-06-03", "2024-06-08"),
        Series("BTCUSDT", "30m", "2024-06-12T02:00", "2024-06-12T09:00"),
    ),
    unknown="ADAUSDT",  # whose id is known here, but not to the vendor server
    young=Series("SUIUSDT", "1d", "2024-05-25", "2024-06-10", listing="NEWUSDT"),
    gone=Series("EOSUSDT", "1d", "2022-05-01", "2022-05-20", listing="OLDUSDT"),
    keys={"COINGECKO_PRO_API_KEY": KEY},
    empties=frozenset({"[]"}),
    paging="days",
    paged=Series("BTCUSDT", "1h", "2024-05-20", "2024-06-01"),
    volume=False,
    row="0",
    changed="ohlc-4h",
    spellings={
        "BTCUSDT": "bitcoin usd",
        "BTC-USD": "bitcoin usd",
        "ETHBTC": "ethereum btc",
    },
    excused=NAMELESS,
)
