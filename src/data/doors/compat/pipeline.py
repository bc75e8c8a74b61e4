"""The pipeline of older programs: step 1 fetches minute bars, step 2 builds longer bars."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.model.request.query import only_given
from ...errors import QueryError
from .pipeline_minutes import AlpacaPipelineDownloader, When
from .pipeline_steps import Step, names, run_in_order
from .pipeline_timeframes import TimeframeCalculator, chosen_timeframes

if TYPE_CHECKING:
    from ...jobs.progress.events import Listener

__all__ = ["DataPipelineRunner", "main"]


class DataPipelineRunner:
    """Runs the two steps of the pipeline: fetching minute bars, and calculating longer bars.

    Attributes:
        stats: Result of the last call to :meth:`run_pipeline`.
    """

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {}

    def run_pipeline(
        self,
        steps: Iterable[int | str] = (1, 2),
        tickers: Iterable[str] | str | None = None,
        timeframes: Iterable[str] | str | None = None,
        start_date: When | None = None,
        end_date: When | None = None,
        force_refresh: bool = False,
        cache_dir: str | Path | None = None,
        *,
        start: When | None = None,
        end: When | None = None,
        refresh: bool = False,
        config_path: str | Path | None = None,
        progress: Listener | None = None,
    ) -> dict[str, Any]:
        """Run one or both steps. If the first cannot do any of its work, the second is not started.

        Args:
            steps: 1, 2 or both; they run in this order.
            tickers, timeframes, start_date, end_date, force_refresh: Options of the steps; see
                ``AlpacaPipelineDownloader`` and ``TimeframeCalculator``.
            start, end, refresh: Short names of ``start_date``, ``end_date`` and ``force_refresh``.
            cache_dir, config_path: Cache folder and rules file, as for the data manager.
            progress: Listener for the progress of the steps.

        Returns:
            ``steps_executed`` and ``steps_failed`` (numbers), ``step_results`` (``step1``,
            ``step2``: ``results`` and ``statistics`` of the step, ``success``, ``duration``,
            ``error``), ``total_duration`` (seconds), ``interrupted``.

        Raises:
            QueryError: A step does not exist, a timeframe cannot be built, the range is invalid, or
                an argument is given under both its names; nothing was requested.
            ConfigError: The configuration is invalid.
        """
        symbols, labels = names(tickers), names(timeframes)
        bounds = (
            only_given(start_date=start_date, start=start),
            only_given(end_date=end_date, end=end),
        )
        force_refresh = only_given(force_refresh=force_refresh, refresh=refresh) or False

        def _fetch() -> dict[str, Any]:
            step = AlpacaPipelineDownloader(cache_dir, config_path)
            return step.download_all_tickers(symbols, *bounds, force_refresh, progress=progress)

        def _calculate() -> dict[str, Any]:
            step = TimeframeCalculator(cache_dir, config_path)
            wanted = symbols, labels, force_refresh
            return step.calculate_all_timeframes(*wanted, progress=progress)

        every: dict[int, Step] = {1: _fetch, 2: _calculate}
        chosen = _chosen_steps(steps, every)
        if 2 in chosen:
            chosen_timeframes(labels)
        self.stats = run_in_order({n: step for n, step in every.items() if n in chosen})
        return self.stats


def _chosen_steps(steps: Iterable[int | str], every: Iterable[int]) -> set[int]:
    texts = [str(step).strip() for step in steps]
    if not texts or set(texts) - {str(step) for step in every}:
        raise QueryError(f"steps must be 1, 2 or both, not {texts}")
    return {int(text) for text in texts}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline; return 0 if at least part of the work could be done, otherwise 1."""
    from .pipeline_command import add_dates, add_steps, add_timeframes, progress_shown, run_command

    def _run(args: argparse.Namespace) -> dict[str, Any]:
        if "1" not in args.steps and (args.start_date or args.end_date):
            raise QueryError(
                "the start and end dates are those of step 1, which is not selected",
                hint="omit them: step 2 uses all cached minute bars",
            )
        with progress_shown() as progress:
            return DataPipelineRunner().run_pipeline(
                args.steps,
                args.tickers,
                args.timeframes,
                args.start_date,
                args.end_date,
                args.force_refresh,
                args.cache_dir,
                config_path=args.config,
                progress=progress,
            )

    description = "Fetch minutes (step 1), and build longer bars from them (step 2)."
    options = add_steps, add_timeframes, add_dates
    return run_command("run_pipeline", description, options, _run, argv)
