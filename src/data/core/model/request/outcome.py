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
            accepted this time, but another attempt may succeed.
        reason: Explanation of the status, without secrets.
        wait_s: Number of seconds to wait before the next attempt, as required by the receiving
            service.
    """

    status: Literal["sent", "refused", "unknown", "later"]
    reason: str = ""
    wait_s: float = 0.0
