"""A feed for programs, which iterate over it, await its bars, register a callback or inspect it.

::

    feed = get_data_manager().live_feed("BTCUSDT", "1m")
    for bar in feed:            # starts it; history first, then every closed bar, once, in order
        ...

Backtrader is not needed. See :mod:`.queue` for what happens to a listener that is too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

from ..core.clock import Clock, SystemClock
from ..core.interface import masked
from ..core.model.market.stream import LiveBar, Revision, StreamState, StreamStatus
from ..core.model.time.span import Span
from ..core.observability.logs import Subject, following, running
from ..core.runtime.forks import renew_after_fork
from ..errors import DataError, FeedLagError
from .board import Board, FeedSnapshot, Run
from .queue import CAPACITY, Item, Mailbox
from .sources.base import Source

if TYPE_CHECKING:
    from .sources.history import History

__all__ = ["FeedSnapshot", "LiveFeed"]

log = logging.getLogger("onetape.feed")

OnBar = Callable[[LiveBar], object]
OnStatus = Callable[[StreamStatus], object]


class _Wants(TypedDict, total=False):
    forming: bool
    revisions: bool
    consumes: bool


class LiveFeed:
    """A feed of one series: its history, then bars as they close, without a gap. Thread-safe.

    Every consumer of bars (an iteration, a queue from :meth:`subscribe`, a callback of
    :meth:`on_bar`) gets every closed bar once and in order; the feed does not wait for slow
    consumers. The first consumer of a run gets all bars since the start of the run, no matter how
    late it joins: up to ``capacity`` items are kept for this consumer, and earlier bars are read
    again from ``history``. Any other consumer begins with the next bar. Forming bars are passed
    only to listeners that request them (``forming=True``). A feed ends by itself once it has no
    references and no listeners; in a forked child process, it is stopped.

    Args:
        symbol, timeframe: Symbol and timeframe of the bars.
        source: Source of the bars; see :class:`~.sources.base.Source`.
        keep: Number of closed bars kept for :meth:`snapshot`.
        capacity: Number of items that may wait for one listener.
        clock: Clock for the times of the feed's own statuses.
        history: Source of bars that are no longer in memory. If None, a first consumer that joins
            too late gets a :class:`~.errors.FeedLagError`.
    """

    def __init__(
        self,
        symbol: str,
        timeframe: str,
        source: Source,
        *,
        keep: int = 1000,
        capacity: int = CAPACITY,
        clock: Clock | None = None,
        history: History | None = None,
    ) -> None:
        self._history = history
        self.symbol = symbol
        self.timeframe = timeframe
        self.source = source
        self._capacity = capacity
        self._board = Board(clock or SystemClock(), keep, symbol)
        self._run: Run | None = None
        self._subject = Subject(symbol, timeframe)
        self._dropped: weakref.finalize[..., LiveFeed] | None = None
        # Maps callers to their options; with every run, each caller gets a new mailbox and a new
        # thread.
        self._callers: dict[Caller, _Wants] = {}
        # Lets only one thread at a time start, stop or register; no listener's code runs while this
        # lock is held.
        self._turning = threading.RLock()
        renew_after_fork(self)

    # --- running ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the feed unless it is running; a feed that has ended or was stopped starts again.

        Raises:
            DataError: The source cannot work with this configuration.
        """
        with self._turning:
            if not self.is_running:
                self.stop()
                # All threads of a run log under one name.
                self._subject = Subject(self.symbol, self.timeframe)
                with running(self._subject):
                    self._start_run()

    def _start_run(self) -> None:
        run = self._run = Run(self._board)
        self._board.clear(self._capacity)
        for caller, wants in self._callers.items():
            self._listen(caller, wants)
        self._board.tell(StreamState.CONNECTING, "starting")
        try:
            self.source.start(run)
        except BaseException:
            run.retire("it could not be started")
            raise
        self._dropped = weakref.finalize(self, _end_unheard, str(self), self.source, run)
        self._dropped.atexit = False

    def stop(self) -> None:
        """Stop the feed within half a second; listeners still receive the items that are waiting.

        The method may be called repeatedly.
        """
        with self._turning:
            run, self._run = self._run, None
            if self._dropped is not None:
                self._dropped.detach()
            if run is not None:
                run.retire("stopped")
                self.source.stop()

    def after_fork(self) -> None:
        """Mark the feed as stopped, but restartable, in a forked child, where its threads do not run."""
        self._turning, self._run = threading.RLock(), None
        if self._dropped is not None:
            self._dropped.detach()
        self._board.after_fork()

    @property
    def is_running(self) -> bool:
        """Whether the feed was started and has not ended or been stopped."""
        run = self._run
        return run is not None and not run.is_over

    @property
    def status(self) -> StreamStatus:
        """The feed's state, with the reason."""
        return self._board.current

    def snapshot(self) -> FeedSnapshot:
        """Return the last closed bars, the forming bar and the status, all as of one moment."""
        return self._board.snapshot(self.symbol, self.timeframe)

    # --- listening -------------------------------------------------------------------------

    def subscribe(
        self,
        *,
        forming: bool = False,
        revisions: bool = False,
        capacity: int | None = None,
        wake: Callable[[], object] | None = None,
    ) -> Mailbox:
        """Return a queue of bars and statuses, in order.

        The first queue of a run begins with the first bar of the run, any other queue with the next
        bar. A queue is closed when the run ends, or by :meth:`unsubscribe`. This method does not
        start the feed.

        Args:
            forming, revisions: Whether to include forming bars, and corrections of bars that have
                already been delivered.
            capacity: Number of items that may wait in the queue; by default, the capacity of the
                feed.
            wake: Function called after an item was added, which must not block or raise.
        """
        room = capacity or self._capacity
        box = Mailbox(
            f"a listener of {self}", room, forming=forming, revisions=revisions, wake=wake
        )
        self._add_consumer(box)
        return box

    def _add_consumer(self, box: Mailbox) -> None:
        """Pass the run's items to the queue ``box``; the first consumer gets them from the first bar on."""
        older: list[LiveBar] = []
        lost_span: Span | None = None
        while not self._board.add_consumer(box, older, lost_span):
            older, lost_span = [], self._board.lost()
            if lost_span is None:  # another run has begun
                continue
            try:
                older = self._lost_bars(lost_span)
            except DataError as error:
                box.close(error)
                return

    def _lost_bars(self, lost_span: Span) -> list[LiveBar]:
        """Return bars from this run that are no longer in memory.

        Raises:
            FeedLagError: The bars are not available.
            DataError: The request for the bars failed.
        """
        filled = self._history.between(lost_span) if self._history else None
        if filled is None or filled.why:
            reason = f" ({filled.why})" if filled else ""
            raise FeedLagError(
                (
                    f"{self} filled its buffer of {self._capacity:,} items before anything consumed "
                    f"them, and the oldest items cannot be fetched again{reason}"
                ),
                hint="iterate over it or subscribe before starting it",
            )
        return filled.bars

    def unsubscribe(self, box: Mailbox) -> None:
        """Close a queue obtained from :meth:`subscribe`."""
        self._board.remove(box)

    def on_bar(self, callback: OnBar, *, forming: bool = False) -> None:
        """Call ``callback`` with every closed bar, in a separate thread.

        Errors that the callback raises are logged, and the next bar is still delivered. This method
        does not start the feed.
        """
        self._register(LiveBar, callback, {"forming": forming})

    def on_status(self, callback: OnStatus) -> None:
        """Call ``callback`` with every status; see :meth:`on_bar`."""
        self._register(StreamStatus, callback, {"consumes": False})

    def on_revision(self, callback: OnBar) -> None:
        """Call ``callback`` with corrections of delivered bars; see :meth:`on_bar`."""
        wants: _Wants = {"revisions": True, "consumes": False}
        self._register(Revision, lambda revision: callback(revision.bar), wants)

    def __iter__(self) -> Iterator[LiveBar]:
        """Start the feed if necessary, and yield closed bars until it ends.

        Raises:
            FeedLagError: This loop fell too far behind.
            DataError: The error that ended the feed.
        """
        box = self.subscribe()
        try:
            self.start()
            while not box.is_over:
                item = box.get(timeout=None)
                if isinstance(item, LiveBar):
                    yield item
        finally:
            self.unsubscribe(box)

    async def __aiter__(self) -> AsyncIterator[LiveBar]:
        """Start the feed if necessary, and yield closed bars without blocking the event loop.

        For errors, see :meth:`__iter__`.
        """
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        box = await asyncio.to_thread(self.subscribe, wake=lambda: _wake(loop, woken))
        try:
            await asyncio.to_thread(self.start)
            while not box.is_over:
                woken.clear()
                while (item := box.get()) is not None:
                    if isinstance(item, LiveBar):
                        yield item
                if not box.is_over:
                    await woken.wait()
        finally:
            self.unsubscribe(box)

    def __enter__(self) -> LiveFeed:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe}"

    def __repr__(self) -> str:
        state, reason, _ = self.status
        return f"<LiveFeed {self}: {state}{f', {reason}' if reason else ''}>"

    def _register(self, kind: type, callback: Callable[[Any], object], wants: _Wants) -> None:
        """Call ``callback`` with every item of a kind, in this run and in later ones."""

        def _take(item: Item) -> None:
            if isinstance(item, kind):
                callback(item)

        caller = Caller(_take, str(self))
        with self._turning:
            self._callers[caller] = wants
            if self.is_running:
                self._listen(caller, wants)

    def _listen(self, caller: Caller, wants: _Wants) -> None:
        """Connect ``caller`` to a new queue; it counts as a consumer only if it needs bars."""
        box = Mailbox(
            f"a listener of {self}",
            self._capacity,
            forming=wants.get("forming", False),
            revisions=wants.get("revisions", False),
        )
        if wants.get("consumes", True):
            self._add_consumer(box)
        else:
            self._board.add(box)
        with running(self._subject):
            caller.listen(box)


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    # The event loop may be closed at any moment; this must not disturb the thread that adds the
    # item.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(woken.set)


def _end_unheard(name: str, source: Source, run: Run) -> None:
    """End a run without listeners whose feed object was deleted, because nothing else can stop it."""
    if run.is_over or run.board.has_listener:
        return
    log.warning("%s was deleted without stop(), and has been stopped now", name)

    def end() -> None:
        """Close the queues of the run, then stop the source's threads, which may take half a second."""
        run.retire("dropped")
        source.stop()

    # Feeds may be garbage-collected in any thread, whatever locks it holds, so a separate thread
    # ends them.
    threading.Thread(target=end, name=f"onetape feed {name} ends", daemon=True).start()


# --- callbacks, each in its own thread: a slow or raising one does not delay the others


_JOIN_S = 0.1
# Number of items taken from a mailbox at a time, small enough for forming bars to be fresh when
# delivered.
_MOST = 64


class Caller:
    """Calls one function with the items that arrive in a mailbox, one at a time.

    If the function raises an error, the error is logged (with a traceback only the first time) and
    counted in ``failures``; the next item is still delivered.

    Args:
        callback: Function called with every item.
        name: Name of the thread, also used in log records.
    """

    def __init__(self, callback: Callable[[Any], object], name: str) -> None:
        self.failures = 0
        self._callback = callback
        self._name = name
        self._thread: threading.Thread | None = None

    def listen(self, box: Mailbox) -> None:
        """Start processing the items in ``box``; the thread ends when the box is closed and empty."""
        self._thread = threading.Thread(
            target=following(self._run),
            args=(box,),
            name=f"onetape callback {self._name}",
            daemon=True,
        )
        self._thread.start()

    def join(self) -> None:
        """Wait briefly for a call in progress; a slow call is left to finish on its own."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def call(self, item: Any) -> None:
        """Call the function once, logging and counting errors."""
        try:
            self._callback(item)
        except (Exception, SystemExit) as error:  # the top of a thread: no caller would see it
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
            for item in self._next_items(box):
                self.call(item)

    def _next_items(self, box: Mailbox) -> list[Item]:
        try:
            return box.take(_MOST, timeout=None)
        except DataError as error:
            log.error("no more callbacks from %s: %s", self._name, error)
            return []
