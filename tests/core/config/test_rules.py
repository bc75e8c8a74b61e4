from __future__ import annotations

import copy
from typing import Any

import pytest

from src.data.core.config.rules import Rule, Rules, overlay, parse
from src.data.core.config.schema import as_switch
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.registry import VENDORS, canonical_vendor

BASE: dict[str, Any] = {
    "crypto": {"primary": "binance", "backup": ["yahoo"], "timeframes": ["1h", "1d"]},
    "stock_intraday": {"primary": "yahoo", "timeframes": ["1m", "60m"]},
    "stock_daily": {"primary": "yahoo", "timeframes": ["1d"]},
    "stock_weekly_monthly": {"primary": "tiingo", "timeframes": ["1w", "1M"]},
    "providers": {"yahoo": {"name": "Yahoo", "rate_limits": {"requests_per_minute": 60}}},
}


def named(rules: Rules, asset_class: str, timeframe: str) -> str | None:
    rule = rules.rule_for(asset_class, Timeframe.parse(timeframe))
    return rule.name if rule else None


class TestRule:
    def test_vendors_in_order_each_once(self) -> None:
        rule = Rule("crypto", "yahoo", ("binance", "yahoo", "fmp"))
        assert rule.vendors == ("yahoo", "binance", "fmp")


class TestFamilies:
    SAID = BASE | {
        "crypto": {"primary": "CCXT:Kraken", "backup": ["ccxt:okx"], "timeframes": ["1d"]},
        "providers": {"ccxt": {"settle_minutes": 7, "cost": "free"}, "ccxt:okx": {"cost": "paid"}},
    }

    def test_settings_of_a_vendor_family_apply_to_its_members(self) -> None:
        rules = parse(self.SAID)
        assert rules.rules["crypto"].vendors == ("ccxt:kraken", "ccxt:okx")
        kraken, okx = rules.provider("ccxt:kraken"), rules.provider("ccxt:okx")
        assert (kraken.name, kraken.settle_minutes, kraken.facts) == (
            "ccxt:kraken", 7, {"cost": "free"},
        )  # fmt: skip
        assert (okx.settle_minutes, okx.facts) == (7, {"cost": "paid"})

    def test_the_members_that_are_named_are_known(self) -> None:
        assert parse(self.SAID).members == ("ccxt:okx", "ccxt:kraken")
        assert parse(BASE).members == ()


class TestParse:
    def test_timeframes_in_our_spelling(self) -> None:
        assert parse(BASE).rules["stock_intraday"].timeframes == ("1m", "1h")

    def test_month_and_minute_are_two(self) -> None:
        rules = parse(BASE)
        assert named(rules, "stock", "1m") == "stock_intraday"
        assert named(rules, "stock", "1M") == "stock_weekly_monthly"
        assert named(rules, "crypto", "1m") is None

    def test_classes_without_a_rule(self) -> None:
        assert named(parse(BASE), "forex", "1d") is None

    def test_limits_that_are_not_set_are_absent(self) -> None:
        plain = {
            "providers": {
                "yahoo": {"rate_limits": {"requests_per_minute": 5, "requests_per_day": None}}
            }
        }
        assert parse(plain).provider("yahoo").rate_limits == {"requests_per_minute": 5.0}

    def test_an_empty_mapping_gives_the_default_rules(self) -> None:
        rules = parse({})
        assert (rules.rules, rules.providers) == ({}, {})
        assert rules.cache.max_size_gb == 10.0

    @pytest.mark.parametrize(
        "value, expected",
        [
            (True, True),
            (False, False),
            ("yes", True),
            ("NO", False),
            ("Off", False),
            ("1", None),
            (1, None),
        ],
    )
    def test_words_and_booleans_are_read_as_switches(
        self, value: object, expected: bool | None
    ) -> None:
        assert as_switch(value) is expected


class TestOverlay:
    def test_user_rules_overlay_the_packaged_ones_key_by_key(self) -> None:
        merged = overlay(
            BASE, {"crypto": {"primary": "yahoo"}, "providers": {"yahoo": {"cost": "x"}}}
        )
        assert merged["crypto"] == {
            "primary": "yahoo",
            "backup": ["yahoo"],
            "timeframes": ["1h", "1d"],
        }
        assert merged["providers"]["yahoo"] == {
            "name": "Yahoo", "rate_limits": {"requests_per_minute": 60}, "cost": "x",
        }  # fmt: skip

    def test_lists_in_user_rules_replace_the_packaged_ones(self) -> None:
        assert overlay(BASE, {"crypto": {"backup": []}})["crypto"]["backup"] == []

    def test_null_unsets_a_value_and_spares_a_section(self) -> None:
        merged = overlay(
            BASE, {"crypto": None, "providers": {"yahoo": {"name": None, "rate_limits": None}}}
        )
        assert merged["crypto"] == BASE["crypto"]
        assert merged["providers"]["yahoo"]["name"] is None
        assert merged["providers"]["yahoo"]["rate_limits"] == {"requests_per_minute": 60}

    def test_an_overlay_changes_neither_of_its_mappings(self) -> None:
        base = copy.deepcopy(BASE)
        user = {"stock_daily": {"timeframes": ["1d", "1w"]}, "providers": {"yf": {"cost": "x"}}}
        kept = copy.deepcopy(user)
        overlay(base, user)
        assert (base, user) == (BASE, kept)

    def test_a_timeframe_that_a_users_rule_lists_is_that_rules(self) -> None:
        merged = overlay(BASE, {"stock_daily": {"timeframes": ["1d", "1w", "1M", "1h"]}})
        rules = parse(merged)
        assert {named(rules, "stock", t) for t in ("1d", "1w", "1M", "1h")} == {"stock_daily"}
        assert named(rules, "stock", "1m") == "stock_intraday"
        assert named(rules, "crypto", "1h") == "crypto", "other classes keep theirs"

    def test_aliases_meet_their_vendor(self) -> None:
        assert set(overlay(BASE, {"providers": {"yfinance": {"cost": "x"}}})["providers"]) == {
            "yahoo"
        }


class TestVendors:
    @pytest.mark.parametrize(
        "name, canonical",
        [("yf", "yahoo"), ("YFinance", "yahoo"), (" yahoo ", "yahoo"), ("bnc", "binance"),
         ("td", "twelvedata"),
         ("financial_modeling_prep", "fmp"), ("nobody", None), ("", None)],
    )  # fmt: skip
    def test_aliases_become_canonical_vendor_names(self, name: str, canonical: str | None) -> None:
        assert canonical_vendor(name) == canonical

    def test_no_alias_means_two_vendors(self) -> None:
        names = [name for vendor, row in VENDORS.items() for name in (vendor, *row.aliases)]
        assert len(names) == len(set(names))
