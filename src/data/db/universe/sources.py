"""Sources of members: files on disk, lists, and filters over cached data. Sends no request."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.model.display.texts import counted
from ...errors import IncompleteDataWarning, QueryError, UniverseError
from .files import Listing, listing, read_file, some

if TYPE_CHECKING:
    from ...data_manager import DataManager

# Maximum size of a file. Decades of an index take a few hundred kilobytes, whereas the content of a
# device may never end.
_MOST_BYTES = 20_000_000
_PRICE_DAYS = 7


class Spellings:
    """Returns the first spelling of each symbol in a source, in uppercase."""

    def __init__(self, manager: DataManager) -> None:
        self._selector = manager.provider_selector
        self._written: dict[str, str] = {}

    def __call__(self, symbol: Any) -> str:
        """Return the spelling of a symbol.

        Raises:
            QueryError: The value is not a symbol.
        """
        canonical = self._selector.spelling(symbol)
        return self._written.setdefault(canonical, str(symbol).strip().upper())

    def notes(self) -> tuple[str, ...]:
        """Return a sentence about the symbols without a known market."""
        unknown = [symbol for symbol in self._written.values() if not self._has_market(symbol)]
        if not unknown:
            return ()
        return (f"no market is known for {counted(len(unknown), 'symbol')}: {some(unknown)}",)

    def _has_market(self, symbol: str) -> bool:
        try:
            self._selector.instrument(symbol)
        except QueryError:
            return False
        return True


def listed(symbols: Iterable[Any], manager: DataManager) -> Listing:
    """Return a list of symbols as today's members, without duplicates.

    Raises:
        UniverseError: An entry is not a symbol.
    """
    names, spelling = [], Spellings(manager)
    for number, symbol in enumerate(symbols, 1):
        try:
            names.append(spelling(symbol))
        except QueryError as exc:
            raise UniverseError(f"entry {number} in the list: {exc.args[0]}") from exc
    return Listing(tuple(names), notes=spelling.notes())


def listed_in_file(
    file: str | Path, manager: DataManager, day: date, today: str | Path | None = None
) -> Listing:
    """Return the memberships in a file; if any line is invalid, the whole file is rejected.

    Args:
        file: File with intervals, a change log or a list; see :mod:`onetape.data.db.universe.files`.
        manager: Data manager that defines the spelling of symbols.
        day: Last day whose changes are used.
        today: File with today's list of members, to which a change log is applied backwards.

    Raises:
        UniverseError: A file cannot be read, a line is invalid, today's list is missing for a
            change log, or the two files cannot be used together.
    """
    path, spelling, members = Path(file), Spellings(manager), None
    content = read_file(_read(path), path.name, spelling)
    if today is not None:
        members = read_file(_read(Path(today)), Path(today).name, spelling).symbols
        if members is None:
            raise UniverseError(
                f"{Path(today).name} cannot be used as today's list: it contains dates"
            )
    found = listing(content, path.name, day, members)
    return found._replace(notes=(*found.notes, *spelling.notes()))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:  # a name with a null byte is a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise UniverseError(f"the file {path} cannot be read: {reason}") from exc
    if len(data) > _MOST_BYTES:
        raise UniverseError(f"the file {path} is too large; the limit is {_MOST_BYTES:,} bytes")
    return data


def cached_closes(
    manager: DataManager, today: date
) -> Callable[[Sequence[str]], Mapping[str, float]]:
    """Return a function that reads each symbol's latest close from the cache.

    The function does not query vendors; closes more than seven days old are ignored.
    """

    def closes(symbols: Sequence[str]) -> Mapping[str, float]:
        """Return the latest close of each symbol with cached bars."""
        if not symbols:
            return {}
        first = today - timedelta(days=_PRICE_DAYS)
        with warnings.catch_warnings():
            # Missing bars are reported as the reason of an exclusion.
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frames = manager.get_ohlcv_batch(
                symbols, "1d", first, offline=True, progress=lambda _: None
            )
        known = {symbol: frame["close"].dropna() for symbol, frame in frames.items()}
        return {symbol: float(column.iloc[-1]) for symbol, column in known.items() if len(column)}

    return closes
