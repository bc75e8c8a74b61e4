"""From the arguments of a call to a checked query."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Protocol

from ..clock import Clock
from ..errors import QueryError, UnknownProviderError
from ..model.instrument import Instrument
from ..model.kind import ADJUSTMENTS
from ..model.query import BarsQuery
from ..model.timeframe import Timeframe
from ..policy.ranges import resolve_range


class Classifier(Protocol):
    """What is needed of the provider selector to understand a symbol."""

    def instrument(self, symbol: Any) -> Instrument:
        """Return the meaning of ``symbol``."""

    def canonical(self, provider: str) -> str | None:
        """Return the canonical name of a vendor or alias, or None."""

    def provider_names(self) -> list[str]:
        """Return the canonical names of all vendors."""


@dataclass(frozen=True)
class Wishes:
    """How bars are wanted, apart from which ones; the keyword arguments of the facade."""

    provider: str | None = None
    adjustment: str = "split"
    include_forming: bool = False
    offline: bool = False
    strict: bool = False
    refresh: bool = False


# Stands for every symbol of a batch while the shared arguments are checked.
_ANY = Instrument("(any symbol)", "crypto")


class Asking:
    """Builds queries from what callers pass. Thread-safe."""

    def __init__(self, classifier: Classifier, clock: Clock) -> None:
        self._classifier = classifier
        self._clock = clock

    def query(
        self, symbol: Any, timeframe: Any, bounds: tuple[Any, Any, Any], wishes: Wishes
    ) -> BarsQuery:
        """Return the checked query for ``symbol``.

        Args:
            symbol: text as the user types it.
            timeframe: such as ``1h``.
            bounds: start, end and number of bars as the facade takes them.
            wishes: the rest.

        Raises:
            QueryError: any of it cannot be understood.
            UnknownProviderError: the pinned vendor does not exist.
        """
        step = Timeframe.parse(timeframe)
        instrument = self._classifier.instrument(symbol)
        now = self._clock.now_ms()
        start, end, bars = bounds
        span, count = resolve_range(instrument, step, start, end, now, bars)
        _check_adjustment(wishes.adjustment, instrument.symbol)
        return BarsQuery(
            instrument=instrument, timeframe=step, span=span, now_ms=now, bars=count,
            provider=self._pinned(wishes.provider), adjustment=wishes.adjustment,  # type: ignore[arg-type]
            include_forming=wishes.include_forming, offline=wishes.offline,
            strict=wishes.strict, refresh=wishes.refresh,
        )  # fmt: skip

    def check_shared(self, timeframe: Any, bounds: tuple[Any, Any, Any], wishes: Wishes) -> None:
        """Check what the symbols of a batch share, without any symbol.

        Raises:
            QueryError, UnknownProviderError: as :meth:`query` would for every symbol alike.
        """
        start, end, bars = bounds
        now = self._clock.now_ms()
        resolve_range(_ANY, Timeframe.parse(timeframe), start, end, now, bars)
        _check_adjustment(wishes.adjustment, "a batch")
        self._pinned(wishes.provider)

    def _pinned(self, provider: str | None) -> str | None:
        """Return the canonical name of the pinned vendor."""
        if provider is None:
            return None
        name = self._classifier.canonical(provider)
        if name is not None:
            return name
        known = self._classifier.provider_names()
        near = difflib.get_close_matches(str(provider), known, n=1)
        raise UnknownProviderError(
            f"no provider is called {provider!r}",
            provider=str(provider),
            hint=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}",
        )


def _check_adjustment(adjustment: str, symbol: str) -> None:
    if adjustment not in ADJUSTMENTS:
        raise QueryError(
            f"adjustment {adjustment!r} for {symbol} is not one of {', '.join(ADJUSTMENTS)}",
            symbol=symbol,
        )
