"""Sources of members: files on disk, lists, and filters over cached data. Sends no request."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import (
    IncompleteDataWarning,
    QueryError,
    UniverseError,
)
from ...model.printable import printable
from ...model.texts import counted
from .definition import check_name
from .files import IndexFile, read_listed
from .membership import Memberships, check_likeness, dated, roster, some, walk_back
from .storage import OWN_LIST, UniverseSource

if TYPE_CHECKING:
    from ...data_manager import DataManager

# Maximum size of a file. Decades of an index take a few hundred kilobytes, whereas the content of a
# device may never end.
_MOST_BYTES = 20_000_000
_PRICE_DAYS = 7
_MOST_NAME = 60


class SymbolRules(NamedTuple):
    """The symbol-related functions of the rules.

    Attributes:
        canonical: Function that returns the canonical spelling of a symbol, or raises
            ``QueryError``.
        has_market: Function that returns whether a market is known for a symbol.
    """

    canonical: Callable[[Any], str]
    has_market: Callable[[str], bool] = lambda _: True


class _SpellingFinder:
    """Returns the (first) spelling of a symbol in a source, in uppercase."""

    def __init__(self, rules: SymbolRules) -> None:
        self._rules = rules
        self._written: dict[str, str] = {}

    def __call__(self, symbol: Any) -> str:
        return self._written.setdefault(self._rules.canonical(symbol), str(symbol).strip().upper())

    def notes(self) -> tuple[str, ...]:
        """Return a sentence about the symbols without a known market."""
        unknown = [
            symbol for symbol in self._written.values() if not self._rules.has_market(symbol)
        ]
        if not unknown:
            return ()
        return (f"no market is known for {counted(len(unknown), 'symbol')}: {some(unknown)}",)


def state_of_list(symbols: Iterable[Any], rules: SymbolRules, evidence: str) -> UniverseSource:
    """Return a source whose members are a list of symbols, without duplicates.

    Raises:
        UniverseError: An entry is not a symbol.
    """
    names, canonical = [], _SpellingFinder(rules)
    for number, symbol in enumerate(symbols, 1):
        try:
            names.append(canonical(symbol))
        except QueryError as exc:
            raise UniverseError(f"entry {number} in the list: {exc.args[0]}") from exc
    notes = canonical.notes()
    return UniverseSource(
        OWN_LIST,
        lambda day, _: roster(names, day),
        evidence,
        notes=notes,
        canonical=rules.canonical,
    )


def state_of_file(
    file: str | Path,
    rules: SymbolRules,
    today: str | Path | None = None,
    source: str | None = None,
) -> UniverseSource:
    """Read an index membership file; if any line is invalid, the whole file is rejected.

    Args:
        file: File with intervals, a change log or a list; see :mod:`onetape.data.db.universe.files`.
        rules: Rules for the symbols in the file.
        today: File with today's list of members: a change log is applied to it backwards, and
            intervals are compared with it.
        source: Name of the source; by default the file's name.

    Raises:
        UniverseError: A file cannot be read, a line is invalid, today's list is missing for a
            change log, or the two files cannot be used together.
    """
    path, canonical = Path(file).expanduser().absolute(), _SpellingFinder(rules)
    listed, digest = _read(path, canonical)
    name = check_name(path.name if source is None else source)
    files, evidence = {"file": str(path)}, f"{path.name} (sha256 {digest})"
    members: Sequence[str] | None = None
    if today is not None:
        today_path = Path(today).expanduser().absolute()
        today_listed, today_digest = _read(today_path, canonical)
        members = today_listed.symbols
        if members is None:
            raise UniverseError(
                f"{today_path.name} cannot be used as today's list: it contains dates"
            )
        files["roster"] = str(today_path)
        evidence += f" and {today_path.name} (sha256 {today_digest})"
    _check_shape(path, listed, members)
    notes = canonical.notes()
    if listed.passed_over:
        names = [printable(name[:_MOST_NAME]) for name in listed.passed_over]
        notes = (f"columns that were not read: {some(names)}", *notes)
    return UniverseSource(
        name,
        lambda day, listed_on: _statement(listed, members, day, listed_on),
        evidence,
        files,
        notes,
        rules.canonical,
        None if listed.changes is None else frozenset(map(rules.canonical, members or ())),
    )


def _check_shape(path: Path, listed: IndexFile, members: Sequence[str] | None) -> None:
    if listed.changes is not None and members is None:
        raise UniverseError(
            f"{path.name} is a change log, which can only be read together with today's list",
            hint="add that list with --today FILE",
        )
    if listed.symbols is not None and members is not None:
        raise UniverseError(
            f"neither {path.name} nor today's list contains dates", hint="name only one of them"
        )


def _statement(
    listed: IndexFile, members: Sequence[str] | None, day: date, listed_on: date
) -> Memberships:
    if listed.changes is not None:
        return walk_back(members or (), listed.changes, day, listed_on)
    if listed.symbols is not None:
        return roster(listed.symbols, listed_on)
    intervals = listed.intervals or ()
    if members is not None:
        now = [
            interval.symbol
            for interval in intervals
            if interval.end is None or interval.end > listed_on
        ]
        check_likeness(now, members)
    return dated(intervals)


def _read(path: Path, canonical: Callable[[str], str]) -> tuple[IndexFile, str]:
    """Return the content of a file, and the SHA-256 of its bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:  # a name with a null byte is a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise UniverseError(f"the file {path} cannot be read: {reason}") from exc
    if len(data) > _MOST_BYTES:
        raise UniverseError(f"the file {path} is too large; the limit is {_MOST_BYTES:,} bytes")
    return read_listed(data, path.name, canonical), hashlib.sha256(data).hexdigest()


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
        with warnings.catch_warnings():
            # Warnings are suppressed, because missing bars are reported as the reason of an
            # exclusion.
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frames = manager.get_ohlcv_batch(
                symbols,
                "1d",
                today - timedelta(days=_PRICE_DAYS),
                offline=True,
                progress=lambda _: None,
            )
        closes_of = {symbol: frame["close"].dropna() for symbol, frame in frames.items()}
        return {
            symbol: float(column.iloc[-1]) for symbol, column in closes_of.items() if len(column)
        }

    return closes
