"""A vendor is one folder, one row in the registry, and a name the rules may use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.contract.source import ROOT, expect_none, vendors

RULES = ROOT / "config" / "data" / "provider_rules.yaml"
FUNDAMENTALS = ROOT / "config" / "data" / "fundamentals.json"


def registered() -> set[str]:
    from src.data.core.registry import VENDORS
    from src.data.core.vendors.factory import DataDownloaderFactory

    companies = {name for name, row in VENDORS.items() if row.fundamentals}
    return set(DataDownloaderFactory.PROVIDER_MAP.values()) | companies


def vendors_in(rules: Mapping[str, Any]) -> set[str]:
    """Return every vendor that a rules mapping speaks of."""
    found = set(rules.get("providers") or ()) | set(rules.get("live_feeds") or ())
    for value in rules.values():
        if isinstance(value, Mapping) and "primary" in value:
            found.add(value["primary"])
            found.update(value.get("backup") or ())
    for sequence in (rules.get("provider_sequences") or {}).values():
        found.update(sequence)
    return found


def test_folder_and_registry_agree() -> None:
    from src.data.core.registry import VENDORS

    others = {name for name, row in VENDORS.items() if row.of_folders or row.series}
    assert vendors() == registered() | others


def test_the_packaged_rules_name_only_registered_vendors() -> None:
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    named = vendors_in(rules)
    assert named, "the rules name nobody"
    expect_none([f"{name} is unknown" for name in sorted(named - registered())])
    assert set(rules["providers"]) == registered(), "every vendor has its section"


def test_the_packaged_fundamentals_name_only_registered_vendors() -> None:
    if FUNDAMENTALS.exists():
        named = vendors_in(json.loads(FUNDAMENTALS.read_text("utf-8")))
        expect_none([f"{name} is unknown" for name in sorted(named - registered())])


def test_vendors_are_found_wherever_rules_name_them() -> None:
    rules = {
        "crypto": {"primary": "a", "backup": ["b"], "timeframes": ["1d"]},
        "providers": {"c": {}},
        "live_feeds": {"d": {}},
        "provider_sequences": {"ratios": ["e"]},
        "failover": {"enabled": True},
    }
    assert vendors_in(rules) == {"a", "b", "c", "d", "e"}
