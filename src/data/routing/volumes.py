"""Volume that counts something else, or other trades, than the rest of a series: it is left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..model.bars import NAN, BarTable
from ..model.coverage import Coverage, Covered
from ..model.kind import Kind


def left_out(part: Covered, own: Kind) -> str:
    """Return why the volume of a stretch does not stand in a series of kind ``own``.

    An empty text where it does, or where one of the two does not say what it counts.
    """
    pairs = ((part.kind.volume, own.volume), (part.kind.feed, own.feed))
    told = [f"{theirs}, not {mine}" for theirs, mine in pairs if theirs and mine and theirs != mine]
    return f"left out: {'; '.join(told)}" if told else ""


def own_volume(table: BarTable, coverage: Coverage, own: Kind) -> BarTable:
    """Return ascending rows with the volume of other units and feeds as NaN.

    They are returned themselves where there is none of it, which is nearly always.
    """
    foreign = _foreign(coverage, own)
    if not foreign or not len(table):
        return table
    volume = table.volume.copy()
    for part in foreign:
        first, last = table.stamps.searchsorted(part.span)
        volume[first:last] = NAN
    return replace(table, volume=volume)


def _foreign(coverage: Iterable[Covered], own: Kind) -> list[Covered]:
    return [part for part in coverage if part.kind is not own and left_out(part, own)]
