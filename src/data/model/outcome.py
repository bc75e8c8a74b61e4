"""The outcome of sending a message once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt to deliver a message.

    Attributes:
        status: ``sent``: accepted; ``refused``: will never be accepted in this form; ``unknown``:
            the answer was lost, so the message may have been accepted; ``later``: certainly not
            accepted this time, but worth another attempt.
        reason: Explanation of the status, without secrets.
        wait_s: Seconds that the receiving service requires before the next attempt.
        is_blocked: Whether the recipient no longer accepts any messages from the sender, so that
            the recipient's alerts are paused.
    """

    status: Literal["sent", "refused", "unknown", "later"]
    reason: str = ""
    wait_s: float = 0.0
    is_blocked: bool = False
