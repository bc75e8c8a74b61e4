"""Decides which updates are answered: private chats, a few a minute, one at a time per sender."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from telegram import Update

PER_MINUTE, SLOTS, MOST_WAITING, MOST_SENDERS = 30, 8, 5, 10_000
TOO_MANY = f"The limit is {PER_MINUTE} messages per minute; further messages are ignored."


class Sender:
    """The state kept about a sender, only in memory."""

    def __init__(self, now_s: float) -> None:
        self.left, self.counted_s, self.is_told = float(PER_MINUTE), now_s, False
        self.turn, self.waiting = asyncio.Lock(), 0


class Senders:
    """Decides which updates are answered. Used by one event loop.

    Args:
        in_groups: Whether groups are answered as well.
        now_s: Returns the seconds of a clock that never goes back.
    """

    def __init__(
        self, in_groups: bool = False, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.in_groups, self.now_s = in_groups, now_s
        self.slots = asyncio.Semaphore(SLOTS)
        self.known: OrderedDict[str, Sender] = OrderedDict()

    def hears(self, key: str) -> Literal["yes", "tell", "no"]:
        """Count an update and return whether to answer it.

        ``tell`` means to answer only that the limit is reached; it is returned for the first update
        over the limit, and ``no`` for those after it.
        """
        now_s = self.now_s()
        one = self.known.setdefault(key, Sender(now_s))
        self.known.move_to_end(key)
        while len(self.known) > MOST_SENDERS:
            self.known.popitem(last=False)
        one.left = min(PER_MINUTE, one.left + (now_s - one.counted_s) * PER_MINUTE / 60)
        one.counted_s = now_s
        if one.left >= 1:
            one.left, one.is_told = one.left - 1, False
            return "yes"
        was_told, one.is_told = one.is_told, True
        return "no" if was_told else "tell"

    def refusal(self, update: Update) -> str:
        """Return the reason for not answering an update; empty if it is answered."""
        chat, user, message = update.effective_chat, update.effective_user, update.message
        if chat is None:
            return "That button is too old; please send the command again."
        if user is None or user.is_bot or (message and message.sender_chat):
            return (
                "I do not reply to anonymous administrators or channels; please write as yourself."
            )
        if chat.type != "private" and not self.in_groups:
            return "I only reply in private chats."
        return ""

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[bool]:
        """Wait until the sender's earlier updates are done; False if too many are already waiting.

        Waiting updates do not count towards the number of commands that are carried out in
        parallel.
        """
        one = self.known.get(key) or Sender(self.now_s())
        if one.waiting >= MOST_WAITING:
            yield False
            return
        one.waiting += 1
        try:
            async with one.turn:
                yield True
        finally:
            one.waiting -= 1
