from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from src.data.core.config.fundamentals_config_validator import (
    FundamentalsConfigValidator,
    validate_fundamentals_config,
)
from src.data.core.config.fundamentals_file import FILE_NAME, find_file, load_fundamentals_rules
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from src.data.errors import ConfigError, RulesError
from tests.contract.source import ROOT

PACKAGED = ROOT / "config" / "data" / FILE_NAME


def put(folder: Path, plain: Any) -> Path:
    path = folder / FILE_NAME
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain, indent="\t"))
    return path


def test_the_packaged_file_is_right() -> None:
    rules = load_fundamentals_rules()
    for data_type in ("profile", "ratios", "statements"):
        assert rules.order(data_type)[:4] == ("fmp", "yahoo", "alpha_vantage", "ibkr")
    assert rules.ttl_of("profile") == 7 * DAY_MS
    assert rules.ttl_of("statements") == 90 * DAY_MS
    assert rules.ttl_of("anything else") == 7 * DAY_MS
    assert FundamentalsConfigValidator().validate_config_file(PACKAGED) == (True, [])
    assert FundamentalsConfigValidator().validate_config(json.loads(PACKAGED.read_text()))[0]


def test_a_short_file_is_laid_over_the_packaged_one(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        {
            "provider_sequences": {"ratios": ["yf", "fmp", "yfinance"]},
            "refresh_intervals": {"ratios": "6h", "splits": "30m"},
            "field_priorities": {"ttm_metrics": {"pb_ratio": ["tiingo"]}},
            "cache_settings": {"backup_copies": 2},
        },
    )
    rules = load_fundamentals_rules(path)
    assert rules.order("ratios") == ("yahoo", "fmp")
    assert rules.order("ratios", "price_to_book") == ("tiingo", "yahoo", "fmp")
    assert (rules.ttl_of("ratios"), rules.ttl_of("splits")) == (6 * HOUR_MS, 30 * MINUTE_MS)
    assert rules.order("profile")[0] == "fmp"
    assert (rules.copies, rules.tolerance) == (2, 0.1)


def test_a_vendor_with_a_priority_goes_behind_the_sequence(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        {"provider_sequences": {"splits": ["fmp"]},
         "provider_settings": {"tiingo": {"priority": 2}, "polygon": {"priority": 1}}},
    )  # fmt: skip
    assert load_fundamentals_rules(path).order("splits") == ("fmp", "polygon", "tiingo")


def test_every_mistake_at_once_with_its_line(tmp_path: Path) -> None:
    text = """{
  "provider_sequences": {"statments": ["fpm"]},
  "refresh_intervals": {"ratios": 3, "profile": "0d"},
  "cache_settings": {"compression": true, "backup_copies": 0},
  "data_validation": {"enabled": false, "tolerance_percentage": 200},
  "cache_settings": {},
  "nope": 1
}"""
    with pytest.raises(RulesError) as caught:
        load_fundamentals_rules(put(tmp_path, text))
    told = "\n".join(caught.value.problems)
    for part in (
        "statments' is not a data type: did you mean statements?", "did you mean fmp?", "(line 2)",
        'did you mean "3d"?', "'0d' is not a duration", "files are plain JSON",
        "cannot be switched off", "from 0 to 100", "nope: unknown key", "(line 7)",
    ):  # fmt: skip
        assert part in told
    assert len(caught.value.problems) >= 9


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense", '{"a": NaN}'])
def test_an_unreadable_fundamentals_file_has_problems(tmp_path: Path, text: str) -> None:
    good, problems = FundamentalsConfigValidator().validate_config_file(put(tmp_path, text))
    assert good == (text == "")  # an empty file changes nothing
    assert bool(problems) == (text != "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fundamentals_rules(tmp_path / "none.json")
    good, problems = FundamentalsConfigValidator().validate_config_file(tmp_path / "none.json")
    assert not good
    assert "none.json cannot be read" in problems[0]


@pytest.mark.parametrize("config", [None, 7, [], "text"])
def test_a_fundamentals_config_that_is_not_a_mapping_is_refused(config: Any) -> None:
    assert FundamentalsConfigValidator().validate_config(config) == (
        False,
        ["the file: must contain keys"],
    )


def test_where_a_users_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tmp_path / "rules.yaml"
    assert find_file(rules, tmp_path) is None
    usual = tmp_path / "config" / "data"
    usual.mkdir(parents=True)
    here = put(usual, {})
    assert find_file(rules, tmp_path) == here
    beside = put(tmp_path, {})
    assert find_file(rules, tmp_path) == beside
    assert find_file(None, ROOT) is None  # the packaged file itself is none of the user's
    monkeypatch.chdir(tmp_path)
    put(usual, {"nope": 1})
    is_valid, (problem,) = validate_fundamentals_config()
    assert not is_valid
    assert problem.startswith("nope: unknown key, known here: version, ")
    assert problem.endswith(" (line 2)")
    assert validate_fundamentals_config(beside) == (True, [])


def test_what_another_file_decides_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = {
        "error_handling": {"max_retries": 3},
        "symbol_mapping": {"exchange_suffixes": {".L": "LSE"}},
    }
    with caplog.at_level(logging.WARNING):
        load_fundamentals_rules(put(tmp_path, older))
    assert "error_handling.max_retries is set by failover.max_retries" in caplog.text
    assert "symbol_mapping.exchange_suffixes is set by" in caplog.text
