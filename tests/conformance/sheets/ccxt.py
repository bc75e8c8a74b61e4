"""Exchanges through ccxt: Binance as the vendor server plays it, queried and parsed by ccxt."""

from src.data.errors import CapabilityError
from tests.conformance.sheet import Series, Sheet

SHEET = Sheet(
    vendor="ccxt:binance",
    face="binance",
    series=(
        Series("BTCUSDT", "1d", "2024-05-27", "2024-06-06"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHBTC", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
        Series("THINUSDT", "15m", "2024-06-03T10:00", "2024-06-03T14:00"),
    ),
    unknown="ZZZZUSDT",
    young=Series("NEWUSDT", "1h", "2024-06-01", "2024-06-04"),
    gone=Series("OLDUSDT", "1d", "2022-05-01", "2022-05-20"),
    # A range is asked for from its start on: where that is before the first bar nobody knows what was.
    errors={"before_listing": CapabilityError, "nothing": CapabilityError},
    paging="rows",
    shapeless="ccxt reads what the exchange answers, and fails itself",
)
