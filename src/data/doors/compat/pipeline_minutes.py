"""Step 1 of the pipeline: fetch missing minute bars for many symbols.

The vendors are those in the rules, in order; to use only Alpaca, name only it in the rule
``stock_intraday``. The minute bars are an ordinary series in the cache, ``ohlcv/<SYMBOL>/1m/``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.model.time.instant import date_of
from ...core.wiring import build
from ...jobs.fill.populate import populate_cache
from ...jobs.run.other_hosts import pull_elsewhere
from .pipeline_steps import names, run_in_order, statistics

if TYPE_CHECKING:
    from ...jobs.progress.events import Listener

__all__ = ["AlpacaPipelineDownloader", "main"]

_A_DAY = timedelta(days=1)
When = date | datetime | str


class AlpacaPipelineDownloader:
    """Fetches minute bars with the job of ``onetape populate``.

    Args:
        cache_dir, config_path: Cache folder and rules file, as for the data manager.

    Attributes:
        stats: Statistics of the last run.
    """

    def __init__(
        self, cache_dir: str | Path | None = None, config_path: str | Path | None = None
    ) -> None:
        self._paths = (cache_dir, config_path)
        self.stats: dict[str, Any] = {}

    def discover_tickers(self) -> set[str]:
        """Return the symbols that have cached bars."""
        cache = build(*self._paths).cache
        pull_elsewhere(cache.store)
        return set(cache.list_symbols())

    def download_all_tickers(
        self,
        tickers: Iterable[str] | str | None = None,
        start_date: When | None = None,
        end_date: When | None = None,
        force_refresh: bool = False,
        *,
        progress: Listener | None = None,
    ) -> dict[str, Any]:
        """Fetch missing minute bars; after Ctrl-C, the bars that have arrived are kept.

        Args:
            tickers: Symbols, as a list or as a string with commas; by default, those from
                :meth:`discover_tickers`.
            start_date, end_date: Session dates, both inclusive; by default, 2020-01-01 and
                yesterday (UTC).
            force_refresh: Whether to fetch even cached bars again.
            progress: Listener for progress, as for ``populate_cache``.

        Returns:
            A dict. ``results`` contains, for each symbol, ``ticker``, ``success``, ``action``
            (``updated``, ``up_to_date`` or ``failed``), ``rows``, ``rows_new``, ``error`` and
            ``note``. ``statistics`` contains counts and lists of symbols.

        Raises:
            QueryError: The range is invalid; nothing was requested.
            ConfigError: The configuration is invalid.
        """
        started, (cache_dir, config_path) = time.monotonic(), self._paths
        yesterday = date_of(build(*self._paths).clock.now_ms()) - _A_DAY
        filled = populate_cache(
            names(tickers),
            ["1m"],
            start_date,
            end_date or yesterday,
            cache_dir,
            config_path=config_path,
            force_refresh=force_refresh,
            progress=progress,
        )
        results = {row["symbol"]: _result(row) for row in filled["results"]}
        self.stats = statistics(results, started, interrupted=filled["interrupted"]) | {
            "total_rows_downloaded": sum(result["rows_new"] for result in results.values()),
            "total_api_calls": sum(count["sent"] for count in filled["requests"].values()),
        }
        return {"results": results, "statistics": self.stats}


def _result(row: dict[str, Any]) -> dict[str, Any]:
    done = "updated" if row["fetched"] else "up_to_date"
    return {
        "ticker": row["symbol"],
        "success": not row["error"],
        "action": "failed" if row["error"] else done,
        "rows": row["rows"],
        "rows_new": row["fetched"],
        "error": row["error"],
        "note": "" if row["complete"] else row["lacking"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return 0 if at least part of the work could be done, otherwise 1."""
    from .pipeline_command import add_dates, progress_shown, run_command

    def _run(args: argparse.Namespace) -> dict[str, Any]:
        step = AlpacaPipelineDownloader(args.cache_dir, args.config)
        with progress_shown() as progress:
            bounds = args.start_date, args.end_date
            fetch = partial(step.download_all_tickers, args.tickers, *bounds, args.force_refresh)
            return run_in_order({1: partial(fetch, progress=progress)})

    return run_command("step01_download_alpaca_1m", "Fetch minutes.", (add_dates,), _run, argv)
