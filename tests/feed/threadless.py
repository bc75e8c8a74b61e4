"""A stream connection without a thread: the test supplies the frames and the time."""

from __future__ import annotations

from typing import Any

from src.data.feed.streams.connection import Connection
from src.data.feed.streams.listeners import Listener
from src.data.model.stream import Topic


class Threadless(Connection):
    """A connection that has one listener from the beginning, and never runs by itself."""

    def __init__(self, topic: Topic, listener: Listener, *connection: Any, **options: Any) -> None:
        super().__init__(*connection, **options)
        self.only = {topic: (listener,)}

    @property
    def topics(self) -> set[Topic]:
        return set(self.only)

    def listeners(self, topic: Topic) -> tuple[Listener, ...]:
        return self.only.get(topic, ())

    def all_listeners(self) -> list[Listener]:
        return [one for some in self.only.values() for one in some]
