"""Callbacks, each in a thread of its own: a slow or raising one holds up nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..downloader.foreign import masked
from ..errors import DataError
from ..logs import following
from .mailbox import Item, Mailbox

log = logging.getLogger("onetape.feed")

_JOIN_S = 0.1
# Taken out of a mailbox at once: few enough that running bars are not old when they are given.
_MOST = 64


class Caller:
    """Calls one function with what comes into a mailbox, one item at a time.

    What the function raises is logged with its traceback at the first time, without it later, and
    counted in ``failures``; the next item is given all the same.

    Args:
        callback: called with every item.
        name: for records and the thread's name.
    """

    def __init__(self, callback: Callable[[Any], object], name: str) -> None:
        self.failures = 0
        self._callback = callback
        self._name = name
        self._thread: threading.Thread | None = None

    def listen(self, box: Mailbox) -> None:
        """Begin with what comes into ``box``; ends when it is closed and empty."""
        self._thread = threading.Thread(
            target=following(self._run),
            args=(box,),
            name=f"onetape callback {self._name}",
            daemon=True,
        )
        self._thread.start()

    def join(self) -> None:
        """Wait a moment for a call on its way; a slow one is left to end by itself."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def call(self, item: Any) -> None:
        """Call once; what is raised is logged and counted."""
        try:
            self._callback(item)
        except (Exception, SystemExit) as error:  # the top of a thread: nobody else can hear it
            self.failures += 1
            log.error(
                "a callback of %s raised %s: %s",
                self._name,
                type(error).__name__,
                masked(str(error)),
                exc_info=self.failures == 1,
            )

    def _run(self, box: Mailbox) -> None:
        while not box.is_over:
            for item in self._next(box):
                self.call(item)

    def _next(self, box: Mailbox) -> list[Item]:
        try:
            return box.take(_MOST, timeout=None)
        except DataError as error:
            log.error("callbacks of %s end: %s", self._name, error)
            return []
