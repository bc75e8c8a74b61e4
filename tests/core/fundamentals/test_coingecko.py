"""CoinGecko's fundamentals: one recorded answer; the others are made up."""

from __future__ import annotations

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact
from src.data.core.vendors.coingecko.fundamentals import TABLE
from src.data.core.vendors.fundamentals_request import VendorAnswers, read
from src.data.core.vendors.fundamentals_table import request_of
from src.data.errors import CapabilityError, ResponseFormatError
from tests.core.fundamentals.test_reading import NOW, recorded
from tests.reference import needs_reference

BITCOIN = Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT")
ASK = TABLE.types["profile"][0].ask


class Account:
    """Somebody with these keys."""

    base_url = "https://example"

    def __init__(self, **keys: str) -> None:
        self._keys = keys

    def secret(self, name: str) -> str:
        return self._keys.get(name, "")


@needs_reference
def test_a_recorded_answer_gives_market_cap_supply_and_high() -> None:
    body = recorded("coingecko", "coins-markets-usd")
    said = read(
        TABLE, VendorAnswers("BTCUSDT", TABLE.spelled(BITCOIN), "profile", NOW, {ASK: body})
    )
    assert said.names_symbol
    assert said.facts["market_cap"] == Fact(120934444800.105, "money", "USD")
    assert said.facts["circulating_supply"] == Fact(17236100.0, "shares")  # sent as a text
    assert said.facts["all_time_high"] == Fact(19665.3949272416, "price", "USD")
    assert said.facts["company_name"].value == "Bitcoin"
    assert "volume" not in said.facts  # it is money
    ethereum = TABLE.spelled(Instrument("ETHUSDT", "crypto", base="ETH", quote="USDT"))
    with pytest.raises(ResponseFormatError, match="answered for 'bitcoin'"):
        read(TABLE, VendorAnswers("ETHUSDT", ethereum, "profile", NOW, {ASK: body}))


def test_what_it_does_not_know_is_absent_and_not_nothing() -> None:
    row = {"id": "bitcoin", "name": "Bitcoin", "market_cap": 0, "max_supply": None, "ath": 0}
    said = read(TABLE, VendorAnswers("BTCUSDT", "bitcoin", "profile", NOW, {ASK: [row]}))
    assert set(said.facts) == {"company_name", "quote_type", "currency"}


def test_coins_are_asked_for_by_their_id() -> None:
    request = request_of(TABLE, ASK, TABLE.spelled(BITCOIN), Account(), NOW)
    assert dict(request.params) == {"vs_currency": "usd", "ids": "bitcoin"}
    unknown = Instrument("NOPEUSDT", "crypto", base="NOPE", quote="USDT")
    with pytest.raises(CapabilityError, match="id for NOPE"):
        TABLE.spelled(unknown)


@pytest.mark.parametrize(
    "keys, header",
    [
        ({}, None), ({"COINGECKO_DEMO_API_KEY": "d"}, ("x-cg-demo-api-key", "d")),
        ({"COINGECKO_DEMO_API_KEY": "d", "COINGECKO_PRO_API_KEY": "p"}, ("x-cg-pro-api-key", "p")),
    ],
    ids=["none", "demo", "both"],
)  # fmt: skip
def test_one_key_is_sent_that_of_the_paid_plan_first(
    keys: dict[str, str], header: tuple[str, str] | None
) -> None:
    sent = request_of(TABLE, ASK, "bitcoin", Account(**keys), NOW).secret_headers
    assert dict(sent) == (dict([header]) if header else {})
