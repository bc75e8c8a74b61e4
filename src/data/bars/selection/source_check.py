"""Checks whether the files that a lane was read from have changed, usually by ``stat`` only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...cache.store import SeriesView
from ...model.instrument import Instrument
from ...model.source import SourceState
from ...model.timeframe import Timeframe
from ...vendors.registry import is_of_files
from ..validity import after_change

if TYPE_CHECKING:
    from .candidates import Selector

# The only file vendor that rules can name; others must be pinned.
_OF_RULES = "local"
# Number of series whose states are cached; then the table is cleared.
_MOST_CACHED = 4096


class SourceCheck:
    """Compares the current state of files with their state when bars were read. Thread-safe.

    Args:
        selector: Provides the vendors that read files.
    """

    def __init__(self, selector: Selector) -> None:
        self._selector = selector
        # Files that had to be read because their times were inconclusive; they are not read again.
        self._verified: dict[SourceState, SourceState] = {}

    def is_current(self, instrument: Instrument, view: SeriesView, lane: str = "") -> bool:
        """Return whether a stored lane may answer queries; False only if its files have changed.

        Bars calculated by a job are not read from a file: they are updated when the job runs
        again.

        Args:
            instrument: Instrument of the series.
            view: View of the stored series.
            lane: Folder part of the lane, if it is already known.
        """
        if not view.key.of_folder or view.key.made_of:
            return True
        if not view.exists:
            return True
        from ...vendors.factory import downloader_for

        # A relative path or a link may now lead elsewhere; the lane then belongs to another folder.
        name = next((c.vendor for c in view.coverage if is_of_files(c.vendor)), _OF_RULES)
        downloader = self._selector.downloaders.get(name) if lane else None
        if downloader is None:
            downloader = downloader_for(self._selector, name)
        if getattr(downloader, "folder_lane", "") != view.key.of_folder:
            return False
        state = self.now(downloader, instrument, view.key.timeframe, view.source)
        return is_same(view.source, state)

    def as_now(self, instrument: Instrument, view: SeriesView, now_ms: int) -> SeriesView:
        """Return the view, with all bars marked as suspect if their source files have changed."""
        if self.is_current(instrument, view):
            return view
        return replace(view, coverage=after_change(view.coverage, now_ms), next_due=now_ms)

    def now(
        self,
        downloader: Any,
        instrument: Instrument,
        timeframe: Timeframe,
        stored: SourceState | None,
    ) -> SourceState | None:
        """Return the current state of a series' files, for comparison with :func:`is_same`.

        Args:
            downloader: Downloader that reads the files.
            instrument, timeframe: Identify the series.
            stored: Previous state of the files, which shows whether they must be read for the
                comparison.
        """
        files_of = getattr(downloader, "source_files", None)
        files = files_of(instrument, timeframe) if files_of is not None else None
        if files is None:
            return stored
        before = stored and self._verified.get(stored, stored)
        if before is None or not before.is_of(files.state, lambda: files.content):
            state: SourceState = files.read_state()
            return state
        if stored is not None and (before.stamps, before.has_rested) != (files.state.stamps, True):
            if len(self._verified) >= _MOST_CACHED:
                self._verified = {}
            self._verified[stored] = replace(files.state, content=stored.content)
        return stored


def is_same(stored: SourceState | None, now: SourceState | None) -> bool:
    """Return whether neither the content of files nor the way to read it has changed."""
    if stored is None or now is None:
        return stored is now
    return (stored.reading, stored.content) == (now.reading, now.content)
