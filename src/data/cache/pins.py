"""Pinned generations: what is needed to read a series as it stood then is kept until it is unpinned.

A pin is an empty file ``pin-<generation>`` in the ``_versions`` folder of its series, durable before
it counts: it holds for every process that works on the folder, and after restarts, as a snapshot of
a database does. There is one pin of a generation, however often it is set. Older versions of this
library do not know pins.

What the generation is read from stays: the file of today gets a second name before it is rewritten,
replaced files are neither counted nor aged out, nor dropped to make room, and no year of the series
is evicted or deleted by age. A call that deletes (``clear``, ``clean --older-than``) deletes what is
pinned, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..disk.files import Disk

if TYPE_CHECKING:
    from .write.series import SeriesFiles

_PIN = "pin-"
Version = tuple[int, Path]


def pin_file(folder: Path, generation: int) -> Path:
    """Return the file that pins a generation; ``folder``: where replaced year files lie."""
    return folder / f"{_PIN}{generation}"


def pins_in(disk: Disk, folder: Path) -> list[int]:
    """Return the pinned generations, ascending; ``folder``: where replaced year files lie."""
    texts = (name.removeprefix(_PIN) for name in disk.list(folder) if name.startswith(_PIN))
    return sorted(int(text) for text in texts if text.isascii() and text.isdecimal())


def needed(lane: SeriesFiles, year: int, found: Sequence[Version]) -> set[Path]:
    """Return which replaced files of ``year`` pinned generations are read from; ``found``: all."""
    kept: set[Path] = set()
    for own in _own_generations(lane, year):
        later = [path for generation, path in found if own is None or generation >= own]
        kept.update(later if own is None else later[:1])
    return kept


def needs(lane: SeriesFiles, year: int, generation: int, found: Sequence[Version]) -> bool:
    """Tell whether a pinned generation is read from the file of today, which is of ``generation``."""
    newest = max((replaced for replaced, _ in found), default=0)
    return any(own is None or newest < own <= generation for own in _own_generations(lane, year))


def _own_generations(lane: SeriesFiles, year: int) -> Iterator[int | None]:
    """Yield the last commit to ``year`` by each pin; None where nothing tells."""
    pins = pins_in(lane.disk, lane.paths.versions)
    entries = lane.log_entries(year) if pins else []
    for pinned in pins:
        own = [int(e["generation"]) for e in entries if e["generation"] <= pinned]
        if own or not entries:  # else the year was begun later
            yield max(own, default=None)
