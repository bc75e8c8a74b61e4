from __future__ import annotations

from src.data.config.settings import LogSettings, log_settings


def test_what_the_environment_says() -> None:
    assert log_settings({}) == LogSettings()
    said = {"ONETAPE_LOG": " JSON ", "ONETAPE_LOG_LEVEL": "Debug"}
    assert log_settings(said) == LogSettings("json", "debug")
