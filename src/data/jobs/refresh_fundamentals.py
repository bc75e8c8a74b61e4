"""Ask again for fundamentals that have grown old, symbol by symbol, the oldest first.

What is still fresh is not asked for, unless it is forced or older than the run allows. Each answer is kept
as it arrives: a run that is interrupted loses nothing, and the next one begins with what is oldest then.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import DataError, QueryError
from ..fundamentals.request import Wish, data_type_of
from ..model.instant import DAY_MS
from ..net.deadline import seconds_of
from ..observability.logs import Subject, running
from ..wiring import Services, build
from .refresh_plan import (
    DEFAULT_DELAY_S,
    PERIODIC_SYMBOLS,
    PERIODIC_TYPES,
    REFRESHED_TYPES,
    Choice,
)

log = logging.getLogger("onetape.refresh")

_LONGEST_LIST = 10_000_000
_NOTHING = "no vendor answered; the log says why"
_OLD = "all vendors failed, and old copies stand in; the log says why"

Listener = Callable[[dict[str, Any], int, int], None]


class Fundamentals(Protocol):
    """The part of a data manager that a refresh needs."""

    def get_fundamentals(
        self, symbol: str, *, force_refresh: bool = False, data_type: str = "general", **more: Any
    ) -> dict[str, Any]:
        """Return a record, empty where no vendor has one; ``timeout=`` comes only if it was set."""


@dataclass(frozen=True)
class Refresh:
    """What a run does.

    Attributes:
        symbols: companies and coins; None: all that are cached.
        data_types: of which types, by any of their names.
        choice: which of them, and in which order.
        force: ask though it is fresh.
        delay_s: seconds between two symbols for which a vendor was asked.
        dry_run: report what would be done; no vendor is asked.

    Raises:
        QueryError: the delay is not a number of seconds.
    """

    symbols: Sequence[str] | None = None
    data_types: Sequence[str] = REFRESHED_TYPES
    choice: Choice = field(default_factory=Choice)
    force: bool = False
    delay_s: float = DEFAULT_DELAY_S
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.delay_s < math.inf:
            raise QueryError(f"the delay is {self.delay_s:g} s, a number from 0 on is needed")


def refresh_fundamentals(
    wanted: Refresh | None = None,
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    listener: Listener | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Renew fundamentals and return what came of it.

    Args:
        wanted: what to do; left out, all that is cached, where it is stale.
        cache_dir, config_path: as for the data manager.
        listener: called with each symbol's result, its place and the number of symbols.
        timeout: seconds that each question (one symbol, one type) has, waits for vendors' limits
            included; by default ``time_budget_seconds`` of the fundamentals file (20).

    Returns:
        ``selected`` (symbols in the order of the work), ``results`` (of each ``symbol``,
        ``age_days`` before, ``success``, ``data_types``, ``errors``), ``successful``, ``failed``,
        ``dry_run`` and ``interrupted``.

    Raises:
        QueryError: a data type, a number or ``timeout`` is wrong; nothing was asked.
        ConfigError: the configuration is wrong.
    """
    seconds = seconds_of(timeout, "a job")
    return _Run(build(cache_dir, config_path), wanted or Refresh(), listener, seconds).result()


def periodic_refresh(
    symbols: Sequence[str] | None = None,
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Renew ratios and profiles of the 50 symbols that have waited longest; for a scheduler.

    Takes ``timeout``, returns and raises as :func:`refresh_fundamentals`.
    """
    choice = Choice(max_symbols=PERIODIC_SYMBOLS)
    wanted = Refresh(symbols, PERIODIC_TYPES, choice)
    return refresh_fundamentals(wanted, cache_dir, config_path=config_path, timeout=timeout)


def refresh_symbol_fundamentals(
    dm: Fundamentals,
    symbol: str,
    data_types: Iterable[str],
    force_refresh: bool = False,
    *,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Ask a data manager for each type of one symbol; ``success`` where a vendor has any of it.

    ``timeout``: seconds that each type has; None: as the data manager has it.

    Raises:
        QueryError: ``timeout`` is no time.
    """
    seconds = seconds_of(timeout, symbol)
    done = [_Done(kind, dm, symbol, force_refresh, seconds) for kind in data_types]
    return _result(symbol, done)


def load_symbols_from_file(file_path: str | Path) -> list[str]:
    """Return the symbols of a text file, one a line; what stands behind ``#`` is left out.

    Raises:
        QueryError: the file cannot be read as text.
    """
    failure = f"the list of symbols {file_path} cannot be read"
    try:
        with Path(file_path).open(encoding="utf-8") as file:
            text = file.read(_LONGEST_LIST + 1)  # of a device there is no end
    except UnicodeDecodeError as exc:
        raise QueryError(f"{failure}: it is not text") from exc
    except OSError as exc:
        raise QueryError(f"{failure}: {exc.strerror}") from exc
    if len(text) > _LONGEST_LIST:
        raise QueryError(f"{failure}: it is longer than {_LONGEST_LIST:,} characters")
    lines = text.splitlines()
    return [symbol.upper() for line in lines if (symbol := line.partition("#")[0].strip())]


def get_cached_symbols(
    cache_dir: str | Path | None = None, *, config_path: str | Path | None = None
) -> list[str]:
    """Return the symbols of which fundamentals are cached."""
    return build(cache_dir, config_path).fundamentals.cache.symbols()


def cleanup_fundamentals(
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Delete copies that newer and good ones have replaced, of all symbols.

    Of each vendor and type the newest good copy stays, however old it is: it stands in when the
    vendor fails.

    Returns:
        ``removed`` (paths), ``total_removed_files``, ``dry_run``.
    """
    service = build(cache_dir, config_path).fundamentals
    rules = service.combiner.rules
    removed = [
        path
        for symbol in service.cache.symbols()
        for path in service.cache.tidy(symbol, rules.copies, rules.min_quality, dry_run=dry_run)
    ]
    return {"removed": removed, "total_removed_files": len(removed), "dry_run": dry_run}


class _Done:
    """One type of one symbol, asked for."""

    def __init__(
        self, kind: str, dm: Fundamentals, symbol: str, force: bool, timeout_s: float | None
    ) -> None:
        more = {} if timeout_s is None else {"timeout": timeout_s}
        record = dm.get_fundamentals(symbol, force_refresh=force, data_type=kind, **more)
        metadata: Mapping[str, Any] = record.get("_metadata") or {}
        vendors = metadata.get("providers", {}).values()
        self.kind = kind
        self.fields = len(metadata.get("fields", record))
        is_old = bool(vendors) and all(v.get("is_stale") for v in vendors)
        self.error = _NOTHING if not record else _OLD if is_old else ""
        # Where all of it was fresh, no vendor has noticed anything.
        is_fresh = all(v.get("from_cache") for v in vendors) and not metadata.get(
            "providers_failed"
        )
        self.was_asked = bool(self.error) or not is_fresh


def _result(symbol: str, done: Sequence[_Done]) -> dict[str, Any]:
    types = {
        d.kind: {"success": not d.error, "fields_count": d.fields}
        | ({"error": d.error} if d.error else {})
        for d in done
    }
    errors = [f"{d.kind}: {d.error}" for d in done if d.error]
    return {
        "symbol": symbol,
        "success": any(not d.error for d in done),
        "data_types": types,
        "errors": errors,
    }


class _Run:
    """One run at work; asks as the facade would, which stands above."""

    def __init__(
        self,
        services: Services,
        wanted: Refresh,
        listener: Listener | None,
        timeout_s: float | None,
    ) -> None:
        kinds = tuple(dict.fromkeys(data_type_of(kind) for kind in wanted.data_types))
        if not kinds:
            raise QueryError("no data type is named", hint="such as ratios,profile")
        self._wanted = replace(wanted, data_types=kinds)
        self._services, self._listener, self._timeout_s = services, listener, timeout_s
        self._now_ms = services.clock.now_ms()
        self._cache = services.fundamentals.cache
        self._was_asked = False

    def get_fundamentals(
        self, symbol: str, *, force_refresh: bool = False, data_type: str = "general", **more: Any
    ) -> dict[str, Any]:
        wish = Wish(force_refresh=force_refresh, data_type=data_type, **more)
        try:
            return self._services.fundamentals.find(symbol, wish)
        except DataError:
            return {}  # it is counted, and was logged with its reason

    def result(self) -> dict[str, Any]:
        named = self._wanted.symbols
        symbols = self._cache.symbols() if named is None else map(self._canonical, named)
        ages = {symbol: self._age(symbol, self._wanted.data_types) for symbol in symbols}
        selected = self._wanted.choice.of(ages, self._now_ms // DAY_MS)
        results: list[dict[str, Any]] = []
        interrupted = False
        try:
            for symbol in () if self._wanted.dry_run else selected:
                results.append(self._renewed(symbol) | {"age_days": ages[symbol]})
                if self._listener is not None:
                    self._listener(results[-1], len(results), len(selected))
        except KeyboardInterrupt:
            interrupted = True
        return {
            "selected": [{"symbol": s, "age_days": ages[s]} for s in selected],
            "results": results,
            "successful": [r["symbol"] for r in results if r["success"]],
            "failed": [r["symbol"] for r in results if not r["success"]],
            "dry_run": self._wanted.dry_run,
            "interrupted": interrupted,
        }

    def _renewed(self, symbol: str) -> dict[str, Any]:
        if self._was_asked and self._wanted.delay_s > 0:
            self._services.clock.sleep(self._wanted.delay_s)
        done = [
            _Done(kind, self, symbol, self._is_forced(symbol, kind), self._timeout_s)
            for kind in self._wanted.data_types
        ]
        self._was_asked = any(one.was_asked for one in done)
        return _result(symbol, done)

    def _is_forced(self, symbol: str, kind: str) -> bool:
        """Tell whether a type is asked for though it may be fresh: where it is older than the run allows."""
        choice = self._wanted.choice
        is_old = choice.threshold_days is not None and choice.is_due(self._age(symbol, (kind,)))
        return self._wanted.force or is_old

    def _canonical(self, symbol: str) -> str:
        try:
            return self._services.selector.instrument(symbol).symbol
        except DataError:  # the question for it reports why
            return symbol

    def _age(self, symbol: str, kinds: Iterable[str]) -> float | None:
        """Return how many days ago the newest answer of these types was fetched."""
        with running(Subject(symbol)):
            try:
                snapshots = [s for kind in kinds for s in self._cache.latest(symbol, kind).values()]
            except QueryError as exc:
                log.warning("%r is not a symbol: %s", symbol, exc)
                return None
        newest = max((s.fetched_at_ms for s in snapshots), default=None)
        return None if newest is None else round((self._now_ms - newest) / DAY_MS, 4)
