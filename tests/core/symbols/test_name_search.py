"""Which listings a text means, and which are nearest to an unknown symbol."""

from __future__ import annotations

import pytest

from src.data.core.model.identity.listings import Listing, plain_text
from src.data.core.symbols.name_search import merged, nearest, normalized, rank_of, ranked

APPLE = Listing("AAPL", "Apple Inc.", "NASDAQ", "stock", "USD")
HOTELS = Listing("APLE", "Apple Hospitality REIT, Inc.", "NYSE", "stock", "USD")
CIDER = Listing("CIDR", "Old Apple Cider", "NYSE", "stock", "USD")
PINE = Listing("PINE", "Pineapple Holdings", "NASDAQ", "stock", "USD")
TICKER = Listing("APPLE.KL", "Something else", "KLSE", "stock", "MYR")
ALL = [PINE, CIDER, HOTELS, TICKER, APPLE]


@pytest.mark.parametrize(
    "text, listing, rank",
    [
        ("aapl", APPLE, 0),
        ("vix", Listing("^VIX", "CBOE Volatility Index"), 0),
        ("vod", Listing("VOD.L", "Vodafone Group"), 0),
        ("apple inc.", APPLE, 1),
        ("aap", APPLE, 2),
        ("apple", APPLE, 3),
        ("apple", CIDER, 4),
        ("cider apple", CIDER, 4),
        ("app cid", CIDER, 5),
        ("apple", PINE, 6),
        ("ne", PINE, None),
        ("pear", APPLE, None),
        ("..", APPLE, None),
    ],
)
def test_how_well_a_listing_fits(text: str, listing: Listing, rank: int | None) -> None:
    assert rank_of(text, listing) == rank


def test_the_likeliest_comes_first() -> None:
    assert ranked("apple", ALL, {}) == [TICKER, APPLE, HOTELS, CIDER, PINE]
    # Among equals the vendor's order counts; what it names and no word fits comes last.
    told = {"APLE": 0, "AAPL": 1, "FRUT": 2}
    fruit = Listing("FRUT", "Fruits")
    assert ranked("apple", [fruit, *ALL], told) == [TICKER, HOTELS, APPLE, CIDER, PINE, fruit]


@pytest.mark.parametrize(
    "symbol, symbols",
    [
        ("AAPPL", ["AAPL"]),
        ("APPLE", ["AAPL", "APLE", "CIDR"]),
        ("AAPL", ["APLE"]),
        ("XYZW", []),
        ("PINE.L", ["PINE"]),
    ],
)
def test_the_nearest_to_an_unknown_symbol(symbol: str, symbols: list[str]) -> None:
    listings = [one for one in ALL if one is not TICKER]
    assert [one.symbol for one in nearest(symbol, listings)] == symbols


def test_an_earlier_list_counts_and_a_later_one_fills_in() -> None:
    bare = Listing("AAPL", "", "NMS", "other", "", "one")
    (one,) = merged([[bare], [Listing("AAPL", "Apple", "X", "stock", "USD", "two")]]).values()
    assert one == Listing("AAPL", "Apple", "NMS", "stock", "USD", "one")


def test_names_hold_no_control_characters() -> None:
    assert plain_text("\x1b[2JEvil\u202e \n Corp\x00") == "[2JEvil Corp"
    assert plain_text(None) == plain_text(5) == ""
    assert len(plain_text("x" * 10_000)) == 200
    assert normalized("  Deutsche   BANK ") == "deutsche bank"


def test_a_misspelt_name_is_near_too() -> None:
    listings = [Listing("MSFT", "Microsoft"), Listing("F", "Ford Motor"), *ALL]
    assert [one.symbol for one in nearest("microsft", listings)] == ["MSFT"]
    assert [one.symbol for one in nearest("hospitalty", listings)] == [], "not the first word"
    assert nearest("Frod", listings) == [], "too short to be like one name alone"
