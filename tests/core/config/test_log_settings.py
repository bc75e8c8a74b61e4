from __future__ import annotations

from src.data.core.config.settings import LogSettings, log_settings


def test_the_log_format_and_level_are_read_from_the_environment() -> None:
    assert log_settings({}) == LogSettings()
    said = {"ONETAPE_LOG": " JSON ", "ONETAPE_LOG_LEVEL": "Debug"}
    assert log_settings(said) == LogSettings("json", "debug")
