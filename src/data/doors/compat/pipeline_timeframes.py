"""Step 2 of the pipeline: longer bars from the stored minute bars of many symbols.

They are stored next to the vendors' series, in lanes named after their source
(``ohlcv/<SYMBOL>/1h@from-1m/``). Minute bars of extended hours produce bars from 04:00 to 20:00 New
York time.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from ...core.model.stored.stored import Calculation
from ...core.model.time.timeframe import Timeframe
from ...core.prices.conversions import build_objection
from ...core.wiring import Services, build
from ...errors import DataError, QueryError
from ...jobs.progress.events import Listener, Progress
from ...jobs.progress.results import SeriesResult
from ...jobs.run.other_hosts import pull_elsewhere
from ...jobs.run.signals import job_signals
from ...jobs.run.workers import described, run_on, services_of, worker_processes
from .pipeline_steps import names, run_in_order, statistics

__all__ = ["TimeframeCalculator", "main"]

_MINUTE, _DAY = Timeframe(1, "m"), Timeframe(1, "d")


class TimeframeCalculator:
    """Calculates longer bars from stored minute bars, without querying a vendor.

    Args:
        cache_dir, config_path: Cache folder and rules file, as for the data manager.

    Attributes:
        TIMEFRAMES: Default timeframes; maps each to its number of minutes in extended hours.
        TRADING_START_HOUR, TRADING_END_HOUR: Start and end of extended hours in New York.
        stats: Statistics of the last run.
    """

    TIMEFRAMES = {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 960}  # noqa: RUF012 - a constant
    TRADING_START_HOUR, TRADING_END_HOUR = 4, 20

    def __init__(
        self, cache_dir: str | Path | None = None, config_path: str | Path | None = None
    ) -> None:
        self._services = build(cache_dir, config_path)
        self.stats: dict[str, Any] = {}

    def discover_tickers_with_1m_data(self) -> set[str]:
        """Return the symbols that have stored minute bars."""
        pull_elsewhere(self._services.cache.store, "* 1m")
        return {key.symbol for key in self._services.client.series("* 1m")}

    def calculate_all_timeframes(
        self,
        tickers: Iterable[str] | str | None = None,
        timeframes: Iterable[str] | str | None = None,
        force_refresh: bool = False,
        *,
        executor: Executor | None = None,
        progress: Listener | None = None,
    ) -> dict[str, Any]:
        """Calculate and store the bars of every symbol in every timeframe.

        Stored bars that would not change are not written again. A bar is left out if a minute that
        the calendar expects is missing, unless a vendor reports that there was no trade. After
        Ctrl-C, the bars that are already stored are kept.

        Args:
            tickers: Symbols, as a list or as a string with commas; by default, all that have minute
                bars.
            timeframes: Timeframes shorter than a day, or ``1d``; by default, :attr:`TIMEFRAMES`.
            force_refresh: Whether to drop earlier results first.
            executor: Executor whose workers do the work; None means this process.
            progress: Listener that is called after each symbol.

        Returns:
            A dict. ``results`` contains, for each symbol, ``ticker``, ``success``, ``action``,
            ``timeframes_processed``, ``timeframes_skipped`` (those without new bars), ``lanes``
            (folder for each timeframe), ``bars`` (number of bars stored in this run, for each
            timeframe), ``rows``, ``rows_new``, ``error`` and ``note``. ``statistics`` contains
            counts and lists of symbols.

        Raises:
            QueryError: A timeframe cannot be built from minute bars, or ``executor`` is not an
                executor.
            ConfigError: The configuration is invalid.
        """
        started, interrupted = time.monotonic(), False
        steps = chosen_timeframes(timeframes)
        wanted = names(tickers)
        symbols = sorted(self.discover_tickers_with_1m_data()) if wanted is None else wanted
        results = {ticker: _failure(ticker, "not calculated: interrupted") for ticker in symbols}
        with job_signals() as signals:
            try:
                calculations = self._made(symbols, steps, executor, anew=force_refresh)
                for number, calculation in enumerate(calculations, 1):
                    ticker = calculation["ticker"]
                    results[ticker] = calculation
                    if progress is not None:
                        result = SeriesResult(
                            ticker, ",".join(map(str, steps)), calculation["rows"]
                        )
                        total, share = len(results), number / len(results)
                        progress(Progress(result, number, total, share, is_over=True))
                signals.hold()
            except KeyboardInterrupt:
                interrupted = True
                signals.hold()
            self._services.cache.look_after()
            bars = Counter[str]()
            for calculation in results.values():
                bars.update(calculation["bars"])
            interrupted = interrupted or signals.is_noted
            self.stats = statistics(results, started, interrupted=interrupted) | {
                "timeframes_processed": {each.label: bars[each.label] for each in steps},
                "total_bars_calculated": bars.total(),
            }
            return {"results": results, "statistics": self.stats}

    def _made(
        self,
        tickers: Iterable[str],
        steps: Sequence[Timeframe],
        executor: Executor | None,
        *,
        anew: bool,
    ) -> Iterator[dict[str, Any]]:
        """Yield the result for each symbol, in order."""
        tickers = dict.fromkeys(tickers)
        if executor is None:
            yield from (_calculate(self._services, ticker, steps, anew=anew) for ticker in tickers)
            return
        settings = self._services.settings
        paths = settings.cache_dir, settings.rules_path
        tasks = ((*paths, ticker, tuple(steps), anew) for ticker in tickers)
        for task, result in run_on(executor, _run_task, tasks):
            if isinstance(result, QueryError):
                raise result
            yield (
                _failure(task[2], described(result)) if isinstance(result, Exception) else result
            )


def chosen_timeframes(timeframes: Iterable[str] | str | None) -> list[Timeframe]:
    """Return the given timeframes, or the default ones.

    Raises:
        QueryError: A timeframe does not exist, or cannot be built from minute bars.
    """
    chosen = [Timeframe.parse(text) for text in names(timeframes) or TimeframeCalculator.TIMEFRAMES]
    for target in chosen:
        reason = "they are built from days on request"
        if target.is_intraday or target == _DAY:
            reason = build_objection(_MINUTE, target) if target.is_intraday else ""
        if reason:
            raise QueryError(
                f"{target} bars cannot be built from {_MINUTE} bars: {reason}",
                hint="use an intraday timeframe that they divide, or 1d",
            )
    return chosen


def _calculate(
    services: Services, ticker: str, steps: Sequence[Timeframe], *, anew: bool
) -> dict[str, Any]:
    """Calculate all bars of one symbol; the note names the bars and timeframes left out."""
    client, calculated, problems = services.client, list[Calculation](), list[str]()
    for timeframe in steps:
        try:
            query = client.query(ticker, timeframe)
        except QueryError as error:
            return _failure(ticker, str(error))
        try:
            calculated.append(client.calculate(query, _MINUTE, anew=anew))
        except QueryError:
            raise
        except DataError as error:
            problems.append(f"{timeframe}: {error}")
    if not calculated:
        return _failure(ticker, problems[0] if problems else "no timeframe is given")
    new = [series for series in calculated if series.written]
    gaps = [f"{series.key.timeframe}: {series.lacking}" for series in calculated if series.gaps]
    return {
        "ticker": ticker,
        "success": True,
        "action": "updated" if new else "up_to_date",
        "timeframes_processed": [series.key.timeframe.label for series in new],
        "timeframes_skipped": [
            series.key.timeframe.label for series in calculated if not series.written
        ],
        "lanes": {series.key.timeframe.label: series.key.folder for series in calculated},
        "bars": {series.key.timeframe.label: series.written for series in new},
        "rows": sum(series.rows for series in calculated),
        "rows_new": sum(series.written for series in calculated),
        "error": "",
        "note": "; ".join([*gaps, *problems]),
    }


def _run_task(
    task: tuple[Path, Path | None, str, tuple[Timeframe, ...], bool],
) -> dict[str, Any]:
    """Process one symbol; may be called in any process that can access the cache folder."""
    folder, rules, ticker, steps, anew = task
    return _calculate(services_of(folder, rules), ticker, steps, anew=anew)


def _failure(ticker: str, reason: str) -> dict[str, Any]:
    no_work: dict[str, Any] = {"timeframes_processed": [], "timeframes_skipped": [], "lanes": {}}
    counts = {"bars": {}, "rows": 0, "rows_new": 0}
    outcome = {"ticker": ticker, "success": False, "action": "failed", "error": reason, "note": ""}
    return outcome | no_work | counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return 0 if at least part of the work could be done, otherwise 1."""
    from ...cli.arguments import add_processes
    from .pipeline_command import add_timeframes, progress_shown, run_command

    def _run(args: argparse.Namespace) -> dict[str, Any]:
        step = TimeframeCalculator(args.cache_dir, args.config)
        wanted = args.tickers, args.timeframes, args.force_refresh
        with progress_shown() as progress, worker_processes(args.processes) as executor:
            calculate = partial(
                step.calculate_all_timeframes, *wanted, executor=executor, progress=progress
            )
            return run_in_order({2: calculate})

    description = "Build longer bars from stored minutes."
    return run_command(
        "step02_calculate_timeframes", description, (add_timeframes, add_processes), _run, argv
    )
