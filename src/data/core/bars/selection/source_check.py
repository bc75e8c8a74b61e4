"""Checks whether the bars in memory are those of the user's files as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...cache.store import SeriesView
from ...model.identity.instrument import Instrument
from ...model.identity.series import SeriesKey
from ...model.request.capabilities import FetchQuery
from ...model.request.query import BarsQuery
from ...model.time.instant import year_start
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...registry import is_of_files

if TYPE_CHECKING:
    from .candidates import Selector

# The only file vendor that rules can name; others must be pinned.
_OF_RULES = "local"
# Earlier than any bar.
_EARLIEST = year_start(1900)


class SourceCheck:
    """Compares the versions of files with those that bars were read from. Thread-safe.

    Args:
        selector: Provides the vendors that read files.
    """

    def __init__(self, selector: Selector) -> None:
        self._selector = selector

    def is_current(self, instrument: Instrument, view: SeriesView, lane: str = "") -> bool:
        """Return whether a lane may answer queries; False only if its file is not as it was read.

        Bars calculated by a job are not read from a file: they are updated when the job runs
        again.

        Args:
            instrument: Instrument of the series.
            view: View of the lane.
            lane: Folder part of the lane, if it is already known.
        """
        if not view.key.of_folder or view.key.made_of or not view.exists:
            return True
        # A relative path or a link may now lead elsewhere; the lane then belongs to another folder.
        name = next((c.vendor for c in view.coverage if is_of_files(c.vendor)), _OF_RULES)
        downloader = self._selector.downloaders.get(name) if lane else None
        downloader = downloader or self._downloader(name)
        if getattr(downloader, "folder_lane", "") != view.key.of_folder:
            return False
        return version_of(downloader, instrument, view.key.timeframe) == view.source

    def has_file(self, instrument: Instrument, key: SeriesKey) -> bool:
        """Return whether the folder of a lane is the one in the rules, and has a file for the series."""
        downloader = self._downloader(key.of_folder.partition(".")[0])
        is_its_folder = getattr(downloader, "folder_lane", "") == key.of_folder
        return is_its_folder and bool(version_of(downloader, instrument, key.timeframe))

    def _downloader(self, name: str) -> Any:
        from ...vendors.factory import downloader_for

        return downloader_for(self._selector, name)


def has_others(query: BarsQuery, view: SeriesView) -> bool:
    """Return whether a lane holds other vendors' answers although only the user's files may answer."""
    if query.provider != _OF_RULES or not view.key.of_folder:
        return False
    return any({*source.vendor.split(",")} - {_OF_RULES, ""} for source in view.coverage.sources)


def span_of_rows(reader: Any, instrument: Instrument, timeframe: Timeframe, now_ms: int) -> Span:
    """Return the span of all rows of a user's file up to now; it is empty if there are none.

    Args:
        reader: Candidate or downloader that reads the file.
        instrument, timeframe: The series.
        now_ms: Current time.

    Raises:
        DataError: The file cannot be read.
    """
    whole = FetchQuery(instrument, timeframe, Span(_EARLIEST, now_ms), now_ms)
    stamps = reader.fetch(whole).table.stamps
    return Span(int(stamps.min()), int(stamps.max()) + 1) if len(stamps) else Span(0, 0)


def version_of(downloader: Any, instrument: Instrument, timeframe: Timeframe) -> str:
    """Return the version of a series' file; empty if there is none, or if no file is read."""
    version = getattr(downloader, "file_version", None)
    return (version(instrument, timeframe) or "") if version is not None else ""
