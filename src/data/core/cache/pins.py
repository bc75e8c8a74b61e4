"""Pinned generations: the files needed to read one are kept until it is unpinned.

A pin is an empty file ``pin-<generation>`` in the ``_versions`` folder of its series, and is made
durable before it takes effect. Like a database snapshot, it applies to every process that uses the
folder, and survives restarts. A generation has one pin, however often it is set.

The files from which the generation is read are kept. The current file gets a second name before it is
rewritten. Replaced files are not subject to the limits of number and age, and are not dropped to
make room. No year of the series is evicted or deleted by age. A call that deletes (``clear``,
``clean --older-than``) also deletes pinned files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..disk.files import Disk

_PIN = "pin-"
Version = tuple[int, Path]
Entry = Mapping[str, Any]


def pin_file(folder: Path, generation: int) -> Path:
    """Return the file that pins a generation; ``folder`` contains the replaced year files."""
    return folder / f"{_PIN}{generation}"


def pins_in(disk: Disk, folder: Path) -> list[int]:
    """Return the pinned generations, in ascending order; ``folder`` contains the replaced year files."""
    texts = (name.removeprefix(_PIN) for name in disk.list(folder) if name.startswith(_PIN))
    return sorted(int(text) for text in texts if text.isascii() and text.isdecimal())


def needed(pins: Sequence[int], log: Sequence[Entry], versions: Sequence[Version]) -> set[Path]:
    """Return the replaced year files that are needed to read pinned generations.

    Args:
        pins: Pinned generations of the series.
        log: Commits to the year.
        versions: All replaced files of the year, oldest first.
    """
    paths: set[Path] = set()
    for seq in _own_generations(pins, log):
        later = [path for generation, path in versions if seq is None or generation >= seq]
        paths.update(later if seq is None else later[:1])
    return paths


def needs(
    pins: Sequence[int], log: Sequence[Entry], versions: Sequence[Version], generation: int
) -> bool:
    """Return whether any pinned generation must be read from the current file.

    ``generation`` is the generation of that file.

    See :func:`needed` for the other arguments.
    """
    newest = max((replaced for replaced, _ in versions), default=0)
    return any(seq is None or newest < seq <= generation for seq in _own_generations(pins, log))


def _own_generations(pins: Sequence[int], log: Sequence[Entry]) -> Iterator[int | None]:
    """Yield for each pin the year's last commit up to the pinned generation; None if unknown."""
    for pinned in pins:
        commits = [int(entry["generation"]) for entry in log if entry["generation"] <= pinned]
        if commits or not log:  # otherwise the first commit to the year is after the pin
            yield max(commits, default=None)
