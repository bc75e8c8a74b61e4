"""Reads the optional settings files in ``./config``, which are strictly checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...core.config.schema import Check
from ...core.config.settings import path_check
from ...core.config.yaml_text import MAX_BYTES, read_yaml
from ...errors import ConfigError


def read_settings(path: Path, check: Check) -> Mapping[str, Any]:
    """Return the settings in a YAML file; empty if the file does not exist.

    Args:
        path: Path of the file.
        check: Check of the whole document, such as ``record(...).check``.

    Raises:
        ConfigError: The file cannot be read; a :class:`.RulesError` lists every error with its line.
    """
    if not path_check(path.is_file, path):
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    return _parsed(path, data, check)


@lru_cache(8)
def _parsed(path: Path, data: bytes, check: Check) -> Mapping[str, Any]:
    document = read_yaml(data)
    problems = [*document.problems, *check(document.value, ())]
    if problems:
        raise document.error(str(path), problems)
    settings: Mapping[str, Any] = document.value
    return settings
