"""A source without a seam, made of a stream that has some: history first, every hole filled.

The stream is subscribed to before history is loaded, so nothing falls between the two. A hole, from
a lost connection or a lost message, is filled by the data manager, by the same routing and store as
everybody's; bars that came meanwhile wait until then. ``LIVE`` is said when nothing is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from ...calendars.gaps import BarGrid
from ...clock import Clock
from ...model.stream import LiveBar
from .base import Sink
from .history import History
from .stream import Start, Stream, StreamParts, StreamTimings
from .stream_thread import StreamThread

__all__ = ["Continued", "StreamTimings", "Start", "Stream"]

_JOIN_S = 0.2


class Continued:
    """Makes one unbroken source out of a stream and history; see :class:`~.source.Source`.

    Args:
        stream: what is new, as it comes.
        history: what was before, and what the stream lost.
        grid: where bars are expected.
        clock: tells the time.
        start: where it begins.
        keep: stores closed bars of the stream.
        patience: times.
    """

    def __init__(
        self,
        stream: Stream,
        history: History,
        grid: BarGrid,
        clock: Clock,
        *,
        start: Start | None = None,
        keep: Callable[[Sequence[LiveBar]], object] | None = None,
        patience: StreamTimings | None = None,
        call: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._parts = StreamParts(
            stream, history, grid, clock, start or Start(), keep, patience or StreamTimings(), call
        )
        self._work: StreamThread | None = None

    def start(self, sink: Sink) -> None:
        """Subscribe, then load history, then go on; see :class:`~.source.Source`."""
        work = StreamThread(self._parts, sink)
        self._parts.stream.start(work.inbox)
        self._work = work
        work.thread.start()

    def stop(self) -> None:
        """See :class:`~.source.Source`. A question on its way ends by itself, unheard."""
        work, self._work = self._work, None
        if work is None:
            return
        work.stop()
        self._parts.stream.stop()
        if work.thread is not threading.current_thread():
            work.thread.join(_JOIN_S)
