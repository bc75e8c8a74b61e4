"""How long a symbol counts as unknown to a vendor after the vendor has rejected it.

Misspelt and delisted symbols are asked for again and again, and each time the vendor says the same.
A symbol that will be listed tomorrow is unknown today, so the first word does not count for long;
it counts for longer each time it is said again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import SymbolNotFoundError
from ..model.instant import SECOND_MS, iso
from ..model.texts import time_until

_FIRST_S = 900.0
_LONGEST_S = 6 * 3600.0
# A vendor that is not asked for a symbol for so long after its word has run out starts anew.
_FORGOTTEN_S = 7 * 86_400.0


class SymbolCheck(NamedTuple):
    """The symbol that a vendor is asked for, and whether it is asked at all.

    Attributes:
        symbol: as the vendor spells it.
        address: host and path: a mirror may know what the vendor's own host does not.
        insist: ask also where the vendor said lately that it does not know the symbol.
        is_trusted: the vendor has served the symbol lately: that it does not know it now is not
            remembered.
    """

    symbol: str
    address: str
    insist: bool = False
    is_trusted: bool = False


@dataclass(frozen=True)
class Unknown:
    """What a vendor said of one symbol; times are seconds of one and the same clock.

    Attributes:
        said_s: when it said last that it does not know it.
        until_s: how long that is believed: until then it is not asked.
        times: how often in a row it has said so.
    """

    said_s: float
    until_s: float
    times: int = 1

    def holds(self, now_s: float) -> bool:
        """Tell whether the vendor is not asked for the symbol yet."""
        return now_s < self.until_s

    def error(self, vendor: str, symbol: str, now_s: float, now_ms: int) -> SymbolNotFoundError:
        """Return the error of a call that is not made; ``now_ms`` is the wall time of ``now_s``."""
        said_ms = now_ms + round((self.said_s - now_s) * SECOND_MS)
        return SymbolNotFoundError(
            f"{vendor} reported at {iso(said_ms - said_ms % SECOND_MS)} that it does not know "
            f"{symbol!r}; next request in {time_until(self.until_s - now_s, now_ms)}",
            provider=vendor,
            hint="a forced refresh retries at once",
        )


def said_again(before: Unknown | None, now_s: float) -> Unknown:
    """Return what is believed after a vendor has said at ``now_s`` that a symbol is unknown.

    Args:
        before: what it had said before, where that is remembered.
        now_s: the time of its answer.
    """
    times = 1 if before is None or before.until_s < forgotten_s(now_s) else before.times + 1
    # The exponent is bounded: the longest term is reached long before.
    term_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(times - 1, 60))
    return Unknown(now_s, now_s + term_s, times)


def forgotten_s(now_s: float) -> float:
    """Return the instant before which a word must have run out to be forgotten at ``now_s``."""
    return now_s - _FORGOTTEN_S
