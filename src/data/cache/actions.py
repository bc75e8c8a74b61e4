"""Splits and dividends of one symbol, kept in ``actions.json``.

They are applied when bars are read, so a wrong or a lost one changes prices: the document is
durable before it counts, a damaged one is an error and never an empty one, and two vendors that
disagree are both remembered.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..errors import CorruptEntryError, FormatVersionError
from ..model.actions import Action
from ..model.span import Span, coalesce, gaps
from . import metadata
from .layout import Layout
from .memory import Memory

_OURS = ("format", "symbol", "actions", "asked", "disagreements")
_SAME_AMOUNT = 1e-6


class Asked(NamedTuple):
    """Ex-dates (stamps of session dates) for which a vendor was asked and answered."""

    span: Span
    source: str
    fetched_at: int


@dataclass(frozen=True)
class ActionBook:
    """What is known about the actions of a symbol.

    Attributes:
        actions: by ex-date; of one type and date there is one.
        asked: what was asked and answered.
        disagreements: what another source says of an action that stands in ``actions``.
        extra: keys of other versions (renames, delisting), kept as they are.
    """

    actions: tuple[Action, ...] = ()
    asked: tuple[Asked, ...] = ()
    disagreements: tuple[Action, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[Action, ...]:
        """The splits, by ex-date."""
        return tuple(a for a in self.actions if a.type == "split")

    @property
    def dividends(self) -> tuple[Action, ...]:
        """The dividends, by ex-date."""
        return tuple(a for a in self.actions if a.type == "dividend")

    def covers(self, span: Span) -> bool:
        """Tell whether every ex-date in ``span`` was asked for, by whomever."""
        return not gaps(span, [asked.span for asked in self.asked])

    def with_answer(self, actions: Sequence[Action], asked: Asked) -> ActionBook:
        """Return the book after an answer.

        A source that corrects itself is believed; one that differs from another is noted in
        ``disagreements``. An action that an answer lacks stays: vendors forget more often than
        companies take back.
        """
        book = replace(self, asked=_with_asked(self.asked, asked))
        for action in actions:
            stamped = replace(
                action,
                source=action.source or asked.source,
                fetched_at=action.fetched_at or asked.fetched_at,
            )
            book = book._with(stamped)
        return book

    def _with(self, action: Action) -> ActionBook:
        here = next((a for a in self.actions if _key(a) == _key(action)), None)
        if here is None:
            return replace(self, actions=tuple(sorted((*self.actions, action))))
        same = _agree(here, action)
        others = tuple(
            a for a in self.disagreements
            if (_key(a), a.source) != (_key(action), action.source)
        )  # fmt: skip
        if same and here.source != action.source:
            return replace(self, disagreements=others)
        if here.source == action.source:
            kept = (a for a in self.actions if a is not here)
            newer = here if same else action
            return replace(self, actions=tuple(sorted((*kept, newer))), disagreements=others)
        return replace(self, disagreements=(*others, action))


def _key(action: Action) -> tuple[str, object]:
    return action.type, action.ex_date


def _agree(one: Action, other: Action) -> bool:
    """Tell whether the two say the same; cash amounts may differ by rounding."""
    if one.type == "split":
        return one.ratio == other.ratio
    return math.isclose(one.amount, other.amount, rel_tol=_SAME_AMOUNT)


def _with_asked(held: tuple[Asked, ...], new: Asked) -> tuple[Asked, ...]:
    """Return the list with ``new``, one source's adjoining spans joined."""
    same = [a for a in held if a.source == new.source]
    others = [a for a in held if a.source != new.source]
    merged = []
    for span in coalesce([*(a.span for a in same), new.span]):
        times = [a.fetched_at for a in (*same, new) if a.span.overlaps(span)]
        merged.append(Asked(span, new.source, max(times, default=new.fetched_at)))
    return tuple(sorted([*others, *merged]))


# --- on disk -------------------------------------------------------------------------------


class ActionStore:
    """The ``actions.json`` of every symbol. Thread-safe; writers take the symbol's lock.

    Args:
        layout, disk, memory: of the store.
        lock_timeout_s: how long to wait for another writer.
    """

    def __init__(
        self, layout: Layout, disk: Disk, memory: Memory, *, lock_timeout_s: float
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def load(self, symbol: str) -> ActionBook:
        """Return the book of ``symbol``, an empty one where nothing was ever asked.

        Raises:
            CorruptEntryError: the document is damaged; actions must be fetched again.
            FormatVersionError: a newer version of this library wrote it.
        """
        path = self._layout.symbol(symbol) / "actions.json"
        try:
            book = self._memory.load(path, lambda data: load_book(data, symbol))
            return book or ActionBook()
        except metadata.DamagedError as exc:
            raise CorruptEntryError(
                f"the splits and dividends of {symbol} are damaged: {exc}",
                symbol=symbol,
                hint="they are fetched again with the next refresh; until then prices cannot be "
                "adjusted",
            ) from exc
        except FormatVersionError as exc:
            raise FormatVersionError(
                f"{symbol}: {exc.args[0]}", symbol=symbol, hint="update this library"
            ) from exc

    def add(self, symbol: str, actions: Sequence[Action], asked: Asked) -> ActionBook:
        """Add an answer, durably, and return the book; a damaged book is kept and begun anew.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
        folder = self._layout.symbol(symbol)
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            sweep(self._disk, folder)
            sweep(self._disk, folder / "_quarantine")
            try:
                old = self.load(symbol)
            except CorruptEntryError:
                self._set_aside(symbol)
                old = ActionBook()
            book = old.with_answer(actions, asked)
            path = folder / "actions.json"
            if self._disk.stat(path) is None:
                # Whoever made the folders may have been killed before they were durable.
                self._disk.sync_folder(folder.parent)
                self._disk.sync_folder(folder.parent.parent)
            if book != old:
                write_atomically(self._disk, path, dump_book(symbol, book))
                self._memory.forget(path)
            else:
                self._disk.sync_folder(folder)  # likewise for the name of what was found here
        return book

    def _set_aside(self, symbol: str) -> None:
        """Keep a damaged document in the symbol's quarantine."""
        path = self._layout.symbol(symbol) / "actions.json"
        content = self._disk.read(path)
        folder = path.parent / "_quarantine"
        self._disk.make_folders(folder)
        name = f"actions.{hashlib.sha256(content).hexdigest()[:16]}.json"
        write_atomically(self._disk, folder / name, content)


def dump_book(symbol: str, book: ActionBook) -> bytes:
    """Return the bytes of the document."""
    return metadata.dump(
        dict(book.extra)
        | {
            "format": metadata.FORMAT,
            "symbol": symbol,
            "actions": [action.to_json() for action in book.actions],
            "asked": [
                {"span": list(a.span), "source": a.source, "fetched_at": a.fetched_at}
                for a in book.asked
            ],
            "disagreements": [action.to_json() for action in book.disagreements],
        }
    )


def load_book(data: bytes, symbol: str) -> ActionBook:
    """Read the bytes of the document of ``symbol``.

    Raises:
        DamagedError: it is not whole, or of another symbol.
        FormatVersionError: a newer version of this library wrote it.
    """
    plain = metadata.load(data)
    if plain.get("format") != metadata.FORMAT or plain.get("need"):
        raise FormatVersionError(f"actions.json has the unknown format {plain.get('format')!r}")
    if plain.get("symbol") != symbol:
        raise metadata.DamagedError(f"they are those of {plain.get('symbol')!r}")
    try:
        return ActionBook(
            actions=tuple(Action.from_json(a) for a in plain["actions"]),
            asked=tuple(
                Asked(Span(*a["span"]), a["source"], a["fetched_at"]) for a in plain["asked"]
            ),
            disagreements=tuple(Action.from_json(a) for a in plain["disagreements"]),
            extra={k: v for k, v in plain.items() if k not in _OURS},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise metadata.DamagedError(f"it lacks what it must hold: {exc!r}") from exc
