"""Connections shared by all feeds of a data manager, one per vendor and account, open while in use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...core.model.market.stream import Topic
from ...core.runtime.forks import renew_after_fork
from ..sources.bar_versions import StreamJudge
from ..sources.base import Sink
from .connection import Connection

Open = Callable[[], Connection]


class Hub:
    """The pool of open connections; each is closed when its last listener leaves. Thread-safe.

    A forked child does not inherit any of its parent's connections.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Connection]] = {}
        # Guards the table against feeds that start and stop at the same time.
        self._lock = threading.Lock()
        renew_after_fork(self)

    def join(self, account: str, topic: Topic, judge: StreamJudge, make: Open) -> Connection:
        """Add the listener of ``judge`` to a connection of ``account`` that has room for ``topic``.

        Args:
            account: Key that identifies the vendor, address and account; feeds with the same key
                share connections.
            topic: Topic to listen to.
            judge: Judge of the topic's messages.
            make: Function that creates a connection if none has room.
        """
        with self._lock:
            self._open[account] = connections = [
                connection for connection in self._open.get(account, []) if not connection.is_over
            ]
            connection = next(
                (connection for connection in connections if _has_room(connection, topic)), None
            )
            if connection is None:
                connection = make()
                connections.append(connection)
            connection.add(topic, judge)
            return connection

    def leave(self, connection: Connection, topic: Topic, judge: StreamJudge) -> None:
        """Remove a listener; a connection without listeners is closed within half a second."""
        with self._lock:
            is_idle = connection.remove(topic, judge)
            for account, connections in list(self._open.items()):
                if is_idle and connection in connections:
                    connections.remove(connection)
                    if not connections:
                        del self._open[account]
        if is_idle:
            connection.close()

    @property
    def connections(self) -> int:
        """The number of connections that are open or being opened."""
        with self._lock:
            return sum(len(connections) for connections in self._open.values())

    def after_fork(self) -> None:
        """Start with a new lock and no connections in a forked child."""
        self._lock = threading.Lock()
        self._open = {}


def _has_room(connection: Connection, topic: Topic) -> bool:
    topics = connection.topics
    return topic in topics or len(topics) < connection.protocol.traits.topics


class Subscription:
    """One topic of a shared connection, as a stream of bars that may have gaps.

    Args:
        hub: Pool of the shared connections.
        account, topic: See :meth:`Hub.join`.
        make: Function that creates a connection.
        listen: Function that creates the listener for a sink, and its judge.
    """

    def __init__(
        self,
        hub: Hub,
        account: str,
        topic: Topic,
        make: Open,
        listen: Callable[[Sink], StreamJudge],
    ) -> None:
        self._hub = hub
        self._account = account
        self._topic = topic
        self._make = make
        self._listen = listen
        self._joined: tuple[Connection, StreamJudge] | None = None

    def start(self, sink: Sink) -> None:
        """See :class:`~.sources.base.Source`."""
        judge = self._listen(sink)
        connection = self._hub.join(self._account, self._topic, judge, self._make)
        self._joined = (connection, judge)

    def stop(self) -> None:
        """See :class:`~.sources.base.Source`."""
        joined, self._joined = self._joined, None
        if joined is not None:
            self._hub.leave(joined[0], self._topic, joined[1])

    def doubt(self, reason: str, silent_s: float) -> None:
        """See :class:`~.sources.stream.Stream`."""
        joined = self._joined
        if joined is not None:
            joined[0].doubt(self._topic, reason, silent_s)
