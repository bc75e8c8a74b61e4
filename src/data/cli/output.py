"""What commands print: tables, JSON, numbers, and a small chart."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

_BLOCKS = " ▁▂▃▄▅▆▇█"


def console(*, stderr: bool = False) -> Console:
    """Return a console that colours only where somebody looks."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; columns whose name ends in ``#`` are numbers, aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in columns:
        made.add_column(name.rstrip("#"), justify="right" if name.endswith("#") else "left",
                        overflow="fold")  # fmt: skip
    for row in rows:
        made.add_row(*(cell if isinstance(cell, str) else str(cell) for cell in row))
    return made


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on standard output; numbers that are none become null."""
    json.dump(_plain(value), sys.stdout, indent=2, default=str)
    print()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: float) -> str:
    """Return a price or volume in as few digits as say enough."""
    if math.isnan(value):
        return "-"
    if value == int(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.6g}"


def bars_table(frame: pd.DataFrame, most: int) -> Table:
    """Return the first and last bars of a frame as a table of at most ``most`` rows."""
    head, tail = (len(frame), 0) if len(frame) <= most else (most // 2, most - most // 2)
    shown = [*range(head), *range(len(frame) - tail, len(frame))]
    daily = bool(len(frame)) and all(t.hour == t.minute == 0 for t in frame.index[shown])
    rows: list[list[str]] = []
    for place, position in enumerate(shown):
        if tail and place == head:
            rows.append(["…"] + [""] * len(frame.columns))
        stamp = frame.index[position]
        cells = [number(float(v)) for v in frame.iloc[position]]
        rows.append([stamp.strftime("%Y-%m-%d" if daily else "%Y-%m-%d %H:%M"), *cells])
    made: Table = table("", ["timestamp (UTC)", *(f"{c}#" for c in frame.columns)], rows)
    return made


def chart(values: Sequence[float], *, width: int = 72, height: int = 8) -> list[str]:
    """Return a block chart of ``values``, newest on the right, with the scale beside it."""
    known = [float(v) for v in values if not math.isnan(float(v))]
    if not known:
        return []
    columns = [known[int(i * len(known) / width)] for i in range(width)]
    columns = columns if len(known) > width else known
    columns[-1] = known[-1]
    low, high = min(columns), max(columns)
    scale = (height * 8 - 1) / (high - low) if high > low else 0.0
    filled = [int((v - low) * scale) + 1 for v in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        cells = "".join(_BLOCKS[min(max(f - row * 8, 0), 8)] for f in filled)
        label = number(high) if row == height - 1 else number(low) if row == 0 else ""
        lines.append(f"{label:>12} ┤{cells}")
    return lines
