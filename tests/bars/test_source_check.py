"""Tests how often files are read to find out whether they have changed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from src.data.bars.selection.source_check import SourceCheck, is_same
from src.data.model.source import SourceState
from src.data.model.timeframe import Timeframe

from .answers import COIN

DAYS = Timeframe.parse("1d")


class File:
    """A file that is touched but never changed; ``reads`` counts how often its content is read."""

    def __init__(self, name: str) -> None:
        self.stored = SourceState(name, "at 0", 10, 0, 10_000, "digest")
        self.state = replace(self.stored, content="")
        self.reads = 0

    @property
    def content(self) -> str:
        self.reads += 1
        return "digest"

    def read_state(self) -> SourceState:
        return replace(self.state, content=self.content)


def test_a_touched_file_is_read_once_beside_other_touched_files() -> None:
    check, files = SourceCheck(SimpleNamespace()), [File("a"), File("b")]  # type: ignore[arg-type]

    def reads() -> list[int]:
        """Return the reads so far, after four more looks at each file in turn."""
        for file in files * 4:
            downloader: Any = SimpleNamespace(source_files=lambda *_, file=file: file)
            assert is_same(file.stored, check.now(downloader, COIN, DAYS, file.stored))
        return [file.reads for file in files]

    assert reads() == [0, 0], "the times are those of the stored state"
    for number in (1, 2):
        for file in files:
            file.state = replace(file.state, stamps=f"at {number}")
        assert reads() == [number, number]
