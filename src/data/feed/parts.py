"""What a continued source is made of, and how patient it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from ..calendars.gaps import Grid
from ..clock import Clock
from ..model.stream import LiveBar
from ..model.timeframe import Timeframe
from ..net.retry import RetryPolicy
from .history import History
from .source import Source


class Stream(Source, Protocol):
    """A source that may lose, double and reorder bars, and says when it is connected.

    Its statuses are ``CONNECTING`` (nothing comes) and ``BACKFILLING`` (from now on all comes);
    while it is connected, ``DELAYED`` (only history can tell bars that closed by its instant) and
    ``LIVE`` (it speaks, though no bar comes of it).
    """

    def doubt(self, reason: str, silent_s: float) -> None:
        """Be told that nothing came for so long, although there was something."""


@dataclass(frozen=True)
class Patience:
    """Times of a continued source in seconds; tests make them short.

    Attributes:
        tick: how often the clock is looked at.
        grace: how long after its close a bar may be on its way by the stream.
        quiet: a stream silent for so long in an open market, and for three bars, is not believed.
        retry: waits between questions for the same hole.
        delayed_after: questions for the same hole after which the feed counts as delayed.
        dense: whether the stream sends a bar where nobody traded; else silence is looked into.
        sent: length of the bars that the stream sends, where those given are built of them.
    """

    tick: float = 0.25
    grace: float = 5.0
    quiet: float = 60.0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(first_s=1.0, cap_s=60.0))
    delayed_after: int = 3
    dense: bool = True
    sent: Timeframe | None = None


@dataclass(frozen=True)
class Start:
    """Where a feed begins.

    Attributes:
        lookback: closed bars of history that are given first.
        after_ms: in place of that: stamp of the last bar that is known already.
    """

    lookback: int = 1000
    after_ms: int | None = None


@dataclass(frozen=True)
class Parts:
    """What a continued source is made of; see :class:`~.continued.Continued`."""

    stream: Stream
    history: History
    grid: Grid
    clock: Clock
    start: Start
    keep: Callable[[Sequence[LiveBar]], object] | None
    patience: Patience
    call: Callable[[], AbstractContextManager[None]] = nullcontext
