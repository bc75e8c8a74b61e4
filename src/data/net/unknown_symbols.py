"""How long a symbol counts as unknown to a vendor after the vendor has rejected it.

Misspelled and delisted symbols are requested again and again, with the same result each time. A
symbol that will be listed tomorrow is unknown today, so the first rejection does not count for
long; each further one counts for longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import SymbolNotFoundError
from ..model.instant import SECOND_MS, iso
from ..model.texts import time_until

_FIRST_S = 900.0
_LONGEST_S = 6 * 3600.0
# Time after the expiry of a rejection at which it is forgotten, and counting starts again.
_FORGOTTEN_S = 7 * 86_400.0


class SymbolCheck(NamedTuple):
    """The symbol requested from a vendor, and whether to query the vendor at all.

    Attributes:
        symbol: Symbol in the vendor's spelling.
        address: Host and path that are queried, because a mirror may know a symbol that the
            vendor's own host does not.
        insist: Whether to query even if the vendor recently did not know the symbol.
        is_trusted: Whether the vendor has served the symbol recently, so that a rejection now is
            not remembered.
    """

    symbol: str
    address: str
    insist: bool = False
    is_trusted: bool = False


@dataclass(frozen=True)
class Unknown:
    """A vendor's rejection of one symbol; all times are seconds of the same clock.

    Attributes:
        said_s: Time of the last rejection.
        until_s: Time until which the rejection is trusted and the vendor is not queried.
        times: Number of rejections in a row.
    """

    said_s: float
    until_s: float
    times: int = 1

    def holds(self, now_s: float) -> bool:
        """Return whether the vendor is still not queried for the symbol."""
        return now_s < self.until_s

    def error(self, vendor: str, symbol: str, now_s: float, now_ms: int) -> SymbolNotFoundError:
        """Return the error for a query that is not sent; ``now_ms`` is ``now_s`` in wall time."""
        reported_ms = now_ms + round((self.said_s - now_s) * SECOND_MS)
        return SymbolNotFoundError(
            f"{vendor} reported at {iso(reported_ms - reported_ms % SECOND_MS)} that it does not know "
            f"{symbol!r}; next request in {time_until(self.until_s - now_s, now_ms)}",
            provider=vendor,
            hint="a forced refresh retries immediately",
        )


def reported_again(before: Unknown | None, now_s: float) -> Unknown:
    """Return the record after a vendor has rejected a symbol at ``now_s``.

    Args:
        before: Previous record, if it is remembered.
        now_s: Time of the rejection.
    """
    times = 1 if before is None or before.until_s < forgotten_s(now_s) else before.times + 1
    # The exponent is bounded, as the longest term is reached long before.
    term_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(times - 1, 60))
    return Unknown(now_s, now_s + term_s, times)


def forgotten_s(now_s: float) -> float:
    """Return the time before which a rejection must have expired to be forgotten at ``now_s``."""
    return now_s - _FORGOTTEN_S
