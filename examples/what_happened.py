"""Request bars and read the provenance that comes with them: vendors, times, gaps, failures.

    python examples/what_happened.py BTCUSDT 1h

Needs a network; without one it shows the error that your code would get.
"""

from __future__ import annotations

import sys

from onetape import get_data_manager
from onetape.errors import AllProvidersFailedError


def main(symbol: str = "BTCUSDT", timeframe: str = "1h") -> int:
    """Run the example."""
    manager = get_data_manager()
    try:
        bars = manager.get_ohlcv(symbol, timeframe, bars=48)
    except AllProvidersFailedError as error:
        for attempt in error.attempts:
            print(f"{attempt.provider:10} {attempt.outcome:20} {attempt.message}")
        return 1
    proof = bars.attrs["onetape"]
    print(bars.tail(3), end="\n\n")
    print(f"{proof['rows']} {proof['timeframe']} bars, complete: {proof['complete']}")
    for span in proof["spans"]:
        print(f"  {span['start']} .. {span['end']}  {span['vendor']:8} {span['state']}")
    for gap in proof["gaps"]:
        print(f"  nothing {gap['start']} .. {gap['end']}: {gap['reason']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
