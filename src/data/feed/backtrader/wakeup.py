"""One place to wait for all feeds of a program: whichever has something wakes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

# How soon a stop that nobody tells of is noticed, in seconds.
_SLICE_S = 0.1


class WakeHub:
    """Waiting that any of several feeds can end. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0

    def notify(self) -> None:
        """Wake who waits; called from any thread, never blocks for long."""
        # Who is about to wait says so first and looks for work then: nobody is missed.
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    def wait(self, seconds: float, is_due: Callable[[], bool]) -> float:
        """Wait until ``is_due`` or for ``seconds``; return how many of them were waited away.

        ``is_due`` is asked at every wake-up, and ten times a second for what nobody tells of.
        """
        waited = 0.0
        with self._changed:
            self._waiting += 1
            while waited < seconds and not is_due():
                part = min(_SLICE_S, seconds - waited)
                # A wake-up for nothing counts as a whole part: nobody waits too long for it.
                self._changed.wait(part)
                waited += part
            self._waiting -= 1
        return waited


# Guards the table against two programs that begin at once.
_lock = threading.Lock()
_hubs: WeakKeyDictionary[object, WakeHub] = WeakKeyDictionary()


def hub_of(program: object) -> WakeHub:
    """Return the one hub of ``program``; it goes when the program does."""
    with _lock:
        return _hubs.setdefault(program, WakeHub())
