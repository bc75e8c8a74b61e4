from __future__ import annotations

import re
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import DATA_TYPES, FIELDS, Fact
from src.data.core.registry import VENDORS as ROWS
from src.data.core.vendors import fundamentals_table as machinery
from src.data.core.vendors.factory import downloader_class
from src.data.core.vendors.fundamentals_request import VendorAnswers, read
from src.data.core.vendors.fundamentals_table import (
    NOW,
    SYMBOL,
    Ask,
    Key,
    Pick,
    VendorTable,
    request_of,
    table_of,
)
from tests.contract.source import PACKAGE, ROOT

SECRET = "CANARY-0123456789"
VOD = Instrument("VOD.L", "stock", spellings={"acme": "VOD.LON"})

VENDORS = tuple(name for name, row in ROWS.items() if row.fundamentals)


class Account:
    base_url = "https://acme.example"

    def secret(self, name: str) -> str:
        return SECRET if name == "ACME_API_KEY" else ""


def table(**more: object) -> VendorTable:
    return VendorTable("acme", frozenset({"stock"}), {"profile": ()}, **more)  # type: ignore[arg-type]


def test_a_request_names_the_symbol_and_hides_the_key() -> None:
    keys = (Key("ACME_API_KEY", param="key"), Key("ACME_API_KEY", header="X-Key", prefix="Token "),
            Key("OTHER", param="other"))  # fmt: skip
    ask = Ask("/of/{symbol}", {"s": SYMBOL, "limit": 5, "until": NOW}, cost=10)
    built = request_of(table(keys=keys), ask, "VOD.LON", Account(), 1_700_000_000_999)
    assert built.url == "https://acme.example/of/VOD.LON"
    assert dict(built.params) == {"s": "VOD.LON", "limit": 5, "until": "1700000000"}
    assert dict(built.secret_params) == {"key": SECRET}
    assert dict(built.secret_headers) == {"X-Key": f"Token {SECRET}"}
    assert built.cost == 10
    assert SECRET not in repr(built)


def test_a_vendor_is_excluded_by_market_type_or_asset_class() -> None:
    american = table(markets=frozenset({"US"}))
    assert "not UK" in american.objection(VOD, "UK", "profile")
    assert american.objection(VOD, "US", "profile") == ""
    assert "splits" in american.objection(VOD, "US", "splits")
    assert "not crypto" in american.objection(Instrument("BTCUSDT", "crypto"), "unknown", "profile")


def test_a_spelling_of_its_own() -> None:
    assert table().spelled(VOD) == "VOD.LON"
    assert table(spelling=lambda who: who.symbol.replace(".", "-")).spelled(VOD) == "VOD-L"


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_table_names_fields_and_keys_that_there_are(vendor: str) -> None:
    found = table_of(vendor)
    assert found is not None
    assert found.vendor == vendor
    assert set(found.types) <= set(DATA_TYPES)
    answers = [answer for served in found.types.values() for answer in served]
    assert {name for answer in answers for name in answer.fields} <= set(FIELDS)
    declared = downloader_class(vendor).secrets
    spellings = {entry if isinstance(entry, str) else entry[0] for entry in declared}
    assert {key.secret for key in found.keys} <= spellings
    assert all(isinstance(where, str | Pick) for a in answers for where in a.fields.values())


def test_registry_and_folder_agree() -> None:
    files = {path.parent.name for path in (PACKAGE / "core" / "vendors").glob("*/fundamentals.py")}
    assert files == set(VENDORS)
    assert table_of("acme") is None


def test_the_example_of_the_documentation() -> None:
    page = (ROOT / "docs" / "fundamentals.md").read_text("utf-8")
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "TABLE" in block
    )
    names: dict[str, Any] = dict(vars(machinery))
    exec(code, names)
    asked = names["TABLE"].types["profile"][0].ask
    row = {"name": "Acme", "cap": 2.5, "yield": "1.2", "pe": {"ttm": "N/A"}, "revenue": 7e6, "volume": 0,
           "currency": "USD", "reporting_currency": "eur", "fiscal_end": "2023-12-31",
           "ticker": "VOD.LON"}  # fmt: skip
    told = VendorAnswers("VOD.L", "VOD.LON", "profile", 0, {asked: {"results": [row]}})
    facts = read(names["TABLE"], told).facts
    assert facts["market_cap"] == Fact(2_500_000, "money", "USD")
    assert facts["dividend_yield"].value == pytest.approx(0.012)
    assert facts["revenue"] == Fact(7e6, "money", "EUR", "FY", "2023-12-31")
    assert "avg_volume" not in facts
    built = request_of(names["TABLE"], asked, "VOD.LON", Account(), 0)
    assert built.url == "https://acme.example/v1/company/VOD.LON"
    assert dict(built.secret_headers) == {"Authorization": f"Token {SECRET}"}
