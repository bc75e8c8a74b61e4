"""How many replaced year files are kept is the rules' to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.config.rules_file import load_rules
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.retention import Age, Retention
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.wiring import build
from src.data.errors import RulesError


@pytest.mark.parametrize(
    "said, meant",
    [
        ("{}", Retention(8, None)),
        ("{keep_versions: 0}", Retention(0, None)),
        ("{keep_versions: 3.0, keep_versions_days: 1.5}", Retention(3, 1.5)),
        ("{keep_versions_days: }", Retention(8, None)),
    ],
)
def test_keep_versions_of_the_rules_sets_the_stores_retention(
    tmp_path: Path, said: str, meant: Retention
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {said}\n")
    assert load_rules(path).cache.versions == meant
    store = build(tmp_path / "cache", path).cache.store
    assert store.parts.lane(SeriesKey("AAPL", Timeframe(1, "d"))).retention == meant


@pytest.mark.parametrize(
    "said", ["{keep_versions: -1}", "{keep_versions: 1.5}", "{keep_versions: }",
             "{keep_versions_days: -1}", "{keep_versions_days: soon}"]
)  # fmt: skip
def test_an_invalid_keep_versions_is_refused(tmp_path: Path, said: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {said}\n")
    with pytest.raises(RulesError, match=r"cache\.keep_versions"):
        load_rules(path)


@pytest.mark.parametrize("said", ["{}", "{retention: }", "{retention: 18mo}"])
def test_an_age_reaches_the_cache(tmp_path: Path, said: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {said}\n")
    meant = Age(18, "mo") if "18mo" in said else None
    assert build(tmp_path / "cache", path).cache.max_age == meant


@pytest.mark.parametrize("said", ["5", "0d", "off", "forever", "[5y]", "-1y"])
def test_what_is_no_age_is_refused_by_file_and_key(tmp_path: Path, said: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {{retention: {said}}}\n")
    with pytest.raises(
        RulesError, match=r"rules\.yaml has 1 mistake.*\n.*cache\.retention: .*line 1"
    ):
        load_rules(path)
