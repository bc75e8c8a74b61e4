"""Your own CSV files as a vendor: same calls, same frame, same checks, no network.

    python examples/own_files.py

Writes a small CSV file into a temporary folder, points the vendor `local` at it with a short rules
file, and requests the bars twice: they come from the file, then from the cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from onetape import DataManager

CSV = """when,o,h,l,c,vol
2024-01-02,100.0,102.5,99.5,101.0,12000
2024-01-03,101.0,103.0,100.5,102.5,15000
2024-01-04,102.5,102.9,98.0,98.5,31000
"""

RULES = """providers:
  local:
    folder: {folder}
    pattern: "{{symbol}}-{{timeframe}}.csv"
    time_column: when
    columns: {{open: o, high: h, low: l, close: c, volume: vol}}
    adjustment: raw
    unit: USD
"""


def main() -> None:
    """Run the example."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "ACME-1d.csv").write_text(CSV)
        (root / "rules.yaml").write_text(RULES.format(folder=root))
        manager = DataManager(cache_dir=root / "cache", config_path=root / "rules.yaml")
        for _ in range(2):
            bars = manager.get_ohlcv(
                "ACME", "1d", "2024-01-02", "2024-01-04", provider="local", adjustment="raw"
            )
            provenance = bars.attrs["onetape"]
            print(bars)
            print(f"from {provenance['vendors']}, {provenance['from_cache']:.0%} from the cache\n")


if __name__ == "__main__":
    main()
