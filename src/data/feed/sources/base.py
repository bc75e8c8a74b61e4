"""Where a feed's bars come from: sockets, polls, replays and files all look the same."""

from __future__ import annotations

from typing import Protocol

from ...errors import DataError
from ...model.stream import LiveBar, StreamStatus


class Sink(Protocol):
    """What a source pushes into. No method blocks; one thread calls at a time."""

    def bar(self, bar: LiveBar) -> None:
        """Take the next bar: closed ones ascend strictly by stamp, running ones lie after them."""

    def revised(self, bar: LiveBar) -> None:
        """Take a closed bar that was given before and is now corrected."""

    def status(self, status: StreamStatus) -> None:
        """Take how the source stands; it applies to the bars that follow."""

    def end(self, error: DataError | None = None) -> None:
        """Say that nothing follows: all was given, or ``error`` made an end of it."""


class Source(Protocol):
    """Something that pushes bars in order, each closed bar once.

    A source is started at most once at a time; after :meth:`stop` it may be started again, with
    all its state fresh.
    """

    def start(self, sink: Sink) -> None:
        """Begin to push into ``sink`` from threads of its own; return at once.

        Raises:
            DataError: it can never work as it is set up; nothing was started.
        """

    def stop(self) -> None:
        """Stop within half a second; nothing is pushed after it returns. May be called twice."""
