"""Applies log entries to a symbol's splits, dividends and names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..cache.actions import ActionBook, Asked
from ..model.actions import Action
from ..model.instant import day_ms
from ..model.span import Span
from .entry import EntryValue, ReportedActions, SamplesForgotten, SymbolChanges


def apply_entry(book: ActionBook, value: EntryValue) -> ActionBook:
    """Return a book with one entry applied, by the rules of :class:`.ActionStore`."""
    if isinstance(value, ReportedActions):
        return book.up_to(value.answer.fetched_at).with_answer(value.actions, value.answer)
    if isinstance(value, SamplesForgotten):
        return book.without(value.source)
    if isinstance(value, SymbolChanges):
        recorded = {replace(change, fetched_at=0): change for change in book.changes}
        new = (recorded.get(replace(change, fetched_at=0), change) for change in value.changes)
        return replace(book, changes=tuple(sorted(new)))
    return ActionBook()


def rebuilding_entries(book: ActionBook) -> Iterator[EntryValue]:
    """Yield the entries that rebuild a book from an empty one; sample data is left out."""
    placed: set[Action] = set()
    for answer in book.answers:
        reported = tuple(
            action
            for action in book.reports
            if action.source == answer.source and day_ms(action.ex_date) in answer.span
        )
        placed.update(reported)
        yield ReportedActions(reported, answer)
    for source in sorted({action.source for action in book.reports}):
        rest = tuple(a for a in book.reports if a.source == source and a not in placed)
        if rest:
            latest = max(action.fetched_at for action in rest)
            yield ReportedActions(rest, Asked(Span(0, 0), source, latest))
    for awaited in book.awaited:
        yield ReportedActions((), awaited._replace(until=awaited.span.start))
    if book.changes:
        yield SymbolChanges(book.changes)
