"""Runs work that cannot be interrupted in threads that can be abandoned.

Looking up a host's name, vendors' packages and users' downloaders may take as long as they like,
and nothing ends them. Each such call runs in a daemon thread; the caller goes on when
its time is over. The thread holds nothing that others wait for, and keeps no process from ending.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from ..errors import CircuitOpenError, DataError, ProviderTimeoutError
from ..forks import renew_after_fork
from ..model.texts import duration
from .deadline import Deadline

T = TypeVar("T")

# So many calls to one vendor may be left behind and not have ended; then it is not called.
MOST_LEFT = 4
# There Ctrl-C does not end a wait: it is looked for between short ones.
_LONGEST_WAIT_S = 0.25 if sys.platform == "win32" else threading.TIMEOUT_MAX


class LeftBehind:
    """How many calls were left behind and go on, by vendor. Thread-safe and fork-aware."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with a lock of our own and no threads: a child has none of its parent's."""
        self.lock = threading.Lock()
        self.counts = Counter()


# Of this process.
left_behind = LeftBehind()


class BackgroundCall(Generic[T]):
    """One call in a daemon thread, in the context of the caller. It begins at once.

    Args:
        vendor: the one that is called.
        function: what is called.
        name: of the thread.

    Raises:
        CircuitOpenError: four calls to this vendor were left behind and have not ended.
    """

    def __init__(self, vendor: str, function: Callable[[], T], name: str = "onetape") -> None:
        self._left_behind = left_behind
        with self._left_behind.lock:
            count = self._left_behind.counts[vendor]
        if count >= MOST_LEFT:
            raise CircuitOpenError(
                f"{vendor} was not called: {count} calls to it have not ended, and cannot be "
                "interrupted",
                provider=vendor,
            )
        self._vendor = vendor
        self._function = function
        self._ended = threading.Event()
        self._is_left = False
        self._result: T | None = None
        self._error: BaseException | None = None
        threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        ).start()

    def result(self, seconds: float, late: DataError | None = None) -> T:
        """Return what the call returns, raise what it raises; leave it behind after ``seconds``.

        Raises:
            ProviderTimeoutError: it took longer; or ``late``.
        """
        try:
            if self._has_ended(seconds):
                return self._outcome()
        finally:
            self._leave()
        raise late or ProviderTimeoutError(
            f"{self._vendor} did not answer within {duration(seconds)}", provider=self._vendor
        )

    def result_within(self, deadline: Deadline) -> T:
        """Return what the call returns, raise what it raises; leave it behind when its time is over.

        Pages that it takes prolong that time. Left behind, also by Ctrl-C, it can send nothing more.

        Raises:
            ProviderTimeoutError: the deadline came first.
        """
        late = ProviderTimeoutError(
            f"{self._vendor} did not come back in time; its code cannot be interrupted",
            provider=self._vendor,
        )
        try:
            left_s, pages = deadline.left_s(), deadline.pages
            while not self._has_ended(left_s):
                waited_s, seen = left_s, pages
                left_s, pages = deadline.left_s(), deadline.pages
                # A clock that does not move by itself would leave as much again and again.
                if left_s <= 0 or (left_s >= waited_s and pages == seen):
                    raise late
            return self._outcome()
        except KeyboardInterrupt:
            deadline.end("it was interrupted")
            raise
        finally:
            self._leave()

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
                del error  # else the traceback and this frame hold each other
        return self._result  # type: ignore[return-value]

    def _leave(self) -> None:
        """Count the call where it goes on."""
        with self._left_behind.lock:
            if not self._ended.is_set():
                self._is_left = True
                self._left_behind.counts[self._vendor] += 1

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits for it
            self._error = exc
        with self._left_behind.lock:
            self._ended.set()
            if self._is_left:
                self._left_behind.counts[self._vendor] -= 1
