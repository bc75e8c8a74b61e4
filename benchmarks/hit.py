"""The cost of an answer from the cache, and the share of this library's code in it."""

from __future__ import annotations

import pandas as pd

from onetape.data.core.cache.read import series_reader
from onetape.data.core.cache.read.columnar_cache import Sidecars
from onetape.data.core.model.answer import frame as frames
from onetape.data.data_manager import DataManager

from .harness import Figure, Inside, Report, Row
from .stage import stage

GOAL = "own <= 100"
CASES = {
    "a day of hours": ("BTCUSDT", "1h", "2023-06-01", "2023-06-01"),
    "a year of hours": ("BTCUSDT", "1h", "2023-01-01", "2023-12-31"),
    "a year of days": ("BTCUSDT", "1d", "2023-01-01", "2023-12-31"),
    "a year of days of a share": ("AAPL", "1d", "2023-01-01", "2023-12-31"),
}
_READING = [(series_reader, "read_year"), (Sidecars, "read")]
_FRAME = [(frames, "build_frame")]
_NOTE = (
    "The table shows the time in microseconds of a warm hit:\n\n"
    "- *reading*: finding, verifying and decoding the stored bars;\n"
    "- *frame*: the time in which pandas builds the frame from them;\n"
    "- *sum*: adding up every value, so that all of them are read;\n"
    "- *own*: everything else."
)


def measure() -> Report:
    """Query each case many times."""
    with stage() as manager:
        rows = [Row(name, _figures(manager, case), GOAL) for name, case in CASES.items()]
    return Report("Hits", _NOTE, rows)


def _figures(manager: DataManager, case: tuple[str, str, str, str]) -> dict[str, Figure]:
    inside = Inside({"reading": _READING, "frame": _FRAME, "sum": [(_Reader, "add_up")]})
    with inside.watching():
        for _ in range(20):
            manager.get_ohlcv(*case)
        results = inside.measure(lambda: _Reader.used(manager.get_ohlcv(*case)))
    figures = {name: Figure.of(values) for name, values in results.items()}
    return {("own" if name == "rest" else name): figure for name, figure in figures.items()}


class _Reader:
    """Uses an answer as a program would."""

    @classmethod
    def used(cls, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame after reading all its values."""
        cls.add_up(frame)
        return frame

    @staticmethod
    def add_up(frame: pd.DataFrame) -> float:
        """Return the sum of all values."""
        return float(frame.to_numpy().sum())


if __name__ == "__main__":
    print(measure())
