"""Stretches of coverage, read from the text of documents; those of most series are told alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter

from ..model.coverage import Coverage, Covered
from ..model.filling import filled
from ..model.span import Span

# Ways in which a stretch is told, all but when: few vendors and kinds make few of them.
_REMEMBERED = 512
_FETCHED, _SPAN = '"fetched_at":', '"span":['
_by_span = attrgetter("span")
# What stands before the times of a stretch, between them and behind them.
_Way = tuple[str, str, str]


def told(texts: Iterable[str]) -> Coverage:
    """Return what lists of stored stretches say, each as text without its brackets.

    The stretches are disjoint; adjoining ones of one source are made one.

    Raises:
        AttributeError, KeyError, RecursionError, TypeError, ValueError: one cannot be read.
    """
    parts: list[Covered] = []
    last: _Way | None = None
    start = end = fetched_at = 0
    for text in texts:
        before, between, behind, bounds, fetched = _taken_apart(text)
        way = before, between, behind
        # Of many stretches the way is one: it is looked into for the first.
        if way != last and (not behind or _SPAN in behind or _timeless(*way) is None):
            parts += map(Covered.from_json, json.loads(f"[{text}]"))
            continue
        begin, _, until = bounds.partition(",")
        if way == last and int(begin) == end:
            end, fetched_at = int(until), max(fetched_at, int(fetched))
            continue
        parts += _covered(last, start, end, fetched_at)
        last, start, end, fetched_at = way, int(begin), int(until), int(fetched)
    parts += _covered(last, start, end, fetched_at)
    return Coverage.joined(sorted(parts, key=_by_span))


def _taken_apart(text: str) -> tuple[str, str, str, str, str]:
    """Return what stands before the times of a stretch, between and behind them; span; time."""
    before, _, rest = text.partition(_FETCHED)
    fetched, _, rest = rest.partition(",")
    between, _, rest = rest.partition(_SPAN)
    bounds, _, behind = rest.partition("]")
    return before, between, behind, bounds, fetched


def _covered(way: _Way | None, start: int, end: int, fetched_at: int) -> list[Covered]:
    timeless = None if way is None else _timeless(*way)
    if timeless is None:
        return []
    when = {"span": Span(start, end), "fetched_at": fetched_at}
    return [filled(Covered, **(vars(timeless) | when))]


@lru_cache(_REMEMBERED)
def _timeless(before: str, between: str, behind: str) -> Covered | None:
    """Return a stretch by what stands around its times; None where that is not one stretch."""
    # Further inside, the same words mean something else.
    is_outer = before.count("{") == before.count("}") + 1 and between.count("{") == between.count(
        "}"
    )
    marks = (_SPAN, before), (_FETCHED, between), (_FETCHED, behind)
    if not is_outer or any(mark in part for mark, part in marks):
        return None
    return Covered.from_json(json.loads(f"{before}{_FETCHED}0,{between}{_SPAN}0,0]{behind}"))
