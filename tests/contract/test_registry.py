"""A vendor is one folder, one row in the registry, and a name the rules may use."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.contract.source import ROOT, Module, expect_none, modules, vendors

RULES = ROOT / "config" / "data" / "provider_rules.yaml"
FUNDAMENTALS = ROOT / "config" / "data" / "fundamentals.json"
# Where several vendors are named beside each other for another reason than what they are.
LISTED_ELSEWHERE = {
    "compat.data_feed_factory": "what older programs are told of its sources",
    "feed.vendor_feeds": "the classes of feeds that older programs import",
    "sources.registry": "documented names of sources, three of which are those of vendors",
    "symbols.classify": "rules of spelling, which symbols are read by",
}
# So many names beside each other are a list of vendors.
MANY = 3


def registered() -> set[str]:
    from src.data.vendors.factory import DataDownloaderFactory

    return set(DataDownloaderFactory.PROVIDER_MAP.values())


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
    from src.data.vendors.registry import VENDORS

    folders = {name for name, row in VENDORS.items() if row.of_folders}
    assert vendors() == registered() | folders


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


def lists_of_vendors(source: Module) -> list[str]:
    """Return where names of several vendors stand in one table outside the registry."""
    if source.name == "vendors.registry" or source.name in LISTED_ELSEWHERE:
        return []
    if sum(name in source.text for name in vendors()) < MANY:
        return []
    found = []
    for node in source.nodes:
        if not isinstance(node, ast.Dict | ast.List | ast.Set | ast.Tuple):
            continue
        entries = node.keys if isinstance(node, ast.Dict) else node.elts
        names = {e.value for e in entries if isinstance(e, ast.Constant)} & vendors()
        if len(names) >= MANY:
            found.append(f"{source.name}:{node.lineno} lists {', '.join(sorted(names))}")  # type: ignore[attr-defined]
    return found


def test_vendors_are_listed_in_the_registry_alone() -> None:
    expect_none([found for source in modules() for found in lists_of_vendors(source)])
    for name in LISTED_ELSEWHERE:
        assert any(source.name == name for source in modules()), name


def test_a_second_list_is_found() -> None:
    assert lists_of_vendors(Module("net.hosts", "A = {'yahoo': 1, 'fmp': 2, 'tiingo': 3}")) != []
    assert lists_of_vendors(Module("net.hosts", "A = frozenset({'yahoo', 'fmp', 'tiingo'})")) != []
    assert lists_of_vendors(Module("net.hosts", "A = {'yahoo': 1, 'fmp': 2, 'other': 3}")) == []
