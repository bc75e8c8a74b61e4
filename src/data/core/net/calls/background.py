"""Runs work that cannot be interrupted in threads that can be abandoned.

Host name lookups, vendors' packages and users' downloaders may take arbitrarily long and cannot be
ended. Each such call runs in a daemon thread, and the caller continues when its time runs out. The
thread does not hold anything that others wait for, and does not prevent the process from exiting.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from ....errors import CircuitOpenError, DataError, ProviderTimeoutError
from ...model.display.texts import duration
from ...runtime.forks import renew_after_fork
from .deadline import Deadline

T = TypeVar("T")

# Number of abandoned, unfinished calls to a vendor at which it is no longer called.
MOST_ABANDONED = 4
# On Windows, Ctrl-C does not end a wait, so it is checked between short waits.
_LONGEST_WAIT_S = 0.25 if sys.platform == "win32" else threading.TIMEOUT_MAX


class AbandonedCalls:
    """Counts, for each vendor, the abandoned calls that are still running.

    Thread-safe and fork-aware.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with a new lock and zero counts, because a forked child has no abandoned calls."""
        self.lock = threading.Lock()
        self.counts = Counter()


# The counts of this process.
abandoned_calls = AbandonedCalls()


class BackgroundCall(Generic[T]):
    """A call that runs in a daemon thread, in the caller's context. It starts immediately.

    Args:
        vendor: Vendor that is called.
        function: Function to run.
        name: Name of the thread.

    Raises:
        CircuitOpenError: Four calls to this vendor were abandoned and are still running.
    """

    def __init__(self, vendor: str, function: Callable[[], T], name: str = "onetape") -> None:
        self._abandoned_calls = abandoned_calls
        with self._abandoned_calls.lock:
            count = self._abandoned_calls.counts[vendor]
        if count >= MOST_ABANDONED:
            raise CircuitOpenError(
                f"{vendor} was not called: {count} earlier calls to it are still running and "
                "cannot be interrupted",
                provider=vendor,
            )
        self._vendor = vendor
        self._function = function
        self._ended = threading.Event()
        self._is_abandoned = False
        self._result: T | None = None
        self._error: BaseException | None = None
        threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        ).start()

    def result(self, seconds: float, late: DataError | None = None) -> T:
        """Return the call's result or raise its error; abandon the call after ``seconds``.

        Raises:
            ProviderTimeoutError: The call took longer. If ``late`` is given, that error is raised
                instead.
        """
        try:
            if self._has_ended(seconds):
                return self._outcome()
        finally:
            self._stop_waiting()
        raise late or ProviderTimeoutError(
            f"{self._vendor} did not answer within {duration(seconds)}", provider=self._vendor
        )

    def result_within(self, deadline: Deadline) -> T:
        """Return the call's result or raise its error; abandon the call when its time runs out.

        Each page that the call receives extends its time. Once the call has been abandoned, even by
        Ctrl-C, it cannot send any more requests.

        Raises:
            ProviderTimeoutError: The deadline passed first.
        """
        late = ProviderTimeoutError(
            f"{self._vendor} did not return in time; its code cannot be interrupted",
            provider=self._vendor,
        )
        try:
            left_s, pages = deadline.left_s(), deadline.pages
            while not self._has_ended(left_s):
                waited_s, last_pages = left_s, pages
                left_s, pages = deadline.left_s(), deadline.pages
                # With a clock that does not advance by itself, the time left would never shrink.
                if left_s <= 0 or (left_s >= waited_s and pages == last_pages):
                    raise late
            return self._outcome()
        except KeyboardInterrupt:
            deadline.end("it was interrupted")
            raise
        finally:
            self._stop_waiting()

    def _has_ended(self, seconds: float) -> bool:
        while seconds > _LONGEST_WAIT_S:
            if self._ended.wait(_LONGEST_WAIT_S):
                return True
            seconds -= _LONGEST_WAIT_S
        return self._ended.wait(seconds)

    def _outcome(self) -> T:
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # otherwise the traceback and this frame refer to each other
        return self._result  # type: ignore[return-value]

    def _stop_waiting(self) -> None:
        """Count the call as abandoned if it is still running when its caller stops waiting."""
        with self._abandoned_calls.lock:
            if not self._ended.is_set():
                self._is_abandoned = True
                self._abandoned_calls.counts[self._vendor] += 1

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits for it
            self._error = exc
        with self._abandoned_calls.lock:
            self._ended.set()
            if self._is_abandoned:
                self._abandoned_calls.counts[self._vendor] -= 1
