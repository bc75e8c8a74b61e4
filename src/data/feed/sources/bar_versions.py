"""Decides which streamed items can be used, and which version of a bar is the latest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ...core.clock import Clock
from ...core.interface import StreamProtocol
from ...core.model.display.texts import duration
from ...core.model.market.stream import BarRevised, BarSeen, LiveBar, Topic, Trade, TradeSeen
from ...core.model.time.instant import MINUTE_MS, SECOND_MS
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import (
    AHEAD,
    AHEAD_MS,
    BEFORE_1970,
    EARLY,
    LATE,
    LATE_MS,
    VENDOR_CLOCKS_MS,
    fault_of,
    is_bar,
    is_trade,
    latest_live,
)
from ..streams.listeners import Listener
from .steady import SteadyNow

log = logging.getLogger("onetape.feed")

# Function called with the topic and timestamp (UTC milliseconds) of an item that is not accepted as
# received, and with the reason.
Report = Callable[[Topic, int, str], object]

# Number of closed bars remembered, for their corrections.
_REMEMBERED = 16
# Number of rejections remembered, so that each one is reported only once.
_SEEN = 16
# The longest duration given in a message.
_LONGEST_MS = 1 << 50
# Outcomes of an item that is not accepted as received.
_DROPPED, _AS_RUNNING = "it is dropped", "it counts as the forming bar"
_NO_PRICE = "it counts only in its own bar"
# The reason for rejecting a bar that begins within a minute.
OFF_MINUTE = "not at the beginning of a minute"
# The reason for rejecting a closed bar that arrives after its correction.
OUTDATED = "older than the version that came before"
_NO_TRADE = "not the price or size of a trade"


class StreamJudge:
    """Judges the items of one subscription, and passes on those that can be used.

    Items that cannot be bars or trades are dropped, and a closed bar among them is fetched from
    history. A bar marked as closed before its close counts as forming, an outdated forming bar or
    price is ignored, and an older version never replaces a newer one. Use from one thread only.

    The current time is the wall clock's time at the last connection, advanced by a clock that never
    jumps, so that a wall clock that is set back or stops does not cause rejections. If the wall
    clock is ahead of this time, as after the machine was suspended, the wall clock is trusted.

    Args:
        listener: Receives the usable items, and the spans to fetch from history.
        topic: Topic of the subscription.
        protocol: Protocol of the vendor's stream, for its name and traits.
        clock: Source of the current time.
        report: Function called for each item that is not accepted as received.
    """

    def __init__(
        self,
        listener: Listener,
        topic: Topic,
        protocol: StreamProtocol,
        clock: Clock,
        report: Report = lambda topic, stamp_ms, why: None,
    ) -> None:
        self.listener = listener
        self._topic, self._report = topic, report
        self._name, self._is_dense = protocol.display_name, protocol.traits.dense
        self._clock, self._now = clock, SteadyNow(clock)
        self._latest_ms = 0
        self._late_ms = self._oldest_ms()  # forming bars and trades sent before this are outdated
        # Last bar that was marked closed too early, if no more may follow.
        self._early: Span | None = None
        # The last rejections: stamp, reason, and whether the item was a closed bar or a trade.
        self._refused: deque[tuple[int, str, bool]] = deque(maxlen=_SEEN)
        # Maps the stamps of the last closed bars to the times when the vendor sent them.
        self._versions: dict[int, int] = {}

    def connected(self) -> None:
        """Handle a notice that nothing is missed from now on; reread the clocks."""
        self._now.set()
        self._latest_ms, self._late_ms = 0, self._oldest_ms()
        self.listener.connected()

    def tick(self) -> None:
        """Called regularly: fetch a bar that was called closed too early once it has closed."""
        self._late_ms = self._oldest_ms()
        if self._early is not None and self._early.end <= self._now.ms():
            span, self._early = self._early, None
            self.listener.refused(span)
        self.listener.tick()

    def spoilt(self) -> None:
        """Handle a message that cannot be read, and may have contained an item of this subscription.

        Only if the vendor omits bars without trades are bars fetched from history, because a lost
        bar would otherwise go unnoticed.
        """
        if not self._is_dense:
            now = self._now.ms()
            self.listener.refused(Span(now, now))

    def take(self, event: BarSeen | BarRevised | TradeSeen) -> bool:
        """Judge an item; return whether it proves that market data are arriving."""
        if isinstance(event, BarSeen):
            return self._take_bar(event[1], event[2])
        if isinstance(event, TradeSeen):
            return self._take_trade(event.trade)
        if self._is_sound(event.bar) and not self._is_early(event.bar.stamp_ms, 0):
            self.listener.revised(event.bar)
        return False

    def _take_bar(self, bar: LiveBar, sent_ms: int) -> bool:
        if not self._is_sound(bar):
            return False
        if bar[6] and self._is_early(bar[0], sent_ms):
            bar = bar._replace(is_closed=False)
        if sent_ms and not bar[6] and self._is_late(sent_ms):
            self._note(bar[0], LATE, False)
            return False
        if not (sent_ms and bar[6] and self._is_outdated(bar[0], sent_ms)):
            self.listener.bar(bar)
        return True

    def _take_trade(self, trade: Trade) -> bool:
        if not (is_trade(trade) and self._is_due(trade[0])):
            self._refuse(trade[0], _NO_TRADE, is_closed=True)
            return False
        if self._is_late(trade[0]):
            self._note(trade[0], LATE, False, _NO_PRICE)
            self.listener.late_trade(trade)
        else:
            self.listener.trade(trade)
        return True

    # --- items that cannot be bars or trades -------------------------------------------------

    def _is_sound(self, bar: LiveBar) -> bool:
        """Return whether an item can be a bar; if not, drop it."""
        is_due = 0 <= bar[0] <= self._latest_ms or self._is_due(bar[0])
        if is_due and is_bar(bar) and not bar[0] % MINUTE_MS:
            return True
        self._refuse(bar[0], OFF_MINUTE if is_bar(bar) else fault_of(bar), is_closed=bar.is_closed)
        return False

    def _refuse(self, stamp_ms: int, fault: str, *, is_closed: bool) -> None:
        """Drop an invalid item; the listener replaces a closed bar, or the bar of a trade, from history."""
        now, is_due = self._now.ms(), self._is_due(stamp_ms)
        if not is_due:
            fault = AHEAD if stamp_ms > 0 else BEFORE_1970
        self._note(stamp_ms, fault, is_closed)
        if not is_closed:
            return
        # If its stamp is wrong, there is no way to know which bar it was.
        start, step_ms = stamp_ms if is_due else now, 0
        if is_due and self._topic.timeframe:
            step_ms = Timeframe.parse(self._topic.timeframe).step_ms or 0
        self.listener.refused(Span(start, max(now, start + step_ms)))

    def _note(self, stamp_ms: int, why: str, is_closed: bool, outcome: str = _DROPPED) -> None:
        """Log and report an item that was not accepted in the form received.

        The same fault is reported once per bar or, for trades, once per minute.
        """
        if not self._topic.timeframe:
            stamp_ms = stamp_ms // MINUTE_MS * MINUTE_MS
        refusal = (stamp_ms, why, is_closed)
        if refusal in self._refused:
            return
        level = logging.DEBUG if self._refused else logging.WARNING
        self._refused.append(refusal)
        if why == AHEAD:
            # A number in a message may be arbitrarily large.
            ahead = duration(min(stamp_ms - self._now.ms(), _LONGEST_MS) / SECOND_MS)
            why += f", {ahead} after now by the clock of this machine"
        message = "%s streamed a value for %s that cannot be right: %s; %s"
        log.log(level, message, self._name, " ".join(self._topic).strip(), why, outcome)
        self._report(self._topic, stamp_ms, why)

    # --- times -------------------------------------------------------------------------------

    def _is_due(self, stamp_ms: int) -> bool:
        """Return whether a bar or trade with this timestamp may have begun by now."""
        if not self._has_come(stamp_ms) and self._topic.timeframe:
            timeframe = Timeframe.parse(self._topic.timeframe)
            return stamp_ms <= latest_live(timeframe, self._latest_ms - AHEAD_MS)
        return 0 <= stamp_ms <= self._latest_ms

    def _has_come(self, ms: int) -> bool:
        """Return whether a time has come by one of the clocks, which are reread only if necessary."""
        if ms > self._latest_ms:
            now_ms = max(self._now.ms(), self._clock.now_ms())
            self._latest_ms = max(self._latest_ms, now_ms + AHEAD_MS)
        return ms <= self._latest_ms

    def _oldest_ms(self) -> int:
        """Return the time before which an item was sent too long ago, by the earlier of the two clocks."""
        return min(self._now.ms(), self._clock.now_ms()) - LATE_MS

    def _is_late(self, sent_ms: int) -> bool:
        if sent_ms < self._late_ms:
            self._late_ms = self._oldest_ms()  # the wall clock may have been set back
        return sent_ms < self._late_ms

    def _is_early(self, stamp_ms: int, sent_ms: int) -> bool:
        """Return whether a bar is marked as closed although it is too early for that.

        The bar is marked too early if the local clock, or the vendor's time in the message, is
        before the end of the bar.
        """
        close_ms = self.listener.closes(stamp_ms)
        if self._now.set_by(close_ms):
            self._latest_ms = 0
        if self._has_come(close_ms) and not 0 < sent_ms < close_ms - VENDOR_CLOCKS_MS:
            self._early = None
            return False
        self._note(stamp_ms, EARLY, True, _AS_RUNNING)
        if not self._is_dense:  # nothing else may follow for it
            self._early = Span(stamp_ms, close_ms)
        return True

    def _is_outdated(self, stamp_ms: int, sent_ms: int) -> bool:
        """Return whether a newer version of a closed bar was received before this one."""
        versions = self._versions
        if sent_ms < versions.get(stamp_ms, 0):
            self._note(stamp_ms, OUTDATED, True)
            return True
        versions.pop(stamp_ms, None)
        versions[stamp_ms] = min(sent_ms, self._now.ms() + AHEAD_MS)
        if len(versions) > _REMEMBERED:
            del versions[next(iter(versions))]
        return False
