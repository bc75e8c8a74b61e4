"""A stream connection without a thread: the test supplies the frames and the time."""

from __future__ import annotations

from typing import Any

from src.data.core.model.market.stream import Topic
from src.data.feed.sources.bar_versions import StreamJudge
from src.data.feed.streams.connection import Connection


class Threadless(Connection):
    """A connection that has one subscription from the beginning, and never runs by itself."""

    def __init__(self, topic: Topic, judge: StreamJudge, *connection: Any, **options: Any) -> None:
        super().__init__(*connection, **options)
        self.only = {topic: (judge,)}

    @property
    def topics(self) -> set[Topic]:
        return set(self.only)

    def judges(self, topic: Topic) -> tuple[StreamJudge, ...]:
        return self.only.get(topic, ())

    def all_judges(self) -> list[StreamJudge]:
        return [one for some in self.only.values() for one in some]
