from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from src.data.core.config import packaged
from src.data.core.config.settings import load_settings
from src.data.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


class TestCacheFolder:
    def test_the_cache_dir_argument_wins_over_the_environment(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        (tmp_path / "data-cache").mkdir()
        environ = home | {"DATA_CACHE_DIR": "/elsewhere"}
        found = load_settings("mine", environ=environ, cwd=tmp_path)
        assert (found.cache_dir, found.cache_dir_from) == (tmp_path / "mine", "argument")

    def test_the_environment_variable_wins_over_a_found_cache_folder(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        (tmp_path / "data-cache").mkdir()
        found = load_settings(environ=home | {"DATA_CACHE_DIR": "/elsewhere"}, cwd=tmp_path)
        assert (found.cache_dir, found.cache_dir_from) == (Path("/elsewhere"), "DATA_CACHE_DIR")

    @pytest.mark.skipif(sys.platform == "win32", reason="a drive there, a folder's name elsewhere")
    def test_a_windows_path_is_a_folder_here(self, tmp_path: Path, home: dict[str, str]) -> None:
        found = load_settings(environ=home | {"DATA_CACHE_DIR": "c:/data-cache"}, cwd=tmp_path)
        assert found.cache_dir == tmp_path / "c:" / "data-cache"

    def test_then_an_existing_folder_here(self, tmp_path: Path, home: dict[str, str]) -> None:
        (tmp_path / "data-cache").mkdir()
        found = load_settings(environ=home | {"DATA_CACHE_DIR": " "}, cwd=tmp_path)
        assert (found.cache_dir, found.cache_dir_from) == (tmp_path / "data-cache", "./data-cache")

    @pytest.mark.parametrize(
        "platform, extra, cache, state",
        [
            ("linux", {}, "H/.cache/onetape", "H/.local/state/onetape"),
            ("linux", {"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/onetape", "/s/onetape"),
            ("linux", {"XDG_CACHE_HOME": "rel"}, "H/.cache/onetape", "H/.local/state/onetape"),
            ("darwin", {}, "H/Library/Caches/onetape", "H/Library/Application Support/onetape"),
            ("win32", {"LOCALAPPDATA": "/a"}, "/a/Cache/onetape", "/a/State/onetape"),
        ],
    )
    def test_then_the_users_folder(
        self, tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch,
        platform: str, extra: dict[str, str], cache: str, state: str,
    ) -> None:  # fmt: skip
        monkeypatch.setattr("src.data.core.config.settings.sys.platform", platform)
        found = load_settings(environ=home | extra, cwd=tmp_path)
        assert found.cache_dir == Path(
            cache.replace("H", home["HOME"], 1) if cache[0] == "H" else cache
        )
        assert found.state_dir == Path(
            state.replace("H", home["HOME"], 1) if state[0] == "H" else state
        )
        assert found.cache_dir_from == "user cache folder"

    def test_loading_settings_creates_no_folder(self, tmp_path: Path, home: dict[str, str]) -> None:
        load_settings("mine", environ=home, cwd=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_tilde_in_the_cache_dir_means_the_home_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        found = load_settings("~/bars", environ={"HOME": str(tmp_path)}, cwd=tmp_path / "x")
        assert found.cache_dir == tmp_path / "bars"


def test_the_state_folder_by_variable(tmp_path: Path, home: dict[str, str]) -> None:
    found = load_settings(environ=home | {"ONETAPE_STATE_DIR": "state"}, cwd=tmp_path)
    assert found.state_dir == tmp_path / "state"


class TestRulesFile:
    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cache: {max_size_gb: 3}\n")
        return path

    def test_none_is_the_packaged_one(self, tmp_path: Path, home: dict[str, str]) -> None:
        assert load_settings(environ=home, cwd=tmp_path).rules_path is None

    def test_a_rules_file_is_found_in_its_usual_place(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        path = self.write(tmp_path / "config" / "data" / "provider_rules.yaml")
        found = load_settings(environ=home, cwd=tmp_path)
        assert found.rules_path == path
        assert found.max_size_gb == 3

    def test_the_variable_before_the_usual_place(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        self.write(tmp_path / "config" / "data" / "provider_rules.yaml")
        other = self.write(tmp_path / "other.yaml")
        found = load_settings(environ=home | {"ONETAPE_RULES": "other.yaml"}, cwd=tmp_path)
        assert found.rules_path == other

    def test_the_argument_before_the_variable(self, tmp_path: Path, home: dict[str, str]) -> None:
        mine = self.write(tmp_path / "mine.yaml")
        environ = home | {"ONETAPE_RULES": "absent.yaml"}
        assert load_settings(None, "mine.yaml", environ, tmp_path).rules_path == mine

    def test_a_named_file_must_exist(self, tmp_path: Path, home: dict[str, str]) -> None:
        with pytest.raises(
            ConfigError, match=r"my-provider-rules\.yaml \(config_path\) does not exist"
        ):
            load_settings(None, "./my-provider-rules.yaml", home, tmp_path)
        with pytest.raises(ConfigError, match=r"gone\.yaml \(ONETAPE_RULES\) does not exist"):
            load_settings(environ=home | {"ONETAPE_RULES": "gone.yaml"}, cwd=tmp_path)
        with pytest.raises(ConfigError, match=r"\(config_path\) is a folder"):
            load_settings(None, ".", home, tmp_path)

    @pytest.mark.parametrize("how", ["argument", "variable", "found"])
    def test_a_folder_that_may_not_be_searched(
        self, how: str, tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Root may search all: the look itself is refused, as it is for other users."""
        closed, stat = tmp_path / "config" / "data", Path.stat

        def refused(path: Path, **options: Any) -> Any:
            if closed in path.parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return stat(path, **options)

        monkeypatch.setattr(Path, "stat", refused)
        named = str(closed / "mine.yaml")
        environ = home | ({"ONETAPE_RULES": named} if how == "variable" else {})
        with pytest.raises(ConfigError, match=r"\.yaml cannot be accessed: Permission denied"):
            load_settings(None, named if how == "argument" else None, environ, tmp_path)

    def test_the_defaults_own_name_may_be_passed(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        found = load_settings(None, "config/data/provider_rules.yaml", home, tmp_path)
        assert found.rules_path is None

    def test_the_packaged_file_is_not_laid_over_itself(
        self, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packaged, "TREE", ROOT / "config" / "data")
        assert load_settings(environ=home, cwd=ROOT).rules_path is None


class TestSize:
    def test_the_variable_comes_before_the_rules(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        found = load_settings(environ=home | {"CACHE_MAX_SIZE_GB": "20.0"}, cwd=tmp_path)
        assert found.max_size_gb == 20.0
        assert load_settings(environ=home, cwd=tmp_path).max_size_gb == 10.0

    @pytest.mark.parametrize("value", ["much", "-1", "nan", "inf"])
    def test_an_invalid_cache_max_size_is_refused(
        self, tmp_path: Path, home: dict[str, str], value: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"CACHE_MAX_SIZE_GB is '{value}'"):
            load_settings(environ=home | {"CACHE_MAX_SIZE_GB": value}, cwd=tmp_path)


class TestRateLimits:
    def limits(self, home: dict[str, str], cwd: Path, text: str) -> dict[str, dict[str, float]]:
        environ = home | {"PROVIDER_RATE_LIMITS": text}
        return {k: dict(v) for k, v in load_settings(environ=environ, cwd=cwd).rate_limits.items()}

    def test_rate_limits_by_vendor_are_read_from_the_environment(
        self, tmp_path: Path, home: dict[str, str]
    ) -> None:
        text = '{"yf": {"requests_per_minute": 30, "burst_size": 2}, "binance": {}}'
        assert self.limits(home, tmp_path, text) == {
            "yahoo": {"requests_per_minute": 30.0, "burst_size": 2.0},
            "binance": {},
        }
        text = '{"tiingo": {"requests_per_month": 500, "requests_per_second": 0.5}}'
        assert self.limits(home, tmp_path, text) == {
            "tiingo": {"requests_per_month": 500.0, "requests_per_second": 0.5}
        }

    @pytest.mark.parametrize(
        "value", ["0.5", "1" + "0" * 400, "1e400", "-1", "NaN", "true", "null", '"5"', "[5]"]
    )
    def test_an_invalid_request_limit_is_ignored_with_a_warning(
        self, tmp_path: Path, home: dict[str, str], value: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = f'{{"binance": {{"requests_per_minute": {value}, "requests_per_day": 3}}}}'
        assert self.limits(home, tmp_path, text) == {"binance": {"requests_per_day": 3.0}}
        assert "ignored binance.requests_per_minute" in caplog.text

    @pytest.mark.parametrize("text", ["{", "[]", "5", "nonsense", "[" * 100_000])
    def test_what_is_no_json_object_is_ignored_with_one_warning(
        self, tmp_path: Path, home: dict[str, str], text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.limits(home, tmp_path, text) == {}
        assert [r.levelno for r in caplog.records] == [logging.WARNING]

    def test_the_wrong_parts_alone_are_ignored(
        self, tmp_path: Path, home: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        text = (
            '{"yahooo": {"burst_size": 1}, "binance": {"requests_per_minute": 5, "rpm": 1, '
            '"burst_size": -1, "requests_per_second": true}, "fmp": 3}'
        )
        assert self.limits(home, tmp_path, text) == {
            "binance": {"requests_per_minute": 5.0},
            "yahooo": {"burst_size": 1.0},
        }
        (record,) = caplog.records
        assert record.getMessage() == (
            "PROVIDER_RATE_LIMITS: ignored binance.rpm, binance.burst_size, "
            "binance.requests_per_second, fmp; yahooo is not a vendor (did you mean yahoo?), unless it is "
            "a downloader of your own"
        )


def test_keys_are_at_hand_and_hidden(tmp_path: Path, home: dict[str, str]) -> None:
    found = load_settings(environ=home | {"POLYGON_KEY": "c4nary"}, cwd=tmp_path)
    assert found.credentials["POLYGON_API_KEY"] == "c4nary"
    assert "c4nary" not in repr(found)


def test_without_a_home_the_variables_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.config.settings.sys.platform", "linux")
    monkeypatch.setattr("src.data.core.config.settings.os.path.expanduser", lambda text: text)
    with pytest.raises(ConfigError, match="DATA_CACHE_DIR"):
        load_settings(environ={}, cwd=tmp_path)
