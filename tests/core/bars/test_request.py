"""Tests how the arguments of a caller become one checked query."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.bars.request import RequestParser, Wishes
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.errors import BadTimeframeError, QueryError, UnknownProviderError

from .answers import COIN, SHARE

NOW = parse_iso("2024-06-12T15:00:30")
WHOLE = ("2024-06-10", "2024-06-11", None)


class Known:
    """Knows two symbols and two vendors."""

    def instrument(self, symbol: Any) -> Instrument:
        return {"BTCUSDT": COIN, "AAPL": SHARE}[symbol]

    def canonical(self, provider: str) -> str | None:
        return {"acme": "acme", "Acme": "acme", "other": "other"}.get(provider)

    def provider_names(self) -> list[str]:
        return ["acme", "other"]


@pytest.fixture
def asking() -> RequestParser:
    """Return a parser that has two symbols and two vendors, at 2024-06-12 15:00:30 UTC."""
    return RequestParser(Known(), ManualClock(NOW))


def ask(asking: RequestParser, bounds: tuple[Any, Any, Any] = WHOLE, **wishes: Any) -> BarsQuery:
    return asking.query("BTCUSDT", "1h", bounds, Wishes(**wishes))


def test_a_request_without_options_means_all_closed_bars(asking: RequestParser) -> None:
    query = ask(asking)
    assert query.closed_by_ms is None
    assert query.columns == ()
    assert query.span == Span(parse_iso("2024-06-10"), parse_iso("2024-06-12"))


def test_closed_by_cuts_the_span_and_is_kept_in_the_query(asking: RequestParser) -> None:
    at = parse_iso("2024-06-11T10:30")
    query = ask(asking, closed_by="2024-06-11T10:30")
    assert query.closed_by_ms == at
    assert query.span == Span(parse_iso("2024-06-10"), at - HOUR_MS // 2)
    counted = ask(asking, (None, None, 3), closed_by="2024-06-11T10:30")
    assert (counted.bars, counted.span.end) == (3, query.span.end)


def test_a_closed_by_in_the_future_is_limited_to_now(asking: RequestParser) -> None:
    assert ask(asking, closed_by="2030-01-01").closed_by_ms == NOW


def test_columns_keep_their_order(asking: RequestParser) -> None:
    assert ask(asking, columns=["state", "source"]).columns == ("state", "source")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"closed_by": "soon"}, "closed_by 'soon' is not a time"),
    ({"closed_by": "2024-06-11", "include_forming": True}, "cannot be combined"),
    ({"columns": "source"}, "a list of names"),
    ({"columns": {"source"}}, "a list of names"),
    ({"columns": ["is_fnal"]}, "did you mean 'is_final'"),
    ({"columns": ["state", "state"]}, "twice"),
    ({"columns": ["volume"]}, "the frame contains it anyway"),
    ({"adjustment": "none"}, "use one of raw, split, all"),
]


@pytest.mark.parametrize("wishes, said", WRONG, ids=[said for _, said in WRONG])
def test_an_invalid_request_is_refused_for_one_symbol_and_for_many(
    asking: RequestParser, wishes: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        ask(asking, **wishes)
    with pytest.raises(QueryError, match=said):
        asking.check_shared("1h", WHOLE, Wishes(**wishes))


def test_the_error_for_swapped_symbol_and_timeframe_names_both(
    asking: RequestParser,
) -> None:
    with pytest.raises(
        BadTimeframeError, match="the symbol must come before the timeframe: 'AAPL', '1d'"
    ):
        asking.query("1d", "AAPL", WHOLE, Wishes())
    with pytest.raises(BadTimeframeError) as caught:
        asking.query("MSFT", "AAPL", WHOLE, Wishes())
    assert "must come before" not in str(caught.value)


def test_an_alias_of_a_pinned_vendor_becomes_its_canonical_name(asking: RequestParser) -> None:
    assert ask(asking, provider="Acme").provider == "acme"
    with pytest.raises(UnknownProviderError, match="did you mean 'other'"):
        ask(asking, provider="othr")
