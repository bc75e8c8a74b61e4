from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.config.settings import load_settings
from src.data.core.config.survey import survey
from src.data.errors import ConfigError, RulesError

HOME = {"HOME": "/home-of-nobody"}


def test_a_sound_configuration_is_what_it_always_is(tmp_path: Path) -> None:
    environ = HOME | {"DATA_CACHE_DIR": "bars", "CACHE_MAX_SIZE_GB": "3"}
    (tmp_path / "mine.yaml").write_text("version: 1\n")
    found = survey(None, "mine.yaml", environ, tmp_path)
    expected = load_settings(None, "mine.yaml", environ, tmp_path)
    assert found.errors == found.remarks == ()
    assert found.rules_path == found.settings.rules_path == tmp_path / "mine.yaml"
    assert vars(found.settings) | {"credentials": {}} == vars(expected) | {"credentials": {}}


def test_broken_rules_are_an_error_and_the_rest_stands(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("cripto: {}\ncrypto: {primry: x}\n")
    found = survey(None, "mine.yaml", HOME | {"DATA_CACHE_DIR": "bars"}, tmp_path)
    (error,) = found.errors
    assert isinstance(error, RulesError)
    assert len(error.problems) == 2
    assert found.rules_path == tmp_path / "mine.yaml"
    assert found.settings.rules_path is None
    assert found.settings.cache_dir == tmp_path / "bars"
    assert found.settings.max_size_gb == 10


def test_every_error_is_collected(tmp_path: Path) -> None:
    environ = HOME | {"CACHE_MAX_SIZE_GB": "plenty", "ONETAPE_RULES": "none.yaml",
                      "PROVIDER_RATE_LIMITS": "{"}  # fmt: skip
    found = survey(None, None, environ, tmp_path)
    assert ["none.yaml" in str(found.errors[0]), "'plenty'" in str(found.errors[1])] == [True, True]
    assert found.remarks == (
        "PROVIDER_RATE_LIMITS is ignored because it is not a JSON object of vendors",
    )
    assert found.settings.max_size_gb == 10


def test_without_any_place_there_is_nothing_to_survey(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home folder"):
        survey(None, None, {"HOME": "nowhere"}, tmp_path)
