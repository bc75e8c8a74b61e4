"""The second data layer: many series by its loader, and live bars in many queues."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime, timedelta
from time import process_time
from typing import Any

from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.research.loading.data_cache import DataCache
from onetape.data.research.loading.live import LiveDataPipeline, PipelineBar, _Series
from onetape.data.research.loading.loader import SmartDataLoader
from onetape.data.research.loading.providers import provider_for

from .feed import _frames, _to_callback
from .harness import Figure, Report, Row, sized
from .stage import crowd_stage

_NOTE = (
    "Processor time, which other load on the machine changes less. *ms*: of `SmartDataLoader` for five "
    "years of daily bars of 250 shares (500 with `--large`) from the cache. *times the batch*: compared "
    "with `get_ohlcv_batch` for the same bars in the same round; in both, every close is added up. "
    "*memory*: the most that Python and numpy allocated, compared with the size of the frames. *times a "
    "callback*: a bar in each of 100 queues, per queue, compared with a frame on its way to a callback."
)
_COUNT, _ROUNDS = sized(250, 500), sized(5, 9)
_START, _END = date(2019, 1, 1), date(2023, 12, 31)
_LOOK_BACK = timedelta(days=200)
_QUEUES, _BARS, _FRAMES = 100, 500, 20_000


def measure() -> Report:
    """Race the loader against a batch, and queues against a callback."""
    rows = [_loads(), _fan_out()]
    return Report(
        "Second data layer", _NOTE, rows, less=("times the batch", "memory", "times a callback")
    )


def _loads() -> Row:
    with crowd_stage(_COUNT) as (manager, symbols):
        loader = SmartDataLoader(DataCache(manager=manager))

        def load() -> Any:
            found = asyncio.run(
                loader.load_strategy_data(symbols, ["1d"], _START + _LOOK_BACK, _END)
            )
            return {symbol: frames["1d"] for symbol, frames in found.items()}

        def batch() -> Any:
            return manager.get_ohlcv_batch(symbols, "1d", _START, _END)

        load(), batch()
        spent: dict[str, list[float]] = {"load": [], "batch": []}
        ways: dict[str, Callable[[], Any]] = {"load": load, "batch": batch}
        for _ in range(_ROUNDS):
            for name in random.sample(list(ways), 2):
                gc.collect()
                started = process_time()
                frames = ways[name]()
                sum(float(frame["close"].sum()) for frame in frames.values())
                spent[name].append((process_time() - started) * 1e3)
                del frames
        gc.collect()
        tracemalloc.start()
        frames = load()
        size = sum(frame.estimated_size() for frame in frames.values())
        peak = tracemalloc.get_traced_memory()[1] / size
        tracemalloc.stop()
    ratios = [a / b for a, b in zip(spent["load"], spent["batch"], strict=True)]
    figures = {
        "ms": Figure.of(spent["load"]),
        "times the batch": Figure.of(ratios),
        "memory": Figure.of([peak]),
    }
    return Row(f"{_COUNT} series by `SmartDataLoader`", figures, "batch <= 1.5, memory <= 1.2")


def _fan_out() -> Row:
    frames, ratios = _frames(_FRAMES), []
    bars = [
        PipelineBar(
            "BTCUSDT", "1m", datetime(2024, 1, 1) + timedelta(minutes=n), 1.0, 1.0, 1.0, 1.0, 1.0
        )
        for n in range(_BARS)
    ]
    for _ in range(_ROUNDS):
        started = process_time()
        _to_callback(frames)
        between = process_time()
        queues = asyncio.run(_delivered(bars))
        per_queue = (process_time() - between) / (_BARS * queues)
        ratios.append(per_queue / ((between - started) / _FRAMES))
    return Row(f"a bar in {_QUEUES} queues", {"times a callback": Figure.of(ratios)}, "<= 2")


async def _delivered(bars: list[PipelineBar]) -> int:
    """Deliver bars to queues, and read them all; return the number of queues."""
    pipeline = LiveDataPipeline([provider_for("binance")])
    queues = [await pipeline.subscribe("BTCUSDT", "1m") for _ in range(_QUEUES)]
    pipeline._deliver(_Series("BTCUSDT", Timeframe.parse("1m"), "BTCUSDT:1m", 0, 0), bars)
    for queue in queues:
        while not queue.empty():
            queue.get_nowait()
    await pipeline.stop()
    return len(queues)


if __name__ == "__main__":
    print(measure())
