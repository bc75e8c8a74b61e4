"""The common interface of all sources of a feed's bars: sockets, polling, replays and files."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ...core.clock import Clock, SystemClock
from ...core.interface import call_foreign
from ...core.model.market.stream import LiveBar, StreamStatus
from ...core.observability.logs import following
from ...errors import DataError, ForeignError, UnavailableError


class Sink(Protocol):
    """The receiving end of a source. No method blocks; only one thread calls it at a time."""

    def bar(self, bar: LiveBar) -> None:
        """Accept the next bar. Closed bars arrive in strictly ascending order, before a forming bar."""

    def revised(self, bar: LiveBar) -> None:
        """Accept the corrected version of a closed bar that has already been delivered."""

    def status(self, status: StreamStatus) -> None:
        """Accept a new state of the source; it applies to the bars that follow."""

    def end(self, error: DataError | None = None) -> None:
        """Accept the end of the source: all items were delivered, or ``error`` ended the source."""


class Source(Protocol):
    """An object that pushes bars in order, each closed bar once.

    A source is started at most once at a time. After :meth:`stop`, it may be started again, with
    completely new state.
    """

    def start(self, sink: Sink) -> None:
        """Start pushing bars into ``sink`` from the source's own threads; return immediately.

        Raises:
            DataError: The source can never work with this configuration; nothing was started.
        """

    def stop(self) -> None:
        """Stop within half a second; nothing is pushed after this method returns. May be called twice."""


# --- sources with one thread ------------------------------------------------------------------

log = logging.getLogger("onetape.feed")

# Seconds within which a stop is noticed, and for which it waits for the thread to end.
_SLICE_S = 0.2
_JOIN_S = 0.4


class Halt:
    """A wait that another thread can cut short. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = threading.Event()

    def set(self) -> None:
        """End the current wait; all later waits return immediately."""
        self._is_set.set()

    @property
    def is_set(self) -> bool:
        """Whether :meth:`set` has been called."""
        return self._is_set.is_set()

    def until(self, due: float) -> bool:
        """Wait until ``due``, in seconds of the monotonic clock; return whether to continue."""
        while not self.is_set and (left := due - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, _SLICE_S))
        return not self.is_set

    def wait(self, seconds: float) -> bool:
        """Wait for ``seconds``; return whether to continue."""
        return self.until(self._clock.monotonic() + seconds)


class ThreadedSource(ABC):
    """A source that pushes from its own thread.

    If the thread is stopped while it is waiting for a vendor, it ends on its own once the vendor
    answers, and discards the answer.

    Args:
        name: Name of the series, for the thread and for messages.
        clock: Clock used for waiting.
        call: Returns a context manager that makes a run count as a call, i.e. the run is named in
            logs and its final error is reported.
    """

    def __init__(
        self,
        name: str,
        clock: Clock | None = None,
        call: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.name = name
        self._call = call
        self.clock = clock or SystemClock()
        self._halt = Halt(self.clock)
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Start pushing; see :class:`~.sources.base.Source`."""
        halt = self._halt = Halt(self.clock)
        self._thread = threading.Thread(
            target=following(self._run_thread),
            args=(sink, halt),
            name=f"onetape feed {self.name}",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop within half a second; see :class:`~.sources.base.Source`."""
        self._halt.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    @abstractmethod
    def run(self, sink: Sink, halt: Halt) -> None:
        """Push all bars into ``sink``, or stop when ``halt`` is set; called in the source's own thread.

        Raises:
            DataError: An error that ends the source, and with it the feed.
        """

    def _run_thread(self, sink: Sink, halt: Halt) -> None:
        try:
            with self._call():
                run_logged(f"the feed of {self.name}", lambda: self.run(sink, halt))
        except DataError as error:
            sink.end(error)
        except BaseException:
            sink.end(UnavailableError(f"the feed of {self.name} was interrupted"))
            raise
        else:
            sink.end()


def run_logged(name: str, run: Callable[[], None]) -> None:
    """Call ``run``, the work of a feed's thread; an error that ends it is logged under ``name``.

    Raises:
        DataError: The error that ended the work; any other exception becomes the cause of a
            ``DataError``.
    """
    try:
        # At the top of a thread, no caller would see an error, whether the library's or not.
        call_foreign(run, name)
    except DataError as error:
        if error.provider == name:  # a feed is not a vendor
            error.provider = None
        is_fault = isinstance(error, ForeignError)
        log.error("%s ends: %s", name, error, exc_info=error if is_fault else None)
        raise
