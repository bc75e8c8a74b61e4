"""Functions shared by the cache commands: they list series and find the requested ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import iso
from ..core.model.time.timeframe import Timeframe
from ..errors import CacheError, DataError, QueryError
from .result import Line, Shown

if TYPE_CHECKING:
    from ..core.cache.format.lane_entry import LaneEntry
    from ..core.cache.upkeep.other_data import OtherPart
    from ..core.model.identity.series import SeriesKey
    from ..core.wiring import Services
    from ..data_manager import DataManager

    # Both have the cache as the attribute ``cache``.
    Installation = DataManager | Services

_SYMBOLS_SHOWN = 12
# The description of a series without bars.
_EMPTY: dict[str, Any] = {
    "rows": 0,
    "first": None,
    "last": None,
    "vendors": [],
    "updated": None,
    "problem": "",
}


def manager_of(args: argparse.Namespace, *, makes_folder: bool = False) -> DataManager:
    """Return the data manager for the folder and rules given as options.

    Raises:
        QueryError: The folder does not exist, and ``makes_folder`` is False.
    """
    from ..data_manager import DataManager

    if not makes_folder:
        check_folder(args)
    return DataManager(args.cache_dir, args.config)


def check_folder(args: argparse.Namespace) -> None:
    """Raise ``QueryError`` if a cache folder is given that does not exist."""
    if args.cache_dir and not Path(args.cache_dir).expanduser().exists():
        raise QueryError(
            f"the cache folder does not exist: {args.cache_dir}",
            hint=(
                "name an existing folder, or omit the option to use the default; `onetape "
                "doctor` shows it"
            ),
        )


def chosen(manager: Installation, symbol: str | None, label: str | None = None) -> list[SeriesKey]:
    """Return the requested series in all their lanes, or all series if no symbol is given.

    Raises:
        CacheError: Nothing is cached for the symbol and timeframe; the hint names cached series.
        QueryError: The symbol or timeframe is invalid.
    """
    name = meant(manager, symbol) if symbol else None
    frame = Timeframe.parse(label) if label else None
    keys = manager.cache.maintenance.series(name, frame)
    if keys or name is None:
        return keys
    what = " ".join(filter(None, (name, frame.label if frame else "")))
    raise CacheError(f"nothing is cached for {what}", symbol=name, hint=_suggestion(manager, name))


def chosen_with_others(
    manager: Installation, symbol: str | None, label: str | None = None
) -> tuple[list[SeriesKey], list[OtherPart]]:
    """Return the requested series, and the requested tables and fundamentals.

    Errors are as for :func:`chosen`, but they are raised only if neither series nor other data is
    stored for the symbol.
    """
    name = meant(manager, symbol) if symbol else None
    frame = Timeframe.parse(label) if label else None
    others = manager.cache.maintenance.others(name, frame)
    if not others:
        return chosen(manager, symbol, label), []
    return manager.cache.maintenance.series(name, frame), others


def meant(manager: Installation, text: str) -> str:
    """Return the cached symbol that a string refers to, directly or after resolving it.

    Raises:
        QueryError: The text is not cached and is not a symbol.
    """
    if text in manager.cache.list_symbols():
        return text
    return manager.cache.meaning_of(text).symbol


def _suggestion(manager: Installation, symbol: str) -> str:
    from difflib import get_close_matches  # not needed for cached series

    elsewhere = [entry for entry in listed_elsewhere(manager)[0] if entry["symbol"] == symbol]
    if elsewhere:
        frames = dict.fromkeys(entry["timeframe"] for entry in elsewhere)
        line = f"onetape fetch {symbol} {next(iter(frames))}"
        return f"other hosts have {', '.join(frames)}; `{line}` copies it here"
    series = manager.cache.maintenance.series(symbol)
    if lanes := [str(key).removeprefix(f"{symbol} ") for key in series]:
        return f"cached for {symbol}: {', '.join(lanes)}"
    symbols = list(dict.fromkeys(key.symbol for key in manager.cache.maintenance.series()))
    if not symbols:
        return f"the cache {manager.cache.cache_dir} is empty"
    near = get_close_matches(symbol, symbols, n=3)
    names = near or symbols[:_SYMBOLS_SHOWN]
    more = f" and {len(symbols) - len(names)} more" if len(symbols) > len(names) else ""
    return f"cached symbols: {', '.join(names)}{more}; `onetape cache list` shows all"


def named(key: SeriesKey) -> dict[str, Any]:
    """Return a series' symbol, timeframe and lane as a JSON-serializable dictionary."""
    return {"symbol": key.symbol, "timeframe": key.timeframe.label, "lane": key.lane_label}


def listed_elsewhere(manager: Installation) -> tuple[list[dict[str, Any]], list[str]]:
    """Describe the series that only other hosts have, and report if they are unknown.

    The descriptions are as in :func:`listed`, with ``elsewhere`` set. Without a shared store there
    are none.
    """
    from ..jobs.run.other_hosts import series_elsewhere

    series, problem = series_elsewhere(manager.cache.store)
    entries = [
        named(key) | _EMPTY | {"updated": _time_text(at_ms), "elsewhere": True}
        for key, at_ms in sorted(series.items(), key=lambda pair: str(pair[0]))
    ]
    note = f"series that only other hosts have are not shown: {problem}"
    return entries, [note] if problem else []


def listed(manager: Installation, *, check: bool = False) -> list[dict[str, Any]]:
    """Describe each stored series as a JSON-serializable dictionary.

    The values come from the index or, if there is none, from each series' own document. If
    ``check`` is True, every file is read, and any damage is included.
    """
    upkeep = manager.cache.maintenance
    if not check:
        return [_entry(manager, key, indexed) for key, indexed in upkeep.listing()]
    checked = []
    for key in upkeep.series():
        damage, problems = upkeep.check([key])
        faults = [f"{fault.where}: {fault.what}" for fault in damage] + [
            reason for _, reason in problems
        ]
        # Checked first, because reading the documents repairs damage.
        entry = _entry(manager, key)
        checked.append(entry | {"problem": "; ".join(faults) or entry["problem"]})
    return checked


def entries(manager: Installation, keys: Sequence[SeriesKey]) -> list[dict[str, Any]]:
    """Describe each series as a JSON-serializable dictionary, with the reason if it cannot be read."""
    return [_entry(manager, key) for key in keys]


def _entry(
    manager: Installation, key: SeriesKey, indexed: LaneEntry | None = None
) -> dict[str, Any]:
    entry = named(key) | _EMPTY
    try:
        if indexed is not None:
            ends = indexed.first, indexed.last
            return entry | _extent(indexed.rows, ends, indexed.vendors, indexed.answered_ms)
        view = manager.cache.store.view(key)
        # Not by `WITH_BARS`: its module loads NumPy, which the help of a command does without.
        with_bars = [covered for covered in view.coverage.opened() if covered.state != "empty"]
        vendors = sorted({covered.vendor for covered in with_bars if covered.vendor})
        updated = max((covered.fetched_at for covered in view.coverage), default=0)
        return entry | _extent(view.rows, (view.first, view.last), vendors, updated)
    except DataError as error:
        return entry | {"problem": str(error)}


def _extent(
    rows: int, ends: tuple[int | None, int | None], vendors: list[str], updated: int
) -> dict[str, Any]:
    first, last = (None if stamp is None else iso(stamp) for stamp in ends)
    updated_at = _time_text(updated)
    return {"rows": rows, "first": first, "last": last, "vendors": vendors, "updated": updated_at}


def _time_text(at_ms: int) -> str | None:
    return iso(at_ms // 1000 * 1000) if at_ms else None


def problem_rows(problems: Iterable[tuple[SeriesKey, str]]) -> list[dict[str, str]]:
    """Return the series that could not be processed, each with the reason, as records."""
    return [named(key) | {"problem": faults} for key, faults in problems]


def problems_shown(problems: Iterable[tuple[SeriesKey, str]]) -> Shown:
    """Yield the series that could not be processed, each with its reason."""
    for key, faults in problems:
        yield Line(f"{key}: {faults}", "red")
