"""How long a symbol counts as unknown to a vendor after the vendor has rejected it.

Misspelled and delisted symbols are requested again and again, with the same result each time. But a
symbol that is unknown today may be listed tomorrow, so the first rejection counts only for a short
time, and each further rejection for longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ....errors import SymbolNotFoundError
from ...model.display.texts import time_until
from ...model.time.instant import SECOND_MS, iso

_FIRST_TERM_S = 900.0
LONGEST_S = 6 * 3600.0
# Time after the expiry of a rejection at which it is forgotten, and counting starts again.
_FORGOTTEN_S = 7 * 86_400.0


class SymbolCheck(NamedTuple):
    """A symbol requested from a vendor, with facts that decide whether to query the vendor at all.

    Attributes:
        symbol: The vendor's name for the symbol.
        address: Host and path that are queried; a mirror may know a symbol that the vendor's own
            host does not.
        insist: Whether to query the vendor even if it recently did not know the symbol.
        is_trusted: Whether the vendor has served the symbol, so that rejections are not remembered.
    """

    symbol: str
    address: str
    insist: bool = False
    is_trusted: bool = False


@dataclass(frozen=True)
class UnknownSymbol:
    """A record that a vendor rejected a symbol; all times are in seconds, measured on the same clock.

    Attributes:
        said_s: Time of the last rejection.
        until_s: Time until which the rejection is trusted, so that the vendor is not queried for
            the symbol.
        times: Number of rejections in a row.
    """

    said_s: float
    until_s: float
    times: int = 1

    def holds(self, now_s: float) -> bool:
        """Return whether the vendor must still not be queried for the symbol."""
        return now_s < self.until_s

    def error(self, vendor: str, symbol: str, now_s: float, now_ms: int) -> SymbolNotFoundError:
        """Return the error for a query that is not sent; ``now_ms`` is the wall time of ``now_s``."""
        reported_ms = now_ms + round((self.said_s - now_s) * SECOND_MS)
        return SymbolNotFoundError(
            f"{vendor} reported at {iso(reported_ms - reported_ms % SECOND_MS)} that it does not know "
            f"{symbol!r}; next request in {time_until(self.until_s - now_s, now_ms)}",
            provider=vendor,
            hint="a forced refresh retries immediately",
        )


def reported_again(before: UnknownSymbol | None, now_s: float) -> UnknownSymbol:
    """Return the record of a symbol that a vendor has rejected at ``now_s``, for the first time or again.

    Args:
        before: Previous record for the symbol, if there is one.
        now_s: Time of the rejection.
    """
    times = 1 if before is None or before.until_s < forgotten_s(now_s) else before.times + 1
    # The exponent is bounded, as the longest term is reached long before.
    term_s = min(LONGEST_S, _FIRST_TERM_S * 2.0 ** min(times - 1, 60))
    return UnknownSymbol(now_s, now_s + term_s, times)


def forgotten_s(now_s: float) -> float:
    """Return the cutoff time: rejections that expired before it are forgotten at ``now_s``."""
    return now_s - _FORGOTTEN_S
