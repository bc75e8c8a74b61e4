"""The cache of query results: hits in memory and from files, against Polars and a dictionary of frames."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd
import polars as pl

from onetape.data.research.sources.cache_manager import CacheManager

from .harness import Figure, Report, Row, race, sized

_NOTE = (
    "Calls of `CacheManager` with the documented arguments, for one frame with a year of daily bars or a "
    "month of minutes, as Decimals:\n\n"
    "- *µs*: the time of a call;\n"
    "- *times a dictionary*: divided by that of a dictionary of frames in the same round, which makes "
    "the key of the request as SHA-256 of its JSON, moves the entry to the end and returns a lazy "
    "frame: a cache of one process with the same keys, and so the least that handing out the frame "
    "for a request can be;\n"
    "- *times its arguments*: divided by that of a dictionary whose keys are the arguments "
    "themselves, as a tuple, which returns a lazy frame; it finds nothing for the same symbols in "
    "another order or the same time in another form;\n"
    "- *times lazy()*: divided by that of `frame.lazy()` alone;\n"
    "- *times read_parquet*: from a file, until the frame is there, divided by `pl.read_parquet` of the "
    "same file; the first hit of a process also checks the digest of the file;\n"
    "- *among 2,000*: the time of a `put` among 2,000 stored frames, divided by that among 20."
)
_ROUNDS, _MANY = sized(25, 60), sized(2000, 20_000)
_REQUEST = pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"), "1d", "mine"
_DICTIONARY, _LAZY, _READ = "times a dictionary", "times lazy()", "times read_parquet"
_ARGUMENTS = "times its arguments"
_PUT = "among 2,000"
# Name, number of symbols, and bars of each.
_SHAPES = (("a year of days, 10 symbols", 10, 250), ("a month of minutes", 1, 30_000))


def measure() -> Report:
    """Race the cache against the plain ways."""
    rows = list[Row]()
    with TemporaryDirectory() as folder:
        for name, symbols, count in _SHAPES:
            frame = _frame(symbols, count)
            rows += _hits(name, Path(folder, str(count)), frame)
        rows.append(_puts(Path(folder, "puts")))
    return Report("Query results", _NOTE, rows, less=(_DICTIONARY, _ARGUMENTS, _LAZY, _READ, _PUT))


def _frame(symbols: int, count: int) -> pl.DataFrame:
    prices = np.random.default_rng(5).uniform(10, 900, (5, symbols * count)).round(4)
    names = "open", "high", "low", "close", "volume"
    columns = dict(zip(names, prices, strict=True))
    stamps, sids = np.tile(np.arange(count), symbols), np.repeat(np.arange(symbols), count)
    frame = pl.DataFrame({"timestamp": stamps, "sid": sids, **columns})
    decimals = pl.col(names).cast(pl.Decimal(18, 8))
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us")), decimals)


def _hits(name: str, folder: Path, frame: pl.DataFrame) -> list[Row]:
    hot, symbols = CacheManager(folder), [f"S{n}" for n in range(10)]
    hot.put(symbols, *_REQUEST, frame)
    cold = CacheManager(folder, hot_cache_size_mb=0)
    frames = OrderedDict({_printed_key(symbols, *_REQUEST): frame})
    by_arguments = {(tuple(symbols), *_REQUEST): frame}
    (file,) = folder.rglob("cache_*.parquet")

    def dictionary() -> pl.LazyFrame:
        key = _printed_key(symbols, *_REQUEST)
        frames.move_to_end(key)
        return frames[key].lazy()

    def collected(cache: CacheManager) -> pl.DataFrame:
        found = cache.get(symbols, *_REQUEST)
        assert found is not None
        return found.collect()

    if not collected(hot).equals(pl.read_parquet(file)) or not collected(cold).equals(frame):
        raise RuntimeError("the frames differ")
    took = race(
        {
            "hot": lambda: hot.get(symbols, *_REQUEST),
            "dictionary": dictionary,
            "arguments": lambda: by_arguments[(tuple(symbols), *_REQUEST)].lazy(),
            "lazy": frame.lazy,
            "cold": lambda: collected(cold),
            "first": lambda: collected(CacheManager(folder, hot_cache_size_mb=0)),
            "read": lambda: pl.read_parquet(file),
        },
        _ROUNDS,
    )

    def ratio(one: str, other: str) -> Figure:
        return Figure.of([a / b for a, b in zip(took[one], took[other], strict=True)])

    in_memory = {
        "µs": Figure.of(took["hot"]), _DICTIONARY: ratio("hot", "dictionary"),
        _ARGUMENTS: ratio("hot", "arguments"), _LAZY: ratio("hot", "lazy"),
    }  # fmt: skip
    return [
        Row(f"{name}: in memory", in_memory, "<= 2 times a dictionary"),
        Row(
            f"{name}: from the file",
            {"µs": Figure.of(took["cold"]), _READ: ratio("cold", "read")},
            "<= 1.3 times read_parquet",
        ),
        Row(
            f"{name}: from the file, first",
            {"µs": Figure.of(took["first"]), _READ: ratio("first", "read")},
        ),
    ]  # fmt: skip


def _puts(folder: Path) -> Row:
    """Time puts among few and among many stored frames."""
    frame = _frame(1, 20)

    def each(count: int) -> list[float]:
        cache = CacheManager(folder / str(count))
        for n in range(count):
            cache.put([f"S{n}"], *_REQUEST, frame)
        times = list[float]()
        for n in range(40):
            started = perf_counter()
            cache.put([f"T{n}"], *_REQUEST, frame)
            times.append((perf_counter() - started) * 1e6)
        return times

    many, few = each(_MANY), each(20)
    ratios = [a / b for a, b in zip(sorted(many), sorted(few), strict=True)]
    return Row(
        "a small frame, put", {"µs": Figure.of(many), _PUT: Figure.of(ratios)}, "<= 1.3 times"
    )


def _printed_key(
    symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, resolution: str, source: str
) -> str:
    request = {
        "symbols": sorted(symbols), "start_date": start.isoformat(), "end_date": end.isoformat(),
        "resolution": resolution, "source": source,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
