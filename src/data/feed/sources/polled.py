"""A source of polled bars for any symbol of a data manager."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from ...calendars.calendar import calendar_for
from ...calendars.gaps import BarGrid
from ...model.instant import from_ms
from ...model.instrument import Instrument
from ...model.stream import LiveBar
from ...model.timeframe import Timeframe
from ..services import clock_of, market_of, services_of
from .history import Manager, ManagerHistory, bars_of
from .poll import PollSource


def polled(
    manager: Manager,
    symbol: str,
    timeframe: str,
    *,
    lookback: int = 1000,
    provider: str | None = None,
    interval_s: float = 60.0,
    forming: bool = False,
    adjustment: str = "split",
    timeout_s: float | None = None,
    on_ask: Callable[[], object] = lambda: None,
) -> PollSource:
    """Return a source that asks ``manager`` whenever a bar closes.

    Args:
        manager, symbol, timeframe: who is asked for which bars.
        lookback: how many closed bars come first.
        provider: the only vendor whose bars count.
        interval_s: see :class:`~.poll_source.PollSource`.
        forming: whether the running bar is looked at every ``interval_s``.
        adjustment: what prices are corrected for.
        timeout_s: seconds that each question has; None: as long as pages come.
        on_ask: called before every question.
    """
    step, clock = Timeframe.parse(timeframe), clock_of(manager)
    # Of a symbol that nobody can place nothing is known but that it is asked for.
    market = market_of(manager, symbol) or calendar_for(Instrument(symbol, "crypto"))
    grid = BarGrid(market, step)
    history = ManagerHistory(
        manager,
        symbol,
        grid,
        clock,
        pinned=provider,
        adjustment=adjustment,
        timeout_s=timeout_s,
    )

    def running() -> LiveBar | None:
        options: dict[str, Any] = {} if provider is None else {"provider": provider}
        if timeout_s is not None:
            options["timeout"] = timeout_s
        start = from_ms(grid.back(clock.now_ms() + 1, 1))
        frame = manager.get_ohlcv(
            symbol,
            step.label,
            start if step.is_intraday else start.date(),
            include_forming=True,
            columns=("state",),
            adjustment=adjustment,
            **options,
        )
        forms = frame[frame["state"] == "forming"]
        return bars_of(forms, "live")[-1] if len(forms) else None

    services = services_of(manager)
    call = partial(services.observer.call_beside, symbol, step.label) if services else nullcontext
    return PollSource(
        f"{symbol} {step}",
        history,
        grid,
        lookback=lookback,
        interval_s=interval_s,
        running=running if forming else None,
        on_ask=on_ask,
        clock=clock,
        call=call,
    )
