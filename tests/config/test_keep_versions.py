"""How many replaced year files are kept is the rules' to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.config.rules_file import load_rules
from src.data.errors import RulesError
from src.data.model.retention import Retention
from src.data.wiring import build


@pytest.mark.parametrize(
    "said, meant",
    [
        ("{}", Retention(8, None)),
        ("{keep_versions: 0}", Retention(0, None)),
        ("{keep_versions: 3.0, keep_versions_days: 1.5}", Retention(3, 1.5)),
        ("{keep_versions_days: }", Retention(8, None)),
    ],
)
def test_it_reaches_the_store(tmp_path: Path, said: str, meant: Retention) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {said}\n")
    assert load_rules(path).cache.retention == meant
    assert build(tmp_path / "cache", path).cache.store._retention == meant


@pytest.mark.parametrize(
    "said", ["{keep_versions: -1}", "{keep_versions: 1.5}", "{keep_versions: }",
             "{keep_versions_days: -1}", "{keep_versions_days: soon}"]
)  # fmt: skip
def test_what_is_no_number_of_them_is_refused(tmp_path: Path, said: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"cache: {said}\n")
    with pytest.raises(RulesError, match=r"cache\.keep_versions"):
        load_rules(path)
