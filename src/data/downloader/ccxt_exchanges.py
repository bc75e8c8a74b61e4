"""What the exchanges that ccxt speaks to serve, as far as it can be told without asking them."""

from __future__ import annotations

from ..errors import BadTimeframeError
from ..model.capabilities import Capabilities, Limits
from ..model.instant import DAY_MS, SECOND_MS
from ..model.kind import Kind
from ..model.timeframe import Timeframe
from ..net.carriers.ccxt_carrier import ExchangeFacts

# Where ccxt knows no bound; every exchange answers so many.
USUAL_PAGE = 100
# Exchanges that answer their newest bars whatever is asked for: how many.
_NEWEST_ONLY = {"kraken": 720}
# ccxt counts what a request costs in an exchange's own units; this is modest for all of them.
_MOST_A_SECOND = 5.0


def limits_of(facts: ExchangeFacts) -> Limits:
    """Return how often an exchange may be asked."""
    pace = SECOND_MS / facts.pace_ms if facts.pace_ms else _MOST_A_SECOND
    return Limits(per_second=min(pace, _MOST_A_SECOND), burst=2)


def capabilities_of(exchange: str, facts: ExchangeFacts) -> Capabilities:
    """Return what an exchange serves; a timeframe that reaches back less than a day is left out."""
    steps = {label: step for label in facts.timeframes if (step := _step_ms(label))}
    newest = _NEWEST_ONLY.get(exchange)
    depth = {label: newest * step // DAY_MS for label, step in steps.items()} if newest else {}
    return Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in steps if depth.get(label, 1)},
        page_bars=facts.page_bars or USUAL_PAGE,
        depth_days={label: days for label, days in depth.items() if days},
        kinds={"crypto": Kind("24h", "clock", venue=exchange, volume="base")},
        dense=False,
    )


def _step_ms(label: str) -> int | None:
    """Return the length of a bar; None where it is none of ours, or longer than a day."""
    try:
        found = Timeframe.parse(label)
    except BadTimeframeError:
        return None
    return found.step_ms if found.label == label and (found.is_intraday or label == "1d") else None
