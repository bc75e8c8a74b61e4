"""Where a feed's bars come from: sockets, polls, replays and files all look the same."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ...clock import Clock, SystemClock
from ...errors import DataError, ForeignError, UnavailableError
from ...model.stream import LiveBar, StreamStatus
from ...observability.logs import following
from ...vendors.foreign import call_foreign


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


# --- sources with one thread ------------------------------------------------------------------

log = logging.getLogger("onetape.feed")

# How soon a stop is noticed, in seconds; and how long it waits for the thread to end.
_SLICE_S = 0.2
_JOIN_S = 0.4


class Halt:
    """A waiting that can be cut short. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = threading.Event()

    def set(self) -> None:
        """Cut short this wait and all later ones."""
        self._is_set.set()

    @property
    def is_set(self) -> bool:
        """Whether it is over."""
        return self._is_set.is_set()

    def until(self, due: float) -> bool:
        """Wait until ``due`` seconds of the steady clock; return whether to go on."""
        while not self.is_set and (left := due - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, _SLICE_S))
        return not self.is_set

    def wait(self, seconds: float) -> bool:
        """Wait so many seconds; return whether to go on."""
        return self.until(self._clock.monotonic() + seconds)


class ThreadedSource(ABC):
    """A source that pushes from one thread of its own.

    A thread that is kept by a vendor when it is stopped ends by itself when the vendor answers;
    what it has then goes nowhere.

    Args:
        name: of the series, for the thread and for messages.
        clock: waits.
        call: lets a run be a call: named in logs, the error that ends it reported.
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
        """Begin to push; see :class:`~.sources.base.Source`."""
        halt = self._halt = Halt(self.clock)
        self._thread = threading.Thread(
            target=following(self._top),
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
        """Push until there is nothing more or ``halt`` says so, in the thread.

        Raises:
            DataError: what makes an end of it; the feed ends with it.
        """

    def _top(self, sink: Sink, halt: Halt) -> None:
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
    """Do the work of a feed's thread; what makes an end of it is logged under ``name``.

    Raises:
        DataError: this made an end of it; an error of another class is its cause.
    """
    try:
        # The top of a thread: no caller would see an error, be it the library's or not.
        call_foreign(run, name)
    except DataError as error:
        if error.provider == name:  # a feed is no vendor
            error.provider = None
        is_fault = isinstance(error, ForeignError)
        log.error("%s ends: %s", name, error, exc_info=error if is_fault else None)
        raise
