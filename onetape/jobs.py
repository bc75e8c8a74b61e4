"""Longer work: filling and checking the cache, alerts, and metrics of a process.

A minor release may change names that ``docs/compatibility.md`` does not promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.core.config.fundamentals_config_validator import (
        validate_fundamentals_config as validate_fundamentals_config,
    )
    from .data.core.model.request.outcome import Outcome as Outcome
    from .data.core.model.words.printable import printable as printable
    from .data.core.observability.logs import ContextFilter as ContextFilter
    from .data.core.observability.logs import JsonFormatter as JsonFormatter
    from .data.core.observability.logs import TextFormatter as TextFormatter
    from .data.core.observability.prometheus import MetricsCollector as MetricsCollector
    from .data.core.observability.prometheus import start_exporter as start_exporter
    from .data.core.prices.judgement.precision import MEASURED as MEASURED
    from .data.doors.compat.gap_files import fill_gaps as fill_gaps
    from .data.doors.compat.gap_files import validate_gaps as validate_gaps
    from .data.doors.compat.pipeline import DataPipelineRunner as DataPipelineRunner
    from .data.jobs.alerting.bars import read_bars as read_bars
    from .data.jobs.alerting.job import AlertJob as AlertJob
    from .data.jobs.alerting.job import Message as Message
    from .data.jobs.alerting.types import Alert as Alert
    from .data.jobs.fill.populate import populate_cache as populate_cache
    from .data.jobs.fill.populate import populate_series as populate_series
    from .data.jobs.fill.populate import sync_cache as sync_cache
    from .data.jobs.fill.refresh_fundamentals import Refresh as Refresh
    from .data.jobs.fill.refresh_fundamentals import periodic_refresh as periodic_refresh
    from .data.jobs.fill.refresh_fundamentals import refresh_fundamentals as refresh_fundamentals
    from .data.jobs.fill.refresh_fundamentals import (
        refresh_symbol_fundamentals as refresh_symbol_fundamentals,
    )
    from .data.jobs.fill.refresh_plan import Choice as Choice
    from .data.jobs.validation.repair import repaired as repaired
    from .data.jobs.validation.validate import validate_series as validate_series
    from .data.jobs.validation.verify import verify as verify
else:
    __all__, __getattr__, __dir__ = door(__name__)
