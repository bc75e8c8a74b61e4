"""Check the bars of a receipt with pandas alone.

    python examples/check_receipt.py FILE SYMBOL TIMEFRAME BARS.csv [ACTIONS.csv]

BARS.csv has the columns timestamp, open, high, low, close and volume, with prices as traded, such as
``onetape fetch AAPL 1d --start ... --adjustment raw --csv BARS.csv`` writes. ACTIONS.csv, which is needed
if the receipt says `joined`, has ex_date, type, ratio and paid, as ``get_actions`` returns them.
"""

from __future__ import annotations

import hashlib
import math
import struct
import sys
from fractions import Fraction

import pandas as pd


def lines_of(path: str) -> list[str]:
    """Return the lines of a receipt, with single blanks."""
    with open(path, encoding="utf-8-sig") as file:
        return [" ".join(line.split()) for line in file if line.strip()]


def all_of(lines: list[str]) -> str:
    """Return the digest over all lines."""
    counted = [line for line in lines if line.split()[0] not in ("terms", "all")]
    texts = [line.split(" made-by ")[0] if line.startswith("run ") else line for line in counted]
    return digest("".join(f"{text}\n" for text in texts).encode())


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes as a receipt writes it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def bits(value: float) -> int:
    """Return the bits of a double as a signed integer."""
    return int(
        struct.unpack("<q", struct.pack("<d", math.nan if value != value else value + 0.0))[0]
    )


def bars_digest(bars: pd.DataFrame, words: str, actions: bytes) -> str:
    """Return the digest of bars on a grid; of prices alone if the words end with ``prices``."""
    data = [f"onetape-bars-1 {words}\n".encode()]
    is_exact = words == "exact"
    decimals = 0 if is_exact else int(words.split()[0].removeprefix("raw/"))
    power = 10.0 ** abs(decimals)

    def price(value: float) -> int:
        """Return the integer for a price."""
        if is_exact:
            return bits(value)
        return math.floor((value * power if decimals >= 0 else value / power) + 0.5)

    exact_volume = is_exact or words.endswith("exact-volume")
    for stamp, opened, high, low, close, volume in bars.itertuples():
        row = [stamp, price(opened), price(high), price(low), price(close)]
        if not words.endswith("prices"):
            row.append(bits(volume) if exact_volume else round(volume))
        data += [value.to_bytes(8, "little", signed=True) for value in row]
    return digest(b"".join(data) + actions)


def actions_text(path: str, first: str, last: str) -> bytes:
    """Return the text of splits and dividends from one date to another."""
    frame = pd.read_csv(path, dtype=str)
    rows = []
    for day, kind, ratio, paid in frame[["ex_date", "type", "ratio", "paid"]].itertuples(
        index=False
    ):
        value = Fraction(ratio) if kind == "split" else Fraction(paid)
        if first <= day[:10] <= last:
            rows.append((day[:10], kind, value))
    text = "onetape-actions-1\n"
    for day, kind, value in sorted(rows):
        amount = f"{value.numerator}/{value.denominator}"
        if kind == "dividend":
            amount = str(math.floor(float(value) * 10000.0 + 0.5))
        text += f"{day} {kind} {amount}\n"
    return text.encode()


def within(bars: pd.DataFrame, first: str, last: str) -> pd.DataFrame:
    """Return the bars from one stamp to another."""
    start, end = (int(pd.Timestamp(text).value // 1_000_000) for text in (first, last))
    return bars[(bars.index >= start) & (bars.index <= end)]


def main(path: str, symbol: str, timeframe: str, csv: str, actions_csv: str = "") -> int:
    """Print whether the bars in a file are those of the receipt; return 0 if they are."""
    lines = lines_of(path)
    if lines[-1] != f"all {all_of(lines)}":
        print("the receipt was changed")
        return 2
    bars = pd.read_csv(csv, index_col=0)[["open", "high", "low", "close", "volume"]].astype(float)
    times = pd.to_datetime(bars.index, utc=True).as_unit("ns")
    bars.index = pd.Index([int(time.value // 1_000_000) for time in times])
    for line in lines:
        fields = line.split()
        if fields[:3] != ["bars", symbol, timeframe] or "none" in fields:
            continue
        mine = pd.concat([within(bars, *one.split("..")) for one in fields[5].split(",")])
        words = [word for word in fields[8:] if not word.startswith("sha256:")]
        beside = next(
            (x.split() for x in lines if x.split()[:3] == ["actions", symbol, fields[4]]), []
        )
        joined = actions_text(actions_csv, *beside[3].split("..")) if "joined" in beside else b""
        on_grid = " ".join(word for word in words if word != "exact")
        kinds = [(kind, "same") for kind in ["exact"] * ("exact" in words) + [on_grid]]
        kinds.append((f"{on_grid.split()[0]} prices", "the same prices, other volumes"))
        found = [text for kind, text in kinds if bars_digest(mine, kind, joined) in fields]
        state = found[0] if found and len(mine) == int(fields[7]) else "not the same"
        print(f"{symbol} {timeframe}: {state}, {len(mine)} rows")
        return 0 if state == "same" else 1
    print(f"the receipt has no bars of {symbol} {timeframe}")
    return 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
