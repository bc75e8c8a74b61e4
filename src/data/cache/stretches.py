"""Stretches of coverage, read from the text of documents; those of most series are told alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from ..model.coverage import Coverage, Covered
from ..model.filling import filled
from ..model.span import Span

# Ways in which a stretch is told, all but when: few vendors and kinds make few of them.
_REMEMBERED = 512
_FETCHED, _SPAN = '"fetched_at":', '"span":['
_by_span = attrgetter("span")
# What stands before the times of a stretch, between them and behind them.
_Way = tuple[str, str, str]


class _Run(NamedTuple):
    """A stretch, or several that adjoin and are told alike."""

    way: _Way
    start: int
    end: int
    fetched_at: int

    def covered(self) -> Covered:
        """Return it as a value."""
        when = {"span": Span(self.start, self.end), "fetched_at": self.fetched_at}
        return filled(Covered, **(vars(_timeless(*self.way)) | when))


def told(texts: Iterable[str]) -> Coverage:
    """Return what lists of stored stretches say, each as text without its brackets.

    The stretches are disjoint; adjoining ones of one source are made one.

    Raises:
        AttributeError, KeyError, RecursionError, TypeError, ValueError: one cannot be read.
    """
    parts: list[Covered] = []
    run: _Run | None = None
    for text in texts:
        one = _only(text, run)
        if one is None:
            parts += map(Covered.from_json, json.loads(f"[{text}]"))
        elif run is not None and run.way == one.way and run.end == one.start:
            run = _Run(run.way, run.start, one.end, max(run.fetched_at, one.fetched_at))
        else:
            parts += [run.covered()] if run is not None else []
            run = one
    parts += [run.covered()] if run is not None else []
    return Coverage.joined(sorted(parts, key=_by_span))


def _only(text: str, like: _Run | None) -> _Run | None:
    """Return the stretch that is alone in a list; None where it is not, or cannot be told so."""
    before, _, rest = text.partition(_FETCHED)
    fetched, _, rest = rest.partition(",")
    between, _, rest = rest.partition(_SPAN)
    bounds, _, behind = rest.partition("]")
    if not behind or _SPAN in behind:
        return None
    way = before, between, behind
    if (like is None or way != like.way) and _timeless(*way) is None:
        return None
    start, _, end = bounds.partition(",")
    return _Run(way, int(start), int(end), int(fetched))


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
