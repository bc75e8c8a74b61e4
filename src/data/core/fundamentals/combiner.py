"""Combines the answers of several vendors according to the fundamentals file."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ..clock import Clock, SystemClock
from ..config.fundamentals_file import find_file, load_fundamentals_rules
from ..config.fundamentals_rules import STRATEGIES, FundamentalsRules
from ..model.market.fundamentals import FIELD_ALIASES, Snapshot, canonical_type, snapshot_of
from ..model.time.instant import DAY_MS
from ..registry import canonical_vendor
from ..runtime.forks import renew_after_fork
from .merge import merge, with_reported
from .record import RecordContext, record_of

__all__ = ["FundamentalsCombiner", "get_fundamentals_combiner"]

log = logging.getLogger(__name__)


class FundamentalsCombiner:
    """Merges several vendors' responses into one record. Thread-safe: it keeps no state.

    Args:
        config_path: Fundamentals file that overrides the packaged one, and must exist. By default,
            ``./config/data/fundamentals.json`` is used if it exists.
        rules: Rules to use instead of a file.
        clock: Clock to use instead of the system clock.

    Raises:
        RulesError: The file is invalid; the message lists all errors.
        ConfigError: The file cannot be read.
    """

    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        *,
        rules: FundamentalsRules | None = None,
        clock: Clock | None = None,
    ) -> None:
        path = Path(config_path) if config_path else find_file()
        self.rules = rules or load_fundamentals_rules(path)
        self._clock = clock or SystemClock()

    def combine_snapshots(
        self,
        provider_data: Mapping[str, Any],
        strategy: str = "priority_based",
        data_type: str = "general",
    ) -> dict[str, Any]:
        """Merge a mapping from vendors to payloads into one record; empty if the vendors have no data.

        Payloads are mappings (or dataclasses) of fields, from the cache or from any program. If a
        value has no unit, the unit is not guessed. ``_metadata`` contains the vendor of each field,
        the conflicts, and the dropped values.
        """
        now_ms = self._clock.now_ms()
        payloads = {name: _mapping(payload) for name, payload in provider_data.items()}
        snapshots = [
            snapshot_of(canonical_vendor(name) or name, "", payload, now_ms)
            for name, payload in payloads.items()
            if payload
        ]
        symbols = (s.facts["symbol"].value for s in snapshots if "symbol" in s.facts)
        kind = canonical_type(data_type) or data_type
        context = RecordContext(
            str(next(symbols, "")), kind, now_ms, required=self.rules.required_fields
        )
        record = self.record(snapshots, strategy, context)
        # The fields are also added under the names that the payloads use for them.
        names = {name for payload in payloads.values() for name in payload}
        return record | {
            alias: record[name]
            for alias, name in FIELD_ALIASES.items()
            if alias in names and name in record
        }

    def record(
        self,
        snapshots: Iterable[Snapshot],
        strategy: str,
        context: RecordContext,
        order: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Merge snapshots into one record.

        An unknown strategy is replaced by the default one, with a warning in the log.

        Args:
            snapshots, strategy, order: See :func:`.merge.merge`.
            context: Additional information for ``_metadata``.
        """
        if strategy not in STRATEGIES:
            log.warning("unknown strategy %r: priority_based is used", strategy)
            strategy = STRATEGIES[0]
        whole = [with_reported(snapshot) for snapshot in snapshots]
        merged = merge(whole, self.rules, context.data_type, strategy, order)
        return record_of(merged, whole, context)

    def get_provider_sequence(self, data_type: str) -> list[str]:
        """Return the vendors for a data type, most trusted first."""
        return list(self.rules.order(canonical_type(data_type) or data_type))

    def get_field_provider_priority(self, field_path: str) -> list[str]:
        """Return the vendors for a field (``pe_ratio`` or ``ttm_metrics.pe_ratio``), in order."""
        return list(self.rules.order("profile", field_path.rpartition(".")[2]))

    def get_ttl_for_data_type(self, data_type: str) -> float:
        """Return the number of days for which a response of this type stays fresh."""
        return self.rules.ttl_of(canonical_type(data_type) or data_type) / DAY_MS


def _mapping(payload: Any) -> Mapping[str, Any]:
    if is_dataclass(payload) and not isinstance(payload, type):
        return asdict(payload)
    return payload if isinstance(payload, Mapping) else {}


class _Combiners:
    """This process's combiners, one per file."""

    def __init__(self) -> None:
        # Guards the table against threads that request the same file at the same time.
        self._lock = threading.Lock()
        self._made: dict[str, FundamentalsCombiner] = {}
        renew_after_fork(self)

    def of(self, path: str) -> FundamentalsCombiner:
        """Return the combiner for a file, created on the first call; empty means the configured file."""
        with self._lock:
            if path not in self._made:
                self._made[path] = FundamentalsCombiner(path or None)
            return self._made[path]

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        self._lock = threading.Lock()


_combiners = _Combiners()


def get_fundamentals_combiner(
    config_path: str | os.PathLike[str] | None = None,
) -> FundamentalsCombiner:
    """Return this process's combiner for a file; for errors, see :class:`FundamentalsCombiner`."""
    return _combiners.of(os.path.abspath(config_path) if config_path else "")
