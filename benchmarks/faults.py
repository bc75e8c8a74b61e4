"""The cost of small faults in a file of minutes when it is fetched, compared with a clean file."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from unittest.mock import patch

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.model.instant import DAY_MS, MINUTE_MS, iso, parse_iso

from .harness import Figure, Report, Row

DAYS, _ROUNDS = 30, 3
_FIRST, _NOW = parse_iso("2024-03-04"), parse_iso("2024-06-03T12:00")
_NOTE = (
    f"Seconds of processor time until {DAYS} days of minutes of one's own file are stored and in a "
    "frame, and how many times as long that takes as the same minutes without a fault, in the same round."
)
# Shares of the minutes whose high is below their low, that are a second late, that are missing, and
# that occur in two differing rows.
_CASES = {
    "no fault": (0.0, 0.0, 0.0, 0.0, ""),
    "every fifth row impossible": (0.2, 0.0, 0.0, 0.0, "clean <= 3"),
    "4 of 10 a second late, 3 of 10 missing": (0.0, 0.4, 0.3, 0.0, "clean <= 3"),
    "every third row in two that differ": (0.0, 0.0, 0.0, 1 / 3, "clean <= 3"),
    "all of these": (0.2, 0.15, 0.1, 1 / 3, ""),
}


def measure() -> Report:
    """Fetch each file into a separate cache, in turn."""
    texts = {name: _text(*shares[:4]) for name, shares in _CASES.items()}
    spent: dict[str, list[float]] = {name: [] for name in texts}
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        _fetched_s(Path(folder) / "first", texts["no fault"])  # loads what a fetch takes
        for turn in range(_ROUNDS):
            for name, text in texts.items():
                spent[name].append(_fetched_s(Path(folder) / f"{len(spent[name])} {name}", text))
            assert all(len(found) == turn + 1 for found in spent.values())
    clean = spent["no fault"]
    rows = [
        Row(
            name,
            {
                "s": Figure.of(own),
                "clean": Figure.of([s / c for s, c in zip(own, clean, strict=True)]),
            },
            _CASES[name][4],
        )
        for name, own in spent.items()
    ]
    return Report("Faulty minutes", _NOTE, rows, less=("clean",))


def _fetched_s(folder: Path, text: str) -> float:
    """Return the processor time of the first answer from a new cache for a file."""
    folder.mkdir()
    (folder / "BTCUSDT_1m.csv").write_text(text)
    rules = folder / "rules.yaml"
    rules.write_text(f"providers:\n  local: {{folder: '{folder}'}}\n")
    manager = DataManager(folder / "cache", rules, clock=ManualClock(_NOW))
    began = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        end = _FIRST + DAYS * DAY_MS - 1
        frame = manager.get_ohlcv("BTCUSDT", "1m", iso(_FIRST), iso(end), provider="local")
    if not len(frame):
        raise RuntimeError("no bar came")
    return process_time() - began


def _text(impossible: float, late: float, missing: float, doubled: float) -> str:
    """Return a file of minutes in which these shares have a fault."""
    chance, lines = random.Random(1), ["timestamp,open,high,low,close,volume"]
    for place, stamp in enumerate(range(_FIRST, _FIRST + DAYS * DAY_MS, MINUTE_MS)):
        close, kind = 100 + chance.random(), chance.random()
        high, low = close + 1, close - 1
        if kind < missing:
            continue
        if impossible and not place % round(1 / impossible):
            high, low = low, high
        text = iso(stamp + 1000 * (missing <= kind < missing + late)).rstrip("Z")
        lines.append(f"{text},{close:.4f},{high:.4f},{low:.4f},{close:.4f},3")
        if doubled and not place % round(1 / doubled):
            lines.append(f"{text},{close:.4f},{high + high - low:.4f},{low:.4f},{close:.4f},3")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(measure())
